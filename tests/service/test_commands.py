"""Commands with invalid settings fail with one line that names the problem, without a traceback or a password."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from neobank.contract import CONTRACT
from neobank.settings import UpgradeSettings
from tests.service.support import DEAD_URL, SECRET_PASSWORD, SERVING, Database, neobank


def gunicorn(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(CONTRACT.serve[0])), *CONTRACT.serve[1:]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def assert_one_line(result: subprocess.CompletedProcess[str], named: str) -> None:
    assert result.returncode != 0
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert SECRET_PASSWORD not in result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()[-1:]) == 1


BAD_URLS = [
    ("", "DATABASE_URL is not set"),
    ("nonsense " + SECRET_PASSWORD, "DATABASE_URL is not a URL"),
    (f"mysql://u:{SECRET_PASSWORD}@h/d", "DATABASE_URL is not a full PostgreSQL URL"),
    (f"postgresql://u:{SECRET_PASSWORD}@h", "DATABASE_URL is not a full PostgreSQL URL"),
    (f"postgresql://u:{SECRET_PASSWORD}@h:port/d", "DATABASE_URL is not a URL"),
    (DEAD_URL, "127.0.0.1"),
    (DEAD_URL.replace("127.0.0.1:1", "no.such.host.invalid"), "no.such.host.invalid"),
]


UPGRADE = ("db", "upgrade", "--timeout", "0")


@pytest.mark.parametrize(("url", "named"), BAD_URLS)
def test_an_invalid_url_is_reported_in_one_line(url: str, named: str) -> None:
    result = neobank("verify", DATABASE_URL=url)
    assert_one_line(result, named)
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [UPGRADE, ("verify",)], ids=["upgrade", "verify"])
def test_a_wrong_password_is_reported_in_one_line(database: Database, words: tuple[str, ...]) -> None:
    url = database.url("application").set(password=SECRET_PASSWORD).render_as_string(hide_password=False)
    result = neobank(*words, DATABASE_URL=url, DATABASE_OWNER_URL=url)
    assert_one_line(result, "password authentication failed")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": SECRET_PASSWORD}, "SECRET_KEY"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"PORT": "0"}, "PORT"),
        ({"PORT": "http"}, "PORT"),
        ({"WEB_WORKERS": "-1"}, "WEB_WORKERS"),
        ({"WEB_THREADS": "1e3"}, "WEB_THREADS"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"NEOBANK_RATE_LIMITS": "no"}, "NEOBANK_RATE_LIMITS is 'no'"),
        ({"NEOBANK_RATE_LIMITS": "payments=0/minute"}, "NEOBANK_RATE_LIMITS"),
        ({"NEOBANK_RATE_LIMITS": "payments=30/minute,"}, "NEOBANK_RATE_LIMITS"),
        ({"NEOBANK_RATE_LIMITS": "spins=30/fortnight"}, "NEOBANK_RATE_LIMITS"),
        ({"NEOBANK_RATE_LIMITS": "paiments=30/minute"}, "registrations, logins, payments"),
        ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "all"}, "TRUSTED_PROXIES"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS is '*'"),
        ({"CORS_ORIGINS": "https://panel.example.org/"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://panel.example.org, null"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://*.example.org"}, "CORS_ORIGINS"),
    ],
)
def test_the_server_rejects_invalid_settings(change: dict[str, str], named: str) -> None:
    assert_one_line(gunicorn(**(SERVING | change)), named)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, "DATABASE_OWNER_URL is not set"),
        ({"DATABASE_OWNER_URL": "x"}, "DATABASE_OWNER_URL is not a URL"),
        ({"DATABASE_OWNER_URL": DEAD_URL, "ADMIN_NAME": "Boss"}, "ADMIN_NAME and ADMIN_PASSWORD"),
        ({"DATABASE_OWNER_URL": DEAD_URL, "CASINO_BANKROLL": "lots"}, "CASINO_BANKROLL"),
        ({"DATABASE_OWNER_URL": DEAD_URL, "CASINO_BANKROLL": "-5"}, "CASINO_BANKROLL"),
        ({"DATABASE_OWNER_URL": DEAD_URL}, "Connection refused"),
    ],
)
def test_an_upgrade_rejects_invalid_settings(change: dict[str, str], named: str) -> None:
    assert_one_line(neobank(*UPGRADE, **(SERVING | change)), named)


def test_verify_accepts_sound_books(database: Database, fresh: UpgradeSettings) -> None:
    del fresh
    result = neobank("verify", DATABASE_URL=database.setting("application"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "All balances agree" in result.stdout
    assert "sum of all balances ¤0.00" in result.stdout


ISSUE = "SELECT post_payment(9000000000000000001, 'NC-CASA-0000', 123, '{kind}', '', 9000000000000000001)"


@pytest.mark.parametrize("kind", ["admin_adjustment", "reversal", "transfer", "opening_balance"])
def test_verify_names_a_transfer_from_system_without_a_reason(
    database: Database, owner: Engine, fresh: UpgradeSettings, kind: str
) -> None:
    """Only the owner can post it; a second opening balance of an account has no reason either."""
    del fresh
    with owner.begin() as connection:
        connection.execute(text(ISSUE.format(kind=kind)))
        transfer = connection.execute(text("SELECT max(id) FROM transfers")).scalar_one()
    result = neobank("verify", DATABASE_URL=database.setting("application"))
    assert result.returncode != 0
    assert f"transfer {transfer} of ¤1.23 from NC-SYST-EM00 to NC-CASA-0000" in result.stdout
    assert "not in the audit log" in result.stderr


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        (
            "UPDATE balances SET balance = balance + 1 WHERE account_id = 9000000000000000002 AND shard = 0",
            "NC-CASA-0000",
        ),
        ("UPDATE transfers SET amount = amount + 1 WHERE credit_account_id = 9000000000000000002", "NC-CASA-0000"),
        ("DELETE FROM transfers", "NC-SYST-EM00"),
    ],
)
def test_verify_names_the_account_of_a_changed_row(
    database: Database, owner: Engine, fresh: UpgradeSettings, tampering: str, named: str
) -> None:
    del fresh
    with owner.begin() as connection:
        connection.execute(text(tampering))
    result = neobank("verify", DATABASE_URL=database.setting("application"))
    assert result.returncode != 0
    assert named in result.stdout
    assert "the books are wrong" in result.stderr

"""The document against the bank: requests drawn from it, and ones that break it, with all checks that schemathesis has.

The draw is seeded, so that a red run can be run again. `make soak` draws more of it, with other seeds.
"""

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from sqlalchemy import Engine, text
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.service.support import SECRET_KEY, Join, LoggedIn, NewTerminal

SEED: Final = 20_261_123
EXAMPLES: Final = 10
"""How many requests are drawn for each operation, beside those that cover its every field."""

TOKEN: Final = "the token that every request is sent with"
PAYER, RECEIVER = "NC-7Q2M-K4ZD", "NC-9XTR-3B5H"
"""The accounts of the document's examples."""

ACTORS: Final = {
    "player": r"^/(health|api/v1/(?!external/))",
    "vendor": r"^/api/v1/external/",
    "organiser": r"^/api/admin/",
}
"""Who sends the requests to which paths; what others are answered there, test_authorization.py says."""

REFUSED: Final[dict[str, str]] = {
    "POST /api/v1/auth/register": "the name is taken or can't be shown, the password common, the faction none",
    "PUT /api/v1/account/password": "the new password is common, or the current one",
    "PUT /api/v1/account/profile": "the faction is none, or the picture no emoji and no address",
    "GET /api/v1/account/transactions/search": "blanks are nothing to look for",
    "GET /api/v1/players/lookup": "both are given, or neither",
    "POST /api/v1/transactions": "there is no such account, it is one's own, or the money is not there",
    "POST /api/v1/charges/{code}/approve": "the money is not there",
    "POST /api/v1/casino/glitch-grid/spin": "the money is not there",
    "POST /api/v1/casino/starlight-smuggler/spin": "the money is not there",
    "PUT /api/v1/account/limits": "a limit is given and removed, or the casino can't be closed until then",
    "POST /api/v1/external/transactions": "there is no such account, or the money is not there",
    "POST /api/v1/external/charges": "there is no such player, or it is the vendor",
    "POST /api/v1/external/charges/{charge_id}/refund": "more than was paid, or the money is not there",
    "POST /api/admin/api-keys": "there is no such account, or the key would have ended",
    "PUT /api/admin/switches": "registration by code, and no code",
    "PUT /api/admin/users/{number}/exclusion": "the reason is blank, or the casino can't be closed until then",
    "POST /api/admin/users/import": "it is no list of players",
    "GET /api/admin/users/search": "blanks are nothing to look for",
    "POST /api/admin/users/{number}/reset-password": "the password is common",
    "POST /api/admin/users/{number}/adjust-balance": "the reason is blank, or the money is not there",
    "POST /api/admin/transactions/{transaction_id}/reverse": "the reason is blank, or the money is not there",
    "POST /api/admin/factions/create": "the name is taken or can't be shown",
    "POST /api/admin/factions/{name}/add-credits": "the reason is blank",
}
"""The operations that may answer 400 to a request as the document describes it, and what the document can't say."""

CANCELLED: Final = "GET /api/v1/external/charges/{charge_id}"
"""What a DELETE has cancelled is not gone: the terminal reads there that it is cancelled."""

SETTLE: Final = text("""
    INSERT INTO sessions (token_hash, account_id, expires_at)
    SELECT :token_hash, id, now() + interval '1 day' FROM accounts WHERE number = :number
    ON CONFLICT (token_hash) DO NOTHING;
    DELETE FROM idempotency_records;
    UPDATE switches SET read_only = false, registration = 'open' WHERE read_only OR registration <> 'open';
    UPDATE api_keys SET revoked_at = NULL WHERE revoked_at IS NOT NULL;
    UPDATE accounts SET frozen = false WHERE frozen;
    UPDATE players SET must_change_password = false WHERE must_change_password;
    UPDATE games SET is_enabled = true WHERE NOT is_enabled;
    UPDATE casino_players SET excluded_until = NULL, daily_loss_limit = NULL, pending_limit = NULL, pending_from = NULL
    WHERE excluded_until IS NOT NULL OR daily_loss_limit IS NOT NULL OR pending_from IS NOT NULL;
    UPDATE players SET is_admin = true FROM accounts WHERE account_id = id AND number = :organiser AND NOT is_admin;
""")


@dataclass(frozen=True)
class Settled:
    """The bank, put right before each request: what one has ended or switched off hides nothing from the next."""

    app: Flask
    owner: Engine
    number: str
    organiser: str
    key: str

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        token_hash = hmac.digest(SECRET_KEY, TOKEN.encode(), hashlib.sha256)
        with self.owner.begin() as connection:
            values = {"token_hash": token_hash, "number": self.number, "organiser": self.organiser}
            connection.execute(SETTLE, values)
        return self.app(environ, start_response)


@dataclass
class Findings:
    """What a run found, and the statuses that each operation was seen to answer."""

    failures: list[str] = field(default_factory=list)
    statuses: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def add(self, event: events.EngineEvent) -> None:
        match event:
            case events.ScenarioFinished():
                self._add_scenario(event.label, event.recorder)
            case events.NonFatalError():
                self.failures.append(f"{event.label}: {event.value!r}")
            case events.FatalError():
                self.failures.append(repr(event.exception))

    def _add_scenario(self, label: str | None, recorder: ScenarioRecorder) -> None:
        for interaction in recorder.interactions.values():
            if label and interaction.response is not None:
                self.statuses[label].add(interaction.response.status_code)
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    found, response = check.failure_info, recorder.interactions[case_id].response
                    answer = "no answer" if response is None else f"{response.status_code} {response.text[:300]}"
                    why = f"{found.failure.title}: {found.failure.message}"
                    self.failures.append(f"{label} {check.name}: {why}\n  {found.code_sample}\n  -> {answer}")


class Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Say nothing of each request."""


@schemathesis.serializer("text/csv")
def csv(_: object, value: object) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode()


@contextmanager
def served(app: Settled) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(app: Settled, paths: str, *, seed: int = SEED, examples: int = EXAMPLES) -> Findings:
    """Draw requests to the paths that match, and check the answers."""
    accepted = {"expected-statuses": ["2xx", "400", "401", "403", "404", "409"]}
    operations: list[dict[str, object]] = [
        {"include-name": name, "checks": {"positive_data_acceptance": accepted}} for name in REFUSED
    ]
    operations.append({"include-name": CANCELLED, "checks": {"use_after_free": {"enabled": False}}})
    operations.append({"exclude-path-regex": paths, "enabled": False})
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "cache": {"enabled": False},
            "output": {"sanitization": {"enabled": False}},
            "generation": {"max-examples": examples, "database": "none"},
            "phases": {
                "coverage": {"generate-duplicate-query-parameters": True},
                "stateful": {"max-steps": 5, "generation": {"max-examples": examples}},
            },
            "auth": {"openapi": {"BearerAuth": {"bearer": TOKEN}, "ApiKeyAuth": {"api_key": app.key}}},
            "operations": operations,
        }
    )
    findings = Findings()
    with served(app) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=config)
        schema.validate()
        for event in from_schema(schema).execute():
            findings.add(event)
    return findings


@pytest.fixture
def settled(
    app: Flask,
    owner: Engine,
    player: Join,
    organiser: LoggedIn,
    terminal: NewTerminal,
) -> Callable[[str], Settled]:
    """Give the bank with the accounts of the document's examples in it, ready for an actor."""
    renamed = text("UPDATE accounts SET number = :number WHERE name = :name")
    for name, number in (("Payer", PAYER), ("Receiver", RECEIVER)):
        player(name)
        with owner.begin() as connection:
            connection.execute(renamed, {"name": name, "number": number})
    key = terminal(scope="debit", account=PAYER).key

    def ready(actor: str) -> Settled:
        number = organiser.number if actor == "organiser" else PAYER
        return Settled(app, owner, number, organiser.number, key)

    return ready


def test_every_path_has_one_who_asks_there(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    for path in document["paths"]:
        assert sum(bool(re.search(paths, path)) for paths in ACTORS.values()) == 1, path


def test_the_exceptions_are_of_operations_that_there_are(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert {*REFUSED, CANCELLED} <= {
        f"{method.upper()} {path}" for path, operations in paths.items() for method in operations
    }


# What Hypothesis prints of a large example is of no interest.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("actor", ACTORS)
def test_the_bank_answers_as_the_document_says(settled: Callable[[str], Settled], actor: str) -> None:
    findings = run(settled(actor), ACTORS[actor])
    assert not findings.failures, "\n\n".join(findings.failures)
    assert findings.statuses
    assert not [operation for operation, statuses in findings.statuses.items() if min(statuses) >= 300]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("seed", range(5))
def test_it_does_so_for_long(settled: Callable[[str], Settled], actor: str, seed: int) -> None:
    findings = run(settled(actor), ACTORS[actor], seed=seed, examples=100)
    assert not findings.failures, "\n\n".join(findings.failures)

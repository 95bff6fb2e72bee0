"""Metrics are correct with several workers and after one is killed, and count money only after its commit."""

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client import generate_latest
from prometheus_client.mmap_dict import MmapedDict
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from neobank.contract import CONTRACT
from neobank.errors import BankError
from neobank.ledger.operations import Kind, pay
from neobank.migrations import upgrade
from neobank.monitoring import shared
from neobank.settings import UpgradeSettings
from tests.bank import Player
from tests.disks import small_disk
from tests.service.serving import CONNECTIONS, WORKERS, Exporter, Samples, Served, exporter, gunicorn, scraped
from tests.service.support import Database, Join, LoggedIn, NewTerminal, bank_of, neobank
from tools.postgres import free_port

TRANSFERS = "neobank_transfers_total kind="
HUNDREDTHS = "neobank_transferred_hundredths_total kind="
REQUESTS = "neobank_http_request_duration_seconds_count "
LOGIN_401 = REQUESTS + "method=POST route=/api/v1/auth/login status=401"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def served(database: Database, fresh: UpgradeSettings, folder: Path, tmp_path: Path) -> Iterator[Served]:
    del fresh
    folder.mkdir()
    (folder / "counter_7.db").write_bytes(b"of an earlier run, and no longer readable")
    with gunicorn(database.url("application"), tmp_path / "gunicorn.log", METRICS_FOLDER=str(folder)) as running:
        yield running


@pytest.fixture
def metrics(served: Served, folder: Path, tmp_path: Path) -> Iterator[Exporter]:
    del served
    with exporter(tmp_path / "metrics.log", "metrics", METRICS_FOLDER=str(folder)) as command:
        yield command


@pytest.fixture
def figures(database: Database, fresh: UpgradeSettings, tmp_path: Path) -> Iterator[Exporter]:
    del fresh
    url = database.setting("metrics")
    with exporter(tmp_path / "figures.log", "figures", DATABASE_URL=url) as command:
        yield command


def assert_no_counter_fell(before: Samples, after: Samples) -> None:
    counters = {name for name in before if name.partition(" ")[0].endswith(("_total", "_count", "_sum", "_bucket"))}
    assert counters
    assert {name: (before[name], after.get(name)) for name in counters if after.get(name, -1) < before[name]} == {}


def test_metrics_and_figures_count_what_was_done(served: Served, metrics: Exporter, figures: Exporter) -> None:
    bank = served.bank
    neo, trinity = bank.join("Neo"), bank.join("Trinity")
    for amount in (1, 2.5, 0.01):
        assert bank.pay(neo, trinity, amount)[0] == 201
    assert bank.pay(neo, trinity, 5000)[0] == 400
    for _ in range(3):
        assert bank.call("/api/v1/auth/login", {"character_name": "Neo", "password": "is not this one"})[0] == 401
    assert bank.call("/somewhere/else")[0] == 404
    assert bank.call(CONTRACT.metrics_path)[0] == 404  # metrics have their own port
    seen = metrics.scrape()
    assert seen[TRANSFERS + "transfer"] == 3
    assert seen[HUNDREDTHS + "transfer"] == 351
    assert (seen[TRANSFERS + "opening_balance"], seen[HUNDREDTHS + "opening_balance"]) == (2, 200_000)
    assert {kind for kind in Kind if seen[TRANSFERS + kind]} == {Kind.TRANSFER, Kind.OPENING_BALANCE}
    assert seen[REQUESTS + "method=POST route=/api/v1/transactions status=201"] == 3
    assert seen[REQUESTS + "method=POST route=/api/v1/transactions status=400"] == 1
    assert seen[REQUESTS + "method=GET route=unmatched status=404"] == 2
    assert seen["neobank_failed_logins_total"] == seen[LOGIN_401] == 3
    pool = {name: seen[f"neobank_database_pool_{name}"] for name in ("size", "in_use", "waiting")}
    assert pool == {"size": WORKERS * CONNECTIONS, "in_use": 0, "waiting": 0}
    books = figures.scrape()
    assert books["neobank_figures_up"] == 1
    assert books["neobank_money_supply_hundredths"] == 300_000  # the administrator has an account, too
    assert (books["neobank_players"], books["neobank_open_sessions"]) == (3, 2)
    assert books["neobank_ledger_total_hundredths"] == 0


def test_a_killed_worker_leaves_its_counts_and_no_gauges_or_files(
    served: Served, metrics: Exporter, folder: Path
) -> None:
    neo, trinity = served.bank.join("Neo"), served.bank.join("Trinity")
    done = 0
    for _ in range(3):
        for _ in range(10):
            assert served.bank.pay(neo, trinity, 1)[0] == 201
        done += 10
        before = metrics.scrape()
        victim = min(served.workers())
        os.kill(victim, signal.SIGKILL)
        served.await_workers_without(victim)
        after = metrics.await_(lambda found: found["neobank_database_pool_size"] == WORKERS * CONNECTIONS)
        assert before[TRANSFERS + "transfer"] == after[TRANSFERS + "transfer"] == done
        assert_no_counter_fell(before, after)
        assert after["neobank_database_pool_in_use"] == 0
    places = {file.stem.rpartition("_")[2] for file in folder.iterdir()}
    assert places == {"1", "2"}  # a replacement reuses the files of the killed worker, so that they do not accumulate


def test_the_count_lies_between_confirmed_and_committed_payments(
    served: Served, metrics: Exporter, owner: Engine
) -> None:
    """Workers are killed meanwhile: the count includes every 201, and no payment that the ledger lacks."""
    players = [served.bank.join(f"Player {index}") for index in range(4)]
    seen = [metrics.scrape()]

    def pay_on(seed: int) -> int:
        chance = random.Random(seed)  # noqa: S311
        return sum(paid(served, *chance.sample(players, 2)) for _ in range(25))

    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(pay_on, seed) for seed in range(8)]
        for _ in range(2):
            victim = max(served.workers())
            os.kill(victim, signal.SIGKILL)
            served.await_workers_without(victim)
            seen.append(metrics.scrape())
        confirmed = sum(payments.result() for payments in flood)
    seen.append(metrics.scrape())
    for before, after in pairwise(seen):
        assert_no_counter_fell(before, after)
    with owner.connect() as connection:
        committed = connection.execute(text("SELECT count(*) FROM transfers WHERE kind = 'transfer'")).scalar_one()
    assert 0 < confirmed <= seen[-1][TRANSFERS + "transfer"] <= committed


def paid(served: Served, payer: Player, receiver: Player) -> bool:
    """Pay; return whether it was confirmed. A killed worker does not respond."""
    try:
        return served.bank.pay(payer, receiver, 0.01)[0] == 201
    except OSError:
        return False


def test_a_restart_resets_the_counts(
    database: Database, served: Served, metrics: Exporter, folder: Path, tmp_path: Path
) -> None:
    served.bank.join("Neo")
    assert metrics.scrape()[TRANSFERS + "opening_balance"] == 1
    served.process.terminate()
    served.process.wait(timeout=60)
    with gunicorn(database.url("application"), tmp_path / "second.log", METRICS_FOLDER=str(folder)):
        assert metrics.scrape()[TRANSFERS + "opening_balance"] == 0


def test_a_full_disk_of_metrics_and_logs_disturbs_no_request(
    database: Database, fresh: UpgradeSettings, tmp_path: Path
) -> None:
    """Metrics appear when there is space. With files that had a size but no space, a worker died of SIGBUS."""
    del fresh
    with small_disk(tmp_path / "metrics", 4) as disk:
        disk.fill()
        with gunicorn(database.url("application"), disk.folder / "log", METRICS_FOLDER=str(disk.folder)) as served:
            workers = served.workers()
            neo, trinity = served.bank.join("Neo"), served.bank.join("Trinity")
            assert served.bank.pay(neo, trinity, 1)[0] == 201
            with exporter(tmp_path / "metrics.log", "metrics", METRICS_FOLDER=str(disk.folder)) as metrics:
                assert metrics.scrape() == {}
                disk.clear()
                while TRANSFERS + "transfer" not in (seen := metrics.scrape()):
                    assert served.bank.pay(neo, trinity, 1)[0] == 201
            assert seen[TRANSFERS + "transfer"] > 0
            assert served.workers() == workers


def test_a_file_that_cannot_grow_keeps_its_values_and_gets_the_others_later(tmp_path: Path) -> None:
    file = tmp_path / "metrics" / "counter_1.db"

    def found() -> list[float]:
        return [value for _, value, _, _ in MmapedDict.read_all_values_from_file(str(file))]  # type: ignore[no-untyped-call]

    with small_disk(file.parent, 4) as disk, closing(shared.AllocatedFile(str(file))) as written:
        disk.fill()
        for number in range(2000):
            written.write_value(f"key {number:100}", number, 0)
        kept = found()
        assert 0 < len(kept) < 2000
        assert kept == list(range(len(kept)))
        assert written.read_value(f"key {1999:100}") == (0, 0)
        disk.clear()
        written.write_value(f"key {1999:100}", 1999, 0)
        assert found() == [*kept, 1999]


@pytest.fixture
def counted(app: Flask) -> Callable[[], Samples]:
    """Return a function that reads the application's metrics."""
    bank = bank_of(app)
    return lambda: scraped(generate_latest(bank.metrics.registry).decode())


def moves(samples: Samples) -> dict[str, tuple[float, float]]:
    """Return the number of transfers and their hundredths by kind, for kinds with transfers."""
    found = {kind: (samples[TRANSFERS + kind], samples[HUNDREDTHS + kind]) for kind in Kind}
    return {kind.value: moved for kind, moved in found.items() if moved[0]}


def test_a_rolled_back_transfer_is_not_counted(
    app: Flask, counted: Callable[[], Samples], organiser: LoggedIn, neo: LoggedIn
) -> None:
    bank, before = bank_of(app), moves(counted())
    with bank.statement() as connection:
        payer = connection.execute(text("SELECT id FROM accounts WHERE number = :it"), {"it": neo.number}).scalar_one()

    def move(*, amount: int) -> None:
        with bank.transaction() as connection:
            pay(
                connection,
                debit=payer,
                credit_number=organiser.number,
                amount=amount,
                kind=Kind.TRANSFER,
                memo="",
                actor=payer,
            )
            if amount == 3:
                raise BankError("changed my mind")
            if amount == 5:  # COMMIT itself fails
                own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                with bank.statement() as other:
                    other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})

    with pytest.raises(BankError):
        move(amount=3)
    with pytest.raises(OperationalError):
        move(amount=5)
    assert moves(counted()) == before
    move(amount=7)
    assert moves(counted()) == before | {"transfer": (1, 7)}


def test_transfers_posted_together_each_count_and_repeated_responses_do_not(
    counted: Callable[[], Samples],
    organiser: LoggedIn,
    player: Join,
    terminal: NewTerminal,
) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    before = moves(counted())
    assert before == {"opening_balance": (2, 200_000)}
    for who in (neo, trinity):
        who.send("PUT", "/account/profile", faction="Runners")
    credited = organiser.administer("POST", "/factions/Runners/add-credits", amount=2, reason="well done")
    assert credited.status_code < 300
    bar = terminal(scope="debit", account=trinity.number)
    for _ in range(3):
        assert bar.pay(neo.number, trinity.number, 1.25, once="the same").status_code == 201
    assert moves(counted()) == before | {"admin_adjustment": (2, 400), "transfer": (1, 125)}


def test_unknown_methods_and_paths_create_no_new_series(app: Flask, counted: Callable[[], Samples]) -> None:
    client = app.test_client()
    for index in range(5):
        client.open(f"/api/v1/{index}", method=f"BREW{index}")
    assert {name for name in counted() if name.startswith(REQUESTS)} == {
        REQUESTS + "method=OTHER route=unmatched status=404"
    }


def test_figures_report_a_missing_database(database: Database, tmp_path: Path) -> None:
    secret = "a-password-that-no-output-contains"
    url = database.url("metrics").set(port=free_port(), password=secret).render_as_string(hide_password=False)
    with exporter(tmp_path / "log", "figures", DATABASE_URL=url) as figures:
        assert figures.scrape() == {"neobank_figures_up": 0}
    log = (tmp_path / "log").read_text()
    assert "The figures can't be read from the database" in log
    assert secret not in log


def test_figures_recover_after_an_outage(database: Database, figures: Exporter, engine: Engine, owner: Engine) -> None:
    if database.embedded is None:
        pytest.skip("NEOBANK_TEST_DATABASE_URL names a server that the tests may not stop")
    database.embedded.stop()
    try:
        assert figures.scrape() == {"neobank_figures_up": 0}
    finally:
        database.embedded.start()
        for ours in (engine, owner):
            ours.dispose()
    assert figures.scrape()["neobank_figures_up"] == 1


def test_the_figures_view_keeps_the_columns_of_older_images(owner: Engine, fresh: UpgradeSettings) -> None:
    """Migrations only add columns, and a second upgrade changes nothing."""
    upgrade(fresh)
    with owner.connect() as connection:
        names = list(connection.execute(text("SELECT * FROM ledger_figures")).keys())
    assert names[:3] == ["money_supply", "house_balance", "total"]


@pytest.mark.parametrize(
    ("command", "change", "named"),
    [
        ("metrics", {"METRICS_FOLDER": ""}, "METRICS_FOLDER is not set"),
        ("metrics", {"METRICS_FOLDER": "/no/such/folder"}, "is not a folder: start the bank first"),
        ("metrics", {"METRICS_PORT": "http"}, "METRICS_PORT is 'http'"),
        ("metrics", {"HOST": "203.0.113.1"}, "can't listen on port 9464 of 203.0.113.1"),
        ("figures", {"DATABASE_URL": ""}, "DATABASE_URL is not set"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    tmp_path: Path, command: str, change: dict[str, str], named: str
) -> None:
    environment = {"METRICS_FOLDER": str(tmp_path), "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"} | change
    result = neobank(command, **environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_process_1_of_a_container_ends_on_sigterm(tmp_path: Path) -> None:
    """The kernel drops a signal to process 1 unless it has a handler or the process waits for it."""
    words = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no process namespace (unshare --user --pid)")
    with exporter(tmp_path / "log", "metrics", within=words, METRICS_FOLDER=str(tmp_path)) as command:
        children = Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children")
        [first] = children.read_text().split()
        assert Path(f"/proc/{first}/status").read_text().partition("NSpid:")[2].split()[1] == "1"
        os.kill(int(first), signal.SIGTERM)
        assert command.process.wait(timeout=60) == 0

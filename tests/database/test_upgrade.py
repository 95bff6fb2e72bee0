"""The runbook docs/postgresql-upgrade.md: its commands, from 16 to 17 and then to 18, with real servers and tools.

The bank has players with sessions, transfers, an idempotent response, a vendor's key, a reversal and an audit log.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from flask.testing import FlaskClient

from neobank import migrations
from neobank.application import create_app
from neobank.contract import CONTRACT
from neobank.settings import ServingSettings
from tests.database.runbook import NEW, OLD, RUNBOOK, Cluster, serve, url
from tests.database.servers import embedded, end
from tests.database.support import CATALOGUE, as_superuser, ask, assert_refused, catalogue, listing, pod
from tests.infra.documents import code_blocks
from tests.infra.program import run_prod
from tools.postgres import Postgres, free_port

ORGANISER = "Organiser"
PAYMENT = {"amount": 12.34, "memo": "for the call"}

Headers = dict[str, str]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[[str], Postgres]]:
    """Return a function that makes a server of a major; all share one port and one set of passwords, as in a stack."""
    made: list[Postgres] = []
    port = free_port()

    def make(major: str) -> Postgres:
        server = embedded(tmp_path / f"volume of {major}", major)
        server.port, server.credentials = port, tmp_path / "credentials"
        if not made:
            shutil.copytree(tmp_path / f"volume of {major}" / "credentials", server.credentials)
        made.append(server)
        return server

    yield make
    for server in made:
        end(server)


@dataclass
class Bank:
    """The service on one server; as a context manager, its HTTP client."""

    server: Postgres
    address: str = NEW

    def __enter__(self) -> FlaskClient:
        names = CONTRACT.environment
        login = url(self.server, "application", self.address)
        unlimited = {names.database_url: login, names.secret_key: "k" * 32, names.rate_limits: "off"}
        self.app = create_app(ServingSettings.from_environment(unlimited))
        return self.app.test_client()

    def __exit__(self, *_: object) -> None:
        self.app.extensions["neobank"].engine.dispose()


def neobank(server: Postgres, *words: str) -> str:
    """Run a command of the service with both database URLs. Raise CalledProcessError if it fails."""
    names = CONTRACT.environment
    environment = {
        **os.environ,
        names.database_owner_url: url(server, "owner", NEW),
        names.database_url: url(server, "application", NEW),
        names.admin_name: ORGANISER,
        names.admin_password: "password of " + ORGANISER,
    }
    command = [str(Path(sys.executable).parent / "neobank"), *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def log_in(client: FlaskClient, name: str) -> Headers:
    answer = client.post("/api/v1/auth/login", json={"character_name": name, "password": "password of " + name})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.get_json()['access_token']}"}


@dataclass(frozen=True)
class People:
    """The sessions and account numbers of the users, and the id of the transfer made with an idempotency key."""

    headers: dict[str, Headers]
    numbers: dict[str, str]
    paid: int


def fill(client: FlaskClient) -> People:
    """Register players, make payments, and change accounts as an organiser."""
    players: dict[str, Headers] = {}
    numbers: dict[str, str] = {}
    for name in ("Neo", "Trinity", "Ünïcode 🏢"):
        who = {"character_name": name, "password": "password of " + name, "faction": "Runners"}
        registered = client.post("/api/v1/auth/register", json=who)
        assert registered.status_code == 201, registered.text
        players[name] = log_in(client, name)
        numbers[name] = registered.get_json()["user"]["account_number"]
    organiser = log_in(client, ORGANISER)
    payment = PAYMENT | {"to_account": numbers["Trinity"]}
    for _ in range(3):
        assert client.post("/api/v1/transactions", json=payment, headers=players["Neo"]).status_code == 201
    kept = players["Neo"] | {"Idempotency-Key": "once"}
    paid = client.post("/api/v1/transactions", json=payment, headers=kept).get_json()["transaction"]["id"]
    for path, body in {
        f"/api/admin/users/{numbers['Neo']}/adjust-balance": {"amount": 5, "reason": "a gift"},
        "/api/admin/factions/Runners/add-credits": {"amount": 1, "reason": "for all"},
        f"/api/admin/transactions/{paid - 1}/reverse": {"reason": "a mistake"},
        "/api/admin/api-keys": {"description": "bar"},
    }.items():
        answer = client.post(path, json=body, headers=organiser)
        assert answer.status_code in {200, 201}, (path, answer.text)
    return People(players | {ORGANISER: organiser}, numbers, paid)


PERMISSIONS = {  # who is there, who owns what, and who may do what
    **{name: CATALOGUE[name] for name in ("members", "settings", "databases")},
    "roles": CATALOGUE["roles"].replace("ORDER BY", "WHERE rolname ~ '^(neobank|postgres)' ORDER BY"),
    "schemas": CATALOGUE["schemas"].replace("ORDER BY", "AND nspname IN ('public', 'administration') ORDER BY"),
    "tables": "SELECT grantee::text, table_schema::text, table_name::text, privilege_type::text FROM"
    " information_schema.role_table_grants WHERE grantee ~ '^neobank' OR table_schema = 'public' ORDER BY 1, 2, 3, 4",
    "columns": "SELECT grantee::text, table_name::text, column_name::text, privilege_type::text FROM"
    " information_schema.column_privileges WHERE grantee ~ '^neobank' AND table_schema = 'public' ORDER BY 1, 2, 3, 4",
    "functions": "SELECT p.oid::regprocedure::text, prosecdef, proconfig, proowner::regrole::text, proacl::text"
    " FROM pg_proc AS p WHERE pronamespace IN ('public'::regnamespace, 'administration'::regnamespace)"
    " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e') ORDER BY 1",  # an extension's own
    "owners": "SELECT relname::text, relkind::text, relpersistence::text, relowner::regrole::text FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "constraints": "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), convalidated"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2",
    "identities": "SELECT table_name::text, column_name::text, identity_generation::text FROM"
    " information_schema.columns WHERE is_identity = 'YES' ORDER BY 1, 2",
}


def contents(server: Postgres) -> dict[str, object]:
    """Return number and digest of each table's rows, and the last value of each sequence."""
    superuser = as_superuser(server)
    tables = ask(superuser, "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200 ORDER BY 1")
    found: dict[str, object] = {}
    for (table,) in tables:
        rows = ask(superuser, f"SELECT t::text FROM public.{table} AS t ORDER BY 1")  # noqa: S608
        found[str(table)] = len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()
    found["sequences"] = ask(superuser, "SELECT sequencename::text, last_value FROM pg_sequences ORDER BY 1")
    return found


def deployed(major: str) -> str:
    """Return what kubectl would list of the program's workloads, as JSON."""
    program = run_prod({"production": False, "postgres": {"major": int(major), "image": ""}})
    return json.dumps(program.listed("Deployment", "Job"))


def move(cluster: Cluster, majors: tuple[str, str]) -> None:
    """Follow the runbook from the old server to the new one, and check the data after each step."""
    (cluster.folder / "deployed.json").write_text(deployed(majors[0]), encoding="utf-8")
    _, start, close, copy, keep, verify, stop, switch = code_blocks(RUNBOOK)
    cluster.paste(start, majors)
    serve(cluster.new, NEW)
    assert "All balances agree" in cluster.paste(close, majors)
    before, allowed = contents(cluster.old), catalogue(cluster.old, PERMISSIONS)
    assert f"at revision {migrations.head()}." in cluster.paste(copy, majors)
    one, other = re.findall(r"^[0-9a-f]{64}", cluster.paste(keep, majors), re.MULTILINE)
    assert one == other
    cluster.paste(verify, majors)
    assert contents(cluster.new) == before == contents(cluster.old)
    assert catalogue(cluster.new, PERMISSIONS) == allowed
    cluster.paste(stop, majors)
    cluster.new.stop()
    cluster.old.stop()
    serve(cluster.new, NEW)
    assert "All balances agree" in cluster.paste(switch, majors)


def assert_serving(bank: Bank, people: People, transfers: int) -> None:
    """Assert that sessions are valid, the idempotent response is kept, and a new transfer gets a higher id."""
    neo = people.headers["Neo"]
    payment = PAYMENT | {"to_account": people.numbers["Trinity"]}
    with bank as client:
        again = client.post("/api/v1/transactions", json=payment, headers=neo | {"Idempotency-Key": "once"})
        assert again.get_json()["transaction"]["id"] == people.paid
        new = client.post("/api/v1/transactions", json=payment, headers=neo)
        assert new.status_code == 201, new.text
        assert new.get_json()["transaction"]["id"] > transfers
        credit = {"amount": 1, "reason": "once more"}
        path = "/api/admin/factions/Runners/add-credits"
        organised = client.post(path, json=credit, headers=people.headers[ORGANISER])
        assert organised.status_code in {200, 201}, organised.text
        log_in(client, "Trinity")
    assert "All balances agree" in neobank(bank.server, "verify")


def last_transfer(server: Postgres) -> int:
    [(last,)] = ask(as_superuser(server), "SELECT max(id) FROM transfers")
    return int(str(last))


def test_the_runbook_moves_a_bank_from_16_to_17_to_18_and_the_old_volume_still_works(
    machines: Callable[[str], Postgres], tmp_path: Path
) -> None:
    servers = {major: machines(major) for major in ("16", "17", "18")}
    first = servers["16"]
    serve(first, NEW)
    neobank(first, "db", "upgrade")
    with Bank(first) as client:
        people = fill(client)
    kept, paid = contents(first), last_transfer(first)
    first.stop()
    for old, new in (("16", "17"), ("17", "18")):
        serve(servers[old], OLD)
        transfers = last_transfer(servers[old])
        move(Cluster(tmp_path / f"to-{new}", servers[old].port, servers[old], servers[new]), (old, new))
        left = listing(servers[old].volume)
        assert_serving(Bank(servers[new]), people, transfers)
        servers[new].stop()
        assert listing(servers[old].volume) == left
    serve(first, NEW)
    assert contents(first) == kept
    assert_serving(Bank(first), people, paid)


def test_each_major_rejects_the_volumes_of_the_others(machines: Callable[[str], Postgres]) -> None:
    servers = {major: machines(major) for major in ("16", "17", "18")}
    for server in servers.values():
        assert pod(server, "prepare").process.wait(timeout=120) == 0
    for theirs, owner in servers.items():
        before = listing(owner.volume)
        for mine, stranger in servers.items():
            if mine != theirs:
                stranger.volume, own = owner.volume, stranger.volume
                for command in ("prepare", "serve"):
                    assert_refused(pod(stranger, command), theirs, mine, "docs/postgresql-upgrade.md")
                stranger.volume = own
        assert listing(owner.volume) == before


def test_the_stack_uses_the_claim_that_the_runbook_names() -> None:
    [written] = code_blocks(RUNBOOK, "yaml")
    change = {key.removeprefix("neobank:"): value for key, value in yaml.safe_load(written).items()}
    spec = run_prod(change).find("Deployment", "postgres-deployment")
    pod_spec = spec.inputs["spec"]["template"]["spec"]
    claims = [it["persistentVolumeClaim"] for it in pod_spec["volumes"] if "persistentVolumeClaim" in it]
    assert [it["claimName"] for it in claims] == ["postgres-17"]
    assert {"name": "PGDATA", "value": "/pgdata/17"} in pod_spec["containers"][0]["env"]

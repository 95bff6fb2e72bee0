"""The service's role can do what only organisers may do only with an audit row of an organiser who may act."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from neobank.admin import users
from neobank.admin.users import Subject
from neobank.audit.operations import NotAnOrganiser, record
from neobank.audit.verification import unexplained
from neobank.database import connect
from neobank.ledger.models import HOUSE_ID, SYSTEM_ID
from tests.service.locks import await_waiting
from tests.service.support import OPENING_BALANCE, Database, Join, LoggedIn, open_players

pytestmark = pytest.mark.usefixtures("fresh", "books")

PAY = text("SELECT post_payment(:debit, (SELECT number FROM accounts WHERE id = :credit), :amount, :kind, '', :actor)")
AUDIT = text("SELECT record_audit(:actor, :action, '', :details)")
ORGANISERS = text(
    "SELECT count(*) FROM players WHERE is_admin AND may_act((SELECT a FROM accounts a WHERE a.id = account_id))"
)
FACTS = text("""
    SELECT (SELECT count(*) FROM transfers), (SELECT count(*) FROM audit_logs), (SELECT count(*) FROM api_keys),
        (SELECT string_agg(players::text, ' ' ORDER BY account_id) FROM players),
        (SELECT string_agg(accounts::text, ' ' ORDER BY id) FROM accounts),
        (SELECT string_agg(games::text || switches::text, ' ' ORDER BY name) FROM games, switches),
        (SELECT count(*) FROM dial_versions), (SELECT count(*) FROM factions), (SELECT count(*) FROM reversals)
""")


@pytest.fixture
def organiser_id(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(text("SELECT account_id FROM players WHERE is_admin")).scalar_one()
    return found


@pytest.fixture
def players(engine: Engine, organiser_id: int) -> list[int]:
    """The ids of two players, then of the organiser."""
    with engine.begin() as connection:
        return [*open_players(connection, 2), organiser_id]


def run(engine: Engine, *statements: tuple[TextClause, Mapping[str, object]]) -> None:
    """Execute statements in one transaction."""
    with engine.begin() as connection:
        for statement, values in statements:
            connection.execute(statement, values)


def refusal(engine: Engine, *statements: tuple[TextClause, Mapping[str, object]]) -> str | None:
    """Assert that a transaction is refused and changes nothing; return the constraint that refused it."""
    with engine.connect() as connection:
        before = connection.execute(FACTS).one()
    with pytest.raises(DBAPIError) as refused:
        run(engine, *statements)
    with engine.connect() as connection:
        assert connection.execute(FACTS).one() == before
    diagnostics = getattr(refused.value.orig, "diag", None)
    constraint: str | None = getattr(diagnostics, "constraint_name", None)
    return constraint


NEW_KEY = (
    "INSERT INTO api_keys (key_hash, prefix, description, scope, account_id, created_by)"
    " VALUES ('x', 'x', 'x', 'debit', :player, :organiser)"
)
CHANGES = [
    "UPDATE players SET is_admin = true WHERE account_id = :player",
    "INSERT INTO players (account_id, password_hash, is_admin) VALUES (open_account('NC-X', 'X', 'x'), '', true)",
    "SELECT set_frozen(:player, true)",
    "UPDATE switches SET read_only = true",
    "UPDATE switches SET registration = 'closed'",
    "SELECT set_game('glitch_grid', false, NULL, :organiser)",
    "SELECT set_game('glitch_grid', NULL, 15000, :organiser)",
    "INSERT INTO factions (name, name_key) VALUES ('Zion', 'zion')",
    NEW_KEY,
    "INSERT INTO reversals SELECT max(id), min(id) FROM transfers",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_only_organisers_make_needs_an_audit_row(engine: Engine, players: list[int], change: str) -> None:
    values = {"player": players[0], "organiser": players[2]}
    assert refusal(engine, (text(change), values)) == "organisers_are_audited"
    earlier = {"actor": players[2], "action": "x", "details": "{}"}
    with engine.begin() as connection:
        connection.execute(AUDIT, earlier)
    assert refusal(engine, (text(change), values)) == "organisers_are_audited", "an earlier row is not enough"
    with engine.begin() as connection:
        connection.execute(text(change), values)
        connection.execute(AUDIT, earlier)


def test_a_key_is_not_revoked_without_an_audit_row(engine: Engine, owner: Engine, players: list[int]) -> None:
    with owner.begin() as connection:
        connection.execute(text(NEW_KEY), {"player": players[0], "organiser": players[2]})
    revoke = text("UPDATE api_keys SET revoked_at = now()")
    assert refusal(engine, (revoke, {})) == "organisers_are_audited"


FROM_SYSTEM: dict[str, object] = {"debit": SYSTEM_ID, "kind": "admin_adjustment"}
UNEXPLAINED: dict[str, dict[str, object]] = {
    "an adjustment": FROM_SYSTEM,
    "a transfer from SYSTEM": {"debit": SYSTEM_ID, "kind": "transfer"},
    "a refund from SYSTEM": {"debit": SYSTEM_ID, "kind": "refund"},
    "a transfer from the house": {"debit": HOUSE_ID, "kind": "transfer"},
    "an adjustment of a player": {"debit": 1, "kind": "admin_adjustment"},
    "a reversal between players": {"debit": 1, "kind": "reversal"},
    "a second opening balance": {"debit": SYSTEM_ID, "kind": "opening_balance", "actor": SYSTEM_ID},
}


@pytest.mark.parametrize("transfer", UNEXPLAINED.values(), ids=UNEXPLAINED)
@pytest.mark.parametrize("way", ["post_payment", "post_transfers"])
def test_a_transfer_that_only_organisers_make_needs_an_audit_row_that_names_it(
    engine: Engine, players: list[int], transfer: dict[str, object], way: str
) -> None:
    values: dict[str, object] = {"credit": players[0], "amount": 100, "actor": players[2]} | transfer
    if values["debit"] == 1:
        values["debit"] = players[1]
    pay = PAY
    if way == "post_transfers":
        pay = text(
            "SELECT post_transfers(ARRAY[CAST(:debit AS bigint)], ARRAY[CAST(:credit AS bigint)],"
            " ARRAY[CAST(:amount AS bigint)], :kind, '', :actor)"
        )
    audit = {"actor": players[2], "action": "adjust_balance", "details": '{"amount": 1, "transaction": 1}'}
    assert refusal(engine, (pay, values)) == "transfers_are_explained"
    assert refusal(engine, (pay, values), (AUDIT, audit)) == "transfers_are_explained", "the row names another transfer"


def explained(connection: Connection, values: Mapping[str, object], audit: Mapping[str, object]) -> None:
    """Post a transfer, with an audit row that names it if `{transaction}` stands in its details."""
    connection.execute(PAY, values)
    newest = connection.execute(text("SELECT max(id) FROM transfers")).scalar_one()
    connection.execute(AUDIT, {**audit, "details": str(audit["details"]).replace("{transaction}", str(newest))})


@pytest.mark.parametrize(
    ("action", "details"),
    [
        ("adjust_balance", '{"transaction": {transaction}}'),
        ("reverse", '{"transaction": {transaction}}'),
        ("add_credits", '{"amount": 1.0, "reason": ""}'),
    ],
)
def test_an_audit_row_explains_the_transfer_that_it_names(
    engine: Engine, players: list[int], action: str, details: str
) -> None:
    values = FROM_SYSTEM | {"credit": players[0], "amount": 100, "actor": players[2]}
    with engine.begin() as connection:
        explained(connection, values, {"action": action, "details": details, "actor": players[2]})
    with engine.connect() as connection:
        assert unexplained(connection) == []


@pytest.mark.parametrize(
    ("action", "details"),
    [
        ("add_credits", '{"amount": 1.01, "reason": ""}'),
        ("add_credits", '{"amount": 1.0, "reason": "x"}'),
        ("import_players", '{"players": 1}'),
        ("freeze", "{}"),
    ],
)
def test_an_audit_row_explains_no_other_transfer(engine: Engine, players: list[int], action: str, details: str) -> None:
    values = FROM_SYSTEM | {"credit": players[0], "amount": 100, "actor": players[2]}
    audit = {"action": action, "details": details, "actor": players[2]}
    assert refusal(engine, (PAY, values), (AUDIT, audit)) == "transfers_are_explained"


def test_the_actor_of_the_transfer_must_be_the_actor_of_the_audit_row(engine: Engine, players: list[int]) -> None:
    values = FROM_SYSTEM | {"credit": players[0], "amount": 100, "actor": players[1]}
    credit = {"action": "add_credits", "details": '{"amount": 1.0, "reason": ""}', "actor": players[2]}
    assert refusal(engine, (PAY, values), (AUDIT, credit)) == "transfers_are_explained"
    audit = {"action": "adjust_balance", "details": '{"transaction": {transaction}}', "actor": players[2]}
    with pytest.raises(DBAPIError, match="needs an audit row"), engine.begin() as connection:
        explained(connection, values, audit)


def test_a_credit_for_a_faction_explains_adjustments_only(engine: Engine, players: list[int]) -> None:
    values = {"debit": SYSTEM_ID, "credit": players[0], "amount": 100, "kind": "transfer", "actor": players[2]}
    credit = {"action": "add_credits", "details": '{"amount": 1.0, "reason": ""}', "actor": players[2]}
    assert refusal(engine, (PAY, values), (AUDIT, credit)) == "transfers_are_explained"


def test_verification_finds_exactly_the_transfers_without_a_reason(
    engine: Engine, owner: Engine, players: list[int]
) -> None:
    """Only the owner can post them."""
    neo, trinity, organiser = players
    posted = [
        (neo, trinity, "transfer", False),
        (neo, trinity, "reversal", True),
        (neo, trinity, "admin_adjustment", True),
        (neo, SYSTEM_ID, "admin_adjustment", True),
        (HOUSE_ID, neo, "transfer", True),
        (SYSTEM_ID, neo, "refund", True),
        (SYSTEM_ID, neo, "opening_balance", True),
        (neo, HOUSE_ID, "transfer", False),
    ]
    with owner.begin() as connection:
        for debit, credit, kind, _ in posted:
            connection.execute(PAY, {"debit": debit, "credit": credit, "amount": 7, "kind": kind, "actor": organiser})
        newest = connection.execute(text("SELECT max(id) FROM transfers")).scalar_one()
    first = newest - len(posted) + 1
    expected = [first + place for place, (*_, wrong) in enumerate(posted) if wrong]
    with engine.connect() as connection:
        assert [found.transfer_id for found in unexplained(connection)] == expected
    audit = {"actor": organiser, "action": "reverse", "details": f'{{"transaction": {expected[0]}}}'}
    run(engine, (AUDIT, audit))
    with engine.connect() as connection:
        assert [found.transfer_id for found in unexplained(connection)] == expected[1:]
    with owner.begin() as connection:
        connection.execute(text("UPDATE audit_logs SET created_at = created_at + interval '2 minutes'"))
    with engine.connect() as connection:
        assert [found.transfer_id for found in unexplained(connection)] == expected, "a later row explains nothing"


def test_only_an_import_pays_a_larger_opening_balance(engine: Engine, organiser_id: int) -> None:
    opening = text("SELECT post_payment(:system, 'NC-X', :amount, 'opening_balance', '', :system)")
    account: tuple[TextClause, dict[str, object]] = (text("SELECT open_account('NC-X', 'X', 'x')"), {})
    larger = (opening, {"system": SYSTEM_ID, "amount": OPENING_BALANCE + 1})
    assert refusal(engine, account, larger) == "transfers_are_explained"
    assert refusal(engine, account, larger, larger) == "transfers_are_explained"
    audit = {"actor": organiser_id, "action": "import_players", "details": "{}"}
    with engine.begin() as connection:
        for statement, values in (account, larger, (AUDIT, audit)):
            connection.execute(statement, values)


def test_two_opening_balances_at_once_are_not_both_paid(engine: Engine) -> None:
    with engine.begin() as connection:
        account = connection.execute(text("SELECT open_account('NC-X', 'X', 'x')")).scalar_one()
    values = {"debit": SYSTEM_ID, "credit": account, "amount": 1, "kind": "opening_balance", "actor": SYSTEM_ID}

    def pay(_: int) -> bool:
        try:
            with engine.begin() as connection:
                connection.execute(PAY, values)
        except DBAPIError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(pay, range(16))) == 1


@pytest.mark.parametrize("kind", ["casino_bet", "casino_win"])
def test_only_a_round_posts_bets_and_wins(engine: Engine, players: list[int], kind: str) -> None:
    values = {"debit": HOUSE_ID, "credit": players[0], "amount": 1, "kind": kind, "actor": players[0]}
    assert refusal(engine, (PAY, values)) == "only_rounds_are_bets"
    many = text(
        "SELECT post_transfers(ARRAY[:debit], ARRAY[:credit], ARRAY[CAST(:amount AS bigint)], :kind, '', :actor)"
    )
    assert refusal(engine, (many, values)) == "only_rounds_are_bets"


@pytest.mark.parametrize("state", ["is_admin = false", "frozen = true"])
def test_only_an_organiser_who_may_act_is_recorded_as_an_actor(
    engine: Engine, owner: Engine, players: list[int], state: str
) -> None:
    table, key = ("players", "account_id") if "admin" in state else ("accounts", "id")
    with owner.begin() as connection:
        connection.execute(text("UPDATE players SET is_admin = true"))
        connection.execute(text(f"UPDATE {table} SET {state} WHERE {key} = :id"), {"id": players[0]})  # noqa: S608
    for actor in (players[0], SYSTEM_ID):
        with pytest.raises(NotAnOrganiser), engine.begin() as connection:
            record(connection, actor=actor, action="x", target="x", details={})
    with engine.begin() as connection:
        record(connection, actor=players[1], action="x", target="x", details={})


def test_the_details_of_an_audit_row_are_json(engine: Engine, organiser_id: int) -> None:
    with pytest.raises(DBAPIError, match="invalid input syntax for type json"), engine.begin() as connection:
        connection.execute(AUDIT, {"actor": organiser_id, "action": "x", "details": "{"})


@pytest.mark.parametrize(
    "deactivation",
    ["UPDATE players SET is_admin = false", "SELECT set_frozen(account_id, true) FROM players WHERE is_admin"],
)
@pytest.mark.parametrize("role", ["application", "owner"])
def test_the_database_keeps_an_organiser_who_may_act(
    database: Database, engine: Engine, players: list[int], role: str, deactivation: str
) -> None:
    audit = {"actor": players[2], "action": "x", "details": "{}"}
    by = connect(database.url(role))
    assert refusal(by, (AUDIT, audit), (text(deactivation), {})) == "an_organiser_remains"
    by.dispose()
    with engine.connect() as connection:
        assert connection.execute(ORGANISERS).scalar_one() == 1


def test_two_transactions_at_once_do_not_demote_the_last_two_organisers(owner: Engine, players: list[int]) -> None:
    """Without an audit row, which only the owner can omit, the trigger's own lock decides."""
    demotion = text("UPDATE players SET is_admin = false WHERE account_id = :player")
    check = text("SET CONSTRAINTS ALL IMMEDIATE")
    with owner.begin() as connection:
        connection.execute(text("UPDATE players SET is_admin = account_id <> :other"), {"other": players[1]})
    with ThreadPoolExecutor(1) as pool:
        with owner.begin() as connection:
            connection.execute(demotion, {"player": players[0]})
            connection.execute(check)
            other = pool.submit(run, owner, (demotion, {"player": players[2]}), (check, {}))
            await_waiting(owner, 1, other)
        with pytest.raises(IntegrityError, match="no organiser who may act would remain"):
            other.result()


def demote(connection: Connection, subject: Subject, by: int) -> None:
    users.set_role(connection, subject, is_admin=False, by=by)


def freeze(connection: Connection, subject: Subject, by: int) -> None:
    users.freeze(connection, subject, by=by)


@pytest.mark.parametrize("deactivate", [demote, freeze])
def test_of_two_organisers_who_deactivate_each_other_one_remains(
    engine: Engine, owner: Engine, players: list[int], deactivate: Callable[[Connection, Subject, int], None]
) -> None:
    neo, _, organiser = players
    with owner.begin() as connection:
        connection.execute(text("UPDATE players SET is_admin = true WHERE account_id = :neo"), {"neo": neo})

    def act(subject: int, by: int) -> None:
        with engine.begin() as connection:
            deactivate(connection, Subject(subject, "", frozen=False), by)
            record(connection, actor=by, action="x", target="x", details={})

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            deactivate(connection, Subject(neo, "", frozen=False), organiser)
            record(connection, actor=organiser, action="x", target="x", details={})
            other = pool.submit(act, organiser, neo)
            await_waiting(owner, 1, other)
        with pytest.raises(NotAnOrganiser):
            other.result()
    with engine.connect() as connection:
        assert connection.execute(ORGANISERS).scalar_one() == 1


def test_organisers_who_demote_each_other_at_once_get_one_success_and_one_sentence(
    organiser: LoggedIn, neo: LoggedIn, engine: Engine
) -> None:
    organiser.administer("POST", f"/users/{neo.number}/toggle-admin", is_admin=True)
    with ThreadPoolExecutor(2) as pool:
        answers = [
            pool.submit(by.administer, "POST", f"/users/{subject.number}/toggle-admin", is_admin=False)
            for by, subject in ((organiser, neo), (neo, organiser))
        ]
        statuses = sorted(answer.result().status_code for answer in answers)
    assert statuses == [200, 403]
    with engine.connect() as connection:
        assert connection.execute(ORGANISERS).scalar_one() == 1


def test_organisers_who_appoint_the_same_player_do_not_cancel_each_other(
    organiser: LoggedIn, neo: LoggedIn, player: Join
) -> None:
    path = f"/users/{neo.number}/toggle-admin"
    turns: list[tuple[object, bool]] = [(True, True), (True, True), (False, False), (False, False)]
    for is_admin, expected in [*turns, (None, True), ("", False)]:
        answer = organiser.administer("POST", path, is_admin=is_admin)
        assert answer.get_json()["user"]["is_admin"] is expected, is_admin
    invalid: list[object] = ["yes", 1, [], "true"]
    for value in invalid:
        assert organiser.administer("POST", path, is_admin=value).status_code == 400
    without_body = organiser.client.post(f"/api/admin{path}", headers=organiser.headers)
    assert without_body.get_json()["user"]["is_admin"] is True
    assert player("Smith").administer("POST", path, is_admin=False).status_code == 403


def test_an_organiser_can_neither_demote_nor_freeze_themselves(organiser: LoggedIn, neo: LoggedIn) -> None:
    organiser.administer("POST", f"/users/{neo.number}/toggle-admin", is_admin=True)
    for action in ("toggle-admin", "freeze"):
        refused = organiser.administer("POST", f"/users/{organiser.number}/{action}")
        assert (refused.status_code, refused.content_type) == (403, "application/problem+json")
        assert "your own" in refused.get_json()["error"]
    assert organiser.administer("GET", "/stats").status_code == 200


def test_an_error_of_the_audit_log_other_than_the_actor_is_not_translated(engine: Engine, organiser_id: int) -> None:
    with engine.begin() as connection, pytest.raises(IntegrityError, match="null value"):
        record(connection, actor=organiser_id, action=None, target="x", details={})  # type: ignore[arg-type]

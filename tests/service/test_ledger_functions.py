"""The SQL functions of the ledger reject arguments that no route would send, and change nothing."""

from collections.abc import Mapping
from typing import cast

import pytest
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

from neobank.ledger.models import HOUSE_ID, SYSTEM_ID
from neobank.ledger.money import MAX_BALANCE
from tests.service.support import OPENING_BALANCE, Books, open_players

pytestmark = pytest.mark.usefixtures("fresh", "books")

POST_MANY = text("SELECT post_transfers(:debits, :credits, :amounts, :kind, :memo, :actor)")
POST = text(
    "SELECT post_payment(:debit, (SELECT number FROM accounts WHERE id = :credit), :amount, :kind, :memo, :actor)"
)
SET_FROZEN = text("SELECT set_frozen(:account, :frozen)")
STATE = text(
    "SELECT (SELECT count(*) FROM transfers), (SELECT array_agg((account_id, shard, balance)::text ORDER BY "
    "account_id, shard) FROM balances), (SELECT count(*) FROM accounts WHERE frozen)"
)
UNKNOWN_ID = 123_456_789_012


@pytest.fixture
def players(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return open_players(connection, 3)


def violated(engine: Engine, statement: TextClause, values: Mapping[str, object]) -> str | None:
    """Assert that a statement is refused and changes nothing; return the constraint that refused it."""
    before = state(engine)
    with pytest.raises(DBAPIError) as refused, engine.begin() as connection:
        connection.execute(statement, values)
    assert state(engine) == before
    diagnostics = getattr(refused.value.orig, "diag", None)
    return cast("str | None", getattr(diagnostics, "constraint_name", None))


def state(engine: Engine) -> object:
    with engine.connect() as connection:
        return connection.execute(STATE).one()


def entries(*moves: tuple[int | None, int | None, int | None]) -> dict[str, object]:
    """Return the arguments for transfers; 0, 1 and 2 stand for the players, other numbers are account ids."""
    debits, credits_, amounts = (list(column) for column in zip(*moves, strict=True))
    return {"debits": debits, "credits": credits_, "amounts": amounts}


Arguments = dict[str, object]

BAD_BATCHES: list[tuple[str, Arguments, str | None]] = [
    ("an amount of zero", entries((0, 1, 0)), "transfer_moves_something"),
    ("a negative amount", entries((0, 1, -5)), "transfer_moves_something"),
    ("a negative amount among others", entries((0, 1, 50), (0, 1, -40)), "transfer_moves_something"),
    ("no amount", entries((0, 1, None)), None),
    ("no payer", entries((None, 1, 5)), None),
    ("no receiver", entries((0, None, 5)), None),
    ("an account pays itself", entries((0, 0, 5)), "transfer_between_two"),
    ("an account pays itself in the second transfer", entries((0, 1, 5), (1, 1, 5)), "transfer_between_two"),
    ("an unknown payer", entries((UNKNOWN_ID, 1, 5)), "transfers_debit_account_id_fkey"),
    ("an unknown receiver", entries((0, UNKNOWN_ID, 5)), "transfers_credit_account_id_fkey"),
    ("more than the balance", entries((0, 1, OPENING_BALANCE + 1)), "balance_not_below_floor"),
    ("more than the balance in total", entries((0, 1, 60_000), (0, 2, 60_000)), "balance_not_below_floor"),
    ("more than the largest balance", entries((SYSTEM_ID, 1, MAX_BALANCE)), "balance_within_bounds"),
    ("more than a bigint", entries((SYSTEM_ID, 1, 2**63 - 1), (SYSTEM_ID, 1, 2**63 - 1)), None),
    ("fewer amounts than transfers", entries((0, 1, 5), (1, 2, 5)) | {"amounts": [5]}, None),
    ("fewer receivers than transfers", entries((0, 1, 5), (1, 2, 5)) | {"credits": [1]}, None),
    ("more than the house has", entries((HOUSE_ID, 1, 900_000_000_000)), "balance_not_below_floor"),
    ("a long memo", entries((0, 1, 5)) | {"memo": "x" * 141}, "transfer_memo_is_short"),
    ("no memo", entries((0, 1, 5)) | {"memo": None}, None),
    ("no kind", entries((0, 1, 5)) | {"kind": None}, None),
    ("an unknown actor", entries((0, 1, 5)) | {"actor": UNKNOWN_ID}, "transfers_actor_id_fkey"),
]


@pytest.mark.parametrize(
    ("arguments", "refusal"), [bad[1:] for bad in BAD_BATCHES], ids=[bad[0] for bad in BAD_BATCHES]
)
def test_post_transfers_rejects_invalid_arguments(
    engine: Engine, players: list[int], arguments: Arguments, refusal: str | None
) -> None:
    ids = [
        [players[number] if number in range(3) else number for number in cast("list[int]", arguments[side])]
        for side in ("debits", "credits")
    ]
    values = {"kind": "transfer", "memo": "", "actor": players[0]} | arguments | {"debits": ids[0], "credits": ids[1]}
    constraint = violated(engine, POST_MANY, values)
    assert refusal is None or constraint == refusal


BAD_TRANSFERS: list[tuple[str, Arguments, str | None]] = [
    ("an amount of zero", {"amount": 0}, "transfer_moves_something"),
    ("a negative amount", {"amount": -1}, "transfer_moves_something"),
    ("no amount", {"amount": None}, None),
    ("no payer", {"debit": None}, None),
    ("an unknown payer", {"debit": UNKNOWN_ID}, "transfers_debit_account_id_fkey"),
    ("more than a bigint", {"amount": 2**63 - 1}, None),
    ("a long memo", {"memo": "é" * 141}, "transfer_memo_is_short"),
    ("no memo", {"memo": None}, None),
    ("no kind", {"kind": None}, None),
    ("an unknown actor", {"actor": UNKNOWN_ID}, "transfers_actor_id_fkey"),
    ("no actor", {"actor": None}, None),
]


@pytest.mark.parametrize(
    ("arguments", "refusal"), [bad[1:] for bad in BAD_TRANSFERS], ids=[bad[0] for bad in BAD_TRANSFERS]
)
def test_post_payment_rejects_invalid_arguments(
    engine: Engine, players: list[int], arguments: Arguments, refusal: str | None
) -> None:
    good: Arguments = {
        "debit": players[0],
        "credit": players[1],
        "amount": 1,
        "kind": "transfer",
        "memo": "",
        "actor": players[0],
    }
    constraint = violated(engine, POST, good | arguments)
    assert refusal is None or constraint == refusal


@pytest.mark.parametrize("kind", ["transfer", "vendor_charge", "refund", "opening_balance", "anything"])
def test_a_frozen_account_cannot_pay_alone_or_among_others(
    engine: Engine, owner: Engine, players: list[int], kind: str
) -> None:
    with owner.begin() as connection:
        connection.execute(SET_FROZEN, {"account": players[2], "frozen": True})
    common: Arguments = {"kind": kind, "memo": "", "actor": players[0]}
    statements: list[tuple[TextClause, Arguments]] = [
        (POST, {"debit": players[2], "credit": players[0], "amount": 1}),
        (POST_MANY, {"debits": players, "credits": [*players[1:], players[0]], "amounts": [1, 1, 1]}),
    ]
    for statement, values in statements:
        assert violated(engine, statement, common | values) == "account_not_frozen"


def test_a_frozen_account_among_payees_blocks_no_payment(engine: Engine, owner: Engine, players: list[int]) -> None:
    with owner.begin() as connection:
        connection.execute(SET_FROZEN, {"account": players[2], "frozen": True})
    common: Arguments = {"amounts": [1, 1], "kind": "transfer", "memo": "", "actor": players[0]}
    to_frozen = {"debits": players[:2], "credits": [players[2], players[0]]}
    from_frozen = {"debits": [players[2], players[1]], "credits": players[:2]}
    with engine.begin() as connection:
        connection.execute(POST_MANY, common | to_frozen)
    assert violated(engine, POST_MANY, common | from_frozen) == "account_not_frozen"


@pytest.mark.parametrize("kind", ["admin_adjustment", "reversal"])
def test_organisers_can_adjust_a_frozen_account(owner: Engine, players: list[int], kind: str) -> None:
    with owner.begin() as connection:
        connection.execute(SET_FROZEN, {"account": players[2], "frozen": True})
        values = {"debits": [players[2]], "credits": [SYSTEM_ID], "amounts": [1], "kind": kind}
        connection.execute(POST_MANY, values | {"memo": "", "actor": players[0]})


def test_the_serving_role_cannot_move_money_while_the_bank_is_read_only(
    engine: Engine, owner: Engine, players: list[int]
) -> None:
    with owner.begin() as connection:
        connection.execute(text("UPDATE switches SET read_only = true"))
    common: Arguments = {"kind": "admin_adjustment", "memo": "", "actor": players[0]}
    statements: list[tuple[TextClause, Arguments]] = [
        (POST, {"debit": SYSTEM_ID, "credit": players[0], "amount": 1}),
        (POST_MANY, {"debits": [SYSTEM_ID], "credits": [players[0]], "amounts": [1]}),
    ]
    for statement, values in statements:
        assert violated(engine, statement, common | values) == "bank_not_read_only"


@pytest.mark.parametrize("amount", [1, OPENING_BALANCE + 1])
def test_a_frozen_account_in_a_read_only_bank_is_told_that_the_bank_is_read_only(
    engine: Engine, owner: Engine, players: list[int], amount: int
) -> None:
    with owner.begin() as connection:
        connection.execute(text("UPDATE switches SET read_only = true"))
        connection.execute(SET_FROZEN, {"account": players[0], "frozen": True})
    common: Arguments = {"kind": "transfer", "memo": "", "actor": players[0]}
    statements: list[tuple[TextClause, Arguments]] = [
        (POST, {"debit": players[0], "credit": players[1], "amount": amount}),
        (POST_MANY, {"debits": players[:1], "credits": players[1:2], "amounts": [amount]}),
    ]
    for statement, values in statements:
        assert violated(engine, statement, common | values) == "bank_not_read_only"


def test_posting_no_transfers_changes_nothing(engine: Engine, players: list[int]) -> None:
    before = state(engine)
    no_transfers: Arguments = {
        "debits": [],
        "credits": [],
        "amounts": [],
        "kind": "transfer",
        "memo": "",
        "actor": players[0],
    }
    with engine.begin() as connection:
        connection.execute(POST_MANY, no_transfers)
    assert state(engine) == before


@pytest.mark.parametrize(
    ("account", "frozen", "outcome"),
    [("player", True, True), ("player", False, False), ("player", None, False), (UNKNOWN_ID, True, False)],
)
def test_set_frozen_returns_whether_it_changed_the_account(
    owner: Engine, players: list[int], account: str | int, frozen: object, outcome: object
) -> None:
    which = players[0] if account == "player" else account
    with owner.begin() as connection:
        assert connection.execute(SET_FROZEN, {"account": which, "frozen": frozen}).scalar_one() is outcome


@pytest.mark.parametrize("account", [SYSTEM_ID, HOUSE_ID])
def test_system_accounts_cannot_be_frozen(engine: Engine, account: int) -> None:
    assert violated(engine, SET_FROZEN, {"account": account, "frozen": True}) == "only_players_freeze"


@pytest.mark.parametrize(
    "function", ["require_payment_allowed(false, false, 'transfer')", "net_amounts('{}', '{}', '{}')"]
)
def test_the_serving_role_cannot_call_the_helper_functions(engine: Engine, function: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"), engine.begin() as connection:
        connection.execute(text(f"SELECT {function}"))


def test_transfers_posted_together_may_pass_through_an_account_without_money(
    owner: Engine, players: list[int], books: Books
) -> None:
    """Only the final balances count: an account may be negative in between."""
    values: Arguments = {
        "debits": [players[0], players[1], HOUSE_ID],
        "credits": [players[1], players[2], players[0]],
        "amounts": [OPENING_BALANCE + 7, OPENING_BALANCE * 2 + 7, 7],
    }
    with owner.begin() as connection:
        connection.execute(POST_MANY, values | {"kind": "transfer", "memo": "", "actor": players[0]})
    books()

"""The ledger neither creates nor loses money, permits no overdraft, does not deadlock, and cannot be bypassed."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.exc import DBAPIError

from neobank.database import connect
from neobank.errors import BankError
from neobank.ledger.models import HOUSE_ID, SYSTEM_ID, Account, Balance
from neobank.ledger.money import MAX_BALANCE
from neobank.ledger.operations import (
    BalanceLimit,
    Entry,
    InsufficientFunds,
    SameAccount,
    UnknownAccount,
    history,
)
from neobank.settings import UpgradeSettings
from tests.service.support import OPENING_BALANCE, Books, Database, open_players, transfer

pytestmark = pytest.mark.usefixtures("fresh", "books")


def number_of(connection: Connection, account_id: int) -> str:
    return connection.execute(select(Account.number).where(Account.id == account_id)).scalar_one()


def balances(connection: Connection, accounts: list[int]) -> list[int]:
    return [
        connection.execute(select(func.sum(Balance.balance)).where(Balance.account_id == account)).scalar_one()
        for account in accounts
    ]


def move(engine: Engine, debit: int, credit: int, amount: int) -> int:
    """Pay in a separate transaction; return the payer's new balance."""
    with engine.begin() as connection:
        number = number_of(connection, credit)
        return transfer(connection, debit, number, amount).debit_balance


@pytest.fixture
def players(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return open_players(connection, 4)


def test_a_new_bank_sums_to_zero(engine: Engine, fresh: UpgradeSettings) -> None:
    with engine.connect() as connection:
        house, system = balances(connection, [HOUSE_ID, SYSTEM_ID])
    assert house == fresh.house_bankroll
    assert system == -(fresh.house_bankroll + OPENING_BALANCE)


def test_a_transfer_moves_exactly_its_amount(engine: Engine, players: list[int]) -> None:
    assert move(engine, players[0], players[1], 1) == OPENING_BALANCE - 1
    with engine.connect() as connection:
        assert balances(connection, players) == [OPENING_BALANCE - 1, OPENING_BALANCE + 1] + [OPENING_BALANCE] * 2


@pytest.mark.parametrize(
    ("debit", "credit", "amount", "refusal"),
    [
        (0, 1, OPENING_BALANCE + 1, InsufficientFunds),
        (1, 0, OPENING_BALANCE + 1, InsufficientFunds),
        (0, 0, 1, SameAccount),
    ],
)
def test_a_rejected_transfer_changes_nothing(
    engine: Engine, players: list[int], debit: int, credit: int, amount: int, refusal: type[BankError]
) -> None:
    with pytest.raises(refusal):
        move(engine, players[debit], players[credit], amount)
    with engine.connect() as connection:
        assert balances(connection, players) == [OPENING_BALANCE] * 4
        assert len(history(connection, players[debit], limit=10)) == 1


def test_the_error_names_an_unknown_account(engine: Engine, players: list[int]) -> None:
    with pytest.raises(UnknownAccount, match="NC-NONE-0000"), engine.begin() as connection:
        transfer(connection, players[0], "NC-NONE-0000", 1)


def test_no_balance_exceeds_what_json_can_represent(engine: Engine, owner: Engine, players: list[int]) -> None:
    receiver = (Balance.account_id == players[1],)
    with owner.begin() as connection:
        connection.execute(update(Balance).where(*receiver).values(balance=MAX_BALANCE))
    with pytest.raises(BalanceLimit):
        move(engine, players[0], players[1], 1)
    with owner.begin() as connection:
        connection.execute(update(Balance).where(*receiver).values(balance=OPENING_BALANCE))


def test_one_of_many_concurrent_payments_gets_the_whole_balance(engine: Engine, players: list[int]) -> None:
    def spend(index: int) -> bool:
        try:
            move(engine, players[0], players[1 + index % 3], OPENING_BALANCE)
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(spend, range(48))) == 1


def test_concurrent_random_transfers_keep_every_invariant(
    database: Database, fresh: UpgradeSettings, players: list[int]
) -> None:
    """Threads pay between a few accounts, SYSTEM and the house in all directions and record what they moved."""
    del fresh
    engine = connect(database.url("owner"), connections=16)  # only the owner pays from SYSTEM without an audit row
    accounts = [*players, SYSTEM_ID, HOUSE_ID]

    def wander(seed: int) -> dict[int, int]:
        moved = dict.fromkeys(accounts, 0)
        chance = random.Random(seed)  # noqa: S311
        for _ in range(60):
            debit, credit = chance.sample(accounts, 2)
            amount = chance.randint(1, OPENING_BALANCE)
            try:
                move(engine, debit, credit, amount)
            except InsufficientFunds:
                continue
            moved[debit] -= amount
            moved[credit] += amount
        return moved

    with engine.connect() as connection:
        before = balances(connection, accounts)
    with ThreadPoolExecutor(16) as pool:
        moved = list(pool.map(wander, range(16)))
    expected = [start + sum(each[account] for each in moved) for account, start in zip(accounts, before, strict=True)]
    with engine.connect() as connection:
        assert balances(connection, accounts) == expected
        shards = connection.execute(select(func.min(Balance.balance)).where(Balance.account_id == HOUSE_ID))
        assert shards.scalar_one() >= 0
    engine.dispose()


@given(shares=st.lists(st.integers(0, 10), min_size=32, max_size=32), amount=st.integers(1, 330))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_account_with_several_shards_pays_like_one_with_a_single_shard(
    owner: Engine, players: list[int], shares: list[int], amount: int
) -> None:
    with owner.connect() as connection, connection.begin() as rolled_back:
        for shard, share in enumerate(shares):
            connection.execute(
                update(Balance).where(Balance.account_id == HOUSE_ID, Balance.shard == shard).values(balance=share)
            )
        number = number_of(connection, players[0])
        try:
            posted = transfer(connection, HOUSE_ID, number, amount)
        except InsufficientFunds:
            assert amount > sum(shares)
        else:
            assert amount <= sum(shares)
            assert posted.debit_balance == sum(shares) - amount
            assert balances(connection, [HOUSE_ID]) == [sum(shares) - amount]
        finally:
            rolled_back.rollback()


def test_the_pages_of_a_history_contain_all_entries_in_order(engine: Engine, players: list[int]) -> None:
    for amount in range(1, 24):
        move(engine, players[amount % 2], players[1 - amount % 2], amount)
    with engine.connect() as connection:
        whole = history(connection, players[0], limit=100)
        pages: list[Entry] = []
        before = None
        while page := history(connection, players[0], limit=7, before=before):
            pages += page
            before = page[-1].id
    assert [entry.amount for entry in whole] == [*range(23, 0, -1), OPENING_BALANCE]
    assert pages == whole


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE balances SET balance = balance + 1",
        "DELETE FROM balances",
        "INSERT INTO balances (account_id, shard, balance) VALUES (9000000000000000001, 1, 5)",
        "UPDATE transfers SET amount = 1",
        "DELETE FROM transfers",
        "TRUNCATE transfers",
        "INSERT INTO transfers SELECT FROM transfers",
        "UPDATE accounts SET name = 'x'",
        "DELETE FROM accounts",
        "SELECT credit_account(9000000000000000002, 1)",
        "SELECT debit_account(9000000000000000002, 1)",
        "ALTER TABLE balances DROP CONSTRAINT balance_not_below_floor",
        "UPDATE alembic_version SET version_num = 'x'",
        "SELECT * FROM provisioned_administrators",
    ],
)
def test_the_serving_role_cannot_change_the_books_directly(engine: Engine, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"), engine.begin() as connection:
        connection.execute(text(statement))


def test_a_temporary_table_does_not_shadow_the_books(owner: Engine, players: list[int], books: Books) -> None:
    with owner.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE balances (LIKE public.balances)"))
        number = number_of(connection, players[1])
        posted = transfer(connection, players[0], number, 1)
        connection.execute(text("DROP TABLE pg_temp.balances"))
    assert posted.debit_balance == OPENING_BALANCE - 1
    books()

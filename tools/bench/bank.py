"""The bank under test: logged-in players, their accounts, and a history that agrees with the balances."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, make_url, text

from neobank import migrations
from neobank.application import create_app
from neobank.casino.seeds import renew_all
from neobank.casino.verification import verify_rounds
from neobank.database import connect
from neobank.ledger.models import SYSTEM_ID
from neobank.ledger.operations import Kind, NewTransfer, pay_many
from neobank.ledger.verification import verify
from neobank.players.operations import register
from neobank.settings import ServingSettings, UpgradeSettings
from neobank.web.authentication import begin_session
from neobank.web.bank import current_bank
from tools.bench.traffic import Payments, Player, Spins
from tools.errors import UserError
from tools.postgres import LOGINS, Postgres
from tools.run import service_environment

PLAYERS: Final = 1000
SHARDS: Final = 32
STAKE: Final = 100_000_000  # hundredths of the currency for each player: more than a player can lose in a run


@dataclass(frozen=True, slots=True)
class Bench:
    """A bank to measure: its addresses, and the traffic for it."""

    urls: Mapping[str, URL]
    environment: Mapping[str, str]
    uniform: Payments
    to_one_row: Payments
    to_shards: Payments
    spins: Spins

    @classmethod
    def prepare(cls, postgres: Postgres, home: Path) -> "Bench":
        """Migrate the database, register all players and give them money."""
        urls = {role: make_url(postgres.url(role)) for role in LOGINS}
        environment = service_environment(postgres, home, port=1)  # each server has its own port
        migrations.upgrade(UpgradeSettings.from_environment(environment))
        one_row, shards, *others = join(ServingSettings.from_environment(environment), PLAYERS + 2)
        crowd = tuple(others)
        split(urls["owner"], shards)
        stake(urls["owner"], crowd)
        return cls(
            urls,
            environment,
            Payments(crowd, crowd),
            Payments(crowd, (one_row,)),
            Payments(crowd, (shards,)),
            Spins(crowd),
        )

    def fill_history(self, rows: int) -> int:
        """Add transfers, as the owner, until there are at least `rows`; return the number of transfers."""
        engine = connect(self.urls["owner"])
        with engine.begin() as connection:
            found: int = connection.execute(text("SELECT count(*) FROM transfers")).scalar_one()
            add_history(connection, max(0, rows - found), [player.account_id for player in self.uniform.payers])
            connection.execute(text("ANALYZE transfers, balances, accounts"))
        engine.dispose()
        return max(rows, found)

    def prove(self) -> tuple[int, int]:
        """Verify every balance and, after retiring all seeds, every round; return the counts of transfers and rounds.

        Raise UserError if a balance or a round is wrong: then the measured rates are worthless.
        """
        engine = connect(self.urls["owner"])
        with engine.begin() as connection:
            renew_all(connection)
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            verdict = verify(connection)
            fairness = verify_rounds(connection)
        engine.dispose()
        if not verdict.sound or fairness.problems:
            problems = [*verdict.differences, *fairness.problems][:5]
            raise UserError(f"the books are wrong after this run, so its figures are invalid: {problems}")
        return verdict.transfers, fairness.rounds


def join(settings: ServingSettings, count: int) -> list[Player]:
    """Register players and log them in as the service does, but without hashing passwords."""
    app = create_app(settings)
    with app.test_request_context(), current_bank().transaction() as connection:
        profiles = [
            register(connection, name=f"Player {index}", password_hash="", faction=None) for index in range(count)
        ]
        players = [
            Player(one.account_id, one.account_number, begin_session(connection, one.account_id)) for one in profiles
        ]
        bank = current_bank()
    bank.engine.dispose()
    return players


def split(owner: URL, player: Player) -> None:
    """Split an account's balance into many rows, as organisers can for a busy account."""
    engine = connect(owner)
    values = {"account": player.account_id, "shards": SHARDS}
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET shards = :shards WHERE id = :account"), values)
        connection.execute(
            text(
                "INSERT INTO balances (account_id, shard, floor) "
                "SELECT :account, shard, 0 FROM generate_series(1, :shards - 1) AS shard"
            ),
            values,
        )
    engine.dispose()


def stake(owner: URL, players: tuple[Player, ...]) -> None:
    """Give every player enough to play with."""
    engine = connect(owner)
    moves = [NewTransfer(SYSTEM_ID, player.account_id, STAKE) for player in players]
    with engine.begin() as connection:
        pay_many(connection, moves, kind=Kind.ADMIN_ADJUSTMENT, memo="To play with", actor=SYSTEM_ID)
    engine.dispose()


# In each turn every account pays one hundredth to another and receives one, so that none runs out of money.
_ADD_HISTORY = text("""
    WITH crowd AS (
        SELECT ids, cardinality(ids) AS size FROM (SELECT CAST(:accounts AS bigint[]) AS ids) AS given
    ), pairs AS (
        SELECT ids[1 + i % size] AS debit, ids[1 + (i + 1 + i / size % (size - 1)) % size] AS credit
        FROM crowd, generate_series(0, CAST(:rows AS bigint) - 1) AS i
    ), made AS (
        INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
        SELECT debit, credit, 1, 'transfer', 'long ago', debit FROM pairs
        RETURNING debit_account_id, credit_account_id, amount
    ), moved AS (
        SELECT account_id, sum(amount) AS amount FROM (
            SELECT credit_account_id AS account_id, amount FROM made
            UNION ALL
            SELECT debit_account_id, -amount FROM made
        ) AS sides GROUP BY account_id
    )
    UPDATE balances SET balance = balance + moved.amount
    FROM moved WHERE moved.account_id = balances.account_id AND shard = 0
""")


def add_history(connection: Connection, rows: int, accounts: list[int]) -> None:
    """Add `rows` transfers between these accounts and update their balances. It needs the owner's connection."""
    connection.execute(_ADD_HISTORY, {"rows": rows, "accounts": accounts})

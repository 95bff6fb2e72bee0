"""A process that runs all kinds of operations on a few accounts concurrently; only a BankError may refuse one."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, text

from neobank.admin import money
from neobank.audit.operations import Detail, record
from neobank.database import connect, transaction
from neobank.errors import BankError
from neobank.ledger.models import HOUSE_ID
from neobank.ledger.operations import Kind, NewTransfer, pay_many
from neobank.vendors import charges
from tests.service.support import transfer

Made = TypeVar("Made")

_SET_FROZEN = text("SELECT set_frozen(:account, :frozen)")


@dataclass(frozen=True)
class Scene:
    """The database, the ids and numbers of the accounts (the vendor's included), and the faction of some of them."""

    url: URL
    accounts: tuple[tuple[int, str], ...]
    vendor: int
    organiser: int
    faction: str


class Storm:
    """The operations of one process; `transfers` counts the transfers that were confirmed."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.chance = random.Random(seed)  # noqa: S311  # a fixed seed repeats the run
        self.transfers = 0
        self.outcomes: Counter[str] = Counter()
        self.mine: list[int] = []

    def run(self, engine: Engine, operations: int) -> None:
        operation_kinds = [self.transfer, self.spin, self.credit, self.reverse, self.freeze, self.sell]
        for _ in range(operations):
            [operation] = self.chance.choices(operation_kinds, weights=[8, 5, 1, 3, 1, 2])
            try:
                operation(engine)
            except BankError as refused:
                self.outcomes[f"{operation.__name__}: {type(refused).__name__}"] += 1
            else:
                self.outcomes[operation.__name__] += 1

    def transfer(self, engine: Engine) -> None:
        (payer, _), (_, receiver) = self.chance.sample(self.scene.accounts, 2)
        with engine.connect() as connection:
            self.mine.append(self.pay(connection, payer, receiver))
        self.transfers += 1

    def pay(self, connection: Connection, payer: int, receiver: str) -> int:
        amount = self.chance.choice([1, 7, 40_000, 90_000])
        return transfer(connection, payer, receiver, amount).transfer_id

    def spin(self, engine: Engine) -> None:
        """Post a bet, and perhaps transfers to other players with it."""
        (player, _), *others = self.chance.sample(self.scene.accounts, self.chance.randint(1, 4))
        moves = [NewTransfer(player, HOUSE_ID, self.chance.randint(1, 50_000))]
        moves += [NewTransfer(player, other, self.chance.randint(1, 10_000)) for other, _ in others]
        self.chance.shuffle(moves)
        with engine.connect() as connection, transaction(connection):
            pay_many(connection, moves, kind=Kind.TRANSFER, memo="", actor=player)
        self.transfers += len(moves)

    def credit(self, engine: Engine) -> None:
        def operation(connection: Connection) -> int:
            return money.credit_faction(
                connection, self.scene.faction, amount=100, reason="well done", by=self.scene.organiser
            )

        details: dict[str, Detail] = {"amount": 1, "reason": "well done"}
        self.transfers += self.organise(engine, operation, "add_credits", lambda _: details)

    def reverse(self, engine: Engine) -> None:
        if self.mine:
            transfer = self.chance.choice(self.mine)
            self.organise(
                engine,
                lambda connection: money.reverse(connection, transfer, reason="oops", by=self.scene.organiser),
                "reverse",
                lambda made: {"transaction": made.id},
            )
            self.transfers += 1

    def freeze(self, engine: Engine) -> None:
        """Freeze and unfreeze one account, so that the others can pay meanwhile."""
        account, _ = self.chance.choice(self.scene.accounts)
        for frozen in (True, False):
            freeze = partial(self.set_frozen, values={"account": account, "frozen": frozen})
            self.organise(engine, freeze, "freeze", lambda _: {})

    def set_frozen(self, connection: Connection, values: Mapping[str, object]) -> None:
        connection.execute(_SET_FROZEN, values)

    def sell(self, engine: Engine) -> None:
        """Create, approve and perhaps refund a charge, each in its own transaction."""
        vendor, (player, _) = self.scene.vendor, self.chance.choice(self.scene.accounts)
        with engine.connect() as connection, transaction(connection):
            charge = charges.create(connection, vendor=vendor, player_number=None, amount=500, memo="")
        with engine.connect() as connection, transaction(connection):
            _, posted = charges.approve(connection, charge.code, player)
        self.transfers += 1
        self.mine.append(posted.transfer_id)
        if self.chance.random() < 0.5:
            with engine.connect() as connection, transaction(connection):
                charges.refund(connection, charge.id, vendor, None)
            self.transfers += 1

    def organise(
        self,
        engine: Engine,
        operation: Callable[[Connection], Made],
        action: str,
        details: Callable[[Made], Mapping[str, Detail]],
    ) -> Made:
        """Run an action of an organiser in one transaction with its audit row."""
        with engine.connect() as connection, transaction(connection):
            made = operation(connection)
            record(connection, actor=self.scene.organiser, action=action, target="the bank", details=details(made))
        return made


def rage(scene: Scene, seed: int, operations: int) -> tuple[int, Counter[str]]:
    """Run the operations of one process; return how many transfers were posted and how the operations ended."""
    engine = connect(scene.url, single_statements=True)
    storm = Storm(scene, seed)
    storm.run(engine, operations)
    engine.dispose()
    return storm.transfers, storm.outcomes

"""A model of the bank in plain Python.

Each operation returns the status that the bank must respond with. The model's books change after the bank confirms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

SYSTEM = "NC-SYST-EM00"
HOUSE = "NC-CASA-0000"

Moves = Sequence[tuple[str, str, int]]
"""Payer, receiver, amount in hundredths."""


@dataclass
class Sent:
    """A transfer that can be undone once."""

    payer: str
    receiver: str
    amount: int
    undone: bool = False


@dataclass
class ChargeState:
    """A charge, and the id of the transfer that paid it."""

    vendor: str
    player: str | None
    amount: int
    status: str = "pending"
    payment: int | None = None
    refunded: bool = False


@dataclass
class Oracle:
    """The books: accounts by number, amounts in hundredths, and in `rows` the rows that each table has gained."""

    balances: dict[str, int]
    factions: dict[str, str | None] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    read_only: bool = False
    sent: dict[int, Sent] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("transfers", "answers", "audit"), 0))

    def may_move(self, moves: Moves, *, correction: bool = False) -> int:
        """Return 200 if the bank would post these transfers as one, or else the status of the refusal."""
        if self.read_only or (not correction and any(payer in self.frozen for payer, _, _ in moves)):
            return 403
        after = self._after(moves)
        same = any(payer == receiver for payer, receiver, _ in moves)
        return 400 if same or any(left < 0 for number, left in after.items() if number != SYSTEM) else 200

    def move(self, moves: Moves) -> None:
        self.balances = self._after(moves)
        self.rows["transfers"] += len(moves)

    def post(self, transfer: int, payer: str, receiver: str, amount: int) -> None:
        """Record a transfer that the bank has confirmed with its id."""
        self.move([(payer, receiver, amount)])
        assert transfer not in self.sent, "two transfers with one id"
        self.sent[transfer] = Sent(payer, receiver, amount)

    def pay(self, payer: str, receiver: str, amount: int) -> int:
        if payer in self.frozen:
            return 401
        return created(self.may_move([(payer, receiver, amount)]))

    def approve(self, charge: ChargeState, player: str) -> int:
        if (refused := self._check(charge, player)) != 200:
            return refused
        return created(self.may_move([(player, charge.vendor, charge.amount)]))

    def decline(self, charge: ChargeState, player: str) -> int:
        status = self._check(charge, player)
        return 403 if status == 200 and charge.player is None else status

    def cancel(self, charge: ChargeState) -> int:
        if charge.vendor in self.frozen:
            return 403
        return 200 if charge.status == "pending" else 409

    def refund(self, charge: ChargeState, amount: int) -> int:
        if charge.vendor in self.frozen:
            return 403
        if charge.payment is None or self.sent[charge.payment].undone:
            return 409
        if amount > charge.amount:
            return 400
        return created(self.may_move([(charge.vendor, self.sent[charge.payment].payer, amount)]))

    def adjust(self, number: str, amount: int) -> int:
        if self.balances[number] + amount < 0:
            return 400
        return 403 if self.read_only else 200

    def reverse(self, transfer: int) -> int:
        sent = self.sent[transfer]
        if sent.undone:
            return 409
        if sent.receiver != SYSTEM and self.balances[sent.receiver] < sent.amount:
            return 400
        return 403 if self.read_only else 200

    def credit(self, members: Sequence[str]) -> int:
        return 403 if self.read_only and members else 200

    def _check(self, charge: ChargeState, player: str) -> int:
        if player in self.frozen:
            return 401
        if charge.player not in {None, player}:
            return 404
        return 200 if charge.status == "pending" else 409

    def _after(self, moves: Moves) -> dict[str, int]:
        after = dict(self.balances)
        for payer, receiver, amount in moves:
            after[payer] -= amount
            after[receiver] += amount
        return after


def created(status: int) -> int:
    """Return the status of a route whose success is 201."""
    return 201 if status == 200 else status

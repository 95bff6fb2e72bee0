"""Clients that pay continuously with idempotency keys, and a comparison with the ledger afterwards."""

from dataclasses import dataclass, field

from sqlalchemy import Engine, text

from tests.bank import Body, Payers

POSTED = text("SELECT memo, count(*), min(id) FROM transfers WHERE kind = 'transfer' GROUP BY memo")


@dataclass
class Flood(Payers):
    """Clients that pay continuously; each payment has its own idempotency key, which is also its memo."""

    confirmed: dict[str, int] = field(default_factory=dict)
    """The transaction's id by key."""
    unanswered: dict[str, int] = field(default_factory=dict)
    """The sender's index by key, of payments without a response or with a 5xx."""
    wrong: list[tuple[int, Body]] = field(default_factory=list)
    """Responses that no payment may get."""

    def send(self, key: str, sender: int) -> tuple[int, Body]:
        payer, receiver = self.players[sender], self.players[sender - 1]
        payment: dict[str, object] = {"to_account": receiver.number, "amount": 0.01, "memo": key}
        return self.bank.call("/api/v1/transactions", payment, payer.token, {"Idempotency-Key": key})

    def settle(self, engine: Engine) -> None:
        """Repeat every payment without a response; assert that the ledger has each key exactly once."""
        assert not self.wrong, self.wrong[:3]
        posted = self._posted(engine)
        assert {key: posted.get(key) for key in self.confirmed} == {
            key: (1, transfer) for key, transfer in self.confirmed.items()
        }
        for key, sender in self.unanswered.items():
            status, body = self.send(key, sender)
            assert status == 201, body
            self.confirmed[key] = body["transaction"]["id"]
        posted = self._posted(engine)
        assert posted == {key: (1, transfer) for key, transfer in self.confirmed.items()}

    def _posted(self, engine: Engine) -> dict[str, tuple[int, int]]:
        with engine.connect() as connection:
            return {memo: (count, transfer) for memo, count, transfer in connection.execute(POSTED)}

    def _count(self) -> int:
        return len(self.confirmed)

    def _refusals(self) -> list[object]:
        return [*self.wrong]

    def _pay(self, place: int) -> None:
        for number in range(100_000):
            if self._stop.is_set():
                return
            key, sender = f"{place}-{number}", (place + number) % len(self.players)
            try:
                status, body = self.send(key, sender)
            except OSError:
                self.unanswered[key] = sender
                self._stop.wait(0.05)
                continue
            if status == 201:
                self.confirmed[key] = body["transaction"]["id"]
            elif status >= 500:
                self.unanswered[key] = sender
                self._stop.wait(0.05)
            else:
                self.wrong.append((status, body))

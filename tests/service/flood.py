"""Phones that flood a bank and remember what they were told."""

import threading
import time
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import Engine, text

from tests.bank import Bank, Body, Player

PATIENCE = 180  # seconds; the machine may be busy
POSTED = text("SELECT memo, count(*), min(id) FROM transfers WHERE kind = 'transfer' GROUP BY memo")


@dataclass
class Flood:
    """Phones that pay all the time, each payment under a key of its own, which is its memo, too."""

    bank: Bank
    players: list[Player]
    confirmed: dict[str, int] = field(default_factory=dict)
    unanswered: dict[str, int] = field(default_factory=dict)
    """Keys of payments that got no answer or 5xx, and who sent them."""
    wrong: list[tuple[int, Body]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._pay, args=(place,)) for place in range(8)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_confirmed(self, more: int) -> None:
        """Wait until so many more payments have been confirmed."""
        goal, deadline = len(self.confirmed) + more, time.monotonic() + PATIENCE
        while len(self.confirmed) < goal:
            assert time.monotonic() < deadline, f"{len(self.confirmed)} of {goal} payments; {self.wrong[-3:]}"
            time.sleep(0.02)

    def send(self, key: str, sender: int) -> tuple[int, Body]:
        payer, receiver = self.players[sender], self.players[sender - 1]
        payment: dict[str, object] = {"to_account": receiver.number, "amount": 0.01, "memo": key}
        return self.bank.call("/api/v1/transactions", payment, payer.token, {"Idempotency-Key": key})

    def settle(self, engine: Engine) -> None:
        """Ask again for every payment that was not answered: then each key is in the ledger exactly once."""
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

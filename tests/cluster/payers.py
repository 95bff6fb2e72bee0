"""Players who pay continuously while something changes, and a report of the answers.

It runs as a process in the node's network, because a Service has its address there; a port-forward would end with the
pod that it leads to. It prints "paying" after the first payments, and the report when its standard input ends.

    python -m tests.cluster.payers ADDRESS NAME
"""

import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from threading import Event
from typing import Self

from tests.bank import Bank, Player

PAYERS = 4
MOST_SECONDS = 300
PAUSE = 0.05  # seconds; leaves the machine's cores to the bank


@dataclass
class Report:
    """The answers that payers received. Every answer other than 201, a retriable 503 and 401 is `wrong`."""

    confirmed: dict[str, int] = field(default_factory=dict)
    """The transaction id of each payment, by its idempotency key, which is also its memo."""

    requests: int = 0
    told_to_retry: int = 0
    broken: int = 0
    logins: int = 0
    longest: float = 0.0
    """The longest time in seconds from a payment's first attempt to its confirmation."""

    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, reports: Iterable[Self]) -> Self:
        """Return the sum of several payers' reports."""
        total = cls()
        for report in reports:
            total.confirmed |= report.confirmed
            total.requests += report.requests
            total.told_to_retry += report.told_to_retry
            total.broken += report.broken
            total.logins += report.logins
            total.longest = max(total.longest, report.longest)
            total.wrong += report.wrong
        return total

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {len(self.confirmed)} payments, {self.told_to_retry} told to try again, "
            f"{self.broken} broken connections, {self.logins} new logins, longest {self.longest:.2f} s"
        )


class Payer:
    """Pays the next player of a circle; repeats requests with the same key, and logs in again after a session ended."""

    def __init__(self, bank: Bank, name: str) -> None:
        self.name = name
        self.player = bank.join(name)
        self.report = Report()
        self._bank = bank

    def pay(self, receiver: Player, stop: Event) -> None:
        """Pay until `stop` is set; a payment that has started is completed."""
        deadline, number = time.monotonic() + MOST_SECONDS, 0
        while not stop.wait(PAUSE) and time.monotonic() < deadline:
            number += 1
            started = time.monotonic()
            while not self._settled(receiver, f"{self.name}-{number}"):
                if time.monotonic() > deadline:
                    self.report.wrong.append(f"payment {number} was not confirmed in time")
                    break
                time.sleep(PAUSE)
            self.report.longest = max(self.report.longest, time.monotonic() - started)

    def _settled(self, receiver: Player, key: str) -> bool:
        """Send the payment once; return whether it needs no other attempt."""
        self.report.requests += 1
        payment: dict[str, object] = {"to_account": receiver.number, "amount": 0.01, "memo": key}
        once = {"Idempotency-Key": key}
        try:
            status, body, headers = self._bank.ask("/api/v1/transactions", payment, self.player.token, once)
            if status == HTTPStatus.UNAUTHORIZED:
                self.player = self._bank.log_in(self.name, "password of " + self.name)
                self.report.logins += 1
                return False
        except OSError:
            self.report.broken += 1
            return False
        if status == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in headers:
            self.report.told_to_retry += 1
            return False
        if status == HTTPStatus.CREATED:
            self.report.confirmed[key] = body["transaction"]["id"]
        else:
            self.report.wrong.append(f"{status} {body}")
        return True


def main() -> None:
    """Pay until standard input ends, and print the report. A failing payer ends the program with its traceback."""
    bank, name, stop = Bank(sys.argv[1]), sys.argv[2], Event()
    payers = [Payer(bank, f"{name} {place}") for place in range(PAYERS)]
    with ThreadPoolExecutor(PAYERS) as pool:
        paying = [pool.submit(payer.pay, payers[place - 1].player, stop) for place, payer in enumerate(payers)]
        while not all(payer.report.confirmed for payer in payers) and not any(done.done() for done in paying):
            time.sleep(PAUSE)
        print("paying", flush=True)  # noqa: T201
        sys.stdin.read()
        stop.set()
    for done in paying:
        done.result()
    json.dump(asdict(Report.of(payer.report for payer in payers)), sys.stdout)


if __name__ == "__main__":
    main()

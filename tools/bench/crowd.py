"""A crowd at the entrance: players who register and log in within one second, from one address."""

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Final

REGISTRATIONS: Final = 100
LOGINS: Final = 20
PATIENCE: Final = 60  # seconds
PASSWORD: Final = "follow the white rabbit"  # noqa: S105  # of players of the bench


def arrive_beside(port: int, name: str, measure: Callable[[], float]) -> tuple[float, Counter[int]]:
    """Let a crowd arrive while something is measured; return the measurement and the count of each status.

    The crowd has a process of its own, so that its clients do not delay those of the measurement. `name` is part of the
    new players' names.
    """
    with ProcessPoolExecutor(1) as process:
        crowd = process.submit(arrive, port, name)
        measured = measure()
        return measured, crowd.result()


def arrive(port: int, name: str) -> Counter[int]:
    """Send all requests within one second; return the count of each status, without repeating a request."""
    requests = [("register", f"{name} {number}") for number in range(REGISTRATIONS)]
    step = REGISTRATIONS // LOGINS
    for place in range(LOGINS):
        requests.insert(place * (step + 1), ("login", f"{name} unknown {place}"))
    with ThreadPoolExecutor(len(requests)) as pool:
        statuses = []
        for route, who in requests:
            statuses.append(pool.submit(_request, port, route, who))
            time.sleep(1 / len(requests))
        return Counter(status.result() for status in statuses)


def _request(port: int, route: str, name: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    body = json.dumps({"character_name": name, "password": PASSWORD})
    connection.request("POST", f"/api/v1/auth/{route}", body, {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        response.read()
    connection.close()
    return response.status

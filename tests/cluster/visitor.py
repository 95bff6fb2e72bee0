"""Sends requests to the node's ingress controller from chosen source addresses, and prints the statuses.

It runs as a process in the node's network, where every 127.0.0.x can be the source of a request.

    python -m tests.cluster.visitor < REQUESTS
"""

import http.client
import json
import socket
import ssl
import sys
from dataclasses import asdict, dataclass, field

from tests.cluster.kubectl import Object


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request; with `authority`, over TLS to a server whose certificate this authority issued for the host."""

    host: str
    path: str
    port: int
    body: Object | None = None
    source: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=dict)
    authority: str = ""

    def answer(self) -> int:
        """Send the request and return the status. Raise OSError if there is no answer."""
        connection = http.client.HTTPConnection(self.host)
        connection.sock = socket.create_connection(("127.0.0.1", self.port), 60, source_address=(self.source, 0))
        if self.authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=self.authority)
            connection.sock = context.wrap_socket(connection.sock, server_hostname=self.host)
        headers = {"Content-Type": "application/json", **self.headers}
        body = None if self.body is None else json.dumps(self.body)
        try:
            connection.request("POST" if body else "GET", self.path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


def dumped(visits: list[Visit]) -> str:
    """Return the visits as the JSON that `main` reads."""
    return json.dumps([asdict(visit) for visit in visits])


def main() -> None:
    """Make each visit in turn, and print the statuses."""
    json.dump([Visit(**visit).answer() for visit in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()

"""Somebody who comes through the node's ingress controller from an address of choice, and what is answered.

A process of its own, since it runs in the node's network, where every 127.0.0.x is an address that one may come from.

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
    """One request; with an authority's certificate over TLS, to a server that it has signed for the host."""

    host: str
    path: str
    port: int
    body: Object | None = None
    source: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=dict)
    authority: str = ""

    def answer(self) -> int:
        """Ask, and give the status. Raises OSError."""
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
    """Write down what `main` reads."""
    return json.dumps([asdict(visit) for visit in visits])


def main() -> None:
    """Make each visit in turn; prints the statuses."""
    json.dump([Visit(**visit).answer() for visit in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()

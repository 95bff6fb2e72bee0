"""gunicorn's worker: an event loop that receives requests, and threads that answer them.

It extends gunicorn's own worker for ASGI applications where that has no option: for the choice of the worker that
accepts a connection, for the time in which its first request has to arrive, for the form of its error responses, and
for idle connections when the worker stops.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi
from psycopg2 import extensions

from neobank.database import wait_for_answer
from neobank.serving.connections import COUNTS, Listener
from neobank.serving.gateway import Gateway
from neobank.web.errors import PROBLEM, Problem

if TYPE_CHECKING:
    from asyncio import BaseTransport

logger = logging.getLogger(__name__)

UNACKNOWLEDGED_MILLISECONDS: Final = 30_000
"""A client that does not acknowledge data for so long, or does not read its response, is disconnected."""

SWITCH_INTERVAL: Final = 0.002
"""The seconds that a thread may use the interpreter while others wait for it. Python's 5 ms add up in a payment, which
waits for the interpreter after each of its statements, when many players log in."""


class Connection(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """A connection: its first request has to arrive in the time that a connection may be idle."""

    def connection_made(self, transport: "BaseTransport") -> None:
        """Begin to receive requests."""
        super().connection_made(transport)
        self.worker.open_connections.add(self)
        self._arm_keepalive_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the requests that have not arrived."""
        if self in self.worker.open_connections:
            self.worker.open_connections.remove(self)
            COUNTS.add(self.worker.slot, -1)
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """Handle the end of the client's data: an unfinished body is an error, a finished one is answered.

        Return whether the connection stays open for the response.
        """
        self._keepalive = 0
        receiver, parser = self._body_receiver, self._callback_parser
        if receiver is not None and parser.is_complete:
            return True
        if receiver is not None:
            self._send_error_response(HTTPStatus.BAD_REQUEST, "the body ended early")
        return False

    def close_if_idle(self) -> None:
        """Close the connection if it waits for a request."""
        if self._awaiting_request:
            self._keepalive_timeout()

    def _close_transport(self) -> None:
        """Close the connection, also if the client has left: gunicorn's own method then keeps it open."""
        super()._close_transport()
        self.transport.close()

    def _send_error_response(self, status: int, message: str, extra_headers: object = ()) -> None:  # noqa: ARG002
        """Answer a request that the application did not. `message` may quote the request: do not repeat it."""
        phrase = HTTPStatus(status).phrase
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            detail = "Internal error: report it to an organiser, with the time."
        else:
            detail = f"The bank can't read this request ({phrase}): send valid HTTP."
            logger.warning("A request was malformed: %s.", phrase)
        problem = Problem(type="about:blank", title=phrase, status=status, detail=detail, error=detail)
        body = json.dumps(problem.model_dump()).encode()
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {PROBLEM}\r\nContent-Length: {len(body)}\r\n"
        self._safe_write(head.encode() + b"Connection: close\r\n\r\n" + body)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker process; `slot` is its number among the living workers."""

    slot: int

    @classmethod
    def check_config(cls, cfg: object, log: object) -> None:
        """Accept the number of threads, of which gunicorn's own worker warns."""

    def init_process(self) -> None:
        """Prepare the process, then serve until the worker stops."""
        self.open_connections: set[Connection] = set()
        sys.setswitchinterval(SWITCH_INTERVAL)
        extensions.set_wait_callback(wait_for_answer)
        for listener in self.sockets:
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application behind the gateway."""
        self.asgi = Gateway(self.app.wsgi(), threads=self.cfg.threads)

    async def _serve(self) -> None:
        """Accept connections until the worker has to stop or the master ends; tell the master that the worker lives."""
        self.listeners = [Listener(listener.sock, self.slot, partial(Connection, self)) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            await asyncio.sleep(1)
        await self._shutdown()

    async def _shutdown(self) -> None:
        """Stop accepting, close idle connections, and wait for the requests that have arrived."""
        for listener in self.listeners:
            listener.close()
        for connection in list(self.open_connections):
            connection.close_if_idle()
        await super()._shutdown()

"""The gateway between gunicorn's event loop and the WSGI application.

A request occupies a thread only after its whole body has arrived. One that ends before that never reaches the
application. One that the gateway refuses (a body that is too long or too slow, a wait that is too long) is passed on
with the reason, so that the application answers, logs and counts it like any other; its body is dropped.
"""

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import unquote_to_bytes

from neobank.contract import CONTRACT
from neobank.web.refusals import ENVIRON, Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

BODY_SECONDS: Final = 30
"""The time in which a body has to arrive, in seconds."""

MAX_BODY: Final = 1024 * 1024
"""The longest body of any route, in bytes. The application limits most routes to less."""

SMALL_BODY: Final = 64 * 1024
"""Bodies up to this length, in bytes, are received however many arrive at once."""

MAX_LARGE: Final = 16
"""Longer bodies that a worker receives at once: it holds at most 16 MiB of them."""

MAX_WAIT: Final = 5
"""The time that a request may wait for a thread, in seconds."""

TOO_SLOW: Final = Refusal(408, f"The body did not arrive within {BODY_SECONDS} seconds: send the request again.")
TOO_LONG: Final = Refusal(413, f"The body is too large: send at most {MAX_BODY} bytes.")
TOO_LATE: Final = Refusal(503, "The bank has too many requests to answer at once: try again in a few seconds.")


class Scope(TypedDict):
    """The fields of an ASGI connection scope that the gateway uses."""

    type: str
    http_version: str
    method: str
    scheme: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    server: tuple[str, int] | None
    client: tuple[str, int] | None


Message = Mapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Disconnected(Exception):
    """The client closed the connection before the whole body had arrived."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the application: its status, headers in lower case, and body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Gateway:
    """An ASGI application that runs a WSGI application in threads. The liveness probe has a thread of its own."""

    def __init__(self, application: "WSGIApplication", *, threads: int) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._probes = ThreadPoolExecutor(1, thread_name_prefix="probe")
        self._large = asyncio.Semaphore(MAX_LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. WebSocket connections are refused."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        body, refusal = b"", None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._receive_all(scope, receive)
        except TimeoutError:
            refusal = TOO_SLOW
        except ValueError:
            refusal = TOO_LONG
        except Disconnected:
            return
        environ = _environ(scope, body, refusal)
        threads = self._probes if environ["PATH_INFO"] == CONTRACT.live_path else self._threads
        response = await asyncio.get_running_loop().run_in_executor(threads, self._call, environ, time.monotonic())
        headers = [*response.headers, (b"connection", b"close")] if refusal else response.headers
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _receive_all(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body. Raise ValueError if it is longer than MAX_BODY, Disconnected if it ends early."""
        if any(int(value) > MAX_BODY for name, value in scope["headers"] if name == b"content-length"):
            raise ValueError(f"a body of more than {MAX_BODY} bytes is announced")
        body = bytearray()
        if await _receive_up_to(SMALL_BODY, body, receive):
            return bytes(body)
        async with self._large:
            if await _receive_up_to(MAX_BODY, body, receive):
                return bytes(body)
        raise ValueError(f"a body of more than {MAX_BODY} bytes")

    def _call(self, environ: "WSGIEnvironment", arrived: float) -> Response:
        """Call the application, in a thread; `arrived` is the monotonic time at which the request was complete."""
        if time.monotonic() - arrived > MAX_WAIT:
            environ[ENVIRON] = TOO_LATE
        status, headers = 500, list[tuple[bytes, bytes]]()

        def start_response(line: str, given: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], object]:
            nonlocal status, headers
            status = int(line[:3])
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given]
            return _refuse_to_write

        chunks: Iterable[bytes] = self._application(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if close := getattr(chunks, "close", None):
                close()
        return Response(status, headers, body)


def _refuse_to_write(_data: bytes) -> None:
    raise NotImplementedError("the application returns its body")


async def _receive_up_to(length: int, body: bytearray, receive: Receive) -> bool:
    """Append to the body until it is complete (return True) or longer than `length` bytes (return False)."""
    while len(body) <= length:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        assert isinstance(chunk, bytes)  # noqa: S101  # as the ASGI specification says
        body += chunk
        if not message.get("more_body"):
            return len(body) <= length
    return False


def _environ(scope: Scope, body: bytes, refusal: Refusal | None) -> "WSGIEnvironment":
    """Return the WSGI environment of a request, as PEP 3333 describes it."""
    server, client = scope["server"] or ("", 0), scope["client"] or ("", 0)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        ENVIRON: refusal,
    }
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    environ.pop("HTTP_TRANSFER_ENCODING", None)  # the body is no longer in chunks
    if environ.pop("HTTP_CONTENT_LENGTH", None) or body:
        environ["CONTENT_LENGTH"] = str(len(body))
    if content_type := environ.pop("HTTP_CONTENT_TYPE", None):
        environ["CONTENT_TYPE"] = content_type
    return environ

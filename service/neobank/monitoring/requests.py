"""Request hooks: each request gets an id, a log line and an entry in the metrics.

The route is the URL rule that matched, because a path may contain anything that a client sent. Probes are logged on
debug, unless they fail with status 500 or more.
"""

import logging
import re
import time
import uuid
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, g, request

from neobank.contract import CONTRACT
from neobank.monitoring.metrics import Metrics

HEADER: Final = "X-Request-ID"
UNMATCHED: Final = "unmatched"

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_PROBES = frozenset((CONTRACT.live_path, CONTRACT.ready_path))

logger = logging.getLogger(__name__)


def register(app: Flask, metrics: Metrics, *, trust_id: bool) -> None:
    """Add the hooks to an application. Call this before any other hook is added, so that they start first and end last.

    With `trust_id` a well-formed X-Request-ID is trusted as a proxy's and kept; otherwise each request gets a new id.
    """

    @app.before_request
    def begin() -> None:
        g.started = time.monotonic()
        given = request.headers.get(HEADER, "") if trust_id else ""
        g.request_id = given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex

    @app.after_request
    def end(response: Response) -> Response:
        duration = time.monotonic() - g.started
        method = request.method if request.method in _METHODS else "OTHER"
        route = request.url_rule.rule if request.url_rule else UNMATCHED
        metrics.count_request(method, route, response.status_code, duration)
        _log(method, route, response.status_code, duration)
        response.headers[HEADER] = g.request_id
        return response


def request_id() -> str:
    """Return the id of the current request."""
    current: str = g.request_id
    return current


def note_account(number: str) -> None:
    """Record the account number of the authenticated caller for the log line of the request."""
    g.account = number


def _log(method: str, route: str, status: int, duration: float) -> None:
    level = logging.INFO
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        level = logging.WARNING
    elif route in _PROBES:
        level = logging.DEBUG
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(duration * 1000, 1)}
    logger.log(level, "%s %s", method, route, extra=fields | {"account": g.get("account")})

"""Each request: its id, its line in the log, its place in the metrics.

A route is the rule that matched, since a path may hold anything that was typed. Probes are logged on debug, unless they
fail.
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
    """Make an application observe its requests; called before any other hook is made, it starts first and ends last.

    With `trust_id` a well-formed X-Request-ID is a proxy's word and is kept; otherwise each request gets its own.
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
    """Give the id of the request that is being handled."""
    found: str = g.request_id
    return found


def note_account(number: str) -> None:
    """Note whose request it is, once that is proven, for its line in the log."""
    g.account = number


def _log(method: str, route: str, status: int, duration: float) -> None:
    level = logging.INFO
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        level = logging.WARNING
    elif route in _PROBES:
        level = logging.DEBUG
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(duration * 1000, 1)}
    logger.log(level, "%s %s", method, route, extra=fields | {"account": g.get("account")})

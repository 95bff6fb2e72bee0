"""Rate limits: a caller that exceeds a limit of the settings receives 429, with the time to wait in Retry-After.

Put `limited` next to the view, below the decorators that read the request. Then a malformed or unauthenticated request
is rejected before it is counted, and the caller is known. A limit has one counter for each caller, shared by all routes
that use the limit. Counting and moving money are separate transactions. If counting fails, the request is answered as
in any outage.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Final, TypeVar, cast

from flask import Flask, Response, request
from flask_limiter import Limiter, RateLimitExceeded

from neobank import names
from neobank.settings import NAMES, Limit
from neobank.web.addresses import client_network
from neobank.web.authentication import current_caller
from neobank.web.bank import current_bank
from neobank.web.errors import problem
from neobank.web.rate_limit_storage import CounterStorage, counted_window

logger = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., object])
_MARK: Final = "_neobank_limited"


def by_account() -> str:
    """Count by the account of the caller, from any address."""
    return f"account:{current_caller().account_id}"


def by_name_and_address() -> str:
    """Count by the client's network and the name in the body, whether or not the player exists.

    Every spelling that `names.key` folds is one name. Guessing from one network does not lock the player out elsewhere.
    """
    return f"name:{names.key(request.get_json()['character_name'])} {by_address()}"


def by_address() -> str:
    """Count by the client's network: only for callers of whom nothing else is known."""
    return f"address:{client_network()}"


# The limiter keeps no state of an application: limits and counters are those of the bank that serves the request. It is
# bound to an application that serves no request, because its hooks would search every request for application-wide
# limits, and there are none.
_limiter = Limiter(
    by_address, app=Flask("limits"), storage_uri=f"{CounterStorage.STORAGE_SCHEME[0]}://", strategy="fixed-window"
)
# It would log the name that a client sent; the log line of the request has the status 429 already.
_limiter.logger.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Limited:
    """The limit of a view, for the OpenAPI document."""

    limit: Limit
    counted_for: str


def limited(limit: Limit, by: Callable[[], str]) -> Callable[[View], View]:
    """Decorate a view: a caller, identified by `by`, that exceeds the rate in the settings receives 429."""
    counting = _limiter.shared_limit(lambda: current_bank().settings.rate_limits[limit], scope=limit, key_func=by)

    def decorate(view: View) -> View:
        counted_for = by.__name__.removeprefix("by_").replace("_", " ")
        vars(view)[_MARK] = Limited(limit, counted_for)  # each outer decorator copies it
        counted = counting(view)

        @wraps(counted)
        def serve(*arguments: object, **named: object) -> object:
            limits = current_bank().settings.rate_limits
            return (counted if limit in limits else view)(*arguments, **named)

        return cast("View", serve)

    return decorate


def limit_of(view: Callable[..., object]) -> Limited | None:
    """Return the limit of a view, or None; the view may have more decorators around it."""
    mark = vars(view).get(_MARK)
    return mark if isinstance(mark, Limited) else None


def register(app: Flask) -> None:
    """Make an application answer 429 beyond a limit; if limits are off, log a warning."""
    app.register_error_handler(RateLimitExceeded, _exceeded)
    with app.app_context():
        if not current_bank().settings.rate_limits:
            logger.warning("RATE LIMITS ARE OFF (%s=off): this is for rehearsals only.", NAMES.rate_limits)


def _exceeded(error: RateLimitExceeded) -> Response:
    rate = error.limit.limit
    seconds = max(1, math.ceil(counted_window().seconds_left))
    wait = "1 second" if seconds == 1 else f"{seconds} seconds"
    detail = f"Too many requests: at most {rate.amount} a {rate.GRANULARITY.name}. Try again in {wait}."
    return problem(429, detail, {"Retry-After": str(seconds)})

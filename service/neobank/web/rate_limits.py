"""Rate limits: who does something more often than the settings allow is told, with 429, when to come back.

Put `limited` next to the view, under what reads the request: what is malformed or not logged in is refused before it is
counted, and the caller is known. A limit has one counter for each caller, for all routes that name it. A count and the
money have separate transactions; where the count fails, the request is answered as in any outage.
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
    """Count for the logged-in account, wherever it comes from."""
    return f"account:{current_caller().account_id}"


def by_name() -> str:
    """Count for the name in the body, however it is written and whether or not there is such a player."""
    return f"name:{names.key(request.get_json()['character_name'])}"


def by_address() -> str:
    """Count for where the request comes from: only for callers of whom nothing else is known."""
    return f"address:{client_network()}"


# It holds nothing of an application: limits and counters are those of the bank that serves the request. So it is given
# one that nobody asks anything: its hooks would look in every request for limits of a whole application, and find none.
_limiter = Limiter(
    by_address, app=Flask("limits"), storage_uri=f"{CounterStorage.STORAGE_SCHEME[0]}://", strategy="fixed-window"
)
# It would log whatever was sent as a name; that a request was answered with 429, its own line in the log tells.
_limiter.logger.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Limited:
    """What a view was decorated with, for the document."""

    limit: Limit
    counted_for: str


def limited(limit: Limit, by: Callable[[], str]) -> Callable[[View], View]:
    """Decorate a view: beyond the settings' rate of this limit, each caller that `by` tells apart gets 429."""
    counting = _limiter.shared_limit(lambda: current_bank().settings.rate_limits[limit], scope=limit, key_func=by)

    def decorate(view: View) -> View:
        vars(view)[_MARK] = Limited(limit, by.__name__.removeprefix("by_"))  # every further decorator copies it
        counted = counting(view)

        @wraps(counted)
        def serve(*arguments: object, **named: object) -> object:
            limits = current_bank().settings.rate_limits
            return (counted if limit in limits else view)(*arguments, **named)

        return cast("View", serve)

    return decorate


def limit_of(view: Callable[..., object]) -> Limited | None:
    """Tell how a view is limited, through whatever it was decorated with after that."""
    found = vars(view).get(_MARK)
    return found if isinstance(found, Limited) else None


def register(app: Flask) -> None:
    """Make an application keep the limits of its settings, or say loudly that there are none."""
    app.register_error_handler(RateLimitExceeded, _exceeded)
    with app.app_context():
        if not current_bank().settings.rate_limits:
            logger.warning("RATE LIMITS ARE OFF (%s=off): this is for rehearsals only.", NAMES.rate_limits)


def _exceeded(error: RateLimitExceeded) -> Response:
    rate = error.limit.limit
    seconds = max(1, math.ceil(counted_window().seconds_left))
    wait = "1 second" if seconds == 1 else f"{seconds} seconds"
    detail = f"That is too often: at most {rate.amount} a {rate.GRANULARITY.name}. Try again in {wait}."
    return problem(429, detail, {"Retry-After": str(seconds)})

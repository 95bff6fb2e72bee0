"""Requests that the server refuses before the application sees them: the application only answers them."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, request

from neobank.web.errors import problem

ENVIRON: Final = "neobank.refusal"
"""The key of the WSGI environment with the Refusal, or None."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status of a refused request, and the sentence that tells the client what to do."""

    status: int
    detail: str


def register(app: Flask) -> None:
    """Make an application answer a refused request with its refusal, before any view."""
    app.before_request(_answer)


def _answer() -> Response | None:
    refusal = request.environ.get(ENVIRON)
    if not isinstance(refusal, Refusal):
        return None
    busy = refusal.status == HTTPStatus.SERVICE_UNAVAILABLE
    return problem(refusal.status, refusal.detail, {"Retry-After": "2"} if busy else None)

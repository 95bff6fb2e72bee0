"""Requests that are refused before any view: by the server in front of the application, or for their path."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, abort, request

from neobank.web.errors import problem

ENVIRON: Final = "neobank.refusal"
"""The key of the WSGI environment with the Refusal, or None."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status of a refused request, and the sentence that tells the client what to do."""

    status: int
    detail: str


def register(app: Flask) -> None:
    """Make an application answer a refused request with its refusal; a path that begins with two slashes is one.

    Werkzeug would ignore the second slash, and answer other paths with two slashes with a redirect in HTML whose URL is
    made from the Host header.
    """
    app.url_map.merge_slashes = False
    app.before_request(_answer)


def _answer() -> Response | None:
    if request.environ["PATH_INFO"].startswith("//"):
        abort(HTTPStatus.NOT_FOUND)
    refusal = request.environ.get(ENVIRON)
    if not isinstance(refusal, Refusal):
        return None
    busy = refusal.status == HTTPStatus.SERVICE_UNAVAILABLE
    return problem(refusal.status, refusal.detail, {"Retry-After": "2"} if busy else None)

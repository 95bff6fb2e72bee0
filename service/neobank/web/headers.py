"""What every answer tells a browser: run nothing, frame nothing, guess nothing, keep nothing; and which pages may ask.

A view that shows a page sets its own Content-Security-Policy, Cross-Origin-Resource-Policy or Cache-Control: what an
answer has already is left as it is. No cookie is ever read, so no origin is ever allowed credentials: a page of a
foreign origin has the token it was given, or none.
"""

from typing import Final

from flask import Flask, Response, request

from neobank.web.bank import current_bank

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

HSTS: Final = "max-age=2592000"
"""Thirty days: longer than an event, and short enough that its host may serve something else next season."""

PREFLIGHT_KEPT: Final = "600"  # seconds
ASKED_WITH: Final = "Authorization, Content-Type, Idempotency-Key, X-API-Key, X-Request-ID"
SHOWN: Final = "Retry-After, X-Request-ID"


def register(app: Flask) -> None:
    """Make an application send these headers with every answer, whatever became of the request."""
    app.after_request(_protect)


def _protect(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", HSTS)
    if current_bank().settings.cors_origins:
        _share(response)
    return response


def _share(response: Response) -> None:
    """Let the pages of a configured origin read the answer, and send what a preflight asks about."""
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin not in current_bank().settings.cors_origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = SHOWN
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = ASKED_WITH
        response.headers["Access-Control-Max-Age"] = PREFLIGHT_KEPT

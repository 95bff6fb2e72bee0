"""Response headers: security headers on every response, and CORS headers for the configured origins.

By default a browser may not run, frame, sniff or cache a response. A view that returns a page sets its own
Content-Security-Policy, Cross-Origin-Resource-Policy or Cache-Control; a header that is already set is kept. The bank
reads no cookie, so CORS never allows credentials: a page of another origin can only use a token that it was given.
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
"""Thirty days: longer than an event, and short enough that the host name can be used otherwise next season."""

PREFLIGHT_MAX_AGE: Final = "600"  # seconds
ALLOWED_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, X-API-Key, X-Request-ID"
EXPOSED_HEADERS: Final = "Retry-After, X-Request-ID"


def register(app: Flask) -> None:
    """Make an application send these headers with every response, errors included."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", HSTS)
    if current_bank().settings.cors_origins:
        _add_cors_headers(response)
    return response


def _add_cors_headers(response: Response) -> None:
    """Let a page of a configured origin read the response, and answer its preflight request."""
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin not in current_bank().settings.cors_origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = PREFLIGHT_MAX_AGE

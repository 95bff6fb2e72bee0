"""The bank over HTTP: the application factory, and what every route shares."""

from neobank.web.application import create_app

__all__ = ["create_app"]

"""The application with additional routes that raise exceptions whose text contains a secret."""

from collections.abc import Iterator
from typing import Final

import psycopg2
from flask import Flask, Response, request
from sqlalchemy.exc import OperationalError

from neobank import application

URL: Final = "postgresql://neobank_0:hidden-in-an-exception@postgres-service:5432/neobank"


def create_app() -> Flask:
    app = application.create_app()

    @app.get("/fault/mistake")
    def mistake() -> None:
        try:
            int(URL)
        except ValueError as error:
            raise RuntimeError(f"{URL} and {request.headers.get('Authorization')}") from error

    @app.get("/fault/outage")
    def outage() -> None:
        raise OperationalError("SELECT 1", {"url": URL}, psycopg2.OperationalError(f'missing "=" after "{URL}"'))

    @app.get("/fault/body")
    def body() -> Response:
        def parts() -> Iterator[str]:
            yield "begun"
            raise RuntimeError(URL)

        return Response(parts())

    return app

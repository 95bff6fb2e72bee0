"""Log lines as JSON, one object a line, with the same fields for the bank's own loggers and gunicorn's.

A line never contains what a client sent, or the message of an exception, which may contain a password, a token, a row
or a URL. An exception is logged as its type, PostgreSQL's SQLSTATE and the place where it was raised.
"""

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from flask import g, has_request_context

FIELDS: Final = ("method", "route", "status", "duration_ms", "account")
"""The fields that a record may have besides its message, passed as `extra`."""

MAX_FRAMES: Final = 20

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode  # created once: `dumps` creates an encoder for each line


class JSONFormatter(logging.Formatter):
    """Format a record as one line of JSON; during a request with the request's id."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context() and "request_id" in g:
            line["request_id"] = g.request_id
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info and record.exc_info[1]:
            line["exceptions"] = list(_chain(record.exc_info[1]))
        return _ENCODE(line)


class RequestTextRemover(logging.Filter):
    """Remove the text of a request that gunicorn quotes in its messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        if record.msg.startswith("Error handling connection"):
            record.msg, record.args = "Error handling connection", ()
        return True


def configuration(level: str) -> dict[str, object]:
    """Return the argument of `logging.config.dictConfig`; `level` is one of settings.LOG_LEVELS.

    Libraries log from warning on. gunicorn never logs on debug, where it writes paths.
    """
    own_level = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "filters": {"without request text": {"()": RequestTextRemover}},
        "handlers": {
            "lines": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["without request text"]},
        },
        "root": {"level": "WARNING", "handlers": ["lines"]},
        "loggers": {
            "neobank": {"level": own_level},
            "gunicorn.error": {"level": "INFO" if own_level == "DEBUG" else own_level, "handlers": ["lines"]},
            "gunicorn.access": {"level": "CRITICAL"},  # its lines contain query strings; the bank writes its own
        },
    }


def _chain(error: BaseException) -> Iterator[Mapping[str, object]]:
    """Describe an exception and its causes, the last one raised first."""
    seen = set[int]()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = [
            f"{frame.f_globals.get('__name__')}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(link.__traceback__)
        ]
        described = {"type": f"{type(link).__module__}.{type(link).__qualname__}", "frames": frames[-MAX_FRAMES:]}
        code = getattr(link, "pgcode", None)
        yield described | ({"sqlstate": code} if code else {})
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)

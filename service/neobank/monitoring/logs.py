"""Log lines as JSON, one object a line, in one shape for the bank's own loggers and gunicorn's.

What a client sent is never in them, nor what an exception says of itself, which may quote a password, a token, a row
or a URL. An exception is told by its type, PostgreSQL's code for it, and where it was raised.
"""

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from flask import g, has_request_context

FIELDS: Final = ("method", "route", "status", "duration_ms", "account")
"""What a record may carry besides its message, by `extra`."""

MAX_FRAMES: Final = 20

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode  # made once: `dumps` makes another for each line


class JSONFormatter(logging.Formatter):
    """Write a record as one line of JSON; during a request with its id."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
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


class WithoutQuotes(logging.Filter):
    """Cut what gunicorn quotes of a request out of its messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        if record.msg.startswith("Error handling request"):
            record.msg, record.args = "Error handling request", ()
        elif record.msg.startswith("Invalid request from "):  # …ip=ADDRESS: WHAT IS WRONG: 'THE QUOTE'
            record.msg = ": ".join(record.msg.split(": ")[:2])
        return True


def configuration(level: str) -> dict[str, object]:
    """Give what `logging.config.dictConfig` takes; `level` is one of settings.LOG_LEVELS.

    Libraries are heard from warning on. gunicorn is never heard on debug, where it writes paths.
    """
    heard = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "filters": {"without quotes": {"()": WithoutQuotes}},
        "handlers": {
            "lines": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["without quotes"]},
        },
        "root": {"level": "WARNING", "handlers": ["lines"]},
        "loggers": {
            "neobank": {"level": heard},
            "gunicorn.error": {"level": "INFO" if heard == "DEBUG" else heard, "handlers": ["lines"]},
            "gunicorn.access": {"level": "CRITICAL"},  # its lines have queries in them; the bank writes its own
        },
    }


def _chain(error: BaseException) -> Iterator[Mapping[str, object]]:
    """Describe an exception and what it came from, the last one first."""
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

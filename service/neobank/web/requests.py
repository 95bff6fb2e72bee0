"""Reading a request: JSON with exact numbers, and the types that bodies are made of."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NoReturn, TypeVar

from apiflask import HTTPError
from flask import Request, Response
from flask.json.provider import DefaultJSONProvider
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from werkzeug.datastructures import MultiDict
from werkzeug.routing import IntegerConverter, Map, UnicodeConverter
from werkzeug.utils import cached_property

from neobank.ledger.money import MAX_AMOUNT, to_hundredths, to_number, to_signed_hundredths

MAX_PATH_ID_DIGITS: Final = 18
MAX_PATH_ID: Final = 10**MAX_PATH_ID_DIGITS - 1

FIRST_YEAR, LAST_YEAR = 2000, 2999
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands there twice")
    return members


class JSONProvider(DefaultJSONProvider):
    """JSON whose fractions are read exactly, and which has no NaN."""

    ensure_ascii = False
    sort_keys = False
    compact = True

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:  # noqa: ANN401  # the signature is Flask's
        """Read JSON; numbers with a fraction or an exponent become Decimal.

        Raises ValueError where a member stands there twice: two readers may differ on which.
        """
        return json.loads(s, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_members, **kwargs)


class JSONRequest(Request):
    """A request whose body is a JSON object and says so; no body at all is an empty object."""

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """Read the query.

        Raises HTTPError 400 where it is no UTF-8, or a parameter stands there twice: two readers may differ on which.
        """
        try:
            given = super().args
        except UnicodeDecodeError:
            raise HTTPError(400, "The query is not UTF-8.") from None
        repeated = next((name for name, values in given.lists() if len(values) > 1), None)
        if repeated is not None:
            raise HTTPError(400, f"{repeated}: it stands in the query twice.")
        return given

    def get_json(self, *_: bool, **__: bool) -> Any:  # noqa: ANN401  # the signature is Flask's
        """Read the body.

        Raises HTTPError 415 for another content type, 400 for malformed JSON or anything but an object.
        """
        content = self.get_data()
        if not self.is_json and (content or self.content_type):
            raise HTTPError(415, "The body must be JSON: send Content-Type: application/json.")
        try:
            body = self.json_module.loads(content or b"{}")
        except (ValueError, RecursionError):
            raise HTTPError(400, "The body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise HTTPError(400, "The body must be a JSON object.")
        return body


class IdConverter(IntegerConverter):
    """An id in a path; more digits than an id can have are no address."""

    regex = f"[0-9]{{1,{MAX_PATH_ID_DIGITS}}}"


class NumberConverter(UnicodeConverter):
    """An account number in a path, where other words stand for other things."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        self.regex = "[Nn][Cc]-[^/\x00]+"


class TextConverter(UnicodeConverter):
    """A text in a path; one that the database can't hold is no address."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        self.regex = "[^/\x00]+"


def nothing() -> Response:
    """Answer 204: done, and nothing to say."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


class Body(BaseModel):
    """A request's body or query; a field that is not declared is refused."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Confirmation(Answer):
    """A sentence that states what was done."""

    message: str


def _storable(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text has no half of a surrogate pair.") from None
        if "\x00" in value:
            raise ValueError("a text has no NUL character.")
    return value


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


def _dated(value: object) -> object:
    if not (isinstance(value, str) and _DATE.match(value)):  # a number would be seconds since 1970
        raise PydanticCustomError("time_type", "a time is a text like 2099-12-31T23:59:59Z, with a zone.")
    return value


def _imaginable(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"a time is of the years {FIRST_YEAR} to {LAST_YEAR}.")
    return value.astimezone(UTC)


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("amount_type", "an amount is a JSON number.")
    return Decimal(value)


def _amount(value: object) -> int:
    return to_hundredths(_number(value))


def _signed_amount(value: object) -> int:
    return to_signed_hundredths(_number(value))


class _WithoutNul:
    """Documents what `_storable` refuses."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": r"^[^\x00]*$"}


Text = Annotated[str, BeforeValidator(_storable), _WithoutNul()]
"""A text that the database can hold."""


class _OrEmpty:
    """Documents that a field may be empty, too, whatever it holds otherwise."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        documented = handler(schema)
        given = documented["anyOf"][0]
        if given.get("type") != "string" or "format" in given:
            documented["anyOf"].append({"type": "string", "maxLength": 0})
        return documented


T = TypeVar("T")
Maybe = Annotated[T | None, BeforeValidator(_absent_if_empty), _OrEmpty()]
"""A field that may be left out; null and an empty string mean the same as nothing."""

Time = Annotated[AwareDatetime, BeforeValidator(_dated), AfterValidator(_imaginable)]
"""A time as it comes in, in UTC inside; a year that neither Python nor PostgreSQL can move to another zone is none."""

Amount = Annotated[
    int,
    BeforeValidator(_amount),
    WithJsonSchema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_AMOUNT // 100, "multipleOf": 0.01, "description": "¤"}
    ),
]
"""An amount of ¤ as it comes in; hundredths inside."""

SignedAmount = Annotated[
    int,
    BeforeValidator(_signed_amount),
    WithJsonSchema(
        {
            "type": "number",
            "minimum": -MAX_AMOUNT // 100,
            "maximum": MAX_AMOUNT // 100,
            "not": {"const": 0},
            "multipleOf": 0.01,
            "description": "¤, to give or, negative, to take",
        }
    ),
]
"""An amount of ¤ that may be negative, as it comes in; hundredths inside."""

Money = Annotated[
    int, PlainSerializer(to_number, return_type=float), WithJsonSchema({"type": "number", "description": "¤"})
]
"""Hundredths inside; a number of ¤ with at most two decimals as it goes out."""

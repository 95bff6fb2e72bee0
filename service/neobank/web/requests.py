"""Parsing of requests: JSON with exact numbers, path converters, and the field types of bodies."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
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

View = TypeVar("View", bound=Callable[..., object])

MAX_PATH_ID_DIGITS: Final = 18
MAX_PATH_ID: Final = 10**MAX_PATH_ID_DIGITS - 1

MAX_EXPONENT: Final = 100
"""Of a number in a request, in scientific notation: no field takes one beyond 10^100 or closer to 0 than 10^-100."""

FIRST_YEAR, LAST_YEAR = 2000, 2999
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object repeats a member")
    return members


def _fraction(text: str) -> Decimal:
    """Return a number with a fraction or an exponent; raise ValueError for one that no field can have."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("a number has too many digits in its exponent") from None
    if number and abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError("a number is too large or too close to 0")
    return number


class JSONProvider(DefaultJSONProvider):
    """JSON with exact fractions and without NaN or Infinity."""

    ensure_ascii = False
    sort_keys = False
    compact = True

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:  # noqa: ANN401  # the signature is Flask's
        """Parse JSON; a number with a fraction or an exponent becomes a Decimal.

        Raise ValueError if an object repeats a member, because parsers differ in which one they use, or if a number is
        so large or so small that to convert it would take long.
        """
        return json.loads(
            s, parse_float=_fraction, parse_constant=_refuse_constant, object_pairs_hook=_members, **kwargs
        )


class JSONRequest(Request):
    """A request whose body is a JSON object with a JSON content type; an absent body is an empty object."""

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """Return the query parameters.

        Raise HTTPError 400 if the query is not UTF-8, or if it repeats a parameter, because parsers differ in which one
        they use.
        """
        try:
            given = super().args
        except UnicodeDecodeError:
            raise HTTPError(400, "The query is not UTF-8: encode it as UTF-8, then percent-encode it.") from None
        repeated = next((name for name, values in given.lists() if len(values) > 1), None)
        if repeated is not None:
            raise HTTPError(400, f"{repeated}: the query contains it more than once; send it once.")
        return given

    def get_json(self, *_: bool, **__: bool) -> Any:  # noqa: ANN401  # the signature is Flask's
        """Return the body.

        Raise HTTPError 415 for another content type, 400 for malformed JSON or a value that is not an object.
        """
        content = self.get_data()
        if not self.is_json and (content or self.content_type):
            raise HTTPError(415, "The body must be JSON: send Content-Type: application/json.")
        try:
            body = self.json_module.loads(content or b"{}")
        except (ValueError, RecursionError):
            raise HTTPError(
                400, "The body is not valid JSON, an object repeats a field, or a number is out of range."
            ) from None
        if not isinstance(body, dict):
            raise HTTPError(400, "The body must be a JSON object.")
        return body


class IdConverter(IntegerConverter):
    """An id in a path; a number with more digits than an id can have does not match."""

    regex = f"[0-9]{{1,{MAX_PATH_ID_DIGITS}}}"


class NumberConverter(UnicodeConverter):
    """An account number in a path, where fixed words lead to other routes."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        self.regex = "[Nn][Cc]-[^/\x00]+"


class TextConverter(UnicodeConverter):
    """A text in a path; one with a NUL character, which the database can't store, does not match."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        self.regex = "[^/\x00]+"


def no_content() -> Response:
    """Return an empty response with status 204."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def takes(content_types: Sequence[str], schema: Mapping[str, object]) -> Callable[[View], View]:
    """Document a body that is not JSON, where APIFlask's `input` documents the other bodies."""

    def decorate(view: View) -> View:
        vars(view).setdefault("_spec", {}).update(body=dict(schema), content_type=list(content_types))
        return view

    return decorate


def content_of(request: Request, content_types: Collection[str], max_length: int) -> bytes:
    """Return a body that is not JSON. Raise HTTPError 415 for another content type, 413 if it is too large."""
    if request.mimetype not in content_types:
        raise HTTPError(415, f"The content type is wrong: send Content-Type: {' or '.join(content_types)}.")
    request.max_content_length = max_length
    return request.get_data()


class Body(BaseModel):
    """A request's body or query; a field that is not declared is rejected."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """A response's body."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Confirmation(Answer):
    """A message that states what was done."""

    message: str


def _storable(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must not contain half of a surrogate pair.") from None
        if "\x00" in value:
            raise ValueError("must not contain a NUL character.")
    return value


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


def _dated(value: object) -> object:
    if not (isinstance(value, str) and _DATE.match(value)):  # a number would be seconds since 1970
        raise PydanticCustomError("time_type", "must be a text with time and zone, such as 2099-12-31T23:59:59Z.")
    return value


def _in_range(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}.")
    return value.astimezone(UTC)


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("amount_type", "must be a JSON number.")
    return Decimal(value)


def _amount(value: object) -> int:
    return to_hundredths(_number(value))


def _signed_amount(value: object) -> int:
    return to_signed_hundredths(_number(value))


class _WithoutNul:
    """The JSON schema of what `_storable` rejects."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": r"^[^\x00]*$"}


Text = Annotated[str, BeforeValidator(_storable), _WithoutNul()]
"""A text that the database can store."""


class _OrEmpty:
    """The JSON schema of a field that may also be an empty string, whatever its type."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        documented = handler(schema)
        given = documented["anyOf"][0]
        if given.get("type") != "string" or "format" in given:
            documented["anyOf"].append({"type": "string", "maxLength": 0})
        return documented


T = TypeVar("T")
Maybe = Annotated[T | None, BeforeValidator(_absent_if_empty), _OrEmpty()]
"""An optional field; null and an empty string mean the same as an absent field."""

Time = Annotated[AwareDatetime, BeforeValidator(_dated), AfterValidator(_in_range)]
"""A time in a request, converted to UTC.

Years at the limits of Python and PostgreSQL are rejected, because they can't be converted to another zone.
"""

Amount = Annotated[
    int,
    BeforeValidator(_amount),
    WithJsonSchema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_AMOUNT // 100, "multipleOf": 0.01, "description": "¤"}
    ),
]
"""An amount of ¤ in a request, converted to hundredths."""

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
            "description": "¤; a negative amount is deducted",
        }
    ),
]
"""An amount of ¤ in a request that may be negative, converted to hundredths."""

Money = Annotated[
    int, PlainSerializer(to_number, return_type=float), WithJsonSchema({"type": "number", "description": "¤"})
]
"""Hundredths, written in a response as a number of ¤ with at most two decimals."""

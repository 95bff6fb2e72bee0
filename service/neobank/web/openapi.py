"""The OpenAPI document. This module adds what the decorators of a route imply, so that no route repeats it.

A route that requires a token can return 401 and 403; one with a body 400, 413 and 415; a rate-limited one 429; every
route that uses the database 503. A route that lists 422 takes an Idempotency-Key: only a reused key causes 422. All
errors have the same body.
"""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from apiflask import APIFlask

from neobank.settings import RATES
from neobank.web.bank import current_bank
from neobank.web.errors import PROBLEM, Problem
from neobank.web.health import live
from neobank.web.idempotency import HEADER, MAX_KEY, RETENTION
from neobank.web.rate_limits import limit_of
from neobank.web.requests import MAX_PATH_ID

Part = MutableMapping[str, Any]  # a part of a JSON document
View = Callable[..., object]

_KEY_REUSED: Final = 422

_ABOUT: Final = f"""
Money is a JSON number of ¤ with at most two decimals, never a string. A client that computes with binary floating point
rounds to whole hundredths first: in a double, 69.29 * 100 is 6929.000000000001. Times are ISO 8601 in UTC with a zone.
An optional field may be absent, null or "": all three mean the same, unless the field says otherwise. A field that is
repeated or not listed is rejected.

An error is `application/problem+json`; `detail` states what is wrong, and `error` is the same text for older clients. A
rejected request changed nothing. An internal error of the bank is a 500 in the same form.

A POST that moves money, opens a charge or imports players takes an `Idempotency-Key`. If the same
request is sent again with the same key within {RETENTION // timedelta(hours=1)} hours, it is not carried out twice: the
client receives the first response again. So a client that received no response sends the same request again.
"""

_EXAMPLES: Final[Mapping[str, object]] = {
    "account": "NC-7Q2M-K4ZD",
    "account_number": "NC-7Q2M-K4ZD",
    "amount": 12.5,
    "character_name": "Neo",
    "code": "white rabbit",
    "current_password": "white rabbit",
    "description": "The bar in the cellar",
    "event_code": "white rabbit",
    "expires_at": "2099-12-31T23:59:59Z",
    "faction": "Runners",
    "from_account": "NC-7Q2M-K4ZD",
    "limit": 10,
    "memo": "for the call",
    "number": "NC-7Q2M-K4ZD",
    "name": "Neo",
    "NewFaction.name": "Zion",
    "NewFaction.description": "The last city",
    "new_password": "follow the white rabbit",
    "password": "white rabbit",
    "player": "NC-7Q2M-K4ZD",
    "profile_picture": "\U0001f430",
    "q": "call",
    "read_only": False,
    "reason": "paid at the wrong bar",
    "registration": "open",
    "scope": "charge",
    "to_account": "NC-9XTR-3B5H",
}
"""An example for each field that a client sends, by the field's name, or by the names of its schema and the field."""

_DESCRIPTIONS: Final[Mapping[int, str]] = {
    400: "The request is malformed, or the bank rejects it; `detail` states why.",
    401: "The request has no valid credentials.",
    403: "The credentials are valid but do not allow this, or it is not available to anyone at present.",
    404: "The object does not exist, or the caller may not see it.",
    409: "The present state does not allow this, or a request with the same key is still in progress.",
    413: "The body is too large.",
    415: "The body does not have the content type that is listed.",
    422: f"The {HEADER} was already used for another request.",
    429: "The rate limit is exceeded: Retry-After states when to try again.",
    503: "The bank is too busy, can't reach its database, or its database's disk is full: nothing was done."
    " Retry-After states when to try again.",
}

_HEADERS: Final[Mapping[str, Part]] = {
    "RetryAfter": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Challenge": {
        "description": "The authentication scheme that the route requires.",
        "required": True,
        "schema": {"type": "string"},
    },
}

_KEY: Final[Part] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A text that the client chooses, new for each request. A repeated request is not carried out twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
    "example": "3f1c0c62-till-2-order-118",
}


def register(app: APIFlask) -> None:
    """Make an application complete its OpenAPI document."""
    app.config["AUTO_OPERATION_ID"] = True
    app.config["AUTO_SERVERS"] = False  # it would be the Host header of the first request
    app.servers = [{"url": "/"}]
    app.description = _ABOUT.strip()
    app.spec_processor(partial(_complete, app))


def _complete(app: APIFlask, document: dict[Any, Any] | str) -> dict[Any, Any] | str:  # the signature is APIFlask's
    if not isinstance(document, dict):
        raise TypeError("the OpenAPI document must be JSON")
    components: Part = document["components"]
    for unused in ("HTTPError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"]["Problem"] = Problem.model_json_schema()
    components["headers"] = dict(_HEADERS)
    components["parameters"] = {"IdempotencyKey": dict(_KEY)}
    components["responses"] = {_name(status): _problem(status) for status in _DESCRIPTIONS}
    for view, operation in _operations(app, document["paths"]):
        _complete_responses(view, operation)
        _complete_request(operation, components["schemas"])
        _describe_limit(view, operation)
    return document


def _operations(app: APIFlask, paths: Part) -> Iterator[tuple[View, Part]]:
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method, operation in paths.get(path, {}).items():
            if method.upper() in (rule.methods or ()):
                yield app.view_functions[rule.endpoint], operation


def _complete_responses(view: View, operation: Part) -> None:
    responses: Part = operation["responses"]
    errors = {int(status) for status in responses if status >= "4"} | {503}
    if operation.get("security"):
        errors |= {401, 403}
    if "requestBody" in operation:
        errors |= {400, 413, 415}
    if _KEY_REUSED in errors:
        errors |= {400, 409}
        operation["parameters"].append({"$ref": "#/components/parameters/IdempotencyKey"})
    if limit_of(view) is not None:
        errors |= {429}
    if view is live:
        errors = set()
    for status in errors:
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    operation["responses"] = dict(sorted(responses.items()))


def _complete_request(operation: Part, schemas: Mapping[str, Part]) -> None:
    for parameter in operation["parameters"]:
        if parameter.get("in") == "path":
            whole = parameter["schema"]["type"] == "integer"
            parameter["schema"] |= {"minimum": 0, "maximum": MAX_PATH_ID} if whole else {"minLength": 1}
        if "schema" in parameter:
            _add_examples("", {parameter["name"]: parameter["schema"]})
    body = operation.get("requestBody")
    if body is not None:
        name = str(body["content"].get("application/json", {}).get("schema", {}).get("$ref", "")).rpartition("/")[2]
        body["required"] = bool(not name or schemas[name].get("required"))
        _add_examples(name, schemas[name].get("properties", {}) if name else {})


def _add_examples(schema: str, properties: Mapping[str, Part]) -> None:
    for name, field in properties.items():
        example = _EXAMPLES.get(f"{schema}.{name}", _EXAMPLES.get(name))
        if example is not None:
            field["examples"] = [example]


def _describe_limit(view: View, operation: Part) -> None:
    limited = limit_of(view)
    if limited is not None:
        rate = current_bank().settings.rate_limits.get(limited.limit, RATES[limited.limit])
        amount, _, time = rate.partition("/")
        description = f"At most {amount} requests a {time} for each {limited.counted_for}."
        operation["description"] = f"{operation.get('description', '')}\n\n{description}".strip()


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _problem(status: int) -> Part:
    response: Part = {
        "description": _DESCRIPTIONS[status],
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in {429, 503}:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    if status == HTTPStatus.UNAUTHORIZED:
        response["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/Challenge"}}
    return response

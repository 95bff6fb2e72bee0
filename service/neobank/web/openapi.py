"""The OpenAPI document: what a route's decorators imply is added to it here, so that no route has to repeat it.

A route that takes a token answers 401 and 403; one with a body 400, 413 and 415; a limited one 429; whatever asks the
database may answer 503; and one that lists 422, which nothing but a reused Idempotency-Key is answered with, takes that
header. Every error has the same body.
"""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from apiflask import APIFlask

from neobank.settings import RATES
from neobank.web.bank import current_bank
from neobank.web.errors import PROBLEM, Problem
from neobank.web.health import live
from neobank.web.idempotency import HEADER, MAX_KEY
from neobank.web.rate_limits import limit_of
from neobank.web.requests import MAX_PATH_ID

Part = MutableMapping[str, Any]  # a part of a JSON document
View = Callable[..., object]

_KEY_REUSED: Final = 422

_ABOUT: Final = """
Money is a JSON number of ¤ with at most two decimals, never a string. Times are ISO 8601 in UTC with a zone. An
optional field may be absent, null or "": the same thing. A field that is not listed or stands there twice is refused.

An error is `application/problem+json`; `detail` is one sentence for whoever sent the request, and `error` is the same
text for older clients. A refused request changed nothing. A mistake of the bank's own is a 500 in the same form.

A POST that moves money or opens a charge takes an `Idempotency-Key`: sent again with the same key within 24 hours, the
same request is not done twice but given its first answer. So whoever got no answer sends the same again.
"""

_EXAMPLES: Final[Mapping[str, object]] = {
    "account": "NC-7Q2M-K4ZD",
    "account_number": "NC-7Q2M-K4ZD",
    "amount": 12.5,
    "character_name": "Neo",
    "code": "zion",
    "current_password": "white rabbit",
    "description": "The bar in the cellar",
    "event_code": "zion",
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
"""An example for each field that a client sends, by its name, or by its body's and its own."""

_SENTENCES: Final[Mapping[int, str]] = {
    400: "The request makes no sense, or the bank must refuse it; `detail` says why.",
    401: "No valid credentials came with the request.",
    403: "The credentials are valid and do not allow this, or nobody may do it now.",
    404: "There is no such thing, or not for whoever asks.",
    409: "It is too late for this, or the same request is still under way.",
    413: "The body is too large.",
    415: "The body is of another content type than the one listed.",
    422: f"The {HEADER} belongs to another request.",
    429: "That was too often: Retry-After says when to ask again.",
    503: "The bank is too busy, or can't reach its books: nothing was done, and Retry-After says when to ask again.",
}

_HEADERS: Final[Mapping[str, Part]] = {
    "RetryAfter": {
        "description": "Seconds after which to ask again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Challenge": {
        "description": "Which kind of credentials it takes.",
        "required": True,
        "schema": {"type": "string"},
    },
}

_KEY: Final[Part] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A text of the client's own, another for each request: sent again with it, nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
    "example": "3f1c0c62-till-2-order-118",
}


def register(app: APIFlask) -> None:
    """Make an application's document complete."""
    app.config["AUTO_OPERATION_ID"] = True
    app.config["AUTO_SERVERS"] = False  # it would be whatever Host the first request came with
    app.servers = [{"url": "/"}]
    app.description = _ABOUT.strip()
    app.spec_processor(partial(_complete, app))


def _complete(app: APIFlask, document: dict[Any, Any] | str) -> dict[Any, Any] | str:  # the signature is APIFlask's
    if not isinstance(document, dict):
        raise TypeError("the document is JSON")
    components: Part = document["components"]
    for unused in ("HTTPError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"]["Problem"] = Problem.model_json_schema()
    components["headers"] = dict(_HEADERS)
    components["parameters"] = {"IdempotencyKey": dict(_KEY)}
    components["responses"] = {_name(status): _problem(status) for status in _SENTENCES}
    for view, operation in _operations(app, document["paths"]):
        _complete_responses(view, operation)
        _complete_request(operation, components["schemas"])
        _tell_limit(view, operation)
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
            _exemplify("", {parameter["name"]: parameter["schema"]})
    body = operation.get("requestBody")
    if body is not None:
        name = str(body["content"].get("application/json", {}).get("schema", {}).get("$ref", "")).rpartition("/")[2]
        body["required"] = bool(not name or schemas[name].get("required"))
        _exemplify(name, schemas[name].get("properties", {}) if name else {})


def _exemplify(schema: str, properties: Mapping[str, Part]) -> None:
    for name, field in properties.items():
        example = _EXAMPLES.get(f"{schema}.{name}", _EXAMPLES.get(name))
        if example is not None:
            field["examples"] = [example]


def _tell_limit(view: View, operation: Part) -> None:
    limited = limit_of(view)
    if limited is not None:
        rate = current_bank().settings.rate_limits.get(limited.limit, RATES[limited.limit])
        amount, _, time = rate.partition("/")
        told = f"At most {amount} a {time} for each {limited.counted_for}."
        operation["description"] = f"{operation.get('description', '')}\n\n{told}".strip()


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _problem(status: int) -> Part:
    response: Part = {
        "description": _SENTENCES[status],
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in {429, 503}:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    if status == HTTPStatus.UNAUTHORIZED:
        response["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/Challenge"}}
    return response

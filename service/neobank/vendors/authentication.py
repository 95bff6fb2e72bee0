"""Authentication of vendors by API key, and the vendor of a request."""

from http import HTTPStatus

from apiflask import APIKeyHeaderAuth
from flask import Response

from neobank.ledger.operations import AccountFrozen
from neobank.monitoring.requests import note_account
from neobank.vendors.keys import KeySuspended, Vendor, find_vendor
from neobank.web.bank import current_bank
from neobank.web.errors import problem

api_key = APIKeyHeaderAuth(
    param_name="X-API-Key", description="The API key of a vendor's terminal. An organiser creates it."
)


def current_vendor() -> Vendor:
    """Return the vendor who sent this request; for routes that require an API key."""
    vendor = api_key.current_user
    if not isinstance(vendor, Vendor):
        raise TypeError("this route does not require an API key")
    return vendor


def by_key() -> str:
    """Return the identity of this request's API key, for rate limits and idempotency."""
    return f"key:{current_vendor().key_id}"


def _verify_key(key: str) -> Vendor | None:
    if not key:
        return None
    vendor = current_bank().retry_once(lambda connection: find_vendor(connection, key))
    if vendor is None:
        return None
    note_account(vendor.account_number)
    if not vendor.may_act:
        raise AccountFrozen
    if not vendor.maker_authorised:
        raise KeySuspended
    return vendor


def _refuse(status: int) -> Response:
    del status
    detail = "Send a valid key in the header X-API-Key: it is missing, unknown, expired or revoked."
    return problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "ApiKey"})


api_key.verify_token(_verify_key)
api_key.error_handler(_refuse)

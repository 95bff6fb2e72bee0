"""Organisers' routes for API keys: list, create and revoke them."""

from datetime import UTC, datetime
from typing import Annotated

from apiflask import APIBlueprint
from pydantic import AfterValidator, Field

from neobank.audit.operations import record
from neobank.vendors import keys
from neobank.vendors.keys import Scope
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.requests import Answer, Body, Confirmation, Maybe, Text, Time

keys_blueprint = APIBlueprint("api_keys", __name__, url_prefix="/api/admin/api-keys", tag="Organisers: keys")


def _in_the_future(time: datetime) -> datetime:
    if time <= datetime.now(UTC):
        raise ValueError("the expiry must be in the future.")
    return time


class NewKey(Body):
    """A key to create: `charge` only creates charges, `pay` also pays from its account, `debit` from any player's."""

    description: Annotated[Text, Field(min_length=1, max_length=200)]
    scope: Maybe[Scope] = None
    account: Maybe[Text] = None
    expires_at: Maybe[Annotated[Time, AfterValidator(_in_the_future)]] = None


class ApiKey(Answer):
    """An API key, identified by its first characters; without `expires_at` it is valid until it is revoked.

    `created_by` is the account number of the organiser who made it. A `debit` key is `suspended`, and is rejected,
    while this player is not an organiser or is frozen.
    """

    id: int
    prefix: str
    description: str
    scope: Scope
    account_number: str
    created_by: str
    created_by_name: str
    suspended: bool
    created_at: datetime
    expires_at: datetime | None


class ApiKeys(Answer):
    """The valid keys, newest first."""

    api_keys: list[ApiKey]


class KeyCreated(Answer):
    """The new API key; no later response contains `key`."""

    message: str
    key: str
    api_key: ApiKey


@keys_blueprint.get("")
@keys_blueprint.auth_required(bearer, roles=[ORGANISER])
@keys_blueprint.output(ApiKeys)
def get_keys() -> ApiKeys:
    """List the valid API keys, without their secrets."""
    with current_bank().statement() as connection:
        return ApiKeys(api_keys=[ApiKey.model_validate(key) for key in keys.active(connection)])


@keys_blueprint.post("")
@keys_blueprint.auth_required(bearer, roles=[ORGANISER])
@keys_blueprint.input(NewKey)
@keys_blueprint.output(KeyCreated, status_code=201)
def post_key(json_data: NewKey) -> KeyCreated:
    """Create an API key, by default with the scope `charge` and for the caller's own account."""
    organiser = current_caller()
    with current_bank().transaction() as connection:
        secret, key = keys.create(
            connection,
            description=json_data.description,
            scope=json_data.scope or Scope.CHARGE,
            account_number=(json_data.account or organiser.account_number).strip().upper(),
            created_by=organiser.account_id,
            expires_at=json_data.expires_at,
        )
        details = {"description": key.description, "scope": key.scope, "account": key.account_number}
        record(connection, actor=organiser.account_id, action="create_api_key", target=key.prefix, details=details)
    return KeyCreated(
        message="Save the key now: it is not shown again.", key=secret, api_key=ApiKey.model_validate(key)
    )


@keys_blueprint.delete("/<int:key_id>")
@keys_blueprint.auth_required(bearer, roles=[ORGANISER])
@keys_blueprint.output(Confirmation)
@keys_blueprint.doc(responses=[404])
def delete_key(key_id: int) -> Confirmation:
    """Revoke an API key: it becomes invalid immediately."""
    with current_bank().transaction() as connection:
        prefix = keys.revoke(connection, key_id)
        actor = current_caller().account_id
        record(connection, actor=actor, action="revoke_api_key", target=prefix, details={})
    return Confirmation(message=f"The key {prefix}… is revoked.")

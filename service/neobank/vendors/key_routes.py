"""The organisers' side of keys: who has one, giving one, taking one back."""

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
        raise ValueError("a key ends in the future.")
    return time


class NewKey(Body):
    """What the key is for: `charge` only asks players, `pay` pays from its account, `debit` from any player's."""

    description: Annotated[Text, Field(min_length=1, max_length=200)]
    scope: Maybe[Scope] = None
    account: Maybe[Text] = None
    expires_at: Maybe[Annotated[Time, AfterValidator(_in_the_future)]] = None


class ApiKey(Answer):
    """A key, known by its first characters; without `expires_at` it works until it is revoked."""

    id: int
    prefix: str
    description: str
    scope: Scope
    account_number: str
    created_at: datetime
    expires_at: datetime | None


class ApiKeys(Answer):
    """The keys that work, newest first."""

    api_keys: list[ApiKey]


class KeyCreated(Answer):
    """The new key: `key` is shown this once."""

    message: str
    key: str
    api_key: ApiKey


@keys_blueprint.get("")
@keys_blueprint.auth_required(bearer, roles=[ORGANISER])
@keys_blueprint.output(ApiKeys)
def get_keys() -> ApiKeys:
    """List the keys that work, never the keys themselves."""
    with current_bank().statement() as connection:
        return ApiKeys(api_keys=[ApiKey.model_validate(key) for key in keys.active(connection)])


@keys_blueprint.post("")
@keys_blueprint.auth_required(bearer, roles=[ORGANISER])
@keys_blueprint.input(NewKey)
@keys_blueprint.output(KeyCreated, status_code=201)
def post_key(json_data: NewKey) -> KeyCreated:
    """Make a key; where nothing is said, for asking players to pay into the caller's own account."""
    organiser = current_caller()
    with current_bank().transaction() as connection:
        key, made = keys.create(
            connection,
            description=json_data.description,
            scope=json_data.scope or Scope.CHARGE,
            account_number=(json_data.account or organiser.account_number).strip().upper(),
            created_by=organiser.account_id,
            expires_at=json_data.expires_at,
        )
        details = {"description": made.description, "scope": made.scope, "account": made.account_number}
        record(connection, actor=organiser.account_id, action="create_api_key", target=made.prefix, details=details)
    return KeyCreated(message="Note the key now: it is shown this once.", key=key, api_key=ApiKey.model_validate(made))


@keys_blueprint.delete("/<int:key_id>")
@keys_blueprint.auth_required(bearer, roles=[ORGANISER])
@keys_blueprint.output(Confirmation)
@keys_blueprint.doc(responses=[404])
def delete_key(key_id: int) -> Confirmation:
    """Revoke a key: it is dead at once."""
    with current_bank().transaction() as connection:
        prefix = keys.revoke(connection, key_id)
        actor = current_caller().account_id
        record(connection, actor=actor, action="revoke_api_key", target=prefix, details={})
    return Confirmation(message=f"The key {prefix}… is revoked.")

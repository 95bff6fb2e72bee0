"""A player in responses, and the field types of names, passwords and factions."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from neobank.names import MAX_NAME, tidy
from neobank.players import passwords
from neobank.players.models import MAX_FACTION
from neobank.players.operations import Profile
from neobank.web.requests import Answer, Money, Text

CharacterName = Annotated[Text, AfterValidator(tidy), Field(max_length=MAX_NAME)]
NewPassword = Annotated[
    Text,
    Field(min_length=passwords.MIN_LENGTH, max_length=passwords.MAX_LENGTH),
    AfterValidator(passwords.refuse_common),
]
FactionName = Annotated[Text, Field(max_length=MAX_FACTION)]


class User(Answer):
    """A player."""

    character_name: str
    account_number: str
    faction: str | None
    balance: Money
    is_admin: bool
    profile_picture: str | None
    free_spins: int
    created_at: datetime

    @classmethod
    def of(cls, profile: Profile) -> "User":
        """Return the response form of a player's profile."""
        return cls(
            character_name=profile.character_name,
            account_number=profile.account_number,
            faction=profile.faction,
            balance=profile.balance,
            is_admin=profile.is_admin,
            profile_picture=profile.profile_picture,
            free_spins=profile.free_spins,
            created_at=profile.created_at,
        )


class ProfileChanged(Answer):
    """The caller's account after the change."""

    message: str
    account: User

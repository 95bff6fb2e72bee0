"""Reading the switches, and what they mean for somebody who wants to join."""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, select

from neobank.errors import Forbidden
from neobank.ledger.operations import ReadOnly
from neobank.players import names
from neobank.switches.models import SwitchesRow

MAX_CODE: Final = 100


class Registration(StrEnum):
    """Who may join: everybody, who knows the event's code, or nobody."""

    OPEN = "open"
    CODE = "code"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Switches:
    """How the bank is switched right now."""

    read_only: bool
    registration: Registration
    event_code: str | None

    def admit(self, code: str | None) -> None:
        """Let somebody join who gave this event code. Raises ReadOnly, or Forbidden in words.

        A code is compared as names are: people type it on phones.
        """
        if self.read_only:
            raise ReadOnly
        match self.registration:
            case Registration.CLOSED:
                raise Forbidden("Registration is closed: ask an organiser.")
            case Registration.CODE:
                given, kept = (names.key(text or "").encode() for text in (code, self.event_code))
                if not given or not hmac.compare_digest(given, kept):
                    raise Forbidden("Joining takes the event's code, and this is not it: ask an organiser.")


def read_switches(connection: Connection) -> Switches:
    """Look at the switches."""
    row = connection.execute(select(SwitchesRow.read_only, SwitchesRow.registration, SwitchesRow.event_code)).one()
    return Switches(row.read_only, Registration(row.registration), row.event_code)

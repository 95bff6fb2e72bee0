"""Reading the switches, and what they mean for somebody who wants to join."""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, Select, select, update

from neobank import names
from neobank.errors import BankError, Forbidden
from neobank.ledger.operations import ReadOnly
from neobank.switches.models import SwitchesRow

MAX_CODE: Final = 100


_SWITCHES: Final = select(SwitchesRow.read_only, SwitchesRow.registration, SwitchesRow.event_code)


class RegistrationMode(StrEnum):
    """Who may join: everybody, who knows the event's code, or nobody."""

    OPEN = "open"
    CODE = "code"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Switches:
    """How the bank is switched right now."""

    read_only: bool
    registration: RegistrationMode
    event_code: str | None

    def admit(self, code: str | None) -> None:
        """Let somebody join who gave this event code. Raises ReadOnly, or Forbidden in words.

        A code is compared as names are: people type it on phones.
        """
        if self.read_only:
            raise ReadOnly
        match self.registration:
            case RegistrationMode.CLOSED:
                raise Forbidden("Registration is closed: ask an organiser.")
            case RegistrationMode.CODE:
                given, kept = (names.key(text or "").encode() for text in (code, self.event_code))
                if not given or not hmac.compare_digest(given, kept):
                    raise Forbidden("Joining takes the event's code, and this is not it: ask an organiser.")


def read_switches(connection: Connection) -> Switches:
    """Look at the switches."""
    return _read(connection, _SWITCHES)


def lock_switches(connection: Connection) -> Switches:
    """Look at the switches and keep other organisers from changing them until the transaction ends."""
    return _read(connection, _SWITCHES.with_for_update())


def set_switches(connection: Connection, switches: Switches) -> None:
    """Switch the bank. Raises BankError where a code shall be asked for and there is none."""
    if switches.registration == RegistrationMode.CODE and not names.key(switches.event_code or ""):
        raise BankError("Registration by code takes an event_code.")
    values = {
        "read_only": switches.read_only,
        "registration": switches.registration,
        "event_code": switches.event_code or None,
    }
    connection.execute(update(SwitchesRow).values(values))


def _read(connection: Connection, statement: Select[bool, str, str | None]) -> Switches:
    read_only, registration, event_code = connection.execute(statement).one()
    return Switches(read_only, RegistrationMode(registration), event_code)

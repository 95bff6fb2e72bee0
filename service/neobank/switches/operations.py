"""Reading and setting the switches, and the check of a registration."""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, Select, select, update

from neobank import names
from neobank.errors import BankError, Forbidden
from neobank.ledger.operations import ReadOnly
from neobank.switches.models import SwitchesRow

MIN_CODE: Final = 6
"""The minimum length of a new event code, in characters as `names.key` counts them: a shorter one can be guessed."""

MAX_CODE: Final = 100
"""The maximum length of an event code, in characters."""


_SWITCHES: Final = select(SwitchesRow.read_only, SwitchesRow.registration, SwitchesRow.event_code)


class RegistrationMode(StrEnum):
    """Whether registration is open, needs the event code, or is closed."""

    OPEN = "open"
    CODE = "code"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Switches:
    """The state of the switches."""

    read_only: bool
    registration: RegistrationMode
    event_code: str | None

    def admit(self, code: str | None) -> None:
        """Raise ReadOnly or Forbidden unless a player who sends this event code may register.

        Codes are compared like names (see `names.key`), because people type them on phones.
        """
        if self.read_only:
            raise ReadOnly
        match self.registration:
            case RegistrationMode.CLOSED:
                raise Forbidden("Registration is closed: ask an organiser.")
            case RegistrationMode.CODE:
                given, expected = (names.key(text or "").encode() for text in (code, self.event_code))
                if not given or not hmac.compare_digest(given, expected):
                    raise Forbidden("The event code is missing or wrong: ask an organiser for the code.")


def read_switches(connection: Connection) -> Switches:
    """Read the switches."""
    return _read(connection, _SWITCHES)


def share_switches(connection: Connection) -> Switches:
    """Read the switches, and delay a change of them until this transaction ends; other readers do not wait."""
    return _read(connection, _SWITCHES.with_for_update(read=True))


def lock_switches(connection: Connection) -> Switches:
    """Read the switches, and keep other transactions from changing them until this one ends."""
    return _read(connection, _SWITCHES.with_for_update())


def set_switches(connection: Connection, current: Switches, switches: Switches) -> None:
    """Change the switches from `current`.

    Raise BankError for a new event code that is too short, or if registration is switched to such a code. A shorter
    code that is in use stays valid, so that the other switches can be changed without a new code.
    """
    by_code = switches.registration == RegistrationMode.CODE != current.registration
    if (by_code or switches.event_code != current.event_code) and len(names.key(switches.event_code or "")) < MIN_CODE:
        raise BankError(f"event_code: an event code must have at least {MIN_CODE} characters.")
    values = {
        "read_only": switches.read_only,
        "registration": switches.registration,
        "event_code": switches.event_code or None,
    }
    connection.execute(update(SwitchesRow).values(values))


def _read(connection: Connection, statement: Select[bool, str, str | None]) -> Switches:
    read_only, registration, event_code = connection.execute(statement).one()
    return Switches(read_only, RegistrationMode(registration), event_code)

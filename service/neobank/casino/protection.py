"""What keeps a player from losing more than they meant to: the casino's day, the daily limit, self-exclusion."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from neobank.casino.seeds import ensure_seeds
from neobank.errors import BankError, Forbidden
from neobank.ledger.money import format_amount

DAY_STARTS: Final = time(6)
LONGEST_EXCLUSION: Final = timedelta(days=366)


class LimitReached(Forbidden):
    """The bet could make today's loss more than the player allowed themselves."""


class Excluded(Forbidden):
    """The player, or an organiser for them, has closed the casino until a time."""


class BadExclusion(BankError):
    """A time that is none to be excluded until."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a player is protected at a moment; money in hundredths."""

    looked_at: datetime
    day: date | None
    day_net: int
    daily_loss_limit: int | None
    pending_limit: int | None
    pending_from: datetime | None
    excluded_until: datetime | None

    @property
    def limit(self) -> int | None:
        """The limit in force: a raise that has waited long enough is."""
        waited = self.pending_from is not None and self.pending_from <= self.looked_at
        return self.pending_limit if waited else self.daily_loss_limit

    @property
    def pending(self) -> bool:
        """Whether another limit, or none, comes later."""
        return self.pending_from is not None and self.pending_from > self.looked_at

    def net_today(self, zone: ZoneInfo) -> int:
        """Give what was bet today less what was won."""
        return self.day_net if self.day == casino_day(self.looked_at, zone) else 0

    def admit(self) -> None:
        """Raise Excluded, which says until when."""
        if self.excluded_until is not None and self.excluded_until > self.looked_at:
            raise Excluded(f"You have closed the casino for yourself until {in_iso(self.excluded_until)}.")

    def admit_bet(self, bet: int, zone: ZoneInfo) -> None:
        """Raise LimitReached, which says until when, where this bet could exceed the limit if nothing is won."""
        if self.limit is not None and self.net_today(zone) + bet > self.limit:
            until = in_iso(next_day(casino_day(self.looked_at, zone), zone))
            limit = format_amount(self.limit)
            raise LimitReached(
                f"This bet could exceed your daily loss limit of {limit}: bet less, or wait for {until}."
            )


def casino_day(moment: datetime, zone: ZoneInfo) -> date:
    """Give the casino's day at a moment: it starts at 06:00 by the zone's clocks."""
    local = moment.astimezone(zone).replace(tzinfo=None)
    return (local - timedelta(hours=DAY_STARTS.hour)).date()


def next_day(day: date, zone: ZoneInfo) -> datetime:
    """Give when the day after starts."""
    return datetime.combine(day + timedelta(days=1), DAY_STARTS, tzinfo=zone)


def in_iso(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_LIMITS: Final = text(
    "SELECT clock_timestamp(), day, day_net, daily_loss_limit, pending_limit, pending_from, excluded_until"
    " FROM casino_players WHERE account_id = :account"
)
_SET_LIMIT: Final = text("SELECT set_daily_loss_limit(:account, :limit)")
_EXCLUDE: Final = text("SELECT exclude_player(:account, :until)")


def limits(connection: Connection, account_id: int) -> Limits:
    """Look at a player's limits; who never played has none."""
    row = connection.execute(_LIMITS, {"account": account_id}).one_or_none()
    if row is None:
        return Limits(datetime.now(UTC), None, 0, None, None, None, None)
    return Limits(*row)


def set_daily_loss_limit(connection: Connection, account_id: int, account_number: str, limit: int | None) -> None:
    """Let a player lose at most so much (hundredths) a day: at once if that is less than now, else in 24 hours."""
    ensure_seeds(connection, account_id, account_number)
    connection.execute(_SET_LIMIT, {"account": account_id, "limit": limit})


def exclude(connection: Connection, account_id: int, account_number: str, until: datetime) -> None:
    """Close the casino for a player until a time. Raises BadExclusion for the past, too far off, or an earlier end."""
    ensure_seeds(connection, account_id, account_number)
    now = datetime.now(UTC)
    if not now < until <= now + LONGEST_EXCLUSION:
        raise BadExclusion(f"self_excluded_until takes a time from now to {LONGEST_EXCLUSION.days} days ahead.")
    kept: datetime = connection.execute(_EXCLUDE, {"account": account_id, "until": until}).scalar_one()
    if kept > until:
        raise BadExclusion(f"The casino is closed until {in_iso(kept)} already: nobody can make that shorter.")

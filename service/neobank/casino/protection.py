"""The protection of players: the casino's day, the daily loss limit and self-exclusion."""

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
    """The bet could make today's loss exceed the player's limit."""


class Excluded(Forbidden):
    """The player is excluded from the casino until a time, by themselves or by an organiser."""


class BadExclusion(BankError):
    """An exclusion cannot end at this time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A player's limits as read at a time; amounts in hundredths of ¤."""

    read_at: datetime
    day: date | None
    day_net: int
    daily_loss_limit: int | None
    pending_limit: int | None
    pending_from: datetime | None
    excluded_until: datetime | None

    @property
    def limit(self) -> int | None:
        """The limit in force, None if there is none. A pending limit is in force from `pending_from` on."""
        pending_in_force = self.pending_from is not None and self.pending_from <= self.read_at
        return self.pending_limit if pending_in_force else self.daily_loss_limit

    @property
    def pending(self) -> bool:
        """Whether a change of the limit takes effect later."""
        return self.pending_from is not None and self.pending_from > self.read_at

    def net_today(self, zone: ZoneInfo) -> int:
        """Return today's bets minus today's wins."""
        return self.day_net if self.day == casino_day(self.read_at, zone) else 0

    def require_not_excluded(self) -> None:
        """Raise Excluded, with the end of the exclusion, if the player is excluded."""
        if self.excluded_until is not None and self.excluded_until > self.read_at:
            raise Excluded(f"You are excluded from the casino until {in_iso(self.excluded_until)}.")

    def require_within_limit(self, bet: int, zone: ZoneInfo) -> None:
        """Raise LimitReached, with the start of the next day, if losing this bet would exceed the limit."""
        if self.limit is not None and self.net_today(zone) + bet > self.limit:
            until = in_iso(next_day(casino_day(self.read_at, zone), zone))
            limit = format_amount(self.limit)
            raise LimitReached(
                f"This bet could exceed your daily loss limit of {limit}. Bet less, or wait until {until}."
            )


def casino_day(moment: datetime, zone: ZoneInfo) -> date:
    """Return the casino's day at a time. It starts at 06:00 in the time zone."""
    local = moment.astimezone(zone).replace(tzinfo=None)
    return (local - timedelta(hours=DAY_STARTS.hour)).date()


def next_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the time at which the day after this one starts."""
    return datetime.combine(day + timedelta(days=1), DAY_STARTS, tzinfo=zone)


def in_iso(moment: datetime) -> str:
    """Format a time in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_LIMITS: Final = text(
    "SELECT clock_timestamp(), day, day_net, daily_loss_limit, pending_limit, pending_from, excluded_until"
    " FROM casino_players WHERE account_id = :account"
)
_SET_LIMIT: Final = text("SELECT set_daily_loss_limit(:account, :limit)")
_EXCLUDE: Final = text("SELECT exclude_player(:account, :until)")


def limits(connection: Connection, account_id: int) -> Limits:
    """Return a player's limits; a player without casino state has none."""
    row = connection.execute(_LIMITS, {"account": account_id}).one_or_none()
    if row is None:
        return Limits(datetime.now(UTC), None, 0, None, None, None, None)
    return Limits(*row)


def set_daily_loss_limit(connection: Connection, account_id: int, account_number: str, limit: int | None) -> None:
    """Set a player's daily loss limit in hundredths (None: no limit).

    A lower limit takes effect at once. A higher limit, or none, takes effect after 24 hours.
    """
    ensure_seeds(connection, account_id, account_number)
    connection.execute(_SET_LIMIT, {"account": account_id, "limit": limit})


def exclude(connection: Connection, account_id: int, account_number: str, until: datetime) -> None:
    """Exclude a player from the casino until a time.

    Raise BadExclusion if the time is past, too far ahead (LONGEST_EXCLUSION), or before the end of the current one.
    """
    ensure_seeds(connection, account_id, account_number)
    now = datetime.now(UTC)
    if not now < until <= now + LONGEST_EXCLUSION:
        raise BadExclusion(
            f"self_excluded_until is {in_iso(until)}, but must be in the next {LONGEST_EXCLUSION.days} days."
        )
    end: datetime = connection.execute(_EXCLUDE, {"account": account_id, "until": until}).scalar_one()
    if end > until:
        raise BadExclusion(f"The exclusion lasts until {in_iso(end)} and can't be shortened. Choose a later time.")

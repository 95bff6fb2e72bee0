"""Amounts of money: inside the service always a whole number of hundredths of ¤."""

from decimal import Decimal, InvalidOperation

MAX_AMOUNT = 100_000_000_000
"""The largest amount of one transfer, in hundredths: ¤1 000 000 000."""

MAX_BALANCE = 999_999_999_999_999
"""The largest absolute value of a balance, in hundredths. A JSON number (a double) represents 15 digits exactly."""


def to_hundredths(amount: Decimal, *, maximum: int = MAX_AMOUNT) -> int:
    """Convert an amount of ¤ to hundredths.

    Raise ValueError, with a message for the user, if it is not positive, above `maximum` (hundredths) or not exact.
    """
    if not amount.is_finite():
        raise ValueError("an amount must be a finite number.")
    if amount <= 0:
        raise ValueError("an amount must be greater than 0.")
    if amount > Decimal(maximum) / 100:
        raise ValueError(f"an amount must be at most {maximum // 100}.")
    rounded = amount.quantize(Decimal("0.01"))
    if rounded != amount:
        raise ValueError("an amount must have at most two decimals.")
    return int(rounded * 100)


def to_signed_hundredths(amount: Decimal) -> int:
    """Convert an amount of ¤ that may be negative to hundredths. Raise ValueError as `to_hundredths`; also for 0."""
    if amount.is_finite() and amount < 0:
        return -to_hundredths(-amount)
    if amount == 0:
        raise ValueError("an amount must not be 0.")
    return to_hundredths(amount)


def parse_amount(text: str, *, maximum: int = MAX_AMOUNT) -> int:
    """Parse an amount of ¤ and return hundredths. Raise ValueError as `to_hundredths`."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("an amount must be a number.") from None
    return to_hundredths(amount, maximum=maximum)


def to_number(hundredths: int) -> float:
    """Return the JSON number of ¤ for hundredths; exact for every balance within MAX_BALANCE."""
    return hundredths / 100


def format_amount(hundredths: int) -> str:
    """Return hundredths as text for messages: 123450 is ¤1234.50."""
    sign = "-" if hundredths < 0 else ""
    return f"{sign}¤{abs(hundredths) // 100}.{abs(hundredths) % 100:02}"

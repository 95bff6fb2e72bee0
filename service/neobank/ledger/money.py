"""Money is a whole number of hundredths of ¤, from the first byte parsed to the last one shown."""

from decimal import Decimal, InvalidOperation

MAX_AMOUNT = 100_000_000_000
"""The largest single amount, in hundredths: ¤1 000 000 000."""

MAX_BALANCE = 999_999_999_999_999
"""The largest balance either way, in hundredths. Fifteen digits: a JSON number (a double) holds each exactly."""


def to_hundredths(amount: Decimal, *, maximum: int = MAX_AMOUNT) -> int:
    """Turn an amount of ¤ into hundredths. Raises ValueError, in words, for what is no payable amount."""
    if not amount.is_finite():
        raise ValueError("an amount is a finite number.")
    if amount <= 0:
        raise ValueError("an amount is greater than 0.")
    if amount > Decimal(maximum) / 100:
        raise ValueError(f"an amount is at most {maximum // 100}.")
    rounded = amount.quantize(Decimal("0.01"))
    if rounded != amount:
        raise ValueError("an amount has at most two decimals.")
    return int(rounded * 100)


def to_signed_hundredths(amount: Decimal) -> int:
    """Turn an amount of ¤ that may be negative into hundredths. Raises ValueError, in words; also for 0."""
    if amount.is_finite() and amount < 0:
        return -to_hundredths(-amount)
    if amount == 0:
        raise ValueError("an amount is not 0.")
    return to_hundredths(amount)


def parse_amount(text: str, *, maximum: int = MAX_AMOUNT) -> int:
    """Read an amount of ¤ from text, as hundredths. Raises ValueError, in words."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("an amount is a number.") from None
    return to_hundredths(amount, maximum=maximum)


def to_number(hundredths: int) -> float:
    """Give the JSON number for hundredths; exact for every balance within MAX_BALANCE."""
    return hundredths / 100


def format_amount(hundredths: int) -> str:
    """Return hundredths as text for messages: 123450 is ¤1234.50."""
    sign = "-" if hundredths < 0 else ""
    return f"{sign}¤{abs(hundredths) // 100}.{abs(hundredths) % 100:02}"

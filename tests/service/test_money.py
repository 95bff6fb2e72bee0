"""Amounts are parsed and formatted exactly; invalid ones are rejected with the reason."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neobank.ledger.money import MAX_AMOUNT, MAX_BALANCE, format_amount, parse_amount, to_hundredths, to_number


@given(st.integers(1, MAX_AMOUNT))
def test_every_valid_amount_is_parsed_exactly(hundredths: int) -> None:
    assert to_hundredths(Decimal(hundredths) / 100) == hundredths
    assert parse_amount(f"{hundredths // 100}.{hundredths % 100:02}") == hundredths


@given(st.integers(-MAX_BALANCE, MAX_BALANCE))
def test_a_json_number_represents_every_balance_exactly(hundredths: int) -> None:
    assert Decimal(repr(to_number(hundredths))) * 100 == hundredths


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_an_accepted_amount_keeps_its_exact_value(amount: Decimal) -> None:
    try:
        accepted = to_hundredths(amount)
    except ValueError:
        return
    assert accepted == amount * 100
    assert 0 < accepted <= MAX_AMOUNT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0", "greater than 0"),
        ("-0.01", "greater than 0"),
        ("0.001", "at most two decimals"),
        ("1.0000000000000000000000000000000000001", "at most two decimals"),
        ("1000000000.01", "at most 1000000000"),
        ("1e400", "at most 1000000000"),
        ("1e999999999", "at most 1000000000"),
        ("1e-999999999", "at most two decimals"),
        ("NaN", "finite"),
        ("-Infinity", "finite"),
        ("sNaN", "finite"),
        ("five", "a number"),
        ("", "a number"),
    ],
)
def test_an_invalid_amount_is_rejected_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_amount(text)


@pytest.mark.parametrize(
    ("hundredths", "formatted"), [(0, "¤0.00"), (123450, "¤1234.50"), (-1, "-¤0.01"), (5, "¤0.05")]
)
def test_amounts_are_formatted(hundredths: int, formatted: str) -> None:
    assert format_amount(hundredths) == formatted

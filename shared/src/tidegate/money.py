"""Money: whole millionths of a US dollar inside, decimal text at the edges. Pure.

Floats add up to almost the right sum, and two processes that add them in another order disagree about
whether a budget is used up. Integers do neither.
"""

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Annotated, TypeAlias

import msgspec

MICROS = 1_000_000
MOST_MICROS = 10**15  # a billion dollars: above any budget, below what JSON readers round

MicroUsd: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST_MICROS)]


def micros(usd: float | Decimal) -> int:
    """Return an amount in millionths of a dollar, rounded up: what is booked is never below what is charged.

    A float is taken for the decimal number that it is written as. Raises ValueError for what is no amount.
    """
    amount = Decimal(repr(usd)) if isinstance(usd, float) else Decimal(usd)
    if not (amount.is_finite() and 0 <= amount <= MOST_MICROS // MICROS):
        message = f"{usd} is not an amount of money"
        raise ValueError(message)
    return int((amount * MICROS).to_integral_value(ROUND_CEILING))


def parse_usd(text: str) -> int:
    """Read an amount that a person wrote (``25``, ``0.50``, ``$3``), exactly. Raises ValueError."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 <= amount <= MOST_MICROS // MICROS):
        message = f"{text!r} is not an amount in US dollars, such as 25.00"
        raise ValueError(message)
    exact = amount * MICROS
    if exact != exact.to_integral_value():
        message = f"{text!r} is finer than a millionth of a dollar"
        raise ValueError(message)
    return int(exact)


def format_usd(amount: int) -> str:
    """Return millionths as dollars, with two decimals or as many as it takes: ``25.00``, ``0.0025``."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), MICROS)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"

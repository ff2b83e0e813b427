"""Amounts of money as people write them."""

from tidegate.errors import ConfigurationError
from tidegate.money import parse_usd


def usd(option: str, text: str) -> int:
    """Read an amount in US dollars as millionths. Raises ConfigurationError, naming the option."""
    try:
        return parse_usd(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}.") from error

"""Reading the profiles and the prices from files: once, at start.

Raises ConfigurationError, naming the file and what is wrong with it.
"""

import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind

from tidegate_solver.profiles import ErrorKind, Family, Profile, with_overrides

_NOT_VENDORS = ("errors", "prices")


class _Codes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    errors: dict[str, ErrorKind]
    waits: dict[str, float]


class PriceList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider's prices in US dollars for a solve, and where they come from."""

    usd: dict[ChallengeKind, Annotated[float, msgspec.Meta(ge=0, le=100)]]
    source: str = ""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """A price file: its date, and a list for each provider."""

    as_of: str
    lists: dict[str, PriceList]

    def over(self, other: "Prices") -> "Prices":
        """Return the other prices with these in place of theirs, entry by entry."""
        lists = dict(other.lists)
        for name, mine in self.lists.items():
            theirs = lists.get(name)
            usd = {**theirs.usd, **mine.usd} if theirs else mine.usd
            lists[name] = PriceList(usd=usd, source=f"{mine.source or 'the operator'}, {self.as_of}")
        return Prices(as_of=other.as_of, lists=lists)


def load_profiles(price_file: Path | None = None) -> dict[str, Profile]:
    """Return every profile by name, with the shipped prices and the operator's over them."""
    tables = {
        entry.name.removesuffix(".toml"): _parse(entry.name, entry.read_text(encoding="utf-8"))
        for entry in sorted(_folder().iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }
    codes = msgspec.convert(tables["errors"], dict[Family, _Codes])
    prices = read_prices("prices.toml", tables["prices"])
    profiles = {
        name: msgspec.convert(table, Profile) for name, table in tables.items() if name not in _NOT_VENDORS
    }
    if price_file is not None:
        prices = _operators(price_file, profiles).over(prices)
    return {
        name: _finished(profile, name, codes[profile.family], prices) for name, profile in profiles.items()
    }


def _folder() -> Traversable:
    return resources.files("tidegate_solver").joinpath("providers")


def choose_profile(name: str, *, price_file: Path | None = None, **overrides: Any) -> Profile:
    """Return a profile with the operator's overrides. Raises ConfigurationError for an unknown name."""
    profiles = load_profiles(price_file)
    profile = profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(profiles))
        raise ConfigurationError(f"{name!r} is no known solving service; there are {known}")
    return with_overrides(profile, **overrides)


def read_prices(where: str, table: Mapping[str, Any]) -> Prices:
    """Return a price file's content. Raises ConfigurationError."""
    lists = {name: row for name, row in table.items() if name != "as_of"}
    try:
        as_of = msgspec.convert(table.get("as_of"), str)
        return Prices(as_of=as_of, lists=msgspec.convert(lists, dict[str, PriceList]))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"the price file {where} is not as it should be: {error}") from error


def _operators(path: Path, profiles: Mapping[str, Profile]) -> Prices:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the price file {path} cannot be read: {error}") from error
    prices = read_prices(str(path), _parse(str(path), text))
    for name in prices.lists:
        if name not in profiles:
            known = ", ".join(sorted(profiles))
            raise ConfigurationError(f"the price file {path} names {name!r}; there are {known}")
    return prices


def _parse(where: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where} is not TOML: {error}") from error


def _finished(profile: Profile, name: str, codes: _Codes, prices: Prices) -> Profile:
    listed = prices.lists.get(name, PriceList(usd={}))
    return msgspec.structs.replace(
        profile,
        name=name,
        errors={**codes.errors, **profile.errors},
        waits={**codes.waits, **profile.waits},
        prices_as_of=f"{prices.as_of}; {listed.source}",
        kinds={
            # A kind without a price is not sold: nothing could be reserved for it (M1).
            kind: msgspec.structs.replace(
                row,
                kind=kind,
                price=listed.usd.get(kind, 0.0),
                task_type=row.task_type if kind in listed.usd else "",
            )
            for kind, row in profile.kinds.items()
        },
    )

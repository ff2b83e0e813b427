#!/usr/bin/env python
"""Writes docs/configuration.md from the settings classes, so that it cannot say anything else.

Lies outside the library because it imports every service, which the library must not. A test holds the
written page against the classes; after a change of a setting run ``python tools/configuration_docs.py``.
"""

import importlib
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from tidegate.settings import PREFIX, Settings

SERVICES = ("fetcher", "solver", "storer", "monitor")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

_LIMITS: tuple[tuple[type, str, str], ...] = (
    (Ge, "ge", "≥"),
    (Gt, "gt", ">"),
    (Le, "le", "≤"),
    (Lt, "lt", "<"),
    (MinLen, "min_length", "length ≥"),
    (MaxLen, "max_length", "length ≤"),
)

_HEAD = f"""\
# Configuration

<!-- Written by tools/configuration_docs.py from the settings classes; a change by hand is lost. -->

Every setting is an environment variable `{PREFIX}<SECTION>__<FIELD>`. A secret may come from a file instead:
add `_FILE` to the variable's name and give a path. A variable with our prefix that no section has is an error
and ends the process with exit code 2, because a misspelt setting must not pass in silence. A service reads
the common sections and its own, and ignores those of the other services, so that one set of variables serves
all. Lists are items between commas; objects are JSON.
"""


def render() -> str:
    """Return the page."""
    parts = [_HEAD, "## Every process\n"]
    common = Settings.model_fields
    parts += [_section(name, field) for name, field in common.items()]
    for service in SERVICES:
        kind: type[BaseModel] = importlib.import_module(f"tidegate_{service}.settings").Settings
        parts.append(f"## The {service}\n")
        parts += [_section(name, field) for name, field in kind.model_fields.items() if name not in common]
    return "\n".join(parts)


def _section(name: str, field: FieldInfo) -> str:
    kind = field.annotation
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    summary = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    rows = [
        "| Variable | Default | Range | Meaning |",
        "|---|---|---|---|",
        *(_row(f"{PREFIX}{name}__{inner}".upper(), info) for inner, info in kind.model_fields.items()),
    ]
    return f"### {name}\n\n{summary}\n\n" + "\n".join(rows) + "\n"


def _row(variable: str, field: FieldInfo) -> str:
    description = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{variable}` | {_default(field.default)} | {_range(field)} | {description} |"


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", (), {}):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(str(item) for item in value)}`"
    return f"`{value}`"


def _range(field: FieldInfo) -> str:
    limits: list[Any] = list(field.metadata)
    for part in get_args(field.annotation):
        limits += getattr(part, "__metadata__", ())
    texts = [text for limit in limits if (text := _limit(limit))]
    texts += [f"`{choice}`" for choice in _choices(field.annotation)]
    return ", ".join(texts) or "any"


def _choices(kind: Any) -> list[str]:
    """Return the values of a type that has few."""
    if kind is bool:
        return ["true", "false"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return []


def _limit(limit: Any) -> str:
    for kind, attribute, text in _LIMITS:
        if isinstance(limit, kind):
            return f"{text} {getattr(limit, attribute)}"
    pattern = getattr(limit, "pattern", None)
    if pattern is None:
        return ""
    if choices := re.fullmatch(r"\^\(([\w|]+)\)\$", pattern):
        return ", ".join(f"`{choice}`" for choice in choices[1].split("|"))
    return f"`{pattern}`".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")

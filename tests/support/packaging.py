"""Where things are in the repository, for the tests of packaging and documents."""

import importlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]

# Image name, folder of its Dockerfile, import name of its main package.
IMAGES = {
    "fetcher": ("services/fetcher", "tidegate_fetcher"),
    "solver": ("services/solver", "tidegate_solver"),
    "storer": ("services/storer", "tidegate_storer"),
    "monitor": ("services/monitor", "tidegate_monitor"),
    "cli": ("cli", "tidegate_cli"),
}
SERVICES = ("fetcher", "solver", "storer", "monitor")
MEMBERS = ("shared", "services/fetcher", "services/solver", "services/storer", "services/monitor", "cli")


def read(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def project(member: str) -> dict[str, Any]:
    """Return the ``project`` table of a workspace member."""
    table: dict[str, Any] = tomllib.loads(read(f"{member}/pyproject.toml"))["project"]
    return table


def settings_of(image: str) -> type[Settings]:
    """Return the settings class that an image's process reads; the jobs of the CLI read the common one."""
    if image not in SERVICES:
        return Settings
    kind: type[Settings] = importlib.import_module(f"tidegate_{image}.settings").Settings
    return kind


def ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that have our prefix."""
    return {name: value for name, value in environment.items() if name.startswith(PREFIX)}


def unread(environment: Mapping[str, str], kind: type[Settings]) -> list[str]:
    """Return the variables with our prefix whose section these settings do not have: nobody reads them."""
    sections = (name.removeprefix(PREFIX).partition("__")[0].lower() for name in ours(environment))
    return sorted(section for section in sections if section not in kind.model_fields)

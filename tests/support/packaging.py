"""Where things are in the repository, for the tests of packaging and documents."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Image name, folder of its Dockerfile, import name of its main package.
IMAGES = {
    "fetcher": ("services/fetcher", "tidegate_fetcher"),
    "solver": ("services/solver", "tidegate_solver"),
    "storer": ("services/storer", "tidegate_storer"),
    "cli": ("cli", "tidegate_cli"),
}
SERVICES = ("fetcher", "solver", "storer")
MEMBERS = ("shared", "services/fetcher", "services/solver", "services/storer", "cli")


def read(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def project(member: str) -> dict[str, Any]:
    """Return the ``project`` table of a workspace member."""
    table: dict[str, Any] = tomllib.loads(read(f"{member}/pyproject.toml"))["project"]
    return table

"""Deliberately broken builds: what they are made of, and how one is made.

A mutant is a file ``tests/mutants/<name>.toml``: why it is wrong, the rules that it breaks, the tests that
are to catch it, and its changes, each an exact piece of a file and what stands there instead.
"""

import shutil
import tomllib
from pathlib import Path

import msgspec
from support.packaging import ROOT

FOLDER = ROOT / "tests" / "mutants"
# What a copy needs so that its tests run on its own sources.
_COPIED = ("shared", "services", "cli", "tests", "docs", "tools", "pyproject.toml")
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place: ``old`` stands in ``file`` exactly once."""

    file: str
    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One broken build. ``tests`` are pytest's names of files or tests, or of parts of them."""

    why: str
    rules: tuple[str, ...]
    tests: tuple[str, ...]
    change: tuple[Change, ...]


class StaleError(Exception):
    """The text that a change replaces is not where it was: the mutant must be written anew."""


def load(folder: Path = FOLDER) -> dict[str, Mutant]:
    """Return every mutant by its name."""
    return {
        path.stem: msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Mutant)
        for path in sorted(folder.glob("*.toml"))
    }


def mutated(mutant: Mutant, root: Path) -> dict[str, str]:
    """Return the changed files' new texts. Raises StaleError where a change does not fit."""
    texts: dict[str, str] = {}
    for change in mutant.change:
        path = root / change.file
        if change.file not in texts and not path.is_file():
            raise StaleError(f"{change.file} is not there")
        text = texts.get(change.file) or path.read_text(encoding="utf-8")
        if text.count(change.old) != 1:
            raise StaleError(f"{change.file}: the old text stands there {text.count(change.old)} times")
        texts[change.file] = text.replace(change.old, change.new)
    return texts


def copy_tree(target: Path) -> None:
    """Copy what tests need of the working tree."""
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=_NOT_COPIED, symlinks=True)
        else:
            shutil.copy(ROOT / name, target / name)


def source_folders(root: Path) -> list[Path]:
    """Return what must come first on the path, so that a tree's own sources are imported."""
    return [*sorted(root.glob("*/src")), *sorted(root.glob("services/*/src")), root / "tests"]

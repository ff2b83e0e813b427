"""The deliberately broken builds can still be built: their patches fit, their tests and rules exist."""

import re

import pytest
from support.mutants import StaleError, load, mutated
from support.packaging import ROOT, read

MUTANTS = load()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fits_the_sources(name: str) -> None:
    """What it replaces stands there exactly once, and what it puts there is something else."""
    try:
        texts = mutated(MUTANTS[name], ROOT)
    except StaleError as error:
        pytest.fail(f"tests/mutants/{name}.toml must follow the change of its file: {error}")
    for file, text in texts.items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            compile(text, file, "exec")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_names_rules_and_tests_that_exist(name: str) -> None:
    """A test is a file, or a part of one that it has."""
    mutant = MUTANTS[name]
    known = set(re.findall(r"^\| ([COTMS]\d+) \|", read("docs/delivery.md"), re.MULTILINE))
    assert mutant.rules
    assert set(mutant.rules) <= known
    assert mutant.why.endswith(".")
    for test in mutant.tests:
        file, *parts = test.split("::")
        source = read(file)
        assert all(re.search(rf"\b(class|def) {part}\b", source) for part in parts), test


def test_there_are_at_least_twelve_of_them() -> None:
    """And each is told by its own name."""
    assert len(MUTANTS) >= 12

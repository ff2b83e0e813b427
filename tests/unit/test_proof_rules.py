"""The rules of docs/delivery.md and the tests: each rule has one that cites it, and names its limit."""

import ast
import re
from collections import defaultdict
from functools import cache

from support.packaging import ROOT, read

_ROW = re.compile(r"^\| ([COTMS]\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_NO_CLAIM = "nothing is claimed yet"
_ID = re.compile(r"\b[COTMS]\d{1,2}\b")


def rules() -> dict[str, tuple[str, str, str]]:
    """Return every rule of the document: its text, what it does not promise, and how it stands."""
    found = _ROW.findall(read("docs/delivery.md"))
    table = {row[0]: (row[1], row[2], row[3]) for row in found}
    assert len(table) == len(found), "a rule stands there twice"
    return table


@cache
def citations() -> dict[str, list[str]]:
    """Return who cites each rule: tests, and the classes that hold them, by their docstrings."""
    cited = defaultdict(list)
    for path in (ROOT / "tests").rglob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        if not _ID.search(source):
            continue
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                    text = ast.get_docstring(node) or ""
                case ast.ClassDef(name=name):
                    text = ast.get_docstring(node) or ""
                case _:
                    continue
            for rule in _ID.findall(text):
                cited[rule].append(f"{path.name}::{name}")
    return cited


def test_every_rule_that_is_not_planned_is_cited_by_a_test() -> None:
    """A claim without a test is a wish; once a rule is more than planned, somebody must show it."""
    held = {rule for rule, (_, _, now) in rules().items() if not now.startswith("planned")}
    assert held <= citations().keys(), sorted(held - citations().keys())


def test_every_rule_that_a_test_cites_exists() -> None:
    """An id in a test's docstring is one of the document's."""
    unknown = {rule: where for rule, where in citations().items() if rule not in rules()}
    assert not unknown


def test_every_rule_says_how_it_stands_and_what_it_leaves_out() -> None:
    """A promise says MUST or SHOULD, how far it is held, and what it does not promise."""
    for rule, (text, limit, now) in rules().items():
        assert re.match(r"(held|partly|planned)\b", now), rule
        assert re.search(r"\b(MUST|SHOULD)\b", text), rule
        assert limit != _NO_CLAIM or now.startswith("planned"), f"{rule} claims something and names no limit"

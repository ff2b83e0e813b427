"""The table in docs/challenges.md says of each kind what is true of it."""

from pathlib import Path
from typing import Any

import pytest
from support.fetcher import fixtures, look, solution_of
from tidegate.captcha_records import Challenge
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.records import ChallengeKind, UrlJob
from tidegate_cli.demo_site.catalog import Catalog
from tidegate_fetcher import requests, signatures
from tidegate_fetcher.detection import Detector, answerable, lacking
from yarl import URL

PAGE = Path(__file__).parents[2] / "docs" / "challenges.md"
DETECTOR = Detector(signatures.load())
# Where a kind's fixtures are, if not in the family of its name.
FAMILIES = {
    "`recaptcha_v2`, invisible": "recaptcha_invisible",
    "`recaptcha_v2_enterprise`": "recaptcha_enterprise",
    "`recaptcha_v3_enterprise`": "recaptcha_enterprise",
}


def table() -> dict[str, list[str]]:
    """Return the cells of the table of kinds by their first."""
    text = PAGE.read_text().split("## Kinds")[1].split("Where an answer goes")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def kind_of(name: str) -> ChallengeKind:
    """Return the kind that a row is about."""
    return ChallengeKind(name.split("`")[1])


def challenges(name: str) -> list[tuple[dict[str, Any], Challenge]]:
    """Return the fixtures of a row with what is found on them."""
    found = []
    for row in fixtures(FAMILIES.get(name, kind_of(name)), "challenge"):
        challenge = look(DETECTOR, row)
        if isinstance(challenge, Challenge) and challenge.kind is kind_of(name):
            found.append((row, challenge))
    return found


def says_yes(cell: str) -> bool:
    """Return what a cell says; it begins with yes or no."""
    assert cell.startswith(("yes", "no"))
    return cell.startswith("yes")


def test_every_kind_has_a_row_and_a_reason() -> None:
    """None is left out, and each says why it was not shown against its vendor."""
    rows = table()
    assert {kind_of(name) for name in rows} == set(ChallengeKind)
    assert all(len(cells) == 5 and len(cells[4]) > 3 for cells in rows.values())


@pytest.mark.parametrize("name", list(table()))
def test_each_cell_is_true(name: str) -> None:
    """Found on fixtures, complete on one, handed in with a made-up answer, on the demo site's list."""
    detected, complete, handed_in, demo, _ = table()[name]
    found = challenges(name)
    assert says_yes(detected) == bool(found)
    whole = [challenge for _, challenge in found if not lacking(challenge)]
    assert says_yes(complete) == bool(whole)
    sent = [
        requests.of_answer(
            UrlJob(url="https://shop.example/page?id=1"),
            URL("https://shop.example/page?id=1"),
            solution_of(challenge),
            "agent",
        )
        for challenge in whole
        if answerable(challenge)
    ]
    assert says_yes(handed_in) == bool(sent and all(sent))
    catalog = Catalog(("json",), 9, 1, seed=1, guarded=1)
    guards = (page.protection for page in (*catalog.pages.values(), *catalog.guarded))
    shown = {(guard.kind, guard.invisible) for guard in guards if guard is not None}
    assert says_yes(demo) == ((kind_of(name), "invisible" in name) in shown)


@pytest.mark.parametrize("kind", list(ChallengeKind))
def test_the_answer_goes_where_the_page_says(kind: ChallengeKind) -> None:
    """The second table names each kind's fields or cookies."""
    facts = FACTS[kind]
    text = PAGE.read_text().split("Where an answer goes")[1].split("## Blocks")[0]
    names = facts.cookies if facts.answer is AnswerKind.COOKIES else facts.fields
    assert all(f"`{name}`" in text for name in names)


def test_every_block_is_named() -> None:
    """And nothing that the signatures have not."""
    text = PAGE.read_text().split("## Blocks")[1].split("Error 1015")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name.strip().strip("`") for row in rows for name in row.split(",")}
    assert named == {row.name for row in signatures.load().page if row.kind is None}

"""Challenges and blocks are told from pages that merely carry a widget."""

from typing import Any

import pytest
from support.fetcher import FAMILIES, PAGE_URL, fixtures, look
from tidegate.captcha_records import Challenge
from tidegate.challenge_kinds import FACTS
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind
from tidegate_fetcher import detection, signatures
from tidegate_fetcher.detection import Block, Detector, Finding
from tidegate_fetcher.screen import Screen
from yarl import URL

TABLE = signatures.load()
DETECTOR = Detector(TABLE)
# Families whose kind is not their name.
KINDS = {"recaptcha_invisible": ChallengeKind.RECAPTCHA_V2}
BLOCKS = tuple(row.name for row in TABLE.page if row.kind is None)


def detect(row: dict[str, Any]) -> Finding | None:
    """Look at a fixture."""
    return look(DETECTOR, row)


def rows(group: str) -> list[Any]:
    """Return the fixtures of all families as parameters."""
    return [
        pytest.param(family, row, id=f"{'unseen ' * row['unseen']}{family}: {row['name']}")
        for family in FAMILIES
        for row in fixtures(family, group)
    ]


@pytest.mark.parametrize(("family", "row"), rows("challenge"))
def test_a_challenge_is_found_with_its_parameters_and_its_form(family: str, row: dict[str, Any]) -> None:
    """What the solver needs, and the form as a browser would submit it, is read from the page."""
    kind = ChallengeKind(row.get("kind") or KINDS.get(family) or family)
    found = detect(row)
    assert isinstance(found, Challenge)
    assert found.kind is kind
    assert found.page_url == row.get("url", PAGE_URL)
    assert {name: value for name, value in found.params.items() if name != "html"} == row.get("params", {})
    assert found.params.get("html") in (None, row["html"])
    assert found.signatures
    assert found.lifetime_s == row.get("lifetime_s", FACTS[kind].challenge_life_s)
    if "action" not in row:
        assert found.form is None
        return
    assert found.form is not None
    assert URL(found.form.action) == URL(row["action"])
    assert found.form.method == row["method"]
    assert [list(field) for field in found.form.fields] == row["fields"]
    assert list(found.form.token_fields) == row.get("token_fields", list(FACTS[kind].fields))


@pytest.mark.parametrize(("family", "row"), rows("blocked"))
def test_a_block_is_no_challenge(family: str, row: dict[str, Any]) -> None:
    """What no solver opens is named, and is nothing that could be paid for."""
    found = detect(row)
    assert isinstance(found, Block)
    assert found.name == family
    assert found.message
    assert found.signatures


@pytest.mark.parametrize(("family", "row"), rows("page"))
def test_a_page_with_a_widget_is_a_page(family: str, row: dict[str, Any]) -> None:
    """Login, contact, comment and product pages, other products and quoted markup are no challenges."""
    found = detect(row)
    other = row.get("is_challenge")
    if other is None:
        assert found is None
    else:
        assert isinstance(found, Challenge)
        assert found.kind is ChallengeKind(other)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_are_enough_of_each(family: str) -> None:
    """Every family has positive and negative fixtures, each saying where it is from."""
    for group in ("challenge" if family not in BLOCKS else "blocked", "page"):
        found = fixtures(family, group)
        assert len(found) >= 5
        assert all(row["from"] for row in found)


def test_every_kind_and_block_has_fixtures() -> None:
    """What the table can find is shown to be found; firewalls beside the known vendors have theirs here."""
    kinds = {
        str(row.get("kind") or KINDS.get(family) or family)
        for family in FAMILIES
        for row in fixtures(family, "challenge")
    }
    assert kinds == {kind.value for kind in ChallengeKind}
    assert set(BLOCKS) - {"sucuri", "ddos_guard"} <= set(FAMILIES)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("sucuri", {"html": "<html><head><title>Sucuri WebSite Firewall - Access Denied</title>"}),
        ("ddos_guard", {"html": "<html><head><title>DDoS-Guard</title><body>Checking"}),
    ],
)
def test_other_firewalls_are_blocks(name: str, row: dict[str, Any]) -> None:
    """Their pages are known by their titles."""
    found = detect(row)
    assert isinstance(found, Block)
    assert found.name == name


def test_every_challenge_passes_the_screen() -> None:
    """What is found is found by the bytes or by a header: rows are not tried by chance."""
    screen = Screen(TABLE.screens())
    for family in FAMILIES:
        for row in fixtures(family, "challenge") + fixtures(family, "blocked"):
            if not row.get("headers") and "image" not in row and "url" not in row:
                assert screen.rows(row["html"].encode()), row["name"]


def test_a_challenge_that_lacks_a_parameter_says_so() -> None:
    """Nothing is bought that could not be solved: the fresh challenge of GeeTest is not in every page."""
    (row,) = [row for row in fixtures("geetest_v3", "challenge") if row["name"].startswith("the challenge")]
    found = detect(row)
    assert isinstance(found, Challenge)
    assert detection.lacking(found) == ("challenge",)
    whole = detect(fixtures("geetest_v3", "challenge")[0])
    assert isinstance(whole, Challenge)
    assert detection.lacking(whole) == ()
    assert detection.answerable(whole)


ROW = """
[gate]
block_statuses = [403]
near_empty = 1
small = 2
wording = []
[[widget]]
kind = "hcaptcha"
screen = ["captcha"]
elements = [{ css = ".h-captcha" }]
[[page]]
name = "x"
message = "y"
screen = ["incident"]
[[page.mark]]
name = "t"
text = ["incident"]
"""


@pytest.mark.parametrize(
    ("change", "to", "names"),
    [
        ('"hcaptcha"', '"unheard-of"', "unheard-of"),
        ('"hcaptcha"', '"datadome"', "cookies"),
        ('".h-captcha"', '"[["', "selector"),
        ('["captcha"]', '["h"]', "screen"),
        ("elements", "elememts", "elememts"),
        ("[gate]", "gate", "cannot be read"),
        ('message = "y"', "", "message"),
        ('text = ["incident"]', "", "asks for nothing"),
        ('text = ["incident"]', 'text = ["Incident"]', "lower case"),
        ('text = ["incident"]', 'url = "("', "pattern"),
        ("[[page]]", 'options = { a = "nonsense" }\n[[page]]', "nonsense"),
    ],
)
def test_a_table_with_a_mistake_is_refused_at_the_start(change: str, to: str, names: str) -> None:
    """A signature that could never match is a configuration error that names it."""
    assert signatures.load(ROW).widget[0].kind is ChallengeKind.HCAPTCHA
    with pytest.raises(ConfigurationError, match=names.replace("[", r"\[")):
        signatures.load(ROW.replace(change, to))


def test_only_the_first_megabyte_is_looked_at() -> None:
    """A huge page costs no more than a megabyte of screening."""
    row = fixtures("hcaptcha", "challenge")[0]
    assert detect({**row, "html": f"<!-- {'x' * 1000} -->{row['html']}"}) is not None
    assert detect({**row, "html": f"<!-- {'x' * (1 << 20)} -->{row['html']}"}) is None


@pytest.mark.parametrize("label", ["windows-1251", "koi8-r"])
def test_a_page_is_read_by_the_character_set_that_it_names(label: str) -> None:
    """The words that tell a gate are found in old character sets too."""
    text = (
        f"<h1>Проверка: вы не робот</h1><p>{'слово ' * 200}</p>"
        '<form method="post"><div class="g-recaptcha" data-sitekey="6Lc-1"></div></form>'
    )
    for meta, parameter in (
        (f'<meta charset="{label}">', ""),
        ("", f'; charset="{label}"'),
        ('<meta charset="zip">', ""),
    ):
        body = f"<html>{meta}{text}".encode("utf-8" if "zip" in meta else label)
        headers = {"Content-Type": f"text/html{parameter}"}
        found = DETECTOR.find(body, status=200, headers=headers, url=URL(PAGE_URL))
        assert isinstance(found, Challenge)


# More digits than Python reads as a number at once.
ENDLESS = f"&#{'1' * 5000};"


@pytest.mark.parametrize(
    "page",
    [
        f"<title>{ENDLESS}</title>{{widget}}",
        f"<p>{ENDLESS}</p>{{widget}}",
        f'<form method="post"><input name="{ENDLESS}">{{widget}}</form>',
        f'<form method="post"><textarea name="a" hidden>{ENDLESS}</textarea>{{widget}}</form>',
        f'<form method="post"><select name="a" hidden><option>{ENDLESS}</select>{{widget}}</form>',
    ],
)
def test_a_reference_that_names_no_character_is_text(page: str) -> None:
    """A page with it is looked at as any other, wherever it stands."""
    body = page.replace("{widget}", '<div class="g-recaptcha" data-sitekey="6Lc-1"></div>').encode()
    for status in (200, 403):
        DETECTOR.find(body, status=status, headers={"Content-Type": "text/html"}, url=URL(PAGE_URL))

"""Challenges are told from pages that merely carry a widget."""

from typing import Any

import pytest
from selectolax.lexbor import LexborNode
from support.fetcher import FAMILIES, PAGE_URL, fixtures
from tidegate.captcha_records import Challenge
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind
from tidegate_fetcher import forms, signatures
from tidegate_fetcher.detection import Detector
from yarl import URL

DETECTOR = Detector(signatures.load())


def detect(row: dict[str, Any]) -> Challenge | None:
    """Look at a fixture."""
    return DETECTOR.detect(
        row["html"].encode(),
        status=row.get("status", 200),
        content_type=row.get("type", "text/html; charset=utf-8"),
        url=URL(row.get("url", PAGE_URL)),
    )


def rows(group: str) -> list[Any]:
    """Return the fixtures of all kinds as parameters."""
    return [
        pytest.param(kind, row, id=f"{kind}: {row['name']}")
        for kind in FAMILIES
        for row in fixtures(kind, group)
    ]


@pytest.mark.parametrize(("kind", "row"), rows("challenge"))
def test_a_challenge_is_found_with_its_parameters_and_its_form(
    kind: ChallengeKind, row: dict[str, Any]
) -> None:
    """What the solver needs, and the form as a browser would submit it, is read from the page."""
    found = detect(row)
    assert found is not None
    assert found.kind is kind
    assert found.page_url == PAGE_URL
    assert found.params == row["params"]
    assert found.signatures
    if "action" not in row:
        assert found.form is None
        return
    assert found.form is not None
    assert URL(found.form.action) == URL(row["action"])
    assert found.form.method == row["method"]
    assert [list(field) for field in found.form.fields] == row["fields"]
    assert list(found.form.token_fields) == row["token_fields"]


@pytest.mark.parametrize(("kind", "row"), rows("page"))
def test_a_page_with_a_widget_is_a_page(kind: ChallengeKind, row: dict[str, Any]) -> None:
    """Login, contact, comment and product pages, other products and quoted markup are no challenges."""
    assert detect(row) is None


def test_there_are_ten_of_each() -> None:
    """Every kind has at least ten positive and ten negative fixtures, each saying where it is from."""
    for kind in FAMILIES:
        for group in ("challenge", "page"):
            found = fixtures(kind, group)
            assert len(found) >= 10
            assert all(row["from"] for row in found)


def test_the_screen_holds_the_fewest_strings() -> None:
    """A string that another one implies is not searched for: each costs a pass over every page."""
    assert signatures.load().screens() == (b"captcha", b"turnstile")


def test_every_fixture_passes_the_screen() -> None:
    """The screen lets every challenge through."""
    screens = signatures.load().screens()
    for kind in FAMILIES:
        for row in fixtures(kind, "challenge"):
            assert any(needle in row["html"].encode() for needle in screens), row["name"]


ROW = """
[gate]
block_statuses = [403]
near_empty = 1
small = 2
wording = []
[[signature]]
kind = "hcaptcha"
screen = ["captcha"]
token_fields = ["t"]
widgets = [{ css = ".h-captcha" }]
"""


@pytest.mark.parametrize(
    ("change", "to", "names"),
    [
        ('"hcaptcha"', '"unheard-of"', "unheard-of"),
        ('".h-captcha"', '"[["', "selector"),
        ('["captcha"]', '["h"]', "screen"),
        ('["t"]', "[]", "token_fields"),
        ("token_fields", "token_feilds", "token_feilds"),
        ("[gate]", "gate", "cannot be read"),
    ],
)
def test_a_table_with_a_mistake_is_refused_at_the_start(change: str, to: str, names: str) -> None:
    """A signature that could never match is a configuration error that names it."""
    assert signatures.load(ROW).signature[0].kind is ChallengeKind.HCAPTCHA
    with pytest.raises(ConfigurationError, match=names.replace("[", r"\[")):
        signatures.load(ROW.replace(change, to))


def test_only_the_first_megabyte_is_looked_at() -> None:
    """A huge page costs no more than a megabyte of screening."""
    row = fixtures(ChallengeKind.HCAPTCHA, "challenge")[0]
    body = b"<!-- " + b"x" * (1 << 20) + b" -->" + row["html"].encode()
    assert DETECTOR.detect(body, status=403, content_type="text/html", url=URL(PAGE_URL)) is None


_WIDGET = '<div class="g-recaptcha" data-sitekey="6LeIxAcTAAAA"></div>'
_HOSTILE = {
    "thousands of widgets in a form that asks": f"<form><input name=q>{_WIDGET * 3000}</form>",
    "thousands of forms": _WIDGET
    + "".join(f"<form id=f{n}></form>" for n in range(4000))
    + "<i form=x></i>" * 4000,
}


@pytest.mark.parametrize("html", _HOSTILE.values(), ids=list(_HOSTILE))
def test_a_hostile_page_is_judged_in_bounded_work(html: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a page repeats itself, few nodes are walked (C10)."""
    walked = 0

    def counted(node: LexborNode) -> bool:
        nonlocal walked
        walked += 1
        return hidden(node)

    hidden = forms.hidden
    monkeypatch.setattr(forms, "hidden", counted)
    detect({"html": html})
    assert walked <= 1_000


def test_a_page_of_countless_elements_is_not_even_parsed() -> None:
    """Parsing costs the square of the nesting, and a gate has little to show (C10)."""
    assert detect({"html": "<div>" * 25_000 + _WIDGET}) is None
    assert detect({"html": "<div>" * 100 + _WIDGET}) is not None

"""The demo site's pages, by another hand than the fixtures: its gates are challenges, its forms are not."""

from random import Random

import pytest
from tidegate.captcha_records import Challenge
from tidegate.records import ChallengeKind
from tidegate_cli.demo_site.challenges import (
    CLEARANCES,
    INVISIBLE,
    LAYOUTS,
    ChallengePages,
    sitekeys,
    template,
)
from tidegate_cli.demo_site.gate import Issued
from tidegate_fetcher import signatures
from tidegate_fetcher.detection import Detector, lacking
from tidegate_fetcher.images import ImageRule
from yarl import URL

DETECTOR = Detector(signatures.load())
HTML = {"Content-Type": "text/html; charset=utf-8"}
URL_OF_PAGE = URL("http://127.0.0.1:8000/doc/json.html?v=7")
ISSUED = Issued("session", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", '/doc/json.html?v=7&v=1;"ab"<ok>')


KEY_PARAMS = {ChallengeKind.GEETEST_V3: "gt", ChallengeKind.GEETEST_V4: "captcha_id"}


@pytest.mark.parametrize("look", [*LAYOUTS, INVISIBLE])
@pytest.mark.parametrize("status", [200, 403])
def test_a_gate_is_a_challenge_whose_form_is_whole(look: str, status: int) -> None:
    """Kind, key and every hidden field, unescaped, whatever the status; an answer finds its fields."""
    keys = sitekeys(Random(1))
    kind = ChallengeKind.RECAPTCHA_V2 if look == INVISIBLE else ChallengeKind(look)
    body = ChallengePages(keys).render(look, "/doc/json.html?v=7", "127.0.0.1", ISSUED)
    rule = ImageRule(selector="img#captcha", field="code") if kind is ChallengeKind.IMAGE else None
    found = DETECTOR.find(body, status=status, headers=HTML, url=URL_OF_PAGE, image=rule)
    assert isinstance(found, Challenge)
    if kind is ChallengeKind.IMAGE:
        picture = f"http://127.0.0.1:8000/captcha/{ISSUED.nonce}.png"
        assert (found.kind, found.params, lacking(found)) == (kind, {"image_url": picture}, ("image",))
    else:
        assert (found.kind, found.params[KEY_PARAMS.get(kind, "sitekey")]) == (kind, keys[look])
        assert found.params.get("invisible") == ("true" if look == INVISIBLE else None)
        assert not lacking(found)
    assert found.form is not None
    layout = LAYOUTS[kind]
    fields = dict(found.form.fields)
    assert fields[layout.nonce_field] == ISSUED.nonce
    assert fields[layout.path_field] == "/doc/json.html?v=7"
    assert fields[layout.state_field] == '/doc/json.html?v=7&v=1;"ab"<ok>'
    assert layout.token_field in found.form.token_fields


@pytest.mark.parametrize("kind", list(CLEARANCES))
@pytest.mark.parametrize("bare", [False, True])
def test_a_clearance_page_is_a_challenge_with_its_parameters(kind: ChallengeKind, bare: bool) -> None:
    """By its headers, and by its markup alone."""
    body = ChallengePages(sitekeys(Random(1))).render(kind, "/doc/json.html", "127.0.0.1", ISSUED)
    for status, headers in CLEARANCES[kind].headers.items():
        told = HTML if bare else {**HTML, **headers}
        found = DETECTOR.find(body, status=status, headers=told, url=URL_OF_PAGE)
        assert isinstance(found, Challenge)
        assert found.kind is kind
        assert not lacking(found)


@pytest.mark.parametrize("name", ["about-captchas", "comments", "contact", "login"])
@pytest.mark.parametrize("status", [200, 403])
def test_a_page_that_carries_or_describes_a_widget_is_a_page(name: str, status: int) -> None:
    """Forms for people and a text about CAPTCHAs, with the site's frame around them."""
    keys = dict(sitekeys(Random(1)))
    keys["recaptcha"] = keys[ChallengeKind.RECAPTCHA_V2]
    main = template(f"{name}.html").safe_substitute(keys)
    page = template("frame.html").substitute(title=name, head="", main=main, links="")
    found = DETECTOR.find(page.encode(), status=status, headers=HTML, url=URL_OF_PAGE)
    assert found is None

"""Addresses as strangers write them: read, or none; a page with a hostile one is looked at all the same."""

import types
from typing import cast

import pytest
from multidict import CIMultiDict
from support.fetcher import inbound, job
from tidegate.captcha_records import Challenge
from tidegate.errors import RecordError
from tidegate.outcome import Reason
from tidegate_fetcher import client, images, signatures, tasks, urls
from tidegate_fetcher.detection import Detector
from tidegate_fetcher.images import ImageRule
from tidegate_fetcher.markup import Document
from tidegate_fetcher.wire import Answer
from yarl import URL

PAGE = URL("https://shop.example/a/page?x=1")
DETECTOR = Detector(signatures.load())
WIDGET = '<div class="g-recaptcha" data-sitekey="6Lc-1"></div>'
# What yarl or urllib cannot read, each in its own way: an index, a port, brackets, a scope of an address.
UNREADABLE = [
    "//[]@",
    "http://[]@/",
    "//[]:@x[",
    "//[::1",
    "//a:b",
    "//a:99999",
    f"//a:{'1' * 5000}",
    "//]@[\uff11::ffff:1.2.3.4",
    "//[::ffff:1.2.3.4%zz:%]",
    "//a\\b",
    "//\u2100.example",
    # A resolver ends a name at the first of these.
    "//203.0.113.9\x00.shop.example",
    "//a\x1bc.example",
    "//a\x7f.example",
    "//a b.example",
]


def read_form(markup: str) -> Challenge | None:
    """Look at a page with a widget in its form."""
    body = f"<html><body>{markup}{WIDGET}</form>".encode()
    found = DETECTOR.find(body, status=403, headers={"Content-Type": "text/html"}, url=PAGE)
    assert found is None or isinstance(found, Challenge)
    return found


def target_of(location: str) -> URL | None:
    """Return where an answer with that Location redirects."""
    answer = types.SimpleNamespace(status=302, headers=CIMultiDict({"Location": location}))
    return client._target(PAGE, cast("Answer", answer))


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_no_url(text: str) -> None:
    """Alone as on a page."""
    assert urls.parsed(text) is None
    assert urls.parsed(text, PAGE) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("b", "https://shop.example/a/b"),
        (" /b ", "https://shop.example/b"),
        ("//other.example", "https://other.example/"),
        ("?y", "https://shop.example/a/page?y"),
        ("mailto:ann@shop.example", "mailto:ann@shop.example"),
    ],
)
def test_an_address_counts_from_its_page(text: str, url: str) -> None:
    """As browsers read it."""
    assert urls.parsed(text, PAGE) == URL(url)


# Of a page, the parser leaves a NUL out.
@pytest.mark.parametrize("text", [text for text in UNREADABLE if "\x00" not in text])
def test_a_form_whose_action_cannot_be_read_is_none(text: str) -> None:
    """Nor one behind such a base; the challenge is found all the same."""
    for markup in (
        f'<form method="post" action="{text}">',
        f'<base href="{text}"><form method="post" action="x">',
    ):
        found = read_form(markup)
        assert found is not None
        assert found.form is None


@pytest.mark.parametrize("text", [text for text in UNREADABLE if text.isascii()])
def test_a_redirect_whose_target_cannot_be_read_leads_nowhere(text: str) -> None:
    """The answer is final, as one without a Location. What is not ASCII is escaped before it is read."""
    assert target_of(text) is None


def test_a_redirects_target_has_neither_user_nor_fragment() -> None:
    """A site does not get to choose what we identify as."""
    assert target_of("//ann:s3cret@other.example/b#c") == URL("https://other.example/b")


@pytest.mark.parametrize("text", ["http:foo", "http:", "https://[]@", "httpx://a.example/", *UNREADABLE])
def test_a_picture_at_no_web_address_is_none(text: str) -> None:
    """Nothing could be asked for."""
    document = Document(f'<img src="{text}">')
    node = images.picture(document, ImageRule(selector="img"))
    assert node is not None
    assert images.params(node, PAGE) == {}


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_job_whose_url_cannot_be_read_is_refused(text: str) -> None:
    """With the sentence of any text that is none."""
    with pytest.raises(RecordError) as caught:
        tasks.read(inbound(job(f"https:{text.removeprefix('http:')}")), 1 << 20)
    assert caught.value.reason is Reason.NOT_A_URL


def test_a_host_that_is_no_international_name_is_looked_at() -> None:
    """Whoever owns a domain may answer at xn--, which stands for no name."""
    sorry = URL("http://xn--.shop.example/sorry/")
    body = (
        f'<html><!-- /sorry/ --><form method="post" action="//xn--.other.example/">{WIDGET}</form>'.encode()
    )
    found = DETECTOR.find(body, status=429, headers={"Content-Type": "text/html"}, url=sorry)
    assert isinstance(found, Challenge)
    assert found.form is not None
    assert found.form.action == "http://xn--.other.example/"

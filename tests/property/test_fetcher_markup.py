"""What holds of any page: reading it never raises, takes linear work, and finds what a browser would."""

from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fetcher import FAMILIES, PAGE_URL, fixtures
from tidegate_fetcher import signatures
from tidegate_fetcher.detection import Detector
from tidegate_fetcher.images import ImageRule
from tidegate_fetcher.markup import MAX_DEPTH, MAX_TAGS, Document
from tidegate_fetcher.selectors import Selector
from yarl import URL

DETECTOR = Detector(signatures.load())
MEGABYTE = 1 << 20
WIDGET = '<div class="g-recaptcha" data-sitekey="6LeIxAcTAAAA"></div>'
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Everything that a row of the table looks for, so that nothing is spared by the screen.
ALL = "".join(needle for row in signatures.load().screens() for needle in row)

# Each repeats what some reader of markup takes the square of, or worse.
HOSTILE = {
    "open elements": "<div>",
    "open formatting": "<p><b a=1>",
    "ends of what is not open": "<div></span>",
    "options": "<select><option>",
    "lists": "<li><ul>",
    "tables": "<table><td>",
    "comments": "<!--",
    "empty comments": "<!---->",
    "declarations": "<!x",
    "scripts": "<script>",
    "ends of scripts": "<script></script",
    "text areas": "<textarea>",
    "less-than signs": "<",
    "ampersands": "&",
    "entities": "&#65;",
    "forms": "<form><input form=a name=b>",
    "widgets": WIDGET,
    "rendered widgets": "<script>grecaptcha.render('a',{sitekey:'",
    "calls": "initGeetest({gt:'aaaa',",
    "frames": "<iframe src='https://geo.captcha-delivery.com/captcha/?",
    "objects": "var dd={'a':'",
    "unclosed quotes": "<a b=\"<a c='",
    "spaces": " \n",
    "words": "captcha ",
}
IN_ONE_TAG = {
    "attributes": " a{n}",
    "quoted attributes": ' a{n}=">"',
    "equals signs": "=",
    "equals signs and quotes": "=\"='",
    "spaces": " ",
    "classes": ' class="g-recaptcha"',
    "slashes": "/",
}

IN_ONE_SCRIPT = {
    "render calls": "turnstile.render({sitekey:'",
    "run calls": "grecaptcha.execute('",
    "properties": 'window.gokuProps = {"key":"',
    "objects of DataDome": "dd={'cid':'",
    "options": "sitekey:'a',action:",
    "braces": "{",
    "page data": "chlPageData:'",
}


def hostile(kind: str, size: int) -> str:
    """Return a page of about that size."""
    if kind in HOSTILE:
        return (HOSTILE[kind] * (size // len(HOSTILE[kind]) + 1))[:size]
    if kind in IN_ONE_SCRIPT:
        script = IN_ONE_SCRIPT[kind] * (90_000 // len(IN_ONE_SCRIPT[kind]))
        return f"<script>gokuProps _cf_chl_opt captcha-delivery.com dd={script}</script>" * (size // 90_000)
    piece = IN_ONE_TAG[kind]
    return "<div" + "".join(piece.replace("{n}", str(n)) for n in range(size // len(piece) // 2)) + ">"


def look(html: str) -> None:
    """Look at a page that no row is spared of."""
    body = f"<!doctype html><title>captcha</title><p>{ALL}</p>{html}{WIDGET}".encode()
    headers = {"Content-Type": "text/html", "cf-mitigated": "other"}
    url, image = URL(PAGE_URL), ImageRule(selector="img[src]")
    for status in (200, 403):
        DETECTOR.find(body, status=status, headers=headers, url=url, image=image)


@pytest.mark.parametrize("kind", [*HOSTILE, *IN_ONE_TAG, *IN_ONE_SCRIPT])
def test_a_hostile_megabyte_is_read_in_linear_work(kind: str) -> None:
    """Eight times the page takes some eight times the work, and no page holds the fetcher (C10)."""
    small, large = hostile(kind, MEGABYTE // 8), hostile(kind, MEGABYTE)
    took = []
    for page in (small, large):
        started = process_time()
        look(page)
        took.append(process_time() - started)
    assert took[1] < 0.25 + 24 * took[0]
    assert took[1] < 10


@pytest.mark.parametrize("kind", ["open elements", "open formatting", "lists", "options", "widgets", "forms"])
def test_the_largest_page_that_is_read_is_read_in_bounded_work(kind: str) -> None:
    """As many tags as are read at all, nested, take what as many flat ones take."""
    piece = HOSTILE[kind]
    page = piece * ((MAX_TAGS - 100) // piece.count("<"))
    started = process_time()
    look("<p>x</p>" * ((MAX_TAGS - 100) // 2))
    flat = process_time() - started
    started = process_time()
    look(page)
    assert process_time() - started < 0.5 + 20 * flat
    assert len(Document(page).elements) > 1000


def test_more_tags_than_any_gate_has_are_not_read() -> None:
    """A page of that many tags shows more than a gate does."""
    with pytest.raises(ValueError, match="tags"):
        Document("<p>" * (MAX_TAGS + 1))
    look("<p>" * (MAX_TAGS + 1))


MARKUP = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *HOSTILE.values(),
                *(
                    "</div>",
                    "</form>",
                    "</table>",
                    "</script>",
                    "-->",
                    "<p",
                    ">",
                    '"',
                    "'",
                    "=",
                    "<base href='//[",
                    "<base href='//[]@'>",
                ),
                "<form method=post action='//[]@'>",
                "<form method=post action='http://[::1'>",
                "<script>var dd={'cid':'a','hsh':'b','s':1,'cookie':'c','host':'a.captcha-delivery.com'}",
                "<iframe src='//geo.captcha-delivery.com/captcha/?[' >",
                '<script>window.gokuProps = {"key":"',
                "<script src='https://[.token.awswaf.com/challenge.js'></script>",
                "<input name=g-recaptcha-response type=hidden>",
                "<button formaction='http://['>",
                "<img src='data:image/png;base64,AAA'>",
                "<img src='http://['>",
                "<template>",
                "<dialog open>",
                "\0",
                "\ufeff",
                "&#0;",
                "&#x110000;",
                f"&#{'1' * 5000};",
            ]
        ),
        st.text(max_size=20),
    ),
    max_size=30,
)


@SLOW
@given(
    MARKUP, st.sampled_from([200, 403, 429]), st.sampled_from(["text/html", "", "application/json", "x;;="])
)
def test_whatever_is_sent_a_page_is_looked_at_without_raising(
    pieces: list[str], status: int, content_type: str
) -> None:
    """Any markup, any status, any type: the answer is a finding or none."""
    body = "".join(pieces).encode(errors="surrogatepass") + ALL.encode()
    DETECTOR.find(
        body,
        status=status,
        headers={"Content-Type": content_type},
        url=URL(PAGE_URL),
        cookies={"datadome": "x"},
        image=ImageRule(selector="img[src]"),
    )


@given(MARKUP)
def test_every_element_stands_in_something_and_not_too_deep(pieces: list[str]) -> None:
    """Parents come before their children, and no chain of them is longer than the bound."""
    document = Document("".join(pieces))
    place = {id(element): index for index, element in enumerate(document.elements)}
    for element in document.elements:
        depth, here = 0, element
        while here.parent is not None:
            assert place[id(here.parent)] < place[id(here)]
            here, depth = here.parent, depth + 1
        assert depth <= MAX_DEPTH
        assert element.hidden in (True, False)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), st.text(max_size=12), max_size=5))
def test_attributes_are_what_was_written(attributes: dict[str, str]) -> None:
    """Quoted as a browser writes them, attributes come back to the character."""
    written = "".join(
        f' {name}="{value.replace("&", "&amp;").replace(chr(34), "&quot;")}"'
        for name, value in attributes.items()
    )
    (element,) = Document(f"<x-y{written}>").elements
    plain = {name: value.replace("\0", "\ufffd") for name, value in attributes.items()}
    assert {name: value.replace("\0", "\ufffd") for name, value in element.attributes.items()} == plain


@given(st.text(max_size=40))
def test_any_selector_is_read_or_refused(text: str) -> None:
    """A selector is one, or a ValueError."""
    try:
        selector = Selector(text)
    except ValueError:
        return
    list(selector.among(Document("<div class=a id=b data-c='d'>")))


ROWS = [row for family in FAMILIES for group in ("challenge", "blocked") for row in fixtures(family, group)]
SMALL = [row["html"].encode() for row in ROWS if 0 < len(row["html"]) < 4000]


@SLOW
@given(st.sampled_from(SMALL), st.data())
def test_challenges_that_are_cut_and_mangled_are_survived(page: bytes, data: st.DataObject) -> None:
    """Real pages with a hole, a cut and noise in them."""
    start = data.draw(st.integers(0, len(page)))
    end = data.draw(st.integers(start, len(page)))
    body = page[:start] + data.draw(st.binary(max_size=20)) + page[end:]
    DETECTOR.find(body, status=403, headers={"Content-Type": "text/html"}, url=URL(PAGE_URL))

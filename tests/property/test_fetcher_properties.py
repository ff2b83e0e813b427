"""What holds for any input: nothing raises, nothing exceeds its bound, no spelling gets anything admitted."""

import contextlib
import gzip
import zlib
from ipaddress import IPv4Address, IPv6Address

import brotli  # type: ignore[import-untyped]
import msgspec
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from multidict import CIMultiDict
from support.fetcher import FAMILIES, PAGE_URL, fixtures, inbound
from tidegate.captcha_records import Cookie
from tidegate.errors import RecordError
from tidegate.outcome import Retry
from tidegate_fetcher import classify, cookies, requests, signatures
from tidegate_fetcher.addresses import AddressRules, literal
from tidegate_fetcher.bodies import BodyBrokenError, BodyTooLargeError, decoded
from tidegate_fetcher.detection import Detector
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.site_limits import Go, Later, SiteLimits, Wait
from tidegate_fetcher.tasks import FetchTask, read
from yarl import URL

DETECTOR = Detector(signatures.load())
RULES = AddressRules()
PAGES = [
    row["html"].encode()
    for kind in FAMILIES
    for group in ("challenge", "page")
    for row in fixtures(kind, group)
]
SMALL_PAGES = [page for page in PAGES if len(page) < 5000]
PIECES = st.sampled_from(
    [
        b'<div class="g-recaptcha" data-sitekey="abcdef">',
        b"<form method=post>",
        b"</form>",
        b"<template>",
        b"<script>turnstile.render('#x', {sitekey: '0xabcdef'",
        b"</script>",
        b"<base href='http://[bad'>",
        b"<base href='//x/'>",
        b"<form action='http://[::1'>",
        b"<input form=x name=a>",
        b"<div class='cf-turnstile' data-sitekey=abcd data-response-field-name=''>",
        b"<iframe src='https://newassets.hcaptcha.com/captcha/v1?sitekey=abcd-ef'>",
        b"<select name=s><option selected>",
        b"<textarea name=t>",
        b"\0",
        b"\xff\xfe",
        b"<!--",
    ]
)
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(st.lists(st.one_of(PIECES, st.binary(max_size=30)), max_size=25), st.sampled_from([200, 403, 500]))
def test_detection_never_raises(pieces: list[bytes], status: int) -> None:
    """Whatever a site sends, the answer is a challenge or none, and a challenge can be stored."""
    body = b"".join(pieces)
    found = DETECTOR.detect(body, status=status, content_type="text/html", url=URL(PAGE_URL))
    if found is not None:
        assert found.params["sitekey"]
        assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
        if found.form is not None:
            assert URL(found.form.action).scheme in ("http", "https")


@SLOW
@given(st.sampled_from(SMALL_PAGES), st.data())
def test_detection_survives_pages_that_are_cut_and_mangled(page: bytes, data: st.DataObject) -> None:
    """Real pages with a hole, a cut and noise in them."""
    start = data.draw(st.integers(0, len(page)))
    end = data.draw(st.integers(start, len(page)))
    noise = data.draw(st.binary(max_size=20))
    DETECTOR.detect(page[:start] + noise + page[end:], status=403, content_type="", url=URL(PAGE_URL))


@given(st.ip_addresses())
def test_no_address_that_is_not_global_is_admitted(address: IPv4Address | IPv6Address) -> None:
    """Whatever Python does not call global is refused, and refusing depends on the address alone."""
    refusal = RULES.refusal(str(address))
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert refusal
    if address.version == 4 and address.is_global and not address.is_multicast and not refusal:
        assert AddressRules(denied=[str(address)]).refusal(str(address))


@given(st.ip_addresses(v=4), st.sampled_from(["dotted", "whole", "hex", "octal", "hex parts", "short"]))
def test_every_spelling_of_an_address_means_that_address(address: IPv4Address, spelling: str) -> None:
    """Decimal, hexadecimal and octal, in one number, two or four."""
    whole = int(address)
    a, b, c, d = address.packed
    text = {
        "dotted": str(address),
        "whole": str(whole),
        "hex": hex(whole),
        "octal": f"0{whole:o}",
        "hex parts": f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        "short": f"{a}.{whole & 0xFFFFFF}",
    }[spelling]
    assert literal(text) == address


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one_is_refused(address: IPv4Address) -> None:
    """Mapped, compatible, NAT64, 6to4 and Teredo forms are refused whatever they hold."""
    whole = int(address)
    for value in (
        (0xFFFF << 32) | whole,
        whole,
        (0x64FF9B << 96) | whole,
        (0x2002 << 112) | (whole << 80),
        (0x20010000 << 96) | (whole ^ 0xFFFFFFFF),
    ):
        assert RULES.refusal(str(IPv6Address(value)))


HOSTS = st.sampled_from(
    ["shop.example", "www.shop.example", "a.b.shop.example", "evilshop.example", "other.example", "127.0.0.1"]
)
PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab"])
HEADERS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.builds(
            "{}={}; Domain={}; Path={}; {}".format,
            st.sampled_from("abc"),
            st.text('0123 =;,"', max_size=5),
            st.one_of(HOSTS, st.just(".shop.example"), st.just("example"), st.just("")),
            PATHS,
            st.sampled_from(
                ["", "Secure", "Max-Age=0", "Max-Age=60", "expires=Thu, 01-Jan-1970 00:00:00 GMT"]
            ),
        ),
    ),
    max_size=6,
)


@given(HEADERS, HOSTS, PATHS, HOSTS, st.sampled_from(["http", "https"]))
def test_cookies_never_leave_their_domain(
    headers: list[str], host: str, path: str, other: str, scheme: str
) -> None:
    """Any Set-Cookie is read without raising; a cookie goes only where it may go, in one line."""
    jar = cookies.stored((), URL(f"https://{host}{path}"), headers, 1_000_000)
    assert len(jar) <= cookies.MAX_COOKIES
    sent = cookies.header_for(jar, URL(f"{scheme}://{other}/a/b"), 1_000_000)
    fitting = [cookie for cookie in jar if _may_go(cookie, other, scheme)]
    assert (sent is None) or fitting
    assert sent is None or not set("\r\n\0") & set(sent)
    if not (host == other or (host.endswith("shop.example") and other.endswith("shop.example"))):
        assert sent is None
    if {host, other} == {"shop.example", "evilshop.example"}:
        assert sent is None


def _may_go(cookie: Cookie, host: str, scheme: str) -> bool:
    """Say by a naive rule whether a cookie may go to a host."""
    if cookie.secure and scheme == "http":
        return False
    return host == cookie.domain or (not cookie.host_only and host.endswith("." + cookie.domain))


@given(st.integers(100, 999), st.text(max_size=40), st.text(max_size=40))
def test_classification_never_raises(status: int, retry_after: str, date: str) -> None:
    """Any status and any Retry-After give a page or a retry with a wait that is not negative."""
    response = Response(
        url=URL(PAGE_URL),
        status=status,
        headers=CIMultiDict({"Retry-After": retry_after, "Date": date}),
        body=b"",
        jar=(),
        redirects=0,
        elapsed_ms=0,
        wire_bytes=0,
    )
    state = read(inbound(b"https://example.org/"), 1000).job.state
    failed = classify.failure(response, None, state)
    assert failed is None or isinstance(failed, Retry)
    if failed is not None and failed.after_s is not None:
        assert failed.after_s >= 0


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_record_is_read_or_refused(value: bytes) -> None:
    """Bad input raises RecordError with a sentence and nothing else, and a job carries its own bytes."""
    try:
        work = read(inbound(value), 150)
    except RecordError as error:
        said = error.message
    else:
        assert work.job.original == value
        assert isinstance(work.payload, FetchTask)
        assert work.payload.url.scheme in ("http", "https")
        return
    assert said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "id",
    "run",
    "method",
    "headers",
    "body",
    "priority",
    "proxy",
    "route",
    "deadline",
    "max_retries",
    "x",
]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5))
def test_any_fields_are_read_or_refused(fields: dict[str, object]) -> None:
    """Fields of any type end in a job whose request can be made, or in a refusal."""
    with contextlib.suppress(RecordError):
        task = read(inbound(msgspec.json.encode({"url": "https://e.example/", **fields})), 1 << 20).payload
        assert isinstance(task, FetchTask)
        requests.of_job(task.job, task.url, "ua")


@SLOW
@given(
    st.binary(max_size=5000),
    st.integers(1, 3),
    st.integers(0, 6000),
    st.sampled_from(["gzip", "deflate", "br", "zstd"]),
)
def test_a_body_is_decoded_whole_or_refused(data: bytes, times: int, limit: int, coding: str) -> None:
    """Within the limit the body comes back to the byte; beyond it, it is refused; cut, it is never a page."""
    body = data * times
    pack = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
    }
    wire = pack[coding](body)
    if len(body) > limit:
        try:
            decoded(wire, coding, limit)
        except BodyTooLargeError:
            return
        raise AssertionError
    assert decoded(wire, coding, limit) == body
    with contextlib.suppress(BodyBrokenError, BodyTooLargeError):
        assert decoded(wire[: len(wire) // 2], coding, limit) in (body, b"")


class LimitsMachine(RuleBasedStateMachine):
    """The site limits against a naive model: who runs, who waits, never more than allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = SiteLimits(concurrency=2, wait_s=1.0)
        self.now = 0.0
        self.running: dict[str, list[float]] = {"a": [], "b": []}
        self.waiting = {"a": 0, "b": 0}

    @rule(site=st.sampled_from("ab"), returning=st.booleans())
    def ask(self, site: str, returning: bool) -> None:
        """Ask for a slot: granted whenever one is free and nobody waits."""
        free = len(self.running[site]) < 2 and not self.waiting[site]
        answer = self.limits.ask(site, self.now, returning=returning)
        assert isinstance(answer, Go) is free
        if isinstance(answer, Go):
            self.running[site].append(self.now)
        elif isinstance(answer, Wait):
            self.waiting[site] += 1
        else:
            assert 0 <= answer.delay_s <= 3600

    @rule(seconds=st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds

    @rule(site=st.sampled_from("ab"))
    def leave(self, site: str) -> None:
        """Give a slot back; exactly one waiting job gets it."""
        assume(self.running[site])
        self.limits.leave(site, self.running[site].pop(0), self.now)
        promoted = self.limits.promote(site, self.now)
        assert promoted is (self.waiting[site] > 0)
        if promoted:
            self.waiting[site] -= 1
            self.running[site].append(self.now)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(site=st.sampled_from("ab"))
    def give_up(self, site: str) -> None:
        """End a wait."""
        assume(self.waiting[site])
        assert isinstance(self.limits.give_up(site, self.now), Later)
        self.waiting[site] -= 1

    @invariant()
    def never_too_many(self) -> None:
        """The model and the state agree, within the limit."""
        for site, running in self.running.items():
            assert self.limits.running(site) == len(running) <= 2


TestLimits = LimitsMachine.TestCase

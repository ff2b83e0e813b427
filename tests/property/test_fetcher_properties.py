"""What holds for any input: nothing raises, nothing exceeds its bound, no spelling gets anything admitted."""

import contextlib
import gzip
import zlib
from ipaddress import IPv4Address, IPv6Address

import brotli  # type: ignore[import-untyped]
import msgspec
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from multidict import CIMultiDict
from support.fetcher import FAMILIES, PAGE_URL, fixtures, inbound
from tidegate.captcha_records import Challenge, Cookie
from tidegate.errors import RecordError
from tidegate.outcome import Retry
from tidegate.records import Lane
from tidegate_fetcher import classify, cookies, requests, signatures
from tidegate_fetcher.addresses import AddressRules, literal
from tidegate_fetcher.bodies import BodyBrokenError, BodyTooLargeError, decoded
from tidegate_fetcher.detection import Detector
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.site_limits import Go, SiteLimits, Wait
from tidegate_fetcher.site_slots import Claim, Later, Never, SiteRule
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
    found = DETECTOR.find(body, status=status, headers={"Content-Type": "text/html"}, url=URL(PAGE_URL))
    if isinstance(found, Challenge):
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
    DETECTOR.find(page[:start] + noise + page[end:], status=403, headers={}, url=URL(PAGE_URL))


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


SITE_RULES = {"a": SiteRule(concurrency=2), "b": SiteRule(concurrency=2, per_second=0.1, burst=2)}
CLAIMS = st.builds(
    Claim,
    lane=st.sampled_from(Lane),
    came_before=st.integers(0, 3),
    age_s=st.integers(0, 10**6),
    left_s=st.integers(1, 10**6),
)


class LimitsMachine(RuleBasedStateMachine):
    """The site limits against a naive model: who runs, who waits, never more than allowed (T3)."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = SiteLimits(SITE_RULES.__getitem__, wait_s=15.0)
        self.now = 0.0
        self.running: dict[str, list[float]] = {"a": [], "b": []}
        self.waiting: dict[str, list[Claim]] = {"a": [], "b": []}
        self.started: list[float] = []

    def free(self, site: str) -> bool:
        """Say whether a request may begin now: places, and for b two at once and one in ten seconds."""
        turn = 0.0
        for start in self.started:
            turn = max(turn, start) + 10.0
        return len(self.running[site]) < 2 and (site == "a" or turn - self.now <= 10.0)

    def start(self, site: str) -> None:
        """Take note of a request that began."""
        self.running[site].append(self.now)
        if site == "b":
            self.started.append(self.now)

    @rule(site=st.sampled_from("ab"), claim=CLAIMS)
    def ask(self, site: str, claim: Claim) -> None:
        """Ask for a turn: granted whenever one is free and nobody waits who goes first."""
        first = all(waiting.rank > claim.rank for waiting in self.waiting[site])
        answer = self.limits.ask(site, claim, self.now)
        assert isinstance(answer, Go) is (first and self.free(site))
        if isinstance(answer, Go):
            self.start(site)
        elif isinstance(answer, Wait):
            self.waiting[site].append(claim)
        else:
            self.judge(site, claim, answer)

    def judge(self, site: str, claim: Claim, answer: Later | Never) -> None:
        """A wait is never too short for a delay topic, and never uselessly long."""
        assert answer.delay_s >= 2
        if isinstance(answer, Never):
            assert site == "b"
            assert answer.delay_s > claim.left_s
        elif site == "a":
            assert answer.delay_s <= max(60, 2 * claim.age_s) + 1e-6

    @rule(seconds=st.integers(0, 100))
    def pass_time(self, seconds: int) -> None:
        """Move on."""
        self.now += seconds

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Give a place back; a waiting job gets it as soon as its turn has come."""
        site = data.draw(st.sampled_from([name for name, running in self.running.items() if running]))
        self.limits.leave(site, self.running[site].pop(0), self.now)
        if self.waiting[site]:
            self.promote(site)

    def promote(self, site: str) -> None:
        """Let the first of those who wait go, where it may."""
        claim = min(self.waiting[site], key=lambda waiting: waiting.rank)
        free = self.free(site)
        wait_s = self.limits.promote(site, claim, self.now)
        assert (wait_s is not None and wait_s <= 0) is free
        if free:
            self.waiting[site].remove(claim)
            self.start(site)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """End a wait."""
        site = data.draw(st.sampled_from([name for name, waiting in self.waiting.items() if waiting]))
        claim = self.waiting[site].pop(0)
        self.judge(site, claim, self.limits.give_up(site, claim, self.now))

    @invariant()
    def never_too_many(self) -> None:
        """The model and the state agree, within the limits."""
        for site, running in self.running.items():
            assert self.limits.running(site) == len(running) <= 2
        for count, start in enumerate(self.started):
            since = [other for other in self.started[count:] if other - start < 100 - 1e-6]
            assert len(since) <= 2 + 10


TestLimits = LimitsMachine.TestCase
TestLimits.settings = settings(max_examples=60, stateful_step_count=40)

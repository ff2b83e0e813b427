"""The pool of proxies: lists, cooldown, whose fault a failure is, quarantine, probation, subnets."""

from collections.abc import Sequence

import pytest
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.proxies import MAX_LIST_BYTES, Proxy, is_id, parse, proxy_of
from tidegate_fetcher import events
from tidegate_fetcher.proxy_pool import ProxyPool, subnet_of
from tidegate_fetcher.proxy_standing import ProxyOutcome, ProxyPolicy

FAULT, FAILURE = ProxyOutcome.FAULT, ProxyOutcome.FAILURE
SUCCESS, CAPTCHA = ProxyOutcome.SUCCESS, ProxyOutcome.CAPTCHA


def pool_of(*hosts: str) -> tuple[ProxyPool, list[str]]:
    """Return a pool of proxies and their ids, in order of use: the last is the coolest."""
    pool = ProxyPool()
    proxies = [proxy_of(f"http://{host}:3128") for host in hosts]
    pool.load(proxies)
    return pool, [proxy.id for proxy in proxies]


def chosen(pool: ProxyPool, now: float, site: str = "a.example", avoid: Sequence[str] = ()) -> str | None:
    """Return the id of the proxy that is chosen."""
    proxy = pool.choose(site, now, avoid=avoid)
    return None if proxy is None else proxy.id


def report(
    pool: ProxyPool, name: str, outcome: ProxyOutcome, times: int = 1, *, site: str = "", now: float = 0.0
) -> list[Event]:
    """Report an outcome several times; without a site, each time at another one."""
    told: list[Event] = []
    for number in range(times):
        told += pool.report(name, site or f"{number}.example", outcome, now)
    return told


def test_a_list_is_read_line_by_line_in_all_its_forms() -> None:
    """URLs, host:port, the sellers' form; remarks and empty lines are passed over, doubles count once."""
    listed = parse(
        b"\xef\xbb\xbf# ours\nhttp://ann:p%40ss@Proxy.Example:3128\n\nsocks5://10.0.0.1:1080  # second\r\n"
        b"10.0.0.2:8080\ngate.example:7000:user-1:p@ss#1:x\nhttps://[2001:db8::1]:443/\n10.0.0.2:8080\n"
    )
    assert [proxy.url for proxy in listed.proxies] == [
        "http://ann:p%40ss@proxy.example:3128",
        "socks5://10.0.0.1:1080",
        "http://10.0.0.2:8080",
        "http://user-1:p%40ss%231%3Ax@gate.example:7000",
        "https://[2001:db8::1]:443",
    ]
    assert listed.bad == ()


@pytest.mark.parametrize(
    "line",
    [
        "ftp://ann:s3cret@host:21",
        "ann:s3cret@host",
        "http://ann:s3cret@host:99999",
        "http://ann:s3cret@ho st:3128",
        "http://ann:s3cret@:3128",
        "http://ann:s3c/s3cret@host:3128",
        "http://ann:s3cret@host:3128/s3cret",
        "http://ann:s3cret@host:3128?s3cret",
        "http://ann:s3cret@[::1:3128",
        "s3cret",
        "http://ann:s3cret@host:0",
        "http://ann:s3c\\s3cret@host:3128",
        "http://an\\n:s3cret@host:3128",
        "http://[::1]s3cret@host:3128",
        "http://ann:s3cret\uff05@host:3128",
        "http://ann:s3cret@host..example:3128",
        f"http://ann:s3cret@{'h' * 64}.example:3128",
        "x" * 3000 + "s3cret:1",
    ],
)
def test_a_bad_line_is_named_by_its_number_and_never_quoted(line: str) -> None:
    """The others are used."""
    listed = parse(f"http://good.example:1\n{line}\n".encode())
    assert len(listed.proxies) == 1
    (bad,) = listed.bad
    assert bad.number == 2
    assert "s3c" not in bad.problem


@pytest.mark.parametrize("data", [b"", b"# none yet\n", b"\xff\xfe", b"x", b"#" * (MAX_LIST_BYTES + 1)])
def test_a_list_without_a_proxy_is_refused(data: bytes) -> None:
    """So that a truncated file does not empty the pool."""
    with pytest.raises(ConfigurationError):
        parse(data)


def test_an_id_tells_users_of_a_gateway_apart_and_shows_no_credential() -> None:
    """It is the same everywhere, because it is made of the URL alone."""
    one, two = proxy_of("http://ann:s3cret@gate.example:1"), proxy_of("http://bob:s3cret@gate.example:1")
    assert one.id != two.id
    assert one.id.startswith("gate.example:1-")
    assert is_id(one.id)
    assert not is_id("http://gate.example:1")
    assert "s3cret" not in f"{one} {one!r} {[one]} {one.id}"
    assert one == proxy_of("http://ann:s3cret@gate.example:1/")


def test_the_coolest_proxy_is_taken_and_when_all_are_warm_too() -> None:
    """Cooldown is a preference: with fewer proxies than requests, the one that rested longest goes."""
    pool, names = pool_of("10.0.0.1", "10.0.0.2", "10.0.0.3")
    order = [chosen(pool, now / 10) for now in range(6)]
    assert order == [*reversed(names), *reversed(names)]


def test_another_proxy_is_taken_where_there_is_one() -> None:
    """What the last try failed through is avoided, unless it is all there is."""
    pool, (one, two) = pool_of("10.0.0.1", "10.0.0.2")
    assert chosen(pool, 0.0, avoid=(two,)) == one
    assert chosen(pool, 0.1, avoid=(one,)) == two
    assert chosen(pool, 0.2, avoid=(two,)) == one  # it is warmer than the other
    assert chosen(pool, 9.0, avoid=(one, two)) in (one, two)


def test_a_site_is_asked_through_the_proxy_with_the_fewest_captchas_there() -> None:
    """Elsewhere that proxy is as good as any."""
    pool, (one, two) = pool_of("10.0.0.1", "10.0.0.2")
    report(pool, two, CAPTCHA, 5, site="a.example")
    assert pool.captcha_rate(two, "a.example") > 0.5 > pool.captcha_rate(one, "a.example")
    assert [chosen(pool, 10.0 * number) for number in range(3)] == [one] * 3
    assert chosen(pool, 100.0, "b.example") == two
    report(pool, two, SUCCESS, 200, site="a.example")
    assert pool.captcha_rate(two, "a.example") < 0.05


def test_a_pinned_proxy_is_used_however_it_stands() -> None:
    """By its id or its URL; one that the pool does not have is not."""
    pool, (one,) = pool_of("10.0.0.1")
    report(pool, one, FAULT, 6)
    assert pool.choose("a.example", 0.0) is None
    for pin in (one, "http://10.0.0.1:3128"):
        proxy = pool.choose("a.example", 0.0, pinned=pin)
        assert proxy is not None
        assert proxy.id == one
    assert pool.choose("a.example", 0.0, pinned="10.0.0.9:1-00000000") is None


def test_more_than_five_failures_and_half_as_many_as_successes_are_a_quarantine() -> None:
    """Five are not, and many successes outweigh six."""
    pool, (one, two) = pool_of("10.0.0.1", "10.0.0.2")
    assert report(pool, one, FAULT, 5) == []
    (told,) = report(pool, one, FAULT)
    assert told == events.ProxyQuarantined(proxy=one, failures=6, successes=0, seconds=60.0, healthy=1)
    assert not pool.is_usable(one, 0.0)
    report(pool, two, SUCCESS, 20)
    assert report(pool, two, FAULT, 10) == []
    assert len(report(pool, two, FAULT)) == 1
    assert pool.choose("a.example", 1.0) is None
    assert pool.next_in_s(1.0) == 59.0


def test_probation_is_one_request_at_a_time_and_three_answers() -> None:
    """Then the proxy is healthy; a failure sends it away for twice as long."""
    pool, (one,) = pool_of("10.0.0.1")
    report(pool, one, FAULT, 6)
    assert chosen(pool, 60.0) == one
    assert chosen(pool, 60.1) is None  # a trial is under way
    (told,) = report(pool, one, FAULT, now=61.0)
    assert isinstance(told, events.ProxyQuarantined)
    assert told.seconds == 120.0
    assert chosen(pool, 180.0) is None
    now = 181.0
    for expected in ([], [], [events.ProxyRestored(proxy=one, healthy=1)]):
        assert chosen(pool, now) == one
        assert report(pool, one, SUCCESS, now=now) == expected
        now += 1
    assert [chosen(pool, now), chosen(pool, now)] == [one, one]


def test_a_trial_that_nobody_reports_on_ends() -> None:
    """Its request was cancelled: the proxy is tried again."""
    pool, (one,) = pool_of("10.0.0.1")
    report(pool, one, FAULT, 6)
    assert chosen(pool, 60.0) == one
    assert not pool.has_room(100.0)
    assert chosen(pool, 60.0 + ProxyPolicy().trial_s) == one


def test_a_site_that_refuses_everybody_takes_no_proxy_out() -> None:
    """One site alone never does, however many requests fail there."""
    pool, names = pool_of(*(f"10.0.{number}.1" for number in range(10)))
    for _ in range(50):
        for name in names:
            assert pool.report(name, "down.example", FAILURE, 0.0) == ()
    assert pool.healthy == 10


def test_a_proxy_that_fails_where_others_do_not_goes_into_quarantine() -> None:
    """Each answer of the site through another one shows whose fault it is."""
    pool, (bad, good) = pool_of("10.0.0.1", "10.0.0.2")
    told: list[Event] = []
    for _ in range(6):
        told += pool.report(bad, "a.example", FAILURE, 0.0)
        told += pool.report(good, "a.example", SUCCESS, 0.0)
    assert [type(event) for event in told] == [events.ProxyQuarantined]


def test_a_proxy_through_which_no_site_answers_goes_into_quarantine() -> None:
    """Also where it is the only one."""
    pool, (one,) = pool_of("10.0.0.1")
    assert len(report(pool, one, FAILURE, 6)) == 1


def test_a_subnet_that_fails_as_a_whole_is_told_of_once() -> None:
    """And again when one of its proxies is back."""
    pool, names = pool_of("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1")
    told = [event for name in names[:3] for event in report(pool, name, FAULT, 6)]
    assert told[-1] == events.SubnetFailing(subnet="10.0.0.0/24", proxies=3, failing=1)
    assert report(pool, names[0], SUCCESS, 3) == []  # its term is not over: these were sent before
    assert chosen(pool, 60.0, avoid=names[1:]) == names[0]
    back = report(pool, names[0], SUCCESS, 3, now=60.0)
    assert events.SubnetRestored(subnet="10.0.0.0/24", proxies=3, failing=0) in back


@pytest.mark.parametrize("hosts", [(), ("10.0.1.1",), ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")])
def test_a_new_list_ends_the_failure_of_a_subnet(hosts: tuple[str, ...]) -> None:
    """Where its proxies were struck off, or others of it came: else the alarm would never end."""
    pool, names = pool_of("10.0.0.1", "10.0.0.2", "10.0.0.3")
    for name in names:
        report(pool, name, FAULT, 6)
    same = [found for name in names if (found := pool.find(name)) is not None]
    assert pool.load(same).restored == ()
    changed = pool.load([proxy_of(f"http://{host}:3128") for host in hosts])
    assert [(event.subnet, event.failing) for event in changed.restored] == [("10.0.0.0/24", 0)]
    assert pool.load([]).restored == ()


@pytest.mark.parametrize(
    ("host", "subnet"),
    [
        ("10.1.2.3", "10.1.2.0/24"),
        ("[2001:db8:1:2::3]", "2001:db8:1::/48"),
        ("gate.example", "gate.example"),
    ],
)
def test_a_subnet_is_a_24_a_48_or_a_gateways_name(host: str, subnet: str) -> None:
    """What a seller's gateway hides behind its name cannot be known."""
    assert subnet_of(host) == subnet


def test_a_new_list_keeps_the_standing_of_those_who_stay() -> None:
    """Those who left are forgotten, new ones are used first."""
    pool, (one, two) = pool_of("10.0.0.1", "10.0.0.2")
    report(pool, one, FAULT, 6)
    new = proxy_of("http://10.0.0.3:3128")
    kept = pool.find(one)
    assert isinstance(kept, Proxy)
    loaded = pool.load([kept, new])
    assert (loaded.added, loaded.removed, pool.healthy, len(pool)) == (1, 1, 1, 2)
    assert pool.find(two) is None
    assert chosen(pool, 1.0) == new.id
    assert chosen(pool, 1.1) == new.id
    assert report(pool, two, FAULT, 10) == []

"""Policy, addresses, classification and settings: the fetcher's small pure parts."""

import pytest
from multidict import CIMultiDict
from tidegate.errors import ConfigurationError
from tidegate.outcome import Dead, ErrorClass, Reason, Retry
from tidegate.records import JobState, Origin
from tidegate.settings import load
from tidegate_fetcher import classify
from tidegate_fetcher.addresses import AddressRules, literal
from tidegate_fetcher.exchange import NetworkFailedError, RefusedError, Response
from tidegate_fetcher.policy import HostRules, Policy
from tidegate_fetcher.settings import Settings
from yarl import URL

STATE = JobState(
    run="r",
    id="i",
    site="example.org",
    origin=Origin(topic="urls", partition=0, offset=0, timestamp_ms=0),
    accepted_at_ms=0,
)


@pytest.mark.parametrize(
    ("rule", "url", "admitted"),
    [
        ("example.org", "https://example.org/x", True),
        ("example.org", "https://example.org:8443/x", True),
        ("example.org", "https://www.example.org/", False),
        ("example.org:8443", "https://example.org:8443/", True),
        ("example.org:8443", "https://example.org/", False),
        ("*.example.org", "https://a.b.example.org/", True),
        ("*.example.org", "https://example.org/", False),
        ("*.example.org", "https://badexample.org/", False),
        ("*.example.org:81", "http://a.example.org:81/", True),
        ("EXAMPLE.org.", "https://Example.ORG/", True),
        ("*", "http://anything.example/", True),
        ("127.0.0.1", "http://127.0.0.1:8080/", True),
        ("[::1]:80", "http://[::1]/", True),
        ("", "http://example.org/", False),
    ],
)
def test_a_host_rule_admits_what_it_names(rule: str, url: str, admitted: bool) -> None:
    """Exact hosts, hosts with a port, subdomains by a star, or everything."""
    assert HostRules([rule]).admits(URL(url)) is admitted


def test_nothing_is_solved_where_nobody_allowed_it() -> None:
    """The refusal names the setting that would allow it."""
    refusal = Policy().solve_refusal(URL("https://shop.example:8443/x?secret=1"))
    assert refusal is not None
    assert refusal.reason is Reason.SOLVE_NOT_ALLOWED
    assert "TIDEGATE_FETCHER__SOLVE_HOSTS=shop.example:8443" in refusal.message
    assert "secret" not in refusal.message


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", Reason.SCHEME_NOT_ALLOWED),
        ("http://example.org:22/", Reason.NOT_ALLOWED),
        ("http://example.org:80/", None),
        ("https://example.org/", None),
    ],
)
def test_targets_are_judged_by_scheme_and_port(url: str, reason: Reason | None) -> None:
    """Http and https, on the listed ports."""
    refusal = Policy().refusal(URL(url))
    assert (None if refusal is None else refusal.reason) == reason


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "0.0.0.0",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "100::1",
        "nonsense",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Private, local, reserved, multicast, documentation and IPv4 inside IPv6."""
    assert AddressRules().refusal(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"]
)
def test_public_addresses_are_admitted(address: str) -> None:
    """What the Internet can reach, we may reach."""
    assert AddressRules().refusal(address) is None


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("192.168.1.1", True),
        ("fd12::1", True),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_private_addresses_can_be_admitted_but_never_metadata(address: str, admitted: bool) -> None:
    """allow_private is for servers of one's own; where clouds keep credentials stays refused."""
    assert (AddressRules(allow_private=True).refusal(address) is None) is admitted


def test_networks_can_be_denied_by_setting() -> None:
    """A configured network is refused, public or not, private admitted or not."""
    rules = AddressRules(allow_private=True, denied=["93.184.0.0/16", "10.96.0.0/12", "2606:4700::/32"])
    for address in ("93.184.216.34", "10.96.0.1", "2606:4700::1"):
        assert rules.refusal(address) == "in a network that this installation denies"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::ffff:10.0.0.1", "::ffff:a00:1"),
        ("example.org", None),
        ("cafe", None),
        ("face.dead", None),
        ("", None),
    ],
)
def test_literals_are_read_as_resolvers_read_them(host: str, address: str | None) -> None:
    """Octal, hexadecimal, short and whole-number spellings all mean an address."""
    found = literal(host)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.1", "[::1]", "2130706433"])
def test_a_proxy_is_not_asked_for_this_machine(host: str) -> None:
    """Behind a proxy the address cannot be seen, so what a host spells out is judged."""
    assert AddressRules().refusal_of_host(host)
    assert AddressRules().refusal_of_host("example.org") is None


def answer(status: int, **headers: str) -> Response:
    """Return an answer."""
    return Response(
        url=URL("https://u:p@example.org/a?q=1"),
        status=status,
        headers=CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}),
        body=b"",
        jar=(),
        redirects=0,
        elapsed_ms=1,
        wire_bytes=0,
    )


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (200, None),
        (204, None),
        (304, None),
        (401, None),
        (404, None),
        (410, None),
        (403, ErrorClass.BLOCKED),
        (407, ErrorClass.NETWORK),
        (429, ErrorClass.RATE_LIMITED),
        (500, ErrorClass.SERVER_ERROR),
        (503, ErrorClass.SERVER_ERROR),
        (599, ErrorClass.SERVER_ERROR),
    ],
)
def test_statuses_have_classes(status: int, error_class: ErrorClass | None) -> None:
    """What is no failure is a page with its status."""
    failed = classify.failure(answer(status), 5, STATE)
    assert (None if failed is None else failed.error_class) == error_class
    if failed is not None:
        assert (failed.last_status, failed.max_retries, failed.state) == (status, 5, STATE)
        assert failed.final_url == "https://example.org/a?q=1"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": " 0 "}, 0.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "9" * 400}, 999999999999.0),
        (
            {"Retry_After": "Wed, 21 Oct 2026 07:30:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            120.0,
        ),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:30:00 GMT"}, 0.0),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_honoured(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, or a date counted from the answer's own Date: no clock of ours decides (T1)."""
    failed = classify.failure(answer(429, **headers), None, STATE)
    assert failed is not None
    assert failed.after_s == seconds


def test_retry_after_counts_for_503_only_among_server_errors() -> None:
    """A 500 with the header backs off by its class."""
    for status, after in ((503, 7.0), (500, None)):
        failed = classify.failure(answer(status, Retry_After="7"), None, STATE)
        assert failed is not None
        assert failed.after_s == after


def test_errors_become_outcomes() -> None:
    """What a retry may help is retried; what is refused is dead."""
    retried = classify.of_error(NetworkFailedError("x"), 2, STATE)
    assert isinstance(retried, Retry)
    assert (retried.error_class, retried.max_retries) == (ErrorClass.NETWORK, 2)
    dead = classify.of_error(RefusedError(Reason.BODY_TOO_LARGE, "x", status=200), 2, STATE)
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.error_class, dead.last_status) == (
        Reason.BODY_TOO_LARGE,
        ErrorClass.REFUSED,
        200,
    )


def test_settings_take_lists_as_people_write_them() -> None:
    """Commas or JSON."""
    loaded = load(
        Settings,
        {
            "TIDEGATE_FETCHER__SOLVE_HOSTS": "a.example, *.b.example",
            "TIDEGATE_FETCHER__ALLOWED_PORTS": "[80, 8080]",
            "TIDEGATE_FETCHER__DENIED_NETWORKS": "10.96.0.0/12",
            "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
        },
    ).fetcher
    assert loaded.solve_hosts == ("a.example", "*.b.example")
    assert loaded.allowed_ports == (80, 8080)
    assert loaded.denied_networks == ("10.96.0.0/12",)
    assert loaded.allow_private is True


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALLOWED_PORTS", "0"),
        ("ALLOWED_PORTS", "[80"),
        ("DENIED_NETWORKS", "ten"),
        ("USER_AGENT", "a\nb"),
        ("SITE_CONCURRENCY", "0"),
        ("MAX_BODY_BYTES", "99999999999"),
    ],
)
def test_settings_that_cannot_be_are_refused(variable: str, value: str) -> None:
    """The error names the variable."""
    with pytest.raises(ConfigurationError, match=variable):
        load(Settings, {f"TIDEGATE_FETCHER__{variable}": value})

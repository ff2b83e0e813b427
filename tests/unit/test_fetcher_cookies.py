"""Cookies are kept and sent by the rules of RFC 6265."""

import pytest
from tidegate.captcha_records import Cookie
from tidegate_fetcher import cookies
from yarl import URL

NOW = 1_700_000_000_000
PAGE = URL("https://www.shop.example/a/b/page?x=1")


@pytest.mark.parametrize(
    ("header", "cookie"),
    [
        ("a=1", Cookie(name="a", value="1", domain="www.shop.example", path="/a/b")),
        (
            "a=1; Path=/; Secure; HttpOnly",
            Cookie(name="a", value="1", domain="www.shop.example", secure=True),
        ),
        (
            "a=1; domain=.Shop.example; path=/a",
            Cookie(name="a", value="1", domain="shop.example", path="/a", host_only=False),
        ),
        ("a=1; Domain=", Cookie(name="a", value="1", domain="www.shop.example", path="/a/b")),
        (
            ' a = "q=1;x" ; path=relative',
            Cookie(name="a", value='"q=1', domain="www.shop.example", path="/a/b"),
        ),
        (
            "a=1; path=/; max-age=60",
            Cookie(name="a", value="1", domain="www.shop.example", expires_at_ms=NOW + 60_000),
        ),
        (
            "a=1; path=/; expires=Wed, 15-Nov-2023 22:13:20 GMT",
            Cookie(name="a", value="1", domain="www.shop.example", expires_at_ms=1_700_086_400_000),
        ),
        (
            "a=1; path=/; max-age=10; expires=Wed, 15 Nov 2023 22:13:20 GMT",
            Cookie(name="a", value="1", domain="www.shop.example", expires_at_ms=NOW + 10_000),
        ),
        ("a=1; path=/; expires=never", Cookie(name="a", value="1", domain="www.shop.example")),
        ("a=1; path=/; max-age=ten", Cookie(name="a", value="1", domain="www.shop.example")),
        ("lonely; path=/", Cookie(name="", value="lonely", domain="www.shop.example")),
        ("a=b=c; path=/", Cookie(name="a", value="b=c", domain="www.shop.example")),
        ("a=1; domain=other.example", None),
        ("a=1; domain=example", None),
        ("a=1; domain=op.example", None),
        ("=", None),
        ("", None),
        ("a=1\x00", None),
        ("a=" + "x" * 5000, None),
    ],
)
def test_set_cookie_is_read_as_browsers_read_it(header: str, cookie: Cookie | None) -> None:
    """Host-only or domain, default path, Max-Age before Expires; what browsers ignore is ignored."""
    assert cookies.parse(header, PAGE, NOW) == cookie


def test_a_plain_connection_cannot_set_a_secure_cookie() -> None:
    """A Secure cookie of an http page is ignored."""
    assert cookies.parse("a=1; secure", URL("http://shop.example/"), NOW) is None


def test_an_address_has_host_only_cookies() -> None:
    """A domain attribute on an IP address names that address alone."""
    url = URL("http://127.0.0.1:8080/")
    cookie = cookies.parse("a=1; domain=127.0.0.1", url, NOW)
    assert cookie is not None
    assert cookie.host_only
    assert cookies.parse("a=1; domain=0.0.1", url, NOW) is None


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://www.shop.example/", "dom=1; host=1; sec=1"),
        ("https://shop.example/", "dom=1"),
        ("https://api.shop.example/", "dom=1"),
        ("https://evilshop.example/", None),
        ("http://www.shop.example/", "dom=1; host=1"),
        ("https://www.shop.example/deep/x", "path=1; dom=1; host=1; sec=1"),
        ("https://www.shop.example/deeper", "dom=1; host=1; sec=1"),
    ],
)
def test_a_url_gets_the_cookies_that_fit(url: str, sent: str | None) -> None:
    """Domain, path and Secure decide; longer paths come first."""
    jar = cookies.stored(
        (),
        URL("https://www.shop.example/"),
        ["dom=1; domain=shop.example", "host=1", "sec=1; secure", "path=1; path=/deep", "old=1; max-age=0"],
        NOW,
    )
    assert cookies.header_for(jar, URL(url), NOW) == sent


def test_a_new_cookie_replaces_its_namesake_and_an_expired_one_removes_it() -> None:
    """Same name, domain and path are the same cookie."""
    jar = cookies.stored((), PAGE, ["a=1; path=/", "b=1; path=/"], NOW)
    jar = cookies.stored(jar, PAGE, ["a=2; path=/", "b=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"], NOW)
    assert cookies.header_for(jar, PAGE, NOW) == "a=2"


def test_cookies_end() -> None:
    """An expired cookie is not sent."""
    jar = cookies.stored((), PAGE, ["a=1; path=/; max-age=10"], NOW)
    assert cookies.header_for(jar, PAGE, NOW + 9_999) == "a=1"
    assert cookies.header_for(jar, PAGE, NOW + 10_000) is None


def test_a_jar_is_bounded() -> None:
    """A site that sets a thousand cookies has its newest hundred."""
    jar = cookies.stored((), PAGE, [f"c{i}=1" for i in range(1000)], NOW)
    assert len(jar) == cookies.MAX_COOKIES
    assert jar[-1].name == "c999"


def test_the_jobs_own_cookie_header_becomes_cookies() -> None:
    """They belong to the job's host and to the whole of it, at any port."""
    jar = cookies.given("a=1; b=x=y;; c", PAGE)
    assert cookies.header_for(jar, URL("https://www.shop.example/"), NOW) == "a=1; b=x=y; c"
    assert cookies.header_for(jar, URL("https://shop.example/"), NOW) is None
    assert cookies.header_for(jar, URL("https://www.shop.example:8443/"), NOW) == "a=1; b=x=y; c"


def test_a_cookie_header_and_a_clearance_of_https_never_go_out_in_clear() -> None:
    """Not after a redirect to http either; those of http go to both."""
    plain = PAGE.with_scheme("http")
    for jar in (cookies.given("a=1", PAGE), cookies.cleared((), PAGE, {"a": "1"})):
        assert cookies.header_for(jar, PAGE, NOW) == "a=1"
        assert cookies.header_for(jar, plain, NOW) is None
    for jar in (cookies.given("a=1", plain), cookies.cleared((), plain, {"a": "1"})):
        assert cookies.header_for(jar, plain, NOW) == cookies.header_for(jar, PAGE, NOW) == "a=1"

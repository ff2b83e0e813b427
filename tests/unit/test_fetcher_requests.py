"""Requests are made as jobs say, and a form is filled as a browser would fill it."""

import msgspec
import pytest
from support.fetcher import fetcher, inbound, job, solution_of
from tidegate.captcha_records import Challenge, ChallengeForm
from tidegate.errors import ConfigurationError
from tidegate.proxies import Proxy
from tidegate.records import ChallengeKind, UrlJob
from tidegate_fetcher import requests, tasks, ways
from tidegate_fetcher.addresses import canonical
from tidegate_fetcher.exchange import Request
from tidegate_fetcher.ways import NoWay
from yarl import URL


def request_of_job(**fields: object) -> Request:
    """Return the request of a job."""
    task = tasks.read(inbound(job("https://ann:s3cret@shop.example/a#x", **fields)), 1000).payload
    return requests.of_job(task.job, task.url, "ua/1")


def test_secrets_are_kept_apart_from_other_headers() -> None:
    """Authorization, keys and cookies are what only the job's own origin sees."""
    request = request_of_job(
        headers={"authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "a=1", "X": "1"}
    )
    assert dict(request.private) == {"authorization": "Bearer t", "X-Api-Key": "k"}
    assert [(cookie.name, cookie.domain) for cookie in request.jar] == [("a", "shop.example")]
    assert "Cookie" not in request.headers
    assert request.headers["X"] == "1"
    assert str(request.url) == "https://shop.example/a"


@pytest.mark.parametrize(
    "name", ["X-Access-Token", "Api-Key", "token", "X-ApiKey", "X-Session-Id", "X-Amz-Security-Token"]
)
def test_a_key_of_whatever_name_stays_at_the_jobs_own_origin(name: str) -> None:
    """Sites name their own; a redirect to another origin takes none of them along."""
    request = request_of_job(headers={name: "k"})
    assert request.private[name] == "k"
    assert name not in request.headers


def test_what_is_the_proxys_is_not_sent_to_a_site() -> None:
    """Nor are headers of the connection."""
    request = request_of_job(headers={"Proxy-Authorization": "Basic x", "TE": "trailers"})
    assert "Proxy-Authorization" not in {**request.headers, **request.private}
    assert "TE" not in request.headers


def test_the_urls_credentials_are_basic_authorization() -> None:
    """They leave the URL, and never overrule a header of the job's."""
    assert request_of_job().private["Authorization"] == "Basic YW5uOnMzY3JldA=="


def test_a_token_fills_its_fields_where_they_stand_or_is_added() -> None:
    """Page order is kept; every name that takes the token gets it, present or not."""
    form = ChallengeForm(
        action="https://shop.example/v",
        method="POST",
        fields=(("a", "1"), ("t1", ""), ("b", "2"), ("t1", "old")),
        token_fields=("t1", "t2"),
    )
    assert requests.filled(form, {"t1": "T", "t2": "T"}) == [
        ("a", "1"),
        ("t1", "T"),
        ("b", "2"),
        ("t1", "T"),
        ("t2", "T"),
    ]


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("http://127.1:81/x", "http://127.0.0.1:81/x"),
        ("http://0xa9fea9fe/", "http://169.254.169.254/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("http://[::1]/", "http://[::1]/"),
        ("http://facade/", "http://facade/"),
        ("http://a1.example.de/", "http://a1.example.de/"),
        ("http://999.1.1.1/", "http://999.1.1.1/"),
    ],
)
def test_numbers_are_written_out_as_addresses(url: str, written: str) -> None:
    """As browsers do, so that every later judgement sees the address."""
    assert canonical(URL(url)) == URL(written)


async def test_time_outs_that_cannot_fit_are_refused_at_the_start() -> None:
    """Two requests and a wait must end before the handler's deadline does."""
    with pytest.raises(ConfigurationError, match="TOTAL_TIMEOUT_S"):
        async with fetcher(total_timeout_s=60):
            pass


def test_headers_that_everybody_sends_make_nobody_special() -> None:
    """What a browser's "copy as cURL" brings along shares the session of its user agent."""
    usual = ("Accept", "accept-language", "Cache-Control", "DNT", "Referer", "Sec-Fetch-Mode", "TE")
    job = UrlJob(url="https://shop.example/", method="get", headers=dict.fromkeys(usual, "x"))
    assert not requests.is_personal(job)


@pytest.mark.parametrize(
    ("way", "proxy_id", "other"),
    [
        (None, None, False),
        (Proxy(id="p", url="http://p.test:1", host="p.test"), "p", False),
        (Proxy(id="", url="http://p.test:1", host="p.test"), None, False),
        (NoWay(wait_s=1.0), "p", False),
        (None, "p", True),
        (Proxy(id="q", url="http://q.test:1", host="q.test"), "p", True),
        (Proxy(id="q", url="http://q.test:1", host="q.test"), None, True),
    ],
)
def test_the_way_is_another_one_only_where_there_is_one(
    way: Proxy | NoWay | None, proxy_id: str | None, other: bool
) -> None:
    """A list that was not read yet, or has nothing healthy, says nothing of who is on it."""
    assert ways.is_other(way, proxy_id) is other


@pytest.mark.parametrize("text", ["a\r\nX: 1", "a\0", "a\x7f"])
def test_an_answer_that_no_header_can_hold_is_not_what_its_kind_needs(text: str) -> None:
    """A clearance or a user agent with a line break in it is the solving service's failure, not ours.

    Cookies beside a token are not sent, and spoil nothing.
    """
    page = "https://shop.example/a"
    whole = Challenge(kind=ChallengeKind.DATADOME, page_url=page, params={})
    form = ChallengeForm(action=page, method="POST", token_fields=("t",))
    token = Challenge(kind=ChallengeKind.HCAPTCHA, page_url=page, params={}, form=form)
    for challenge in (whole, token):
        sound = solution_of(challenge)
        broken = [msgspec.structs.replace(sound, user_agent=text)]
        if sound.cookies:
            broken += [msgspec.structs.replace(sound, cookies=bad) for bad in ({"a": text}, {text: "a"})]
        else:
            sound = msgspec.structs.replace(sound, cookies={"a": text})
        asked = (UrlJob(url=page), URL(page))
        assert requests.of_answer(*asked, sound, "ua/1") is not None
        for solution in broken:
            assert requests.of_answer(*asked, solution, solution.user_agent or "ua/1") is None

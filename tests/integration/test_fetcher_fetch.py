"""Jobs against a real web server on loopback: every field, redirects, sizes, failures, addresses."""

import asyncio
import gzip
import socket
from typing import Any

import msgspec
import pytest
from aiohttp import web
from support.fetcher import (
    Handler,
    decoded,
    fetcher,
    inbound,
    job,
    page_of,
    raw_server,
    request_of,
    routed,
    run,
    site,
)
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Reason, Retry
from tidegate.records import HEADER_JOB, HEADER_ORIGINAL, HEADER_PAGE, JobState, body_hash, decoder, encode
from tidegate.sites import partition_of
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import Topic
from tidegate_fetcher.events import FetchDone, UnknownFieldIgnored
from tidegate_fetcher.routing import forwarded

HTML = b"<!doctype html><title>T\xe9</title><p>\xfcber" + bytes(range(256)) * 4
GATE = b'<form method=post action=/v><div class="g-recaptcha" data-sitekey="6Lc-1"></div></form>'
HTML_TYPE = {"Content-Type": "text/html"}


def dead(outcome: Outcome) -> Dead:
    """Return an outcome that is a dead letter."""
    assert isinstance(outcome, Dead), outcome
    return outcome


def retry(outcome: Outcome) -> Retry:
    """Return an outcome that is a retry."""
    assert isinstance(outcome, Retry), outcome
    return outcome


async def echo(request: web.Request) -> web.Response:
    """Answer with what was asked."""
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": (await request.read()).decode(),
        }
    )


async def test_a_page_is_stored_as_it_was_served() -> None:
    """The value is the body to the byte, the headers carry the job, its bytes and what is known (C1, O2)."""
    answer = web.Response(
        body=HTML,
        headers={
            "Content-Type": "text/html; charset=ISO-8859-1",
            "Set-Cookie": "secret=1",
            "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT",
            "X-Odd": "1",
        },
    )
    async with site(routed({"/p": answer})) as base, fetcher() as service:
        value = job(f"{base}/p?q=%7Ea#part", metadata={"a": [1, 2]}, parser="mine", id="one", run="r")
        page = page_of(await run(service, value))
    assert page.body == HTML
    headers = dict(page.record.headers)
    assert headers[HEADER_ORIGINAL] == value
    state = decoder(JobState).decode(headers[HEADER_JOB])
    assert (state.run, state.id) == ("r", "one")
    assert page.record.site == state.site == base.removeprefix("http://")
    meta = page.meta
    assert meta.url == meta.final_url == f"{base}/p?q=%7Ea"
    assert (meta.status, meta.length, meta.body_hash) == (200, len(HTML), body_hash(HTML))
    assert (meta.content_type, meta.charset) == ("text/html; charset=ISO-8859-1", "iso-8859-1")
    assert (meta.parser, bytes(meta.metadata)) == ("mine", b'{"a":[1,2]}')
    assert meta.headers["Last-Modified"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert "secret" not in str(page.record.headers)
    assert "X-Odd" not in meta.headers


async def test_the_jobs_request_is_sent_as_it_says() -> None:
    """Method, headers, cookies and body are the job's; the connection's own headers are ours."""
    async with site(echo) as base, fetcher() as service:
        value = job(
            f"{base}/p?b=2&a=1",
            method="post",
            body="näme=1",
            headers={
                "X-One": "1",
                "user-agent": "Mine/2",
                "Cookie": "a=1; b=2",
                "Accept-Encoding": "compress",
                "Host": "evil.example",
                "Connection": "upgrade",
                "Transfer-Encoding": "chunked",
                "Content-Length": "1",
                "Proxy-Authorization": "x",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        asked = msgspec.json.decode(page_of(await run(service, value)).body)
        plain = msgspec.json.decode(
            page_of(await run(service, job(f"{base}/p", method="PUT", body="x"))).body
        )
    headers = {name.lower(): text for name, text in asked["headers"]}
    assert (asked["method"], asked["path"], asked["body"]) == ("POST", "/p?b=2&a=1", "näme=1")
    assert headers["x-one"] == "1"
    assert headers["user-agent"] == "Mine/2"
    assert headers["cookie"] == "a=1; b=2"
    assert headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert headers["host"] == base.removeprefix("http://")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["content-length"] == "7"
    assert not {"proxy-authorization", "transfer-encoding", "connection"} & set(headers)
    assert dict(plain["headers"])["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_bare_url_asks_with_the_default_identity() -> None:
    """The user agent is the setting's, and user and password of the URL become a header, never a URL."""
    async with site(echo) as base, fetcher(user_agent="Tide/9 (+me@example.org)") as service:
        page = page_of(await run(service, base.replace("http://", "http://ann:s3cret@") + "/x"))
        asked = dict(msgspec.json.decode(page.body)["headers"])
    assert asked["User-Agent"] == "Tide/9 (+me@example.org)"
    assert asked["Authorization"] == "Basic YW5uOnMzY3JldA=="
    assert "s3cret" not in page.meta.url + page.meta.final_url
    assert page.record.site == base.removeprefix("http://")


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (302, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
async def test_redirects_change_the_method_as_browsers_do(status: int, method: str, then: str) -> None:
    """301 and 302 turn POST into GET, 303 anything but HEAD, 307 and 308 nothing."""
    seen: list[tuple[str, str, bytes]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, await request.read()))
        if request.path == "/a":
            return web.Response(status=status, headers={"Location": "/b"}, body=b"moved")
        return web.Response(text="here")

    async with site(handle) as base, fetcher() as service:
        page = page_of(await run(service, job(f"{base}/a", method=method, body="x")))
    assert page.meta.final_url == f"{base}/b"
    assert page.meta.url == f"{base}/a"
    assert seen[1][:2] == (then, "/b")
    assert (seen[1][2] == b"x") is (then == method != "HEAD" and status != 303) or method == "HEAD"


async def test_secrets_do_not_follow_a_redirect_to_another_origin() -> None:
    """Authorization and cookies of the job stay with its host; other headers go along."""
    async with site(echo, host="127.0.0.2") as other:

        async def away(request: web.Request) -> web.Response:
            if request.path == "/again":
                return await echo(request)
            target = "/again" if request.path == "/same" else f"{other}/there"
            return web.Response(status=302, headers={"Location": target, "Set-Cookie": "s=1; Path=/"})

        async with site(away) as base, fetcher() as service:
            headers = {"Authorization": "Bearer x", "Cookie": "mine=1", "X-One": "1"}
            gone = page_of(await run(service, job(f"{base}/a", headers=headers)))
            same = page_of(await run(service, job(f"{base}/same", headers=headers)))
    asked = dict(msgspec.json.decode(gone.body)["headers"])
    assert "Authorization" not in asked
    assert "Cookie" not in asked
    assert asked["X-One"] == "1"
    assert gone.record.site == base.removeprefix("http://")
    stayed = dict(msgspec.json.decode(same.body)["headers"])
    assert stayed["Authorization"] == "Bearer x"
    assert stayed["Cookie"] == "mine=1; s=1"


async def test_redirects_end() -> None:
    """A loop is a dead letter; as many hops as allowed are not."""

    async def handle(request: web.Request) -> web.Response:
        left = int(request.query["n"])
        if left == 0:
            return web.Response(text="here")
        return web.Response(status=302, headers={"Location": f"/?n={left - 1}"})

    async with site(handle) as base, fetcher(max_redirects=3) as service:
        assert page_of(await run(service, f"{base}/?n=3")).body == b"here"
        outcome = dead(await run(service, f"{base}/?n=4"))
    assert (outcome.reason, outcome.error_class) == (Reason.TOO_MANY_REDIRECTS, ErrorClass.REFUSED)
    assert outcome.last_status == 302


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", Reason.SCHEME_NOT_ALLOWED),
        ("javascript:alert(1)", Reason.SCHEME_NOT_ALLOWED),
        ("http://169.254.169.254/latest/meta-data/", Reason.ADDRESS_REFUSED),
        ("http://[::ffff:127.0.0.1]/", Reason.ADDRESS_REFUSED),
        ("http://2852039166/", Reason.ADDRESS_REFUSED),
    ],
)
async def test_a_redirect_to_what_is_refused_is_refused(location: str, reason: Reason) -> None:
    """Every hop's scheme and address are judged."""
    answer = web.Response(status=302, headers={"Location": location})
    async with site(routed({"/": answer})) as base, fetcher() as service:
        assert dead(await run(service, base)).reason is reason


async def test_a_redirect_without_a_target_is_a_page() -> None:
    """3xx that leads nowhere is an answer like any other."""
    routes = {
        "/300": web.Response(status=300, text="choose"),
        "/302": web.Response(status=302, text="hm"),
        "/303": web.Response(status=303, text="hm", headers={"Location": "http://[]@/"}),
        "/304": web.Response(status=304),
    }
    async with site(routed(routes)) as base, fetcher() as service:
        for path in routes:
            assert page_of(await run(service, base + path)).meta.status == int(path[1:])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.1:{port}/",
        "http://0x7f000001:{port}/",
        "http://2130706433:{port}/",
        "http://017700000001:{port}/",
        "http://0.0.0.0:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::1]:{port}/",
    ],
)
async def test_private_addresses_are_refused_however_they_are_spelt(url: str) -> None:
    """The final address of the connect is judged, so no notation and no name gets round it."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="inside")

    async with site(handle) as base:
        port = int(base.rpartition(":")[2])
        async with fetcher(allow_private=False, allowed_ports=(port,)) as service:
            outcome = dead(await run(service, url.format(port=port)))
    assert outcome.reason is Reason.ADDRESS_REFUSED
    assert "not connected to" in outcome.message
    assert not asked


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_a_host_that_no_name_can_be_is_refused(host: str) -> None:
    """As a job and as a redirect: no try will help, and nothing of ours has failed."""
    away = web.Response(status=302, headers={"Location": f"http://{host}/"})
    async with site(routed({"/": away})) as base, fetcher() as service:
        for url in (f"http://{host}/", base):
            assert dead(await run(service, url)).reason is Reason.NOT_A_URL


async def test_ports_are_refused_unless_listed() -> None:
    """Without allow_private only the listed ports are fetched from."""
    async with fetcher(allow_private=False) as service:
        assert dead(await run(service, "http://example.org:6379/")).reason is Reason.NOT_ALLOWED


async def test_a_name_with_a_private_address_among_public_ones_is_not_a_way_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a name's addresses only the public ones are connected to."""
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        name = "127.0.0.1" if host == "rebound.example" else host
        return real(name, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with site(echo) as base:
        port = int(base.rpartition(":")[2])
        async with fetcher(allow_private=False, allowed_ports=(port,)) as service:
            outcome = await run(service, f"http://rebound.example:{port}/")
    assert dead(outcome).reason is Reason.ADDRESS_REFUSED


@pytest.mark.parametrize(
    ("status", "headers", "error_class", "after_s"),
    [
        (403, {}, ErrorClass.BLOCKED, None),
        (429, {"Retry-After": "120"}, ErrorClass.RATE_LIMITED, 120.0),
        (500, {}, ErrorClass.SERVER_ERROR, None),
        (503, {"Retry-After": "5"}, ErrorClass.SERVER_ERROR, 5.0),
    ],
)
async def test_failures_are_retried_by_their_class(
    status: int, headers: dict[str, str], error_class: ErrorClass, after_s: float | None
) -> None:
    """The job's own cap travels with the retry."""
    answer = web.Response(status=status, headers=headers)
    async with site(routed({"/": answer})) as base, fetcher() as service:
        outcome = retry(await run(service, job(base, max_retries=7)))
    assert (outcome.error_class, outcome.after_s, outcome.max_retries) == (error_class, after_s, 7)
    assert outcome.last_status == status


async def test_other_statuses_are_pages() -> None:
    """A 404 is an answer, with its body and status."""
    async with site(routed({})) as base, fetcher() as service:
        page = page_of(await run(service, f"{base}/none"))
    assert (page.meta.status, page.body) == (404, b"nothing here")


async def streamed(
    request: web.Request, body: bytes, times: int, headers: dict[str, str]
) -> web.StreamResponse:
    """Send a body in pieces, without a length."""
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    for _ in range(times):
        await response.write(body)
    await response.write_eof()
    return response


async def test_bodies_are_decoded_and_bounded() -> None:
    """Sizes are counted on the wire and decoded; the limit is a dead letter with a reason."""
    limit = 200_000
    bomb = gzip.compress(bytes(limit * 100))

    async def big(request: web.Request) -> web.StreamResponse:
        return await streamed(request, b"x" * 50_000, 5, {})

    async def fits(request: web.Request) -> web.StreamResponse:
        return await streamed(request, b"x" * 50_000, 4, {})

    routes: dict[str, web.Response | Handler] = {
        "/gzip": web.Response(body=gzip.compress(HTML), headers={"Content-Encoding": "gzip", **HTML_TYPE}),
        "/bomb": web.Response(body=bomb, headers={"Content-Encoding": "gzip", **HTML_TYPE}),
        "/nested": web.Response(body=gzip.compress(bomb), headers={"Content-Encoding": "gzip, gzip"}),
        "/declared": web.Response(body=bytes(limit + 1)),
        "/big": big,
        "/fits": fits,
        "/broken": web.Response(body=b"no", headers={"Content-Encoding": "gzip"}),
    }
    async with site(routed(routes)) as base, fetcher(max_body_bytes=limit) as service:
        assert page_of(await run(service, f"{base}/gzip")).body == HTML
        assert len(page_of(await run(service, f"{base}/fits")).body) == limit
        for path in ("/bomb", "/nested", "/declared", "/big"):
            outcome = dead(await run(service, base + path))
            assert outcome.reason is Reason.BODY_TOO_LARGE, path
            assert outcome.last_status == 200
        assert retry(await run(service, f"{base}/broken")).error_class is ErrorClass.NETWORK


async def test_large_bodies_take_turns() -> None:
    """No more bodies above a megabyte are read at once than the setting says, and all arrive."""

    async def big(request: web.Request) -> web.StreamResponse:
        return await streamed(request, b"x" * 100_000, 20, {})

    async with site(big) as base, fetcher(large_bodies=1) as service:
        pages = await asyncio.gather(*(run(service, f"{base}/{i}") for i in range(6)))
    assert [len(page_of(page).body) for page in pages] == [2_000_000] * 6


async def test_a_page_may_be_empty() -> None:
    """204, HEAD and a body of nothing are pages."""
    routes = {"/204": web.Response(status=204), "/0": web.Response()}
    async with site(routed(routes)) as base, fetcher() as service:
        assert page_of(await run(service, f"{base}/204")).body == b""
        assert page_of(await run(service, f"{base}/0")).meta.length == 0
        assert page_of(await run(service, job(f"{base}/0", method="HEAD"))).body == b""


async def test_headers_that_are_no_utf_8_do_not_cost_the_page() -> None:
    """Old servers write Latin-1; a record holds it as text, and a cookie travels with a challenge."""
    headers = (
        b"HTTP/1.1 200 OK\r\nServer: caf\xe9\r\nSet-Cookie: a=caf\xe9\r\nContent-Type: text/html; n=\xe9\r\n"
    )
    for body in (b"<p>hello", GATE):
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        server = await raw_server(headers + length + body)
        port = server.sockets[0].getsockname()[1]
        async with server, fetcher(solve_hosts=("127.0.0.1",)) as service:
            outcome = await run(service, f"http://127.0.0.1:{port}/")
        if body == GATE:
            assert [cookie.value for cookie in request_of(outcome).identity.cookies] == ["caf\xe9"]
        else:
            assert page_of(outcome).meta.headers["Server"] == "caf\xe9"
            assert page_of(outcome).meta.content_type == "text/html; n=\xe9"


async def test_a_redirect_keeps_bytes_that_are_no_utf_8() -> None:
    """They are escaped as they came: left out, they would lead elsewhere."""
    asked: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        first = len(asked) == 1
        status = b"302 Found\r\nLocation: /caf\xe9%20" if first else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, fetcher() as service:
        page_of(await run(service, f"http://127.0.0.1:{port}/"))
    assert asked == ["/", "/caf%E9%20"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
    ],
)
async def test_broken_servers_are_network_failures(answer: bytes, says: str) -> None:
    """Half pages are never stored; the sentence says what happened."""
    server = await raw_server(answer)
    port = server.sockets[0].getsockname()[1]
    async with server, fetcher() as service:
        outcome = retry(await run(service, f"http://127.0.0.1:{port}/?token=secret"))
    assert outcome.error_class is ErrorClass.NETWORK
    assert says in outcome.message
    assert "secret" not in outcome.message


async def test_slow_servers_are_given_up() -> None:
    """Silence, and dripping for longer than the total allows, both end."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.05)  # noqa: TID251 -- a slow server

    silent = await raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", close=False)
    port = silent.sockets[0].getsockname()[1]
    # The other time-out is far away each time, or a busy machine would decide which comes first.
    async with silent, fetcher(read_timeout_s=0.2, total_timeout_s=50) as service:
        outcome = retry(await run(service, f"http://127.0.0.1:{port}/"))
        assert outcome.message == "The site fell silent."
    async with site(drip) as base, fetcher(read_timeout_s=30, total_timeout_s=0.6) as service:
        outcome = retry(await run(service, base))
        assert outcome.message == "The site took longer than 0.6 s."


async def test_a_fetcher_that_stood_still_does_not_blame_the_site() -> None:
    """M4: no attempt, and the same hop, or the copy of whoever took over buys a solve of its own."""
    clock = ManualClock()

    async def stopped(request: web.Request) -> web.Response:
        clock.advance(13.0)
        return await asyncio.Future()

    async with site(stopped) as base, fetcher(clock=clock, read_timeout_s=0.2) as service:
        work = decoded(service, base, timestamp_ms=clock.wall_ms())
        outcome = await service.handle(work)
    assert isinstance(outcome, Defer), outcome
    assert outcome.state in (None, work.job.state)


async def test_what_cannot_be_reached_is_a_network_failure() -> None:
    """Refused connections and unknown names are retried."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        async with fetcher() as service:
            assert retry(await run(service, f"http://127.0.0.1:{port}/")).error_class is ErrorClass.NETWORK
            outcome = retry(await run(service, "http://no-such-name.invalid/"))
    assert outcome.message == "The site's name cannot be resolved."


async def test_the_deadline_counts_from_the_brokers_time() -> None:
    """T1: a job older than its deadline is dead, whoever handles it, and nothing is asked."""
    clock = ManualClock()
    async with fetcher(clock=clock) as service:
        value = job("http://127.0.0.1:9/", deadline=60)
        old = inbound(value, timestamp_ms=clock.wall_ms() - 61_000)
        outcome = dead(await service.handle(service.decode(old)))
    assert (outcome.reason, outcome.error_class) == (Reason.DEADLINE, ErrorClass.REFUSED)


async def test_a_job_on_the_wrong_partition_is_forwarded_once() -> None:
    """S1: same bytes, same lane, its site's key, its identity in the state; no attempt is counted."""
    url = "https://example.org/a"
    right = partition_of(b"example.org", 8)
    wrong = (right + 1) % 8
    async with fetcher(partitions=8) as service:
        work = decoded(service, url, partition=wrong)
        outcome = await service.handle(work)
        assert isinstance(outcome, Done)
        (record,) = outcome.outgoing
        assert (record.topic, record.site, record.value) == (Topic.URLS, "example.org", url.encode())
        state = decoder(JobState).decode(dict(record.headers)[HEADER_JOB])
        assert state == work.job.state
        assert state.attempts == {}
        # Even where it lands on a wrong partition again, it goes on from there.
        again = decoded(service, url, partition=wrong, headers={HEADER_JOB: encode(state)})
        assert forwarded(again, 8) is None
        assert again.job.state.id == state.id


async def test_a_priority_leads_to_its_lane() -> None:
    """A job on another lane than it asks for is forwarded to its own."""
    async with fetcher(partitions=1) as service:
        outcome = await run(
            service, job("https://example.org/", priority="high", id="x"), topic=Topic.URLS_LOW
        )
        assert isinstance(outcome, Done)
        assert [record.topic for record in outcome.outgoing] == [Topic.URLS_HIGH]


async def test_a_site_has_so_many_requests_at_once() -> None:
    """The limit holds, and every job arrives."""
    now = most = 0
    met = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            met.set()
        await met.wait()
        await asyncio.sleep(0.01)  # noqa: TID251 -- room for one too many
        now -= 1
        return web.Response(text="x")

    async with site(slow) as base, fetcher(site_concurrency=3) as service:
        outcomes = await asyncio.gather(*(run(service, f"{base}/{i}") for i in range(30)))
    assert all(page_of(outcome).body == b"x" for outcome in outcomes)
    assert most == 3


async def test_a_site_that_hangs_defers_its_jobs() -> None:
    """T3: with a site's slots held, a job does not wait in the window but comes back at a slot."""
    there, hold = asyncio.Event(), asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        there.set()
        await hold.wait()
        return web.Response(text="x")

    async with site(hang) as base, fetcher(site_concurrency=1, site_wait_s=0.02) as service:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(run(service, f"{base}/0"))
            await there.wait()
            outcome = await run(service, f"{base}/1")
            hold.set()
        assert page_of(first.result()).body == b"x"
    assert isinstance(outcome, Defer)
    assert outcome.delay_s > 0


async def test_a_challenge_where_solving_is_not_allowed_is_dead() -> None:
    """Nothing is spent where nobody said so; the message has the setting."""
    answer = web.Response(status=403, body=GATE, headers=HTML_TYPE)
    async with site(routed({"/p": answer})) as base, fetcher() as service:
        outcome = dead(await run(service, f"{base}/p"))
    assert outcome.reason is Reason.SOLVE_NOT_ALLOWED
    assert f"TIDEGATE_FETCHER__SOLVE_HOSTS={base.removeprefix('http://')}" in outcome.message
    assert outcome.last_status == 403


async def test_a_challenge_becomes_a_request_with_the_whole_job() -> None:
    """C1: original bytes, state, identity and form; route and cost are the job's; hop as it was (M4)."""
    answer = web.Response(status=403, body=GATE, headers={"Set-Cookie": "sid=1; Path=/", **HTML_TYPE})
    async with site(routed({"/p": answer})) as base, fetcher(solve_hosts=("127.0.0.1",)) as service:
        value = job(f"{base}/p", id="x", route="reliable", max_solve_cost=0.01, deadline=100)
        outcome = await run(service, value)
        redone = await run(service, value)
    request = request_of(outcome)
    assert request.request_id == request_of(redone).request_id
    assert (request.original, request.route, request.max_cost) == (value, "reliable", 0.01)
    assert (request.state.hop, request.state.attempts) == (0, {"challenge": 1})
    assert 95 < request.lifetime_s <= 100
    assert request.challenge.params == {"sitekey": "6Lc-1"}
    assert request.challenge.form is not None
    assert request.challenge.form.action == f"{base}/v"
    assert [(c.name, c.value) for c in request.identity.cookies] == [("sid", "1")]


async def test_events_hold_no_query_and_no_credentials() -> None:
    """One event a job, with what a person needs and nothing that must not be logged."""
    events: list[Event] = []
    async with site(routed({"/p": web.Response(text="x")})) as base, fetcher(events=events) as service:
        url = base.replace("//", "//ann:s3cret@") + "/p?token=s3cret"
        await run(service, job(url, id="j", prioriti=1))
        await run(service, job(url, id="j", prioriti=1))
    first = next(event for event in events if isinstance(event, FetchDone))
    assert (first.place, first.outcome, first.status) == (f"{base}/p", "page", 200)
    assert "s3cret" not in str(events)
    assert [event for event in events if isinstance(event, UnknownFieldIgnored)] == [
        UnknownFieldIgnored(field="prioriti", example_id="j")
    ]


async def test_a_page_header_stays_small() -> None:
    """Stored response headers are cut; a header of a site cannot blow up a record."""
    answer = web.Response(text="x", headers={"Link": "y" * 20_000, "ETag": "z"})
    async with site(routed({"/": answer})) as base, fetcher() as service:
        page = page_of(await run(service, base))
    assert len(dict(page.record.headers)[HEADER_PAGE]) < 3000
    assert page.meta.headers["ETag"] == "z"

"""The demo site as a process, met by a visitor that shares no code with Tidegate's fetcher."""

import gzip
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from support.demo_processes import get_json, post_json, process
from support.demo_visitor import Visitor

KINDS = ("recaptcha_v2", "hcaptcha", "turnstile")


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """A running simulator's URL."""
    with process("tidegate_cli.simulator", "--latency-ms", "10") as url:
        yield url


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for rendered pages that the sites of this file share."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def site(simulator: str, cache: Path) -> Iterator[str]:
    """A running demo site's URL."""
    with process("tidegate_cli.demo_site", "--simulator", simulator, "--cache", str(cache)) as url:
        yield url


@pytest.fixture
def visitor(site: str, simulator: str) -> Visitor:
    """A visitor without cookies."""
    return Visitor(site, simulator)


def _pages(site: str, **wanted: Any) -> list[str]:
    rows = get_json(f"{site}/manifest.json")["pages"]
    return [row["path"] for row in rows if all(row[name] == value for name, value in wanted.items())]


def _row(site: str, path: str) -> dict[str, Any]:
    (row,) = (row for row in get_json(f"{site}/manifest.json")["pages"] if row["path"] == path)
    return dict(row)


def test_the_site_lists_hundreds_of_urls_on_the_host_asked(site: str) -> None:
    """400 documents and the listed extras, each once, absolute."""
    with urlopen(f"{site}/urls.txt", timeout=60) as response:
        urls = response.read().decode().splitlines()
    assert (
        len(urls)
        == len(set(urls))
        == 400 + len([p for p in _pages(site, listed=True) if "/doc/" not in p]) + 1
    )
    assert all(url.startswith(f"{site}/") for url in urls)


def test_a_page_is_real_linked_documentation(visitor: Visitor) -> None:
    """Its title, its text, and links that lead to other pages of the site."""
    (path,) = [path for path in _pages(visitor.base, protected=None) if path == "/doc/json.decoder.html"] or [
        "/doc/string.html"
    ]
    reply = visitor.get(path)
    text = reply.body.decode()
    assert reply.status == 200
    assert f"<title>Python: module {path[5:-5]}</title>" in text
    linked = set(re.findall(r'href="([a-z.]+\.html)"', text))
    assert linked
    assert all(visitor.get(f"/doc/{name}").status in (200, 403) for name in list(linked)[:3])


def test_nothing_of_the_machine_shows_in_a_page(site: str, simulator: str) -> None:
    """No address in memory, no folder of this machine, no variable of the environment; whoever renders it."""
    with process("tidegate_cli.demo_site", "--simulator", simulator) as other:
        for name in ("os", "configparser", "ctypes", "time"):
            bodies = []
            for base in (site, other):
                visitor = Visitor(base, simulator)
                reply = visitor.get(f"/doc/{name}.html")
                if reply.status != 200 or b"<title>Python: " not in reply.body:
                    reply = visitor.submit(
                        form := visitor.form(f"/doc/{name}.html", reply),
                        visitor.solve(f"/doc/{name}.html", form),
                    )
                bodies.append(reply.body)
            assert bodies[0] == bodies[1], name
            assert not re.search(rb"0x[0-9a-f]{9,}|/home/|/root/|VIRTUAL_ENV|PYTEST", bodies[0]), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("redirects", [False, True])
@pytest.mark.parametrize("status", [200, 403])
def test_a_protected_page_opens_for_a_token_once(
    visitor: Visitor, kind: str, status: int, redirects: bool
) -> None:
    """Challenge, token, page; the same form and token again: challenge; the page again: challenge."""
    path = _pages(visitor.base, protected=kind, challenge_status=status, redirects=redirects)[0]
    challenge = visitor.get(path)
    assert challenge.status == status
    form = visitor.form(path, challenge)
    token = visitor.solve(path, form)
    reply = visitor.submit(form, token)
    if redirects:
        assert (reply.status, reply.headers["Location"]) == (303, path)
        reply = visitor.get(path)
    assert reply.status == 200
    assert b"<title>Python: " in reply.body
    row = _row(visitor.base, path)
    assert row["sha256"] == hashlib.sha256(reply.body).hexdigest()
    assert b"<title>Python: " not in visitor.submit(form, token).body
    assert b"<title>Python: " not in visitor.get(path).body


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_good_token_a_protected_page_stays_shut(visitor: Visitor, kind: str) -> None:
    """No token, a made-up one, a used one, one for another site's host: each time a fresh challenge."""
    path, other = _pages(visitor.base, protected=kind, challenge_status=403, redirects=False)[4:6]
    used_form = visitor.form(other, visitor.get(other))
    used = visitor.solve(other, used_form)
    assert visitor.submit(used_form, used).status == 200
    elsewhere = visitor.solve("http://elsewhere.test/", used_form)
    nonces = set()
    for token in ("", "03AFcWeA" + "x" * 400, used, elsewhere):
        form = visitor.form(path, visitor.get(path))
        refused = visitor.submit(form, token)
        assert refused.status == 403
        nonces.add(tuple(visitor.form(path, refused).fields.values()))
    assert len(nonces) == 4
    assert _row(visitor.base, path)["sha256"] is None


@pytest.mark.parametrize("broken", ["nonce", "state", "session", "page"])
def test_a_form_that_was_tampered_with_is_refused_before_the_token_is_spent(
    visitor: Visitor, broken: str
) -> None:
    """The nonce is bound to the session, the page and the state; the token can still be used properly."""
    path, other = _pages(visitor.base, protected="recaptcha_v2", challenge_status=403, redirects=False)[2:4]
    form = visitor.form(path, visitor.get(path))
    token = visitor.solve(path, form)
    session = dict(visitor.cookies)
    if broken == "session":
        visitor.cookies.clear()
    fields = dict(form.fields)
    if broken != "session":
        name = {"nonce": "csrf_token", "state": "state", "page": "return_to"}[broken]
        fields[name] = other if broken == "page" else fields[name] + "x"
    refused = visitor.submit(form._replace(fields=fields), token)
    assert refused.status == 403
    visitor.cookies = session
    again = visitor.form(path, visitor.get(path))
    assert visitor.submit(again, token).status == 200


def test_pages_with_widgets_need_no_token(visitor: Visitor) -> None:
    """A contact form, a log-in and comments carry widgets; the pages are simply there."""
    for name, mark in (("contact", "g-recaptcha"), ("login", "h-captcha"), ("comments", "cf-turnstile")):
        reply = visitor.get(f"/extra/{name}.html")
        assert reply.status == 200
        assert f'class="{mark}"' in reply.body.decode()


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/extra/missing.html", [404, 404]),
        ("/extra/gone.html", [410]),
        ("/extra/flaky/2", [500, 500, 200, 200]),
        ("/extra/busy.html", [429, 200]),
        ("/extra/blocked.html", [403]),
        ("/extra/broken.html", [500, 500]),
        ("/doc/no.such.module.html", [404]),
        ("/nothing", [404]),
    ],
)
def test_extras_answer_as_they_should(visitor: Visitor, path: str, statuses: list[int]) -> None:
    """Missing, flaky, busy, blocked: status by status."""
    assert [visitor.get(path).status for _ in statuses] == statuses


def test_a_moved_an_empty_and_a_compressed_page(visitor: Visitor) -> None:
    """The manifest's hash is that of the page one arrives at, decompressed."""
    moved = visitor.get("/extra/moved.html")
    assert (moved.status, moved.headers["Location"]) == (302, "/extra/arrived.html")
    arrived = visitor.get("/extra/arrived.html").body
    assert _row(visitor.base, "/extra/moved.html")["sha256"] == hashlib.sha256(arrived).hexdigest()
    packed = visitor.get("/extra/gzip.html")
    assert packed.headers["Content-Encoding"] == "gzip"
    body = gzip.decompress(packed.body)
    assert _row(visitor.base, "/extra/gzip.html")["sha256"] == hashlib.sha256(body).hexdigest()
    assert visitor.get("/extra/empty.html").body == b""


def test_foreign_forms_and_methods_are_refused(visitor: Visitor) -> None:
    """A foreign form is a 400, a method that a page lacks a 405; HEAD is GET without a body."""
    assert visitor.request("POST", "/verify/recaptcha", {"a": "b"}).status == 400
    assert visitor.request("DELETE", "/extra/contact.html").status == 405
    head = visitor.request("HEAD", "/extra/contact.html")
    assert (head.status, head.body) == (200, b"")


def test_the_log_says_who_asked_for_what(site: str, simulator: str) -> None:
    """Requests by path and user agent, and what became of tokens."""
    before = get_json(f"{site}/log.json")
    visitor = Visitor(site, simulator, "counted/1")
    path = _pages(site, protected="hcaptcha", challenge_status=403, redirects=False)[2]
    form = visitor.form(path, visitor.get(path))
    visitor.submit(form, "nonsense")
    visitor.get("/extra/contact.html")
    after = get_json(f"{site}/log.json")
    assert after["user_agents"]["counted/1"] == 3
    assert after["paths"][path]["by"]["counted/1"] == 1
    assert after["tokens"]["refused"] == before["tokens"]["refused"] + 1
    assert after["max_concurrent"] >= 1


def test_the_vendor_being_down_is_a_503_not_a_pass(cache: Path, simulator: str) -> None:
    """Nobody gets in because nobody could be asked."""
    nowhere = "http://127.0.0.1:1"
    with process("tidegate_cli.demo_site", "--simulator", nowhere, "--cache", str(cache)) as site:
        visitor = Visitor(site, simulator)
        path = _pages(site, protected="turnstile")[0]
        form = visitor.form(path, visitor.get(path))
        reply = visitor.submit(form, visitor.solve(path, form))
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")


def test_grace_copies_and_delays_are_options(cache: Path, simulator: str) -> None:
    """A verified session views one more protected page; 10,000 pages are unique; delayed requests overlap."""
    options = ("--pages", "10000", "--grace", "1", "--delay-ms", "50", "--seed", "3", "--cache", str(cache))
    with process("tidegate_cli.demo_site", "--simulator", simulator, *options) as site:
        with urlopen(f"{site}/urls.txt", timeout=60) as response:
            assert len(set(response.read().split())) > 10_000
        visitor = Visitor(site, simulator)
        first, second, third = _pages(site, protected="turnstile", redirects=False, challenge_status=403)[:3]
        form = visitor.form(first, visitor.get(first))
        assert visitor.submit(form, visitor.solve(first, form)).status == 200
        assert [visitor.get(path).status for path in (second, third)] == [200, 403]
        copies = [path for path in _pages(site, protected=None) if path.startswith("/doc/abc.html")][:8]
        with ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(lambda path: Visitor(site, simulator).get(path).body, copies))
        assert len(set(bodies)) == len(copies) == 8
        assert get_json(f"{site}/log.json")["max_concurrent"] > 1


def test_the_simulator_counts_what_the_site_verified(visitor: Visitor, site: str, simulator: str) -> None:
    """Both sides agree on accepted tokens: what the site let in is what the vendor verified."""
    path = _pages(site, protected="turnstile", redirects=False)[0]
    form = visitor.form(path, visitor.get(path))
    visitor.submit(form, visitor.solve(path, form))
    verified = get_json(f"{simulator}/control/stats")["verified"]["accepted"]
    accepted = get_json(f"{site}/log.json")["tokens"]["accepted"]
    assert accepted > 0
    assert verified >= accepted
    assert urlsplit(site).hostname == "127.0.0.1"
    assert post_json(f"{simulator}/2captcha/getBalance", {"clientKey": "visitor"})["balance"] < 1_000

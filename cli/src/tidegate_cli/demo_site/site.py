"""One request to the demo site: the page, a challenge in front of it, or the answer to a challenge."""

import contextlib
from collections import Counter
from collections.abc import Container, Mapping
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp import web
from tidegate.challenge_kinds import FACTS
from tidegate.clock import Clock
from tidegate.records import ChallengeKind

from tidegate_cli.demo_site.catalog import Catalog, Page, Protection
from tidegate_cli.demo_site.challenges import CLEARANCES, LAYOUTS, ChallengePages, token_of
from tidegate_cli.demo_site.clearances import Clearances
from tidegate_cli.demo_site.documents import Bodies
from tidegate_cli.demo_site.extras import HTML, Extra
from tidegate_cli.demo_site.gate import Gate
from tidegate_cli.demo_site.inventory import Inventory
from tidegate_cli.demo_site.pictures import Pictures
from tidegate_cli.demo_site.tally import Tally
from tidegate_cli.demo_site.verification import VerificationDownError, Verifier

SESSION = "demo_session"
PASS = "demo_pass"  # noqa: S105 -- the name of a cookie
_PAGE = {"Content-Type": HTML, "Cache-Control": "private, max-age=0"}
_CHALLENGE = {"Content-Type": HTML, "Cache-Control": "no-store"}
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_PICTURES = "/captcha/"
_NOT_FOUND = b"<!DOCTYPE html>\n<title>Not found</title>\n<h1>Not found</h1>\n"
_FIXED = {
    "/ping": (b'{"ok":true}', _JSON),
    "/robots.txt": (b"User-agent: *\nAllow: /\n", _TEXT),
    "/static/site.css": (
        b"body { font-family: sans-serif; max-width: 60rem; margin: 0 auto; }\n",
        {"Content-Type": "text/css"},
    ),
}


class Site:
    """Answers requests. Pages in memory are answered without waiting for anything."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        extras: Mapping[str, Extra],
        documents: Bodies,
        gate: Gate,
        challenges: ChallengePages,
        verifier: Verifier,
        clock: Clock,
        clearance_s: float | None = None,
        delay_s: float = 0.0,
        pictures: Pictures,
        unlisted: Container[str] = (),
    ) -> None:
        """``clearance_s`` is how long a clearance lasts; without it, as long as its kind's does."""
        self._catalog = catalog
        self._extras = extras
        self._documents = documents
        self._gate = gate
        self._challenges = challenges
        self._verifier = verifier
        self._clock = clock
        self._clearance_s = clearance_s
        self._clearances = Clearances()
        self._delay_s = delay_s
        self._pictures = pictures
        self._failures: Counter[str] = Counter()
        self._inventory = Inventory(catalog, extras, documents, unlisted=unlisted)
        self._tally = Tally()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it unless it is about the site itself."""
        path = request.raw_path
        about = self._about(request, path)
        if about is not None:
            return about
        label = path if request.method == "GET" else f"{request.method} {path}"
        self._tally.opened(label, request.headers.get("User-Agent", ""))
        try:
            if self._delay_s:
                await self._clock.sleep(self._delay_s)
            return await self._respond(request, path)
        finally:
            self._tally.closed()

    async def warm_up(self) -> None:
        """Render what is not rendered yet, in the order in which pages are listed."""
        with contextlib.suppress(OSError, TimeoutError):  # a request for the page will meet it again
            for page in self._catalog.pages.values():
                if self._documents.ready(page.module) is None:
                    await self._documents.body(page.module)

    def _about(self, request: web.BaseRequest, path: str) -> web.Response | None:
        if path in _FIXED:
            body, headers = _FIXED[path]
            return web.Response(body=body, headers=headers)
        if path == "/urls.txt":
            return web.Response(body=self._inventory.urls(_base(request)).encode(), headers=_TEXT)
        if path == "/manifest.json":
            return web.Response(body=msgspec.json.encode(self._inventory.manifest()), headers=_JSON)
        if path == "/log.json":
            return web.Response(body=msgspec.json.encode(self._tally.report()), headers=_JSON)
        return None

    async def _respond(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        page = self._catalog.find(path)
        extra = None if page is not None else self._extras.get(path)
        # A form's action may be relative, and pages of a folder stand at any depth.
        if request.method == "POST" and ("/verify/" in path or (page and page.protection)):
            return await self._answer(request)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if page is not None:
            return await self._view(request, page)
        if extra is not None:
            return self._extra(extra)
        if path.startswith(_PICTURES):
            return self._picture(request, path)
        return web.Response(status=404, body=_NOT_FOUND, headers=_PAGE)

    async def _view(self, request: web.BaseRequest, page: Page) -> web.Response:
        if page.protection is not None and page.protection.kind in CLEARANCES:
            return await self._view_cleared(request, page, page.protection.kind)
        if page.protection is not None:
            cookies = request.cookies
            if not self._gate.admits(page.path, cookies.get(SESSION), cookies.get(PASS)):
                return self._challenge(request, page)
        return await self._serve(page)

    async def _view_cleared(self, request: web.BaseRequest, page: Page, kind: ChallengeKind) -> web.Response:
        """Serve a page to whom the site has cleared; a cookie that it does not know goes to the vendor."""
        value = request.cookies.get(CLEARANCES[kind].cookie, "")
        address, agent = request.remote or "", request.headers.get("User-Agent", "")
        if value and not self._clearances.knows(value):
            try:
                error = await self._verifier.error_of(
                    kind, value, _host(request), address=address, agent=agent
                )
            except VerificationDownError:
                self._tally.refused("verification-down")
                return web.Response(status=503, headers={"Retry-After": "1"})
            if error:
                self._tally.refused(error)
            else:
                self._tally.accepted(kind)
                life_s = FACTS[kind].answer_life_s if self._clearance_s is None else self._clearance_s
                until = self._clock.monotonic() + life_s
                self._clearances.clear(value, address=address, agent=agent, until=until)
        now = self._clock.monotonic()
        if value and self._clearances.admits(value, address=address, agent=agent, now=now):
            return await self._serve(page)
        return self._challenge(request, page)

    async def _serve(self, page: Page) -> web.Response:
        document = self._documents.ready(page.module)
        if document is None:
            try:
                document = await self._documents.body(page.module)
            except (OSError, TimeoutError):
                return web.Response(status=503, headers={"Retry-After": "1"})
        self._inventory.served(page.path)
        return web.Response(body=page.body(document), headers=_PAGE)

    def _extra(self, extra: Extra) -> web.Response:
        if self._failures[extra.path] < extra.failures:
            self._failures[extra.path] += 1
            return web.Response(status=extra.failure_status, headers=extra.failure_headers)
        self._inventory.served(extra.path)
        return web.Response(status=extra.status, body=extra.sent, headers=extra.headers)

    def _picture(self, request: web.BaseRequest, path: str) -> web.Response:
        """Show a picture to whom it is for, as long as its challenge may be answered."""
        nonce = path.removeprefix(_PICTURES).removesuffix(".png")
        if not self._gate.awaits(nonce, request.cookies.get(SESSION)):
            return web.Response(status=404, body=_NOT_FOUND, headers=_PAGE)
        headers = {"Content-Type": "image/png", "Cache-Control": "no-store"}
        return web.Response(body=self._pictures.png(nonce), headers=headers)

    def _challenge(self, request: web.BaseRequest, page: Page) -> web.Response:
        if page.protection is None:
            raise ValueError(f"{page.path} is not protected")
        session = request.cookies.get(SESSION)
        issued = self._gate.challenge(page.path, session, self._clock.monotonic())
        self._tally.challenged(page.protection.kind)
        response = web.Response(
            status=page.protection.status,
            body=self._challenges.render(page.protection.look, page.path, _host(request), issued),
            headers=_CHALLENGE | _headers_of(page.protection),
        )
        if issued.session != session:
            response.set_cookie(SESSION, issued.session, httponly=True, samesite="Lax")
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        fields = dict(parse_qsl((await request.read()).decode(errors="replace"), keep_blank_values=True))
        page = self._page_of(fields)
        if page is None or page.protection is None:
            self._tally.refused("bad-form")
            return web.Response(status=400, body=b"This form is not one of this site's.", headers=_TEXT)
        layout = LAYOUTS[page.protection.kind]
        session = request.cookies.get(SESSION)
        nonce, state = fields.get(layout.nonce_field, ""), fields.get(layout.state_field, "")
        if not self._gate.answered(nonce, session, page.path, state, self._clock.monotonic()):
            self._tally.refused("bad-form")
            return self._challenge(request, page)
        try:
            error = await self._error_of(page.protection, nonce, fields, _host(request))
        except VerificationDownError:
            self._tally.refused("verification-down")
            return web.Response(status=503, headers={"Retry-After": "1"})
        if error:
            self._tally.refused(error)
            return self._challenge(request, page)
        self._tally.accepted(page.protection.kind)
        self._gate.verified(session or "")
        if not page.protection.redirects:
            return await self._serve(page)
        response = web.Response(status=303, headers={"Location": page.path})
        response.set_cookie(PASS, self._gate.new_pass(page.path), httponly=True, samesite="Lax")
        return response

    async def _error_of(
        self, protection: Protection, nonce: str, fields: Mapping[str, str], host: str
    ) -> str:
        token = token_of(protection.kind, fields)
        if protection.kind is ChallengeKind.IMAGE:  # the site's own, no vendor knows it
            return "" if self._pictures.is_text(nonce, token) else "wrong-text"
        return await self._verifier.error_of(protection.look, token, host)

    def _page_of(self, fields: Mapping[str, str]) -> Page | None:
        for kind, layout in LAYOUTS.items():
            page = self._catalog.find(fields.get(layout.path_field, ""))
            if page is not None and page.protection is not None and page.protection.kind is kind:
                return page
        return None


def _headers_of(protection: Protection) -> dict[str, str]:
    clearance = CLEARANCES.get(protection.kind)
    return {} if clearance is None else dict(clearance.headers[protection.status])


def _host(request: web.BaseRequest) -> str:
    try:
        return urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return ""


def _base(request: web.BaseRequest) -> str:
    return f"http://{request.host}"

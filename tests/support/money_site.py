"""A site whose every page is behind a Turnstile, at several addresses; a page for each path.

Every job has a page of its own, so that the solving service's charges, which name pages, name jobs. Any
token opens a page once: what is proved here is about money.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

_HTML = {"Content-Type": "text/html; charset=utf-8"}
_CHALLENGE = """<!doctype html><title>One moment</title>
<form action="{path}" method="post">
<div class="cf-turnstile" data-sitekey="0x4AAAAAAAmoneymoney"></div>
<input type="hidden" name="seen" value="1"></form>
<script src="https://challenges.cloudflare.com/turnstile/v0/api.js"></script>"""


def body_of(path: str) -> bytes:
    """Return what the page of a path says."""
    return f"<!doctype html><title>{path}</title><p>{'You are past the gate. ' * 20}{path}</p>".encode()


async def _handle(request: web.Request) -> web.Response:
    if request.method == "POST" and (await request.post()).get("cf-turnstile-response"):
        return web.Response(body=body_of(request.path), headers=_HTML)
    return web.Response(status=403, text=_CHALLENGE.format(path=request.path), headers=_HTML)


@asynccontextmanager
async def money_site(addresses: int) -> AsyncIterator[Sequence[str]]:
    """Serve it; yield its addresses, each a site of its own."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", _handle)
    runner = web.AppRunner(application, shutdown_timeout=0.5)
    await runner.setup()
    try:
        for _ in range(addresses):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield [f"http://127.0.0.1:{address[1]}" for address in runner.addresses]
    finally:
        await runner.cleanup()

"""A site that can be mended, and an installed parser that can be: what replays are about."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

SECRET = "Bearer s3cr3t-of-the-job"
PAGE = "<title>Caf\xe9 {path}</title><p>text"

_PARSER = """
from pathlib import Path

def parse(body, page):
    if Path({broken!r}).exists():
        raise ValueError("broken")
    return {{"title": "by shop: " + page.content_type, "length": len(body)}}
"""


class Site:
    """Answers 503 to paths in ``broken``, 401 without the job's secret, and counts what it was asked."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.asked[request.path] += 1
        if request.path in self.broken:
            return web.Response(status=503)
        if request.headers.get("Authorization") != SECRET:
            return web.Response(status=401)
        page = PAGE.format(path=request.path).encode("latin-1")
        return web.Response(body=page, headers={"Content-Type": "text/html; charset=iso-8859-1"})


@asynccontextmanager
async def mendable_site() -> AsyncIterator[Site]:
    """Serve it on loopback."""
    site = Site()
    application = web.Application()
    application.router.add_get("/{path:.*}", site.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        server = web.TCPSite(runner, "127.0.0.1", 0)
        await server.start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield site
    finally:
        await runner.cleanup()


def install_parser(folder: Path, broken: Path) -> None:
    """Install the parser ``shop`` into a folder for PYTHONPATH; it raises while ``broken`` exists."""
    information = folder / "shop-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "shop.py").write_text(_PARSER.format(broken=str(broken)))
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[tidegate.parsers]\nshop = shop:parse\n")

"""The demo's own proxy: what passes, by which address, and what it refuses."""

import aiohttp
from aiohttp import web
from support.fetcher import site
from tidegate_cli.demo_site.forward_proxy import forward_proxy
from tidegate_cli.stack.ports import another_host


async def test_a_request_passes_as_it_is_by_the_proxys_own_address() -> None:
    """Method, body and cookies arrive, and the proxy's address; the answer comes back as it was sent."""
    host = another_host()

    async def told(request: web.Request) -> web.Response:
        assert request.headers["Cookie"] == "a=b"
        text = f"{request.method} {request.path_qs} {await request.text()} {request.remote}"
        return web.Response(status=403, text=text, headers={"Set-Cookie": "c=d"})

    async with site(told) as base, forward_proxy(host, 0) as port, aiohttp.ClientSession() as session:
        asked = session.post(
            f"{base}/x?y=1", data="body", headers={"Cookie": "a=b"}, proxy=f"http://{host}:{port}"
        )
        async with asked as answer:
            assert (answer.status, answer.headers["Set-Cookie"]) == (403, "c=d")
            assert await answer.text() == f"POST /x?y=1 body {host}"


async def test_it_leads_to_this_machine_only() -> None:
    """Neither other hosts nor tunnels; a site that is not there is a bad gateway."""
    host = another_host()
    async with forward_proxy(host, 0) as port, aiohttp.ClientSession() as session:
        for url, status in (
            ("http://192.0.2.1/", 403),
            ("http://site.example/", 403),
            (f"http://{host}:1/", 502),
        ):
            async with session.get(url, proxy=f"http://{host}:{port}") as answer:
                assert answer.status == status

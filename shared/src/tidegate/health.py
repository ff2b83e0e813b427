"""The little server that probes and Prometheus ask: /live, /ready and /metrics."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

# The loop turns ten times a second; a minute without a turn is a process that hangs.
LOOP_AGE_LIMIT_S = 60.0

Snapshot = Callable[[], Mapping[str, Any]]
Page = Callable[[], tuple[bytes, str]]


@asynccontextmanager
async def health_server(
    host: str,
    port: int,
    snapshot: Snapshot,
    *,
    loop_age_limit_s: float = LOOP_AGE_LIMIT_S,
    metrics: Page | None = None,
) -> AsyncIterator[None]:
    """Serve while the body runs; port 0 means no server.

    /live is 200 while the loop turns; /ready is 200 once the group has given us our share and its state
    is restored. Both answer with the snapshot as JSON. A loop that waits out a rebalance is no hanging
    one: ``loop_age_limit_s`` must be longer than a drain. ``metrics`` returns /metrics and its content type.
    """
    if port == 0:
        yield
        return

    def answer(state: Mapping[str, Any], *, good: bool) -> web.Response:
        return web.Response(
            status=200 if good else 503, body=msgspec.json.encode(state), content_type="application/json"
        )

    async def live(_: web.Request) -> web.Response:
        state = snapshot()
        return answer(state, good=float(state.get("loop_age_s", 0.0)) < loop_age_limit_s)

    async def ready(_: web.Request) -> web.Response:
        state = snapshot()
        return answer(state, good=bool(state.get("ready")))

    async def page(_: web.Request) -> web.Response:
        assert metrics is not None
        body, content_type = metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/live", live), web.get("/ready", ready)])
    if metrics is not None:
        app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()

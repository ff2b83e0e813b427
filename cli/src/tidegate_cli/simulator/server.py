"""The simulator on a socket: requests in, answers out; the delay and the reset connection happen here."""

import socket
import struct
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import parse_qsl

from aiohttp import web
from tidegate.clock import Clock

from tidegate_cli.simulator.answers import Asked
from tidegate_cli.simulator.desk import Desk

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
# SO_LINGER on with zero seconds: closing sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class SimulatorServer:
    """Turns HTTP requests into calls of a Desk."""

    def __init__(self, desk: Desk, clock: Clock, refuse_for: Callable[[float], None]) -> None:
        self._desk = desk
        self._clock = clock
        self._refuse_for = refuse_for

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        fields = dict(request.rel_url.query) if request.rel_url.raw_query_string else {}
        body = b""
        if request.content_type == _MULTIPART:
            fields |= await _parts(request)
        elif request.body_exists:
            body = await request.read()
            if request.content_type == _FORM:
                fields |= parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        asked = Asked(
            method=request.method, path=request.path, fields=fields, body=body, host=request.host or ""
        )
        answer = self._desk.answer(asked, self._clock.monotonic())
        if answer.delay_s:
            await self._clock.sleep(answer.delay_s)
        if answer.drop:
            _reset(request)
        if answer.outage_s:
            self._refuse_for(answer.outage_s)
        return web.Response(
            status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
        )


async def _parts(request: web.BaseRequest) -> dict[str, str]:
    """Return a multipart form's fields; a file becomes the field ``body`` in base64."""
    found = {}
    for name, value in (await request.post()).items():
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, web.FileField):
            found["body"] = b64encode(value.file.read()).decode()
    return found


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()

"""ClickHouse's HTTP interface: takes requests in, lets one statement run at a time, answers."""

import asyncio
import hmac
from collections.abc import Mapping
from http import HTTPStatus
from random import Random
from typing import ClassVar

import msgspec
from aiohttp import BodyPartReader, ClientError, web
from multidict import CIMultiDict
from tidegate.clock import Clock
from tidegate.events import Emit, Event

from tidegate_cli.clickhouse.encoding import encoder
from tidegate_cli.clickhouse.engine import Answer, Engine
from tidegate_cli.clickhouse.errors import Fault
from tidegate_cli.clickhouse.frames import decoder
from tidegate_cli.clickhouse.intake import Intake, Limits
from tidegate_cli.clickhouse.request import Call, is_foreign, read
from tidegate_cli.clickhouse.spool import Spool

_SEND_BYTES = 256 << 10
_LINE_BYTES = 1 << 20
_FIELD_BYTES = 1 << 20


class StatementFailed(Event, frozen=True, kw_only=True):
    """A statement ended in an error answer. The SQL and the rows are not told: they may be anybody's."""

    level: ClassVar[str] = "debug"
    code: int
    query_id: str


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """The one user that is let in; an empty name lets anybody in."""

    user: str = ""
    password: str = ""

    def check(self, call: Call) -> None:
        """Raise Fault 516 for anybody else."""
        if not self.user:
            return
        right = hmac.compare_digest(call.password.encode(), self.password.encode())
        if call.user != self.user or not right:
            raise Fault(
                516, f"{call.user}: Authentication failed: password is incorrect, or there is no such user"
            )


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """``requests`` may be in the house at once, arriving, waiting and running; the next one gets a 503.

    ``receive_s`` and ``send_s`` bound the time for a whole body and for a whole answer.
    """

    requests: int = 64
    receive_s: float = 300.0
    send_s: float = 600.0
    limits: Limits = Limits()


class Server:
    """The handlers. Everything is passed in; ``app`` is what aiohttp serves."""

    def __init__(
        self,
        engine: Engine,
        spool: Spool,
        *,
        clock: Clock,
        random: Random,
        emit: Emit,
        access: Access = Access(),  # noqa: B008 -- frozen
        bounds: Bounds = Bounds(),  # noqa: B008 -- frozen
    ) -> None:
        self._engine = engine
        self._spool = spool
        self._clock = clock
        self._random = random
        self._emit = emit
        self._access = access
        self._bounds = bounds
        self._present = 0
        self._stopping = False
        self._turn = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    def app(self) -> web.Application:
        """Return the application, for a runner made by ``runner``."""
        app = web.Application(client_max_size=self._bounds.limits.body_bytes)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        for path in ("/", "/query"):
            app.router.add_get(path, self._ask)
            app.router.add_post(path, self._ask)
        return app

    def runner(self, shutdown_s: float) -> web.AppRunner:
        """Return a runner set up for ClickHouse's clients.

        aiohttp must not decompress the bodies (it knows fewer encodings, and not all of them frame after
        frame), SQL may fill the URL, and idle connections stay open longer than any client keeps
        one: closing first makes clickhouse-connect send an insert a second time.
        """
        return web.AppRunner(
            self.app(),
            access_log=None,
            auto_decompress=False,
            handle_signals=False,
            keepalive_timeout=3600.0,
            max_field_size=_LINE_BYTES,
            max_line_size=_LINE_BYTES,
            read_bufsize=_SEND_BYTES,
            shutdown_timeout=shutdown_s,
        )

    async def drain(self) -> None:
        """Let no new request in and wait until none is in the house."""
        self._stopping = True
        await self._idle.wait()

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id") or request.headers.get("X-ClickHouse-Query-Id") or self._id()
        try:
            return await self._admit(request, query_id)
        except Fault as fault:
            self._emit(StatementFailed(code=fault.code, query_id=query_id))
            return self._refuse(fault, query_id)

    async def _admit(self, request: web.Request, query_id: str) -> web.StreamResponse:
        if request.method in ("GET", "HEAD") and not request.query.get("query"):
            return web.Response(text="Ok.\n")
        if is_foreign(request.headers):
            raise Fault(497, "Requests of web pages are not served")
        if self._stopping:
            raise Fault(236, "The server stops")
        if self._present >= self._bounds.requests:
            raise Fault(202, f"Too many simultaneous queries. Maximum: {self._bounds.requests}")
        self._present += 1
        self._idle.clear()
        try:
            return await self._serve(request, query_id)
        finally:
            self._present -= 1
            if not self._present:
                self._idle.set()

    async def _serve(self, request: web.Request, query_id: str) -> web.StreamResponse:
        fields: list[tuple[str, str]] = []
        multipart = request.content_type == "multipart/form-data"
        if multipart:
            fields = await self._form(request)
        call = read(request.method, [*request.query.items(), *fields], request.headers)
        self._access.check(call)
        declared = request.content_length or 0
        if declared > self._bounds.limits.body_bytes:
            raise Fault(307, f"The request's body is larger than {self._bounds.limits.body_bytes} bytes")
        began = self._clock.monotonic()
        encoding = request.headers.get("Content-Encoding", "")
        with Intake(call.sql, decoder(encoding), self._spool, self._bounds.limits) as intake:
            if not multipart:
                await self._receive(request, intake)
            statement = intake.finish()
            async with self._turn:
                if request.transport is None or request.transport.is_closing():
                    raise Fault(210, "The client is gone")
                answer = await self._engine.run(statement, call, intake.data)
        answer.elapsed_ns = answer.elapsed_ns or int((self._clock.monotonic() - began) * 1e9)
        with answer.body:
            return await self._send(request, call, answer, query_id)

    async def _receive(self, request: web.Request, intake: Intake) -> None:
        try:
            async with asyncio.timeout(self._bounds.receive_s):
                async for chunk in request.content.iter_any():
                    intake.feed(chunk)
        except TimeoutError as error:
            raise Fault(209, f"The body did not arrive within {self._bounds.receive_s:g} s") from error
        except (ClientError, web.RequestPayloadError, ConnectionError) as error:
            raise Fault(210, "The body broke off") from error

    async def _form(self, request: web.Request) -> list[tuple[str, str]]:
        """Read a form of text fields: the statement and its parameters, when they are too long for a URL."""
        fields: list[tuple[str, str]] = []
        left = _FIELD_BYTES
        async with asyncio.timeout(self._bounds.receive_s):
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader) or part.filename is not None:
                    raise Fault(48, "External tables are not supported here")
                value = bytearray()
                while chunk := await part.read_chunk():
                    value += chunk
                    left -= len(chunk)
                    if left < 0:
                        raise Fault(229, f"The form is larger than {_FIELD_BYTES} bytes")
                fields.append((part.name or "", value.decode()))
        return fields

    async def _send(
        self, request: web.Request, call: Call, answer: Answer, query_id: str
    ) -> web.StreamResponse:
        headers = self._headers(query_id)
        headers["X-ClickHouse-Summary"] = msgspec.json.encode(_summary(answer)).decode()
        headers["X-ClickHouse-Timezone"] = call.settings.get("session_timezone") or self._engine.timezone
        if answer.format is not None:
            headers["X-ClickHouse-Format"] = answer.format
            headers["Content-Type"] = _content_type(answer.format)
        body = answer.body
        if body.size <= _SEND_BYTES and not call.encoding:
            return web.Response(body=body.read(body.size), headers=headers)
        response = web.StreamResponse(headers=headers)
        packer = encoder(call.encoding) if call.encoding and body.size else None
        if packer:
            response.headers["Content-Encoding"] = call.encoding or ""
        else:
            response.content_length = body.size
        try:
            async with asyncio.timeout(self._bounds.send_s):
                await response.prepare(request)
                while chunk := body.read(_SEND_BYTES):
                    await response.write(packer.compress(chunk) if packer else chunk)
                if packer:
                    await response.write(packer.flush())
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # the client sees a broken answer, never a short one
        return response

    def _refuse(self, fault: Fault, query_id: str) -> web.Response:
        headers = self._headers(query_id)
        headers["X-ClickHouse-Exception-Code"] = str(fault.code)
        if fault.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = "1"
        text = fault.render(self._engine.version)
        return web.Response(status=fault.status, text=text, headers=headers)

    def _headers(self, query_id: str) -> CIMultiDict[str]:
        return CIMultiDict(
            {
                "X-ClickHouse-Query-Id": "".join(c for c in query_id if c.isprintable()),
                "X-ClickHouse-Server-Display-Name": "tidegate",
            }
        )

    def _id(self) -> str:
        bits = f"{self._random.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


def _summary(answer: Answer) -> Mapping[str, str]:
    return {
        "read_rows": str(answer.read_rows),
        "read_bytes": str(answer.read_bytes),
        "written_rows": str(answer.written_rows),
        "written_bytes": str(answer.written_bytes),
        "total_rows_to_read": "0",
        "result_rows": str(answer.result_rows),
        "result_bytes": str(answer.body.size),
        "elapsed_ns": str(answer.elapsed_ns),
    }


def _content_type(name: str) -> str:
    if name.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if name.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    if name.startswith("CSV"):
        return "text/csv; charset=UTF-8"
    return "application/octet-stream" if name in ("Native", "RowBinary", "Parquet", "Arrow") else "text/plain"

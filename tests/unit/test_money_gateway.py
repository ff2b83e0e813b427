"""The gateway of money campaigns names every purchase that a signal hit, also those that it reads later."""

import signal
from random import Random
from typing import Any, cast

import msgspec
import psutil
import pytest
from aiohttp import web
from support.money_gateway import Gateway, Shares

PAGE = "http://site/job/1"


class Order:
    """A createTask as the gateway reads it."""

    path = "/vendor/createTask"

    async def read(self) -> bytes:
        """Return its body."""
        return msgspec.json.encode({"task": {"websiteURL": PAGE}})


class NoNetwork(Gateway):
    """A gateway whose only solver is known, and whose service takes everything."""

    def _owner(self, request: web.Request) -> tuple[int, str]:
        return 1, "solver"

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        return web.json_response({"errorId": 0, "taskId": 7})


@pytest.mark.parametrize(("status", "named"), [(psutil.STATUS_STOPPED, (PAGE,)), (psutil.STATUS_RUNNING, ())])
async def test_a_purchase_that_left_before_its_sender_was_stopped_is_named(
    status: str, named: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes were on the way when the signal came; one that leaves once the process goes on is not."""
    settings: dict[str, Any] = {"wanted": 1, "shares": Shares(0.0, 0.0, 0.0, 0.0), "session_s": 1.0}
    gateway = NoNetwork("", Random(1), pids=lambda: {1: "solver"}, send=lambda *_: True, **settings)
    assert gateway.strike("solver", signal.SIGSTOP)
    monkeypatch.setattr(psutil.Process, "status", lambda _self: status)
    await gateway.handle(cast("web.Request", Order()))
    (strike,) = gateway.strikes
    assert strike.pages == named

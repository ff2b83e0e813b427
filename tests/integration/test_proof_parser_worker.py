"""A parser's process whose parent goes away."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import msgspec
import pytest
from tidegate_storer.parser_worker import LENGTHS, Task
from tidegate_storer.parsers import PageInfo, installed

_TASK = msgspec.msgpack.encode(
    Task("default", PageInfo(url="https://shop.example/", content_type="text/html"))
)
_WHOLE = LENGTHS.pack(len(_TASK), 10) + _TASK + b"<p>0123456"


@pytest.mark.parametrize("cut", [0, 3, LENGTHS.size, LENGTHS.size + 5, len(_WHOLE) - 1, len(_WHOLE)])
async def test_a_parser_whose_parent_is_gone_ends_without_a_word(cut: int) -> None:
    """Wherever in a page it happens, and with answers that nobody has read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tidegate_storer.parser_worker", str(theirs.fileno()), str(os.getpid()), "512"),
            msgspec.json.encode(installed()).decode(),
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            cwd=Path(__file__).parent,
        )
        theirs.close()
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(ours, _WHOLE * 3 + _WHOLE[:cut])
        # The greeting and some answers are there, and stay unread.
        await asyncio.sleep(0.3)  # noqa: TID251 -- a real process
        ours.close()
        _, said = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, said) == (0, b"")

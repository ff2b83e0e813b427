"""Parsers that misbehave, for the worker processes to survive."""

import ctypes
import os
import signal
from pathlib import Path

from tidegate_storer.parsers import PageInfo, parse_html


def crash(body: bytes, page: PageInfo) -> dict[str, object]:
    """Die of a segmentation fault on bodies that say so."""
    if b"CRASH" in body:
        ctypes.string_at(0)
    return parse_html(body, page)


def loop(body: bytes, page: PageInfo) -> dict[str, object]:
    """Never return, on bodies that say so."""
    while b"LOOP" in body:
        pass
    return parse_html(body, page)


def eat(body: bytes, page: PageInfo) -> dict[str, object]:
    """Take all memory there is, on bodies that say so."""
    eaten = []
    while b"EAT" in body:
        eaten.append(bytearray(16 << 20))
    return parse_html(body, page)


def refuse(body: bytes, page: PageInfo) -> dict[str, object]:
    """Raise an exception whose text quotes the page."""
    raise ValueError(body.decode())


def unwritable(body: bytes, page: PageInfo) -> dict[str, object]:
    """Return what JSON cannot hold."""
    return {"price": object()}


def killed_once(body: bytes, page: PageInfo) -> dict[str, object]:
    """Be killed from outside, as by the kernel's out-of-memory killer, the first time only."""
    mark = Path(body.decode())
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"title": "survived"}


def process_id(body: bytes, page: PageInfo) -> dict[str, object]:
    """Tell the process, and whether it can see a secret."""
    secrets = [name for name in os.environ if name.startswith("TIDEGATE_")]
    return {"pid": os.getpid(), "secrets": secrets}

"""A process that parses pages, one after the other, and may die doing it.

Started by ``parser_process`` with one end of a socket pair. A page comes as two 4-byte big-endian lengths,
the task in MessagePack, and the body; an answer goes as one length and MessagePack. It is given no secrets,
may take so much memory and no more, and dies with its parent whatever it is doing at the time: the kernel
kills it, for a parser in an endless loop reads no end of file.
"""

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import IOBase
from typing import TypeAlias

import msgspec

from tidegate_storer.parsed import Parsed, from_fields
from tidegate_storer.parsers import PageInfo

Parser: TypeAlias = Callable[[bytes, PageInfo], dict[str, object]]

LENGTH = struct.Struct(">I")
LENGTHS = struct.Struct(">II")
_READ_BYTES = 1 << 18  # some pages with one call of the system
_PR_SET_PDEATHSIG = 1


class Task(msgspec.Struct, frozen=True, array_like=True):
    """What is to be known of a page beside its body, and which parser is to parse it."""

    parser: str
    page: PageInfo


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """The parser raised. After ``out_of_memory`` the process leaves, because little would work in it."""

    message: str
    out_of_memory: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of a page: fields or a failure."""

    parsed: Parsed | None = None
    failure: Failure | None = None


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """The first frame: parsers that cannot be imported, with the reason."""

    broken: dict[str, str]


_TASK = msgspec.msgpack.Decoder(Task)


def serve(reader: IOBase, send: Callable[[bytes], None], registry: dict[str, str]) -> None:
    """Answer tasks until the other side is gone, or memory is."""
    parsers, broken = _load(registry)
    encoder = msgspec.msgpack.Encoder()
    send(_frame(encoder.encode(Ready(broken))))
    while header := reader.read(LENGTHS.size):
        length, size = LENGTHS.unpack(_whole(header, LENGTHS.size))
        task = _TASK.decode(_whole(reader.read(length), length))
        answer = _parse(parsers, task, _whole(reader.read(size), size))
        send(_frame(encoder.encode(answer)))
        if answer.failure is not None and answer.failure.out_of_memory:
            return


def _whole(data: bytes, size: int) -> bytes:
    """Return the data. Raises ConnectionError where the other side went away in the middle of it."""
    if len(data) < size:
        raise ConnectionAbortedError
    return data


def _parse(parsers: dict[str, Parser], task: Task, body: bytes) -> Answer:
    try:
        return Answer(parsed=from_fields(parsers[task.parser](body, task.page)))
    except MemoryError:
        return Answer(failure=Failure("The parser ran out of memory.", out_of_memory=True))
    except Exception as error:  # noqa: BLE001 -- a parser is foreign code and may raise anything
        # Its text may quote the page, which may hold anything: the type and the line are enough to find it.
        return Answer(failure=Failure(f"The parser raised {type(error).__name__} at {_line(error)}."))


def _line(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown line"
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119 -- text


def _load(registry: dict[str, str]) -> tuple[dict[str, Parser], dict[str, str]]:
    parsers: dict[str, Parser] = {}
    broken: dict[str, str] = {}
    for name, target in registry.items():
        module, _, attribute = target.partition(":")
        try:
            parsers[name] = getattr(import_module(module), attribute)
        except Exception as error:  # noqa: BLE001 -- an import runs foreign code
            broken[name] = f"{type(error).__name__}: {error}"
    return parsers, broken


def _frame(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def _confine(parent: int, memory_mb: int) -> None:
    """Die with the parent, take no more memory than allowed, leave no core behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
    limit = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C reaches the whole group; the parent decides when parsing ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(arguments: list[str]) -> None:
    """Serve on the socket whose descriptor is given: descriptor, parent's id, MiB, registry as JSON."""
    descriptor, parent, memory_mb = (int(argument) for argument in arguments[:3])
    registry = msgspec.json.decode(arguments[3], type=dict[str, str])
    _confine(parent, memory_mb)
    with (
        # Whoever asked is gone: there is nobody to tell, and the kernel is about to end this process too.
        suppress(ConnectionError),
        socket.socket(fileno=descriptor) as connection,
        connection.makefile("rb", buffering=_READ_BYTES) as reader,
    ):
        serve(reader, connection.sendall, registry)


if __name__ == "__main__":
    main(sys.argv[1:])

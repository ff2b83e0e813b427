"""Where the lines come from: files, standard input, the command line. One line in memory at a time."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from tidegate.errors import ConfigurationError

from tidegate_cli.crawl.inputs import MAX_LINE_BYTES

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_BLOCK = 1 << 20


class Line(msgspec.Struct, frozen=True):
    """A line and where it stands. ``length`` is more than ``len(data)`` where the line was cut."""

    source: str
    number: int
    data: bytes
    length: int

    @property
    def place(self) -> str:
        """Return ``file:number`` as editors and compilers write it."""
        return f"{self.source}:{self.number}"


class Source(msgspec.Struct, frozen=True):
    """One argument: a URL of its own, or a file; ``path`` None means the URL ``name``."""

    name: str
    path: Path | None


def sources_of(arguments: Sequence[str]) -> tuple[Source, ...]:
    """Tell files from URLs. Raises ConfigurationError where an argument is neither."""
    if not arguments:
        raise ConfigurationError("Nothing to crawl: name a file, a URL, or - for standard input.")
    if arguments.count("-") > 1:
        raise ConfigurationError("Standard input (-) can be read once only.")
    return tuple(_source(argument) for argument in arguments)


def _source(argument: str) -> Source:
    if argument == "-":
        return Source("-", Path("-"))
    path = Path(argument)
    try:
        if path.is_file() or path.is_fifo():
            return Source(argument, path)
        if path.is_dir():
            raise ConfigurationError(f"{argument} is a folder; a file with one URL a line is needed.")
    except (OSError, ValueError):
        pass  # too long for a file name: a URL, or nothing
    if _SCHEME.match(argument):
        return Source(argument, None)
    raise ConfigurationError(
        f"{argument[:200]}: there is no such file. A URL needs its scheme, such as https://{argument[:60]}"
    )


def read_lines(sources: Sequence[Source]) -> Iterator[Line]:
    """Yield the lines of all sources. Raises ConfigurationError where a file cannot be read."""
    for source in sources:
        if source.path is None:
            data = source.name.encode("utf-8", "surrogateescape")
            yield Line("argument", 1, data, len(data))
            continue
        try:
            if source.name == "-":
                yield from _lines("stdin", sys.stdin.buffer)
            else:
                with source.path.open("rb") as file:
                    yield from _lines(source.name, file)
        except OSError as error:
            raise ConfigurationError(f"{source.name} cannot be read: {error.strerror}") from error


def _lines(name: str, file: BinaryIO) -> Iterator[Line]:
    number = 0
    while data := file.readline(MAX_LINE_BYTES):
        number += 1
        length = len(data)
        if length == MAX_LINE_BYTES and not data.endswith(b"\n"):
            while rest := file.readline(_BLOCK):
                length += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield Line(name, number, data, length)


def spool(sources: Sequence[Source], folder: Path) -> tuple[Source, ...]:
    """Copy what can be read only once into ``folder``, so that it can be measured before anything starts.

    The name in messages stays the argument's.
    """
    kept: list[Source] = []
    for source in sources:
        if source.path is None or (source.name != "-" and source.path.is_file()):
            kept.append(source)
            continue
        copy = folder / "input.txt"
        with copy.open("wb") as file:
            if source.name == "-":
                shutil.copyfileobj(sys.stdin.buffer, file, _BLOCK)
            else:
                with source.path.open("rb") as pipe:
                    shutil.copyfileobj(pipe, file, _BLOCK)
        kept.append(Source("stdin" if source.name == "-" else source.name, copy))
    return tuple(kept)


class Size(msgspec.Struct, frozen=True):
    """How much input there is: lines that are jobs, and bytes."""

    jobs: int
    bytes: int


def measure(sources: Sequence[Source], enough: Callable[[Size], bool]) -> Size:
    """Count jobs and bytes, stopping early where ``enough`` says so."""
    jobs = size = 0
    for line in read_lines(sources):
        text = line.data.strip()
        if text and not text.startswith(b"#"):
            jobs += 1
            size += line.length
            if jobs % 1024 == 0 and enough(Size(jobs, size)):
                break
    return Size(jobs, size)

"""Runs a command's work and turns every way it can end into one clear sentence and an exit code."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from tidegate_cli.exits import Exit, code_of


class Place:
    """What a command knows about itself as it goes on, for the way it ends.

    ``data`` is the folder where its data is. ``when_interrupted`` is the exit code after Ctrl-C: not 130
    where that is how the command is meant to end.
    """

    def __init__(self) -> None:
        self.data: Path | None = None
        self.when_interrupted = Exit.INTERRUPTED
        self.started_s = time.monotonic()  # noqa: TID251 -- the first moment there is; a clock comes later


def execute(start: Callable[[Place], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run the coroutine that ``start`` makes, imports included, and exit with its code.

    SIGTERM and SIGHUP end a command as Ctrl-C does: in good order.
    """
    place = Place()
    _silence_libraries()
    # A shell starts background jobs with SIGINT ignored; then SIGTERM, which goes its way, would be too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        code = _run(start, place)
    except KeyboardInterrupt:
        code = place.when_interrupted
        if code is Exit.INTERRUPTED:
            _say(_interrupted(place), newline=True)
    except BaseExceptionGroup as group:
        code = _failed(_cause(group), place)
    except Exception as error:  # noqa: BLE001 -- the last place there is
        code = _failed(error, place)
    sys.stdout.flush()
    sys.exit(int(code))


def _silence_libraries() -> None:
    """Keep the log lines of libraries off the terminal: what matters arrives as an error, in a sentence."""
    import logging  # noqa: PLC0415 -- see main

    logging.getLogger().addHandler(logging.NullHandler())


def _run(start: Callable[[Place], Coroutine[Any, Any, int]], place: Place) -> int:
    import asyncio  # noqa: PLC0415 -- see main

    return asyncio.run(start(place))


def _cause(group: BaseException) -> BaseException:
    from tidegate.errors import cause_of  # noqa: PLC0415 -- see main

    return cause_of(group)


def _failed(error: BaseException, place: Place) -> int:
    from tidegate.errors import TidegateError  # noqa: PLC0415 -- see main

    code = code_of(error)
    if isinstance(error, TidegateError):
        _say(f"{error}")
        return code
    if isinstance(error, BrokenPipeError):
        return code
    text = "".join(traceback.format_exception(error))
    logs = None if place.data is None else place.data / "logs"
    if logs is not None and logs.is_dir():
        with (logs / "tidegate.log").open("a", encoding="utf-8") as file:
            file.write(text)
        _say(f"Unexpected error: {type(error).__name__}: {error}\nThe logs are in {logs}")
    else:
        _say(f"Unexpected error: {text}")
    return code


def _interrupted(place: Place) -> str:
    if place.data is None:
        return "interrupted."
    return (
        f"interrupted. What has arrived is in {place.data}; "
        f"look at it with: tidegate sql --data {place.data} 'SELECT …'"
    )


def _say(text: str, *, newline: bool = False) -> None:
    """Print a sentence on standard error; on a line of its own after the terminal's ``^C``."""
    sys.stderr.write(("\n" if newline else "") + f"tidegate: {text}\n")


def exec_module(module: str, arguments: list[str]) -> NoReturn:
    """Become ``python -m module``: a server with signals and an exit code of its own."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 -- our own interpreter and module

"""Runs a command's work and turns every way it can end into one clear sentence and an exit code."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from tidegate_cli.exits import Exit, code_of


class Place:
    """Where a command keeps its data; set by the command as soon as it is known, for the messages."""

    def __init__(self) -> None:
        self.data: Path | None = None
        self.quiet = False


def execute(start: Callable[[Place], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run the coroutine that ``start`` makes, imports included, and exit with its code.

    SIGTERM and SIGHUP end a command as Ctrl-C does: in good order.
    """
    place = Place()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        code = _run(start, place)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
        _say(_interrupted(place))
    except SystemExit:
        raise
    except BaseExceptionGroup as group:
        code = _failed(_leaf(group), place)
    except Exception as error:  # noqa: BLE001 -- the last place there is
        code = _failed(error, place)
    sys.stdout.flush()
    sys.exit(int(code))


def _run(start: Callable[[Place], Coroutine[Any, Any, int]], place: Place) -> int:
    import asyncio  # noqa: PLC0415 -- see main

    return asyncio.run(start(place))


def _leaf(group: BaseException) -> BaseException:
    from tidegate_cli.errors import leaf  # noqa: PLC0415 -- see main

    return leaf(group)


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
    if place.data is None or place.quiet:
        return "Interrupted."
    return (
        f"Interrupted. What has arrived is in {place.data}; "
        f"look at it with: tidegate sql --data {place.data} 'SELECT …'"
    )


def _say(text: str) -> None:
    print(f"tidegate: {text}" if not text.startswith("Interrupted") else f"\n{text}", file=sys.stderr)  # noqa: T201 -- the terminal is the interface


def exec_module(module: str, arguments: list[str]) -> NoReturn:
    """Become ``python -m module``: a server with signals and an exit code of its own."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 -- our own interpreter and module

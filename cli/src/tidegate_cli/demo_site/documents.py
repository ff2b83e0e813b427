"""Bodies of the document pages: rendered when first wanted, remembered, kept on disk if a folder is given."""

import asyncio
import contextlib
import os
import sys
from importlib.resources import files
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

_RENDERER = Path(__file__).with_name("render.py")
_FORM = 1  # of what the renderer writes; part of the cache's folder name
_PATIENCE_S = 60.0
_CLEAN = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": os.defpath}


def modules() -> tuple[str, ...]:
    """Return the modules that have a page, in the order in which the site lists them."""
    return tuple(files(__package__).joinpath("modules.txt").read_text(encoding="ascii").split())


class Bodies(Protocol):
    """Where the bodies of the document pages come from, by name."""

    def ready(self, name: str, /) -> bytes | None:
        """Return a body that is at hand already."""
        ...

    async def body(self, name: str, /) -> bytes:
        """Return a body. Raises OSError or TimeoutError where there is none to be had."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Documents:
    """All bodies by module. One process renders, one module at a time; whoever asks first is served first."""

    def __init__(self, folder: Path | None) -> None:
        version = ".".join(str(part) for part in sys.version_info[:3])
        self._folder = folder / f"pydoc-{version}-{_FORM}" if folder is not None else None
        self._bodies: dict[str, bytes] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    def ready(self, module: str) -> bytes | None:
        """Return a body that is in memory already."""
        return self._bodies.get(module)

    async def body(self, module: str) -> bytes:
        """Return a module's page. Raises OSError or TimeoutError if the renderer does not answer."""
        body = self._bodies.get(module)
        if body is None:
            async with self._turn:
                body = self._bodies.get(module) or self._read(module) or await self._render(module)
                self._bodies[module] = body
        return body

    async def close(self) -> None:
        """End the renderer; it ends with its input."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    def _read(self, module: str) -> bytes | None:
        if self._folder is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / f"{module}.html").read_bytes()
        return None

    def _write(self, module: str, body: bytes) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(body)
        Path(file.name).replace(self._folder / f"{module}.html")

    async def _render(self, module: str) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        if process.stdin is None or process.stdout is None:
            raise OSError("the renderer has no pipes")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                process.stdin.write(f"{module}\n".encode())
                await process.stdin.drain()
                length = int(await process.stdout.readuntil(b"\n"))
                body = await process.stdout.readexactly(length)
        except BaseException as error:
            # An answer that was not read to its end would be taken for the next one's.
            await self.close()
            if isinstance(error, EOFError):
                raise OSError(f"the renderer ended while it rendered {module}") from error
            raise
        self._write(module, body)
        return body

    @staticmethod
    async def _start() -> asyncio.subprocess.Process:
        # A session of its own, so that a Ctrl-C meant for the site does not end it in mid-page.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(_RENDERER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_CLEAN,
            start_new_session=True,
        )

"""Apache Kafka's jars, fetched once by Maven into the user's cache.

No Kafka archive is needed: the class path is all the jars. They lie in
``$XDG_CACHE_HOME/tidegate/kafka-<version>`` (``~/.cache`` by default). A folder of that name is complete,
because it gets its name when Maven is done; a lock keeps two processes from fetching at once.
"""

import asyncio
import fcntl
import os
import re
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from tidegate.clock import Clock
from tidegate.errors import ConfigurationError
from tidegate.events import Emit

from tidegate_cli.stack.events import FetchingKafka

VERSION = "4.1.0"
JAVA = 17
_FETCH_S = 600.0
_POLL_S = 0.2
_NEEDS = f"Apache Kafka {VERSION} needs Java {JAVA} or later, and Maven to fetch it once"


def cache_folder() -> Path:
    """Return where the jars are, or will be."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tidegate" / f"kafka-{VERSION}"


def java_version(text: str) -> int | None:
    """Return the major version from what ``java -version`` prints: 17, and 8 for ``1.8``."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    first, second = int(match[1]), match[2]
    return int(second) if first == 1 and second else first


async def find_java() -> str:
    """Return the path of a Java that is new enough; ConfigurationError otherwise."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if java is None:
        raise ConfigurationError(f"{_NEEDS}; there is no java {f'in {home}' if home else 'on the PATH'}")
    _, text = await _run(java, "-version", timeout_s=30)
    version = java_version(text)
    if version is None or version < JAVA:
        raise ConfigurationError(f"{_NEEDS}; {java} is {version or 'of an unknown version'}")
    return java


async def kafka_jars(emit: Emit, clock: Clock) -> Path:
    """Return the folder of the jars, fetching them first if need be (54 MB, about a minute).

    Raises ConfigurationError when Maven is missing or fails.
    """
    folder = cache_folder()
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigurationError(f"{_NEEDS}; there is no mvn on the PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _lock(lock, clock)
        if not folder.is_dir():
            emit(FetchingKafka(version=VERSION, folder=str(folder)))
            await _fetch(maven, folder)
    finally:
        os.close(lock)
    return folder


async def _fetch(maven: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as work:
        pom = Path(work) / "pom.xml"
        pom.write_text(files("tidegate_cli.stack").joinpath("kafka-pom.xml").read_text("utf-8"), "utf-8")
        jars = Path(work) / "jars"
        code, text = await _run(
            maven,
            "-B",
            "-q",
            "-f",
            str(pom),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={jars}",
            timeout_s=_FETCH_S,
        )
        if code or not jars.is_dir():
            last = "\n".join(text.strip().splitlines()[-10:])
            raise ConfigurationError(f"Maven could not fetch Apache Kafka {VERSION}:\n{last}")
        jars.rename(folder)


async def _lock(fd: int, clock: Clock) -> None:
    deadline = clock.monotonic() + _FETCH_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > deadline:
                raise ConfigurationError(
                    "another process has been fetching Apache Kafka for too long"
                ) from None
            await clock.sleep(_POLL_S)
        else:
            return


async def _run(*command: str, timeout_s: float) -> tuple[int, str]:
    """Run a short command; return its exit code and all it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ConfigurationError(f"{command[0]} did not end within {timeout_s:.0f} s") from None
    return process.returncode or 0, output.decode(errors="replace")

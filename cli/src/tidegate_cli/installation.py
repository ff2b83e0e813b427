"""Where Kafka and ClickHouse are, for the commands that use an installation instead of starting one.

Three ways, in this order: a data folder (``--data``), whose stack may be running; addresses in the
environment (``TIDEGATE_KAFKA__BOOTSTRAP``, ``TIDEGATE_CLICKHOUSE__URL``);
the latest data folder below ``.tidegate``.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.settings import PREFIX, Settings, load

from tidegate_cli.stack.folder import Addresses, addresses

ROOT = Path(".tidegate")
_LATEST = "latest"
_BOOTSTRAP = f"{PREFIX}KAFKA__BOOTSTRAP"
_CLICKHOUSE = f"{PREFIX}CLICKHOUSE__URL"


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go. ``data`` is None with addresses of the environment, ``running`` while no stack runs."""

    settings: Settings
    data: Path | None = None
    running: Addresses | None = None

    @property
    def reachable(self) -> bool:
        """Whether the settings hold addresses of something that should run."""
        return self.data is None or self.running is not None


def new_data_dir(name: str) -> Path:
    """Return the default data folder of a run, and make it the latest one. Raises ConfigurationError."""
    folder = ROOT / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = ROOT / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} cannot be made ({error.strerror}); name another with --data."
        ) from error
    mark_latest(folder)
    return folder


def mark_latest(folder: Path) -> None:
    """Make a folder below ``.tidegate`` the one that commands without ``--data`` are about."""
    if folder.parent != ROOT:
        return
    link = ROOT / _LATEST
    with contextlib.suppress(OSError):  # a file system without links: --data must be said, then
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name, target_is_directory=True)


def latest() -> Path | None:
    """Return the latest data folder below ``.tidegate``."""
    folder = ROOT / _LATEST
    if not folder.is_dir():
        return None
    return ROOT / folder.readlink() if folder.is_symlink() else folder


def find(data: Path | None, environment: Mapping[str, str] | None = None) -> Installation:
    """Find the installation that a command is about. Raises ConfigurationError where there is none."""
    env = os.environ if environment is None else environment
    if data is None and any(name in env for name in (_BOOTSTRAP, _CLICKHOUSE)):
        return Installation(settings=load(Settings, env))
    if data is None:
        data = latest()
        if data is None:
            raise ConfigurationError(
                "There is no stack to ask: start one with `tidegate up` or `tidegate crawl`, name its folder "
                "with --data, or set TIDEGATE_KAFKA__BOOTSTRAP and TIDEGATE_CLICKHOUSE__URL."
            )
    elif not data.is_dir():
        raise ConfigurationError(f"The data folder {data} does not exist.")
    running = addresses(data)
    if running is None:
        return Installation(settings=load(Settings, env), data=data)
    found = {
        _BOOTSTRAP: running.bootstrap,
        _CLICKHOUSE: running.clickhouse_url,
        f"{PREFIX}KAFKA__PREFIX": running.prefix,
        # The embedded broker has no idempotent producer; jobs with ids of their own need none.
        f"{PREFIX}KAFKA__IDEMPOTENT": "false",
    }
    return Installation(settings=load(Settings, {**env, **found}), data=data, running=running)


def by_address(environment: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """Return the brokers and the ClickHouse that the environment names, None for what it does not."""
    env = os.environ if environment is None else environment
    return env.get(_BOOTSTRAP) or None, env.get(_CLICKHOUSE) or None

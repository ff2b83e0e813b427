"""Follows the policy file: a changed one holds within seconds, a wrong one is refused and changes nothing."""

from pathlib import Path

from tidegate.clock import Clock
from tidegate.errors import ConfigurationError
from tidegate.events import Emit
from tidegate.host_policy import MAX_BYTES, parse

from tidegate_fetcher.events import PolicyLoaded, PolicyRefused
from tidegate_fetcher.site_policies import SitePolicies
from tidegate_fetcher.watched_file import WatchedFile

_LOOK_EVERY_S = 10.0


class PolicyWatch:
    """Keeps ``policies`` as the file says; without a file there is nothing to do."""

    def __init__(self, path: Path | None, policies: SitePolicies, clock: Clock, emit: Emit) -> None:
        self._file = None if path is None else WatchedFile(path, what="the policy file", most=MAX_BYTES)
        self._path = path
        self._policies = policies
        self._clock = clock
        self._emit = emit
        self._told: str | None = None

    async def begin(self) -> None:
        """Read it for the first time. Raises ConfigurationError: nothing is fetched by half a policy."""
        if self._file is not None:
            await self._read(self._file)

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while self._file is not None:
            await self._clock.sleep(_LOOK_EVERY_S)
            try:
                await self._read(self._file)
            except ConfigurationError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    self._emit(PolicyRefused(error=str(error)))

    async def _read(self, file: WatchedFile) -> None:
        data = await file.read()
        if data is None:
            return
        try:
            self._policies.use(parse(data))
        except ConfigurationError as error:
            raise ConfigurationError(f"the policy file {self._path}: {error}") from None
        self._told = None
        self._emit(PolicyLoaded(hosts=self._policies.entries))

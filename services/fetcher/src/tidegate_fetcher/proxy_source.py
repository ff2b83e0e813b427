"""Where the list of proxies comes from: a file, or an address. Errors name neither tokens nor content."""

from pathlib import Path
from typing import Protocol

import aiohttp
from tidegate.errors import ConfigurationError
from tidegate.proxies import MAX_LIST_BYTES

from tidegate_fetcher.proxy_settings import ProxySettings
from tidegate_fetcher.watched_file import WatchedFile

_TIMEOUT_S = 20.0
_REDIRECTS = 3


class ProxySource(Protocol):
    """Reads a list."""

    must_be_there: bool
    """Whether a service whose list cannot be read at its start is wrongly configured."""

    async def read(self) -> bytes | None:
        """Return the list, None where it has not changed. Raises ConfigurationError with a sentence."""
        ...


class FileSource:
    """A file; a mounted secret will do."""

    must_be_there = True

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, what="the list of proxies", most=MAX_LIST_BYTES)

    async def read(self) -> bytes | None:
        """Return what stands in the file. Raises ConfigurationError where it cannot be read."""
        return await self._file.read()


class AddressSource:
    """An address of the operator's own, which may be a private one and may have a token in it."""

    must_be_there = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: bytes | None = None

    async def read(self) -> bytes | None:
        """Return what the address answers. Raises ConfigurationError where it does not."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self._url, max_redirects=_REDIRECTS) as answer,
            ):
                if answer.status != 200:
                    raise ConfigurationError(f"the address of the proxies answered {answer.status}")
                data = bytearray()
                while len(data) <= MAX_LIST_BYTES and (chunk := await answer.content.readany()):
                    data += chunk
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their texts name the address.
            sentence = f"the address of the proxies cannot be read ({type(error).__name__})"
            raise ConfigurationError(sentence) from None
        found = bytes(data)
        if found == self._seen:
            return None
        self._seen = found
        return found


def source_of(settings: ProxySettings) -> ProxySource | None:
    """Return where the list is, None where there is none."""
    if settings.proxies_file is not None:
        return FileSource(settings.proxies_file)
    if settings.proxies_url is not None:
        return AddressSource(settings.proxies_url.get_secret_value())
    return None

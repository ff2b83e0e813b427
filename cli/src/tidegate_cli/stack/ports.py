"""Free ports on the loopback address.

A port that the kernel hands out for port 0 is of the range it also takes for outgoing connections, so
between our asking and the child's binding somebody's connection may take it. These are chosen below
that range (Linux begins at 32768) at random, so that stacks started side by side hardly meet, and
proved by binding. A pool never gives a port twice.
"""

import errno
import socket
from random import Random

from tidegate.clock import seeded_random
from tidegate.errors import ConfigurationError

HOST = "127.0.0.1"
_ANOTHER_HOST = "127.0.0.2"
_FIRST, _LAST = 15_000, 32_000
_ATTEMPTS = 200


class PortPool:
    """Hands out free ports, each once."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or seeded_random()
        self._taken: set[int] = set()

    def take(self, wanted: int = 0) -> int:
        """Return a port that nobody listens on; ``wanted`` if given.

        Raises ConfigurationError when the wanted one, or every one tried, is taken.
        """
        if wanted:
            if wanted in self._taken or not is_free(wanted):
                raise ConfigurationError(f"port {wanted} on {HOST} is taken")
            self._taken.add(wanted)
            return wanted
        for _ in range(_ATTEMPTS):
            port = self._random.randint(_FIRST, _LAST)
            if port not in self._taken and is_free(port):
                self._taken.add(port)
                return port
        raise ConfigurationError(f"no free port on {HOST} between {_FIRST} and {_LAST}")


def another_host() -> str:
    """Return a second loopback address; the first where this machine has no other, as macOS."""
    return _ANOTHER_HOST if _can_bind(_ANOTHER_HOST, 0) else HOST


def is_free(port: int) -> bool:
    """Tell whether a server could bind this port now."""
    return _can_bind(HOST, port)


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
                return False
            raise
    return True

"""``python -m tidegate.probe``: ask the process in this container whether it is ready.

For health commands, which run every few seconds for ever. The sub-command ``health`` of a service says the
same, but importing a service takes a second of a core and this takes a few hundredths: the standard library
only, and the two variables read by themselves instead of all settings.
"""

import os
import socket
import sys
from collections.abc import Mapping

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- asked, not bound


def ready(host: str, port: int, timeout_s: float = 3.0) -> bool:
    """Return whether GET /ready answers 200 within the time."""
    try:
        with socket.create_connection((_EVERYWHERE.get(host, host), port), timeout_s) as connection:
            connection.sendall(b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline(256).split(b" ", 2)[1:2] == [b"200"]
    except OSError:
        return False


def main(environment: Mapping[str, str]) -> int:
    """Return 0 where the process is ready, 1 where it is not or has no health server."""
    port = environment.get("TIDEGATE_HEALTH__PORT", "0")
    if not port.isdecimal() or port == "0":
        return 1
    return 0 if ready(environment.get("TIDEGATE_HEALTH__HOST", "127.0.0.1"), int(port)) else 1


if __name__ == "__main__":
    sys.exit(main(os.environ))

"""What the value of an HTTP field may hold. Pure."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def is_sendable(value: str) -> bool:
    """Say whether a field can have the value: no control character but a tab.

    For any other one aiohttp raises ValueError, which would read as a fault of ours.
    """
    return _CONTROL.search(value) is None

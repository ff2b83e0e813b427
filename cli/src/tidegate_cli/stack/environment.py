"""What children find in their environment."""

import os
from collections.abc import Mapping

from tidegate.settings import PREFIX, SECTIONS


def plain_environment(ambient: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without any ``TIDEGATE_`` variable, for children that are not services."""
    env = os.environ if ambient is None else ambient
    return {key: value for key, value in env.items() if not key.startswith(PREFIX)} | {
        "PYTHONUNBUFFERED": "1"
    }


def ambient_settings(ambient: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return those ``TIDEGATE_`` variables that are settings of a service; others would be refused."""
    env = os.environ if ambient is None else ambient
    return {
        key: value
        for key, value in env.items()
        if key.startswith(PREFIX) and key.removeprefix(PREFIX).lower().partition("__")[0] in SECTIONS
    }

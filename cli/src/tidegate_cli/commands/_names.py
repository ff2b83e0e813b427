"""Names that the command line makes up."""

import secrets


def run_name(kind: str) -> str:
    """Return a run's default name: ``<kind>-<UTC time>-<random>``, sortable and unlikely to be taken."""
    from datetime import UTC, datetime  # noqa: PLC0415 -- see main

    from tidegate.clock import SystemClock  # noqa: PLC0415 -- see main

    now = datetime.fromtimestamp(SystemClock().wall_ms() / 1000, UTC)
    return f"{kind}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"

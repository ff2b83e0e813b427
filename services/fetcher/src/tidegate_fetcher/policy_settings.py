"""Settings of what may be fetched from whom."""

from pathlib import Path

from pydantic import Field
from tidegate.settings import Section


class PolicySettings(Section):
    """The policy file."""

    policy_file: Path | None = Field(
        None,
        description="TOML file with rules per host: rates, solving, costs, user agent and more; "
        "docs/policy.md. Read again when it changes; a wrong one is refused and the last good one holds.",
    )

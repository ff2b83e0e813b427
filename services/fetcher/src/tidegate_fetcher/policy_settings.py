"""Settings of what may be fetched from whom."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from tidegate.settings import Section


class PolicySettings(Section):
    """The policy file, and robots.txt."""

    policy_file: Path | None = Field(
        None,
        description="TOML file with rules per host: rates, solving, costs, user agent and more; "
        "docs/policy.md. Read again when it changes; a wrong one is refused and the last good one holds.",
    )
    robots: Literal["obey", "ignore"] = Field(
        "obey",
        description="Whether the sites' robots.txt is obeyed, its Crawl-delay too. A job that it forbids is "
        "a dead letter, `robots`. To ignore it is your choice and your responsibility; the policy file "
        "can do so per host.",
    )
    robots_ttl_s: float = Field(
        86_400.0,
        ge=1,
        le=86_400,
        description="Seconds for which a robots.txt that was read holds; RFC 9309 allows a day.",
    )

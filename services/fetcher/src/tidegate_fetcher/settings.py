"""Settings of the fetcher: the environment's ``TIDEGATE_FETCHER__<FIELD>``, validated.

Each field says what it means, its unit, its range and why it has its default.
"""

from ipaddress import ip_network
from typing import Any, Literal

import tidegate.settings
from pydantic import Field, ValidationInfo, field_validator

from tidegate_fetcher.policy_settings import PolicySettings
from tidegate_fetcher.proxy_settings import ProxySettings
from tidegate_fetcher.site_pace import PacePolicy
from tidegate_fetcher.site_policies import SitePolicy
from tidegate_fetcher.site_slots import SiteRule
from tidegate_fetcher.wall_settings import WallSettings

_PACE = PacePolicy()
DEFAULT_USER_AGENT = "Tidegate/0.1 (+mailto:contact-not-set@example.invalid)"


class FetcherSettings(PolicySettings, ProxySettings, WallSettings):
    """How pages are fetched, and what is refused."""

    user_agent: str = Field(
        DEFAULT_USER_AGENT,
        min_length=1,
        max_length=512,
        description="User-Agent of requests that bring none of their own. Put your contact in it: a site's "
        "operator who can write to you does not need to block you.",
    )
    site_concurrency: int = Field(
        8,
        ge=1,
        le=1000,
        description="Requests to one site at once, per fetcher. 8 is what a browser opens, or little more.",
    )
    site_rate: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Requests begun a second to one site, per fetcher; unset means that only "
        "site_concurrency limits them. Of the jobs that wait, nine tenths of it are served; the rest is kept "
        "for those who missed their turn. A job whose turn would come after its deadline is a dead letter at "
        "once.",
    )
    site_burst: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Requests at once that site_rate allows after a rest. With 1 they are evenly spread.",
    )
    site_wait_s: float = Field(
        2.0,
        ge=0,
        le=30,
        description="Seconds that a job may wait in hand for its site's turn; with more to wait it is "
        "deferred. The default is the shortest delay topic: waiting longer in hand gains nothing.",
    )
    site_slowdown: bool = Field(
        default=True,
        description="Slow a site down that answers 429 or 503 or becomes slow, and leave it alone for as "
        "long as its Retry-After says. A site that asks for patience and is asked on is a site that bans.",
    )
    site_slowest_s: float = Field(
        _PACE.slowest_s,
        gt=0,
        le=3600,
        description="Seconds between two requests of one slowed site at most. At the default a site that is "
        "down costs two attempts a minute, and its return is seen within that time.",
    )
    site_hold_most_s: float = Field(
        _PACE.hold_most_s,
        ge=0,
        le=86_400,
        description="Seconds that one Retry-After holds a whole site at most; the job that was told waits "
        "for all of it. A site that says a year is asked again, once, after this.",
    )
    connect_timeout_s: float = Field(
        10.0, gt=0, le=60, description="Seconds for name, TCP and TLS. Three SYN retransmissions fit."
    )
    read_timeout_s: float = Field(
        20.0, gt=0, le=100, description="Seconds without a byte after which a response is given up."
    )
    total_timeout_s: float = Field(
        45.0,
        gt=0,
        le=600,
        description="Seconds for one request with its redirects and its body. A resumed page may need two of "
        "them, and both must fit in the handler's deadline of 120 s.",
    )
    max_redirects: int = Field(10, ge=0, le=50, description="Redirects followed. Browsers stop at 20.")
    max_body_bytes: int = Field(
        10 << 20,
        ge=1024,
        le=16 << 20,
        description="Bytes of a body, on the wire and decoded alike. 10 MiB holds any page; the topic "
        "`pages` takes 24 MiB.",
    )
    large_bodies: int = Field(
        8,
        ge=1,
        le=1000,
        description="Bodies above 1 MiB read at once; others wait on their connection. Times max_body_bytes "
        "this bounds the memory that bodies take.",
    )
    max_job_bytes: int = Field(
        1 << 20, ge=1024, le=8 << 20, description="Bytes of an intake record; larger ones are dead letters."
    )
    allow_private: bool = Field(
        default=False,
        description="Admit loopback and private addresses and any port: for servers of your own. "
        "Link-local addresses, where clouds keep their credentials, stay refused.",
    )
    allowed_ports: tuple[int, ...] = Field(
        (80, 443), description="Ports that may be fetched from, comma-separated. Others are rarely web pages."
    )
    denied_networks: tuple[str, ...] = Field(
        (), description="More networks that are never connected to, as CIDR, comma-separated."
    )
    solve_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts whose challenges may be solved, comma-separated: `host`, `host:port`, "
        "`*.example.com`, or `*` for all. Empty by default: nothing is spent on a site nobody named.",
    )
    max_solves_per_job: int = Field(
        3, ge=0, le=20, description="Solves bought for one job at most; the design's three challenge rounds."
    )
    budget_exhausted: Literal["dead_letter", "hold"] = Field(
        "dead_letter",
        description="What becomes of a job that needs a solve and whose budget is used up: it ends as a dead "
        "letter, to be replayed, or it is held in delay topics, at no attempt, until there is money again or "
        "its deadline has passed.",
    )
    budget_recheck_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Seconds after which a used-up budget is asked again. Meanwhile no request is made.",
    )
    captcha_lifetime_s: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Seconds in which a captcha request is worth solving: the page's form and session must "
        "still be alive. Ten minutes is less than most sessions live.",
    )
    submit_margin_s: float = Field(
        2.0,
        ge=0,
        le=60,
        description="Seconds of a token's life kept for sending it; with less left it is not sent.",
    )
    sessions_kept: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="Visitors with cookies that are remembered, over all sites, of at most 16 KiB; those "
        "that passed no challenge go first, then those used longest ago. The default is 32 MiB at the worst.",
    )
    zstd_level: int = Field(
        1,
        ge=-7,
        le=19,
        description="Compression of stored bodies. Level 1 is 80 us a 29 KB page, 3 is 120 us.",
    )

    def pace(self) -> PacePolicy | None:
        """Return how far sites are slowed by their answers; None where they are not."""
        if not self.site_slowdown:
            return None
        return PacePolicy(slowest_s=self.site_slowest_s, hold_most_s=self.site_hold_most_s)

    def site_policy(self) -> SitePolicy:
        """Return what holds at a site of which the policy file says nothing."""
        return SitePolicy(
            rule=SiteRule(
                concurrency=self.site_concurrency, per_second=self.site_rate, burst=self.site_burst
            ),
            robots=self.robots == "obey",
            user_agent=self.user_agent,
        )

    @field_validator("allowed_ports", "denied_networks", "solve_hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tidegate.settings.listed(value)

    @field_validator("allowed_ports")
    @classmethod
    def _ports(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < port < 65536 for port in value):
            raise ValueError("a port is between 1 and 65535")
        return value

    @field_validator("denied_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @field_validator("user_agent")
    @classmethod
    def _one_line(cls, value: str, _info: ValidationInfo) -> str:
        if not value.isprintable():
            raise ValueError("a user agent is one line of printable characters")
        return value


class Settings(tidegate.settings.Settings):
    """What the fetcher reads."""

    fetcher: FetcherSettings = FetcherSettings()

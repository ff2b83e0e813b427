"""Settings of the solver: which solving services, at what price, how patiently."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from tidegate.errors import ConfigurationError
from tidegate.proxies import parse
from tidegate.records import ChallengeKind, Route
from tidegate.settings import Section, from_json
from tidegate.settings import Settings as SharedSettings

# A handler that has not ended by then is cut off by the runtime; ours end well before.
HANDLER_DEADLINE_S = 900.0


def _proxies(value: Any) -> Any:
    """Let the proxies come as the fetcher's own list, whose ids are known, or as a JSON object."""
    if not isinstance(value, str) or not value.strip() or value.lstrip().startswith("{"):
        return from_json(value)
    try:
        return {proxy.id: proxy.url for proxy in parse(value.encode()).proxies}
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


Price = Annotated[float, Field(ge=0, le=100)]


class ProviderSettings(Section):
    """One account at a solving service. Times in seconds, prices in US dollars for one solve."""

    profile: str | None = Field(
        None, description="Row of the providers' table; empty takes the name under which this is configured."
    )
    api_key: SecretStr = Field(SecretStr(""), description="Key of the account at the solving service.")
    base_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address instead of the profile's own, for a proxy or a simulated service.",
    )
    concurrency: int = Field(
        50,
        ge=1,
        le=20_000,
        description="Tasks at the solving service at once, at most and at first; fewer where it is slow or "
        "refuses them. Raise the window with it.",
    )
    least_concurrency: int = Field(
        1, ge=1, le=20_000, description="Tasks at the solving service at once, at least, however slow it is."
    )
    create_rate: float = Field(
        100.0, ge=0.01, le=10_000, description="createTask calls a second, at most, in the long run."
    )
    create_burst: float = Field(
        100.0, ge=1, le=10_000, description="createTask calls at once after a pause, at most."
    )
    poll_first_delay_s: float | None = Field(
        None, ge=0, le=60, description="Instead of the profile's wait before the first poll; for simulations."
    )
    poll_interval_s: float | None = Field(
        None, ge=0.05, le=60, description="Instead of the profile's wait between polls; for simulations."
    )
    prices: Annotated[dict[ChallengeKind, Price], BeforeValidator(from_json)] = Field(
        {}, description='Prices instead of the price file\'s, as JSON: {"recaptcha_v2": 0.003}.'
    )
    task_types: Annotated[dict[ChallengeKind, str], BeforeValidator(from_json)] = Field(
        {},
        description="Task types by kind instead of the profile's, as JSON; an empty text takes a kind out.",
    )
    extra_task_fields: Annotated[dict[str, Any], BeforeValidator(from_json)] = Field(
        {}, description="Put into every task as they are, as JSON; a router's preset, for example."
    )

    use_proxies: bool = Field(
        default=False,
        description="Solve through the fetcher's proxy also what does not need it; at most services dearer.",
    )


class SolverSettings(ProviderSettings):
    """What the solver buys from whom. Times in seconds, prices in US dollars for one solve."""

    provider: str = Field(
        "ucaptcha",
        description="Name of the solving service, where there is one only: a profile's, as a rule.",
    )
    providers: Annotated[dict[str, ProviderSettings], BeforeValidator(from_json)] = Field(
        {},
        description="Several accounts, as JSON by name; each with the fields that the single one has: "
        '{"capsolver": {"api_key": "…"}, "2captcha": {"api_key": "…", "concurrency": 20}}. '
        "It takes the place of the single one's variables; a file with it is best (_FILE).",
    )
    price_file: Path | None = Field(
        None,
        description="TOML file of prices over the shipped ones: as_of, and for each provider source and usd.",
    )
    route: Route = Field(
        Route.CHEAPEST,
        description="What the router looks for where a job does not say: cheapest, fastest or reliable.",
    )
    prefer_wait_s: float = Field(
        5.0,
        ge=0,
        le=300,
        description="How long a request waits for room at the best provider before it takes any; not where "
        "the fastest is wanted.",
    )
    proxies: Annotated[dict[str, SecretStr], BeforeValidator(_proxies)] = Field(
        {},
        description="The fetcher's proxies, for the kinds whose answer is bound to the address: its list as "
        "it is (best as a file, _FILE), or their URLs by id as JSON.",
    )
    reports: bool = Field(
        default=True,
        description="Tell the providers which of their tokens a site took and which it refused.",
    )
    site_failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="Tokens of one provider, for one site and kind, refused in a row, after which it is not "
        "asked for them for a while. Twice as many bad endings in a row, whoever's, and the site counts as "
        "one that nobody can solve.",
    )
    site_reset_s: float = Field(
        600.0, ge=1, le=86_400, description="Time until one more is bought there to find out."
    )
    balance_check_s: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Time between two looks at the account of a provider that is out of service.",
    )
    balance_every_s: float = Field(
        600.0, ge=1, le=86_400, description="Time between two looks at the account of one that is in service."
    )
    balance_low: float = Field(
        1.0, ge=0, description="Balance in US dollars below which a warning is given, once for each fall."
    )
    breaker_failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="createTask calls without a usable answer in a row after which nothing is sent; a person "
        "understands five in a row.",
    )
    breaker_reset_s: float = Field(
        30.0, ge=0.1, le=3600, description="Time until one request finds out whether the service is back."
    )
    time_limit_s: float | None = Field(
        None,
        ge=1,
        le=600,
        description="Longest life of one task, counted from its creation, instead of the profiles' own, "
        "which go by kind.",
    )
    submit_margin_s: float = Field(
        10.0, ge=0, le=300, description="Time kept back for the fetcher to hand the token in."
    )
    create_retries: int = Field(
        2, ge=0, le=10, description="Further tries of createTask when the service said busy or try again."
    )
    create_retry_wait_s: float = Field(
        5.0, ge=0.01, le=300, description="Wait before such a try, doubled each time; vendors ask for 5 s."
    )
    connect_timeout_s: float = Field(10.0, gt=0, le=60, description="Time to get a connection.")
    read_timeout_s: float = Field(
        30.0, gt=0, le=60, description="Silence of the service after which a reply is given up."
    )
    unread_mark_s: float = Field(
        60.0,
        gt=0,
        le=600,
        description="Age of the oldest answer that no fetcher has taken from which on nothing more is bought "
        "for the sites of its partition, until it is half of that. Half of a token's usual life.",
    )
    unread_read_s: float = Field(2.0, ge=0.1, le=15, description="Time between two looks at that age.")
    journal_keep_s: float = Field(
        # As long as requests themselves are kept: a solver that was away for days must still find what it
        # has paid for.
        1_209_600.0,
        # Above a handler's deadline: what is being bought must not be forgotten meanwhile.
        ge=2 * HANDLER_DEADLINE_S,
        le=1_209_600,
        description="How long a request is remembered, in seconds; an older one is not bought. Not below the "
        "declared outage (14 days), or money that was spent before one is not booked after it.",
    )
    journal_entries: int = Field(
        10_000, ge=100, le=5_000_000, description="Answered requests remembered per partition, at most."
    )

    def accounts(self) -> dict[str, ProviderSettings]:
        """Return every account by its provider's name: the several, or else the single one."""
        return self.providers or {self.provider: self}


class Settings(SharedSettings):
    """What the solver reads."""

    solver: SolverSettings = SolverSettings()

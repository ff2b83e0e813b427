"""Settings of the solver: which solving service, at what price, how patiently."""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from tidegate.records import ChallengeKind
from tidegate.settings import Section
from tidegate.settings import Settings as SharedSettings

# A handler that has not ended by then is cut off by the runtime; ours end well before.
HANDLER_DEADLINE_S = 900.0


def _from_json(value: Any) -> Any:
    """Let an environment variable carry a JSON object; empty text means none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except ValueError as error:
        message = f"not a JSON object: {error}"
        raise ValueError(message) from error


Price = Annotated[float, Field(ge=0, le=100)]


class SolverSettings(Section):
    """What the solver buys from whom. Times in seconds, prices in US dollars for one solve."""

    provider: str = Field("ucaptcha", description="Profile of the solving service, from providers.toml.")
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
    time_limit_s: float = Field(
        120.0, ge=1, le=600, description="Longest life of one task, counted from its creation."
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
    poll_first_delay_s: float | None = Field(
        None, ge=0, le=60, description="Instead of the profile's wait before the first poll; for simulations."
    )
    poll_interval_s: float | None = Field(
        None, ge=0.05, le=60, description="Instead of the profile's wait between polls; for simulations."
    )
    connect_timeout_s: float = Field(10.0, gt=0, le=60, description="Time to get a connection.")
    read_timeout_s: float = Field(
        30.0, gt=0, le=60, description="Silence of the service after which a reply is given up."
    )
    prices: Annotated[dict[ChallengeKind, Price], BeforeValidator(_from_json)] = Field(
        {}, description='Prices instead of the profile\'s, as JSON: {"recaptcha_v2": 0.003}.'
    )
    task_types: Annotated[dict[ChallengeKind, str], BeforeValidator(_from_json)] = Field(
        {},
        description="Task types by kind instead of the profile's, as JSON; an empty text takes a kind out.",
    )
    extra_task_fields: Annotated[dict[str, Any], BeforeValidator(_from_json)] = Field(
        {}, description="Put into every task as they are, as JSON; a router's preset, for example."
    )
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


class Settings(SharedSettings):
    """What the solver reads."""

    solver: SolverSettings = SolverSettings()

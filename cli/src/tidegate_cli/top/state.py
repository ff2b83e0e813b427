"""What the monitor tells: the values of its page, as it serves them at ``/state`` and ``/stream``. Pure.

Times are in seconds, those in ``_ms`` in milliseconds; shares between 0 and 1; money in US dollars. None is
what nobody knows.
"""

from typing import Literal, TypeAlias

import msgspec
from tidegate.errors import RemoteError

Severity: TypeAlias = Literal["critical", "warning", "advice"]


class ServiceState(msgspec.Struct, frozen=True):
    """A service, all instances together."""

    name: str
    instances: int
    silent_s: float | None
    in_hand: int
    buffered: int
    held: int
    stuck: int
    loop_lag_s: float


class Rates(msgspec.Struct, frozen=True):
    """What happens a second, over the last ten."""

    pages: float
    challenges: float
    failures: float
    bytes: float
    solved: float
    unsolved: float
    stored: float
    retried: float
    dead: float


class Shares(msgspec.Struct, frozen=True):
    """Shares over five minutes."""

    captcha: float | None
    solved: float | None
    dead: float | None
    errors: float | None


class Times(msgspec.Struct, frozen=True):
    """Medians and 95 % over five minutes."""

    solve_p50: float | None
    solve_p95: float | None
    fetch_p50: float | None
    fetch_p95: float | None


class WallState(msgspec.Struct, frozen=True):
    """A wall, and whether it holds work back."""

    name: str
    shut: bool


class ProviderState(msgspec.Struct, frozen=True):
    """A solving service; ``state`` is the worst of its breakers, or ``out``."""

    name: str
    state: Literal["closed", "half-open", "open", "out"]
    down: bool
    solved: float | None
    solves: int
    p50: float | None
    p95: float | None
    limit: float | None
    balance: float | None
    spent: float


class BudgetState(msgspec.Struct, frozen=True):
    """A budget."""

    name: str
    used: float
    limit: float | None


class SiteState(msgspec.Struct, frozen=True):
    """A site over five minutes; below 1 ``factor`` says how much it is slowed down."""

    name: str
    captcha: float | None
    fetches: int
    failures: int
    dead: int
    spent: float
    factor: float


class ReasonCount(msgspec.Struct, frozen=True):
    """Dead letters of one reason."""

    name: str
    count: int


class DeadSample(msgspec.Struct, frozen=True):
    """One dead letter."""

    reason: str
    site: str
    job: str
    message: str


class DeadState(msgspec.Struct, frozen=True):
    """Dead letters over five minutes, and the latest of them."""

    reasons: list[ReasonCount]
    samples: list[DeadSample]


class ProxyCounts(msgspec.Struct, frozen=True):
    """The proxies."""

    all: int
    healthy: int


class AlertState(msgspec.Struct, frozen=True):
    """An alert that fires."""

    rule: str
    subject: str
    severity: Severity
    value: float
    unit: str
    since_s: float
    summary: str
    action: str


class Charts(msgspec.Struct, frozen=True):
    """The last minutes, the oldest first: a second each, but ``backlog``, which is records."""

    pages: list[float]
    challenges: list[float]
    solved: list[float]
    stored: list[float]
    spent: list[float]
    backlog: list[float]


class State(msgspec.Struct, frozen=True):
    """Everything on the page. ``ready`` is false while the monitor reads the last minutes again."""

    now_ms: int
    ready: bool
    monitors: int
    services: list[ServiceState]
    lags: dict[str, int]
    rates: Rates
    shares: Shares
    times: Times
    walls: list[WallState]
    gates: dict[str, float]
    providers: list[ProviderState]
    budgets: list[BudgetState]
    spent: float
    sites: list[SiteState]
    dead: DeadState
    proxies: ProxyCounts | None
    alerts: list[AlertState]
    charts: Charts
    chart_s: int


_DECODER = msgspec.json.Decoder(State)


def decode(body: bytes) -> State:
    """Return what a monitor said. Raises RemoteError where it is no monitor's word, or another version's."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteError(f"what answers is no monitor of this version: {error}") from error

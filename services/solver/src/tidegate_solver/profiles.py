"""What is known of each solving service, read from ``providers/*.toml``: data, not code.

A profile is a table with its family's error codes, its prices and the operator's overrides applied. Loading
one reads files, so it happens once, at start; using it is pure.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from tidegate.challenge_kinds import FACTS
from tidegate.records import ChallengeKind

from tidegate_solver.polling import PollPlan


class ErrorKind(StrEnum):
    """What a solving service's error asks for; ``providers/errors.toml`` explains each."""

    FATAL = "fatal"
    BUSY = "busy"
    RETRY = "retry"
    PROXY = "proxy"
    INPUT = "input"
    UNSUPPORTED = "unsupported"
    WAIT = "wait"
    EXPIRED = "expired"
    LOST = "lost"
    UNKNOWN = "unknown"


class Family(StrEnum):
    """The two wire families."""

    CREATE_TASK = "createtask"
    IN_PHP = "inphp"


class Window(StrEnum):
    """From when a vendor counts how long it keeps a result."""

    CREATED = "created"
    READY = "ready"


class ReportStyle(StrEnum):
    """How a report names its word: by the path or action alone, or by a result in the body."""

    PLAIN = "plain"
    FEEDBACK = "feedback"


class Rhythm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First poll, time between polls, end of patience: seconds since the task's creation."""

    first_delay_s: float
    interval_s: float
    time_limit_s: float


class Reports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a vendor takes a word on its tokens, within ``window_s`` of their making.

    ``good`` and ``bad`` map a path (or an action of res.php) to the kinds it is for; ``*`` is every kind.
    """

    style: ReportStyle = ReportStyle.PLAIN
    good: dict[str, tuple[str, ...]] = {}
    bad: dict[str, tuple[str, ...]] = {}
    window_s: float = 0.0

    def call_for(self, kind: ChallengeKind, *, good: bool) -> str | None:
        """Return the path or action that takes this word on a token of that kind; None: nobody asks."""
        for name, kinds in (self.good if good else self.bad).items():
            if "*" in kinds or kind.value in kinds:
                return name
        return None


class KindProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one kind of challenge is asked for. ``price`` in US dollars: the most that one solve costs.

    ``fields`` maps our parameters to the vendor's fields, a dot going one level down, a prefix such as
    ``bool:`` saying how the text is converted; ``fixed`` goes in as it is. ``token``, ``values`` and
    ``cookies`` name where in the answer each may be, in order. An empty ``task_type`` means not offered;
    ``proxied_type`` is the type for a solve through a proxy, ``needs_proxy`` that there is no other.
    """

    kind: ChallengeKind | None = None
    task_type: str
    proxied_type: str = ""
    needs_proxy: bool = False
    fields: dict[str, str]
    fixed: dict[str, Any] = {}
    token: tuple[str, ...] = ()
    values: dict[str, tuple[str, ...]] = {}
    cookies: tuple[str, ...] = ()
    poll: Rhythm | None = None
    price: float = 0.0


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One solving service.

    ``uncharged_failures`` are the codes of failed tasks that the vendor says cost nothing (``*``: none
    costs); any other failure of a task that was made counts as paid, because in doubt is spent (M3).
    ``waits`` are the seconds for which a code asks us to stay away. ``result_window_s`` is how long a
    result is kept, 0 where that is not known.
    """

    name: str = ""
    family: Family = Family.CREATE_TASK
    base_url: str
    note: str
    verified: bool = True
    prices_as_of: str = ""
    numeric_task_ids: bool
    poll_cap: int
    poll: Rhythm
    poll_action: str = "get"
    server_error_is_wait: bool = False
    result_window_s: float = 0.0
    result_window_from: Window = Window.CREATED
    charges_failures: bool = False
    uncharged_failures: tuple[str, ...] = ()
    sells_threads: bool = False
    proxy_types: tuple[str, ...] = ("http", "https", "socks4", "socks5")
    proxy_ip_only: bool = False
    reports: Reports = Reports()
    kinds: dict[ChallengeKind, KindProfile]
    errors: dict[str, ErrorKind] = {}
    waits: dict[str, float] = {}
    extra_task_fields: dict[str, Any] = {}
    use_proxies: bool = False

    def offer(self, kind: ChallengeKind) -> KindProfile | None:
        """Return how a kind is asked for, None where this service does not offer it."""
        found = self.kinds.get(kind)
        return found if found is not None and found.task_type else None

    def goes_through_proxy(self, kind: KindProfile) -> bool:
        """Say whether a kind is solved through the fetcher's proxy, where there is one."""
        return kind.needs_proxy or (self.use_proxies and bool(kind.proxied_type))

    def classify(self, code: str) -> ErrorKind:
        """Return the class of an error code; a code that nobody listed is UNKNOWN."""
        return self.errors.get(code, ErrorKind.UNKNOWN)

    def is_uncharged(self, code: str) -> bool:
        """Say whether a task that failed with this code costs nothing, by the vendor's own words."""
        return "*" in self.uncharged_failures or code in self.uncharged_failures

    def rhythm(self, kind: KindProfile) -> Rhythm:
        """Return when a kind's tasks are asked after, by the vendor's own advice."""
        return kind.poll or self.poll

    def poll_plan(self, kind: KindProfile, time_limit_s: float | None = None) -> PollPlan:
        """Return when a task of that kind is asked after; a limit given takes the profile's place."""
        rhythm = self.rhythm(kind)
        return PollPlan(
            first_delay_s=rhythm.first_delay_s,
            interval_s=rhythm.interval_s,
            time_limit_s=rhythm.time_limit_s if time_limit_s is None else time_limit_s,
            cap=self.poll_cap,
        )


def answer_life_s(kind: ChallengeKind) -> float:
    """Return how long an answer of that kind is good once it was made, in seconds."""
    return FACTS[kind].answer_life_s


def with_overrides(
    profile: Profile,
    *,
    base_url: str | None = None,
    prices: Mapping[ChallengeKind, float] | None = None,
    task_types: Mapping[ChallengeKind, str] | None = None,
    extra_task_fields: Mapping[str, Any] | None = None,
    first_delay_s: float | None = None,
    interval_s: float | None = None,
    use_proxies: bool = False,
) -> Profile:
    """Return a profile as the operator wants it."""

    def timed(rhythm: Rhythm) -> Rhythm:
        return msgspec.structs.replace(
            rhythm,
            first_delay_s=rhythm.first_delay_s if first_delay_s is None else first_delay_s,
            interval_s=rhythm.interval_s if interval_s is None else interval_s,
        )

    kinds = {}
    for kind, shipped in profile.kinds.items():
        kinds[kind] = msgspec.structs.replace(
            shipped,
            price=(prices or {}).get(kind, shipped.price),
            task_type=(task_types or {}).get(kind, shipped.task_type),
            poll=None if shipped.poll is None else timed(shipped.poll),
        )
    return msgspec.structs.replace(
        profile,
        base_url=(base_url or profile.base_url).rstrip("/"),
        kinds=kinds,
        poll=timed(profile.poll),
        extra_task_fields=dict(extra_task_fields or {}),
        use_proxies=use_proxies,
        # The vendor's cap belongs to the vendor's interval: a simulated service polled faster has none.
        poll_cap=profile.poll_cap if interval_s is None else max(profile.poll_cap, 100_000),
    )

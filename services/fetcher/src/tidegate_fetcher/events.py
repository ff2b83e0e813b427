"""What the fetcher says happened. No query strings, no credentials, no cookies, no tokens."""

from typing import ClassVar

from tidegate.events import Event


class FetchDone(Event, frozen=True, kw_only=True):
    """The one line of a job's fetch: where, how it ended, and what it cost.

    ``outcome`` is ``page``, ``challenge`` (a request for its solution), ``forwarded``, ``held`` (put aside),
    ``deferred`` (its answer was, by another job's solve), ``copy`` (the job goes on by another record), or
    the class or reason of a failure.
    ``challenged``: the site answered with a challenge, whatever became of the job then.
    ``place`` is scheme, host and path. Sizes in bytes, before and after decoding. ``proxy`` is the id of the
    listed proxy that the answer came through.
    """

    run: str
    id: str
    site: str
    place: str
    outcome: str
    status: int | None = None
    elapsed_ms: int | None = None
    wire_bytes: int | None = None
    body_bytes: int | None = None
    redirects: int | None = None
    hop: int
    resumed: bool
    proxy: str | None = None
    challenged: bool


class UnknownFieldIgnored(Event, frozen=True):
    """Jobs carry a field that UrlJob does not have: newer producers, or a misspelling. Told once a name."""

    level: ClassVar[str] = "warning"

    field: str
    example_id: str


class LagRead(Event, frozen=True, kw_only=True):
    """How far those downstream are behind, and what share of its window a class of sites may use for it.

    ``records`` wait on the topic; ``wait_s`` is how long a new one is expected to, None where that is not
    known or has no end; nothing was taken for ``still_s``. Shares are 0 to 1, over all topics.
    """

    level: ClassVar[str] = "debug"

    topic: str
    records: int
    wait_s: float | None = None
    still_s: float
    share_clean: float
    share_prone: float


class LagUnknown(Event, frozen=True):
    """The lag of a topic cannot be read; until it can, what is sent counts as if nothing were taken."""

    level: ClassVar[str] = "warning"

    topic: str
    error: str


class LagKnown(Event, frozen=True):
    """The lag is read again; it was not for ``seconds``."""

    topic: str
    seconds: float


class GateChanged(Event, frozen=True):
    """The gate for a class of sites is ``open``, ``partly`` open or ``shut`` now, by the load of a topic."""

    site_class: str
    before: str
    state: str
    share: float
    topic: str
    records: int
    wait_s: float | None = None


class SheddingChanged(Event, frozen=True):
    """What is shed of jobs that meet a challenge: 0 nothing, 1 low priority, 2 normal, too."""

    level: ClassVar[str] = "warning"

    what: int
    records: int
    wait_s: float | None = None


class SiteProne(Event, frozen=True):
    """A site counts as prone to challenges from now on: it is held first."""

    level: ClassVar[str] = "debug"

    site: str


class SiteCleared(Event, frozen=True):
    """A site answers without challenges again."""

    level: ClassVar[str] = "debug"

    site: str


class SitePaceChanged(Event, frozen=True):
    """A site was slowed by its own answers, deeper or for the first time, held, or let go again.

    ``why`` is ``429``, ``503``, ``latency``, or ``recovered``. ``interval_s`` seconds lie between two of its
    requests at least, 0 at full pace; it is left alone for ``hold_s``.
    """

    site: str
    why: str
    interval_s: float
    hold_s: float


class RunChanged(Event, frozen=True):
    """An operator said how a run stands: ``running``, ``paused`` or ``cancelled``."""

    run: str
    state: str


class RunRecordIgnored(Event, frozen=True):
    """A record of the topic ``runs`` cannot be read; the run stays as it was."""

    level: ClassVar[str] = "warning"

    offset: int
    error: str


class RunsUnknown(Event, frozen=True):
    """The topic ``runs`` cannot be read for a moment; what was known last holds."""

    level: ClassVar[str] = "warning"

    error: str


class PolicyLoaded(Event, frozen=True):
    """The policy file was read, or has changed; it has so many host entries."""

    hosts: int


class PolicyRefused(Event, frozen=True):
    """The policy file is wrong or cannot be read: what held before holds. Told once for each sentence."""

    level: ClassVar[str] = "error"

    error: str


class ProxiesLoaded(Event, frozen=True):
    """The list of proxies was read, or has changed: how many there are, how many came and went."""

    proxies: int
    added: int
    removed: int
    healthy: int


class ProxyLinesRefused(Event, frozen=True):
    """Lines of the list are no proxies; the others are used. ``lines`` are the first ones' numbers."""

    level: ClassVar[str] = "warning"

    count: int
    lines: tuple[int, ...]
    first_problem: str


class ProxyListUnread(Event, frozen=True):
    """The list of proxies cannot be read or holds none; the last good one stays in use. Told once."""

    level: ClassVar[str] = "warning"

    error: str
    proxies: int


class ProxyListRead(Event, frozen=True):
    """The list of proxies can be read again."""

    proxies: int


class ProxyQuarantined(Event, frozen=True):
    """A proxy failed too often and is not used for ``seconds``; ``healthy`` are left."""

    level: ClassVar[str] = "warning"

    proxy: str
    failures: int
    successes: int
    seconds: float
    healthy: int


class ProxyRestored(Event, frozen=True):
    """A proxy passed its probation."""

    proxy: str
    healthy: int


class SubnetFailing(Event, frozen=True):
    """All proxies of a subnet are in quarantine or on probation: somebody has struck out the net.

    ``failing`` subnets are so now.
    """

    level: ClassVar[str] = "error"

    subnet: str
    proxies: int
    failing: int


class SubnetRestored(Event, frozen=True):
    """A subnet that failed as a whole has a healthy proxy, or none at all now; ``failing`` still fail."""

    subnet: str
    proxies: int
    failing: int


class NoHealthyProxy(Event, frozen=True):
    """No proxy can be used: the intake is held until one can, in ``seconds`` at the earliest."""

    level: ClassVar[str] = "error"

    proxies: int
    seconds: float


class ProxiesBack(Event, frozen=True):
    """A proxy can be used again; none could for ``seconds``."""

    seconds: float


class SessionPassed(Event, frozen=True):
    """A site let a visitor in after a challenge of that kind; his session is used from now on."""

    site: str
    kind: str


class SessionRetired(Event, frozen=True):
    """A session is used no longer: ``challenged`` again, ``blocked`` too often, or ``used_up``.

    Or its proxy left the list, or a list came where there was none: ``proxy_changed``.
    """

    level: ClassVar[str] = "debug"

    site: str
    reason: str
    uses: int


class SessionsRestored(Event, frozen=True):
    """What others knew of the visitors of a partition's sites was taken over."""

    partition: int
    visitors: int
    unreadable: int

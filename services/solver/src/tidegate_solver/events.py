"""What the solver says happened. No event holds a key, a token or a cookie."""

from typing import ClassVar

from tidegate.events import Event


class SolveAnswered(Event, frozen=True, kw_only=True):
    """A request was answered: the solver's canonical line. Times in seconds, cost in US dollars."""

    request_id: str
    site: str
    kind: str
    status: str
    provider: str | None = None
    task_id: str | None = None
    cost: float
    polls: int
    seconds: float
    error_code: str | None = None
    message: str


class AnswerRepeated(Event, frozen=True, kw_only=True):
    """A request that was answered before was answered again, at no cost (M4)."""

    request_id: str
    status: str


class TaskResumed(Event, frozen=True, kw_only=True):
    """A task that another process, or an earlier handler, created is polled on (M5)."""

    request_id: str
    task_id: str
    age_s: float


class SpentInDoubt(Event, frozen=True, kw_only=True):
    """Whether a task was made is not known; it counts as spent at its maximum (M3)."""

    level: ClassVar[str] = "warning"

    request_id: str
    provider: str
    cost: float
    message: str


class CreateRejected(Event, frozen=True, kw_only=True):
    """A solving service refused a task; nothing was spent."""

    level: ClassVar[str] = "warning"

    request_id: str
    provider: str
    code: str
    error_kind: str
    message: str
    tries: int


class ErrorCodeUnknown(Event, frozen=True, kw_only=True):
    """A solving service used an error code that its profile does not list."""

    level: ClassVar[str] = "warning"

    provider: str
    code: str
    message: str


class PollTroubled(Event, frozen=True, kw_only=True):
    """A poll was answered with something that is not understood, or not at all; polling goes on."""

    level: ClassVar[str] = "debug"

    request_id: str
    provider: str
    trouble: str


class CostAboveReservation(Event, frozen=True, kw_only=True):
    """A solve cost more than was reserved for it; the actual cost is booked (M2)."""

    level: ClassVar[str] = "error"

    request_id: str
    provider: str
    reserved: float
    cost: float


class StallNoticed(Event, frozen=True, kw_only=True):
    """This process stood still for too long; it buys nothing until the group has had its say (M3)."""

    level: ClassVar[str] = "warning"

    request_id: str


class JournalRestored(Event, frozen=True, kw_only=True):
    """The journal of a partition was read to its end (M6)."""

    partition: int
    records: int
    entries: int
    unreadable: int


class JournalTrimmed(Event, frozen=True, kw_only=True):
    """Answered requests were forgotten: ``reason`` is ``age`` or ``count``."""

    level: ClassVar[str] = "debug"

    partition: int
    dropped: int
    reason: str


class PurchaseOrphaned(Event, frozen=True, kw_only=True):
    """A purchase ended after its handler was gone; the journal has it for the next owner."""

    level: ClassVar[str] = "warning"

    request_id: str
    result: str


class HandlerFaulted(Event, frozen=True, kw_only=True):
    """Our own code failed on a request; it is answered all the same (C2)."""

    level: ClassVar[str] = "error"

    request_id: str
    error: str


class ProviderUnverified(Event, frozen=True, kw_only=True):
    """The profile in use rests on public hints only."""

    level: ClassVar[str] = "warning"

    provider: str
    note: str


class ConcurrencyChanged(Event, frozen=True, kw_only=True):
    """The limit of tasks at the service moved: ``why``, and what was seen of the calls judged.

    ``slowness`` is their median time as a ratio to an unhurried one, ``dropped`` the share refused or lost.
    """

    provider: str
    before: int
    after: int
    why: str
    slowness: float
    dropped: float


class BreakerOpened(Event, frozen=True, kw_only=True):
    """A solving service failed too often in a row, or its probe failed: nothing is sent to it for a while."""

    level: ClassVar[str] = "warning"

    provider: str


class BreakerProbed(Event, frozen=True, kw_only=True):
    """The breaker is half-open: one createTask goes out to find out whether the service is back."""

    provider: str


class BreakerClosed(Event, frozen=True, kw_only=True):
    """The service is back; requests go to it again."""

    provider: str


class CreateThrottled(Event, frozen=True, kw_only=True):
    """A createTask waits for the token bucket."""

    level: ClassVar[str] = "debug"

    provider: str
    wait_s: float


class ProviderOut(Event, frozen=True, kw_only=True):
    """A solving service is not asked any more: a person must look at the account (an alert).

    ``looks_again`` says that its balance is asked for from time to time, and brings it back.
    """

    level: ClassVar[str] = "error"

    provider: str
    code: str
    looks_again: bool


class ProviderPaused(Event, frozen=True, kw_only=True):
    """A solving service asked to be left alone for a while."""

    level: ClassVar[str] = "warning"

    provider: str
    code: str
    wait_s: float


class ProviderBack(Event, frozen=True, kw_only=True):
    """A solving service that was out is asked again: its account answers, with this balance in US dollars."""

    provider: str
    balance: float


class ProviderStanding(Event, frozen=True, kw_only=True):
    """This solver stops asking a solving service, or asks it again: ``out`` while a person must look at it.

    That is its account, or a charge above what was reserved. Every solver tells it for itself, also of what
    it found in the ledger at its start; ``provider_out`` and ``provider_barred`` say why, once.
    """

    level: ClassVar[str] = "debug"

    provider: str
    out: bool


class BalanceRead(Event, frozen=True, kw_only=True):
    """What an account has left, in US dollars; of a seller of threads, how many are free."""

    level: ClassVar[str] = "debug"

    provider: str
    balance: float


class BalanceLow(Event, frozen=True, kw_only=True):
    """An account has little left, in US dollars."""

    level: ClassVar[str] = "warning"

    provider: str
    balance: float


class ProviderSlump(Event, frozen=True, kw_only=True):
    """A solving service did nothing well of late, at several sites; or did something well again.

    ``what`` is what it fails to do: to take orders, to solve, or to open pages with what it solved.
    """

    level: ClassVar[str] = "warning"

    provider: str
    what: str
    slumped: bool


class SiteRefusal(Event, frozen=True, kw_only=True):
    """A site refuses a provider's answers, so that they are not bought for it; or takes them again."""

    level: ClassVar[str] = "warning"

    provider: str
    site: str
    kind: str
    refusing: bool


class SiteUnsolvable(Event, frozen=True, kw_only=True):
    """Nobody's answer opens a site, so that nothing is bought for it; or one did again (M7)."""

    level: ClassVar[str] = "warning"

    site: str
    kind: str
    unsolvable: bool


class AnswerJudged(Event, frozen=True, kw_only=True):
    """A site took an answer or refused it; ``reported`` says what the provider was told of it."""

    request_id: str
    provider: str
    site: str
    kind: str
    accepted: bool
    reported: str


class LedgerRestored(Event, frozen=True, kw_only=True):
    """The budget's ledger was read: ``records`` of them after the snapshot at offset ``snapshot``.

    ``spent`` in US dollars, ``open`` reservations. Of ``limits`` so many are ``used_up``; ``barred`` are the
    providers that charged more than was reserved.
    """

    snapshot: int
    records: int
    limits: int
    used_up: int
    open: int
    spent: str
    barred: tuple[str, ...]


class LedgerInterrupted(Event, frozen=True, kw_only=True):
    """The ledger could not be read for a moment; meanwhile nothing is bought."""

    level: ClassVar[str] = "warning"

    offset: int
    error: str


class LedgerRecordIgnored(Event, frozen=True, kw_only=True):
    """A record of the ledger changed nothing, for everybody who reads it."""

    level: ClassVar[str] = "warning"

    offset: int
    kind: str
    why: str


class SnapshotWritten(Event, frozen=True, kw_only=True):
    """The ledger's state before the record at ``offset`` was written down; ``size`` in bytes."""

    level: ClassVar[str] = "debug"

    offset: int
    size: int


class SnapshotTooLarge(Event, frozen=True, kw_only=True):
    """A snapshot does not fit its topic: the next start reads more of the log, and nothing else changes."""

    level: ClassVar[str] = "warning"

    offset: int
    size: int


class BudgetLevel(Event, frozen=True, kw_only=True):
    """50, 80 or 100 percent of a budget are spent or reserved. Amounts in US dollars."""

    level: ClassVar[str] = "warning"

    scope: str
    percent: int
    used: str
    limit: str


class BudgetRead(Event, frozen=True, kw_only=True):
    """How a budget stands: spent or reserved, and its limit where it has one. Amounts in US dollars."""

    level: ClassVar[str] = "debug"

    scope: str
    used: float
    limit: float | None = None


class ProviderBarred(Event, frozen=True, kw_only=True):
    """A provider charged more than was reserved: no solver uses it until a person admits it again (M2)."""

    level: ClassVar[str] = "error"

    provider: str
    request_id: str
    reserved: str
    cost: str


class PurchaseDenied(Event, frozen=True, kw_only=True):
    """The ledger granted no money for a request; ``scope`` is the budget that is used up."""

    request_id: str
    provider: str
    reason: str
    scope: str | None = None


class LeftoverSettled(Event, frozen=True, kw_only=True):
    """A reservation that no journal knows of was settled at its maximum, in doubt (M3). In US dollars."""

    level: ClassVar[str] = "warning"

    request_id: str
    provider: str
    cost: float


class UnreadRead(Event, frozen=True, kw_only=True):
    """How many answers the fetchers are not done with, and the age of the oldest unread one in seconds."""

    level: ClassVar[str] = "debug"

    records: int
    oldest_s: float


class UnreadWallShut(Event, frozen=True, kw_only=True):
    """The oldest unread answer of a partition is too old: nothing is bought for its sites."""

    level: ClassVar[str] = "warning"

    partition: int
    age_s: float


class UnreadWallOpened(Event, frozen=True, kw_only=True):
    """A partition's answers are read again; for ``seconds`` nothing was bought for its sites."""

    partition: int
    seconds: float


class UnreadUnknown(Event, frozen=True, kw_only=True):
    """Nobody can say whether answers are read: nothing is bought until somebody can."""

    level: ClassVar[str] = "warning"

    error: str


class PurchaseHeld(Event, frozen=True, kw_only=True):
    """A request waits because answers for its site lie unread."""

    level: ClassVar[str] = "debug"

    request_id: str
    site: str

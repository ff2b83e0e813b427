"""What stands in the ledger: the records of the topic ``budget``, in the order of the log.

They are money's only truth. Every solver reads all of them and nothing else, so all solvers know the same
(delivery.md M1, M2). Amounts are whole millionths of a US dollar.
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec

from tidegate.errors import ConfigurationError, RecordError
from tidegate.money import MicroUsd
from tidegate.outcome import Outgoing, Reason
from tidegate.records import Milliseconds
from tidegate.topics import Topic

LEDGER_VERSION = 1


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a limit is for: a run, a site, a run at a site, or everything; for ever or for each UTC day."""

    run: str | None = None
    site: str | None = None
    daily: bool = False

    def __str__(self) -> str:
        run = f"run {self.run}" if self.run is not None else ""
        site = f"site {self.site}" if self.site is not None else ""
        whom = " at ".join(part for part in (run, site) if part) or "everything"
        return f"{whom}, a day" if self.daily else whom


class StopState(StrEnum):
    """Why a run may not spend."""

    PAUSED = "paused"
    CANCELLED = "cancelled"


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", gc=False):
    """Base of all. ``by`` names the process that wrote it, anew at every start."""

    version: int = LEDGER_VERSION
    by: str


class Limit(LedgerRecord, frozen=True, kw_only=True, tag="limit"):
    """From here on at most ``amount`` may be spent within a scope; None takes the limit away."""

    scope: Scope
    amount: MicroUsd | None


class Reserve(LedgerRecord, frozen=True, kw_only=True, tag="reserve"):
    """Asks for up to ``amount`` for one createTask. ``id`` is never used again, by anybody.

    ``sent_at_ms`` is the writer's estimate of the broker's clock: a record that was long on its way is
    refused, because nobody waits for it any more.
    """

    id: str
    request_id: str
    run: str
    site: str
    provider: str
    amount: MicroUsd
    sent_at_ms: Milliseconds


class Settle(LedgerRecord, frozen=True, kw_only=True, tag="settle"):
    """The reservation's task cost ``cost``; ``in_doubt`` where nobody knows whether there was one (M3)."""

    id: str
    request_id: str
    cost: MicroUsd
    in_doubt: bool = False


class Void(LedgerRecord, frozen=True, kw_only=True, tag="void"):
    """Nothing was spent: createTask was refused for certain, or never sent (M3)."""

    id: str
    request_id: str


class Stop(LedgerRecord, frozen=True, kw_only=True, tag="stop"):
    """From here on a run spends nothing; None lets it spend again."""

    run: str
    state: StopState | None


class Admit(LedgerRecord, frozen=True, kw_only=True, tag="admit"):
    """A person says that a provider which charged more than was reserved may be used again."""

    provider: str


class Mark(LedgerRecord, frozen=True, kw_only=True, tag="mark"):
    """Changes nothing: whoever reads it back has read all that was there when it was written."""

    id: str


Entry: TypeAlias = Limit | Reserve | Settle | Void | Stop | Admit | Mark


class _Head(msgspec.Struct):
    version: int


_encoder = msgspec.json.Encoder()
_entry = msgspec.json.Decoder(Entry)
_head = msgspec.json.Decoder(_Head)


def entry_record(entry: Entry) -> Outgoing:
    """Return a record of the ledger's one partition."""
    return Outgoing(topic=Topic.BUDGET, site="", key=b"", partition=0, value=_encoder.encode(entry))


def read_entry(value: bytes) -> Entry:
    """Read a record.

    Raises RecordError for what no version of Tidegate wrote: everybody ignores it alike. Raises
    ConfigurationError for what a newer one wrote: who cannot read it must not decide any more.
    """
    try:
        entry: Entry = _entry.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_newer(value)
        raise RecordError(Reason.BAD_STATE, f"a record of the ledger cannot be read: {error}") from error
    if entry.version > LEDGER_VERSION:
        _refuse_newer(value)
    return entry


def _refuse_newer(value: bytes) -> None:
    try:
        version = _head.decode(value).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if version > LEDGER_VERSION:
        message = (
            f"The budget's ledger holds records of version {version}, this build reads {LEDGER_VERSION}: "
            "bring every solver up to the newest version."
        )
        raise ConfigurationError(message)

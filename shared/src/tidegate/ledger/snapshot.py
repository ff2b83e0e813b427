"""Snapshots of the ledger: what stands on the compacted topic ``budget-snapshots``. Pure.

A snapshot is a function of the log up to an offset, so it does not matter who wrote it, or how often: of
several the one that reaches farthest is the best, and any of them is good. It saves reading, it proves
nothing: the log is what counts.
"""

import zlib
from collections.abc import Iterable

import msgspec

from tidegate.ledger.decisions import State
from tidegate.ledger.entries import LEDGER_VERSION
from tidegate.ledger.machine import Ledger
from tidegate.outcome import Outgoing
from tidegate.topics import Topic

EVERY = 10_000
KEY = b"ledger"
_MOST_BYTES = 256 << 20


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The value of the record, JSON within zlib."""

    version: int = LEDGER_VERSION
    state: State


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)


def is_due(offset: int) -> bool:
    """Say whether a snapshot is taken after the record at ``offset``, by whoever wrote that record."""
    return offset % EVERY == EVERY - 1


def snapshot_record(ledger: Ledger) -> Outgoing:
    """Return the record of a ledger as it is now."""
    value = zlib.compress(_encoder.encode(Snapshot(state=ledger.state())), level=1)
    return Outgoing(topic=Topic.BUDGET_SNAPSHOTS, site="", key=KEY, partition=0, value=value)


def read_snapshot(value: bytes) -> Ledger | None:
    """Return the ledger of a record, None where it cannot be read: then the log is read from further back."""
    try:
        unpacker = zlib.decompressobj()
        snapshot = _decoder.decode(unpacker.decompress(value, _MOST_BYTES))
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Ledger.restored(snapshot.state) if snapshot.version == LEDGER_VERSION else None


def farthest(values: Iterable[bytes]) -> Ledger:
    """Return the ledger that reaches farthest, an empty one where none can be read."""
    best = Ledger()
    for value in values:
        found = read_snapshot(value)
        if found is not None and found.next_offset > best.next_offset:
            best = found
    return best

"""What a process tells the monitor each second: sums, times and latest values, added up beforehand. Pure.

A record holds parts by scope and subject: ``parts["site"]["shop.example"]``. The subject of what concerns the
whole process is "". Sums and times are of one second only and are added; latest values are repeated in each
record, so that whoever starts to read knows them all after a second.

Times are kept as counts in buckets whose bounds grow by a tenth: two of them add up to a third, and a
quantile read from it is at most five percent off (the idea of DDSketch).
"""

import math
from collections.abc import Mapping
from functools import lru_cache

import msgspec

STATS_VERSION = 1
SERVICE, SITE, PROVIDER, PROXY, TOPIC, BUDGET, SUBNET, WALL = (
    "service",
    "site",
    "provider",
    "proxy",
    "topic",
    "budget",
    "subnet",
    "wall",
)
OTHER = "(other)"

_GROWTH = 1.1
_LOG_GROWTH = math.log(_GROWTH)
_LEAST, _MOST = 0.001, 100_000.0


class Part(msgspec.Struct, omit_defaults=True, gc=False):
    """What happened to one subject. ``times`` counts by bucket."""

    sums: dict[str, float] = {}
    times: dict[str, dict[int, int]] = {}
    last: dict[str, float] = {}

    def add(self, other: "Part") -> None:
        """Take another part in; its latest values replace ours."""
        for name, amount in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + amount
        for name, counts in other.times.items():
            mine = self.times.setdefault(name, {})
            for bucket, count in counts.items():
                mine[bucket] = mine.get(bucket, 0) + count
        self.last.update(other.last)


class DeadNote(msgspec.Struct, frozen=True):
    """One of the dead letters of the second, as a sample."""

    reason: str
    site: str
    run: str
    job_id: str
    message: str


class StatsDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of the topic ``stats``; ``seconds`` is how long it covers."""

    version: int = STATS_VERSION
    service: str
    instance: str
    seconds: float
    parts: dict[str, dict[str, Part]] = {}
    dead: tuple[DeadNote, ...] = ()


@lru_cache(4096)
def bucket_of(value: float) -> int:
    """Return the bucket of a positive value; what is out of all bounds goes into the first or the last."""
    return math.ceil(math.log(min(max(value, _LEAST), _MOST)) / _LOG_GROWTH)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the value below which this share of the counted ones lies; None where nothing was counted."""
    total = sum(counts.values())
    if total <= 0:
        return None
    rank, seen = share * (total - 1), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen > rank:
            # The middle of a bucket is at most five percent off either bound.
            return float(2.0 * _GROWTH**bucket / (1.0 + _GROWTH))
    return None


_decoder = msgspec.json.Decoder(StatsDelta)


def decode(value: bytes) -> StatsDelta | None:
    """Return a record; None where it is none, or of a version that is too new."""
    try:
        delta = _decoder.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return delta if delta.version <= STATS_VERSION else None

"""The declaration of every topic: one table from which they are created, checked and named."""

from enum import StrEnum

import msgspec

from tidegate.records import Lane

_MIB = 1 << 20
_DAY_MS = 86_400_000


class Topic(StrEnum):
    """Logical names; an installation's prefix is put before them at the broker."""

    URLS_HIGH = "urls-high"
    URLS = "urls"
    URLS_LOW = "urls-low"
    HELD_HIGH = "urls-held-high"
    HELD = "urls-held"
    HELD_LOW = "urls-held-low"
    RETRY_2S = "urls-retry-2s"
    RETRY_4S = "urls-retry-4s"
    RETRY_8S = "urls-retry-8s"
    RETRY_20S = "urls-retry-20s"
    RETRY_1M = "urls-retry-1m"
    RETRY_3M = "urls-retry-3m"
    RETRY_10M = "urls-retry-10m"
    RETRY_1H = "urls-retry-1h"
    RETRY_6H = "urls-retry-6h"
    RETRY_1D = "urls-retry-1d"
    RETRY_4D = "urls-retry-4d"
    CAPTCHA_REQUESTS = "captcha-requests"
    CAPTCHA_SOLUTIONS = "captcha-solutions"
    CAPTCHA_TASKS = "captcha-tasks"
    CAPTCHA_VERDICTS = "captcha-verdicts"
    SESSIONS = "sessions"
    BUDGET = "budget"
    BUDGET_SNAPSHOTS = "budget-snapshots"
    RUNS = "runs"
    PAGES = "pages"
    SOLVES = "solves"
    DEAD_LETTER = "dead-letter"
    STATS = "stats"
    SITE_HEALTH = "site-health"
    ALERTS = "alerts"


LANES: dict[Lane, Topic] = {
    Lane.HIGH: Topic.URLS_HIGH,
    Lane.NORMAL: Topic.URLS,
    Lane.LOW: Topic.URLS_LOW,
}

# Where jobs of challenge-prone sites wait while the gate holds these back, each in its own lane.
HELD: dict[Lane, Topic] = {
    Lane.HIGH: Topic.HELD_HIGH,
    Lane.NORMAL: Topic.HELD,
    Lane.LOW: Topic.HELD_LOW,
}

# Delay classes in seconds, ascending: due = append time + delay, so the head is always the next due (T2).
# Each is two to six times the one before: a wait of thirteen days takes no more than 27 of them (T3).
DELAYS: dict[Topic, float] = {
    Topic.RETRY_2S: 2.0,
    Topic.RETRY_4S: 4.0,
    Topic.RETRY_8S: 8.0,
    Topic.RETRY_20S: 20.0,
    Topic.RETRY_1M: 60.0,
    Topic.RETRY_3M: 180.0,
    Topic.RETRY_10M: 600.0,
    Topic.RETRY_1H: 3600.0,
    Topic.RETRY_6H: 21_600.0,
    Topic.RETRY_1D: 86_400.0,
    Topic.RETRY_4D: 345_600.0,
}
# Sooner than that no delay topic brings a job back.
SHORTEST_DELAY_S = min(DELAYS.values())


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a topic is made. Sizes in bytes, times in milliseconds; a retention of -1 is for ever.

    ``site_keyed`` topics have equal partition counts, checked at start (S2). The others have one partition:
    whoever reads them needs all of them, in one order.
    """

    topic: Topic
    max_message_bytes: int
    retention_ms: int
    compacted: bool = False
    site_keyed: bool = True
    segment_bytes: int | None = None
    segment_ms: int | None = None

    def config(self, *, min_insync_replicas: int) -> dict[str, str]:
        """Return the topic's settings as Kafka spells them."""
        config = {
            "max.message.bytes": str(self.max_message_bytes),
            "retention.ms": str(self.retention_ms),
            # A journal's entries are compacted while they matter and deleted like everything else then.
            "cleanup.policy": "compact,delete" if self.compacted else "delete",
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": str(min_insync_replicas),
            "unclean.leader.election.enable": "false",
        }
        if self.segment_bytes is not None:
            config["segment.bytes"] = str(self.segment_bytes)
        if self.segment_ms is not None:
            config["segment.ms"] = str(self.segment_ms)
        return config


def declare(outage_days: int = 14) -> tuple[TopicSpec, ...]:
    """Return every topic. Custody topics keep records at least ``outage_days`` (C6).

    Delay topics keep them for as long beyond their delay. Sizes are a ladder (C9): what was taken in must fit
    wherever the job goes next.
    """
    keep = outage_days * _DAY_MS
    intake, delay, captcha, dead = 12 * _MIB, 13 * _MIB, 20 * _MIB, 24 * _MIB
    small = 1 * _MIB
    return (
        *(TopicSpec(topic=t, max_message_bytes=intake, retention_ms=keep) for t in LANES.values()),
        *(TopicSpec(topic=t, max_message_bytes=delay, retention_ms=keep) for t in HELD.values()),
        *(
            TopicSpec(topic=t, max_message_bytes=delay, retention_ms=keep + int(delay_s * 1000))
            for t, delay_s in DELAYS.items()
        ),
        TopicSpec(topic=Topic.CAPTCHA_REQUESTS, max_message_bytes=captcha, retention_ms=keep),
        TopicSpec(topic=Topic.CAPTCHA_SOLUTIONS, max_message_bytes=captcha, retention_ms=keep),
        TopicSpec(topic=Topic.CAPTCHA_VERDICTS, max_message_bytes=small, retention_ms=keep),
        TopicSpec(
            topic=Topic.CAPTCHA_TASKS,
            max_message_bytes=captcha,
            retention_ms=keep,
            compacted=True,
            segment_bytes=16 * _MIB,
            segment_ms=600_000,
        ),
        # A session lives for a day at most, and who takes a site over reads all of them.
        TopicSpec(
            topic=Topic.SESSIONS,
            max_message_bytes=small,
            retention_ms=2 * _DAY_MS,
            compacted=True,
            segment_bytes=16 * _MIB,
            segment_ms=600_000,
        ),
        # Kept for ever: a reserve that has gone is money that may be spent again, and a quiet installation
        # takes months to its next snapshot. A million solves are about 0.6 GB.
        TopicSpec(topic=Topic.BUDGET, max_message_bytes=small, retention_ms=-1, site_keyed=False),
        TopicSpec(
            topic=Topic.BUDGET_SNAPSHOTS,
            max_message_bytes=captcha,
            retention_ms=-1,
            compacted=True,
            site_keyed=False,
            segment_bytes=16 * _MIB,
        ),
        TopicSpec(
            topic=Topic.RUNS, max_message_bytes=small, retention_ms=-1, compacted=True, site_keyed=False
        ),
        TopicSpec(topic=Topic.PAGES, max_message_bytes=dead, retention_ms=keep),
        TopicSpec(topic=Topic.SOLVES, max_message_bytes=small, retention_ms=keep),
        TopicSpec(topic=Topic.DEAD_LETTER, max_message_bytes=dead, retention_ms=keep),
        # The monitor reads all of it at its start, and needs no more than its longest window of it.
        TopicSpec(
            topic=Topic.STATS,
            max_message_bytes=small,
            retention_ms=3_600_000,
            site_keyed=False,
            segment_ms=600_000,
        ),
        TopicSpec(
            topic=Topic.SITE_HEALTH,
            max_message_bytes=small,
            retention_ms=_DAY_MS,
            compacted=True,
            site_keyed=False,
        ),
        TopicSpec(
            topic=Topic.ALERTS,
            max_message_bytes=small,
            retention_ms=keep,
            compacted=True,
            site_keyed=False,
        ),
    )


MAX_RECORD_BYTES = 24 * _MIB

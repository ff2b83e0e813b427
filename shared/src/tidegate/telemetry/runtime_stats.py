"""What of the consumer runtime's events and state the monitor is told of."""

from tidegate.consume import runtime_events as events
from tidegate.stats import SITE, TOPIC, WALL
from tidegate.telemetry.tally import How, Tally

STATES = (
    "assigned",
    "ready",
    "in_hand",
    "bytes_in_hand",
    "buffered",
    "held",
    "isolated",
    "stuck",
    "loop_lag_s",
)

RUNTIME_STATS = (
    Tally(name="retried", event=events.JobRetried, label="error_class"),
    Tally(name="retried", event=events.JobRetried, scope=SITE, by="site"),
    Tally(name="deferred", event=events.JobDeferred),
    Tally(name="dead", event=events.JobDead, label="reason"),
    Tally(name="dead", event=events.JobDead, scope=SITE, by="site"),
    Tally(name="faults", event=events.HandlerFaulted),
    Tally(
        name="retention_near",
        event=events.RetentionNears,
        how=How.LAST,
        scope=TOPIC,
        by="topic",
    ),
    Tally(
        name="retention_near",
        event=events.RetentionFar,
        how=How.LAST,
        scope=TOPIC,
        by="topic",
        value=0.0,
    ),
    Tally(name="full", event=events.BoundReached, how=How.LAST, scope=WALL, by="bound"),
    Tally(name="full", event=events.BoundFreed, how=How.LAST, scope=WALL, by="bound", value=0.0),
)
"""The service's own come on top of these."""

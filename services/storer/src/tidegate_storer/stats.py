"""What of the storer's events the monitor is told of."""

from tidegate.stats import WALL
from tidegate.telemetry.tally import How, Tally

from tidegate_storer import events

_CLICKHOUSE = "ClickHouse"

STATS = (
    Tally(name="stored_records", event=events.BatchStored, value="records"),
    Tally(name="stored_rows", event=events.BatchStored, value="rows"),
    Tally(name="stored_bytes", event=events.BatchStored, value="bytes"),
    Tally(name="store_s", event=events.BatchStored, how=How.TIMES, value="seconds"),
    Tally(name="refused_rows", event=events.RowRefused),
    Tally(name="inserts_held", event=events.InsertHeld),
    Tally(name="shut", event=events.InsertHeld, how=How.LAST, scope=WALL, subject=_CLICKHOUSE),
    Tally(name="shut", event=events.TooManyRefused, how=How.LAST, scope=WALL, subject=_CLICKHOUSE),
    Tally(name="shut", event=events.ClickHouseAway, how=How.LAST, scope=WALL, subject=_CLICKHOUSE),
    Tally(name="shut", event=events.StorerReady, how=How.LAST, scope=WALL, subject=_CLICKHOUSE, value=0.0),
    Tally(name="shut", event=events.BatchStored, how=How.LAST, scope=WALL, subject=_CLICKHOUSE, value=0.0),
)

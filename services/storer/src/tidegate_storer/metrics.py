"""The storer's own metrics."""

from tidegate.telemetry.metric import BYTES, COUNTS, Kind, Metric, Source

from tidegate_storer import events

METRICS = (
    Metric(
        name="tidegate.store.rows",
        kind=Kind.COUNTER,
        unit="{row}",
        sources=(Source(events.BatchStored, "rows"),),
        meaning="Rows that ClickHouse acknowledged, of all tables.",
        action="Flat with a growing lag of `pages`: see `tidegate.store.held`.",
    ),
    Metric(
        name="tidegate.store.records",
        kind=Kind.COUNTER,
        unit="{record}",
        sources=(Source(events.BatchStored, "records"),),
        meaning="Records stored.",
        action="The storer's throughput.",
    ),
    Metric(
        name="tidegate.store.batch",
        kind=Kind.HISTOGRAM,
        unit="{record}",
        sources=(Source(events.BatchStored, "records"),),
        buckets=COUNTS,
        meaning="Records of a batch.",
        action="Small batches at full load: the timer is shorter than the batch needs.",
    ),
    Metric(
        name="tidegate.store.batch.size",
        kind=Kind.HISTOGRAM,
        unit="By",
        sources=(Source(events.BatchStored, "bytes"),),
        buckets=BYTES,
        meaning="Bytes of a batch before compression.",
        action="Nothing by itself.",
    ),
    Metric(
        name="tidegate.store.duration",
        kind=Kind.HISTOGRAM,
        unit="s",
        sources=(Source(events.BatchStored, "seconds"),),
        meaning="Time of a batch's inserts.",
        action="Above a few seconds: ClickHouse is slow; look for merges and for too many parts.",
    ),
    Metric(
        name="tidegate.store.held",
        kind=Kind.COUNTER,
        unit="{insert}",
        labels=("table",),
        sources=(Source(events.InsertHeld), Source(events.TooManyRefused)),
        meaning="Inserts that ClickHouse did not take and that are sent again; the source is held back.",
        action="The log has ClickHouse's code. Nothing is lost; the lag of `pages` rises, the fetcher slows.",
    ),
    Metric(
        name="tidegate.store.refused",
        kind=Kind.COUNTER,
        unit="{row}",
        labels=("table",),
        sources=(Source(events.RowRefused),),
        meaning="Rows refused for what is in them; their jobs become dead letters.",
        action="Any: a column does not take what a page holds. Report it.",
    ),
    Metric(
        name="tidegate.parsers.died",
        kind=Kind.COUNTER,
        unit="{process}",
        sources=(Source(events.ParserDied),),
        meaning="Parser processes that crashed, hung or ate too much memory; they are replaced.",
        action="One page or one parser: `tidegate dlq ls --reason parse_error` names it.",
    ),
    Metric(
        name="tidegate.clickhouse.away",
        kind=Kind.COUNTER,
        unit="{try}",
        sources=(Source(events.ClickHouseAway),),
        meaning="Tries to reach ClickHouse at the start that failed.",
        action="Look at ClickHouse and at the address in the settings.",
    ),
)

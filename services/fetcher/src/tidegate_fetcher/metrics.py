"""The fetcher's own metrics."""

from tidegate.telemetry.metric import BYTES, Kind, Metric, Source

from tidegate_fetcher import events

METRICS = (
    Metric(
        name="tidegate.fetches",
        kind=Kind.COUNTER,
        unit="{fetch}",
        labels=("outcome",),
        sources=(Source(events.FetchDone),),
        meaning="Jobs and solutions handled, by what became of them. The CAPTCHA rate is `challenge` ÷ "
        "(`page` + `challenge`).",
        action="`challenge` above 30 %: add proxies, not workers. Above 40 %: the sites have noticed you.",
    ),
    Metric(
        name="tidegate.fetch.duration",
        kind=Kind.HISTOGRAM,
        unit="s",
        labels=("outcome",),
        sources=(Source(events.FetchDone, "elapsed_ms", 0.001),),
        meaning="Time from the first byte sent to the last byte read, redirects included.",
        action="Rising for all outcomes: the network or the proxies. For one site: see the monitor.",
    ),
    Metric(
        name="tidegate.fetch.body",
        kind=Kind.HISTOGRAM,
        unit="By",
        sources=(Source(events.FetchDone, "body_bytes"),),
        buckets=BYTES,
        meaning="Decoded size of answers.",
        action="Nothing by itself; storage and the storer are sized by it.",
    ),
    Metric(
        name="tidegate.fetch.wire",
        kind=Kind.COUNTER,
        unit="By",
        sources=(Source(events.FetchDone, "wire_bytes"),),
        meaning="Bytes read from the network; what proxies are billed by.",
        action="Nothing by itself.",
    ),
    Metric(
        name="tidegate.jobs.fields.unknown",
        kind=Kind.COUNTER,
        unit="{field}",
        sources=(Source(events.UnknownFieldIgnored),),
        meaning="Fields of jobs that are not known here; each is counted once.",
        action="A misspelling in a producer, or a newer producer: the log names the field.",
    ),
)

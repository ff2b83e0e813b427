"""The days that are simulated, what is found in them, and the page that shows it."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from support import scaling_loop
from support.scaling_model import (
    HOUR_S,
    PODS,
    Day,
    Sample,
    drained_after,
    simulate,
    turns,
)
from support.scaling_policy import policies
from support.svg_chart import Line, Panel, draw

SERVICES = ("fetcher", "solver", "storer")
# Ten times the steady load for five minutes, in the middle of each trouble, too; four times for half an hour.
BURSTS = (
    *((hour, 5.0, 1500.0) for hour in (2.0, 8.5, 13.25, 19.0)),
    (5.0, 30.0, 600.0),
)
STORM = (8.0, 60.0, 0.5)
OUTAGE = (13.0, 30.0, 0.0)
DAY = Day(steady=150.0, bursts=BURSTS, storms=(STORM,), outages=(OUTAGE,))
# Loads between whole replicas, where counts that follow lag alone never come to rest.
STEADY = (130.0, 250.0, 440.0, 560.0)
DRAINED = 1000.0
TARGET_S = 15 * 60.0


@cache
def the_day() -> tuple[Sample, ...]:
    """Return the day by the chart's defaults."""
    return tuple(simulate(DAY, policies()))


@cache
def at_rest(load: float, *, prometheus: bool = True, hours: float = 4) -> tuple[Sample, ...]:
    """Return hours of one load that never changes, with and without the work that Prometheus tells of."""
    return tuple(simulate(Day(steady=load), policies(prometheus=prometheus), hours=hours))


def braked_spans(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Yield what was there while the brake was on, span by span."""
    for on, span in groupby(samples, key=lambda each: each.brake):
        if on:
            yield list(span)


def free_at(hour: float) -> float:
    """Return the hour from which on nothing holds the fetchers any more that began before."""
    for begun, minutes, _ in (STORM, OUTAGE):
        if begun <= hour < begun + minutes / 60:
            return begun + minutes / 60
    return hour


def drains() -> list[tuple[float, float, float]]:
    """Return of each burst: its hour, the seconds from which on it could drain, and those that it took."""
    found = []
    for hour, minutes, _ in sorted(BURSTS):
        end = max(hour + minutes / 60, free_at(hour)) * HOUR_S
        found.append((hour, end, drained_after(list(the_day()), end, below=DRAINED)))
    return found


def charts() -> dict[str, str]:
    """Return the drawings by file name."""
    day = the_day()
    hours = [each.at_s / HOUR_S for each in day]
    index = {each.at_s: number for number, each in enumerate(day)}
    braked = tuple((index[span[0].at_s], index[span[-1].at_s]) for span in braked_spans(day))
    lag_only, with_work = at_rest(250.0, prometheus=False), at_rest(250.0)
    return {
        "loop.svg": scaling_loop.drawing(),
        "day.svg": draw(
            hours,
            [
                Panel(title="URLs a second", lines=(Line("arriving", [each.arrivals for each in day]),)),
                Panel(
                    title="lag, records",
                    lines=tuple(Line(name, [each.lag[name] for each in day]) for name in SERVICES),
                ),
                Panel(
                    title="wanted replicas",
                    lines=tuple(
                        Line(name, [each.wanted[name] for each in day], steps=True) for name in SERVICES
                    ),
                    bands=braked,
                    band="the brake is on",
                ),
                Panel(
                    title="challenges, share of answers",
                    lines=(Line("seen over five minutes", [each.captcha for each in day]),),
                ),
            ],
        ),
        "steady.svg": draw(
            [each.at_s / HOUR_S for each in lag_only],
            [
                Panel(
                    title=f"fetchers wanted at 250 URLs a second, by {name}",
                    lines=(Line("wanted", [each.wanted["fetcher"] for each in samples], steps=True),),
                )
                for name, samples in (("lag alone", lag_only), ("lag and work", with_work))
            ],
        ),
    }


def page() -> str:
    """Return the document."""
    day, fetcher = the_day(), policies()["fetcher"]
    head = Path(__file__).with_name("scaling_head.md").read_text("utf-8")
    parts = [head.replace("FORMULA", fetcher.formula), "## The figures\n"]
    parts += ["| Burst at | Could drain from | Drained after |", "|---|---|---|"]
    parts += [f"| {hour:g} h | {end / HOUR_S:.2f} h | {took / 60:.0f} min |" for hour, end, took in drains()]
    parts += [
        "",
        "| Service | Least, most | Most wanted | Changes in the day | A pod does |",
        "|---|---|---|---|---|",
    ]
    for name, policy in policies().items():
        changes = turns(list(day), name)
        most = max(each.wanted[name] for each in day)
        parts.append(
            f"| {name} | {policy.minimum}, {policy.maximum} | {most} | {len(changes)} "
            f"| {PODS[name].rate:.3g}/s |"
        )
    parts += [
        "",
        "| Steady URLs a second | Fetchers in the end | Changes after the first hour | By lag alone |",
    ]
    parts += ["|---|---|---|---|"]
    for load in STEADY:
        late = len(_late(at_rest(load)))
        alone = len(_late(at_rest(load, prometheus=False)))
        parts.append(f"| {load:g} | {at_rest(load)[-1].wanted['fetcher']} | {late} | {alone} |")
    return "\n".join([*parts, "", scaling_loop.section()])


def _late(samples: Sequence[Sample]) -> list[tuple[float, int]]:
    return [turn for turn in turns(list(samples), "fetcher") if turn[0] >= HOUR_S]

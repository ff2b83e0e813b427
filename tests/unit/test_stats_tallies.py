"""What a process tells the monitor: sums of a second, times in buckets, and the latest values."""

import msgspec
import pytest
from tidegate.consume.runtime_events import BoundFreed, BoundReached, JobDead
from tidegate.consume.runtime_events import JobRetried as Retried
from tidegate.stats import OTHER, Part, StatsDelta, bucket_of, decode, quantile
from tidegate.telemetry.runtime_stats import RUNTIME_STATS
from tidegate.telemetry.tally import How, Tallies, Tally
from tidegate_fetcher.events import FetchDone
from tidegate_fetcher.stats import STATS as FETCHER
from tidegate_solver.events import BreakerClosed, BreakerOpened, SolveAnswered
from tidegate_solver.stats import STATS as SOLVER


def tallies(*more: Tally) -> Tallies:
    """Return the tallies of a service that is all of them."""
    return Tallies(
        "all", "host:1", (*RUNTIME_STATS, *FETCHER, *SOLVER, *more), dead=JobDead, states=("stuck",)
    )


def fetched(site: str, outcome: str = "page") -> FetchDone:
    """Return the line of a fetch."""
    return FetchDone(
        run="r",
        id="i",
        site=site,
        place="p",
        outcome=outcome,
        elapsed_ms=200,
        hop=0,
        resumed=False,
        challenged=False,
    )


def solved(seconds: float, status: str = "solved") -> SolveAnswered:
    """Return the line of a solve."""
    return SolveAnswered(
        request_id="q",
        site="s",
        kind="k",
        status=status,
        provider="acme",
        task_id=None,
        cost=0.002,
        polls=1,
        seconds=seconds,
        error_code=None,
        message="",
    )


def test_events_are_added_up_by_service_and_by_site() -> None:
    """One fetch counts twice: for the service and for its site."""
    counted = tallies()
    for outcome in ("page", "page", "challenge"):
        counted.note(fetched("a", outcome))
    delta = counted.take(1.0)
    assert delta.parts["service"][""].sums["fetch:page"] == 2
    assert delta.parts["site"]["a"].sums == {"fetch:page": 2, "fetch:challenge": 1}
    assert quantile(delta.parts["service"][""].times["fetch_s"], 0.5) == pytest.approx(0.2, rel=0.05)


def test_sums_begin_anew_and_latest_values_stay() -> None:
    """Whoever starts to read knows all states after one record."""
    counted = tallies()
    counted.note(fetched("a"))
    counted.note(BreakerOpened(provider="acme"))
    counted.take(1.0)
    second = counted.take(1.0)
    assert "site" not in second.parts
    assert second.parts["provider"]["acme"].last == {"breaker": 2.0}
    counted.note(BreakerClosed(provider="acme"))
    assert counted.take(1.0).parts["provider"]["acme"].last == {"breaker": 0.0}


def test_a_record_names_the_busiest_sites_and_adds_the_others_up() -> None:
    """A thousand sites in a second make no record of a thousand."""
    counted = tallies()
    for number in range(1000):
        counted.note(fetched(f"site-{number}"))
    for _ in range(5):
        counted.note(fetched("busy"))
    sites = counted.take(1.0).parts["site"]
    assert len(sites) == 51
    assert sites["busy"].sums["fetch:page"] == 5
    assert sum(part.sums["fetch:page"] for part in sites.values()) == 1005
    assert sites[OTHER].sums["fetch:page"] == 951


def test_names_and_subjects_are_bounded() -> None:
    """Whatever a reason or a provider is called, a record stays small."""
    counted = tallies()
    for number in range(500):
        counted.note(
            Retried(run="r", job_id="j", site="s", error_class=f"class-{number}", wait_s=1, message="")
        )
        counted.note(BreakerOpened(provider=f"provider-{number}"))
    delta = counted.take(1.0)
    assert len(delta.parts["service"][""].sums) == 65
    assert delta.parts["service"][""].sums[f"retried:{OTHER}"] == 436
    assert len(delta.parts["provider"]) == 100


def test_a_solve_that_failed_has_no_time() -> None:
    """What the time of solves is made of are those that were solved."""
    counted = tallies()
    for event in (solved(20.0), solved(90.0, "failed")):
        counted.note(event)
    part = counted.take(1.0).parts["provider"]["acme"]
    assert part.sums["solve:solved"] == part.sums["solve:failed"] == 1
    assert part.sums["spent"] == pytest.approx(0.004)
    assert part.times["solve_s"] == {bucket_of(20.0): 1}


def test_dead_letters_leave_a_few_samples() -> None:
    """A person sees what they look like, cut to a bounded size."""
    counted = tallies()
    for number in range(9):
        counted.note(JobDead(run="r", job_id=str(number), site="s", reason="shed", message="x" * 999))
    delta = counted.take(1.0)
    assert [note.job_id for note in delta.dead] == ["0", "1", "2"]
    assert len(delta.dead[0].message) == 200
    assert counted.take(1.0).dead == ()


def test_the_state_of_the_process_is_read_at_each_record() -> None:
    """Only what is declared of it, and only numbers."""
    counted = tallies()
    counted.watch(lambda: {"stuck": 2, "phase": "running", "assigned": 7})
    assert counted.take(1.0).parts["service"][""].last == {"stuck": 2.0}


def test_a_bound_that_is_full_is_a_state() -> None:
    """The latest of the two events counts."""
    counted = tallies()
    counted.note(BoundReached(bound="window", used=9, most=9))
    assert counted.take(1.0).parts["wall"]["window"].last == {"full": 1.0}
    counted.note(BoundFreed(bound="window", used=1, most=9))
    assert counted.take(1.0).parts["wall"]["window"].last == {"full": 0.0}


def test_a_challenge_counts_whatever_became_of_its_job() -> None:
    """Shed, refused or bought: of the service and of its site."""
    counted = tallies()
    for outcome in ("shed", "solve_not_allowed", "challenge"):
        counted.note(msgspec.structs.replace(fetched("a", outcome), challenged=True))
    counted.note(fetched("a"))
    delta = counted.take(1.0)
    assert delta.parts["service"][""].sums["challenges"] == 3
    assert delta.parts["site"]["a"].sums["challenges"] == 3


def test_a_tally_of_a_field_that_is_not_there_is_refused() -> None:
    """A misspelling turns red at the start."""
    with pytest.raises(ValueError, match="FetchDone has no sites"):
        Tally(name="x", event=FetchDone, how=How.SUM, by="sites")


def test_records_are_read_back_and_what_is_none_is_passed_over() -> None:
    """A newer version, or anything else on the topic, is no record."""
    counted = tallies()
    counted.note(solved(3.0))
    delta = counted.take(1.0)
    assert decode(msgspec.json.encode(delta)) == delta
    assert decode(b"{}") is None
    assert decode(b"\xff") is None
    newer = msgspec.structs.replace(delta, version=99)
    assert decode(msgspec.json.encode(newer)) is None


def test_parts_add_up() -> None:
    """Two instances' sums and times are one; the latest value is the last one's."""
    one = Part(sums={"a": 1.0}, times={"t": {1: 1}}, last={"x": 1.0})
    one.add(Part(sums={"a": 2.0, "b": 1.0}, times={"t": {1: 1, 2: 3}}, last={"x": 0.0}))
    assert one == Part(sums={"a": 3.0, "b": 1.0}, times={"t": {1: 2, 2: 3}}, last={"x": 0.0})


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_quantile_is_at_most_five_percent_off(share: float) -> None:
    """Compared with the sorted values."""
    values = [0.01 * 1.01**number for number in range(900)]
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
    exact = sorted(values)[int(share * (len(values) - 1))]
    assert quantile(counts, share) == pytest.approx(exact, rel=0.051)


def test_nothing_has_no_quantile() -> None:
    """No solve has no time."""
    assert quantile({}, 0.5) is None
    assert StatsDelta(service="s", instance="i", seconds=1.0).parts == {}

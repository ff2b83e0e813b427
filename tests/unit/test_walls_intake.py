"""The bounds on what is in hand, and a service's valve."""

import pytest
from tidegate.consume.intake import Intake, Valve
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.plan import Plan
from tidegate.consume.runtime_events import BoundFreed, BoundReached
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.flow.bound import Bound
from tidegate.records import Inbound
from tidegate.topics import HELD, LANES, Topic

PLAN = Plan(
    group="fetcher",
    topics=tuple(LANES.values()),
    held=tuple(HELD.values()),
    reserved=(Topic.CAPTCHA_SOLUTIONS,),
    reserved_slots=2,
)


class Limits:
    """A valve with two numbers; counts what passed."""

    def __init__(self, fresh: int, held: int) -> None:
        self.most = {False: fresh, True: held}
        self.count = {False: 0, True: 0}

    def admits(self, *, held: bool, in_hand: int, window: int) -> bool:
        """Compare."""
        return in_hand < min(self.most[held], window)

    def passed(self, *, held: bool) -> None:
        """Count."""
        self.count[held] += 1


def filled(*topics: Topic, size: int = 1) -> Buffers:
    """Return buffers with ten records of each topic."""
    buffers = Buffers([Topic.CAPTCHA_SOLUTIONS])
    for topic in topics:
        where = TopicPartition(topic, 0)
        records = [
            Inbound(
                topic=topic,
                partition=0,
                offset=n,
                timestamp_ms=0,
                key=None,
                value=bytes(size),
                headers={},
            )
            for n in range(10)
        ]
        buffers.add(where, [Entry(where, 1, record, size) for record in records])
    return buffers


def taken(intake: Intake, buffers: Buffers) -> list[Entry]:
    """Take all that may be in hand."""
    return list(iter(lambda: intake.next(buffers), None))


def intake_of(
    valve: Valve | None, *, window: int = 12, window_bytes: int = 1 << 20, events: list[Event] | None = None
) -> Intake:
    """Return an intake of the plan."""
    sink = [] if events is None else events
    return Intake(PLAN, window=window, window_bytes=window_bytes, valve=valve, emit=sink.append)


@pytest.mark.parametrize(("window", "lanes"), [(1, 1), (2, 1), (3, 2), (4, 2), (12, 10)])
def test_what_is_kept_free_for_solutions_is_at_most_half_of_the_window(window: int, lanes: int) -> None:
    """A window of a few would else be one of one."""
    assert len(taken(intake_of(None, window=window), filled(Topic.URLS))) == min(lanes, 10)


def test_a_valve_bounds_fresh_and_held_records_apart() -> None:
    """Each by what of its own is in hand; a slot given back is the next one's."""
    valve = Limits(fresh=3, held=1)
    intake, buffers = intake_of(valve), filled(Topic.URLS, Topic.HELD)
    entries = taken(intake, buffers)
    topics = [entry.partition.topic for entry in entries]
    assert (topics.count("urls"), topics.count("urls-held")) == (3, 1)
    intake.done(next(entry for entry in entries if entry.partition.topic == "urls-held"))
    assert [entry.partition.topic for entry in taken(intake, buffers)] == ["urls-held"]
    assert valve.count == {False: 3, True: 2}


def test_a_shut_valve_never_holds_a_solution() -> None:
    """Solutions take their slots, and all the others too, whatever the valve says (C3)."""
    intake = intake_of(Limits(fresh=0, held=0), window=8)
    topics = [entry.partition.topic for entry in taken(intake, filled(Topic.URLS, Topic.CAPTCHA_SOLUTIONS))]
    assert topics == ["captcha-solutions"] * 8


def test_solutions_in_their_own_slots_take_none_from_the_lanes() -> None:
    """Two slots are theirs; the ten others are for jobs, and for solutions where they are free."""
    intake = intake_of(None, window=12)
    assert len(taken(intake, filled(Topic.CAPTCHA_SOLUTIONS))) == 10
    assert len(taken(intake, filled(Topic.URLS))) == 2
    intake = intake_of(None, window=12)
    solutions = filled(Topic.CAPTCHA_SOLUTIONS)
    both = [intake.next(solutions), intake.next(solutions), *taken(intake, filled(Topic.URLS))]
    assert len(both) == 12


def test_without_a_valve_the_window_alone_bounds() -> None:
    """Less the slots that are reserved."""
    assert len(taken(intake_of(None), filled(Topic.URLS, Topic.HELD))) == 10


def test_bytes_are_free_again_well_below_their_bound() -> None:
    """One record given back at the brim takes nothing in; each change of state is told once."""
    events: list[Event] = []
    intake = intake_of(None, window_bytes=500, events=events)
    buffers = filled(Topic.URLS, size=100)
    entries = taken(intake, buffers)
    assert (len(entries), intake.bytes) == (5, 500)
    intake.done(entries.pop())
    assert taken(intake, buffers) == []
    intake.done(entries.pop())
    assert len(taken(intake, buffers)) == 2
    assert [type(event) for event in events] == [BoundReached, BoundFreed, BoundReached]
    assert events[0] == BoundReached(bound="window_bytes", used=500, most=500)


def test_a_bound_stays_what_it_was_between_its_marks() -> None:
    """Full at 10, free at 6."""
    bound = Bound(10, 6)
    assert [bound.note(used) for used in (9, 10, 7, 11, 6, 9)] == [False, True, False, False, True, False]
    assert not bound.full
    with pytest.raises(ConfigurationError):
        Bound(5, 5)


def test_who_waits_for_the_broker_alone_leaves_its_slot_to_the_next() -> None:
    """As many as there are slots may be on their way; the next one keeps its slot; bytes count to the end."""
    intake, buffers = intake_of(None, window=5), filled(Topic.URLS, Topic.HELD)
    first = taken(intake, buffers)
    assert len(first) == 3
    assert all(intake.handled(entry) for entry in first)
    second = taken(intake, buffers)
    assert (len(second), intake.in_hand, intake.bytes) == (3, 6, 6)
    assert [intake.handled(entry) for entry in second] == [True, True, False]
    third = taken(intake, buffers)
    assert (len(third), intake.in_hand) == (2, 8)
    for entry in (*first, *second, *third):
        intake.done(entry)
    assert (intake.in_hand, intake.bytes) == (0, 0)
    assert len(taken(intake, buffers)) == 3


def test_a_valve_is_asked_only_for_what_waits() -> None:
    """It is asked for each record that is taken, and a flood of one kind need not pay for the other."""
    asked: list[bool] = []

    class Asked(Limits):
        def admits(self, *, held: bool, in_hand: int, window: int) -> bool:
            asked.append(held)
            return super().admits(held=held, in_hand=in_hand, window=window)

    intake = intake_of(Asked(fresh=5, held=5))
    assert len(taken(intake, filled(Topic.URLS))) == 5
    assert set(asked) == {False}
    asked.clear()
    assert len(taken(intake, filled(Topic.HELD))) == 5
    assert set(asked) == {True}

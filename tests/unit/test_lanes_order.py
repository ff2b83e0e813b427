"""Which record goes next."""

import msgspec
from tidegate.consume import delays
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import TopicPartition
from tidegate.records import Inbound, JobState, Lane, Origin, job_headers

NOW = 1_700_000_000_000
STATE = JobState(
    run="r",
    id="i",
    site="s",
    origin=Origin(topic="urls", partition=0, offset=0, timestamp_ms=NOW),
    accepted_at_ms=NOW,
)


def fill(
    buffers: Buffers, topic: str, count: int, *, partition: int = 0, state: JobState | None = None
) -> None:
    """Queue records of one partition."""
    where = TopicPartition(topic, partition)
    headers = dict(job_headers(state)) if state else {}
    buffers.add(
        where,
        [
            Entry(
                where,
                1,
                Inbound(
                    topic=topic,
                    partition=partition,
                    offset=n,
                    timestamp_ms=NOW,
                    key=None,
                    value=b"",
                    headers=headers,
                ),
                0,
            )
            for n in range(count)
        ],
    )


def topics_of(buffers: Buffers, count: int) -> list[str]:
    """Take records and name their topics."""
    taken = [buffers.next_of_lanes() for _ in range(count)]
    return [entry.partition.topic for entry in taken if entry is not None]


def test_lanes_share_as_eight_to_four_to_one() -> None:
    """In any thirteen slots, while all three have work."""
    buffers = Buffers()
    for topic in ("urls-high", "urls", "urls-low"):
        fill(buffers, topic, 100)
    for _ in range(5):
        taken = topics_of(buffers, 13)
        assert [taken.count(t) for t in ("urls-high", "urls", "urls-low")] == [8, 4, 1]


def test_an_idle_lane_gives_its_share_away() -> None:
    """Slots are never kept for a lane that has nothing."""
    buffers = Buffers()
    fill(buffers, "urls-low", 20)
    assert topics_of(buffers, 20) == ["urls-low"] * 20
    assert buffers.next_of_lanes() is None


def test_partitions_of_a_lane_take_turns() -> None:
    """One flooded partition does not starve its neighbour."""
    buffers = Buffers()
    fill(buffers, "urls", 50, partition=0)
    fill(buffers, "urls", 2, partition=1)
    taken = [buffers.next_of_lanes() for _ in range(4)]
    assert [entry.partition.partition for entry in taken if entry] == [0, 1, 0, 1]


def test_solutions_have_a_line_of_their_own() -> None:
    """The lanes never see them."""
    buffers = Buffers(reserved=["captcha-solutions"])
    fill(buffers, "captcha-solutions", 1)
    assert buffers.next_of_lanes() is None
    assert buffers.next_urgent() is not None
    assert buffers.next_urgent() is None


def test_a_due_retry_takes_a_slot_of_its_own_lane() -> None:
    """Before it is due it holds up nothing; then the whole run of due records follows."""
    buffers = Buffers()
    state = msgspec.structs.replace(STATE, lane=Lane.LOW)
    fill(buffers, "urls-retry-2s", 3, state=state)
    due = NOW + 2000 + delays.jitter_ms("i")
    buffers.wake(due - 1)
    assert buffers.next_of_lanes() is None
    buffers.wake(due)
    fill(buffers, "urls-high", 100)
    taken = topics_of(buffers, 27)
    assert taken.count("urls-retry-2s") == 3
    assert len(topics_of(buffers, 100)) == 76


def test_a_short_rest_of_a_wait_is_waited_at_the_head() -> None:
    """2.7 s is the class of two seconds and 0.7 s more (T2)."""
    buffers = Buffers()
    state = msgspec.structs.replace(STATE, due_at_ms=NOW + 3500)
    fill(buffers, "urls-retry-2s", 1, state=state)
    buffers.wake(NOW + 3499)
    assert buffers.next_of_lanes() is None
    buffers.wake(NOW + 3500)
    assert buffers.next_of_lanes() is not None


def test_a_revoked_partition_is_forgotten() -> None:
    """Nothing of it is handed out any more."""
    buffers = Buffers(reserved=["captcha-solutions"])
    for topic in ("urls", "captcha-solutions", "urls-retry-2s"):
        fill(buffers, topic, 3)
        buffers.drop(TopicPartition(topic, 0))
    buffers.wake(NOW + 10**9)
    assert buffers.next_of_lanes() is None
    assert buffers.next_urgent() is None
    assert len(buffers) == 0


def test_held_topics_wait_until_they_may_go_and_then_share_their_lanes_slots() -> None:
    """What is held leaves only when asked for; a lane's turns alternate then, and lanes keep their shares."""
    buffers = Buffers()
    for topic in ("urls-high", "urls", "urls-held-high", "urls-held"):
        fill(buffers, topic, 60)
    fresh = [entry.partition.topic for _ in range(12) if (entry := buffers.next_of_lanes(held=False))]
    assert set(fresh) == {"urls-high", "urls"}
    both = topics_of(buffers, 24)
    assert [both.count(t) for t in ("urls-high", "urls-held-high", "urls", "urls-held")] == [8, 8, 4, 4]
    aside = [entry.partition.topic for _ in range(12) if (entry := buffers.next_of_lanes(fresh=False))]
    assert set(aside) == {"urls-held-high", "urls-held"}
    buffers.drop(TopicPartition("urls-held", 0))
    buffers.drop(TopicPartition("urls-held-high", 0))
    assert buffers.next_of_lanes(fresh=False) is None


def test_a_full_buffer_has_room_again_when_half_of_it_is_gone() -> None:
    """One record taken is no reason to ask the broker for one more."""
    buffers = Buffers()
    where = TopicPartition("urls", 0)
    fill(buffers, "urls", 64)
    assert buffers.is_full(where)
    topics_of(buffers, 31)
    assert buffers.is_full(where)
    topics_of(buffers, 1)
    assert not buffers.is_full(where)


def test_what_needs_no_turn_is_taken_from_the_front_and_by_nobodys_turn() -> None:
    """T3: as many as are answered, at most so many, and the others wait in their order."""
    buffers, where, asked = Buffers(), TopicPartition("urls", 0), []

    def is_answered(entry: Entry) -> bool:
        asked.append(entry.record.offset)
        return entry.record.offset != 4

    fill(buffers, "urls", 10)
    buffers.take_while(where, is_answered, 3)
    assert (asked, buffers.size(where)) == ([0, 1, 2], 7)
    buffers.take_while(where, is_answered, 10)
    assert (asked, buffers.size(where)) == ([0, 1, 2, 3, 4], 6)
    entry = buffers.next_of_lanes()
    assert entry is not None
    assert entry.record.offset == 4


def test_of_a_delay_topic_nothing_is_taken_before_it_is_due() -> None:
    """T2, T3: behind one that is due it would only come round once more."""
    buffers, where = Buffers(), TopicPartition("urls-retry-2s", 0)
    later = msgspec.structs.replace(STATE, due_at_ms=NOW + 3500)
    fill(buffers, where.topic, 1, state=STATE)
    fill(buffers, where.topic, 2, state=later)
    due_ms = NOW + 2000 + delays.jitter_ms(STATE.id)
    buffers.wake(due_ms)
    buffers.take_while(where, lambda _entry: True, 10)
    assert buffers.size(where) == 2
    buffers.wake(due_ms + 1500)
    buffers.take_while(where, lambda _entry: True, 10)
    assert buffers.size(where) == 0

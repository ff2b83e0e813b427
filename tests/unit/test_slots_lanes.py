"""The lanes' shares hold whatever waits in them: new jobs, due retries, jobs that come to their slots."""

from collections import Counter

import msgspec
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import TopicPartition
from tidegate.records import Inbound, JobState, Lane, Origin, job_headers
from tidegate.topics import DELAYS, LANES, Topic

NOW = 1_700_000_000_000
LATER = NOW + 10**10
STATE = JobState(
    run="r",
    id="i",
    site="s",
    origin=Origin(topic="urls", partition=0, offset=0, timestamp_ms=NOW),
    accepted_at_ms=NOW,
)


def fill(buffers: Buffers, topic: Topic, partition: int, lane: Lane, count: int) -> None:
    """Queue records of one lane on one partition, with the state in their headers."""
    where = TopicPartition(topic, partition)
    headers = dict(job_headers(msgspec.structs.replace(STATE, lane=lane)))
    buffers.add(
        where,
        [
            Entry(
                where,
                1,
                Inbound(
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    timestamp_ms=NOW,
                    key=None,
                    value=b"",
                    headers=headers,
                ),
                0,
            )
            for offset in range(count)
        ],
    )


def lanes_of(buffers: Buffers, count: int) -> Counter[Lane]:
    """Take records and count them by the lane that their state names."""
    taken = [buffers.next_of_lanes() for _ in range(count)]
    return Counter(
        msgspec.json.decode(entry.record.headers["tidegate-job"], type=JobState).lane
        for entry in taken
        if entry is not None
    )


def test_due_retries_take_their_own_lanes_share_and_no_other() -> None:
    """High : normal : low stay 8 : 4 : 1 while every lane has new jobs and due retries."""
    buffers = Buffers()
    for partition, lane in enumerate(Lane):
        fill(buffers, LANES[lane], 0, lane, 200)
        for topic in DELAYS:
            fill(buffers, topic, partition, lane, 200)
    buffers.wake(LATER)
    for _ in range(10):
        assert lanes_of(buffers, 13) == {Lane.HIGH: 8, Lane.NORMAL: 4, Lane.LOW: 1}


def test_a_flood_of_due_retries_in_one_lane_starves_no_other() -> None:
    """Hundreds of low jobs due at once leave the high lane its eight in thirteen (T3)."""
    buffers = Buffers()
    for topic in DELAYS:
        fill(buffers, topic, 0, Lane.LOW, 40)
    fill(buffers, Topic.URLS_HIGH, 0, Lane.HIGH, 16)
    fill(buffers, Topic.URLS, 0, Lane.NORMAL, 8)
    buffers.wake(LATER)
    assert lanes_of(buffers, 26) == {Lane.HIGH: 16, Lane.NORMAL: 8, Lane.LOW: 2}
    assert lanes_of(buffers, 26) == {Lane.LOW: 26}


def test_new_jobs_are_not_starved_by_due_retries_of_their_own_lane() -> None:
    """Topics of a lane take turns: with every delay topic flooded, one turn in twelve is the intake's."""
    buffers = Buffers()
    for topic in DELAYS:
        fill(buffers, topic, 0, Lane.NORMAL, 100)
    fill(buffers, Topic.URLS, 0, Lane.NORMAL, 100)
    buffers.wake(LATER)
    turns = 5 * (len(DELAYS) + 1)
    taken = [buffers.next_of_lanes() for _ in range(turns)]
    assert sum(entry is not None and entry.partition.topic == Topic.URLS for entry in taken) == 5


def test_solutions_are_taken_whatever_the_lanes_hold() -> None:
    """They have a line of their own, and slots of their own (C3)."""
    buffers = Buffers(reserved=[Topic.CAPTCHA_SOLUTIONS])
    for lane, topic in LANES.items():
        fill(buffers, topic, 0, lane, 100)
    for topic in DELAYS:
        fill(buffers, topic, 0, Lane.HIGH, 100)
    fill(buffers, Topic.CAPTCHA_SOLUTIONS, 0, Lane.LOW, 3)
    buffers.wake(LATER)
    taken = [buffers.next_urgent() for _ in range(4)]
    assert [entry is not None for entry in taken] == [True, True, True, False]
    assert lanes_of(buffers, 13)[Lane.HIGH] == 8

"""Which jobs a fetcher sends away at once, and which it leaves to its handler."""

from support.fetcher import decoded, fetcher, inbound, job, run
from tidegate.clock import SystemClock
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, Reason
from tidegate.records import encode
from tidegate.topics import Topic
from tidegate_fetcher.events import FetchDone

URL = "http://127.0.0.1:9/page"  # nobody listens there


async def test_a_crowded_sites_jobs_are_sent_away_to_turns_of_their_own() -> None:
    """T3: at once from the first one on that its handler has sent away, in one queue with those."""
    async with fetcher(site_rate=1.0, site_wait_s=0.0) as service:
        assert not service.sifts()
        assert service.sift(decoded(service, job(URL))) is None, "it has its turn"
        await run(service, job(URL))
        assert not service.sifts()
        by_handler = await run(service, job(URL))
        assert service.sifts()
        at_once = service.sift(decoded(service, job(URL)))
        after = await run(service, job(URL))
    assert isinstance(by_handler, Defer)
    assert isinstance(at_once, Defer)
    assert isinstance(after, Defer)
    assert by_handler.delay_s + 1 < at_once.delay_s + 0.5 < after.delay_s
    assert at_once.message == after.message


async def test_a_job_without_a_turn_before_its_deadline_ends_with_a_line() -> None:
    """T3: as its handler would end it."""
    events: list[Event] = []
    async with fetcher(events=events, site_rate=1.0, site_wait_s=0.0) as service:
        for _ in range(20):
            await run(service, job(URL))
        outcome = service.sift(decoded(service, job(URL, deadline=10)))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.DEFERRED_TOO_LONG
    assert [event.outcome for event in events if isinstance(event, FetchDone)][-1] == outcome.reason


async def test_whatever_is_not_its_sites_turn_is_left_to_the_handler() -> None:
    """S1, T1: jobs of other partitions, jobs that are late, and other sites' jobs."""
    long_ago_ms = SystemClock().wall_ms() - 100_000
    async with fetcher(site_rate=1.0, site_wait_s=0.0, partitions=1) as service:
        await run(service, job(URL))
        assert isinstance(await run(service, job(URL)), Defer)
        late = decoded(service, job(URL, deadline=50), timestamp_ms=long_ago_ms)
        assert service.sift(late) is None
        assert service.sift(decoded(service, job(URL, priority="high"))) is None, "it is forwarded"
        assert service.sift(decoded(service, job("http://127.0.0.1:8/"))) is None
        state = decoded(service, job(URL)).job.state
        held = inbound(job(URL), topic=Topic.HELD, headers={"tidegate-job": encode(state)})
        assert isinstance(service.sift(service.decode(held)), Defer), "aside or not, it has no turn"

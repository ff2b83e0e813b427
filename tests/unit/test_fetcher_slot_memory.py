"""Who takes a partition over learns from the delay topics which turns are booked."""

from tidegate.clock import BrokerClock
from tidegate.outcome import Outgoing
from tidegate.records import HEADER_JOB, JobState, Origin, job_headers
from tidegate.testing.fake_broker import FakeBroker, FakeReader
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import Topic
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.site_limits import SiteLimits
from tidegate_fetcher.site_slots import Claim, Later, SiteRule
from tidegate_fetcher.slot_memory import SlotMemory

RULE = SiteRule(concurrency=1, per_second=1.0)


async def wait_of(limiter: SiteLimiter, site: str) -> float:
    """Return how long the second newcomer of a site has to wait; the first has its turn at once."""
    assert isinstance(await limiter.enter(site, Claim()), float)
    answer = await limiter.enter(site, Claim(age_s=10_000.0))
    assert isinstance(answer, Later)
    return answer.delay_s


async def test_newcomers_stand_behind_what_was_booked_before_us() -> None:
    """After a rebalance nobody's turn is booked a second time (T3)."""
    clock = ManualClock()
    broker = FakeBroker(clock, partitions=1)

    def waiting(topic: Topic, site: str, due_s: int, **fields: object) -> None:
        origin = Origin(topic="urls", partition=0, offset=0, timestamp_ms=0)
        state = JobState(
            run="r",
            id="i",
            site=site,
            origin=origin,
            accepted_at_ms=0,
            due_at_ms=clock.wall_ms() + due_s * 1000,
            **{"deferrals": 1, **fields},  # type: ignore[arg-type]
        )
        broker.append(Outgoing(topic=topic, site=site, value=b"", headers=job_headers(state)))

    waiting(Topic.RETRY_1H, "booked", 4000)
    waiting(Topic.RETRY_2S, "booked", 3)
    waiting(Topic.RETRY_1H, "failed", 4000, attempts={"rate_limited": 1})
    waiting(Topic.RETRY_1M, "over", -5)
    broker.append(Outgoing(topic=Topic.RETRY_2S, site="s", value=b"", headers=((HEADER_JOB, b"{"),)))
    broker.append(Outgoing(topic=Topic.RETRY_2S, site="s", value=b"by hand"))
    limiter = SiteLimiter(SiteLimits(lambda _site: RULE, wait_s=0.0), clock, 0.0)
    for rates in (False, True):
        await SlotMemory(FakeReader(broker), limiter, BrokerClock(clock), rates=rates).restore(0)
        booked = limiter._limits._sites.get("booked")
        assert (booked is not None) is rates
    assert limiter._limits._sites.keys() == {"booked"}
    # Nobody has claimed his turn yet, so it is no certainty; but it is not given away.
    assert await wait_of(limiter, "booked") == 3600
    assert await wait_of(limiter, "failed") < 5

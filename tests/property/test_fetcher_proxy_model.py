"""The pool of proxies against what must hold whatever happens to it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tidegate.proxies import Proxy, proxy_of
from tidegate_fetcher import events
from tidegate_fetcher.proxy_pool import ProxyPool
from tidegate_fetcher.proxy_standing import ProxyOutcome, ProxyPolicy, Standing

PROXIES = [proxy_of(f"http://10.0.{number // 4}.{number}:3128") for number in range(8)]
NUMBERS = st.integers(0, len(PROXIES) - 1)
SITES = st.sampled_from(["a.example", "b.example"])


class PoolMachine(RuleBasedStateMachine):
    """Loads, choices, reports and time in any order; the model knows who is out, and until when."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = ProxyPool(ProxyPolicy())
        self.listed: dict[str, Proxy] = {}
        self.out: dict[str, float] = {}

    @rule(numbers=st.sets(NUMBERS))
    def load(self, numbers: set[int]) -> None:
        """Take another list."""
        self.listed = {PROXIES[number].id: PROXIES[number] for number in numbers}
        self.out = {name: until for name, until in self.out.items() if name in self.listed}
        self.pool.load(self.listed.values())

    @rule(site=SITES, avoided=st.sets(NUMBERS, max_size=2))
    def choose(self, site: str, avoided: set[int]) -> None:
        """Choose: listed, not in quarantine, and not what is avoided where another one is there."""
        avoid = {PROXIES[number].id for number in avoided}
        usable = {name for name in self.listed if self.pool.is_usable(name, self.now)}
        proxy = self.pool.choose(site, self.now, avoid=avoid)
        assert (proxy is None) == (not usable)
        if proxy is not None:
            assert proxy.id in usable
            assert self.out.get(proxy.id, 0.0) <= self.now
            assert proxy.id not in avoid or not usable - avoid

    @rule(number=NUMBERS, site=SITES, outcome=st.sampled_from(ProxyOutcome), times=st.integers(1, 12))
    def report(self, number: int, site: str, outcome: ProxyOutcome, times: int) -> None:
        """Report an outcome several times."""
        name = PROXIES[number].id
        for _ in range(times):
            for event in self.pool.report(name, site, outcome, self.now):
                assert name in self.listed
                if isinstance(event, events.ProxyQuarantined):
                    assert 60.0 <= event.seconds <= 3600.0
                    self.out[name] = self.now + event.seconds

    @rule(seconds=st.sampled_from([0.5, 3.0, 61.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @invariant()
    def counts_are_true(self) -> None:
        """The number of healthy ones and the sizes of subnets are those of the members."""
        members = self.pool._members
        assert set(members) == set(self.listed)
        healthy = sum(member.standing is Standing.HEALTHY for member in members.values())
        assert self.pool.healthy == healthy
        subnets = self.pool._subnets
        assert sum(subnet.size for subnet in subnets.values()) == len(members)
        assert sum(subnet.out for subnet in subnets.values()) == len(members) - healthy

    @invariant()
    def nobody_is_lost(self) -> None:
        """Whoever cannot be chosen comes back: within the longest quarantine, all can be."""
        if self.listed:
            wait_s = self.pool.next_in_s(self.now)
            assert wait_s <= 3600.0
            assert self.pool.has_room(self.now + wait_s)


PoolMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestPool = PoolMachine.TestCase

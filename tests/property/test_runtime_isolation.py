"""Records that kill the process are found, and nobody else pays for it (C10): a model in virtual time.

A world is a broker in memory and one or two processes that somebody starts again whenever they die. Handling
a record may kill its process at once, late, or by the mere reading of it; other kills come from outside.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from support import runtime
from support.custody import Broker
from support.runtime import ScriptedService, state_of
from support.virtual_time import LoopClock, virtually
from tidegate.clock import BrokerClock
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.runtime import Runtime
from tidegate.consume.service import Ack, Work
from tidegate.errors import CommitRefusedError
from tidegate.events import Event
from tidegate.outcome import Done, Outcome, Outgoing, Reason
from tidegate.records import HEADER_DEAD, DeadMeta, Inbound, decoder, job_headers, job_state
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeSource
from tidegate.topics import Topic

PARTITIONS = 2
PLAN = msgspec.structs.replace(runtime.PLAN, deadline_s=60.0)
SETTINGS = RuntimeSettings(commit_interval_s=0.5, drain_deadline_s=2.0)
# How long handling takes, in seconds; what kills does so after that.
TAKES = {"quick": 0.0, "slow": 0.4, "waits": 14.0, "kills": 0.0, "kills late": 3.0, "kills when read": 0.0}
KILLERS = frozenset({"kills", "kills late", "kills when read"})
_DEAD = decoder(DeadMeta)


class Placed(msgspec.Struct, frozen=True):
    """A record and where it is put."""

    topic: Topic
    partition: int
    kind: str


class World:
    """The broker, the records, and the processes."""

    def __init__(self, placed: list[Placed]) -> None:
        self.clock = LoopClock()
        self.broker = Broker(self.clock, partitions=PARTITIONS)
        self.kinds: dict[str, str] = {}
        self.deaths = 0
        self.is_over = False
        self.events: list[Event] = []
        self.processes: list[Process] = []
        for number, each in enumerate(placed):
            name = f"{each.kind} {number}"
            self.kinds[name] = each.kind
            self.broker.append(
                Outgoing(topic=each.topic, site="s", value=name.encode(), partition=each.partition)
            )

    async def keep_running(self) -> None:
        """Start a process; whenever it has died, start another one a second later."""
        while not self.is_over:
            process = Process(self)
            self.processes.append(process)
            await asyncio.wait([process.task])
            self.processes.remove(process)
            if not process.dead:
                process.task.result()  # whatever ended it was not of this world
                return
            self.deaths += 1
            await self.clock.sleep(1.0)

    async def finish(self) -> None:
        """Wait until everything is committed, then end in good order."""
        waited_s = 0
        while not self._is_done():
            assert waited_s < 900, f"not done after {self.deaths} deaths: {self.events[-10:]}"
            await self.clock.sleep(1.0)
            waited_s += 1
        self.is_over = True
        for process in self.processes:
            process.stop.set()

    def outcomes(self) -> dict[str, set[str]]:
        """Return what became of each record; a dead letter is known by its bytes and must have its place."""
        found: dict[str, set[str]] = defaultdict(set)
        for page in self.broker.records(Topic.PAGES):
            found[page.value.decode()].add("page")
        for letter in self.broker.records(Topic.DEAD_LETTER):
            name, state = letter.value.decode(), job_state(letter.headers)
            assert _DEAD.decode(letter.headers[HEADER_DEAD]).reason is Reason.CRASHED_THE_SERVICE
            assert state is not None
            assert (state.id == name) is (self.kinds[name] != "kills when read")
            origin = state.origin
            assert name.encode() in [
                record.value
                for record in self.broker.records(origin.topic)
                if (record.partition, record.offset) == (origin.partition, origin.offset)
            ]
            found[name].add("dead")
        return found

    def _is_done(self) -> bool:
        return all(
            record.offset < (self.broker.committed(PLAN.group, where) or 0)
            for where, log in self.broker.logs.items()
            if where.topic in PLAN.all_topics
            for record in log
        )


class Process:
    """One process: it dies when a record kills it, or somebody else does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False
        self.stop = asyncio.Event()
        self.runtime = Runtime(
            plan=PLAN,
            service=Deadly(self, world),
            source=MortalSource(self, world),
            sink=MortalSink(self, world),
            settings=SETTINGS,
            clock=world.clock,
            broker_clock=BrokerClock(world.clock),
            emit=world.events.append,
        )
        self.task = asyncio.ensure_future(self.runtime.run(self.stop))

    def die(self) -> None:
        """End as SIGKILL does: nothing is said to anybody any more."""
        self.dead = True
        self.task.cancel()


class Deadly(ScriptedService):
    """Makes pages, and dies of some records."""

    def __init__(self, process: Process, world: World) -> None:
        super().__init__()
        self._process = process
        self._world = world

    def decode(self, record: Inbound) -> Work[bytes]:
        """Read a record, and die of some."""
        if record.value.startswith(b"kills when read"):
            self._process.die()
            # A process that is dead goes no further; this one has to be stopped.
            raise asyncio.CancelledError
        return super().decode(record)

    async def handle(self, work: Work[bytes]) -> Outcome:
        """Take the time that it takes."""
        kind = self._world.kinds[work.payload.decode()]
        await self._world.clock.sleep(TAKES[kind])
        if kind in KILLERS:
            self._process.die()
            await asyncio.get_running_loop().create_future()
        state = state_of(work.record)
        return Done(
            (Outgoing(topic=Topic.PAGES, site=state.site, value=work.payload, headers=job_headers(state)),)
        )


class MortalSink:
    """Takes a moment; takes nothing from the dead."""

    def __init__(self, process: Process, world: World) -> None:
        self._process = process
        self._world = world

    async def send(self, record: Outgoing) -> Ack:
        """Append after a while."""
        await self._world.clock.sleep(0.01)
        if self._process.dead:
            await asyncio.get_running_loop().create_future()
        return self._world.broker.append(record)

    async def send_batch(self, records: Sequence[Outgoing]) -> None:
        """Nobody here answers at once."""
        raise AssertionError


class MortalSource(FakeSource):
    """Takes a moment; takes nothing from the dead, and tells them nothing."""

    def __init__(self, process: Process, world: World) -> None:
        super().__init__(world.broker, group=PLAN.group, topics=PLAN.all_topics)
        self._process = process
        self._world = world

    async def take_all_away(self) -> None:
        """Tell the living."""
        if not self._process.dead:
            await super().take_all_away()

    async def give(self, share: Iterable[TopicPartition]) -> None:
        """Tell the living."""
        if not self._process.dead:
            await super().give(share)

    async def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Commit for the living."""
        await self._world.clock.sleep(0.01)
        if self._process.dead:
            raise CommitRefusedError("dead")
        await super().commit(commits)


async def live(world: World, processes: int, kills: list[float]) -> None:
    """Let everything happen."""
    async with asyncio.TaskGroup() as group:
        for _ in range(processes):
            group.create_task(world.keep_running())
        for after_s in kills:
            await world.clock.sleep(after_s)
            for process in world.processes[:1]:
                process.die()
        await world.finish()


def judge(world: World) -> None:
    """Every innocent record has its page and nothing else; every culprit its dead letter."""
    found = world.outcomes()
    for name, kind in world.kinds.items():
        assert found[name] == ({"dead"} if kind in KILLERS else {"page"}), f"{name} became {found[name]}"


PLACED = st.builds(
    Placed,
    st.sampled_from([Topic.URLS, Topic.URLS_HIGH, Topic.CAPTCHA_SOLUTIONS]),
    st.integers(0, PARTITIONS - 1),
    st.sampled_from(["quick", "quick", "quick", "slow", "slow", "waits"]),
)
KILLER = st.builds(
    Placed, st.sampled_from([Topic.URLS, Topic.URLS_LOW]), st.integers(0, 1), st.sampled_from(sorted(KILLERS))
)


@settings(max_examples=12, deadline=None)
@given(
    innocent=st.lists(PLACED, max_size=30),
    killers=st.lists(KILLER, min_size=1, max_size=3),
    seed=st.randoms(use_true_random=False),
    processes=st.integers(1, 2),
    kill=st.none() | st.floats(0.0, 20.0),
)
def test_what_kills_becomes_a_dead_letter_and_all_else_a_page(
    innocent: list[Placed], killers: list[Placed], seed: object, processes: int, kill: float | None
) -> None:
    """C10: wherever they stand, however many they are, and though one kill comes from outside."""
    placed = [*innocent, *killers]
    seed.shuffle(placed)  # type: ignore[attr-defined]

    async def main() -> None:
        world = World(placed)
        await live(world, processes, [] if kill is None else [kill])
        judge(world)
        # Three to be suspected, one to be accused, two on trial, two more where the reading kills.
        assert world.deaths <= 8 * len(killers) + (kill is not None)

    virtually(main())


@settings(max_examples=12, deadline=None)
@given(
    innocent=st.lists(PLACED, min_size=1, max_size=30),
    processes=st.integers(1, 2),
    kills=st.lists(st.floats(0.0, 5.0), max_size=5),
)
def test_five_kills_from_outside_condemn_nobody(
    innocent: list[Placed], processes: int, kills: list[float]
) -> None:
    """C10: orchestrators kill; a record that was in hand each time gets its page all the same."""

    async def main() -> None:
        world = World(innocent)
        await live(world, processes, kills)
        judge(world)

    virtually(main())

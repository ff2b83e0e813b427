"""The consumer runtime under kills, in virtual time, and a judge of custody that knows none of its parts.

A world is a broker in memory and jobs with a script each: what happens to them at every try. Members join,
are killed, stopped, cut off from their group and hand partitions to each other while the jobs are under way;
produces and commits take time, and a kill may come before, during and after each. The judge looks at the
broker alone (delivery.md C): after every commit each job either has its outcome or stands, whole, in a record
that nobody has committed; and in the end each job has the outcome that its script leads to.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from support.virtual_time import LoopClock
from tidegate.clock import BrokerClock
from tidegate.consume.done_set import unpack
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.passing import MOST as MOST_PASSED
from tidegate.consume.plan import Plan
from tidegate.consume.runtime import Runtime
from tidegate.consume.service import Ack, Work
from tidegate.errors import CommitRefusedError, RecordError
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.records import (
    HEADER_DEAD,
    Inbound,
    Job,
    JobState,
    Lane,
    job_headers,
    job_state,
    origin_of,
)
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker, FakeSource
from tidegate.topics import DELAYS, LANES, Topic

PARTITIONS = 2
PLAN = Plan(
    group="fetcher",
    topics=tuple(LANES.values()),
    reserved=(Topic.CAPTCHA_SOLUTIONS,),
    delays=tuple(DELAYS),
    window=5,
    reserved_slots=2,
    deadline_s=5.0,
)
# Enough kills can condemn anybody; here whoever is killed is to be judged by what becomes of its job.
SETTINGS = RuntimeSettings(commit_interval_s=0.7, drain_deadline_s=2.0, crashes_alone=100)
# What may wait in a process beside what is in hand: a full buffer and the poll that overfilled it.
MOST_BUFFERED = len(PLAN.all_topics) * PARTITIONS * 64 + 256

# A try that fails, and the class that it counts for; each has so many retries (design of the retry table).
FAILURES = {
    "server error": ErrorClass.SERVER_ERROR,
    "network": ErrorClass.NETWORK,
    "blocked": ErrorClass.BLOCKED,
    "raise": ErrorClass.INTERNAL,
    "hang": ErrorClass.INTERNAL,
}
_RETRIES = {
    ErrorClass.SERVER_ERROR: 3,
    ErrorClass.NETWORK: 3,
    ErrorClass.BLOCKED: 2,
    ErrorClass.INTERNAL: 3,
}
STEPS = (*FAILURES, "defer", "sift", "challenge", "stubborn")
PUT_OFF = ("defer", "sift")
ENDS = ("page", "dead", "garbage")
FAULTS = ("kill", "stop", "start", "rebalance", "isolate", "refuse commits", "lose commit answers")

# Far above what any script takes: who is not done by then never will be.
_PATIENCE_S = 300.0


class Script(msgspec.Struct, frozen=True):
    """A job: its lane, what happens at its tries, how it ends, and how long each try takes in seconds."""

    lane: Lane
    steps: tuple[str, ...]
    end: str
    takes_s: float

    def outcome(self) -> str:
        """Return ``page`` or ``dead``, by counting."""
        if self.end == "garbage":
            return "dead"
        failed: Counter[ErrorClass] = Counter()
        for step in self.steps:
            if step == "stubborn":
                return "page"
            if step in FAILURES:
                failed[FAILURES[step]] += 1
                if failed[FAILURES[step]] > _RETRIES[FAILURES[step]]:
                    return "dead"
        return self.end

    def state_after(self, tries: int) -> tuple[dict[str, int], int, int]:
        """Return attempts, hop and deferrals that a job must carry after so many tries."""
        attempts: Counter[str] = Counter()
        for step in self.steps[:tries]:
            if step in FAILURES:
                attempts[FAILURES[step].value] += 1
            elif step == "challenge":
                attempts["challenge"] += 1
        return dict(attempts), sum(attempts.values()), sum(step in PUT_OFF for step in self.steps[:tries])


class Fault(msgspec.Struct, frozen=True):
    """What happens to whom, and how many seconds after the one before."""

    after_s: float
    kind: str
    member: int


class Broker(FakeBroker):
    """A broker whose rebalances come one after the other, whoever of those who wait for one is killed."""

    def __init__(self, clock: LoopClock, *, partitions: int) -> None:
        super().__init__(clock, partitions=partitions)
        self._one_at_a_time = asyncio.Lock()

    async def rebalance(self, group: str) -> None:
        """Rebalance in a task of its own."""

        async def alone() -> None:
            async with self._one_at_a_time:
                await super(Broker, self).rebalance(group)

        await asyncio.shield(asyncio.ensure_future(alone()))


class World:
    """The broker, the jobs, the members, and the judge."""

    def __init__(
        self, scripts: list[Script], *, ack_s: float = 0.0, keeps_metadata: bool = True, backlog: int = 0
    ) -> None:
        self.clock = LoopClock()
        self.broker = Broker(self.clock, partitions=PARTITIONS)
        self.ack_s = ack_s
        self.keeps_metadata = keeps_metadata
        self.members: list[Member] = []
        self.faults = 0
        self.events: list[Event] = []
        self.scripts: dict[str, Script] = {}
        for number, script in enumerate([*scripts, *[_QUICK] * backlog]):
            job_id = f"job-{number}"
            self.scripts[job_id] = script
            topic = LANES[script.lane]
            self.broker.append(Outgoing(topic=topic, site=f"site-{number % 3}", value=original(job_id)))

    def start(self) -> None:
        """Start a member; it joins the group by and by."""
        self.members.append(Member(self))

    async def befall(self, fault: Fault) -> None:
        """Let a fault happen; at least one member stays."""
        await self.clock.sleep(fault.after_s)
        member = self.members[fault.member % len(self.members)]
        self.faults += 1
        match fault.kind:
            case "kill":
                await member.kill()
            case "stop":
                await member.stop()
            case "isolate":
                await member.isolate()
            case "rebalance":
                await self.broker.rebalance(PLAN.group)
            case "refuse commits":
                member.source.refuse_commits = not member.source.refuse_commits
            case "lose commit answers":
                member.source.loses_answers = not member.source.loses_answers
        if fault.kind == "start" or not self.members:
            self.start()

    async def settle(self) -> None:
        """Heal everything and wait until all is done; whoever holds something up is found out here."""
        for member in list(self.members):
            member.source.refuse_commits = member.source.loses_answers = False
            if member.isolated:
                await member.rejoin()
        waited_s = 0.0
        while not self._is_done():
            assert waited_s < _PATIENCE_S, f"not done: {self._unfinished()}"
            for member in self.members:
                member.check()
            await self.clock.sleep(1)
            waited_s += 1
        for member in list(self.members):
            await member.stop()

    def judge(self) -> None:
        """Say what must be true in the end."""
        found = self.outcomes()
        assert found.keys() == self.scripts.keys()
        for record in (*self.broker.records(Topic.PAGES), *self.broker.records(Topic.DEAD_LETTER)):
            state = job_state(record.headers)
            assert state is not None
            assert record.value == original(state.id), "an outcome without the job's own bytes (C1)"
            assert (HEADER_DEAD in record.headers) is (record.topic == Topic.DEAD_LETTER)
        for job_id, script in self.scripts.items():
            assert found[job_id].keys() == {script.outcome()}, (
                f"{job_id} with {script} became {found[job_id]}"
            )
            if not self.faults:
                assert found[job_id].total() == 1, f"{job_id} was doubled without a fault"

    def outcomes(self) -> dict[str, Counter[str]]:
        """Return how many pages and dead letters each job has."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for topic, name in ((Topic.PAGES, "page"), (Topic.DEAD_LETTER, "dead")):
            for record in self.broker.records(topic):
                found[identity(record)][name] += 1
        return found

    def check_custody(self) -> None:
        """Every job has its outcome, or a record that nobody has committed carries it whole."""
        carried = self.outcomes().keys() | {
            identity(record)
            for topic in PLAN.all_topics
            for record in self.broker.records(topic)
            if not self._committed(record)
        }
        assert self.scripts.keys() <= carried, f"nobody has {sorted(self.scripts.keys() - carried)}"

    def _committed(self, record: Inbound) -> bool:
        commit = self.broker.commits[PLAN.group].get(TopicPartition(record.topic, record.partition))
        if commit is None:
            return False
        return record.offset < commit.offset or record.offset in unpack(commit.metadata, commit.offset)

    def _is_done(self) -> bool:
        return not self._unfinished() and self.outcomes().keys() == self.scripts.keys()

    def _unfinished(self) -> list[str]:
        return [
            f"{record.topic}[{record.partition}]@{record.offset} {identity(record)}"
            for topic in PLAN.all_topics
            for record in self.broker.records(topic)
            if record.offset >= (self.broker.committed(PLAN.group, _place(record)) or 0)
        ]


class Member:
    """One process: a runtime, its source and its sink."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.isolated = False
        self.service = ScriptedJobs(world)
        self.source = JudgedSource(world)
        self._ends = asyncio.Event()
        self.runtime = Runtime(
            plan=PLAN,
            service=self.service,
            source=self.source,
            sink=SlowSink(world),
            settings=SETTINGS,
            clock=world.clock,
            broker_clock=BrokerClock(world.clock),
            emit=world.events.append,
        )
        self.service.runtime = self.runtime
        self._task = asyncio.ensure_future(self.runtime.run(self._ends))

    def check(self) -> None:
        """Raise what ended the member, if anything did: none of this world's faults may."""
        if self._task.done():
            self._task.result()

    async def kill(self) -> None:
        """End as SIGKILL does: no drain, no commit. What is on its way to the broker may arrive."""
        self.source.dead = True
        self._task.cancel()
        await self._gone()

    async def stop(self) -> None:
        """End as SIGTERM does: drain, commit, leave."""
        self._ends.set()
        await self._gone()
        self.check()

    async def isolate(self) -> None:
        """The group gives its partitions away, and it does not hear of it."""
        joined = self.source in self._world.broker.groups[PLAN.group]
        if self.isolated or not joined or len(self._world.members) == 1:
            return
        self.isolated = self.source.refuse_commits = True
        self._world.broker.groups[PLAN.group].remove(self.source)
        await self._world.broker.rebalance(PLAN.group)

    async def rejoin(self) -> None:
        """Hear of it, and join again."""
        await self.source.take_all_away()
        self.isolated = self.source.refuse_commits = False
        self._world.broker.groups[PLAN.group].append(self.source)
        await self._world.broker.rebalance(PLAN.group)

    async def _gone(self) -> None:
        self._world.members.remove(self)
        await asyncio.wait([self._task])


class SlowSink:
    """Produces; a kill may come before the broker has the record, or before we know that it has."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, record: Outgoing) -> Ack:
        """Append between two waits."""
        await self._world.clock.sleep(self._world.ack_s)
        ack = self._world.broker.append(record)
        await self._world.clock.sleep(self._world.ack_s)
        return ack

    async def send_batch(self, records: Sequence[Outgoing]) -> None:
        """Append one after the other; a kill may come between any two."""
        for record in records:
            await self.send(record)


class JudgedSource(FakeSource):
    """Commits take time, may be refused, or succeed without our hearing of it; each is judged."""

    def __init__(self, world: World) -> None:
        super().__init__(world.broker, group=PLAN.group, topics=PLAN.all_topics)
        self._world = world
        self.loses_answers = False
        self.dead = False

    async def take_all_away(self) -> None:
        """Tell the member, if it lives."""
        if not self.dead:
            await super().take_all_away()

    async def give(self, share: Iterable[TopicPartition]) -> None:
        """Tell the member, if it lives."""
        if not self.dead:
            await super().give(share)

    async def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Commit and look at what that leaves in custody."""
        await self._world.clock.sleep(self._world.ack_s)
        if self.dead:
            raise CommitRefusedError("a killed process commits nothing")
        kept = commits
        if not self._world.keeps_metadata:
            kept = {where: Commit(commit.offset, "") for where, commit in commits.items()}
        await super().commit(kept)
        self._world.check_custody()
        if self.loses_answers:
            raise CommitRefusedError("no answer")


class ScriptedJobs:
    """The service: does to each job what its script says, and checks what reaches it."""

    runtime: Runtime[str]

    def __init__(self, world: World) -> None:
        self._world = world
        self._in_hand = 0

    def decode(self, record: Inbound) -> Work[str]:
        """Read a job; garbage is refused with what could be read of it."""
        job_id = identity(record)
        state = job_state(record.headers) or JobState(
            run="r",
            id=job_id,
            site=(record.key or b"").decode(),
            lane=self._world.scripts[job_id].lane,
            origin=origin_of(record),
            accepted_at_ms=record.timestamp_ms,
        )
        job = Job(record.value, state)
        if self._world.scripts[job_id].end == "garbage":
            raise RecordError(Reason.NOT_A_JOB, "garbage", job)
        return Work(record, job, job_id)

    async def handle(self, work: Work[str]) -> Outcome:
        """Do what the script says of this try, counting who is in hand."""
        self._in_hand += 1
        assert self._in_hand <= PLAN.window, "more in hand than the window holds"
        buffered = self.runtime.snapshot()["buffered"]
        assert isinstance(buffered, int)
        assert buffered <= MOST_BUFFERED, "more waits than there is room for"
        self._check_arrival(work)
        try:
            return await self._try(work)
        finally:
            self._in_hand -= 1

    def sifts(self) -> bool:
        """Ask about every record."""
        return True

    def sift(self, work: Work[str]) -> Defer | None:
        """Put off at once whom the script says to; nothing more of it is ever asked (C5)."""
        assert work.record.topic != Topic.CAPTCHA_SOLUTIONS, "solutions are never sifted (C3)"
        passed_on = self.runtime.snapshot()["passed_on"]
        assert isinstance(passed_on, int)
        assert passed_on < MOST_PASSED, "more is answered at once than there is room for"
        if self._step(work) != "sift":
            return None
        self._check_arrival(work)
        return Defer(delay_s=2.5, message="its turn has not come")

    async def prepare(self, partition: int) -> None:
        """Take a moment."""
        await self._world.clock.sleep(0.1)

    def release(self, partition: int) -> None:
        """Forget nothing."""

    def _check_arrival(self, work: Work[str]) -> None:
        """The job is whole and its counts are those of its tries (C1); nothing comes early (T2)."""
        state, script = work.job.state, self._world.scripts[work.payload]
        tries = state.hop + state.deferrals
        assert work.job.original == original(work.payload)
        assert (dict(state.attempts), state.hop, state.deferrals) == script.state_after(tries)
        assert (state.lane, state.site) == (script.lane, f"site-{int(work.payload[4:]) % 3}")
        if work.record.topic in DELAYS:
            due_ms = work.record.timestamp_ms + int(DELAYS[Topic(work.record.topic)] * 1000)
            assert self._world.clock.wall_ms() >= due_ms, "a retry came early"

    def _step(self, work: Work[str]) -> str:
        state, script = work.job.state, self._world.scripts[work.payload]
        tries = state.hop + state.deferrals
        return script.steps[tries] if tries < len(script.steps) else script.end

    async def _try(self, work: Work[str]) -> Outcome:
        state, script = work.job.state, self._world.scripts[work.payload]
        step = self._step(work)
        await self._world.clock.sleep(script.takes_s)
        match step:
            case "raise":
                raise ValueError(step)
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "stubborn":
                try:
                    await self._world.clock.sleep(4)
                except asyncio.CancelledError:
                    await self._world.clock.sleep(3)
            case "defer" | "sift":
                return Defer(delay_s=2.5, message="its turn has not come")
            case "challenge":
                attempts = {**state.attempts, "challenge": state.attempts.get("challenge", 0) + 1}
                solved = msgspec.structs.replace(state, hop=state.hop + 1, attempts=attempts, due_at_ms=None)
                return Done((_record(Topic.CAPTCHA_SOLUTIONS, work, solved),))
            case "dead":
                return Dead(reason=Reason.ROBOTS, error_class=ErrorClass.REFUSED, message="not allowed")
            case _ if step in FAILURES:
                return Retry(error_class=FAILURES[step], message=step)
        return Done((_record(Topic.PAGES, work, state),))


def original(job_id: str) -> bytes:
    """Return the bytes under which a job was submitted."""
    return f"{job_id} \x00 as it was submitted".encode()


def identity(record: Inbound) -> str:
    """Return the id of the job that a record's own bytes name."""
    return record.value.split(b" ")[0].decode()


def _record(topic: Topic, work: Work[str], state: JobState) -> Outgoing:
    return Outgoing(topic=topic, site=state.site, value=work.job.original, headers=job_headers(state))


def _place(record: Inbound) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


_QUICK = Script(Lane.NORMAL, (), "page", 0.0)

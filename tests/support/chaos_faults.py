"""Carries a schedule out on a rig: each target's faults one after the other, all targets at once."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import aiohttp
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from support.chaos_rig import Rig, restart_child
from support.chaos_schedule import SERVICES, SHARES, Fault
from support.faulty_proxy import Kind, NetworkFault
from tidegate.clock import SystemClock
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.processes import StackError

CLOCK = SystemClock()
# Faults that come late follow close on each other; these keep their planned pause all the same. A broker that
# a slow machine hardly starts before it is killed again is one long outage, in which nothing else is tried.
_STANDS_MEANWHILE = frozenset({"broker"})
_NETWORK_KINDS = frozenset(Kind) - {Kind.NONE, Kind.ANSWER}
_STARTED_WITHIN_S = 600.0
_ASK_S = 5.0
_MESSAGE = "DB::Exception: what the campaign wants it to say"


class Executor:
    """Does what faults say, and keeps count.

    Attributes:
        done: How many faults were carried out, by target and kind.
        kills: SIGKILLs by target.
        notes: What happened beside the plan, such as a start that had to be repeated.
    """

    def __init__(self, rig: Rig, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._say = say
        self._began_s = CLOCK.monotonic()
        self.done: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.notes: list[str] = []

    async def carry_out(self, faults: Sequence[Fault], *, end_s: float) -> None:
        """Carry out all faults; what a slow machine did not come to until ``end_s`` is left out."""
        self._began_s = CLOCK.monotonic()
        targets = {fault.target for fault in faults}
        async with asyncio.TaskGroup() as tasks:
            for target in sorted(targets):
                track = [fault for fault in faults if fault.target == target]
                tasks.create_task(self._track(track, end_s))

    async def _track(self, faults: Sequence[Fault], end_s: float) -> None:
        planned_s = healed_s = 0.0
        for fault in faults:
            pause_s = fault.at_s - planned_s if fault.target in _STANDS_MEANWHILE else 0.0
            await CLOCK.sleep(max(0.0, max(fault.at_s, healed_s + pause_s) - self._now()))
            if self._now() > end_s:
                return
            self._say(f"{self._now():7.1f} s  {fault}")
            await self._one(fault)
            planned_s, healed_s = fault.at_s + fault.lasts_s, self._now()
            self.done[f"{fault.target} {fault.kind}"] += 1

    def _now(self) -> float:
        return CLOCK.monotonic() - self._began_s

    async def _one(self, fault: Fault) -> None:
        if fault.kind in _NETWORK_KINDS:
            await self._network(fault)
        elif fault.target in SERVICES:
            await self._service(fault)
        elif fault.target == "broker":
            await self._broker(fault)
        elif fault.target == "clickhouse":
            await self._clickhouse(fault)
        else:
            await self._solving(fault)

    async def _network(self, fault: Fault) -> None:
        values = {name: value for name, value in fault.detail.items() if name != "kind"}
        broken = NetworkFault(kind=Kind(fault.kind), **values)  # type: ignore[arg-type]
        self._rig.break_network(fault.target, broken)
        await CLOCK.sleep(fault.lasts_s)
        self._rig.break_network(fault.target, NetworkFault())

    # -- services -----------------------------------------------------------------------------------

    async def _service(self, fault: Fault) -> None:
        stack, name = self._rig.stack, fault.target
        match fault.kind:
            case "kill":
                stack.kill(name, signal.SIGKILL)
                self.kills[name] += 1
                await CLOCK.sleep(fault.lasts_s)
                await self.start(name)
            case "pause":
                stack.kill(name, signal.SIGSTOP)
                await CLOCK.sleep(fault.lasts_s)
                stack.kill(name, signal.SIGCONT)
            case "term":
                await self._stop(name)
                await CLOCK.sleep(fault.lasts_s)
                await self.start(name)
            case _:
                extra = f"{name}-2"
                await self.start(extra)
                await CLOCK.sleep(fault.lasts_s)
                if fault.kind == "extra_kill":
                    stack.kill(extra, signal.SIGKILL)
                    self.kills[name] += 1
                else:
                    await self._stop(extra)

    async def _stop(self, name: str) -> None:
        began_s = CLOCK.monotonic()
        await self._rig.stack.stop(name)
        took_s, code = CLOCK.monotonic() - began_s, self._rig.stack.process(name).exit_code
        if code:
            self.notes.append(f"{self._now():.0f} s: {name} ended with {code} {took_s:.1f} s after SIGTERM")

    async def start(self, name: str) -> None:
        """Start a service; while a broker is away it may take several times, and a busy machine's is slow."""
        until_s = CLOCK.monotonic() + _STARTED_WITHIN_S
        while CLOCK.monotonic() < until_s:
            try:
                await self._rig.stack.restart(name)
            except StackError as error:
                self.notes.append(f"{self._now():.0f} s: {name} did not start: {str(error)[:300]}")
                await CLOCK.sleep(1.0)
            else:
                return
        raise StackError(f"{name} did not start within {_STARTED_WITHIN_S:.0f} s")

    # -- brokers ------------------------------------------------------------------------------------

    async def _broker(self, fault: Fault) -> None:
        kafka = self._rig.kafka
        match fault.kind:
            case "rolling":
                for node in kafka.nodes:
                    await kafka.stop_node(node)
                    await CLOCK.sleep(fault.lasts_s)
                    await kafka.start_node(node)
                return
            case "kill" | "term" | "pause":
                node = kafka.nodes[0]
            case _:
                node = await self._leader(str(fault.detail["of"]), int(fault.detail["partition"]))
        match fault.kind:
            case "pause" | "pause_leader":
                await kafka.kill(node, signal.SIGSTOP)
                await CLOCK.sleep(fault.lasts_s)
                await kafka.kill(node, signal.SIGCONT)
                return
            case "term":
                await kafka.stop_node(node)
            case _:
                await kafka.kill(node, signal.SIGKILL)
                self.kills["broker"] += 1
        await CLOCK.sleep(fault.lasts_s)
        await kafka.start_node(node)

    async def _leader(self, topic: str, partition: int) -> int:
        """Return the node that leads a partition now; the first node where nobody can say."""
        ports = [port for _, port in self._rig.kafka.addresses]
        client = AIOKafkaClient(bootstrap_servers=[f"{HOST}:{port}" for port in ports])
        found = None
        try:
            async with asyncio.timeout(_ASK_S):
                await client.bootstrap()
                await client.set_topics([topic])
                found = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        except (KafkaError, OSError, TimeoutError):
            pass
        finally:
            await client.close()
        return found if found in self._rig.kafka.nodes else self._rig.kafka.nodes[0]

    # -- ClickHouse and the solving service ---------------------------------------------------------

    async def _clickhouse(self, fault: Fault) -> None:
        child = self._rig.clickhouse
        match fault.kind:
            case "kill":
                child.send(signal.SIGKILL)
                self.kills["clickhouse"] += 1
            case "term":
                await child.stop()
            case "pause":
                child.send(signal.SIGSTOP)
                await CLOCK.sleep(fault.lasts_s)
                child.send(signal.SIGCONT)
                return
            case _:
                answer = clickhouse_error(int(fault.detail["code"]))
                self._rig.break_network("clickhouse", NetworkFault(kind=Kind.ANSWER, answer=answer))
                await CLOCK.sleep(fault.lasts_s)
                self._rig.break_network("clickhouse", NetworkFault())
                return
        await CLOCK.sleep(fault.lasts_s)
        await restart_child(child)

    async def _solving(self, fault: Fault) -> None:
        if fault.kind == "refused":
            await self._control("outage", {"seconds": fault.lasts_s})
            await CLOCK.sleep(fault.lasts_s + 0.5)
            return
        behaviour: dict[str, object] = {}
        if fault.kind in SHARES:
            behaviour[fault.kind] = fault.detail["share"]
        elif fault.kind == "slow":
            behaviour["slow_ms"] = float(fault.detail["latency_s"]) * 2000
        elif fault.kind == "zero_balance":
            behaviour["zero_balance"] = True
        else:
            raise ValueError(f"nobody knows how to do {fault}")
        await self._control("behaviour", behaviour)
        await CLOCK.sleep(fault.lasts_s)
        await self._control("behaviour", {})

    async def _control(self, path: str, body: Mapping[str, object]) -> None:
        async with aiohttp.ClientSession() as session:
            url = f"{self._rig.simulator_url}/control/{path}"
            async with session.post(url, json=dict(body)) as response:
                assert response.status == 200, await response.text()

    # -- the end ------------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Make everything good again, one instance of each service."""
        self._rig.heal_networks()
        await self._control("behaviour", {})
        if not self._rig.clickhouse.running:
            await restart_child(self._rig.clickhouse)
        kafka = self._rig.kafka
        waits = [kafka.start_node(node) for node in kafka.nodes if not kafka.running(node)]
        await asyncio.gather(*waits)
        for service in SERVICES:
            self._rig.stack.kill(service, signal.SIGCONT)
            if not self._rig.stack.process(service).running:
                await self.start(service)


def clickhouse_error(code: int) -> bytes:
    """Return an HTTP answer as ClickHouse gives it with an error code."""
    body = f"Code: {code}. {_MESSAGE}. (CHAOS)\n".encode()
    head = (
        "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; charset=UTF-8\r\n"
        f"X-ClickHouse-Exception-Code: {code}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body

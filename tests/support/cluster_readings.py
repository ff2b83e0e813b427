"""What an autoscaler reads in the tests on a cluster: a lag on real Apache Kafka, and Prometheus' answers.

The lag is set without a consumer: topics are filled once, and the group's committed offsets are moved. In
Prometheus' place stands a server that knows the chart's queries, word by word, and gives each the reading
that the test has set; any other query is an error, so that a changed query shows.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from support.chart import Manifest
from tidegate_cli.stack.ports import HOST

_CALL_S = 30.0


class Lags:
    """Topics of a group on a broker whose lag is whatever a test says."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._producer = Producer({"bootstrap.servers": bootstrap})
        self._partitions = partitions
        self._each: dict[str, int] = {}

    def fill(self, most: Mapping[str, int]) -> None:
        """Make topics, and put at least as many records onto each as its lag may ever be."""
        topics = [NewTopic(topic, self._partitions, 1) for topic in most]
        for future in self._admin.create_topics(topics).values():
            future.result(_CALL_S)
        for topic, count in most.items():
            self._each[topic] = -(-count // self._partitions)
            for partition in range(self._partitions):
                for _ in range(self._each[topic]):
                    self._producer.produce(topic, b"x", partition=partition)
                self._producer.poll(0)
            assert self._producer.flush(_CALL_S) == 0

    def set(self, group: str, lags: Mapping[str, int]) -> None:
        """Commit for the group, so that it lags by as many records on each topic, to the record."""
        offsets = []
        for topic, lag in lags.items():
            share, more = divmod(lag, self._partitions)
            for partition in range(self._partitions):
                behind = share + (partition < more)
                assert behind <= self._each[topic], "there are not so many records"
                offsets.append(TopicPartition(topic, partition, self._each[topic] - behind))
        asked = self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)])
        for future in asked.values():
            future.result(_CALL_S)


class Readings:
    """Answers to the queries of scaled objects. ``values`` are the readings by deployment and trigger."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float] = {}
        self.strangers: list[str] = []
        self._queries: dict[str, tuple[str, str]] = {}

    def learn(self, objects: Sequence[Manifest]) -> None:
        """Take the queries of these scaled objects; every reading is zero."""
        for each in objects:
            for trigger in each["spec"]["triggers"]:
                if trigger["type"] == "prometheus":
                    place = (each["spec"]["scaleTargetRef"]["name"], trigger["name"])
                    self._queries[trigger["metadata"]["query"]] = place
                    self.values.setdefault(place, 0.0)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer an instant query as Prometheus does."""
        query = request.query.get("query", "")
        if query not in self._queries:
            self.strangers.append(query)
            return web.json_response({"status": "error", "errorType": "bad_data", "error": query}, status=400)
        value = self.values[self._queries[query]]
        result: list[dict[str, Any]] = [{"metric": {}, "value": [0, str(value)]}]
        return web.json_response(
            {"status": "success", "data": {"resultType": "vector", "result": result}},
        )


@asynccontextmanager
async def serving(readings: Readings) -> AsyncIterator[str]:
    """Serve them on the loopback interface; yield the address."""
    runner = web.ServerRunner(web.Server(readings.answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def lag_set(lags: Lags, group: str, wanted: Mapping[str, int]) -> None:
    """Set lags without holding up the loop, which answers queries."""
    await asyncio.to_thread(lags.set, group, wanted)

"""A producer that names its headers as no text may be: any client of librdkafka can, ours cannot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

# What a header is named to be renamed on its way, to as many bytes.
NAME = "HOSTILE"
NO_TEXT = b"\xff\xfe\x00\xc0\xaf\x80\xf5"


class _Builder(_DefaultRecordBatchBuilderPy):  # type: ignore[misc]
    """Renames headers in a finished batch, before it is compressed and signed."""

    def _maybe_compress(self) -> bool:
        place = self._buffer.find(NAME.encode())
        while place >= 0:
            self._buffer[place : place + len(NO_TEXT)] = NO_TEXT
            place = self._buffer.find(NAME.encode())
        return super()._maybe_compress()


@asynccontextmanager
async def hostile_producer(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer whose headers of the name ``NAME`` arrive with the name ``NO_TEXT``."""
    with mock.patch.object(message_accumulator, "DefaultRecordBatchBuilder", _Builder):
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=False, **options)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

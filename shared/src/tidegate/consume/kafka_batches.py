"""A trap in aiokafka's reading of batches, mended: a header whose name is no UTF-8.

Kafka takes such a record (brokers do not look into headers, and librdkafka sends any bytes), and aiokafka
raises UnicodeDecodeError wherever a fetch meets it: no record of any partition is handed out, at every poll,
for ever. One record of anybody who may produce would stop a service for good. Here its name is read with the
odd bytes written out, so that the record is one like all others.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def mend_batches() -> None:
    """Make every record of a batch readable, for the whole process."""
    fetcher.MemoryRecords = _Records  # type: ignore[attr-defined, assignment]


class _Records:
    """The batches of a fetched partition."""

    def __init__(self, data: bytes) -> None:
        self._records = _MemoryRecordsPy(data)

    def size_in_bytes(self) -> int:
        return self._records.size_in_bytes()

    def has_next(self) -> bool:
        return self._records.has_next()

    def next_batch(self) -> "_Batch | None":
        raw = self._records._next_slice  # noqa: SLF001 -- a batch does not give its bytes away
        batch = self._records.next_batch()
        return None if batch is None or raw is None else _Batch(batch, raw)


class _Batch:
    """A batch as aiokafka reads it, and its bytes for when it can not."""

    __slots__ = ("_batch", "_raw")

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        last = -1
        try:
            for record in self._batch:
                yield record
                last = record.offset
        except UnicodeDecodeError:
            for record in _leniently(self._raw):
                if record.offset > last:
                    yield record


def _leniently(raw: memoryview) -> Iterator[Any]:
    batch = _DefaultRecordBatchPy(raw)
    batch._maybe_uncompress()  # noqa: SLF001 -- before the bytes are replaced
    batch._buffer = _Bytes(batch._buffer)  # noqa: SLF001 -- the one place where names become text
    return iter(batch)


class _Bytes(bytearray):
    """Bytes whose parts become text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Bytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)

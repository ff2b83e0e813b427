"""A trap in aiokafka's reading of batches, mended: a header whose name is no UTF-8.

Kafka takes such a record (brokers do not look into headers, and librdkafka sends any bytes), and aiokafka
raises UnicodeDecodeError wherever a fetch meets it: no record of any partition is handed out, at every poll,
for ever. One record of anybody who may produce would stop a service for good. Here its name is read with the
odd bytes written out, so that the record is one like all others. It costs a little for each batch, so it is
begun where the first such record is met.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


def mend_batches() -> None:
    """Make every record of a batch readable from now on, for the whole process."""
    fetcher.MemoryRecords = _Records  # type: ignore[attr-defined, assignment]


class _Records:
    """The batches of a fetched partition."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self.size_in_bytes = self._records.size_in_bytes
        self.has_next = self._records.has_next

    def next_batch(self) -> "_Batch | None":
        batch = self._records.next_batch()
        return None if batch is None else _Batch(batch, self._data)


class _Batch:
    """A batch as aiokafka reads it, and the bytes that it is somewhere in for when it can not."""

    __slots__ = ("_batch", "_data")

    def __init__(self, batch: Any, data: bytes) -> None:
        self._batch = batch
        self._data = data

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
            for record in _leniently(self._data, self._batch.base_offset):
                if record.offset > last:
                    yield record


def _leniently(data: bytes, base_offset: int) -> Iterator[Any]:
    """Return the records of the batch that begins at an offset, names and all."""
    slices = _MemoryRecordsPy(data)
    while (raw := slices._next_slice) is not None:  # noqa: SLF001 -- a batch does not give its bytes away
        batch: Any = slices.next_batch()
        if batch.base_offset == base_offset:
            found = _DefaultRecordBatchPy(raw)
            found._maybe_uncompress()  # noqa: SLF001 -- before the bytes are replaced
            found._buffer = _Bytes(found._buffer)  # noqa: SLF001 -- the one place where names become text
            return iter(found)
    raise AssertionError  # it was read from these very bytes


class _Bytes(bytearray):
    """Bytes whose parts become text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Bytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)

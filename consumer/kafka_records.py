"""Records as Kafka hands them over, whatever bytes a header's name is made of.

Kafka lets a header's name be any bytes, and aiokafka reads it as UTF-8 or fails, each time it comes
to that record again: one of them would end intake for good. No name that says anything to us has
other bytes, so in the place of those that cannot be read there is U+FFFD.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, SupportsIndex

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


class _Records:
    """aiokafka's records of one partition's answer; what it cannot read is read once more."""

    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._records: Final = MemoryRecords(data)
        self._batches = 0

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        self._batches += 1
        # The others have no headers: markers of transactions, and the format before Kafka 0.11.
        has_headers = batch is not None and hasattr(batch, "producer_id")
        if not has_headers or batch.is_control_batch:
            return batch
        return _Batch(batch, self._data, self._batches - 1)


class _Batch:
    """A batch, and where it stands in its answer."""

    def __init__(self, batch: Any, data: bytes, number: int) -> None:
        self._batch: Final = batch
        self._data: Final = data
        self._number: Final = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except (UnicodeDecodeError, CorruptRecordException):
            # From its beginning: records that came already are below the position by now.
            yield from self._mended()

    def _mended(self) -> Iterator[Any]:
        """The batch once more, by aiokafka's reader in Python, over bytes that always decode."""
        slices = _Slices(self._data)
        batch = _DefaultRecordBatchPy(next(islice(slices, self._number, None)))
        batch._maybe_uncompress()
        batch._buffer = _Decodable(batch._buffer)
        yield from batch


class _Slices(_MemoryRecordsPy):  # type: ignore[misc]
    """The bytes of each batch of an answer."""

    def __iter__(self) -> Iterator[Any]:
        while self._next_slice is not None:
            yield self._next_slice
            self._cache_next()


class _Decodable(bytearray):
    def __getitem__(self, where: SupportsIndex | slice) -> Any:
        found = super().__getitem__(where)
        return found if isinstance(found, int) else _Decodable(found)

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


def read_any_header() -> None:
    """From now on every consumer of this process reads every record."""
    fetcher.MemoryRecords = _Records

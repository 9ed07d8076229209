"""What was published, read once more without the product's own reading of events."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from consumer.sandbox.oracle_reading import Unreadable, envelope, moment_of
from consumer.sandbox.otus import Record

_CLOCK_TOLERANCE: Final = timedelta(minutes=5)

Place = tuple[str, int, int]
"""Topic with its prefix, partition, offset."""


@dataclass(frozen=True)
class Published:
    """One record and where it lies in the log.

    ``version`` and ``changed_at`` are None of a tombstone, which keeps its subject's version, and
    of what cannot be read.
    """

    topic: str
    key: tuple[str, ...]
    place: Place
    version: int | None
    changed_at: datetime | None
    data: dict[str, Any] | None
    is_readable: bool = True

    @property
    def score(self) -> Decimal | None:
        """A grade's score, where it has one."""
        said = (self.data or {}).get("score")
        return None if said is None else Decimal(str(said))

    @property
    def due_at(self) -> datetime | None:
        """When an assessment is due."""
        said = (self.data or {}).get("due_at")
        return None if said is None else moment_of(said)


def read_published(placed: Iterable[tuple[Record, Place]]) -> Iterator[Published]:
    """The records as they were meant; see `oracle_reading` for what cannot be read."""
    for record, place in placed:
        key = tuple(record.key.split("/"))
        if record.value is None:
            yield Published(record.topic, key, place, None, None, None)
            continue
        try:
            _, _, at, data = envelope(record)
            if not isinstance(data.get("version"), int):
                raise Unreadable
        except Unreadable:
            yield Published(record.topic, key, place, None, None, None, is_readable=False)
        else:
            version = data["version"]
            appended = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
            if at > appended + _CLOCK_TOLERANCE:
                at = appended
            yield Published(record.topic, key, place, version, at.astimezone(UTC), data)


async def read_topics(
    bootstrap_servers: str, prefix: str, topics: Iterable[str]
) -> list[Published]:
    """Everything that lies in the topics now, without joining any group."""
    names = {prefix + topic: topic for topic in topics}
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    )
    placed: list[tuple[Record, Place]] = []
    await consumer.start()
    try:
        partitions = consumer.assignment()
        ends = await consumer.end_offsets(partitions)
        left = {one for one in partitions if ends[one] > 0}
        while left:
            for where, records in (await consumer.getmany(*left, timeout_ms=1000)).items():
                placed += [
                    (_record(names[where.topic], one), (where.topic, where.partition, one.offset))
                    for one in records
                ]
            left = {one for one in left if await consumer.position(one) < ends[one]}
    finally:
        await consumer.stop()
    return list(read_published(placed))


def _record(topic: str, one: Any) -> Record:
    key = (one.key or b"").decode(errors="replace")
    return Record(topic, key, one.value, one.timestamp, tuple(one.headers))

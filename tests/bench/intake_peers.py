"""What intake is compared with, on the same topic and the same table; each a process of its own.

``bare``: getmany, msgspec, COPY to a temporary table and a guarded upsert of 10,000, one after the
other: the least that is right about versions. It knows no quarantine, no tombstone, no late
version, no group. ``faststream``: FastStream's batch handler with pydantic models and the same
upsert by unnest, of 2,000. Both store their offsets with the rows, as ours does; the three
arguments are the peer, the topic and the database's URL, the broker is the fourth.
"""

import asyncio
import sys
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec
import pydantic
import pydantic_core
import uvloop
from aiokafka import AIOKafkaConsumer

_BARE_BATCH: Final = 10_000
_FASTSTREAM_BATCH: Final = 2_000

_COLUMNS: Final = (
    "district_id",
    "assessment_id",
    "class_id",
    "student_id",
    "version",
    "score",
    "completion",
    "submission",
    "changed_at",
    "log_partition",
    "log_offset",
)
_UPSERT: Final = """
INSERT INTO grade AS g (district_id, assessment_id, class_id, student_id, version, score,
    completion, submission, changed_at, log_partition, log_offset, pending_since, decide_from)
SELECT n.*, n.changed_at, n.changed_at FROM {source}
ON CONFLICT (district_id, assessment_id, class_id, student_id) DO UPDATE SET
    version = excluded.version, revision = g.revision + 1, score = excluded.score,
    completion = excluded.completion, submission = excluded.submission,
    changed_at = excluded.changed_at, log_partition = excluded.log_partition,
    log_offset = excluded.log_offset, state = 'pending', kind = NULL, reason = NULL,
    detail = NULL, pending_since = least(g.pending_since, excluded.changed_at),
    decide_from = least(g.pending_since, excluded.changed_at)
WHERE g.version < excluded.version"""
_OFFSETS: Final = """
INSERT INTO intake_offset (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset"""
_ARRAYS: Final = """unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[],
    $6::numeric[], $7::text[], $8::text[], $9::timestamptz[], $10::int[], $11::bigint[])
    AS n (district_id, assessment_id, class_id, student_id, version, score, completion,
          submission, changed_at, log_partition, log_offset)"""

Row = tuple[Any, ...]


def _row(event: Any, record: Any) -> Row:
    """The columns of a decoded event and its Kafka record."""
    d = event.data
    return (
        d.district_id,
        d.assessment_id,
        d.class_id,
        d.student_id,
        d.version,
        d.score,
        d.completion,
        d.submission,
        event.time,
        record.partition,
        record.offset,
    )


def newest(rows: Iterable[Row]) -> list[Row]:
    """One row a key, of its highest version, in key order."""
    found: dict[Row, Row] = {}
    for row in rows:
        key = row[:4]
        if key not in found or found[key][4] < row[4]:
            found[key] = row
    return [found[key] for key in sorted(found)]


async def store_offsets(connection: asyncpg.Connection, ends: dict[tuple[str, int], int]) -> None:
    topics, partitions = [t for t, _ in ends], [p for _, p in ends]
    await connection.execute(_OFFSETS, topics, partitions, list(ends.values()))


# -- the bare loop --------------------------------------------------------------------------


class _Grade(msgspec.Struct):
    district_id: str
    assessment_id: str
    class_id: str
    student_id: str
    version: int
    score: Decimal
    completion: str
    submission: str


class _Event(msgspec.Struct):
    time: datetime
    data: _Grade


async def bare(topic: str, url: str, broker: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    await connection.execute(
        f"CREATE TEMP TABLE batch ON COMMIT DELETE ROWS AS SELECT {', '.join(_COLUMNS)}"
        " FROM grade LIMIT 0"
    )
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    decode = msgspec.json.Decoder(_Event).decode
    while True:
        rows: list[Row] = []
        ends: dict[tuple[str, int], int] = {}
        while len(rows) < _BARE_BATCH:
            polled = await consumer.getmany(timeout_ms=50, max_records=2_000)
            if not polled and rows:
                break
            for partition, records in polled.items():
                ends[topic, partition.partition] = records[-1].offset + 1
                rows.extend(_row(decode(one.value), one) for one in records)
        async with connection.transaction():
            await connection.copy_records_to_table("batch", records=newest(rows), columns=_COLUMNS)
            await connection.execute(_UPSERT.format(source="batch n"))
            await store_offsets(connection, ends)


# -- FastStream -----------------------------------------------------------------------------


class _PydanticGrade(pydantic.BaseModel):
    district_id: str
    assessment_id: str
    class_id: str
    student_id: str
    version: int
    score: Decimal | None
    completion: str
    submission: str | None


class _PydanticEvent(pydantic.BaseModel):
    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    data: _PydanticGrade


async def _decoded(message: Any) -> list[Any]:
    return [pydantic_core.from_json(one.value) for one in message.raw_message]


async def faststream(topic: str, url: str, broker: str) -> None:
    # The parameters are told by their annotations, so its names must be the module's own.
    from faststream import Context, FastStream
    from faststream.kafka import KafkaBroker
    from faststream.kafka.annotations import KafkaMessage  # noqa: F401

    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    kafka = KafkaBroker(broker, logger=None)

    @kafka.subscriber(  # type: ignore[untyped-decorator]
        topic,
        batch=True,
        group_id=f"faststream-{url[-32:]}",
        max_records=_FASTSTREAM_BATCH,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        # Its own decoder knows no content type but application/json.
        decoder=_decoded,
    )
    async def handle(events: list[_PydanticEvent], message: Any = Context()) -> None:  # noqa: B008
        rows: list[Row] = []
        ends: dict[tuple[str, int], int] = {}
        for event, one in zip(events, message.raw_message, strict=True):
            ends[topic, one.partition] = max(ends.get((topic, one.partition), 0), one.offset + 1)
            rows.append(_row(event, one))
        async with connection.transaction():
            columns = [list(column) for column in zip(*newest(rows), strict=True)]
            await connection.execute(_UPSERT.format(source=_ARRAYS), *columns)
            await store_offsets(connection, ends)

    await FastStream(kafka, logger=None).run()


if __name__ == "__main__":
    _PEERS = {"bare": bare, "faststream": faststream}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_PEERS[sys.argv[1]](*sys.argv[2:]))

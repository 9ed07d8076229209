"""Intake in mid-batch while its group or its broker changes: the history is judged at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from consumer import events, intake
from consumer.sandbox.kafka import Kafka
from consumer.store import recording
from consumer.store.connection import Pool, connect
from consumer.store.recording import Batch, Recorded
from tests.history.clauses import judge
from tests.history.evidence import History, read_store
from tests.history.published import read_topics
from tests.integration.test_intake import Topics, graded, until
from tests.recordables import apply

STUDENTS, VERSIONS = 700, 3
MORE = 100
"""Students of whom is spoken after the broker's death."""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await connect(database_url, size=6) as opened:
        await apply(opened)
        yield opened


async def slowly(pool: Pool, batch: Batch, now: datetime, **how: Any) -> Recorded:
    """So that a batch is in hand most of the time."""
    await asyncio.sleep(0.1)
    return await recording.record(pool, batch, now, **how)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are many batches, and a replica hears of another within half a second."""
    monkeypatch.setattr(intake, "BATCH", 50)
    monkeypatch.setattr(intake, "_POLL", 50)
    monkeypatch.setattr(intake, "_SESSION_MS", 6_000)
    monkeypatch.setattr(intake, "record", slowly)


async def say(topics: Topics, students: range = range(STUDENTS)) -> None:
    """All versions of a grade, then those of the next: who reads past three loses one."""
    await topics.publish(
        graded(f"s-{student}", version, str(version))
        for student in students
        for version in range(1, VERSIONS + 1)
    )


async def recorded(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT coalesce(sum(next_offset), 0) FROM intake_offset"))


async def has_recorded(pool: Pool, records: int) -> bool:
    return await recorded(pool) >= records


async def clauses_broken(topics: Topics, database_url: str, students: int) -> set[str]:
    """What the judge says of what was published and what the store made of it."""
    servers = topics.broker.bootstrap_servers
    history = History(
        published=await read_topics(servers, topics.prefix, events.TOPICS),
        journal=(),
        held={},
        store=await read_store(database_url),
    )
    assert len(history.versions) == students
    return {one.clause for one in judge(history).findings}


# -- a replica joins, another leaves --------------------------------------------------------


async def rebalanced(topics: Topics, pool: Pool, *, in_order: bool) -> None:
    """A second replica joins in mid-batch; the first is stopped or cut off in mid-batch."""
    await topics.make(partitions=4)
    await say(topics)
    first = topics.intake(pool)
    reading = asyncio.create_task(first.run())
    await until(lambda: has_recorded(pool, 100))
    async with topics.reading(pool) as other:
        await until(lambda: bool(first.assigned == other.assigned == 6))
        before = await recorded(pool)
        await until(lambda: has_recorded(pool, before + 200))
        assert not await has_recorded(pool, STUDENTS * VERSIONS - 200), "nothing is in hand"
        if in_order:
            first.stop()
        else:
            reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await until(lambda: other.assigned == 12)
        await topics.until_recorded(pool)


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_replica_that_joins_and_one_that_leaves_in_mid_batch_lose_nothing(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool, database_url: str, in_order: bool
) -> None:
    topics = Topics(kafka_broker, topic_prefix)
    await rebalanced(topics, pool, in_order=in_order)
    assert await clauses_broken(topics, database_url, STUDENTS) == set()


# -- the broker dies ------------------------------------------------------------------------


async def broker_killed(topics: Topics, pool: Pool) -> None:
    """Kafka is killed in mid-batch, started again, and more is said."""
    await topics.make(partitions=2)
    await say(topics)
    async with topics.reading(pool):
        await until(lambda: has_recorded(pool, 200))
        await asyncio.to_thread(topics.broker.kill)
        assert not await has_recorded(pool, STUDENTS * VERSIONS - 200), "nothing is in hand"
        await asyncio.to_thread(topics.broker.start)
        await say(topics, range(STUDENTS, STUDENTS + MORE))
        await topics.until_recorded(pool, seconds=60)


@pytest.fixture
async def own_broker(services_directory: Path, topic_prefix: str) -> AsyncIterator[Kafka]:
    broker = Kafka(services_directory / f"{topic_prefix}kafka", heap="256m")
    await asyncio.to_thread(broker.start)
    yield broker
    await asyncio.to_thread(broker.kill)


async def test_a_kafka_killed_and_restarted_in_mid_intake_loses_nothing(
    own_broker: Kafka, topic_prefix: str, pool: Pool, database_url: str
) -> None:
    topics = Topics(own_broker, topic_prefix)
    await broker_killed(topics, pool)
    assert await clauses_broken(topics, database_url, STUDENTS + MORE) == set()

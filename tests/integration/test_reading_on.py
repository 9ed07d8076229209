"""Where Kafka no longer holds what was to be read next, an operator says that reading goes on."""

import asyncio
from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from consumer.errors import ServiceUnavailable
from consumer.intake import LogEnd, await_recorded
from consumer.sandbox.kafka import Kafka
from consumer.store import recording
from consumer.store.connection import Pool, connect
from tests.integration.operators import Operator
from tests.integration.test_intake import GRADES, Topics, graded, scores


@pytest.fixture
def topics(kafka_broker: Kafka, topic_prefix: str) -> Topics:
    return Topics(kafka_broker, topic_prefix)


@pytest.fixture
def reader(operator: Operator, topics: Topics, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setenv("PASSBACK_KAFKA_BOOTSTRAP_SERVERS", topics.broker.bootstrap_servers)
    monkeypatch.setenv("PASSBACK_KAFKA_TOPIC_PREFIX", topics.prefix)
    operator.apply()
    return operator


async def test_a_topic_made_anew_is_not_taken_for_one_that_was_read(
    database_url: str, topics: Topics
) -> None:
    """Else zeros would be made of work that stands unread in it."""
    await topics.make()
    await topics.publish(graded(f"s-{n}") for n in range(9))
    wait, end = timedelta(seconds=20), LogEnd(topics.settings)
    async with await connect(database_url, size=4) as pool:
        await recording.store_offsets(pool, {(topics.prefix + GRADES, 0): 9})
        assert await await_recorded(pool, end, wait)
        await recording.store_offsets(pool, {(topics.prefix + GRADES, 0): 70})
        assert not await await_recorded(pool, end, wait)


async def _ends_intake(topics: Topics, pool: Pool) -> str:
    with pytest.raises(ServiceUnavailable) as caught:
        async with asyncio.timeout(20):
            await topics.intake(pool).run()
    return str(caught.value)


@pytest.mark.parametrize("gone", ["made anew", "overtaken"])
async def test_reading_goes_on_where_kafka_begins_once_an_operator_says_so(
    reader: Operator,
    topics: Topics,
    gone: str,
) -> None:
    # Of a topic that is compacted alone Kafka deletes nothing by age.
    await topics.make(config={"cleanup.policy": "compact,delete"})
    await topics.publish(graded(f"s-{n}") for n in range(9))
    grades = (topics.prefix + GRADES, 0)
    async with await connect(reader.database_url, size=4) as pool:
        if gone == "made anew":
            await recording.store_offsets(pool, {grades: 70})
        else:
            await recording.store_offsets(pool, {grades: 2})
            await _delete_before(topics, 5)
        said = await _ends_intake(topics, pool)
        assert "passback events read-on" in said
        found = await asyncio.to_thread(reader.answer, "events", "read-on", "--dry-run")
        first = 0 if gone == "made anew" else 5
        stood = 70 if gone == "made anew" else 2
        wanted = [{"topic": grades[0], "partition": 0, "stood_at": stood, "reads_from": first}]
        assert found == wanted
        # A dry run changes nothing.
        await _ends_intake(topics, pool)
        assert await asyncio.to_thread(reader.answer, "events", "read-on") == wanted
        async with topics.reading(pool):
            await topics.until_recorded(pool)
        assert set(await scores(pool)) == {f"s-{n}" for n in range(first, 9)}
        assert await asyncio.to_thread(reader.answer, "events", "read-on") == []


async def test_a_partition_that_is_read_meanwhile_is_left_where_it_is(database_url: str) -> None:
    async with await connect(database_url, size=1) as pool:
        await recording.store_offsets(pool, {("t", 0): 7, ("t", 1): 3})
        moved = await recording.move_offsets(pool, {("t", 0): (6, 0), ("t", 1): (3, 1)})
        assert moved == {("t", 1)}
        assert await recording.stored_offsets(pool, ["t"]) == {("t", 0): 7, ("t", 1): 1}


async def _delete_before(topics: Topics, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topics.prefix + GRADES, 0): RecordsToDelete(before_offset=offset)}
        )
    finally:
        await admin.close()

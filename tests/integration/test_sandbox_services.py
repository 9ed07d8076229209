"""The sandbox's servers are real ones: they answer, and they keep what they acknowledged."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import RecordMetadata

from consumer.errors import ServiceUnavailable
from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.tcp import LOOPBACK, free_port


async def test_postgres_answers_on_loopback_only_with_its_password(
    postgres_server: Postgres,
) -> None:
    connection = await asyncpg.connect(postgres_server.url())
    try:
        assert connection.get_server_version().major == 18
        assert await connection.fetchval("SHOW listen_addresses") == LOOPBACK
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=LOOPBACK, port=postgres_server.port, user="postgres", password="another"
        )


@pytest.mark.parametrize("durable", [True, False])
async def test_postgres_keeps_committed_rows_over_a_kill_in_mid_write(
    services_directory: Path, durable: bool
) -> None:
    server = Postgres(services_directory / f"killed-postgres-{durable}", durable=durable)
    await asyncio.to_thread(server.start)
    try:
        writer = await asyncpg.connect(server.url())
        await writer.execute("CREATE TABLE posted (number int PRIMARY KEY)")
        committed: list[int] = []

        async def write() -> None:
            while True:
                await writer.execute("INSERT INTO posted VALUES ($1)", len(committed))
                committed.append(len(committed))

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.kill)
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await asyncio.wait_for(writing, 10)
        assert server.pid is None

        await asyncio.to_thread(server.start)
        reader = await asyncpg.connect(server.url())
        kept = [row["number"] for row in await reader.fetch("SELECT number FROM posted")]
        await reader.close()
        # One commit may have been written whose answer never arrived.
        assert committed
        assert sorted(kept) in (committed, [*committed, len(committed)])
    finally:
        await asyncio.to_thread(server.stop)


def test_a_postgres_that_cannot_start_says_why_in_one_sentence(
    services_directory: Path, postgres_server: Postgres
) -> None:
    second = Postgres(services_directory / "second-postgres", port=postgres_server.port)
    with pytest.raises(ServiceUnavailable, match=r"Postgres ended.*FATAL.*postgres\.log") as caught:
        second.start()
    assert "\n" not in str(caught.value)
    assert second.pid is None


async def test_kafka_round_trip_on_a_compacted_topic(
    kafka_broker: Kafka, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}grade-changed"
    await kafka_broker.create_topics({topic: 3}, config={"cleanup.policy": "compact"})
    sent = {f"key-{number}".encode(): f"value-{number}".encode() for number in range(50)}
    await _produce(kafka_broker, topic, sent)
    assert await _read_all(kafka_broker, topic, partitions=3) == sent


async def test_a_topic_that_exists_is_refused_by_name(
    kafka_broker: Kafka, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}twice"
    await kafka_broker.create_topics({topic: 1})
    with pytest.raises(ServiceUnavailable, match=f"{topic}.*already exists"):
        await kafka_broker.create_topics({topic: 1})


async def test_kafka_keeps_acknowledged_records_over_a_kill_and_over_a_stop(
    services_directory: Path,
) -> None:
    broker = Kafka(services_directory / "killed-kafka")
    await asyncio.to_thread(broker.start)
    try:
        await broker.create_topics({"assessment-changed": 2}, config={"cleanup.policy": "compact"})
        first = {f"key-{number}".encode(): b"before the kill" for number in range(20)}
        acknowledged = await _produce(broker, "assessment-changed", first)
        await asyncio.to_thread(broker.kill)
        assert broker.pid is None
        await asyncio.to_thread(broker.start)
        assert await _read_all(broker, "assessment-changed", partitions=2) == first

        second = {b"key-20": b"after the kill"}
        [record] = await _produce(broker, "assessment-changed", second)
        before = [each.offset for each in acknowledged if each.partition == record.partition]
        assert record.offset == max(before, default=-1) + 1
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        kept = await _read_all(broker, "assessment-changed", partitions=2)
        assert kept == first | second
    finally:
        await asyncio.to_thread(broker.stop)


def test_a_kafka_that_cannot_start_says_why_in_one_sentence(services_directory: Path) -> None:
    damaged = services_directory / "damaged-kafka"
    damaged.mkdir()
    (damaged / "formatted").touch()
    broker = Kafka(damaged)
    with pytest.raises(
        ServiceUnavailable, match=r"Kafka ended.*meta\.properties.*kafka\.log"
    ) as it:
        broker.start()
    assert "\n" not in str(it.value)
    assert broker.pid is None


def test_kafka_never_takes_a_strangers_answer_for_its_own(
    services_directory: Path, kafka_broker: Kafka
) -> None:
    second = Kafka(services_directory / "second-kafka", port=kafka_broker.port)
    with pytest.raises(ServiceUnavailable, match=f"{kafka_broker.port}.*in use"):
        second.start()


def test_a_server_ends_when_its_starter_is_killed(services_directory: Path) -> None:
    port = free_port()
    script = (
        "import sys, time; from pathlib import Path\n"
        "from consumer.sandbox.postgres import Postgres\n"
        "server = Postgres(Path(sys.argv[1]), port=int(sys.argv[2]), durable=False)\n"
        "server.start(); print(server.pid, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, services_directory / "orphaned-postgres", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        postmaster = psutil.Process(int(starter.stdout.readline()))
        assert postmaster.is_running()
        os.kill(starter.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while postmaster.is_running() and postmaster.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "Postgres outlived the process that started it"
        time.sleep(0.05)


async def _produce(broker: Kafka, topic: str, records: dict[bytes, bytes]) -> list[RecordMetadata]:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all")
    await producer.start()
    try:
        return [
            await producer.send_and_wait(topic, value, key=key) for key, value in records.items()
        ]
    finally:
        await producer.stop()


async def _read_all(broker: Kafka, topic: str, *, partitions: int) -> dict[bytes, bytes]:
    """Newest value by key, from the beginning of the topic to its present end."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        assigned = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(assigned)
        ends = await consumer.end_offsets(assigned)
        newest: dict[bytes, bytes] = {}
        while any([await consumer.position(each) < ends[each] for each in assigned]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                newest |= {record.key: record.value for record in records}
        return newest
    finally:
        await consumer.stop()

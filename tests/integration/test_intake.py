"""Intake on a real Kafka and a real Postgres: nothing is lost, nothing stops it for good."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BatchBuilderPy
from prometheus_client import CollectorRegistry

from consumer import events, intake, log
from consumer.errors import ServiceUnavailable, UsageError
from consumer.intake import Intake, LogEnd, await_recorded
from consumer.metrics import Metrics
from consumer.sandbox.kafka import Kafka
from consumer.sandbox.otus import Otus, Record
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.publish import publish
from consumer.settings import KafkaSettings, Start
from consumer.store import recording
from consumer.store.connection import Pool, connect
from consumer.store.migrate import migrate
from tests.recordables import apply

NOW = datetime.now(UTC)
GRADES, ASSESSMENTS, GROUP = events.GRADE_CHANGED, events.ASSESSMENT_CHANGED, events.GROUP_CHANGED
OTUS = Otus("lakeside", NOW, seed=1, zone=ZoneInfo("America/Chicago"))
STRUCTURED, UNMARKED, BINARY = 0, 8, 9


@pytest.fixture(autouse=True)
def _strict_log() -> None:
    log.configure("json", "info", strict=True)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a database in which the district lakeside was applied."""
    async with await connect(database_url, size=6) as opened:
        await apply(opened)
        yield opened


@dataclass
class Topics:
    """One test's topics and its consumer group on a broker."""

    broker: Kafka
    prefix: str
    start: Start | None = "earliest"
    group: str = "group"
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @property
    def settings(self) -> KafkaSettings:
        return KafkaSettings(
            bootstrap_servers=(self.broker.bootstrap_servers,),
            group_id=self.prefix + self.group,
            group_instance_id=None,
            start=self.start,
            topic_prefix=self.prefix,
            security_protocol="PLAINTEXT",
            sasl_mechanism=None,
            sasl_username=None,
            sasl_password=None,
            ssl_ca_file=None,
        )

    async def make(self, partitions: int = 1, config: dict[str, str] | None = None) -> None:
        """Makes the three topics."""
        names = {self.prefix + name: partitions for name in events.TOPICS}
        await self.broker.create_topics(names, {"cleanup.policy": "compact", **(config or {})})

    async def publish(self, records: Iterable[Record]) -> int:
        """Publishes records in order."""
        return await publish(self.broker.bootstrap_servers, self.prefix, records)

    def intake(self, pool: Pool) -> Intake:
        """A replica's intake, not running yet."""
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry, per_district=True, topic_prefix=self.prefix)
        return Intake(self.settings, pool, metrics, lambda: datetime.now(UTC))

    @asynccontextmanager
    async def reading(self, pool: Pool) -> AsyncIterator[Intake]:
        """A running intake; whatever ended it early is raised."""
        running = self.intake(pool)
        task = asyncio.create_task(running.run())
        try:
            yield running
            assert not task.done() or task.exception() is not None, "it ended by itself"
        finally:
            running.stop()
            async with asyncio.timeout(40):
                await task

    async def until_recorded(self, pool: Pool, seconds: float = 20) -> None:
        """Waits until the store holds all that Kafka holds now."""
        assert await await_recorded(pool, LogEnd(self.settings), timedelta(seconds=seconds))

    async def committed(self) -> dict[tuple[str, int], int]:
        """The group's committed offsets, by topic without prefix and by partition."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap_servers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.settings.group_id)
        finally:
            await admin.close()
        return {
            (p.topic.removeprefix(self.prefix), p.partition): o.offset for p, o in offsets.items()
        }

    async def group_is(self, state: str, members: int | None = None) -> bool:
        """Whether Kafka says so of the group."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap_servers)
        await admin.start()
        try:
            (described,) = await admin.describe_consumer_groups([self.settings.group_id])
        finally:
            await admin.close()
        (group,) = described.groups
        return group[2] == state and members in (None, len(group[5]))

    async def commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """Commits offsets for the group, of which nobody is a member."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker.bootstrap_servers,
            group_id=self.settings.group_id,
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            at = {TopicPartition(self.prefix + t, p): o for (t, p), o in offsets.items()}
            consumer.assign(list(at))
            await consumer.commit({p: OffsetAndMetadata(o, "") for p, o in at.items()})
        finally:
            await consumer.stop()

    async def stored(self, pool: Pool) -> dict[tuple[str, int], int]:
        """The store's offsets, by topic without prefix and by partition."""
        known = await recording.stored_offsets(pool, [self.prefix + t for t in events.TOPICS])
        return {(t.removeprefix(self.prefix), p): offset for (t, p), offset in known.items()}

    def count(self, name: str, **labels: str) -> float:
        """A counter of the newest intake."""
        return self.registry.get_sample_value(f"passback_{name}", labels) or 0.0


@pytest.fixture
async def topics(kafka_broker: Kafka, topic_prefix: str) -> Topics:
    """The three topics, one partition each, on the session's broker."""
    made = Topics(kafka_broker, topic_prefix)
    await made.make()
    return made


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


# -- what Otus publishes --------------------------------------------------------------------


def graded(
    student: str, version: int = 1, score: str = "8", mode: int = STRUCTURED, **changes: Any
) -> Record:
    """A grade of ``student`` in assessment a-1 of class c-7."""
    data = {
        "district_id": "lakeside",
        "assessment_id": "a-1",
        "class_id": "c-7",
        "student_id": student,
        "version": version,
        "score": score,
        "completion": "graded",
        "submission": "on_time",
        **changes,
    }
    key = "/".join(
        str(data[f"{name}_id"]) for name in ("district", "assessment", "class", "student")
    )
    return OTUS.enveloped(GRADES, key, f"e-{version}", json.dumps(data).encode(), NOW, mode)


def assessed(mode: int = STRUCTURED, **changes: Any) -> Record:
    """Assessment a-1 of class c-7."""
    data = {
        "district_id": "lakeside",
        "assessment_id": "a-1",
        "class_id": "c-7",
        "version": 1,
        "title": "Unit 1",
        "type": "Quiz",
        "format": "simple",
        "grading_scale": "points",
        "points_possible": 10,
        "include_in_final_grade": True,
        "assigned_by": {"user_id": "t-100", "in_sis": True},
        "assigned_at": "2026-11-16T09:00:00-06:00",
        "status": "active",
        "class_sourced_id": "sky-class-7",
        "school_sourced_id": "sky-school-1",
        "assignees": [{"student_id": "s-1", "sourced_id": "sky-stu-1"}],
        **changes,
    }
    return OTUS.enveloped(
        ASSESSMENTS, "lakeside/a-1/c-7", "e-1", json.dumps(data).encode(), NOW, mode
    )


def joined(mode: int = STRUCTURED) -> Record:
    """Teacher t-100 joined the group."""
    data = {"district_id": "lakeside", "teacher_id": "t-100", "version": 1, "member": True}
    return OTUS.enveloped(GROUP, "lakeside/t-100", "e-1", json.dumps(data).encode(), NOW, mode)


def poison() -> list[Record]:
    """Records that cannot be read, each in a way of its own, with their reasons in ``REASONS``."""
    fine = graded("s-1")
    assert fine.value is not None
    return [
        fine._replace(value=b"\xff\x00not json"),
        fine._replace(value=b"{}"),
        fine._replace(value=b'{"specversion":"1.0","data":' + b"[" * 100_000),
        fine._replace(value=fine.value.replace(b"grade-changed.v1", b"grade-changed.v9")),
        fine._replace(value=fine.value.replace(b'"version": 1', b'"version": "1"')),
        fine._replace(key="lakeside/a-1/c-7/s-2"),
        fine._replace(key="x" * 2_599),
        graded("s-1", district_id="hillside"),
        fine._replace(headers=(("ce_specversion", b"0.3"),)),
    ]


REASONS = [
    "not_json",
    "not_cloudevent",
    "not_json",
    "unknown_type",
    "invalid_data",
    "key_disagrees",
    "key_disagrees",
    "unknown_district",
    "not_cloudevent",
]


async def scores(pool: Pool) -> dict[str, tuple[int, int]]:
    """Version and score by student."""
    rows = await pool.fetch("SELECT student_id, version, score FROM grade")
    return {row["student_id"]: (row["version"], int(row["score"])) for row in rows}


# -- reading --------------------------------------------------------------------------------


async def test_poison_is_quarantined_and_intake_goes_on(pool: Pool, topics: Topics) -> None:
    bad = poison()
    await topics.publish([graded("before"), *bad, graded("after")])
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {"before", "after"}
    rows = await pool.fetch(
        "SELECT topic, partition, log_offset, reason, key, value FROM quarantine"
        " ORDER BY log_offset"
    )
    assert [row["reason"] for row in rows] == REASONS
    assert [row["log_offset"] for row in rows] == list(range(1, len(bad) + 1))
    assert {(row["topic"], row["partition"]) for row in rows} == {(topics.prefix + GRADES, 0)}
    assert [(row["key"], row["value"]) for row in rows] == [
        (record.key.encode(), record.value) for record in bad
    ]
    assert topics.count("events_quarantined_total", reason="not_json") == 2


async def test_records_without_a_key_or_in_no_text_are_quarantined_too(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool
) -> None:
    topics = Topics(kafka_broker, topic_prefix)
    # A compacted topic takes no record without a key.
    await topics.make(config={"cleanup.policy": "delete"})
    async with AIOKafkaProducer(bootstrap_servers=topics.broker.bootstrap_servers) as producer:
        for key, value in ((None, b"{}"), (b"\xff\xfe\x00", None), (b"", None)):
            headers = [("a", b""), ("a", b"\xff")]
            await producer.send_and_wait(topics.prefix + GROUP, value, key=key, headers=headers)
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    rows = await pool.fetch("SELECT district_id, reason FROM quarantine")
    assert [tuple(row) for row in rows] == [("", "key_disagrees")] * 3


class Bytes(str):
    """A header's name that goes as other bytes than its own."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe" + super().encode(encoding, errors)


@pytest.mark.parametrize("compressed", [None, "gzip"])
async def test_a_header_whose_name_is_no_text_stops_nothing_and_loses_nothing(
    topics: Topics, pool: Pool, monkeypatch: pytest.MonkeyPatch, compressed: str | None
) -> None:
    # The other builder of aiokafka takes such a name for what it says it is.
    monkeypatch.setattr(message_accumulator, "DefaultRecordBatchBuilder", BatchBuilderPy)
    records = [graded(f"s-{number}") for number in range(5)]
    records[3] = records[3]._replace(value=b"{")
    servers = topics.broker.bootstrap_servers
    async with AIOKafkaProducer(bootstrap_servers=servers, compression_type=compressed) as producer:
        batch = producer.create_batch()
        for number, one in enumerate(records):
            headers = [*one.headers, *[(Bytes("name"), b"1")] * (number in (1, 3))]
            key = one.key.encode()
            batch.append(key=key, value=one.value, timestamp=one.timestamp_ms, headers=headers)
        await (await producer.send_batch(batch, topics.prefix + GRADES, partition=0))
    async with topics.reading(pool):
        await topics.until_recorded(pool)
        await topics.publish([graded("after")])
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {"s-0", "s-1", "s-2", "s-4", "after"}
    (quarantined,) = await pool.fetch("SELECT log_offset, headers FROM quarantine")
    assert quarantined["log_offset"] == 3
    assert "\N{REPLACEMENT CHARACTER}name".encode().hex() in str(quarantined["headers"])


async def test_a_timestamp_beyond_all_calendars_does_not_stop_intake(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool
) -> None:
    topics = Topics(kafka_broker, topic_prefix)
    await topics.make(config={"message.timestamp.after.max.ms": str(2**63 - 1)})
    await topics.publish([graded("s-1")._replace(timestamp_ms=2**62), graded("s-2")])
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {"s-1", "s-2"}


async def test_a_row_that_postgres_refuses_for_good_is_quarantined_and_the_rest_recorded(
    pool: Pool, topics: Topics
) -> None:
    # What our models let through, and a stricter column does not.
    await pool.execute("ALTER TABLE grade ADD CHECK (student_id NOT LIKE 'refused%')")
    students = [f"refused-{n}" if n in {0, 37, 38, 99} else f"s-{n}" for n in range(100)]
    await topics.publish([assessed(), *(graded(student) for student in students), poison()[0]])
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    assert len(await scores(pool)) == 96
    assert await pool.fetchval("SELECT count(*) FROM assessment") == 1
    rows = await pool.fetch("SELECT log_offset, reason, detail FROM quarantine ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        *((n, "invalid_data", "Postgres refuses it (23514)") for n in (0, 37, 38, 99)),
        (100, "not_json", "the value is not valid JSON"),
    ]
    assert topics.count("events_recorded_total", topic=topics.prefix + GRADES) == 96


# -- where it begins and goes on ------------------------------------------------------------


async def _are_stored(topics: Topics, pool: Pool, partitions: int) -> bool:
    return len(await topics.stored(pool)) == partitions


async def test_a_first_start_that_nobody_decided_on_is_refused(pool: Pool, topics: Topics) -> None:
    topics.start = None
    with pytest.raises(UsageError, match=r"PASSBACK_KAFKA_START to earliest .* or to latest"):
        await topics.intake(pool).run()
    topics.start = "earliest"
    await topics.publish([joined()])
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    topics.start = None
    async with topics.reading(pool):
        await topics.publish([graded("s-1")])
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {"s-1"}


async def test_latest_begins_with_what_comes_from_now_on(pool: Pool, topics: Topics) -> None:
    topics.start = "latest"
    await topics.publish([graded("before")])
    async with topics.reading(pool) as running:
        await until(lambda: _are_stored(topics, pool, 3))
        assert running.assigned == 3
        await topics.publish([graded("after")])
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {"after"}


async def test_two_replicas_that_first_start_together_both_begin_with_the_latest(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool
) -> None:
    topics = Topics(kafka_broker, topic_prefix, start="latest")
    await topics.make(partitions=4)
    await topics.publish(graded(f"before-{n}") for n in range(40))
    async with topics.reading(pool) as one, topics.reading(pool) as other:
        await until(lambda: bool(one.assigned and other.assigned))
        await until(lambda: _are_stored(topics, pool, 12))
        await topics.publish(graded(f"after-{n}") for n in range(40))
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {f"after-{n}" for n in range(40)}


async def test_the_first_that_begins_with_the_latest_does_so_for_the_other_replicas_too(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool
) -> None:
    topics = Topics(kafka_broker, topic_prefix, start="latest")
    await topics.make(partitions=2)
    await topics.publish(graded(f"s-{n}") for n in range(20))
    names = [topic_prefix + name for name in events.TOPICS]
    servers = kafka_broker.bootstrap_servers
    async with AIOKafkaConsumer(*names, bootstrap_servers=servers, group_id=None) as consumer:
        mine = {TopicPartition(topic_prefix + GRADES, 0)}
        await topics.intake(pool).seek(consumer, mine)
        assert await recording.stored_offsets(pool, names) == await LogEnd(topics.settings).read()


@pytest.mark.parametrize("committed", ["removed", "behind", "ahead"])
async def test_it_goes_on_from_the_stores_offsets_whatever_kafka_has_committed(
    pool: Pool, topics: Topics, committed: str
) -> None:
    await topics.publish([joined(), assessed(), *(graded(f"s-{n}") for n in range(10))])
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    # Were they read again, they would be there again.
    await pool.execute("DELETE FROM grade")
    await topics.publish(graded(f"s-{n}") for n in range(10, 20))
    if committed == "removed":
        topics.group = "one-that-never-committed"
    else:
        await topics.commit({(GRADES, 0): 3 if committed == "behind" else 18})
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {f"s-{n}" for n in range(10, 20)}


async def test_committed_offsets_follow_within_five_seconds(pool: Pool, topics: Topics) -> None:
    async with topics.reading(pool):
        for count in (3, 5):
            await topics.publish(graded(f"s-{n}", version=count) for n in range(count))
            await topics.until_recorded(pool)
            stored = (await topics.stored(pool))[GRADES, 0]

            async def follows(at: int = stored) -> bool:
                return (await topics.committed()).get((GRADES, 0)) == at

            await until(follows, seconds=5)
        await topics.publish([graded("last")])
        await topics.until_recorded(pool)
    # And at once where it stops.
    assert (await topics.committed())[GRADES, 0] == 9


async def test_a_partition_that_was_added_later_is_read_from_its_beginning(
    pool: Pool, topics: Topics
) -> None:
    topics.start = "latest"
    async with topics.reading(pool):
        await topics.publish([joined()])
        await until(lambda: _are_stored(topics, pool, 3))
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.broker.bootstrap_servers)
    await admin.start()
    await admin.create_partitions({topics.prefix + GRADES: NewPartitions(total_count=3)})
    await admin.close()
    await topics.publish(graded(f"s-{n}") for n in range(30))
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {f"s-{n}" for n in range(30)}
    assert {p for t, p in await topics.stored(pool) if t == GRADES} == {0, 1, 2}


async def test_what_retention_took_away_before_it_was_read_ends_intake_with_a_sentence(
    pool: Pool, topics: Topics
) -> None:
    await recording.store_offsets(pool, {(topics.prefix + GRADES, 0): 70})
    await topics.publish([graded("s-1")])
    with pytest.raises(ServiceUnavailable) as caught:
        async with asyncio.timeout(20):
            await topics.intake(pool).run()
    assert f"{topics.prefix}{GRADES}[0] at 70" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_kafka_that_does_not_answer_is_named_in_one_sentence(
    pool: Pool, topics: Topics
) -> None:
    topics.broker = Kafka(Path("/nonexistent"))
    with pytest.raises(ServiceUnavailable) as caught:
        await topics.intake(pool).run()
    assert topics.broker.bootstrap_servers in str(caught.value)
    assert "PASSBACK_KAFKA_BOOTSTRAP_SERVERS" in str(caught.value)


async def test_two_replicas_share_the_partitions_and_one_takes_over_from_the_other(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool
) -> None:
    topics = Topics(kafka_broker, topic_prefix)
    await topics.make(partitions=4)
    async with topics.reading(pool) as one:
        async with topics.reading(pool) as other:
            await topics.publish(graded(f"s-{n}") for n in range(100))
            await until(lambda: bool(one.assigned and other.assigned))
            await topics.until_recorded(pool)
            assert one.speaks_for_all != other.speaks_for_all
        assert (other.assigned, other.speaks_for_all) == (None, False)
        await until(lambda: one.assigned == 12)
        assert one.speaks_for_all
        await topics.publish(graded(f"s-{n}", version=2, score="9") for n in range(100))
        await topics.until_recorded(pool)
    assert await scores(pool) == {f"s-{n}": (2, 9) for n in range(100)}


async def test_a_replica_cut_off_while_it_joins_leaves_no_member_behind(
    pool: Pool, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_SESSION_MS", 10_000)
    async with topics.reading(pool) as first:
        await until(lambda: first.assigned == 3)
        joining = asyncio.create_task(topics.intake(pool).run())
        # The other hears of it with its next heartbeat, within a second.
        await until(lambda: topics.group_is("PreparingRebalance"))
        joining.cancel()
        await asyncio.wait([joining])
        await until(lambda: topics.group_is("Stable", members=1))
        assert first.assigned == 3


async def test_a_missing_topic_is_named_in_one_sentence(
    kafka_broker: Kafka, topic_prefix: str, pool: Pool
) -> None:
    topics = Topics(kafka_broker, topic_prefix)
    await kafka_broker.create_topics({topic_prefix + GRADES: 2, topic_prefix + GROUP: 1})
    async with asyncio.timeout(10):
        with pytest.raises(ServiceUnavailable) as caught:
            await topics.intake(pool).run()
        assert str(caught.value) == (
            f"Kafka does not show the topic {topic_prefix}{ASSESSMENTS}; create it, allow reading"
            " it, or correct PASSBACK_KAFKA_TOPIC_PREFIX."
        )
        assert await LogEnd(topics.settings).partitions() == {
            topic_prefix + ASSESSMENTS: 0,
            topic_prefix + GRADES: 2,
            topic_prefix + GROUP: 1,
        }
        # What cannot be asked about counts as behind: no zero is made meanwhile.
        assert not await await_recorded(pool, LogEnd(topics.settings), timedelta(seconds=1))


# -- the log's end --------------------------------------------------------------------------


async def test_the_logs_end_is_the_offset_after_the_last_record(topics: Topics) -> None:
    await topics.publish([joined(), *(graded(f"s-{n}") for n in range(7))])
    end = LogEnd(topics.settings)
    prefix = topics.prefix
    assert await end.read() == {
        (prefix + GRADES, 0): 7,
        (prefix + ASSESSMENTS, 0): 0,
        (prefix + GROUP, 0): 1,
    }
    assert await end.partitions() == {prefix + name: 1 for name in events.TOPICS}


async def test_who_asks_for_the_logs_end_together_shares_questions_that_began_later(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, start = [], AIOKafkaConsumer.start

    async def counted(client: AIOKafkaConsumer) -> None:
        clients.append(client)
        await start(client)

    monkeypatch.setattr(AIOKafkaConsumer, "start", counted)
    await topics.publish([graded("s-1")])
    end, grades = LogEnd(topics.settings), (topics.prefix + GRADES, 0)
    first = asyncio.create_task(end.read())
    while not clients:
        await asyncio.sleep(0)
    await topics.publish([graded("s-2")])
    late = [asyncio.create_task(end.read()) for _ in range(20)]
    late[0].cancel()
    assert (await first)[grades] in {1, 2}
    assert [(await one)[grades] for one in late[1:]] == [2] * 19
    # Two questions, each of two clients.
    assert len(clients) == 4
    await topics.publish([graded("s-3")])
    assert (await end.read())[grades] == 3


async def test_a_question_for_the_logs_end_that_failed_is_asked_again(topics: Topics) -> None:
    later = replace(topics, prefix=f"{topics.prefix}later.")
    end = LogEnd(later.settings)
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="does not show the topic"):
            await end.read()
    await later.make()
    assert set((await end.read()).values()) == {0}


async def test_the_store_is_awaited_until_it_holds_all_that_kafka_held(
    pool: Pool, topics: Topics
) -> None:
    end = LogEnd(topics.settings)
    await topics.publish([graded("s-1")])
    assert not await await_recorded(pool, end, timedelta(seconds=0.5))
    waiting = asyncio.create_task(await_recorded(pool, end, timedelta(seconds=20)))
    async with topics.reading(pool):
        assert await waiting
        assert set(await scores(pool)) == {"s-1"}


async def test_a_kafka_that_is_away_is_awaited_no_longer_than_said(
    pool: Pool, topics: Topics
) -> None:
    topics.broker = Kafka(Path("/nonexistent"))
    async with asyncio.timeout(5):
        assert not await await_recorded(pool, LogEnd(topics.settings), timedelta(seconds=1))


async def test_records_of_aborted_transactions_are_passed_over(pool: Pool, topics: Topics) -> None:
    servers, sender = topics.broker.bootstrap_servers, f"{topics.prefix}sender"
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=sender) as producer:
        for student, aborted in (("kept", False), ("aborted", True)):
            record = graded(student)
            await producer.begin_transaction()
            await producer.send_and_wait(
                topics.prefix + GRADES, record.value, key=record.key.encode()
            )
            await (producer.abort_transaction() if aborted else producer.commit_transaction())
    async with topics.reading(pool):
        # The last thing in the log is a marker, which no poll brings.
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {"kept"}
    assert (await topics.stored(pool))[GRADES, 0] == 4


# -- faults ---------------------------------------------------------------------------------


@pytest.fixture
async def mortal_postgres(services_directory: Path, topic_prefix: str) -> AsyncIterator[Postgres]:
    """A migrated Postgres of the test's own, with the district applied; it may be killed."""
    server = Postgres(services_directory / f"{topic_prefix}postgres", durable=False)
    await asyncio.to_thread(server.start)
    try:
        await migrate(server.url())
        async with await connect(server.url()) as opened:
            await apply(opened)
        yield server
    finally:
        await asyncio.to_thread(server.stop, "immediate")


async def publish_until(topics: Topics, stopped: asyncio.Event) -> dict[str, tuple[int, int]]:
    """Publishes rising versions of 50 grades; returns the newest of each that Kafka holds."""
    newest: dict[str, tuple[int, int]] = {}
    version = 0
    while not stopped.is_set():
        version += 1
        students = [f"s-{n}" for n in range(50)]
        await topics.publish(graded(s, version, score=str(version)) for s in students)
        newest |= dict.fromkeys(students, (version, version))
    return newest


async def test_a_postgres_killed_and_restarted_in_mid_intake_loses_nothing(
    mortal_postgres: Postgres, topics: Topics
) -> None:
    async with await connect(mortal_postgres.url(), size=4) as pool:
        stopped = asyncio.Event()
        async with topics.reading(pool) as running:
            publishing = asyncio.create_task(publish_until(topics, stopped))
            await until(lambda: _has_grades(pool))
            for _ in range(2):
                await asyncio.to_thread(mortal_postgres.kill)
                await until(lambda: running.paused)
                await asyncio.to_thread(mortal_postgres.start)
                await until(lambda: not running.paused)
            stopped.set()
            newest = await publishing
            await topics.until_recorded(pool)
        assert await scores(pool) == newest
        assert (await topics.stored(pool))[GRADES, 0] == (await topics.committed())[GRADES, 0]


async def _has_grades(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM grade)"))


async def test_what_was_read_while_a_batch_failed_is_read_again_after_it(
    pool: Pool, topics: Topics
) -> None:
    async with pool.acquire() as other, topics.reading(pool) as running:
        async with other.transaction():
            await other.execute("LOCK TABLE grade IN SHARE ROW EXCLUSIVE MODE")
            await topics.publish([graded("s-1"), graded("s-2", 2, "9")])
            await until(lambda: _waits_for_a_lock(other))
            await topics.publish([graded("s-2", 1), graded("s-3")])
            await asyncio.sleep(1)  # read, and waiting for the batch before
            assert await other.fetchval(f"SELECT count(pg_terminate_backend(pid)) {_WAITING}") == 1
            await until(lambda: running.paused)
        await topics.until_recorded(pool)
    assert await scores(pool) == {"s-1": (1, 8), "s-2": (2, 9), "s-3": (1, 8)}
    assert topics.count("events_consumed_total", topic=topics.prefix + GRADES) == 4


async def _waits_for_a_lock(connection: Any) -> bool:
    return bool(await connection.fetchval(f"SELECT EXISTS (SELECT {_WAITING})"))


_WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_partitions_assigned_while_postgres_is_away_are_read_when_it_is_back(
    mortal_postgres: Postgres, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_RETRY_PAUSES", (0.1,))
    await topics.publish(graded(f"s-{n}") for n in range(20))
    async with await connect(mortal_postgres.url(), size=4) as pool:
        await asyncio.to_thread(mortal_postgres.kill)
        async with topics.reading(pool) as running:
            await until(lambda: running.assigned == 3 and running.paused)
            await asyncio.sleep(1)
            assert running.last_poll is not None
            await asyncio.to_thread(mortal_postgres.start)
            await topics.until_recorded(pool)
            await topics.publish([graded("afterwards")])
            await topics.until_recorded(pool)
        assert set(await scores(pool)) == {*(f"s-{n}" for n in range(20)), "afterwards"}


async def test_intake_stops_in_order_while_postgres_is_away(
    mortal_postgres: Postgres, topics: Topics
) -> None:
    async with await connect(mortal_postgres.url(), size=4) as pool:
        async with topics.reading(pool) as running:
            await topics.publish([graded("s-1")])
            await topics.until_recorded(pool)
            await asyncio.to_thread(mortal_postgres.kill)
            await topics.publish([graded("s-2")])
            await until(lambda: running.paused)
        await asyncio.to_thread(mortal_postgres.start)
        assert (await topics.committed())[GRADES, 0] == 1
        async with topics.reading(pool):
            await topics.until_recorded(pool)
        assert set(await scores(pool)) == {"s-1", "s-2"}

"""Kafka -> store: batches are read, recorded with their offsets in one transaction, committed.

The store's offsets are the truth: on assignment reading goes on from them, and Kafka's
committed ones follow for whoever watches lag; a commit that fails is normal (a rebalance
came between) and changes nothing. While one batch is being recorded the next is read, so that
Postgres and this process work side by side; batches are recorded one after the other, and where
one fails, what was read after it is dropped and read again. While Postgres does not answer,
reading is paused and the group is kept.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from consumer import events
from consumer.errors import EventUnreadable, ServiceUnavailable, UsageError
from consumer.events import QuarantineReason, moment
from consumer.kafka_reach import why_unreached
from consumer.kafka_records import read_any_header
from consumer.log import get_logger
from consumer.metrics import Metrics
from consumer.settings import KafkaSettings
from consumer.store.connection import REFUSED, UNAVAILABLE, Pool, answers
from consumer.store.recording import (
    Batch,
    Folded,
    Recordable,
    Recorded,
    Unreadable,
    fold,
    record,
    store_offsets,
    stored_offsets,
)

BATCH: Final = 2_000
"""Records a batch, nearly at most: larger ones are hardly cheaper, and cost memory."""

_POLL: Final = 500
"""Records a poll, at most."""

_SLICE: Final = 50
"""Records that are parsed in one go: what Postgres answers meanwhile waits for that."""

_POLICY: Final = "cleanup.policy"
_POLL_MS: Final = 500
_POLL_RECORDING_MS: Final = 10
_COMMIT_EVERY: Final = 2.0
_ANSWERED: Final = 1.0
"""Seconds after which a question to Kafka counts as one without an answer."""

_RETRY_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_SESSION_MS: Final = 30_000
_LATEST_MS: Final = 2**63 - 1
"""No timestamp is later."""


class Intake:
    """Reads the topics' partitions that the group assigns to this replica.

    ``now`` is the clock. ``last_poll`` is when Kafka was last polled, before the first poll when
    partitions were assigned (monotonic seconds), ``answered_at`` since when it has answered for
    each partition of this replica, and ``assigned`` how many these are; all None while it is not
    in the group. ``has_read`` says whether these topics were ever read, so that the settings are
    known to be right.
    ``speaks_for_all`` is true in one replica of the group: the one that has partition 0 of the
    grades.
    """

    def __init__(
        self, kafka: KafkaSettings, pool: Pool, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        read_any_header()
        self._kafka = kafka
        self._pool = pool
        self._metrics = metrics
        self._now = now
        self._topics = {kafka.topic_prefix + name: name for name in events.TOPICS}
        self._stored: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._committed_at = 0.0
        self._gathered = _Gathered()
        self._recording: asyncio.Task[None] | None = None
        # Whether most of the last batch was stale, as in a replay.
        self._replaying = False
        # Up to which moment a partition is known to be stored.
        self._reached: dict[TopicPartition, datetime] = {}
        self._stopping = asyncio.Event()
        self._unsought: BaseException | None = None
        self._log = get_logger()
        self.last_poll: float | None = None
        self.answered_at: datetime | None = None
        self.assigned: int | None = None
        self.speaks_for_all = False
        self.has_read = False
        self.paused = False

    def stop(self) -> None:
        """Ends ``run`` after the batch in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Reads until stopped; raises ``UsageError`` for a first start nobody decided on.

        Raises ``ServiceUnavailable`` where Kafka does not answer, lacks a topic, or no longer
        holds what was to be read next; it can then be run again.
        """
        try:
            await self._run()
        except KafkaError as error:
            servers = ",".join(self._kafka.bootstrap_servers)
            raise ServiceUnavailable(
                f"Kafka at {servers} ended reading ({type(error).__name__}); see to its access"
                " rules and that no other replica has this PASSBACK_KAFKA_GROUP_INSTANCE_ID."
            ) from error
        finally:
            self._left()

    async def _run(self) -> None:
        await self._expect_start_decided()
        # A consumer of a group waits 40 s for a missing topic, and then does not name it.
        await LogEnd(self._kafka).read()
        consumer = AIOKafkaConsumer(
            **self._kafka.connection(),
            client_id="skyward-passback",
            group_id=self._kafka.group_id,
            group_instance_id=self._kafka.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=512 * 1024,
            # For a moment an answer is there three times; unbounded, it grows with the partitions.
            fetch_max_bytes=2_560 * 1024,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_SESSION_MS // 10,
            max_poll_interval_ms=300_000,
            isolation_level="read_committed",
        )
        consumer.subscribe(list(self._topics), listener=_Assignment(self, consumer))
        async with _started(consumer, self._kafka):
            try:
                while not self._stopping.is_set():
                    await self._turn(consumer)
                await self._finish()
            finally:
                await self._drop()
                await self._commit(consumer)

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        if self._unsought is not None:
            error, self._unsought = self._unsought, None
            await self._wait_for_postgres(consumer, error)
            return
        try:
            patience = _POLL_MS if self._recording is None else _POLL_RECORDING_MS
            polled = await consumer.getmany(timeout_ms=patience, max_records=_POLL)
        except NoOffsetForPartitionError:
            return  # assigned, and not yet sought to the store's offset
        except OffsetOutOfRangeError as error:
            raise _overtaken(error) from None
        self.last_poll = time.monotonic()
        self._hear(consumer)
        try:
            if polled:
                await self._read(polled)
            await self._record_gathered()
            if not polled and self._recording is None:
                await self._follow_positions(consumer)
        except UNAVAILABLE as error:
            await self._wait_for_postgres(consumer, error)
            return
        if self.last_poll - self._committed_at >= _COMMIT_EVERY:
            await self._commit(consumer)
            self._show_lag(consumer)

    # -- recording --------------------------------------------------------------------------

    async def _record_gathered(self) -> None:
        """Begins to record what was gathered once the batch before is recorded; raises its error.

        Waits for that one where enough was gathered.
        """
        gathered = self._gathered
        if self._recording is not None:
            if gathered.records >= BATCH:
                if not self._replaying:
                    gathered.folded = fold(gathered.batch.changes)
                await asyncio.wait([self._recording])
            else:
                await asyncio.sleep(0)
            if not self._recording.done():
                return
            recording, self._recording = self._recording, None
            await recording
        if gathered.records:
            self._gathered = _Gathered()
            self._recording = asyncio.create_task(self._record(gathered))
            await asyncio.sleep(0)

    async def _finish(self) -> None:
        """Waits for the batch in hand; what was gathered after it is read again another time."""
        if self._recording is not None:
            try:
                await self._recording
            except UNAVAILABLE as error:
                self._log.error("postgres_unavailable", exc_info=error)

    async def _drop(self) -> None:
        """Gives up what is being recorded and what was gathered after it."""
        self._gathered = _Gathered()
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.cancel()
            await asyncio.wait([recording])
            if not recording.cancelled():
                recording.exception()  # taken note of: what ended reading is raised

    async def _record(self, gathered: "_Gathered") -> None:
        recorded = await self._record_or_split(gathered.batch, gathered.folded)
        stale = sum(recorded.stale.values())
        self._replaying = stale > sum(recorded.recorded.values())
        now = self._now()
        for (topic, partition), offset in gathered.batch.next_offsets.items():
            self._stored[TopicPartition(topic, partition)] = offset
        for read_to, timestamp in gathered.reached.items():
            reached = min(moment(timestamp), now)
            self._reached[read_to] = max(self._reached.get(read_to, reached), reached)
        self._metrics.count_batch(
            consumed=gathered.consumed,
            recorded=recorded.recorded,
            stale=recorded.stale,
            quarantined=recorded.quarantined,
            seconds=time.perf_counter() - gathered.began,
            oldest_age=(now - moment(gathered.oldest)).total_seconds(),
            at=now,
        )

    async def _read(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Reads what was polled into what is gathered."""
        gathered = self._gathered
        if not gathered.records:
            gathered.began = time.perf_counter()
        for partition, records in polled.items():
            topic = self._topics[partition.topic]
            gathered.records += len(records)
            gathered.consumed[topic] = gathered.consumed.get(topic, 0) + len(records)
            for begin in range(0, len(records), _SLICE):
                self._read_slice(gathered.batch, topic, records[begin : begin + _SLICE])
                await asyncio.sleep(0)
            if records:
                last = records[-1]
                next_offsets = gathered.batch.next_offsets
                next_offsets[partition.topic, partition.partition] = last.offset + 1
                gathered.reached[partition] = last.timestamp
                gathered.oldest = min(gathered.oldest, *(one.timestamp for one in records))

    def _read_slice(self, batch: Batch, topic: str, records: Sequence[Any]) -> None:
        for one in records:
            try:
                change = events.read(topic, one.key, one.value, one.headers, one.timestamp)
            except EventUnreadable as error:
                batch.unreadable.append(Unreadable(one, error.reason, error.detail))
            else:
                batch.changes.append(Recordable(change, one))

    async def _record_or_split(self, batch: Batch, folded: Folded | None = None) -> Recorded:
        """Records the batch; where Postgres refuses a row for good, all but that one."""
        try:
            return await record(
                self._pool, batch, self._now(), folded=folded, ask_first=self._replaying
            )
        except REFUSED as error:
            if not batch.changes:
                raise
            if len(batch.changes) == 1:
                one = batch.changes[0]
                detail = f"Postgres refuses it ({getattr(error, 'sqlstate', None)})"
                refused = Unreadable(one.record, QuarantineReason.INVALID_DATA, detail)
                return await self._record_or_split(
                    Batch([], [*batch.unreadable, refused], batch.next_offsets)
                )
        middle = len(batch.changes) // 2
        # The offsets go with the last half: they are never ahead of the rows.
        first = await self._record_or_split(Batch(batch.changes[:middle]))
        second = await self._record_or_split(
            Batch(batch.changes[middle:], batch.unreadable, batch.next_offsets)
        )
        return Recorded(
            *(
                {key: a.get(key, 0) + b.get(key, 0) for key in {*a, *b}}
                for a, b in (
                    (first.recorded, second.recorded),
                    (first.stale, second.stale),
                    (first.quarantined, second.quarantined),
                )
            )
        )

    async def _follow_positions(self, consumer: AIOKafkaConsumer) -> None:
        """Stores positions that moved without a record: transaction markers, compaction."""
        moved: dict[tuple[str, int], int] = {}
        for partition in consumer.assignment() & self._stored.keys():
            position = await consumer.position(partition)
            if position > self._stored[partition]:
                moved[(partition.topic, partition.partition)] = position
        if moved:
            await store_offsets(self._pool, moved)
            for (topic, number), offset in moved.items():
                self._stored[TopicPartition(topic, number)] = offset

    async def _wait_for_postgres(self, consumer: AIOKafkaConsumer, error: BaseException) -> None:
        self._log.error("postgres_unavailable", exc_info=error)
        self.paused = True
        await self._drop()
        await self._pool.expire_connections()
        try:
            for attempt in itertools.count():
                # Polling while paused brings nothing and keeps this replica in its group.
                consumer.pause(*consumer.assignment())
                with suppress(NoOffsetForPartitionError):
                    await consumer.getmany(timeout_ms=0)
                self.last_poll = time.monotonic()
                pause = _RETRY_PAUSES[min(attempt, len(_RETRY_PAUSES) - 1)]
                if await _is_set_within(self._stopping, pause):
                    return
                if await answers(self._pool) and await self._seek_again(consumer):
                    break
            consumer.resume(*consumer.paused())
            self._log.info("postgres_available")
        finally:
            self.paused = False

    async def _seek_again(self, consumer: AIOKafkaConsumer) -> bool:
        """Goes back to where the store stands; False where Postgres went away again.

        What was polled and not recorded is read again from there.
        """
        try:
            await self.seek(consumer, consumer.assignment())
        except UNAVAILABLE:
            return False
        self._unsought = None
        return True

    # -- offsets ----------------------------------------------------------------------------

    async def _expect_start_decided(self) -> None:
        try:
            self.has_read = bool(await stored_offsets(self._pool, self._topics))
        except UNAVAILABLE:
            if self._kafka.start is None:
                raise
            return  # the first assignment waits for Postgres
        if self._kafka.start is None and not self.has_read:
            raise UsageError(
                f"The group {self._kafka.group_id} has never read these topics; set"
                " PASSBACK_KAFKA_START to earliest (read all that Kafka holds) or to latest"
                " (only what comes from now on)."
            )

    async def seek(self, consumer: AIOKafkaConsumer, partitions: set[TopicPartition]) -> None:
        """Goes to the store's offsets; where it has none, to where this group begins."""
        known = await stored_offsets(self._pool, self._topics)
        if not known and self._kafka.start == "latest":
            # Those of the other replicas too: else theirs would look as if added later.
            everywhere = {
                TopicPartition(topic, number)
                for topic in self._topics
                for number in consumer.partitions_for_topic(topic) or ()
            }
            known = await self._begin(await consumer.end_offsets(partitions | everywhere))
        fresh = {p for p in partitions if (p.topic, p.partition) not in known}
        if fresh:
            # A partition that was added later is read from its beginning, whatever the start.
            known |= await self._begin(await consumer.beginning_offsets(fresh))
        for partition in partitions:
            offset = known[partition.topic, partition.partition]
            consumer.seek(partition, offset)
            self._stored[partition] = offset

    async def _begin(self, offsets: Mapping[TopicPartition, int]) -> dict[tuple[str, int], int]:
        """Stores where partitions begin that were never read; returns it by topic and number."""
        begins = {(p.topic, p.partition): offset for p, offset in offsets.items()}
        await store_offsets(self._pool, begins)
        for (topic, partition), offset in begins.items():
            self._log.info("partition_begun", topic=topic, partition=partition, offset=offset)
        return begins

    def seek_later(self, error: BaseException) -> None:
        """Takes in that Postgres did not say where to go on: reading waits until it does."""
        self._unsought = error

    def assigned_to(self, partitions: set[TopicPartition]) -> None:
        """Takes in which partitions this replica has now."""
        self._stored = {p: o for p, o in self._stored.items() if p in partitions}
        self._committed = {p: o for p, o in self._committed.items() if p in partitions}
        self._reached = {p: at for p, at in self._reached.items() if p in partitions}
        self.assigned = len(partitions)
        if self.last_poll is None:
            # A client that never gives back a first batch is as stuck as any other.
            self.last_poll = time.monotonic()
        self.answered_at = self._now()
        self.speaks_for_all = any(
            self._topics[p.topic] == "grade-changed" and p.partition == 0 for p in partitions
        )
        self.has_read = True
        self._metrics.rebalanced(len(partitions))

    def _left(self) -> None:
        """Takes in that this replica is no longer in the group."""
        self.last_poll = self.answered_at = self.assigned = self._unsought = None
        self.speaks_for_all = False
        self._metrics.left_group()

    async def commit_now(self, consumer: AIOKafkaConsumer) -> None:
        """Commits what is stored before partitions go elsewhere."""
        await self._commit(consumer)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        self._committed_at = time.monotonic()
        assigned = consumer.assignment()
        fresh = {
            p: offset
            for p, offset in self._stored.items()
            if p in assigned and self._committed.get(p) != offset
        }
        if not fresh:
            return
        try:
            await consumer.commit({p: OffsetAndMetadata(o, "") for p, o in fresh.items()})
        except (KafkaError, IllegalStateError) as error:
            # Normal: the group moved on meanwhile. The store's offsets stand.
            self._log.info("commit_failed", error=type(error).__name__)
        else:
            self._committed.update(fresh)

    def _hear(self, consumer: AIOKafkaConsumer) -> None:
        """Notes since when Kafka has answered for each partition: a poll alone is no answer."""
        heard = [consumer.last_poll_timestamp(p) for p in consumer.assignment()]
        if not heard:
            self.answered_at = self._now()
        elif None not in heard:
            self.answered_at = moment(min(heard))
        if self.answered_at is not None:
            self._metrics.polled(self.answered_at)

    def _show_lag(self, consumer: AIOKafkaConsumer) -> None:
        now = self._now()
        for partition in consumer.assignment():
            high = consumer.highwater(partition)
            stored = self._stored.get(partition)
            if high is None or stored is None:
                continue
            lag = max(high - stored, 0)
            if not lag:
                self._reached[partition] = now
            topic = self._topics[partition.topic]
            since = self._reached.get(partition, now) if lag else None
            self._metrics.set_lag(topic, partition.partition, lag, since)


@dataclass(slots=True)
class _Gathered:
    """What was read and is not being recorded yet.

    ``folded`` is the batch's changes made ready while the batch before was being recorded.
    ``reached`` is the timestamp of each partition's last record and ``oldest`` that of the oldest,
    in milliseconds as Kafka has them; ``began`` is when the first came (``perf_counter`` seconds).
    """

    batch: Batch = field(default_factory=Batch)
    folded: Folded | None = None
    records: int = 0
    consumed: dict[str, int] = field(default_factory=dict)
    reached: dict[TopicPartition, int] = field(default_factory=dict)
    oldest: int = _LATEST_MS
    began: float = 0.0


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, intake: Intake, consumer: AIOKafkaConsumer) -> None:
        self._intake = intake
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._intake.commit_now(self._consumer)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._intake.assigned_to(assigned)
        try:
            await self._intake.seek(self._consumer, assigned)
        except UNAVAILABLE as error:
            self._intake.seek_later(error)


class LogEnd:
    """Asks Kafka how far its log goes, outside any group."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._asking: asyncio.Task[dict[tuple[str, int], int]] | None = None
        self._topics = [kafka.topic_prefix + name for name in events.TOPICS]

    async def partitions(self) -> dict[str, int]:
        """How many partitions each of our topics has; 0 where it does not exist."""
        async with self._client() as client:
            return {t: len(client.partitions_for_topic(t) or ()) for t in self._topics}

    async def cleanup_policies(self) -> dict[str, str | None]:
        """How Kafka forgets each of our topics; None where it is not ours to know."""
        admin = AIOKafkaAdminClient(**self._kafka.connection(), client_id="skyward-passback-check")
        wanted = [
            ConfigResource(ConfigResourceType.TOPIC, topic, configs={_POLICY: None})
            for topic in self._topics
        ]
        try:
            await admin.start()
            described = await admin.describe_configs(wanted)
        except (KafkaError, OSError):
            return dict.fromkeys(self._topics)
        finally:
            await admin.close()
        found: dict[str, str | None] = dict.fromkeys(self._topics)
        for _, _, _, topic, entries in (one for answer in described for one in answer.resources):
            found[topic] = next((entry[1] for entry in entries if entry[0] == _POLICY), None)
        return found

    @property
    def topics(self) -> Sequence[str]:
        """Our topics, with their prefix."""
        return tuple(self._topics)

    async def read(self) -> dict[tuple[str, int], int]:
        """The offset after the last record of each partition, as it is once this was called.

        Districts of one cutoff ask together: who calls while Kafka is being asked waits for the
        next question, and shares its answer with all who called meanwhile.
        """
        before = self._asking
        if before is not None:
            await asyncio.wait([before], timeout=_ANSWERED)
        asking = self._asking
        if asking is before:
            asking = asyncio.create_task(self._offsets(AIOKafkaConsumer.end_offsets))
            # Whoever waits for it is told of its error; where nobody does any more, nobody is.
            asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
            self._asking = asking
        assert asking is not None
        return await asyncio.shield(asking)

    async def beginnings(self) -> dict[tuple[str, int], int]:
        """The offset of the first record that each partition still holds."""
        return await self._offsets(AIOKafkaConsumer.beginning_offsets)

    async def _offsets(
        self,
        ask: Callable[
            [AIOKafkaConsumer, list[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]
        ],
    ) -> dict[tuple[str, int], int]:
        async with self._client() as client:
            for topic in self._topics:
                if not client.partitions_for_topic(topic):
                    raise ServiceUnavailable(
                        f"Kafka does not show the topic {topic}; create it, allow reading it, or"
                        " correct PASSBACK_KAFKA_TOPIC_PREFIX."
                    )
            wanted = [
                TopicPartition(topic, number)
                for topic in self._topics
                for number in client.partitions_for_topic(topic) or ()
            ]
            found = await ask(client, wanted)
            return {(p.topic, p.partition): offset for p, offset in found.items()}

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer of those of our topics that exist: for any other it would wait 40 s."""
        async with self._consumer([]) as unsubscribed:
            existing = await unsubscribed.topics()
        async with self._consumer([topic for topic in self._topics if topic in existing]) as client:
            yield client

    @asynccontextmanager
    async def _consumer(self, topics: Sequence[str]) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            *topics,
            **self._kafka.connection(),
            client_id="skyward-passback-log-end",
            group_id=None,
            isolation_level="read_committed",
        )
        async with _started(consumer, self._kafka):
            # A task that aiokafka has just made must have begun before it can be ended in order.
            await asyncio.sleep(0)
            yield consumer


async def unrecorded(pool: Pool, log_end: LogEnd, patience: timedelta) -> int | None:
    """How many records Kafka holds that the store has not taken in yet; None where it is silent."""
    try:
        async with asyncio.timeout(patience.total_seconds()):
            wanted = await log_end.read()
    except (ServiceUnavailable, KafkaError, TimeoutError):
        return None
    stored = await stored_offsets(pool, log_end.topics)
    return sum(max(offset - stored.get(key, 0), 0) for key, offset in wanted.items())


async def await_recorded(pool: Pool, log_end: LogEnd, wait: timedelta) -> bool:
    """Waits until the store holds all that Kafka holds now; False where that takes too long.

    False at once where the store stands behind Kafka's end: that log was made anew, or cut, and
    what it holds was not read.
    """
    deadline = time.monotonic() + wait.total_seconds()
    before = await stored_offsets(pool, log_end.topics)
    try:
        async with asyncio.timeout(wait.total_seconds()):
            wanted = await log_end.read()
    except (ServiceUnavailable, KafkaError, TimeoutError):
        return False
    if any(before.get(key, 0) > offset for key, offset in wanted.items()):
        return False
    while True:
        stored = await stored_offsets(pool, log_end.topics)
        if all(stored.get(key, 0) >= offset for key, offset in wanted.items()):
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _started(consumer: AIOKafkaConsumer, kafka: KafkaSettings) -> AsyncIterator[None]:
    try:
        try:
            await consumer.start()
        except (KafkaError, OSError, ValueError) as error:
            raise ServiceUnavailable(await why_unreached(kafka, error)) from None
        yield
    finally:
        # Cancelled while it joins its group, too: a client left behind would keep its membership
        # alive, and partitions that nobody reads.
        await consumer.stop()


def _overtaken(error: OffsetOutOfRangeError) -> ServiceUnavailable:
    where = ", ".join(f"{p.topic}[{p.partition}] at {o}" for p, o in error.args[0].items())
    return ServiceUnavailable(
        f"Kafka no longer holds what was to be read next ({where}): retention overtook this group"
        " or the topic was made anew; have upstream publish what is gone, then 'passback events"
        " read-on' (runbook PassbackConsumerStalled)."
    )


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

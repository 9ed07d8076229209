"""Publishes records to Kafka, fast: whole batches, one in flight for each partition."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from consumer.sandbox.otus import Record

_BATCH_BYTES: Final = 256_000
_REPORT_EVERY: Final = 1_000
_HASH_MASK: Final = 0x7FFFFFFF


async def publish(
    bootstrap_servers: str,
    topic_prefix: str,
    records: Iterable[Record],
    on_progress: Callable[[int], None] = lambda published: None,
) -> int:
    """Publishes all ``records`` and returns how many; the topics exist already.

    Records with one key go to one partition (the one that Kafka's own producer chooses), in
    order, acknowledged by all replicas. ``on_progress`` is told now and then how many were handed
    over, and at the end the number returned. Raises aiokafka's KafkaError where a batch is refused.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        max_batch_size=_BATCH_BYTES,
        max_request_size=4 * _BATCH_BYTES,
    )
    await producer.start()
    try:
        return await _publish(producer, topic_prefix, records, on_progress)
    finally:
        await producer.stop()


async def _publish(
    producer: AIOKafkaProducer,
    topic_prefix: str,
    records: Iterable[Record],
    on_progress: Callable[[int], None],
) -> int:
    partitions: dict[str, int] = {}
    filling: dict[tuple[str, int], BatchBuilder] = {}
    in_flight: set[asyncio.Future[object]] = set()

    def batch_for(to: tuple[str, int]) -> BatchBuilder:
        if to not in filling:
            filling[to] = producer.create_batch()
        return filling[to]

    async def hand_over(to: tuple[str, int]) -> None:
        # Waits until the partition's last batch has left, so memory stays bounded.
        sent = await producer.send_batch(filling.pop(to), to[0], partition=to[1])
        in_flight.add(sent)
        for done in [one for one in in_flight if one.done()]:
            in_flight.remove(done)
            done.result()

    published = 0
    for record in records:
        topic = topic_prefix + record.topic
        if topic not in partitions:
            partitions[topic] = len(await producer.partitions_for(topic))
        key = record.key.encode()
        to = (topic, (murmur2(key) & _HASH_MASK) % partitions[topic])
        while not _append(batch_for(to), key, record):
            await hand_over(to)
        published += 1
        if published % _REPORT_EVERY == 0:
            on_progress(published)
            await asyncio.sleep(0)
    for to in list(filling):
        await hand_over(to)
    await asyncio.gather(*in_flight)
    on_progress(published)
    return published


def _append(batch: BatchBuilder, key: bytes, record: Record) -> bool:
    added = batch.append(
        timestamp=record.timestamp_ms, key=key, value=record.value, headers=list(record.headers)
    )
    return added is not None

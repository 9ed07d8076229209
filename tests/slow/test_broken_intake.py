"""Builds of intake that are broken on purpose are noticed by the judge of a rebalance, a death."""

from datetime import datetime
from typing import Any

import pytest

from consumer import intake
from consumer.intake import Intake
from consumer.sandbox.kafka import Kafka
from consumer.store import recording
from consumer.store.connection import Pool
from consumer.store.recording import Batch, Recorded
from tests.integration.test_intake import Topics
from tests.integration.test_intake_judged import (
    MORE,
    STUDENTS,
    broker_killed,
    clauses_broken,
    own_broker,
    pool,
    rebalanced,
    slowly,
    small_batches,
)

__all__ = ["own_broker", "pool", "small_batches"]


async def offsets_first(pool: Pool, batch: Batch, now: datetime, **how: Any) -> Recorded:
    """Broken: the offsets of a batch are stored before its rows."""
    await recording.store_offsets(pool, batch.next_offsets)
    return await slowly(pool, batch, now, **how)


async def test_offsets_that_are_stored_before_their_rows_lose_values_in_a_rebalance(
    kafka_broker: Kafka,
    topic_prefix: str,
    pool: Pool,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "record", offsets_first)
    topics = Topics(kafka_broker, topic_prefix)
    await rebalanced(topics, pool, in_order=False)
    found = await clauses_broken(topics, database_url, STUDENTS)
    assert found == {"offsets_behind_rows"}


async def test_a_build_that_forgets_what_it_gathered_when_kafka_dies_loses_values(
    own_broker: Kafka,
    topic_prefix: str,
    pool: Pool,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record_gathered = Intake._record_gathered
    dying, forgotten = False, 0

    def kill() -> None:
        nonlocal dying
        dying = True
        Kafka.kill(own_broker)

    async def forgets(self: Intake) -> None:
        nonlocal forgotten
        if dying and not forgotten:
            forgotten = self._gathered.records
            self._gathered = intake._Gathered()
        await record_gathered(self)

    monkeypatch.setattr(Intake, "_record_gathered", forgets)
    monkeypatch.setattr(own_broker, "kill", kill)
    topics = Topics(own_broker, topic_prefix)
    await broker_killed(topics, pool)
    found = await clauses_broken(topics, database_url, STUDENTS + MORE)
    assert forgotten
    assert found == {"offsets_behind_rows"}

"""A build of intake that forgets what it read is noticed by the judge when Kafka dies."""

import pytest

from consumer import intake
from consumer.intake import Intake
from consumer.sandbox.kafka import Kafka
from consumer.store.connection import Pool
from tests.integration.test_intake import Topics
from tests.integration.test_intake_judged import (
    STUDENTS,
    broker_killed,
    clauses_broken,
    own_broker,
    pool,
    small_batches,
)

__all__ = ["own_broker", "pool", "small_batches"]


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
    found = await clauses_broken(topics, database_url, 2 * STUDENTS)
    assert forgotten
    assert found == {"offsets_behind_rows"}

"""``passback check`` on a real Postgres and a real Kafka: each line, and its cure."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from consumer.events import TOPICS
from consumer.sandbox.kafka import Kafka
from consumer.store.recording import store_offsets
from tests.integration.operators import Operator, shift_clock


@pytest.fixture
def checked(
    operator: Operator, kafka_broker: Kafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Operator:
    monkeypatch.setenv("PASSBACK_KAFKA_BOOTSTRAP_SERVERS", kafka_broker.bootstrap_servers)
    monkeypatch.setenv("PASSBACK_KAFKA_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("PASSBACK_KAFKA_START", "earliest")
    return operator


def make(broker: Kafka, prefix: str, policy: str) -> None:
    topics = {prefix + name: 2 for name in TOPICS}
    asyncio.run(broker.create_topics(topics, {"cleanup.policy": policy}))


def lines(operator: Operator, *, status: int) -> dict[str, Any]:
    assert operator.passback("check", "--json") == status, operator.said + operator.told
    return {one["check"]: one for one in json.loads(operator.said)}


def test_all_that_the_daemon_needs_is_there(
    checked: Operator, kafka_broker: Kafka, topic_prefix: str
) -> None:
    make(kafka_broker, topic_prefix, "compact")
    found = lines(checked, status=0)
    assert list(found) == [
        *("settings", "sealing key", "database", "clocks", "schema", "district secrets", "kafka"),
        *(f"topic {topic_prefix}{name}" for name in TOPICS),
        "group skyward-passback",
    ]
    assert all(one["passes"] for one in found.values())
    grades = found[f"topic {topic_prefix}grade-changed"]
    assert grades["because"] == "it has 2 partitions and is compacted"


@pytest.mark.parametrize(("hours", "said"), [(3, "3:00:00 ahead of"), (-3, "3:00:00 behind")])
def test_a_machine_whose_clock_is_not_the_databases_is_told(
    checked: Operator,
    kafka_broker: Kafka,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
    said: str,
) -> None:
    make(kafka_broker, topic_prefix, "compact")
    shift_clock(monkeypatch, timedelta(hours=hours))
    clocks = lines(checked, status=1)["clocks"]
    assert clocks["because"] == f"this machine's clock is {said} the database's"
    assert "NTP" in clocks["cure"]


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_topic_that_forgets_by_age_is_found_before_it_has(
    checked: Operator, kafka_broker: Kafka, topic_prefix: str, policy: str
) -> None:
    make(kafka_broker, topic_prefix, policy)
    found = lines(checked, status=1)
    for name in TOPICS:
        one = found[f"topic {topic_prefix}{name}"]
        assert not one["passes"]
        assert f"cleanup.policy={policy}" in one["because"]
        assert "cleanup.policy=compact" in one["cure"]


def test_a_group_whose_next_record_is_gone_is_told_what_lets_it_read_on(
    checked: Operator, kafka_broker: Kafka, topic_prefix: str
) -> None:
    make(kafka_broker, topic_prefix, "compact")
    grades = topic_prefix + "grade-changed"
    checked.store(lambda pool: store_offsets(pool, {(grades, 0): 0, (grades, 1): 70}))
    group = lines(checked, status=1)["group skyward-passback"]
    assert f"{grades}[1] at 70" in group["because"]
    assert f"{grades}[0]" not in group["because"]
    assert "passback events read-on" in group["cure"]


def test_a_kafka_that_is_away_has_one_cure(
    checked: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSBACK_KAFKA_BOOTSTRAP_SERVERS", "kafka.invalid:9092")
    kafka = lines(checked, status=1)["kafka"]
    assert kafka["because"] == "Kafka at kafka.invalid:9092 is not known to DNS (kafka.invalid)"
    assert kafka["cure"] == "correct PASSBACK_KAFKA_BOOTSTRAP_SERVERS"

"""The town that system tests run in."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL
from consumer.sandbox.skyward import StandIn
from tests.system.town import ZONE, Town


@pytest.fixture
async def town(
    tmp_path: Path, database_url: str, kafka_broker: Kafka, topic_prefix: str
) -> AsyncIterator[Town]:
    """The packaged school in a stand-in Skyward; nothing is applied, and no daemon runs."""
    today = datetime.now(ZONE).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    with StandIn(
        SCHOOL / "district", tmp_path / "journal", today=today, district="lakeside"
    ) as standin:
        built = Town(tmp_path, database_url, kafka_broker, topic_prefix, standin, roster)
        await built.found()
        yield built

"""The real Prometheus that these tests need: Debian's package, ``apt-get install prometheus``."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import datetime

import pytest

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL
from consumer.sandbox.skyward import StandIn
from tests.system.town import ZONE, Town
from tests.watch.night import Watched, watched_night


def _found(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: apt-get install prometheus"
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    return _found("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    return _found("prometheus")


@pytest.fixture(scope="session")
def watched(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: Postgres,
    kafka_broker: Kafka,
    prometheus: str,
) -> Iterator[Watched]:
    """One night for all tests of the session, and the Prometheus that saw it."""
    directory = tmp_path_factory.mktemp("night")
    today = datetime.now(ZONE).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    standin = StandIn(SCHOOL / "district", directory / "journal", today=today, district="lakeside")
    with standin:
        town = Town(
            directory, postgres_server.url(), kafka_broker, "watch.", standin, roster, "lakeside"
        )
        with asyncio.Runner() as runner:
            runner.run(town.found())
        with watched_night(town, prometheus) as night:
            yield night

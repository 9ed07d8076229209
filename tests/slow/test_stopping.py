"""However badly its services behave, a pod that is told to stop has stopped in its grace period."""

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from consumer.daemon import DRAIN_SECONDS
from consumer.sandbox.schoolday import SCHOOL, school_day
from tests.proxy import Proxy
from tests.system.town import Town, soon, until


@pytest.mark.parametrize("hanging", ["nothing", "postgres", "kafka", "skyward", "everything"])
async def test_it_stops_in_time_whatever_hangs_in_the_middle_of_a_run(
    town: Town, hanging: str
) -> None:
    assert town.passback("migrate").returncode == 0
    day = school_day(
        town.roster, SCHOOL / "oulad", district_id=town.district, now=datetime.now(UTC), seed=4
    )
    await town.publish(day)
    broker = town.kafka.pid
    assert broker is not None
    with Proxy(urlsplit(town.database_url).port or 5432) as postgres:
        through = replace(town, extra={"PASSBACK_DATABASE_URL": postgres.url(town.database_url)})
        assert town.apply(town.settings(soon(4))).returncode == 0
        town.skyward.configure(latency=0.05)
        with through.daemon() as daemon:
            await until(lambda: bool(town.skyward.counts()["results"] >= 50))
            try:
                if hanging in ("postgres", "everything"):
                    postgres.hang()
                if hanging in ("kafka", "everything"):
                    os.kill(broker, signal.SIGSTOP)
                if hanging in ("skyward", "everything"):
                    town.skyward.configure(latency=600)
                began = time.monotonic()
                daemon.terminate()
                status = daemon.wait(150)
            finally:
                stopped = time.monotonic() - began
                os.kill(broker, signal.SIGCONT)
                postgres.mend()
    print(f"hanging {hanging}: SIGTERM to exit {status} in {stopped:.1f} s")
    assert stopped < DRAIN_SECONDS
    assert status == 0

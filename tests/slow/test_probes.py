"""What the probes answer while something is away or stuck, as deploy/README.md documents it.

A restart is a storm where it mends nothing: so the daemon must live through every outage of
what it depends on, in the same process, and go on by itself.
"""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL
from consumer.sandbox.skyward import StandIn
from consumer.store.migrate import migrate
from tests.evening import Evening
from tests.slow.faulty_daemon import BLOCKED
from tests.system.town import ZONE, Town, soon, until

pytestmark = pytest.mark.timeout(600)

# The chart's liveness probe: after so long without an answer it counts as failed.
PROBE_TIMEOUT = 5.0
FAULTY = (sys.executable, "-m", "tests.slow.faulty_daemon")


@pytest.fixture
async def postgres(services_directory: Path, topic_prefix: str) -> AsyncIterator[Postgres]:
    """A migrated Postgres of the test's own, that may be killed."""
    server = Postgres(services_directory / f"{topic_prefix}postgres", durable=False)
    await asyncio.to_thread(server.start)
    try:
        await migrate(server.url())
        yield server
    finally:
        await asyncio.to_thread(server.stop, "immediate")


@pytest.fixture
async def broker(services_directory: Path, topic_prefix: str) -> AsyncIterator[Kafka]:
    """A Kafka of the test's own, that may be killed."""
    server = Kafka(services_directory / f"{topic_prefix}kafka", heap="256m")
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.kill)


@pytest.fixture
async def town(
    tmp_path: Path, postgres: Postgres, broker: Kafka, topic_prefix: str
) -> AsyncIterator[Town]:
    """The packaged school, applied with a cutoff far away, on services that may be killed."""
    today = datetime.now(ZONE).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    standin = StandIn(SCHOOL / "district", tmp_path / "journal", today=today, district="lakeside")
    with standin:
        built = Town(tmp_path, postgres.url(), broker, topic_prefix, standin, roster)
        await built.found()
        built.extra["PASSBACK_INTAKE_WAIT_SECONDS"] = "5"
        _apply(built, soon(7200))
        yield built


def _apply(town: Town, cutoff: str) -> None:
    long_ago = {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
    done = town.apply(town.settings(cutoff, **long_ago))
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def _running(town: Town, *program: str) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """The daemon, ready; in the end it must still be the same process, and end in order."""
    with town.daemon(*program) as daemon:
        await until(lambda: any(line["event"] == "started" for line in town.log()))
        await until(lambda: town.probe("readyz") == (200, []))
        assert town.probe("startupz") == town.probe("livez") == (200, [])
        yield daemon
        assert daemon.poll() in (None, 0), "the process ended by itself"


async def _unready(town: Town, why: str, seconds: float) -> float:
    """Waits until it is unready for that reason, alive all the while; how long that took."""
    began = time.monotonic()

    def told() -> bool:
        assert town.probe("livez") == (200, [])
        status, reasons = town.probe("readyz")
        return status == 503 and any(why in reason for reason in reasons)

    await until(told, seconds=seconds, pause=0.5)
    return time.monotonic() - began


async def _stays_alive(town: Town, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert town.probe("livez") == (200, [])
        await asyncio.sleep(1)


async def _reads_again(town: Town, evening: Evening, name: str) -> None:
    before = len(evening.records)
    evening.assess(name, title=name)
    await town.publish(evening.records[before:])
    arguments = ("explain", town.district, "--assessment", name, "--class", "c-1")
    await until(lambda: town.passback(*arguments).returncode == 0, pause=0.5)


def _evening(town: Town) -> Evening:
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    evening.assess("quiz")
    evening.grade("quiz", 0, "8")
    return evening


async def test_a_killed_postgres_makes_unready_and_nothing_is_restarted(
    town: Town, postgres: Postgres
) -> None:
    async with _running(town):
        await asyncio.to_thread(postgres.kill)
        assert await _unready(town, "Postgres", seconds=15) < 10
        await _stays_alive(town, 20)
        await asyncio.to_thread(postgres.start)
        await until(lambda: town.probe("readyz") == (200, []), seconds=30)
        await _reads_again(town, _evening(town), "afterwards")


async def test_a_postgres_that_hangs_makes_unready_and_nothing_is_restarted(
    town: Town, postgres: Postgres
) -> None:
    assert postgres.pid is not None
    async with _running(town):
        processes = [*psutil.Process(postgres.pid).children(), psutil.Process(postgres.pid)]
        for process in processes:
            process.suspend()
        try:
            # Statements time out after a minute.
            await _unready(town, "Postgres", seconds=90)
            await _stays_alive(town, 60)
        finally:
            for process in processes:
                process.resume()
        await until(lambda: town.probe("readyz") == (200, []), seconds=90)
        await _reads_again(town, _evening(town), "afterwards")


async def test_a_killed_broker_makes_unready_and_the_night_goes_on_without_zeros(
    town: Town, broker: Kafka
) -> None:
    evening = _evening(town)
    async with _running(town):
        await town.publish(evening.records)
        arguments = ("explain", town.district, "--assessment", "quiz", "--class", "c-1")
        await until(lambda: town.passback(*arguments).returncode == 0, pause=0.5)
        await asyncio.to_thread(broker.kill)
        _apply(town, soon(4))
        assert 50 < await _unready(town, "Kafka", seconds=90) < 75
        await _stays_alive(town, 20)
        (run,) = town.answer("runs", town.district)
        assert (run["state"], run["results"]["posted"]) == ("done", 1)
        assert run["reasons"] == {"intake_behind": len(evening.students) - 1}
        assert town.probe("startupz") == (200, [])

        await asyncio.to_thread(broker.start)
        await until(lambda: town.probe("readyz") == (200, []), seconds=60)
        await _reads_again(town, evening, "afterwards")


async def test_a_daemon_that_starts_while_the_broker_is_away_waits_for_it(
    town: Town, broker: Kafka
) -> None:
    async with _running(town):
        await town.publish(_evening(town).records)
        arguments = ("explain", town.district, "--assessment", "quiz", "--class", "c-1")
        await until(lambda: town.passback(*arguments).returncode == 0, pause=0.5)
    await asyncio.to_thread(broker.kill)
    with town.daemon() as daemon:
        starts = sum(1 for line in town.log() if line["event"] == "started")
        await until(lambda: sum(1 for line in town.log() if line["event"] == "started") > starts)
        await _unready(town, "Kafka", seconds=30)
        assert town.probe("startupz") == (200, [])
        await _stays_alive(town, 30)
        ended = [line for line in town.log() if line["event"] == "intake_ended"]
        # Growing pauses: 1, 2, 5, 10, 20 and 30 s.
        assert 2 <= len(ended) <= 8
        assert all("does not answer" in line["because"] for line in ended)
        await asyncio.to_thread(broker.start)
        await until(lambda: town.probe("readyz") == (200, []), seconds=60)
        assert daemon.poll() is None


async def test_a_blocked_event_loop_answers_no_probe_until_it_moves_again(town: Town) -> None:
    async with _running(town, *FAULTY) as daemon:
        daemon.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.5)
        with pytest.raises(TimeoutError):
            town.probe("livez", timeout=PROBE_TIMEOUT)
        await asyncio.sleep(BLOCKED - PROBE_TIMEOUT)
        await until(lambda: town.probe("livez") == (200, []), seconds=10)
        lag = town.metrics()("passback_event_loop_lag_seconds") or 0
        assert BLOCKED - 1 < lag < BLOCKED + 2


async def test_a_stuck_consumer_is_dead_after_three_minutes_and_not_before(town: Town) -> None:
    async with _running(town, *FAULTY) as daemon:
        daemon.send_signal(signal.SIGUSR2)
        stuck = time.monotonic()
        await _stays_alive(town, 170)
        await until(lambda: town.probe("livez")[0] == 503, seconds=40)
        assert 178 < time.monotonic() - stuck < 200
        (reason,) = town.probe("livez")[1]
        assert reason.startswith("intake is stuck")
        # What the kubelet then does ends it in order, within its grace period.
        daemon.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(daemon.wait, 60) == 0


async def test_a_stuck_consumer_ends_in_order_although_the_broker_is_away_too(
    town: Town, broker: Kafka
) -> None:
    async with _running(town, *FAULTY) as daemon:
        daemon.send_signal(signal.SIGUSR2)
        await asyncio.sleep(2)
        await asyncio.to_thread(broker.kill)
        daemon.send_signal(signal.SIGTERM)
        # The grace period is 90 s.
        assert await asyncio.to_thread(daemon.wait, 60) == 0
    assert town.log()[-1]["event"] == "stopped"

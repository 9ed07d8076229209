"""A rolling update in the middle of a run: the lease is handed over, and nothing is sent twice."""

import asyncio
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from consumer.sandbox.oracle import Oracle, compare, periods_by_class
from consumer.sandbox.schoolday import SCHOOL, school_day
from consumer.sandbox.tcp import free_port
from tests.system.town import Town, soon, until

# What is in flight when a run is cut off may be sent once more: a district's limit of 64.
_IN_FLIGHT = 64
_HANDED_OVER = 3.0


def _replica(town: Town, **extra: str) -> tuple[Town, int]:
    port = free_port()
    return replace(town, extra=town.extra | {"PASSBACK_HTTP_PORT": str(port), **extra}), port


def _asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def _rebalances(port: int) -> float:
    found = re.search(
        r"^passback_rebalances_total (\S+)$", _asked(port, "/metrics")[1], re.MULTILINE
    )
    assert found is not None
    return float(found[1])


async def _school_day(town: Town) -> tuple[Oracle, dict[str, Any]]:
    settings = town.settings()
    oracle = Oracle(settings, periods_by_class(town.roster))
    assert town.passback("migrate").returncode == 0
    day = list(
        school_day(
            town.roster, SCHOOL / "oulad", district_id=town.district, now=datetime.now(UTC), seed=5
        )
    )
    for record in day:
        oracle.fold(record)
    await town.publish(day)
    return oracle, settings


def _done(town: Town) -> Mapping[str, Any] | None:
    found = [run for run in town.answer("runs", town.district) if run["state"] == "done"]
    return found[0] if found else None


async def test_the_new_pod_goes_on_with_the_run_of_the_old_one(town: Town) -> None:
    oracle, settings = await _school_day(town)
    town.skyward.configure(latency=0.02)
    assert town.apply(settings | {"cutoff": soon(4)}).returncode == 0
    (old, _), (new, port) = _replica(town), _replica(town)
    with ExitStack() as replicas:
        stopping = replicas.enter_context(old.daemon())
        await until(lambda: bool(town.skyward.counts()["results"] >= 300))
        # maxSurge 1, maxUnavailable 0: the old one is told only when the new one is ready.
        replicas.enter_context(new.daemon())
        await until(lambda: _asked(port, "/readyz")[0] == 200)
        stopping.terminate()
        began = time.monotonic()
        assert await asyncio.to_thread(stopping.wait, 30) == 0
        stopped = time.monotonic() - began
        before = len(town.writes())
        began = time.monotonic()
        await until(lambda: len(town.writes()) > before, seconds=40, pause=0.05)
        gap = time.monotonic() - began
        town.skyward.configure(latency=0)
        await until(lambda: _done(town) is not None, seconds=120)
    connection = await asyncpg.connect(town.database_url)
    try:
        epoch = await connection.fetchval("SELECT epoch FROM lease")
    finally:
        await connection.close()
    writes = town.writes()
    repeated = len(writes) - len({(line["operation"], line["sourcedId"]) for line in writes})
    print(f"stopped in {stopped:.1f} s, next write {gap:.1f} s later, {repeated} sent again")
    report = _done(town)
    assert report is not None
    cutoff = datetime.fromisoformat(report["cutoff_at"])
    expected = oracle.expected(cutoff)
    assert compare(expected, town.skyward.gradebook_lines(), district_id=town.district) == []
    assert gap < _HANDED_OVER
    assert repeated <= _IN_FLIGHT
    assert epoch == 2


async def test_a_static_member_that_is_back_in_time_moves_no_partitions(town: Town) -> None:
    await _school_day(town)
    member = "PASSBACK_KAFKA_GROUP_INSTANCE_ID"
    first, first_port = _replica(town, **{member: "passback-0"})
    second, second_port = _replica(town, **{member: "passback-1"})
    with second.daemon():
        with first.daemon():
            for port in (first_port, second_port):
                await until(lambda port=port: _asked(port, "/readyz")[0] == 200)  # type: ignore[misc]
            await asyncio.sleep(4)
            before = _rebalances(second_port)
        with first.daemon():
            await until(lambda: _asked(first_port, "/readyz")[0] == 200)
            await asyncio.sleep(4)
            assert _rebalances(second_port) == before

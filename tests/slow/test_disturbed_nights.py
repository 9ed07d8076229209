"""Nights that are disturbed at every place in turn, or at random ones, many times over."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from consumer.flush import reading_back, sending
from consumer.sandbox.postgres import Postgres
from consumer.store.settling import Tally, settle
from tests.history.clauses import results_each
from tests.integration.disturbed import DisturbedNight, Ending, disturbed_night
from tests.integration.test_postgres_lost import cut_at_each
from tests.integration.test_skyward_storms import CARRIED, PASSING, unexplained
from tests.proxy import Way
from tests.slow.table import Row, Table


@pytest.fixture
async def night(
    tmp_path: Path, database_url: str, postgres_server: Postgres
) -> AsyncIterator[DisturbedNight]:
    async with disturbed_night(tmp_path, database_url, postgres_server) as built:
        built.renews_tokens = True
        yield built


def lost(ending: Ending, whole: Ending) -> int:
    """How many objects Skyward lacks, or holds otherwise than it should."""
    return sum(1 for one in whole.gradebook if one not in ending.gradebook)


def doubled(ending: Ending) -> int:
    """How many students have more than one result in one line item."""
    return sum(count - 1 for count in results_each(ending.gradebook).values())


def _row(fault: str, endings: Sequence[Ending], whole: Ending, seen: str) -> Row:
    """What became of the nights of one fault, each of which should have ended as ``whole`` did."""
    return Row(
        fault,
        len(endings),
        sum(lost(one, whole) for one in endings),
        sum(doubled(one) for one in endings),
        sum(one.repeated for one in endings),
        None,
        seen,
    )


@pytest.mark.parametrize("way", ["request", "answer"])
async def test_a_night_that_loses_postgres_at_any_of_its_statements(
    night: DisturbedNight, table: type[Table], way: Way
) -> None:
    whole = await night.run()
    endings = await cut_at_each(night, way, b"")
    when = "before a statement arrives" if way == "request" else "with the answer to a statement"
    row = _row(
        f"the connection to Postgres is lost {when}: at each of a night",
        endings,
        whole,
        "a build without transactions, and one with made-up ids, leave another night",
    )
    table.add(row)
    assert [one for one in endings if one != whole or one.findings] == []
    assert max(one.repeated for one in endings) <= sending.WINDOW


async def test_storms_of_skyward(
    night: DisturbedNight, table: type[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nights on which several things go wrong at once, and one after them on which nothing does."""
    monkeypatch.setattr(reading_back, "_PAUSE", 0.01)
    skyward = night.nights.skyward
    whole = await night.run(days=3)
    chosen = random.Random(5)
    endings = []
    for _ in range(40):
        storm = chosen.sample(sorted(PASSING), 4)

        async def plan(storm: list[str] = storm) -> None:
            for name in storm:
                fault = PASSING[name]
                skip = chosen.randrange(8)
                skyward.fault(
                    fault.kind, match=fault.match, times=fault.times, skip=skip, **fault.more
                )

        ending = await night.run(plan, days=3)
        assert ending.gradebook == whole.gradebook, storm
        assert ending.rows["grade"] == whole.rows["grade"], storm
        assert unexplained(ending.findings, [PASSING[name] for name in storm]) == [], storm
        endings.append(ending)
    row = _row(
        "four things at once that a Skyward may do",
        endings,
        whole,
        f"of {len(PASSING) + len(CARRIED)}; a build that reads nothing back, trusts silence, or"
        " never tries again loses values",
    )
    table.add(row)


async def test_a_real_deadlock(night: DisturbedNight, table: type[Table]) -> None:
    """Another session holds what the night wants, and wants what the night holds."""
    whole = await night.run()
    endings = [await _deadlocked(night) for _ in range(3)]
    assert sum(one.failures for one in endings) >= 1
    assert [one for one in endings if one != whole or one.findings] == []
    row = _row(
        "a deadlock with another session, which Postgres ends at the night's cost",
        endings,
        whole,
        "its run fails and is made again; ten SQLSTATEs at seven tables end alike; a build that"
        " passes over a refused settling is noticed",
    )
    table.add(row)


async def _passes_over(*settled: Any) -> Tally:
    try:
        return await settle(*settled)
    except asyncpg.TransactionRollbackError:
        return Tally()


async def test_a_build_that_passes_over_a_deadlock_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await night.run()
    monkeypatch.setattr(sending, "settle", _passes_over)
    assert await _deadlocked(night) != whole


async def _deadlocked(night: DisturbedNight) -> Ending:
    """One night with a rival, slow enough to meet it."""
    night.nights.skyward.configure(latency=0.02)
    rival: asyncio.Task[None] | None = None

    async def begin() -> None:
        nonlocal rival
        rival = asyncio.create_task(_rival(night))

    ending = await night.run(begin)
    assert rival is not None
    await rival
    return ending


async def _rival(night: DisturbedNight) -> None:
    """Takes the grades, then, once the run waits for them, wants the lease that it holds."""
    rival = await night.direct.acquire()
    try:
        # Who has waited for a second looks for a deadlock and is its victim: not this one.
        await rival.execute("SET deadlock_timeout = '30s'")
        while not await rival.fetchval("SELECT true FROM flush_run WHERE zeros_held IS NOT NULL"):
            await asyncio.sleep(0.001)
        async with rival.transaction():
            await rival.execute("SELECT FROM grade FOR UPDATE")
            # The settling holds its lease and then waits for its grades.
            while not await night.direct.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            ):
                await asyncio.sleep(0.001)
            await rival.execute("UPDATE lease SET epoch = epoch")
    finally:
        await rival.execute("RESET deadlock_timeout")
        await night.direct.release(rival)


async def test_serialization_failures(
    night: DisturbedNight, table: type[Table], postgres_server: Postgres
) -> None:
    """A database whose transactions are serializable, and somebody who writes in between."""
    whole = await night.run()
    endings: list[Ending] = []
    failures = 0
    # A collision is chance, about one in every second night: five nights may well see none.
    async for ending in _collisions(night):
        failures += ending.failures
        endings.append(ending)
        if failures >= 5:
            break
    assert failures >= 5
    assert all(one.gradebook == whole.gradebook and not one.findings for one in endings)
    assert all(one.rows["grade"] == whole.rows["grade"] for one in endings)
    row = _row(
        "serialization failures",
        endings,
        whole,
        f"{failures} runs failed so and were made again; a build that passes over a refused"
        " settling is noticed",
    )
    table.add(row)


async def test_a_build_that_passes_over_a_serialization_failure_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await night.run()
    monkeypatch.setattr(sending, "settle", _passes_over)
    async for ending in _collisions(night):
        if ending.rows["grade"] != whole.rows["grade"]:
            return
    pytest.fail("a hundred nights ended alike")


async def _collisions(night: DisturbedNight) -> AsyncIterator[Ending]:
    """A hundred nights at most whose transactions are serializable and collide with another's."""
    name = await night.direct.fetchval("SELECT current_database()")
    await night.direct.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation TO 'serializable'"
    )
    night.proxy.cut()  # New connections take the new default.
    for _ in range(100):
        stop = asyncio.Event()
        writer: asyncio.Task[int] | None = None

        async def begin(stop: asyncio.Event = stop) -> None:
            nonlocal writer
            writer = asyncio.create_task(_writes(night, stop))

        ending = await night.run(begin)
        stop.set()
        assert writer is not None
        await writer
        yield ending


async def _writes(night: DisturbedNight, stop: asyncio.Event) -> int:
    """Touches the rows that a run reads and writes, again and again."""
    written = 0
    while not stop.is_set():
        try:
            await night.direct.execute("UPDATE lease SET holder = holder")
            await night.direct.execute("UPDATE grade SET detail = detail WHERE kind IS NULL")
            written += 1
        except asyncpg.TransactionRollbackError:
            pass
        await asyncio.sleep(0.001)
    return written

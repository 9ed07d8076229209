"""One district among fifty whose Skyward is out of order: the others' night is whole."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest

from consumer.flush.sending import SETTLINGS_AT_ONCE
from consumer.store.connection import Pool, connect
from tests.bench.nights import apply, fill
from tests.bench.processes import posted_by
from tests.bench.stub_skyward import stub_skyward
from tests.history.clauses import results_each
from tests.slow.county import county
from tests.slow.table import Row, Table

BAD = "district-07"
ALWAYS = {"times": None}
DISORDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hung": ({"kind": "hang", **ALWAYS}, {}),
    "reset": ({"kind": "reset_after", **ALWAYS}, {}),
    "500": ({"kind": "status", "status": 500, **ALWAYS}, {}),
    "401": ({"kind": "status", "status": 401, "match": "ims", **ALWAYS}, {}),
    "403": ({}, {"licensed": False}),
    "429": ({"kind": "status", "status": 429, "retry_after": "1", **ALWAYS}, {}),
    "a login page": ({"kind": "login_page", **ALWAYS}, {}),
    "wrong types": ({"kind": "wrong_types", **ALWAYS}, {}),
    "half of the JSON": ({"kind": "malformed", **ALWAYS}, {}),
    "nothing stored": ({"kind": "swallow", "match": "PUT ", **ALWAYS}, {}),
    "slow": ({}, {"latency": 0.5}),
}


@pytest.mark.timeout(900)
async def test_one_bad_district_among_fifty(
    tmp_path: Path, database_url: str, table: type[Table]
) -> None:
    async with county(tmp_path, database_url, patience=2) as fifty:
        await fifty.found([f"district-{n:02}" for n in range(50)], grades=8)
        await fifty.night()
        calm = max(fifty.ended.values())
        whole = fifty.gradebooks()
        del whole[BAD]
        assert {len(held) for held in whole.values()} == {9}
        bad, slowest, lost, doubled = fifty.standing[BAD], 0.0, 0, 0
        for name, (fault, settings) in DISORDERS.items():
            # A calm night beside each bad one: what else this machine does disturbs both.
            await fifty.again()
            await fifty.night()
            calm = max(calm, *fifty.ended.values())
            await fifty.again()
            if fault:
                bad.fault(**fault)
            bad.configure(**settings)
            await fifty.night()
            bad.clear_faults()
            bad.configure(licensed=True, latency=0)
            found = fifty.gradebooks()
            lost += sum(1 for one in whole if found[one] != whole[one])
            for one in fifty.standing.values():
                doubled += sum(n - 1 for n in results_each(one.gradebook()).values())
            assert {one: found[one] for one in whole} == whole, name
            assert fifty.failures == [], name
            slowest = max(slowest, *(fifty.ended[one] for one in whole))
        table.add(
            Row(
                f"one bad district among fifty, in {len(DISORDERS)} ways",
                len(DISORDERS),
                lost,
                doubled,
                0,
                None,
                f"the others' last ended after {slowest:.1f} s, on calm nights after {calm:.1f} s;"
                " on a connection that all share, they wait for the bad one",
            )
        )
        assert slowest < 2 * calm + 1


async def test_a_build_whose_districts_share_their_connections_is_noticed(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **how: connector(**{**how, "limit": 1}))
    async with county(tmp_path, database_url, patience=2) as fifty:
        await fifty.found([f"district-{n:02}" for n in range(50)], grades=8)
        fifty.standing[BAD].fault("hang", times=None)
        await fifty.night()
        # Three times two seconds in which nobody else may ask.
        assert max(after for one, after in fifty.ended.items() if one != BAD) > 6


# -- a huge district beside small ones ----------------------------------------------------------

HUGE = 200_000
SMALL = 25
SMALL_ONES = 10
APART = timedelta(seconds=0.7)


async def test_a_district_with_hundreds_of_thousands_of_results_holds_up_no_small_one(
    database_url: str, table: type[Table]
) -> None:
    async with await connect(database_url, size=1) as pool:
        with stub_skyward() as origin:
            await apply(pool, "huge", origin)
            await fill(pool, "huge", HUGE)
            alone = await _small_ones(pool, database_url, origin, "alone", "infinity")
            assert await pool.fetchval(BY_HUGE) is None
            beside = await _small_ones(pool, database_url, origin, "beside", "-infinity")
        # That one was at it all the time.
        assert 1_000 < await pool.fetchval(BY_HUGE) < HUGE
        posted = await pool.fetchval(
            "SELECT count(*) FROM grade WHERE state = 'posted' AND district_id <> 'huge'"
        )
    table.add(
        Row(
            f"a district with {HUGE:,} results beside {SMALL_ONES} with {SMALL}",
            1,
            2 * SMALL_ONES * SMALL - posted,
            0,
            0,
            None,
            f"a small one was done {median(beside):.2f} s after it was due, at the most"
            f" {max(beside):.2f} s; alone {median(alone):.2f} s, at the most {max(alone):.2f} s;"
            " a build that goes through districts one by one is noticed",
        )
    )
    assert median(beside) < _held_up(alone)


def _held_up(alone: list[float]) -> float:
    """Seconds: both share a processor; they wait for nothing else of each other's."""
    return 2 * median(alone) + 0.5


async def test_a_build_that_goes_through_districts_one_by_one_is_noticed(
    database_url: str,
) -> None:
    async with await connect(database_url, size=1) as pool:
        with stub_skyward() as origin:
            await apply(pool, "huge", origin)
            await fill(pool, "huge", HUGE // 4)
            alone = await _small_ones(pool, database_url, origin, "alone", "infinity")
            beside = await _small_ones(pool, database_url, origin, "beside", "-infinity", at_once=1)
    assert median(beside) > _held_up(alone)


BY_HUGE = "SELECT posted FROM flush_run WHERE district_id = 'huge'"


async def _small_ones(
    pool: Pool, url: str, origin: str, name: str, huge_starts_at: str, *, at_once: int | str = ""
) -> list[float]:
    """Seconds from when each was due to its end, one due after the other."""
    await pool.execute(
        f"UPDATE district SET start_at = '{huge_starts_at}' WHERE district_id = 'huge'"
    )
    # Until then the process that flushes has started, and the huge one has begun.
    first = datetime.now(UTC) + timedelta(seconds=4)
    due = {f"{name}-{number}": first + number * APART for number in range(SMALL_ONES)}
    for district_id, at in due.items():
        await apply(pool, district_id, origin)
        await fill(pool, district_id, SMALL)
        await pool.execute(
            "UPDATE district SET start_at = $2 WHERE district_id = $1", district_id, at
        )
    await pool.execute("VACUUM (ANALYZE) grade")
    posted = await posted_by("flush_engine", url, f"{name}-", str(at_once))
    assert posted.results == SMALL * SMALL_ONES
    ended = await pool.fetch("SELECT district_id, finished_at FROM flush_run WHERE state = 'done'")
    return [
        (one["finished_at"] - due[one["district_id"]]).total_seconds()
        for one in ended
        if one["district_id"] in due
    ]


@pytest.mark.timeout(300)
async def test_a_few_settle_at_once_and_one_whose_settling_waits_holds_up_nobody(
    tmp_path: Path, database_url: str
) -> None:
    async with (
        county(tmp_path, database_url, patience=20) as twelve,
        await connect(database_url, size=2) as pool,
    ):
        await twelve.found([f"district-{n:02}" for n in range(12)], grades=8)
        async with pool.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE sent IN SHARE MODE")
            night = asyncio.create_task(twelve.night())
            while await pool.fetchval(_SETTLING) < SETTLINGS_AT_ONCE:
                await asyncio.sleep(0.05)
            await asyncio.sleep(2)
            assert await pool.fetchval(_SETTLING) == SETTLINGS_AT_ONCE
        await night
        assert not twelve.failures
        assert {len(held) for held in twelve.gradebooks().values()} == {9}
        await twelve.again()
        async with pool.acquire() as holder, holder.transaction():
            row = "SELECT FROM grade WHERE district_id = 'district-00' FOR UPDATE"
            await holder.execute(row)
            night = asyncio.create_task(twelve.night())
            async with asyncio.timeout(30):
                while len(twelve.ended) < 11:
                    await asyncio.sleep(0.05)
        await night
        assert not twelve.failures
        assert {len(held) for held in twelve.gradebooks().values()} == {9}


_SETTLING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%WITH lease_held%'
    AND pid <> pg_backend_pid()"""

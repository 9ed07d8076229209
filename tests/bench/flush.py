"""Pending results on their way to a Skyward that answers as fast as it can, and checks nothing.

Every contender is a process of its own on uvloop, with 20 connections to one stub; the clock runs
from its first statement to its last, in alternating rounds. The districts' first night is behind
them: what was read of Skyward then is not read again.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

import asyncpg

from consumer.store.connection import connect
from tests.bench.frame import Bench, Figures
from tests.bench.nights import STUDENTS, apply, due_again, fill
from tests.bench.processes import Posted, posted_by
from tests.bench.stub_skyward import stub_skyward
from tests.bench.written import Written, reported, written

_RESULTS: Final = 40_000
_ROUNDS: Final = 5
_LONG_ROUNDS: Final = 3
_CONTENDERS: Final = ("ours", "bare", "aiohttp")
_MANY: Final = 20
_QUICK_MANY: Final = 5
"""Fewer, so that each has more to do than to begin."""

_MILLION: Final = 1_000_000
_QUICK_MILLION: Final = 20_000

_NEIGHBOURS: Final = 50
_NEIGHBOURS_RESULTS: Final = 25_000

_IDLE_RESULTS: Final = 100_000
_IDLE_DISTRICTS: Final = 20


async def measure(bench: Bench) -> Figures:
    """The whole engine, against the bare transport and against aiohttp's claim, PUT and settle."""
    results = bench.size(_RESULTS)
    rounds: list[dict[str, Posted]] = []
    diet: list[Mapping[str, float]] = []
    with stub_skyward() as origin:
        for number in range(bench.rounds(_ROUNDS)):
            posted: dict[str, Posted] = {}
            for contender in _CONTENDERS if number % 2 else reversed(_CONTENDERS):
                async with _districts(bench, origin, {"one": results}) as url:
                    if contender == "ours":
                        before = await _written(url)
                        posted["ours"] = await posted_by("flush_engine", url, "")
                        grown = (await _written(url)).since(before)
                        diet.append(_of_each(grown, results))
                    elif contender == "bare":
                        posted["bare"] = await posted_by(
                            "flush_peers", "bare", origin, str(results)
                        )
                    else:
                        posted["aiohttp"] = await posted_by(
                            "flush_peers", "aiohttp", origin, url, "one"
                        )
            assert {one.results for one in posted.values()} == {results}, posted
            rounds.append(posted)
    absolute: dict[str, float] = {}
    for contender in _CONTENDERS:
        absolute |= _figures(f"flush_{contender}", [one[contender] for one in rounds])
    for figure in diet[0]:
        absolute[f"flush_ours_{figure}"] = median(one[figure] for one in diet)
    return Figures(
        {
            f"flush_vs_{peer}": bench.ratio(
                [one["ours"].per_second for one in rounds], [one[peer].per_second for one in rounds]
            )
            for peer in ("bare", "aiohttp")
        },
        absolute,
    )


async def measure_many(bench: Bench) -> Figures:
    """As many results of many districts, to those of one."""
    number_of_many = _QUICK_MANY if bench.quick else _MANY
    share = bench.size(_RESULTS) // number_of_many // STUDENTS * STUDENTS
    sides = {
        "many": {f"many-{number:02d}": share for number in range(number_of_many)},
        "one": {"one": share * number_of_many},
    }
    posted: dict[str, list[Posted]] = {side: [] for side in sides}
    with stub_skyward() as origin:
        for number in range(bench.rounds(_ROUNDS)):
            for side in sides if number % 2 else reversed(sides):
                async with _districts(bench, origin, sides[side]) as url:
                    posted[side].append(await posted_by("flush_engine", url, ""))
                assert posted[side][-1].results == share * number_of_many, posted[side][-1]
    rates = {side: [one.per_second for one in those] for side, those in posted.items()}
    return Figures(
        {"flush_many_vs_one": bench.ratio(rates["many"], rates["one"])},
        _figures("flush_many", posted["many"]),
    )


async def measure_memory(bench: Bench) -> Figures:
    """The most memory that the engine holds in a night of one huge district."""
    results = _QUICK_MILLION if bench.quick else _MILLION
    with stub_skyward() as origin:
        async with _districts(bench, origin, {"huge": results}) as url:
            posted = await posted_by("flush_engine", url, "")
    assert posted.results == results
    return Figures({"memory_mib_1m": posted.mib}, _figures("flush_huge", [posted]))


async def measure_neighbours(bench: Bench) -> Figures:
    """When 48 districts are done beside a dead and a throttling one, to beside two good ones."""
    share = max(1, bench.size(_NEIGHBOURS_RESULTS) // _NEIGHBOURS // STUDENTS) * STUDENTS
    good = {f"good-{number:02d}": share for number in range(_NEIGHBOURS - 2)}
    sides = {"with": ("dead", "throttling"), "without": ("ok", "ok")}
    posted: dict[str, list[Posted]] = {side: [] for side in sides}
    with stub_skyward() as origin:
        for number in range(bench.rounds(_LONG_ROUNDS)):
            for beside in sides if number % 2 else reversed(sides):
                behaviours = sides[beside]
                # Theirs begin before the others'.
                others = {f"a-{n}-{how}": share for n, how in enumerate(behaviours)}
                async with _districts(
                    bench, origin, others | good, dict(zip(others, behaviours, strict=True))
                ) as url:
                    posted[beside].append(await posted_by("flush_engine", url, "good-"))
                assert posted[beside][-1].results == share * len(good)
    rates = {beside: [one.per_second for one in those] for beside, those in posted.items()}
    return Figures(
        {"neighbours": bench.ratio(rates["without"], rates["with"])},
        {
            f"neighbours_{beside}_s": median(one.seconds for one in those)
            for beside, those in posted.items()
        },
    )


async def measure_idle(bench: Bench) -> Figures:
    """A night after which everything stands, and the rows that the next one writes.

    Not counted are the run itself, its lease and the district's next cutoff.
    """
    share = bench.size(_IDLE_RESULTS) // _IDLE_DISTRICTS // STUDENTS * STUDENTS
    districts = {f"idle-{number:02d}": share for number in range(_IDLE_DISTRICTS)}
    with stub_skyward() as origin:
        async with _districts(bench, origin, districts) as url:
            connection = await asyncpg.connect(url)
            try:
                # Some that are skipped for their score, some not graded, some not due yet.
                for spoilt in _SPOILT:
                    await connection.execute(spoilt)
                first = await posted_by("flush_engine", url, "")
                assert first.results > 0
                await due_again(connection)
                await reported(connection)
                before = await connection.fetchrow(_TOUCHED)
                idle = await posted_by("flush_engine", url, "")
                await reported(connection)
                after = await connection.fetchrow(_TOUCHED)
            finally:
                await connection.close()
    assert idle.results == 0
    assert before is not None
    assert after is not None
    touched, own = (b - a for a, b in zip(before, after, strict=True))
    return Figures(
        {"idle_rows_touched": float(touched)},
        {
            "idle_own_rows_per_district": own / _IDLE_DISTRICTS,
            "idle_ms_per_district": idle.seconds / _IDLE_DISTRICTS * 1e3,
        },
    )


_SPOILT: Final = (
    "UPDATE grade SET score = 7.5 WHERE student_id = 'student-1'",
    "UPDATE grade SET score = NULL, completion = 'turned_in' WHERE student_id = 'student-2'",
    "UPDATE grade SET submission = 'excused' WHERE student_id = 'student-3'",
    "UPDATE grade SET score = NULL, completion = 'in_progress' WHERE student_id = 'student-4'",
    "UPDATE assessment SET due_at = now() + interval '5 days' WHERE right(assessment_id, 1) = '7'",
)


@asynccontextmanager
async def _districts(
    bench: Bench,
    origin: str,
    results: Mapping[str, int],
    behaviours: Mapping[str, str] | None = None,
) -> AsyncIterator[str]:
    """A database of districts whose runs are due, each with so many results."""
    async with bench.database() as url:
        async with await connect(url, size=1) as pool:
            for district_id, count in results.items():
                await apply(pool, district_id, origin, (behaviours or {}).get(district_id, "ok"))
                await fill(pool, district_id, count)
            await pool.execute("VACUUM (ANALYZE) grade")
            await pool.execute("VACUUM (ANALYZE) assessment")
            await pool.execute("CHECKPOINT")
        yield url


def _figures(name: str, posted: Sequence[Posted]) -> dict[str, float]:
    return {
        f"{name}_results_per_s": median(one.per_second for one in posted),
        f"{name}_cpu_us_per_result": median(one.cpu_us for one in posted),
        f"{name}_mib": max(one.mib for one in posted),
    }


async def _written(url: str) -> Written:
    connection = await asyncpg.connect(url)
    try:
        return await written(connection)
    finally:
        await connection.close()


def _of_each(grown: Written, results: int) -> Mapping[str, float]:
    return {
        "wal_bytes_per_result": grown.wal / results,
        "dead_rows_per_result": grown.dead / results,
        "hot_share": grown.hot / grown.updated,
    }


_TOUCHED: Final = """
SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE NOT own), 0)::bigint,
    coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE own), 0)::bigint
FROM (SELECT *, relname IN ('flush_run', 'lease', 'district') AS own FROM pg_stat_user_tables) t"""

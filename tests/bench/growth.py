"""The same night in a store with ten million settled results, and in one with a hundred thousand.

Both stores stand side by side and take turns: in each round the teachers of one district change
every grade of a night, and the engine posts them, beside a tenth of the settled results that is the
district's own. The first night, in which it is read, is not counted. Beside the time stand the rows
that Postgres read, which no other work on the machine changes: a short run tells growth by them.
"""

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

import asyncpg

from consumer.store.connection import Pool, connect
from tests.bench.frame import Bench, Figures
from tests.bench.nights import apply, due_again, fill
from tests.bench.processes import Posted, posted_by
from tests.bench.stub_skyward import stub_skyward
from tests.bench.written import written
from tests.settled import count_anew, settle

_SETTLED: Final = {"few": 100_000, "many": 10_000_000}
_QUICK_SETTLED: Final = {"few": 3_000, "many": 300_000}
_RESULTS: Final = 20_000
_ROUNDS: Final = 5
_DISTRICTS: Final = 10
_OURS: Final = "ours"


async def measure(bench: Bench) -> Figures:
    """Time and rows read of a posted result with many settled rows, to those with few."""
    results = bench.size(_RESULTS)
    settled = _QUICK_SETTLED if bench.quick else _SETTLED
    posted: dict[str, list[Posted]] = {size: [] for size in settled}
    read: dict[str, list[float]] = {size: [] for size in settled}
    absolute: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        origin = stack.enter_context(stub_skyward())
        urls = {size: await stack.enter_async_context(bench.database()) for size in settled}
        for size, url in urls.items():
            async with await connect(url, size=1) as pool:
                await apply(pool, _OURS, origin)
                await fill(pool, _OURS, results)
                assert (await posted_by("flush_engine", url, _OURS)).results == results
                await _grow(pool, settled[size])
                absolute[f"growth_{size}_database_mib"] = await pool.fetchval(_SIZE)
        for number in range(bench.rounds(_ROUNDS)):
            for size in settled if number % 2 else reversed(settled):
                one, rows = await _night(urls[size])
                assert one.results == results, one
                posted[size].append(one)
                read[size].append(rows / results)
    rates = {size: [one.per_second for one in rounds] for size, rounds in posted.items()}
    for size, those in rates.items():
        absolute[f"growth_{size}_results_per_s"] = median(those)
        # What index entries of the night before are still to be passed over only adds to it.
        absolute[f"growth_{size}_rows_read_per_result"] = min(read[size])
    return Figures(
        {
            "growth_10m_vs_100k": bench.ratio(rates["few"], rates["many"]),
            "growth_rows_read": min(read["many"]) / min(read["few"]),
        },
        absolute,
    )


async def _grow(pool: Pool, results: int) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    # What is thrown away after the run need not be on disk at each commit.
    await pool.execute("SET synchronous_commit = off")
    for number in range(_DISTRICTS):
        district_id = _OURS if number == 0 else f"other-{number}"
        await settle(pool, district_id, results // _DISTRICTS, long_ago)
    await count_anew(pool)


async def _night(url: str) -> tuple[Posted, float]:
    """Every grade of the district's night changes, and is posted; and so many rows were read."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_CHANGED, _OURS, datetime.now(UTC))
        await due_again(connection)
        await connection.execute("CHECKPOINT")
        # Of this connection, too, nothing is to be told later.
        await connection.execute("SELECT pg_stat_force_next_flush()")
        before = await written(connection)
        posted = await posted_by("flush_engine", url, _OURS)
        return posted, (await written(connection)).since(before).read
    finally:
        await connection.close()


_SIZE: Final = "SELECT pg_database_size(current_database())::float8 / 1048576"
_CHANGED: Final = """
UPDATE grade SET version = version + 1, revision = revision + 1, score = (score + 1)::int % 11,
    changed_at = $2, state = 'pending', kind = NULL, pending_since = $2, decide_from = $2
WHERE district_id = $1 AND assessment_id LIKE 'a%'"""

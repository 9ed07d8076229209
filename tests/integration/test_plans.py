"""No statement of a night, of intake or of an answer reads a large table from end to end.

A hundred thousand settled results stand for millions: with more rows reading a table whole only
gets dearer, and finding the same few by an index costs the same but for a level of the tree. So
what the planner takes here it takes there; ``make test-slow`` shows it with ten million.
"""

from datetime import timedelta
from pathlib import Path
from typing import Final

from consumer.store import undecided
from consumer.store.connection import Pool, connect
from tests.integration.nights import NOW
from tests.integration.plans import a_day_sent, faults, found, large_of
from tests.settled import STUDENTS, count_anew, settle

PENDING_PATH: Final = (
    "grade_undecided",
    "grade_held",
    "grade_stopped_by_skyward",
    "assessment_undecided",
    "assessment_wake",
    "assessment_due",
)

READS_ALL: Final = {
    "SELECT * FROM grade WHERE score = 3": "reads grade from end to end",
    "SELECT count(*) FROM sent": "reads sent_default from end to end",
    "UPDATE assessment SET title = '' WHERE title = ''": "reads assessment from end to end",
    "SELECT * FROM grade ORDER BY sent_at, student_id": "sorts as many rows as grade has",
    "SELECT student_id FROM grade ORDER BY district_id, assessment_id, class_id, student_id"
    " LIMIT 9": "reads grade_pkey from end to end",
    "SELECT count(*) FROM grade WHERE district_id = 'other-1' AND score = 99": (
        "reads all of a district's grade_pkey"
    ),
}
"""What such a statement would be, and what is said of it."""


async def test_no_statement_of_a_day_reads_a_large_table_from_end_to_end(
    tmp_path: Path, database_url: str
) -> None:
    districts = {"lakeside": 60_000} | {f"other-{n}": 10_000 for n in range(4)}
    async with a_day_sent(tmp_path, database_url, districts) as (connection, sent):
        assert await found(connection, sent) == []
        for table in ("grade", "assessment", "line_item", "sent", "flush_run", "lease", "district"):
            assert any(f" {table} " in sql for sql in sent.arguments), table
        for index in PENDING_PATH:
            async with connection.transaction():
                definition = await connection.fetchval(
                    "SELECT pg_get_indexdef($1::text::regclass)", index
                )
                await connection.execute(f"DROP INDEX {index}")
                without = await found(connection, sent)
                await connection.execute(definition)
            assert without != [], f"nothing is found without {index}"

        large = await large_of(connection)
        for sql, fault in READS_ALL.items():
            seen = await faults(connection, sql, (), large)
            assert {f"own plan {fault}", f"generic plan {fault}"} <= set(seen), (sql, seen)


BLOCKS: Final = 4
"""Blocks of an index that a walk may look into for each item."""


async def test_what_waits_is_read_once_by_statistics_of_an_hour_when_nothing_waited(
    database_url: str,
) -> None:
    waiting = 25_000
    assert waiting / STUDENTS > 4 * undecided.ITEMS
    async with await connect(database_url, size=1) as pool:
        await settle(pool, "lakeside", waiting, NOW - timedelta(days=40))
        # Nobody makes statistics of what waits.
        await pool.execute("ALTER TABLE grade SET (autovacuum_enabled = off)")
        await count_anew(pool)
        await pool.execute(_ALL_WAITS, NOW)
        # Else entries that the update left dead would be read and counted, too.
        await pool.execute("VACUUM grade")

        for ungraded_only, whole in ((False, False), (True, False), (False, True)):
            if whole:
                await undecided.mark_items(pool, "lakeside", NOW)
            found = 0 if ungraded_only else waiting
            entries, blocks = await _read(pool)
            assert await _walked(pool, ungraded_only) == found
            more_entries, more_blocks = await _read(pool)
            # Once for its items, once for itself, and a little at the end of each page.
            assert more_entries - entries < 2.1 * waiting, (ungraded_only, whole)
            # An item's descent and its entries; what was passed is not looked through again.
            assert more_blocks - blocks < BLOCKS * waiting / STUDENTS, (ungraded_only, whole)


async def _walked(pool: Pool, ungraded_only: bool) -> int:
    """How many grades a night's walk over everything undecided comes by."""
    return sum(
        [
            len(grades)
            async for page in undecided.items(pool, "lakeside", NOW)
            async for grades in undecided.grades(
                pool, "lakeside", page, NOW, ungraded_only=ungraded_only
            )
        ]
    )


async def _read(pool: Pool) -> tuple[int, int]:
    """How many entries and blocks of grade's indexes the pool's connection has read so far."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    row = await pool.fetchrow(
        "SELECT sum(idx_tup_read)::int, sum(idx_blks_hit + idx_blks_read)::int"
        " FROM pg_stat_user_indexes JOIN pg_statio_user_indexes USING (indexrelid)"
        " WHERE pg_stat_user_indexes.relname = 'grade'"
    )
    assert row is not None
    return row[0], row[1]


_ALL_WAITS: Final = """
UPDATE grade SET state = 'pending', kind = NULL, pending_since = $1, decide_from = $1"""

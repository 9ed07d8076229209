"""What intake and nights leave for Postgres to clear, by its own counters.

No update of a grade that is settled is HOT: it leaves the partial index of what waits, which is
what makes a night find 20 grades among ten million. What does not leave an index is updated in
place, and a grade that is posted night after night stays on its page and in its one index entry.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from consumer.gradebook import GradeKey, Kind, Origin, ScoreStatus, Sent
from consumer.store import runs
from consumer.store.connection import Pool, connect
from consumer.store.recording import record
from consumer.store.settling import SettledGrade, settle
from tests.recordables import NOON, TONIGHT, apply, batch, grade

NIGHTS = 4
GRADES = 4_000
AT_ONCE = 100
SEVEN = Sent(Decimal(7), ScoreStatus.FULLY_GRADED, Origin.TEACHER)


def _key(number: int) -> tuple[str, str]:
    return f"a-{number // 25:06d}", f"s-{number % 25:02d}"


async def _publish(pool: Pool, night: int) -> None:
    for first in range(0, GRADES, 1_000):
        changes = []
        for number in range(first, first + 1_000):
            assessment, student = _key(number)
            changes.append(
                grade(
                    night + 1,
                    night,
                    night * GRADES + number,
                    assessment_id=assessment,
                    student=student,
                    score="7",
                )
            )
        await record(pool, batch(*changes), NOON)


async def _post(pool: Pool, night: int) -> None:
    lease = await runs.take_lease(pool, "lakeside", "replica-1", timedelta(minutes=5))
    assert lease is not None
    run = await runs.begin(pool, lease, "manual", TONIGHT, 1, TONIGHT.at)
    for first in range(0, GRADES, AT_ONCE):
        posted = [
            SettledGrade(
                key=GradeKey(assessment, "c-7", student),
                revision=night + 1,
                version=night + 1,
                kind=Kind.POST,
                reason=None,
                detail="",
                counts=True,
                pending_since=NOON,
                sent=SEVEN,
                attempted=True,
                score=SEVEN.score,
                score_status=SEVEN.score_status,
                origin=SEVEN.origin,
            )
            for assessment, student in map(_key, range(first, first + AT_ONCE))
        ]
        await settle(pool, lease, run.run_id, posted, [], [], TONIGHT.at)
    await runs.finish(pool, lease, run, TONIGHT.at, None, {}, {})
    await runs.release_lease(pool, lease)


@pytest.fixture
async def counters(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def _counted(connection: asyncpg.Connection) -> Mapping[str, Mapping[str, Any]]:
    # A backend tells what it counted when it ends.
    while await connection.fetchval(_OTHERS):
        await asyncio.sleep(0.02)
    return {row["relname"]: dict(row) for row in await connection.fetch(_COUNTED)}


_OTHERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
_COUNTED = """
SELECT relname, n_tup_upd, n_tup_hot_upd, n_tup_newpage_upd, n_tup_del,
    pg_indexes_size(relid) AS indexes FROM pg_stat_user_tables"""


async def test_grades_posted_night_after_night_stay_on_their_page_and_counts_in_their_place(
    database_url: str, counters: asyncpg.Connection
) -> None:
    async with await connect(database_url, size=1) as pool:
        await apply(pool)
        await _publish(pool, 0)
        await _post(pool, 0)
    first = await _counted(counters)
    for night in range(1, NIGHTS):
        async with await connect(database_url, size=1) as pool:
            await _publish(pool, night)
            await _post(pool, night)
    last = await _counted(counters)

    # A lease, a run's counts and an offset change in no index: at least 95 of 100 are HOT.
    for table in ("lease", "flush_run", "intake_offset"):
        changed = last[table]["n_tup_upd"]
        assert changed >= NIGHTS
        assert last[table]["n_tup_hot_upd"] >= 0.95 * changed, table
    # fillfactor leaves room for the next version: from the second night on most stay.
    changed = last["grade"]["n_tup_upd"] - first["grade"]["n_tup_upd"]
    moved = last["grade"]["n_tup_newpage_upd"] - first["grade"]["n_tup_newpage_upd"]
    assert changed == 2 * GRADES * (NIGHTS - 1)
    assert moved <= 0.35 * changed
    # Twice as many versions a night as grades, and the indexes have one entry for each grade.
    assert last["grade"]["indexes"] <= 1.2 * first["grade"]["indexes"]
    # History is only added to.
    assert last["sent_default"]["n_tup_upd"] + last["sent_default"]["n_tup_del"] == 0


async def test_what_changes_with_each_settling_is_in_no_index_but_those_of_what_waits(
    counters: asyncpg.Connection,
) -> None:
    """A column that a settling changes may stand in a partial index alone: it holds few rows."""
    changing = {"state", "kind", "reason", "decided_at", "settled_version", "pending_since"}
    changing |= {"decide_from", "sent_score", "sent_status", "sent_origin", "sent_at", "wake_at"}
    rows = await counters.fetch(
        "SELECT i.indexrelid::regclass::text AS name, i.indpred IS NOT NULL AS partial,"
        " ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid"
        " AND a.attnum = ANY (i.indkey)) AS columns FROM pg_index i"
        " WHERE i.indrelid IN ('grade'::regclass, 'assessment'::regclass, 'line_item'::regclass)"
    )
    assert len(rows) >= 9
    for row in rows:
        assert row["partial"] or not changing & set(row["columns"]), row["name"]


async def test_each_table_that_nights_change_is_vacuumed_by_what_a_night_leaves(
    counters: asyncpg.Connection,
) -> None:
    """A hundredth at the most: of ten million rows that is a night of a hundred thousand."""
    for table in ("grade", "assessment"):
        options = await counters.fetchval(
            "SELECT reloptions FROM pg_class WHERE oid = $1::text::regclass", table
        )
        settings = dict(option.split("=") for option in options)
        assert float(settings["autovacuum_vacuum_scale_factor"]) <= 0.01
        assert int(settings["fillfactor"]) == 80

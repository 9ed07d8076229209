"""Retention: what is settled and old is deleted, with an audit row; nothing that waits is.

The history of what was sent lies in a partition a month, which is dropped as a whole when all of
it is old enough, so that no row of it is deleted, nor read for that, day by day. Of a
purged assessment its own row and its line item stay, without students: a replay of the log
then changes nothing, and what a teacher chose in Skyward is still respected.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Final

from consumer.gradebook import ItemKey
from consumer.store.connection import Pool
from consumer.store.districts import write_audit

_ITEMS: Final = 200
_ROWS: Final = 20_000
_MONTHS_AHEAD: Final = 2
# One number for all replicas; it has no meaning of its own.
_LOCK: Final = 7_248_190_512


@dataclass(slots=True)
class Purged:
    """How many rows of each kind were deleted; of an assessment its students were."""

    assessments: int = 0
    grades: int = 0
    sent: int = 0
    runs: int = 0
    quarantined: int = 0


async def purge(
    pool: Pool, district_id: str, before: datetime, now: datetime, *, history: bool
) -> Purged:
    """Deletes what one district has from before ``before``, a batch a transaction.

    An assessment goes when it, its due date and all its grades are older and none of them waits.
    ``history``: of what was sent too, row by row; else that goes with its month's partition.
    """
    purged = Purged()
    while found := await _purge_items(pool, district_id, before, now, purged):
        if found < _ITEMS:
            break
    for name, statement in _OLD.items():
        setattr(purged, name, await _delete(pool, statement, district_id, before))
    purged.grades += await _delete(pool, _WITHOUT_ASSESSMENT, district_id, before)
    if history:
        purged.sent += await _delete(pool, _HISTORY, district_id, before)
    counts = asdict(purged)
    if any(counts.values()):
        async with pool.acquire() as connection:
            detail = {"before": before.isoformat(), **counts}
            await write_audit(connection, district_id, now, "purge", detail)
    return purged


async def purge_unclaimed(pool: Pool, before: datetime, now: datetime) -> int:
    """Deletes events in quarantine from before ``before`` that no applied district claims.

    Their keys name no district, one that was never applied, or one that was removed; they hold
    names and grades like all others. Returns how many. The audit row names none of them: what
    stands in such a key may be a person's name, and audit rows stay.
    """
    total = 0
    for row in await pool.fetch(_UNCLAIMED, before):
        total += await _delete(pool, _OLD["quarantined"], row["district_id"], before)
    if total:
        async with pool.acquire() as connection:
            detail = {"before": before.isoformat(), "quarantined": total}
            await write_audit(connection, "", now, "purge", detail)
    return total


_UNCLAIMED: Final = """
SELECT DISTINCT q.district_id FROM quarantine q
WHERE q.received_at < $1
    AND NOT EXISTS (SELECT FROM district d WHERE d.district_id = q.district_id)"""


async def _purge_items(
    pool: Pool, district_id: str, before: datetime, now: datetime, purged: Purged
) -> int:
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_SETTLED_ITEMS, district_id, before, _ITEMS)
        keys = [ItemKey(*row) for row in rows]
        columns = [k.assessment_id for k in keys], [k.class_id for k in keys]
        if keys:
            status = await connection.execute(_GRADES_OF, district_id, *columns)
            purged.grades += _count(status)
            await connection.execute(_EMPTY, district_id, *columns, now)
            purged.assessments += len(keys)
        return len(keys)


# Locked, so that a grade that is being recorded is seen or comes after.
_SETTLED_ITEMS: Final = """
SELECT a.assessment_id, a.class_id FROM assessment a
WHERE a.district_id = $1 AND a.purged_at IS NULL AND a.changed_at < $2
    AND coalesce(a.due_at, a.assigned_at) < $2 AND a.decide_from IS NULL
    AND NOT EXISTS (SELECT FROM grade g WHERE g.district_id = $1
        AND g.assessment_id = a.assessment_id AND g.class_id = a.class_id
        AND (g.state = 'pending' OR g.decide_from IS NOT NULL OR g.changed_at >= $2
            OR g.sent_at >= $2))
ORDER BY a.assessment_id, a.class_id LIMIT $3 FOR UPDATE OF a"""

_GRADES_OF: Final = """
DELETE FROM grade g USING unnest($2::text[], $3::text[]) AS i (assessment_id, class_id)
WHERE g.district_id = $1 AND g.assessment_id = i.assessment_id AND g.class_id = i.class_id
    AND g.state <> 'pending'"""

_EMPTY: Final = """
UPDATE assessment a SET assignees = '{}', wake_at = NULL, purged_at = $4
FROM unnest($2::text[], $3::text[]) AS i (assessment_id, class_id)
WHERE a.district_id = $1 AND a.assessment_id = i.assessment_id AND a.class_id = i.class_id"""


async def _delete(pool: Pool, statement: str, district_id: str, before: datetime) -> int:
    """How many rows went, a batch a statement."""
    total = 0
    while deleted := _count(await pool.execute(statement, district_id, before, _ROWS)):
        total += deleted
        if deleted < _ROWS:
            break
    return total


# Among the few that are held.
_WITHOUT_ASSESSMENT: Final = """
DELETE FROM grade g USING (
    SELECT o.assessment_id, o.class_id, o.student_id FROM grade o
    WHERE o.district_id = $1 AND o.changed_at < $2
        AND o.kind = 'hold' AND o.reason = 'assessment_unknown'
        AND NOT EXISTS (SELECT FROM assessment a WHERE a.district_id = $1
            AND a.assessment_id = o.assessment_id AND a.class_id = o.class_id)
    LIMIT $3) AS i
WHERE g.district_id = $1 AND g.assessment_id = i.assessment_id AND g.class_id = i.class_id
    AND g.student_id = i.student_id"""

_SENT: Final = """
DELETE FROM {table} s USING (
    SELECT assessment_id, class_id, student_id, at FROM {table}
    WHERE district_id = $1 AND at < $2 LIMIT $3) AS i
WHERE s.district_id = $1 AND s.at = i.at AND s.assessment_id = i.assessment_id
    AND s.class_id = i.class_id AND s.student_id = i.student_id"""
_HISTORY: Final = _SENT.format(table="sent")

_OLD: Final[Mapping[str, str]] = {
    # What came in a month that had no partition yet.
    "sent": _SENT.format(table="sent_default"),
    "runs": """
DELETE FROM flush_run WHERE district_id = $1 AND run_id IN (
    SELECT run_id FROM flush_run WHERE district_id = $1 AND finished_at < $2 LIMIT $3)""",
    "quarantined": """
DELETE FROM quarantine WHERE district_id = $1 AND id IN (
    SELECT id FROM quarantine WHERE district_id = $1 AND received_at < $2 LIMIT $3)""",
}


async def keep_partitions(pool: Pool, before: datetime, now: datetime) -> list[str]:
    """Creates the coming months' partitions of ``sent`` and drops those that ended by ``before``.

    Returns the names of the dropped. One replica at a time; the others find nothing left to do.
    """
    dropped = []
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        names = {row["name"] for row in await connection.fetch(_PARTITIONS)}
        month = now.astimezone(UTC).date().replace(day=1)
        for _ in range(_MONTHS_AHEAD + 1):
            end = _next(month)
            # A month that began before its partition was made stays in the default one.
            if _name(month) not in names and not await connection.fetchval(
                "SELECT EXISTS (SELECT 1 FROM sent_default WHERE at >= $1 AND at < $2)",
                _instant(month),
                _instant(end),
            ):
                await connection.execute(
                    f"CREATE TABLE {_name(month)} PARTITION OF sent"
                    f" FOR VALUES FROM ('{_instant(month)}') TO ('{_instant(end)}')"
                )
            month = end
        for name in sorted(names - {"sent_default"}):
            year, number = name.removeprefix("sent_").split("_")
            if _instant(_next(date(int(year), int(number), 1))) <= before:
                await connection.execute(f"DROP TABLE {name}")
                dropped.append(name)
    return dropped


_PARTITIONS: Final = """
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'sent'::regclass"""


def _name(month: date) -> str:
    return f"sent_{month:%Y_%m}"


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])

"""A store with years behind it: results that were posted and settled, made by SQL."""

from datetime import datetime
from typing import Final

from consumer.store.connection import Pool

STUDENTS: Final = 25
_CHUNK: Final = 20_000


async def settle(pool: Pool, district_id: str, results: int, at: datetime) -> None:
    """So many of a district's results as a night at ``at`` left them, 25 a line item.

    An assessment, its line item, its grades, and what was sent of them; ids begin with ``old-``.
    """
    items = -(-results // STUDENTS)
    for first in range(1, items + 1, _CHUNK):
        last = min(first + _CHUNK - 1, items)
        for statement in (_ASSESSMENTS, _LINE_ITEMS, _GRADES, _SENT):
            await pool.execute(statement, district_id, first, last, at, timeout=None)


async def count_anew(pool: Pool) -> None:
    """What autovacuum does in time: statistics for the planner, and a map of what all may see."""
    await pool.execute("VACUUM (ANALYZE)", timeout=None)


_ITEM: Final = "'old-' || lpad(n::text, 8, '0'), 'c-' || n % 500"

_ASSESSMENTS: Final = f"""
INSERT INTO assessment (district_id, assessment_id, class_id, version, title, type, format,
    grading_scale, points_possible, include_in_final_grade, assigner_id, assigner_in_sis,
    assigned_at, due_at, status, class_sourced_id, school_sourced_id, assignees, changed_at,
    log_partition, log_offset, settled_version)
SELECT $1, {_ITEM}, 1, 'Quiz ' || n, 'Quiz', 'simple', 'points', 10, true, 't-' || n % 1000,
    true, $4::timestamptz - interval '2 days', $4 - interval '1 day', 'active', 'class-' || n % 500,
    'school', students, $4 - interval '1 hour', 0, n, 1
FROM generate_series($2::int, $3::int) n,
    (SELECT jsonb_object_agg('s-' || s, 'sourced-' || s) AS students
     FROM generate_series(1, {STUDENTS}) s) AS roster"""

_LINE_ITEMS: Final = f"""
INSERT INTO line_item (district_id, assessment_id, class_id, sourced_id, posted, otus_type,
    posted_at)
SELECT $1, {_ITEM}, md5($1::text || n), '{{"title": "Quiz", "class": "class"}}', 'Quiz',
    $4::timestamptz
FROM generate_series($2::int, $3::int) n"""

_GRADES: Final = f"""
INSERT INTO grade (district_id, assessment_id, class_id, student_id, version, score, completion,
    submission, changed_at, log_partition, log_offset, state, kind, decided_at, settled_version,
    sent_score, sent_status, sent_origin, sent_at)
SELECT $1, {_ITEM}, 's-' || s, 1, (n + s) % 11, 'graded', 'on_time',
    $4::timestamptz - interval '1 hour', 0, n, 'posted', 'post', $4, 1,
    (n + s) % 11, 'fully graded', 'teacher', $4
FROM generate_series($2::int, $3::int) n, generate_series(1, {STUDENTS}) s"""

_SENT: Final = f"""
INSERT INTO sent (district_id, assessment_id, class_id, student_id, at, run_id, score,
    score_status, origin, outcome)
SELECT $1, {_ITEM}, 's-' || s, $4::timestamptz, 0, (n + s) % 11, 'fully graded', 'teacher', 'post'
FROM generate_series($2::int, $3::int) n, generate_series(1, {STUDENTS}) s"""

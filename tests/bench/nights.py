"""Districts made by SQL: results that wait for a night, or that stand as one left them."""

from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from consumer.cutoff import Cutoff
from consumer.district import read_district
from consumer.store import districts
from consumer.store.connection import Pool

CONNECTIONS: Final = 20
STUDENTS: Final = 25
CLASSES: Final = 400
_ITEMS_OF_A_CLASS: Final = 4


def settings(
    district_id: str, origin: str, behaviour: str, connections: int = CONNECTIONS
) -> dict[str, Any]:
    """A district's file; ``behaviour`` is the stub's."""
    return {
        "district": district_id,
        "name": district_id,
        "timezone": "America/Chicago",
        "cutoff": "22:00",
        "effective_date": "2020-01-01",
        "live_since": "2020-01-01",
        "skyward": {
            "product": "qmlativ",
            "base_url": f"{origin}/{behaviour}/{district_id}",
            "token_url": f"{origin}/token",
            "max_concurrency": connections,
            "key_file": "k",
            "secret_file": "s",
        },
        "categories": {"Quiz": "quiz"},
        "group": ["t"],
    }


async def apply(
    pool: Pool,
    district_id: str,
    origin: str,
    behaviour: str = "ok",
    *,
    key: bytes = b"k",
    secret: bytes = b"s",
    connections: int = CONNECTIONS,
) -> None:
    """Applies a district whose run is due now, and is not its first."""
    now = datetime.now(UTC)
    district = read_district(settings(district_id, origin, behaviour, connections)).district
    cutoff = Cutoff(now.date(), now)
    await districts.apply(pool, district, key, secret, cutoff, now, now)
    await pool.execute(
        "UPDATE district SET decided_revision = revision WHERE district_id = $1", district_id
    )


async def fill(pool: Pool, district_id: str, results: int) -> None:
    """So many results that wait, 25 a line item and four line items a class."""
    items = -(-results // STUDENTS)
    classes = max(1, min(CLASSES, items // _ITEMS_OF_A_CLASS))
    now = datetime.now(UTC)
    await pool.execute(
        f"""
        INSERT INTO assessment (district_id, assessment_id, class_id, version, title, type, format,
            grading_scale, points_possible, include_in_final_grade, assigner_id, assigner_in_sis,
            assigned_at, due_at, status, class_sourced_id, school_sourced_id, assignees,
            changed_at, log_partition, log_offset, decide_from)
        SELECT $1, 'a' || lpad(n::text, 8, '0'), 'c' || n % {classes}, 1, 'Quiz ' || n, 'Quiz',
            'simple', 'points', 10, true, 't', true, $3::timestamptz - interval '5 days',
            $3::timestamptz - interval '1 day', 'active', 'c' || n % {classes}, 'school', students,
            $3::timestamptz - interval '1 hour', 0, n, $3::timestamptz - interval '1 hour'
        FROM generate_series(1, $2::int) n,
            (SELECT jsonb_object_agg('student-' || s, 'sourced-' || s) AS students
             FROM generate_series(1, {STUDENTS}) s) AS roster""",
        district_id,
        items,
        now,
        timeout=600,
    )
    await pool.execute(
        f"""
        INSERT INTO grade (district_id, assessment_id, class_id, student_id, version, score,
            completion, submission, changed_at, log_partition, log_offset, pending_since,
            decide_from)
        SELECT $1, 'a' || lpad(n::text, 8, '0'), 'c' || n % {classes}, 'student-' || s, 1,
            (n + s) % 11, 'graded', 'on_time', at, 0, 0, at, at
        FROM generate_series(1, $2::int) n, generate_series(1, {STUDENTS}) s,
            (SELECT $3::timestamptz - interval '1 hour' AS at) AS changed
        LIMIT {results}""",
        district_id,
        items,
        now,
        timeout=600,
    )


async def due_again(connection: asyncpg.Connection) -> None:
    """The next night of every district is due now."""
    await connection.execute(
        "UPDATE district SET next_cutoff_at = now(), start_at = now(), attempts = 0"
    )

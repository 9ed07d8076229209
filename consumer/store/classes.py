"""The classes that Otus' assessments name: what a district's setup is checked against."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumer.store.connection import Pool


@dataclass(frozen=True, slots=True)
class KnownClass:
    """A class, its school and one of its students, as far as they are known."""

    class_sourced_id: str
    school_sourced_id: str | None
    student_sourced_id: str | None


async def due_since(pool: Pool, district_id: str, since: datetime) -> list[str]:
    """The sourcedIds of classes with an assessment that is due, or was assigned, since then."""
    rows = await pool.fetch(_DUE_SINCE, district_id, since)
    return [row["class_sourced_id"] for row in rows]


_DUE_SINCE: Final = """
SELECT DISTINCT class_sourced_id FROM assessment
WHERE district_id = $1 AND status = 'active' AND coalesce(due_at, assigned_at) >= $2
ORDER BY class_sourced_id"""


async def find(pool: Pool, district_id: str, named: str) -> KnownClass | None:
    """The class of that sourcedId, else the one that Otus calls so; None where neither came."""
    row = await pool.fetchrow(_FIND, district_id, named)
    return None if row is None else KnownClass(**row)


# The newest assessment with assignees: who was in the class last is most likely there still.
_FIND: Final = """
SELECT class_sourced_id, school_sourced_id,
    (SELECT min(value) FROM jsonb_each_text(assignees)) AS student_sourced_id
FROM assessment
WHERE district_id = $1 AND (class_sourced_id = $2 OR class_id = $2)
ORDER BY class_sourced_id = $2 DESC, status = 'active' DESC, assignees <> '{}' DESC,
    changed_at DESC, assessment_id
LIMIT 1"""

"""What Skyward said of itself when it was last read: sessions, categories, classes.

Kept so that a change of them is noticed and makes worth deciding again what they decided,
and so that ``explain`` needs no request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from consumer.gradebook import AcademicSession
from consumer.store.connection import Pool


@dataclass(frozen=True, slots=True)
class SkywardClass:
    """A class's terms, and its active categories (None: the server does not answer for it)."""

    terms: tuple[str, ...]
    categories: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class SkywardDistrict:
    """A district's academic sessions by id, and its active categories."""

    sessions: Mapping[str, AcademicSession]
    categories: frozenset[str]


async def find_district(pool: Pool, district_id: str) -> SkywardDistrict | None:
    """What was read last, or None before the first read."""
    row = await pool.fetchrow(
        "SELECT sessions, categories FROM skyward_district WHERE district_id = $1", district_id
    )
    if row is None:
        return None
    sessions = [_session(s) for s in row["sessions"]]
    return SkywardDistrict({s.sourced_id: s for s in sessions}, frozenset(row["categories"]))


async def keep_district(pool: Pool, district_id: str, read: SkywardDistrict, now: datetime) -> None:
    """Keeps what was just read."""
    sessions = [
        {
            "sourcedId": s.sourced_id,
            "type": s.type,
            "active": s.active,
            "startDate": s.start.isoformat(),
            "endDate": s.end.isoformat(),
            "parent": s.parent,
        }
        for s in read.sessions.values()
    ]
    await pool.execute(_KEEP_DISTRICT, district_id, sessions, sorted(read.categories), now)


_KEEP_DISTRICT: Final = """
INSERT INTO skyward_district (district_id, sessions, categories, read_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (district_id) DO UPDATE SET sessions = excluded.sessions,
    categories = excluded.categories, read_at = excluded.read_at"""


async def find_classes(pool: Pool, district_id: str) -> dict[str, SkywardClass]:
    """Every class that was read so far, by its sourcedId."""
    rows = await pool.fetch(
        "SELECT class_sourced_id, terms, categories FROM skyward_class WHERE district_id = $1",
        district_id,
    )
    return {r["class_sourced_id"]: _class(r) for r in rows}


async def keep_classes(
    pool: Pool, district_id: str, read: Mapping[str, SkywardClass], now: datetime
) -> None:
    """Keeps classes that were just read."""
    ordered = sorted(read)
    await pool.executemany(
        _KEEP_CLASS,
        [
            (
                district_id,
                one,
                list(read[one].terms),
                _sorted(read[one].categories),
                now,
            )
            for one in ordered
        ],
    )


_KEEP_CLASS: Final = """
INSERT INTO skyward_class AS c (district_id, class_sourced_id, terms, categories, read_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (district_id, class_sourced_id) DO UPDATE SET terms = excluded.terms,
    categories = excluded.categories, read_at = excluded.read_at
WHERE (c.terms, c.categories) IS DISTINCT FROM (excluded.terms, excluded.categories)"""


async def stopped_by_skyward(pool: Pool, district_id: str) -> dict[str, frozenset[str]]:
    """Which classes have a grade that Skyward's own state stopped, by reason."""
    rows = await pool.fetch(_STOPPED_BY_SKYWARD, district_id)
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["reason"], set()).add(row["class_sourced_id"])
    return {reason: frozenset(classes) for reason, classes in found.items()}


_STOPPED_BY_SKYWARD: Final = """
SELECT DISTINCT g.reason, a.class_sourced_id FROM grade g
JOIN assessment a USING (district_id, assessment_id, class_id)
WHERE g.district_id = $1 AND g.reason IN ('grading_period_closed', 'grading_period_unknown',
    'category_not_district_level', 'category_inactive', 'forbidden')"""


def _sorted(categories: frozenset[str] | None) -> list[str] | None:
    return None if categories is None else sorted(categories)


def _class(row: Any) -> SkywardClass:
    categories = row["categories"]
    return SkywardClass(tuple(row["terms"]), None if categories is None else frozenset(categories))


def _session(stored: Mapping[str, Any]) -> AcademicSession:
    return AcademicSession(
        sourced_id=stored["sourcedId"],
        type=stored["type"],
        active=stored["active"],
        start=date.fromisoformat(stored["startDate"]),
        end=date.fromisoformat(stored["endDate"]),
        parent=stored["parent"],
    )

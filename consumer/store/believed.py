"""What the store believes that Skyward holds: line items and results, class by class."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from consumer.gradebook import ItemKey, Origin, ScoreStatus, Sent
from consumer.store.connection import Pool


@dataclass(frozen=True, slots=True)
class BelievedResult:
    """What Skyward acknowledged of one grade; ``allocated_id`` where it chose the sourcedId."""

    student_id: str
    allocated_id: str | None
    sent: Sent


@dataclass(frozen=True, slots=True)
class BelievedItem:
    """One line item; ``posted`` is its acknowledged body as text, None where there is none.

    ``sourced_id`` is None where it was never sent. ``students`` maps Skyward's sourcedIds to
    Otus' ids.
    """

    key: ItemKey
    sourced_id: str | None
    posted: Mapping[str, str] | None
    students: Mapping[str, str]
    results: tuple[BelievedResult, ...]


async def knows_class(pool: Pool, district_id: str, class_id: str) -> bool:
    """Whether any event named this class of Otus."""
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT FROM assessment WHERE district_id = $1 AND class_id = $2)",
            district_id,
            class_id,
        )
    )


async def classes(
    pool: Pool, district_id: str, class_id: str | None
) -> AsyncIterator[tuple[str, list[BelievedItem]]]:
    """Skyward's sourcedId of each class, with every item known of it, one class at a time.

    ``class_id`` (Otus') narrows it to one. A line item stands where it was posted, although its
    assessment may name another class by now.
    """
    rows = await pool.fetch(_KEYS, district_id, class_id)
    for class_sourced_id, keys in groupby(rows, key=lambda row: row["class_sourced_id"]):
        yield class_sourced_id, await _items(pool, district_id, [ItemKey(*k[1:]) for k in keys])


_KEYS: Final = """
SELECT coalesce(l.posted ->> 'class', a.class_sourced_id) AS class_sourced_id,
    a.assessment_id, a.class_id
FROM assessment a
LEFT JOIN line_item l ON l.district_id = $1 AND l.assessment_id = a.assessment_id
    AND l.class_id = a.class_id
WHERE a.district_id = $1 AND ($2::text IS NULL OR a.class_id = $2)
ORDER BY 1, 2, 3"""


async def _items(pool: Pool, district_id: str, keys: list[ItemKey]) -> list[BelievedItem]:
    arguments = (district_id, [k.assessment_id for k in keys], [k.class_id for k in keys])
    results: dict[ItemKey, list[BelievedResult]] = {}
    for row in await pool.fetch(_RESULTS, *arguments):
        item = ItemKey(row["assessment_id"], row["class_id"])
        results.setdefault(item, []).append(_result(row))
    return [
        BelievedItem(
            key := ItemKey(row["assessment_id"], row["class_id"]),
            row["sourced_id"],
            row["posted"],
            {sourced_id: student for student, sourced_id in row["assignees"].items()},
            tuple(results.get(key, ())),
        )
        for row in await pool.fetch(_ITEMS, *arguments)
    ]


def _result(row: Any) -> BelievedResult:
    sent = Sent(row["sent_score"], ScoreStatus(row["sent_status"]), Origin(row["sent_origin"]))
    return BelievedResult(row["student_id"], row["allocated_id"], sent)


_ITEMS: Final = """
SELECT a.assessment_id, a.class_id, a.assignees, l.sourced_id, l.posted
FROM unnest($2::text[], $3::text[]) AS i (assessment_id, class_id)
JOIN assessment a ON a.district_id = $1 AND a.assessment_id = i.assessment_id
    AND a.class_id = i.class_id
LEFT JOIN line_item l ON l.district_id = $1 AND l.assessment_id = i.assessment_id
    AND l.class_id = i.class_id
ORDER BY a.assessment_id, a.class_id"""

_RESULTS: Final = """
SELECT g.assessment_id, g.class_id, g.student_id, g.allocated_id, g.sent_score, g.sent_status,
    g.sent_origin
FROM unnest($2::text[], $3::text[]) AS i (assessment_id, class_id)
JOIN grade g ON g.district_id = $1 AND g.assessment_id = i.assessment_id
    AND g.class_id = i.class_id
WHERE g.sent_at IS NOT NULL
ORDER BY g.assessment_id, g.class_id, g.student_id"""

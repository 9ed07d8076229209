"""Line items of which Skyward may hold what the store does not know, and what it turned out to be.

The list stands in the district's lease, so that whoever takes it next sees it at once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from consumer.gradebook import GradeKey, ItemKey, Origin, Sent
from consumer.store import undecided
from consumer.store.connection import Pool
from consumer.store.runs import Lease, expect_lease, lease_lost
from consumer.store.undecided import UndecidedGrade, UndecidedItem


@dataclass(frozen=True, slots=True)
class AdoptedLineItem:
    """A line item as Skyward holds it; ``posted`` is its body field by field, as text."""

    key: ItemKey
    sourced_id: str
    posted: Mapping[str, str]
    otus_type: str


@dataclass(frozen=True, slots=True)
class AdoptedResult:
    """What Skyward holds of a grade; ``sent`` is None where it holds nothing.

    ``counts``: it stays as it is, so that no later write counts it as posted.
    """

    key: GradeKey
    sent: Sent | None
    allocated_id: str | None
    counts: bool


LATE: Final = timedelta(seconds=90)
"""Whatever was on its way when its run ended has arrived after so long: a request lasts 60 s, and
begins while its lease does.
"""


async def remember(
    pool: Pool, lease: Lease, keys: Iterable[ItemKey], look_again_at: datetime | None = None
) -> None:
    """Puts these in the place of those remembered before; raises ``LeaseLost``.

    ``look_again_at``: Skyward was asked of them, and is to be asked once more then.
    """
    kept = await pool.fetchval(
        "UPDATE lease SET in_doubt = $4, look_again_at = $5"
        " WHERE district_id = $1 AND holder = $2 AND epoch = $3 RETURNING true",
        lease.district_id,
        lease.holder,
        lease.epoch,
        sorted(keys),
        look_again_at,
    )
    if not kept:
        raise lease_lost(lease)


async def read(
    pool: Pool, district_id: str, keys: Sequence[ItemKey]
) -> list[tuple[UndecidedItem, dict[str, UndecidedGrade]]]:
    """These items with all their grades, by student."""
    columns = (district_id, [k.assessment_id for k in keys], [k.class_id for k in keys])
    grades: dict[ItemKey, dict[str, UndecidedGrade]] = {}
    for row in await pool.fetch(_GRADES, *columns):
        grade = undecided.read_grade(row)
        grades.setdefault(grade.key.item, {})[grade.key.student_id] = grade
    items = [undecided.read_item(row) for row in await pool.fetch(_ITEMS, *columns)]
    return [(item, grades.get(item.key, {})) for item in items]


_KEYS: Final = "unnest($2::text[], $3::text[]) AS k (assessment_id, class_id)"
_ITEMS: Final = f"""
WITH wanted AS (SELECT k.*, false AS whole FROM {_KEYS})
{undecided.ITEM_COLUMNS}"""
_GRADES: Final = f"""
SELECT {undecided.GRADE_COLUMNS}
FROM {_KEYS} JOIN grade g ON g.district_id = $1 AND g.assessment_id = k.assessment_id
    AND g.class_id = k.class_id"""


async def students(pool: Pool, district_id: str, class_id: str) -> frozenset[str]:
    """Every student whom any assessment of this class names."""
    rows = await pool.fetch(
        "SELECT DISTINCT s.student_id FROM assessment a"
        " CROSS JOIN LATERAL jsonb_object_keys(a.assignees) AS s (student_id)"
        " WHERE a.district_id = $1 AND a.class_id = $2",
        district_id,
        class_id,
    )
    return frozenset(row["student_id"] for row in rows)


async def adopt(
    pool: Pool,
    lease: Lease,
    run_id: int,
    line_items: Sequence[AdoptedLineItem],
    results: Sequence[AdoptedResult],
    cutoff: datetime,
    now: datetime,
    *,
    decide_again: bool,
) -> Counter[Origin]:
    """Takes in what Skyward holds, in one transaction; returns what it adds to the run's counts.

    A grade without a row gets one, to be decided at ``cutoff``; with ``decide_again`` so are
    all others of these items. Raises ``LeaseLost``.
    """
    posted = Counter(one.sent.origin for one in results if one.counts and one.sent is not None)
    told = [one for one in results if one.sent is not None]
    async with pool.acquire() as connection, connection.transaction():
        await expect_lease(connection, lease)
        await connection.execute(
            _ADOPT_LINE_ITEMS,
            lease.district_id,
            now,
            [i.key.assessment_id for i in line_items],
            [i.key.class_id for i in line_items],
            [i.sourced_id for i in line_items],
            [dict(i.posted) for i in line_items],
            [i.otus_type for i in line_items],
        )
        await connection.execute(_ADOPT_RESULTS, lease.district_id, now, *_columns(results), cutoff)
        await connection.execute(_ADOPTED, lease.district_id, now, *_columns(told), run_id)
        if decide_again:
            items = {one.key for one in line_items} | {one.key.item for one in results}
            await connection.execute(
                _DECIDE_AGAIN,
                lease.district_id,
                cutoff,
                [key.assessment_id for key in items],
                [key.class_id for key in items],
            )
        await connection.execute(
            "UPDATE flush_run SET posted = posted + $3, zeros_posted = zeros_posted + $4"
            " WHERE district_id = $1 AND run_id = $2",
            lease.district_id,
            run_id,
            posted.total(),
            posted[Origin.CLOCK],
        )
    return posted


def _columns(results: Sequence[AdoptedResult]) -> list[list[object]]:
    return [
        [r.key.assessment_id for r in results],
        [r.key.class_id for r in results],
        [r.key.student_id for r in results],
        [None if r.sent is None else r.sent.score for r in results],
        [None if r.sent is None else r.sent.score_status for r in results],
        [None if r.sent is None else r.sent.origin for r in results],
        [r.allocated_id for r in results],
    ]


_ADOPT_LINE_ITEMS: Final = """
INSERT INTO line_item AS l (district_id, assessment_id, class_id, sourced_id, posted, otus_type,
    posted_at)
SELECT $1, i.assessment_id, i.class_id, i.sourced_id, i.posted, i.otus_type, $2::timestamptz
FROM unnest($3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[])
    AS i (assessment_id, class_id, sourced_id, posted, otus_type)
ON CONFLICT (district_id, assessment_id, class_id) DO UPDATE SET
    sourced_id = excluded.sourced_id, posted = excluded.posted,
    otus_type = coalesce(l.otus_type, excluded.otus_type),
    posted_at = coalesce(l.posted_at, excluded.posted_at)"""

_UNNESTED: Final = """
FROM unnest($3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::text[], $9::text[])
    AS r (assessment_id, class_id, student_id, score, status, origin, allocated_id)"""

_ADOPT_RESULTS: Final = f"""
INSERT INTO grade AS g (district_id, assessment_id, class_id, student_id, pending_since,
    decide_from, sent_score, sent_status, sent_origin, sent_at, allocated_id)
SELECT $1, r.assessment_id, r.class_id, r.student_id, $10, $10, r.score, r.status, r.origin,
    CASE WHEN r.status IS NOT NULL THEN $2::timestamptz END, r.allocated_id
{_UNNESTED}
ON CONFLICT (district_id, assessment_id, class_id, student_id) DO UPDATE SET
    sent_score = excluded.sent_score, sent_status = excluded.sent_status,
    sent_origin = excluded.sent_origin, sent_at = excluded.sent_at,
    allocated_id = coalesce(excluded.allocated_id, g.allocated_id)"""

_DECIDE_AGAIN: Final = """
UPDATE assessment a SET decide_from = coalesce(a.decide_from, $2)
FROM unnest($3::text[], $4::text[]) AS k (assessment_id, class_id)
WHERE a.district_id = $1 AND a.assessment_id = k.assessment_id AND a.class_id = k.class_id"""

_ADOPTED: Final = f"""
INSERT INTO sent (district_id, at, run_id, assessment_id, class_id, student_id, score,
    score_status, origin, outcome)
SELECT $1, $2::timestamptz, $10, r.assessment_id, r.class_id, r.student_id, r.score, r.status,
    r.origin, 'post'
{_UNNESTED}
ON CONFLICT DO NOTHING"""

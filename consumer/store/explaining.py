"""What explaining needs to read: items and grades as they stand, what was sent, a run's grades."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from consumer.gradebook import Assessment, GradeKey, ItemKey, Kind, RunReport, State
from consumer.store.connection import Pool
from consumer.store.undecided import (
    GRADE_COLUMNS,
    ITEM_COLUMNS,
    UndecidedGrade,
    UndecidedItem,
    read_grade,
    read_item,
)

_PAGE: Final = 2_000


@dataclass(frozen=True, slots=True)
class StandingGrade:
    """One grade as it stands; ``undecided`` holds what Otus said and what was decided."""

    undecided: UndecidedGrade
    state: State
    decided_at: datetime | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class SentLine:
    """One request about a grade or (``student_id`` '') its line item, and its outcome."""

    student_id: str
    at: datetime
    score: Decimal | None
    score_status: str | None
    origin: str | None
    outcome: Kind
    reason: str | None


@dataclass(frozen=True, slots=True)
class RunGrade:
    """What one run made of one grade; ``outcome`` is posted, rejected, skipped, held, deferred."""

    key: GradeKey
    title: str | None
    outcome: str
    reason: str | None
    detail: str | None
    score: Decimal | None
    origin: str | None
    at: datetime


async def items_of(
    pool: Pool, district_id: str, assessment_id: str, class_id: str | None
) -> list[UndecidedItem]:
    """The assessment in each class, or in one; also where only grades of it are known."""
    rows = await pool.fetch(_ITEMS, district_id, assessment_id, class_id)
    return [read_item(row) for row in rows]


_ITEMS: Final = f"""
WITH wanted AS (
    SELECT assessment_id, class_id, false AS whole FROM assessment
    WHERE district_id = $1 AND assessment_id = $2 AND ($3::text IS NULL OR class_id = $3)
    UNION
    SELECT assessment_id, class_id, false FROM grade
    WHERE district_id = $1 AND assessment_id = $2 AND ($3::text IS NULL OR class_id = $3)
)
{ITEM_COLUMNS}"""


async def grades_of(
    pool: Pool, district_id: str, item: ItemKey, student_id: str | None
) -> dict[str, StandingGrade]:
    """The grades of one item that have a row, by student."""
    rows = await pool.fetch(_GRADES, district_id, *item, student_id)
    return {
        row["student_id"]: StandingGrade(
            read_grade(list(row.values())[:-3]),
            State(row["state"]),
            row["decided_at"],
            row["sent_at"],
        )
        for row in rows
    }


_GRADES: Final = f"""
SELECT {GRADE_COLUMNS}, g.state, g.decided_at, g.sent_at FROM grade g
WHERE g.district_id = $1 AND g.assessment_id = $2 AND g.class_id = $3
    AND ($4::text IS NULL OR g.student_id = $4)
ORDER BY g.student_id"""


async def sent_of(
    pool: Pool, district_id: str, item: ItemKey, student_id: str | None
) -> dict[str, list[SentLine]]:
    """What was sent of an item's line item (under '') and of its grades, oldest first."""
    rows = await pool.fetch(_SENT, district_id, *item, student_id)
    found: dict[str, list[SentLine]] = {}
    for row in rows:
        line = SentLine(**{**dict(row), "outcome": Kind(row["outcome"])})
        found.setdefault(line.student_id, []).append(line)
    return found


_SENT: Final = """
SELECT student_id, at, score, score_status, origin, outcome, reason FROM sent
WHERE district_id = $1 AND assessment_id = $2 AND class_id = $3
    AND ($4::text IS NULL OR student_id IN ('', $4))
ORDER BY student_id, at"""


async def grades_of_run(pool: Pool, report: RunReport) -> AsyncIterator[list[RunGrade]]:
    """The grades that a run sent, or decided last, in key order, a page at a time.

    Of an older run, a grade that was not sent and was decided again since is no longer told.
    """
    after = GradeKey("", "", "")
    while True:
        rows = await pool.fetch(
            _RUN_GRADES,
            report.district_id,
            report.started_at,
            report.finished_at,
            report.service_date,
            report.kind,
            *after,
            _PAGE,
        )
        if rows:
            found = [_run_grade(row) for row in rows]
            after = found[-1].key
            yield found
        if len(rows) < _PAGE:
            return


# Its rows in ``sent`` name the run; a decision is the run's where it was made while it ran.
_RUN_GRADES: Final = """
WITH run AS (
    SELECT run_id FROM flush_run WHERE district_id = $1 AND started_at = $2
        AND service_date = $4 AND kind = $5
), told AS (
    SELECT DISTINCT ON (s.assessment_id, s.class_id, s.student_id)
        s.assessment_id, s.class_id, s.student_id, s.outcome AS kind, s.reason,
        NULL::text AS detail, s.score, s.origin, s.at
    FROM sent s JOIN run USING (run_id)
    WHERE s.district_id = $1 AND s.at >= $2 AND s.student_id <> ''
        AND (s.assessment_id, s.class_id, s.student_id) > ($6, $7, $8)
    ORDER BY s.assessment_id, s.class_id, s.student_id, s.at DESC LIMIT $9
), decided AS (
    SELECT g.assessment_id, g.class_id, g.student_id, g.kind, g.reason, g.detail,
        CASE WHEN g.kind = 'post' THEN g.sent_score ELSE g.score END AS score,
        CASE WHEN g.kind = 'post' THEN g.sent_origin END AS origin, g.decided_at AS at
    FROM grade g
    WHERE g.district_id = $1 AND g.decided_at >= $2 AND ($3::timestamptz IS NULL
            OR g.decided_at <= $3) AND g.kind IS NOT NULL
        AND (g.assessment_id, g.class_id, g.student_id) > ($6, $7, $8)
    ORDER BY g.assessment_id, g.class_id, g.student_id LIMIT $9
)
SELECT DISTINCT ON (f.assessment_id, f.class_id, f.student_id) f.*, a.title
FROM (SELECT *, 1 AS rank FROM decided UNION ALL SELECT *, 2 FROM told) f
LEFT JOIN assessment a ON a.district_id = $1 AND a.assessment_id = f.assessment_id
    AND a.class_id = f.class_id
ORDER BY f.assessment_id, f.class_id, f.student_id, f.rank LIMIT $9"""

OUTCOMES: Final = {
    Kind.POST: "posted",
    Kind.REJECT: "rejected",
    Kind.SKIP: "skipped",
    Kind.HOLD: "held",
    Kind.DEFER: "deferred",
}
"""What a decision or an outcome is called once it has come to pass."""


def _run_grade(row: Any) -> RunGrade:
    return RunGrade(
        key=GradeKey(row["assessment_id"], row["class_id"], row["student_id"]),
        title=row["title"],
        outcome=OUTCOMES[Kind(row["kind"])],
        reason=row["reason"],
        detail=row["detail"],
        score=row["score"],
        origin=row["origin"],
        at=row["at"],
    )


def students_of(assessment: Assessment | None, rows: Sequence[str]) -> list[str]:
    """Every student of an item: its assignees, and those who have a row."""
    assigned = set() if assessment is None else set(assessment.assignees)
    return sorted(assigned | set(rows))

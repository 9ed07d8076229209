"""What a run has to decide: line items in key order, each with the grades that wait.

Bounded pages, each a statement of its own: no cursor and no transaction stays open while
Skyward is asked.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from consumer.gradebook import (
    NO_EVENT,
    REASONS,
    Assessment,
    AssessmentStatus,
    Completion,
    Grade,
    GradeKey,
    ItemKey,
    Kind,
    Origin,
    Reason,
    ScoreStatus,
    Sent,
    Submission,
)
from consumer.store.connection import Pool

ITEMS: Final = 200
GRADES: Final = 2_000


@dataclass(frozen=True, slots=True)
class PostedLineItem:
    """What Skyward acknowledged of a line item: its body field by field, as text."""

    fields: Mapping[str, str]
    otus_type: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Skyward refused: the fingerprint of the body, and the reason."""

    fingerprint: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class UndecidedItem:
    """One assessment in one class that a run looks at; ``assessment`` is None where unknown.

    ``whole``: something of the item itself changed, so that all its grades are decided.
    ``purged``: retention deleted its grades, so that who had one is not known any more.
    """

    key: ItemKey
    whole: bool
    revision: int
    decide_from: datetime | None
    wake_at: datetime | None
    settled_version: int | None
    assessment: Assessment | None
    line_item_id: str | None
    posted: PostedLineItem | None
    refusal: Refusal | None
    purged: bool


class UndecidedGrade(Struct, frozen=True, gc=False):
    """One grade with what was decided and sent so far.

    ``revision`` is None where there is no row: an assignee of whom no event ever came.
    """

    key: GradeKey
    revision: int | None
    grade: Grade
    changed_at: datetime | None
    decide_from: datetime | None
    kind: Kind | None
    reason: Reason | None
    sent: Sent | None
    allocated_id: str | None
    refused: str | None
    detail: str | None
    zero_ruling: str | None


async def wake(pool: Pool, district_id: str, cutoff: datetime) -> int:
    """Marks the items whose due moment, or another instant the clock brings, has passed."""
    status = await pool.execute(
        "UPDATE assessment SET decide_from = least(decide_from, wake_at), wake_at = NULL"
        " WHERE district_id = $1 AND wake_at <= $2",
        district_id,
        cutoff,
    )
    return int(status.rsplit(" ", 1)[-1])


async def wake_held(pool: Pool, district_id: str, cutoff: datetime) -> int:
    """Marks the grades that were held for what may be over now.

    Intake was behind, an event unreadable, or a score changed in Skyward, where only asking tells.
    """
    status = await pool.execute(_WAKE_HELD, district_id, cutoff)
    return int(status.rsplit(" ", 1)[-1])


_WAKE_HELD: Final = """
UPDATE grade g SET decide_from = $2
WHERE g.district_id = $1 AND g.kind = 'hold' AND g.decide_from IS NULL
    AND (g.reason IN ('intake_behind', 'changed_in_skyward')
        OR (g.reason = 'event_quarantined' AND NOT EXISTS (
        SELECT FROM quarantine q WHERE q.district_id = $1 AND q.subject IN (
            concat_ws('/', g.district_id, g.assessment_id, g.class_id),
            concat_ws('/', g.district_id, g.assessment_id, g.class_id, g.student_id)))))"""


async def mark_items(
    pool: Pool,
    district_id: str,
    since: datetime,
    *,
    classes: Sequence[str] | None = None,
) -> int:
    """Marks items to be decided again because what their decisions used changed.

    ``classes`` (Skyward's sourcedIds) narrows it to the items of those classes.
    """
    status = await pool.execute(
        "UPDATE assessment SET decide_from = $2 WHERE district_id = $1 AND decide_from IS NULL"
        " AND ($3::text[] IS NULL OR class_sourced_id = ANY($3))",
        district_id,
        since,
        None if classes is None else list(classes),
    )
    return int(status.rsplit(" ", 1)[-1])


async def has_undecided(
    pool: Pool, district_id: str, cutoff: datetime, *, due_since: datetime
) -> bool:
    """Whether a run at ``cutoff`` would decide anything, or might if Skyward changed.

    That is so while it knows an assessment that was due since ``due_since``, or has no due date.
    """
    return bool(await pool.fetchval(_HAS_UNDECIDED, district_id, cutoff, due_since))


# Of each the first by its index: were it asked whether any EXISTS, a plan that is made without
# the moments may expect one soon, and read everything where there is none.
_HAS_UNDECIDED: Final = """
SELECT coalesce(
    (SELECT true FROM grade WHERE district_id = $1 AND decide_from <= $2
     ORDER BY assessment_id, class_id, student_id LIMIT 1),
    (SELECT true FROM assessment WHERE district_id = $1 AND decide_from <= $2
     ORDER BY assessment_id, class_id LIMIT 1),
    (SELECT true FROM assessment WHERE district_id = $1
         AND coalesce(due_at, assigned_at) >= $3
     ORDER BY coalesce(due_at, assigned_at) DESC LIMIT 1),
    false)"""


async def items(
    pool: Pool, district_id: str, cutoff: datetime, due_only: bool = False
) -> AsyncIterator[list[UndecidedItem]]:
    """The items to look at, in key order, a page at a time.

    ``due_only``: only those whose due moment has passed, where a zero could arise.
    """
    after = ItemKey("", "")
    while True:
        rows = await pool.fetch(_ITEMS, district_id, cutoff, *after, ITEMS)
        if not rows:
            return
        page = [read_item(row) for row in rows]
        after = page[-1].key
        yield [i for i in page if not due_only or _is_due(i, cutoff)]
        if len(rows) < ITEMS:
            return


def _is_due(item: UndecidedItem, cutoff: datetime) -> bool:
    due = item.assessment.due_at if item.assessment is not None else None
    return due is not None and due <= cutoff


ITEM_COLUMNS: Final = """
SELECT w.assessment_id, w.class_id, w.whole, a.version, a.revision, a.title, a.type, a.format,
    a.grading_scale, a.points_possible, a.include_in_final_grade, a.assigner_id,
    a.assigner_in_sis, a.assigned_at, a.due_at, a.status, a.class_sourced_id,
    a.school_sourced_id, a.assignees, a.changed_at, a.decide_from, a.wake_at, a.settled_version,
    a.purged_at IS NOT NULL AS purged, l.sourced_id, l.posted, l.otus_type, l.refused, l.reason,
    l.detail
FROM wanted w
LEFT JOIN assessment a ON a.district_id = $1 AND a.assessment_id = w.assessment_id
    AND a.class_id = w.class_id
LEFT JOIN line_item l ON l.district_id = $1 AND l.assessment_id = w.assessment_id
    AND l.class_id = w.class_id
ORDER BY w.assessment_id, w.class_id"""
"""Joined to ``wanted`` (assessment_id, class_id, whole), with the district as $1."""

_ITEMS: Final = f"""
WITH wanted AS (
    SELECT assessment_id, class_id, bool_or(whole) AS whole FROM (
        (SELECT DISTINCT assessment_id, class_id, false AS whole FROM grade
         WHERE district_id = $1 AND decide_from <= $2 AND (assessment_id, class_id) > ($3, $4)
         ORDER BY assessment_id, class_id LIMIT $5)
        UNION ALL
        (SELECT assessment_id, class_id, true FROM assessment
         WHERE district_id = $1 AND decide_from <= $2 AND (assessment_id, class_id) > ($3, $4)
         ORDER BY assessment_id, class_id LIMIT $5)
    ) found GROUP BY assessment_id, class_id ORDER BY assessment_id, class_id LIMIT $5
)
{ITEM_COLUMNS}"""


async def items_ahead(
    pool: Pool,
    district_id: str,
    cutoff: datetime,
    due_only: bool = False,
    *,
    classes: Sequence[str] | None,
) -> AsyncIterator[list[UndecidedItem]]:
    """The items that a run at a coming ``cutoff`` would look at, whole, with nothing marked yet.

    ``classes`` (Skyward's sourcedIds) are looked at whatever changed; None: every class is.
    """
    after = ItemKey("", "")
    while True:
        rows = await pool.fetch(
            _ITEMS_AHEAD,
            district_id,
            cutoff,
            *after,
            ITEMS,
            None if classes is None else list(classes),
        )
        if not rows:
            return
        page = [read_item(row) for row in rows]
        after = page[-1].key
        yield [i for i in page if not due_only or _is_due(i, cutoff)]
        if len(rows) < ITEMS:
            return


# What waking and marking would bring in as well as what is marked already.
_ITEMS_AHEAD: Final = f"""
WITH wanted AS (
    SELECT DISTINCT assessment_id, class_id, true AS whole FROM (
        (SELECT DISTINCT assessment_id, class_id FROM grade
         WHERE district_id = $1 AND (assessment_id, class_id) > ($3, $4)
             AND (decide_from <= $2 OR (kind = 'hold' AND decide_from IS NULL
                  AND reason IN ('intake_behind', 'event_quarantined', 'changed_in_skyward')))
         ORDER BY assessment_id, class_id LIMIT $5)
        UNION ALL
        (SELECT assessment_id, class_id FROM assessment
         WHERE district_id = $1 AND (assessment_id, class_id) > ($3, $4)
             AND (decide_from <= $2 OR wake_at <= $2
                  OR (decide_from IS NULL AND ($6::text[] IS NULL OR class_sourced_id = ANY($6))))
         ORDER BY assessment_id, class_id LIMIT $5)
    ) found ORDER BY assessment_id, class_id LIMIT $5
)
{ITEM_COLUMNS}"""


async def grades(
    pool: Pool,
    district_id: str,
    page: Sequence[UndecidedItem],
    cutoff: datetime,
    *,
    ungraded_only: bool = False,
) -> AsyncIterator[list[UndecidedGrade]]:
    """The grades to decide of a page of items, in key order, at most ``GRADES`` at a time.

    Of an item that is looked at whole: all but those that changed after the cutoff.
    ``ungraded_only``: only those of which a zero could be made.
    """
    graded = not ungraded_only
    for whole, statement in ((False, _WAITING), (True, _ALL)):
        keys = [i.key for i in page if i.whole is whole]
        if not keys:
            continue
        after = GradeKey("", "", "")
        while True:
            rows = await pool.fetch(
                statement,
                district_id,
                [k.assessment_id for k in keys],
                [k.class_id for k in keys],
                cutoff,
                *after,
                GRADES,
                graded,
            )
            if rows:
                found = [read_grade(row) for row in rows]
                after = found[-1].key
                yield found
            if len(rows) < GRADES:
                break


GRADE_COLUMNS: Final = """
    g.assessment_id, g.class_id, g.student_id, g.version, g.revision, g.score, g.completion,
    g.submission, g.changed_at, g.decide_from, g.kind, g.reason, g.sent_score, g.sent_status,
    g.sent_origin, g.allocated_id, g.refused, g.detail, g.zero_ruling"""
"""What ``read_grade`` reads of a grade ``g``."""

# Item by item, each from its own place in an index, whatever the planner expects: by statistics of
# an hour when little waited it would read all that waits in the district, again for each page.
_GRADES: Final = f"""
SELECT {GRADE_COLUMNS}
FROM (SELECT * FROM unnest($2::text[], $3::text[]) AS k (assessment_id, class_id)
    WHERE (assessment_id, class_id) >= ($5, $6) ORDER BY assessment_id, class_id) AS i
CROSS JOIN LATERAL (
    SELECT * FROM grade WHERE district_id = $1 AND assessment_id = i.assessment_id
        AND class_id = i.class_id AND (assessment_id, class_id, student_id) > ($5, $6, $7)
        AND ($9 OR completion <> 'graded') AND {{undecided}}
    ORDER BY student_id LIMIT $8
) AS g
ORDER BY i.assessment_id, i.class_id, g.student_id LIMIT $8"""
_WAITING: Final = _GRADES.format(undecided="decide_from <= $4")
_ALL: Final = _GRADES.format(undecided="(decide_from IS NULL OR decide_from <= $4)")


async def assignees_without_grade(
    pool: Pool, district_id: str, keys: Sequence[ItemKey]
) -> AsyncIterator[list[UndecidedGrade]]:
    """Assignees of whom no event ever came and the clock never asked, at most ``GRADES`` a time."""
    after = GradeKey("", "", "")
    while keys:
        rows = await pool.fetch(
            _WITHOUT_GRADE,
            district_id,
            [k.assessment_id for k in keys],
            [k.class_id for k in keys],
            *after,
            GRADES,
        )
        if rows:
            found = [_nobody(GradeKey(*row)) for row in rows]
            after = found[-1].key
            yield found
        if len(rows) < GRADES:
            return


# Item by item and student by student, whatever the planner expects: a join of either table might
# read all that a district has.
_WITHOUT_GRADE: Final = """
SELECT i.assessment_id, i.class_id, s.student_id
FROM unnest($2::text[], $3::text[]) AS i (assessment_id, class_id)
CROSS JOIN LATERAL jsonb_object_keys((SELECT a.assignees FROM assessment a
    WHERE a.district_id = $1 AND a.assessment_id = i.assessment_id
        AND a.class_id = i.class_id)) AS s (student_id)
WHERE (i.assessment_id, i.class_id) >= ($4, $5)
    AND (i.assessment_id, i.class_id, s.student_id) > ($4, $5, $6)
    AND NOT EXISTS (SELECT FROM grade g WHERE g.district_id = $1
        AND g.assessment_id = i.assessment_id AND g.class_id = i.class_id
        AND g.student_id = s.student_id OFFSET 0)
ORDER BY i.assessment_id, i.class_id, s.student_id LIMIT $7"""


async def quarantined_subjects(pool: Pool, district_id: str) -> frozenset[str]:
    """The keys of this district's events in quarantine."""
    rows = await pool.fetch(
        "SELECT DISTINCT subject FROM quarantine WHERE district_id = $1 AND subject IS NOT NULL",
        district_id,
    )
    return frozenset(r["subject"] for r in rows)


async def left_undecided(
    pool: Pool, district_id: str, cutoff: datetime
) -> Mapping[str | None, int]:
    """How many grades a run at ``cutoff`` left undecided, by the reason that deferred them."""
    rows = await pool.fetch(_LEFT, district_id, cutoff)
    return {r["reason"]: r["count"] for r in rows}


_LEFT: Final = """
SELECT CASE WHEN kind = 'defer' THEN reason END AS reason, count(*) AS count FROM grade
WHERE district_id = $1 AND decide_from <= $2 GROUP BY 1"""


def read_item(row: Any) -> UndecidedItem:
    """One row of ``ITEM_COLUMNS``."""
    key = ItemKey(row["assessment_id"], row["class_id"])
    return UndecidedItem(
        key=key,
        whole=row["whole"],
        revision=row["revision"] or 0,
        decide_from=row["decide_from"],
        wake_at=row["wake_at"],
        settled_version=row["settled_version"],
        assessment=_assessment(key, row) if row["version"] is not None else None,
        line_item_id=row["sourced_id"],
        posted=(
            PostedLineItem(row["posted"], row["otus_type"]) if row["posted"] is not None else None
        ),
        refusal=(
            Refusal(row["refused"], REASONS[row["reason"]], row["detail"] or "")
            if row["refused"] is not None
            else None
        ),
        purged=row["purged"],
    )


def _assessment(key: ItemKey, row: Any) -> Assessment:
    return Assessment(
        key=key,
        version=row["version"],
        title=row["title"],
        type=row["type"],
        format=row["format"],
        grading_scale=row["grading_scale"],
        points_possible=row["points_possible"],
        include_in_final_grade=row["include_in_final_grade"],
        assigner_id=row["assigner_id"],
        assigner_in_sis=row["assigner_in_sis"],
        assigned_at=row["assigned_at"],
        due_at=row["due_at"],
        status=AssessmentStatus(row["status"]),
        class_sourced_id=row["class_sourced_id"],
        school_sourced_id=row["school_sourced_id"],
        assignees=row["assignees"],
        changed_at=row["changed_at"],
    )


_COMPLETIONS: Final = {c.value: c for c in Completion}
_SUBMISSIONS: Final = {s.value: s for s in Submission}


def read_grade(row: Any) -> UndecidedGrade:
    """One row of ``GRADE_COLUMNS``, by position."""
    # By position: this runs once a grade.
    (assessment_id, class_id, student_id, version, revision, score, completion, submission,
     changed_at, decide_from, kind, reason, sent_score, sent_status, sent_origin, allocated_id,
     refused, detail, zero_ruling) = row  # fmt: skip
    return UndecidedGrade(
        GradeKey(assessment_id, class_id, student_id),
        revision,
        Grade(
            version,
            score,
            _COMPLETIONS[completion],
            _SUBMISSIONS[submission] if submission is not None else None,
        ),
        changed_at,
        decide_from,
        Kind(kind) if kind is not None else None,
        REASONS[reason] if reason is not None else None,
        _sent(sent_score, sent_status, sent_origin),
        allocated_id,
        refused,
        detail,
        zero_ruling,
    )


def _sent(score: Decimal | None, status: str | None, origin: str | None) -> Sent | None:
    if status is None or origin is None:
        return None
    return Sent(score, ScoreStatus(status), Origin(origin))


def _nobody(key: GradeKey) -> UndecidedGrade:
    return UndecidedGrade(key, None, NO_EVENT, None, None, None, None, None, None, None, None, None)

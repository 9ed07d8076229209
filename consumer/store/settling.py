"""Settling: what became of decisions and outcomes, written in batches.

A grade's state changes only where its revision is still the one that was read; what Skyward
acknowledged is kept in any case. All of it under the lease's epoch, with the run's counts in
the same transaction, so that a report is right however often a run was cut off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from consumer.gradebook import STATE_OF, GradeKey, ItemKey, Kind, Origin, Reason, Sent
from consumer.store.connection import Connection, Pool
from consumer.store.runs import Lease, expect_lease


@dataclass(frozen=True, slots=True)
class SettledGrade:
    """One grade's decision, or the outcome of sending it.

    ``sent``: what Skyward acknowledged now; ``deleted``: it holds nothing of it any more.
    ``attempted``: it was sent, whatever came of it. ``counts``: the decision is not the one
    that stood before. ``pending_since`` is for a grade of which no event came.
    """

    key: GradeKey
    revision: int | None
    version: int | None
    kind: Kind
    reason: Reason | None
    detail: str
    counts: bool
    pending_since: datetime
    sent: Sent | None = None
    deleted: bool = False
    attempted: bool = False
    score: Decimal | None = None
    score_status: str | None = None
    origin: Origin | None = None
    allocated_id: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class SettledLineItem:
    """The outcome of sending one line item; ``posted`` is the body field by field, as text."""

    key: ItemKey
    sourced_id: str
    kind: Kind
    reason: Reason | None
    detail: str
    posted: Mapping[str, str] | None
    otus_type: str
    refused: str | None


@dataclass(frozen=True, slots=True)
class SettledItem:
    """An item all of whose grades were decided: when the clock makes it worth another look.

    ``title_kept``: it was renamed to a title too long, so that Skyward keeps the one it has.
    """

    key: ItemKey
    revision: int
    version: int
    decide_from: datetime | None
    wake_at: datetime | None
    title_kept: bool = False


@dataclass(slots=True)
class Tally:
    """How many grades came to what: one batch's, or a forecast's whole night."""

    posted: dict[Origin, int] = field(default_factory=dict)
    by_reason: dict[Reason, int] = field(default_factory=dict)
    line_items_posted: int = 0
    line_items_rejected: int = 0
    titles_kept: int = 0

    def count(self, one: SettledGrade) -> None:
        """Counts a grade that was acknowledged, or whose decision changed."""
        if one.kind is Kind.POST:
            if one.attempted and one.origin is not None:
                self.posted[one.origin] = self.posted.get(one.origin, 0) + 1
        elif one.reason is not None and one.counts and one.kind is not Kind.DEFER:
            self.by_reason[one.reason] = self.by_reason.get(one.reason, 0) + 1

    def of_kind(self, kind: Kind) -> int:
        """How many came to a reason of ``kind``."""
        return sum(n for reason, n in self.by_reason.items() if reason.kind is kind)


async def settle(
    pool: Pool,
    lease: Lease,
    run_id: int,
    grades: Sequence[SettledGrade],
    line_items: Sequence[SettledLineItem],
    items: Sequence[SettledItem],
    now: datetime,
) -> Tally:
    """Writes a batch in one transaction; returns what it adds to the run's counts.

    Raises ``LeaseLost``, having written nothing, where the lease went.
    """
    tally = Tally()
    async with pool.acquire() as connection, connection.transaction():
        await expect_lease(connection, lease)
        if line_items:
            await _settle_line_items(connection, lease, run_id, line_items, now)
        if grades:
            await _settle_grades(connection, lease, run_id, grades, now)
        if items:
            await connection.execute(
                _ITEMS,
                lease.district_id,
                [i.key.assessment_id for i in items],
                [i.key.class_id for i in items],
                [i.revision for i in items],
                [i.version for i in items],
                [i.decide_from for i in items],
                [i.wake_at for i in items],
            )
        for grade in grades:
            tally.count(grade)
        tally.line_items_posted = sum(1 for i in line_items if i.kind is Kind.POST)
        tally.line_items_rejected = sum(1 for i in line_items if i.kind is Kind.REJECT)
        tally.titles_kept = sum(1 for i in items if i.title_kept)
        await _count(connection, lease, run_id, tally)
    return tally


async def _count(connection: Connection, lease: Lease, run_id: int, tally: Tally) -> None:
    posted = sum(tally.posted.values())
    line_items = tally.line_items_posted or tally.line_items_rejected or tally.titles_kept
    if not (posted or tally.by_reason or line_items):
        return
    await connection.execute(
        _COUNTS,
        lease.district_id,
        run_id,
        tally.line_items_posted,
        tally.line_items_rejected,
        posted,
        tally.of_kind(Kind.REJECT),
        tally.of_kind(Kind.SKIP),
        tally.of_kind(Kind.HOLD),
        tally.posted.get(Origin.CLOCK, 0),
        list(tally.by_reason),
        list(tally.by_reason.values()),
        tally.titles_kept,
    )


_COUNTS: Final = """
UPDATE flush_run SET line_items_posted = line_items_posted + $3,
    line_items_rejected = line_items_rejected + $4, posted = posted + $5,
    rejected = rejected + $6, skipped = skipped + $7, held = held + $8,
    zeros_posted = zeros_posted + $9, titles_kept = titles_kept + $12,
    reasons = reasons || (
        SELECT coalesce(
            jsonb_object_agg(n.reason, n.count + coalesce((reasons ->> n.reason)::int, 0)), '{}')
        FROM unnest($10::text[], $11::int[]) AS n (reason, count))
WHERE district_id = $1 AND run_id = $2"""


async def _settle_grades(
    connection: Connection, lease: Lease, run_id: int, grades: Sequence[SettledGrade], now: datetime
) -> None:
    known = [g for g in grades if g.revision is not None]
    unknown = [g for g in grades if g.revision is None]
    if known:
        await connection.execute(_GRADES, *_grade_columns(lease, known, now))
    if unknown:
        await connection.execute(_NEW_GRADES, *_grade_columns(lease, unknown, now))
    attempted = [g for g in grades if g.attempted]
    if attempted:
        await connection.execute(
            _SENT,
            lease.district_id,
            now,
            run_id,
            [g.key.assessment_id for g in attempted],
            [g.key.class_id for g in attempted],
            [g.key.student_id for g in attempted],
            [g.score for g in attempted],
            [g.score_status for g in attempted],
            [g.origin for g in attempted],
            [_outcome(g) for g in attempted],
            [g.reason for g in attempted],
        )


def _outcome(one: SettledGrade) -> Kind:
    # A withdrawal that Skyward acknowledged is settled as a skip.
    return Kind.POST if one.sent is not None or one.deleted else one.kind


def _grade_columns(lease: Lease, grades: Sequence[SettledGrade], now: datetime) -> list[Any]:
    return [
        lease.district_id,
        now,
        [g.key.assessment_id for g in grades],
        [g.key.class_id for g in grades],
        [g.key.student_id for g in grades],
        [g.revision for g in grades],
        [g.version for g in grades],
        [STATE_OF[g.kind] for g in grades],
        [g.kind for g in grades],
        [g.reason for g in grades],
        [g.detail or None for g in grades],
        [g.sent is not None or g.deleted for g in grades],
        [None if g.sent is None else g.sent.score for g in grades],
        [None if g.sent is None else g.sent.score_status for g in grades],
        [None if g.sent is None else g.sent.origin for g in grades],
        [g.allocated_id for g in grades],
        [g.refused for g in grades],
        [g.pending_since for g in grades],
    ]


_UNNESTED: Final = """
FROM unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::bool[], $13::numeric[], $14::text[], $15::text[],
    $16::text[], $17::text[], $18::timestamptz[])
    AS s (assessment_id, class_id, student_id, revision, version, state, kind, reason, detail,
        told, sent_score, sent_status, sent_origin, allocated_id, refused, pending_since)"""

# What Skyward was told is true whatever came meanwhile; the rest only while the revision is ours.
_GRADES: Final = f"""
UPDATE grade g SET
    sent_score = CASE WHEN s.told THEN s.sent_score ELSE g.sent_score END,
    sent_status = CASE WHEN s.told THEN s.sent_status ELSE g.sent_status END,
    sent_origin = CASE WHEN s.told THEN s.sent_origin ELSE g.sent_origin END,
    sent_at = CASE WHEN NOT s.told THEN g.sent_at WHEN s.sent_status IS NULL THEN NULL
                   ELSE $2::timestamptz END,
    allocated_id = coalesce(s.allocated_id, g.allocated_id),
    state = CASE WHEN g.revision = s.revision THEN s.state ELSE g.state END,
    kind = CASE WHEN g.revision = s.revision THEN s.kind ELSE g.kind END,
    reason = CASE WHEN g.revision = s.revision THEN s.reason ELSE g.reason END,
    detail = CASE WHEN g.revision = s.revision THEN s.detail ELSE g.detail END,
    decided_at = CASE WHEN g.revision = s.revision THEN $2::timestamptz ELSE g.decided_at END,
    refused = CASE WHEN g.revision = s.revision THEN s.refused ELSE g.refused END,
    zero_ruling = CASE WHEN g.revision = s.revision AND s.kind = 'post' THEN NULL
                       ELSE g.zero_ruling END,
    settled_version = CASE WHEN g.revision = s.revision AND s.kind NOT IN ('hold', 'defer')
                           THEN s.version ELSE g.settled_version END,
    pending_since = CASE WHEN g.revision <> s.revision THEN g.pending_since
                         WHEN s.state = 'pending' THEN coalesce(g.pending_since, s.pending_since)
                         END,
    decide_from = CASE WHEN g.revision <> s.revision THEN g.decide_from
                       WHEN s.kind = 'defer' THEN coalesce(g.decide_from, s.pending_since) END
{_UNNESTED}
WHERE g.district_id = $1 AND g.assessment_id = s.assessment_id AND g.class_id = s.class_id
    AND g.student_id = s.student_id"""

_NEW_GRADES: Final = f"""
INSERT INTO grade AS g (district_id, assessment_id, class_id, student_id, state, kind, reason,
    detail, decided_at, sent_score, sent_status, sent_origin, sent_at, allocated_id, refused,
    pending_since, decide_from)
SELECT $1, s.assessment_id, s.class_id, s.student_id, s.state, s.kind, s.reason, s.detail,
    $2::timestamptz, s.sent_score, s.sent_status, s.sent_origin,
    CASE WHEN s.told THEN $2::timestamptz END, s.allocated_id, s.refused,
    CASE WHEN s.state = 'pending' THEN s.pending_since END,
    CASE WHEN s.kind = 'defer' THEN s.pending_since END
{_UNNESTED}
WHERE s.revision IS NULL AND s.version IS NULL
ON CONFLICT (district_id, assessment_id, class_id, student_id) DO UPDATE SET
    sent_score = excluded.sent_score, sent_status = excluded.sent_status,
    sent_origin = excluded.sent_origin, sent_at = excluded.sent_at,
    allocated_id = excluded.allocated_id
WHERE excluded.sent_at IS NOT NULL"""

_SENT: Final = """
INSERT INTO sent (district_id, at, run_id, assessment_id, class_id, student_id, score,
    score_status, origin, outcome, reason)
SELECT $1, $2::timestamptz, $3, s.* FROM unnest($4::text[], $5::text[], $6::text[], $7::numeric[],
    $8::text[], $9::text[], $10::text[], $11::text[]) AS s
ON CONFLICT DO NOTHING"""


async def _settle_line_items(
    connection: Connection,
    lease: Lease,
    run_id: int,
    line_items: Sequence[SettledLineItem],
    now: datetime,
) -> None:
    told = [i for i in line_items if i.kind is not Kind.DEFER]
    if told:
        await connection.execute(
            _LINE_ITEMS,
            lease.district_id,
            now,
            [i.key.assessment_id for i in told],
            [i.key.class_id for i in told],
            [i.sourced_id for i in told],
            [None if i.posted is None else dict(i.posted) for i in told],
            [i.otus_type for i in told],
            [i.refused for i in told],
            [i.reason for i in told],
            [i.detail or None for i in told],
        )
    await connection.execute(
        _SENT,
        lease.district_id,
        now,
        run_id,
        [i.key.assessment_id for i in line_items],
        [i.key.class_id for i in line_items],
        ["" for _ in line_items],
        [None for _ in line_items],
        [None for _ in line_items],
        [None for _ in line_items],
        [i.kind for i in line_items],
        [i.reason for i in line_items],
    )


# A refusal never forgets what was acknowledged before it.
_LINE_ITEMS: Final = """
INSERT INTO line_item AS l (district_id, assessment_id, class_id, sourced_id, posted, otus_type,
    posted_at, refused, reason, detail)
SELECT $1, s.assessment_id, s.class_id, s.sourced_id, s.posted, s.otus_type,
    CASE WHEN s.posted IS NOT NULL THEN $2::timestamptz END, s.refused, s.reason, s.detail
FROM unnest($3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[], $8::text[], $9::text[],
    $10::text[]) AS s (assessment_id, class_id, sourced_id, posted, otus_type, refused, reason,
    detail)
ON CONFLICT (district_id, assessment_id, class_id) DO UPDATE SET
    sourced_id = CASE WHEN excluded.posted IS NULL THEN l.sourced_id ELSE excluded.sourced_id END,
    posted = coalesce(excluded.posted, l.posted),
    otus_type = CASE WHEN excluded.posted IS NULL THEN l.otus_type ELSE excluded.otus_type END,
    posted_at = coalesce(excluded.posted_at, l.posted_at), refused = excluded.refused,
    reason = excluded.reason, detail = excluded.detail"""

_ITEMS: Final = """
UPDATE assessment a SET
    settled_version = s.version, wake_at = s.wake_at,
    decide_from = CASE WHEN a.decide_from IS DISTINCT FROM s.decide_from THEN a.decide_from END
FROM unnest($2::text[], $3::text[], $4::int[], $5::bigint[], $6::timestamptz[],
    $7::timestamptz[]) AS s (assessment_id, class_id, revision, version, decide_from, wake_at)
WHERE a.district_id = $1 AND a.assessment_id = s.assessment_id AND a.class_id = s.class_id
    AND a.revision = s.revision"""

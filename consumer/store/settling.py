"""Settling: what became of decisions and outcomes, written in batches.

A grade's state changes only where its revision is still the one that was read; what Skyward
acknowledged is kept in any case. All of it under the lease's epoch, with the run's counts in
the same transaction, so that a report is right however often a run was cut off.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from consumer.gradebook import STATE_OF, Decision, GradeKey, ItemKey, Kind, Origin, Reason, Sent
from consumer.store.connection import Pool
from consumer.store.runs import Lease, lease_lost


class SettledGrade(Struct, frozen=True, gc=False):
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

    posted: Counter[Origin] = field(default_factory=Counter)
    by_reason: Counter[Reason] = field(default_factory=Counter)
    line_items_posted: int = 0
    line_items_rejected: int = 0
    titles_kept: int = 0

    def count(self, one: Decision | SettledGrade, *, sent: bool, is_new: bool) -> None:
        """Counts a grade that Skyward was told of, or whose decision is not the one before.

        Of a forecast ``sent`` says that it would be.
        """
        if one.kind is Kind.POST:
            if sent and one.origin is not None:
                self.posted[one.origin] += 1
        elif one.reason is not None and is_new and one.kind is not Kind.DEFER:
            self.by_reason[one.reason] += 1

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
    """Writes a batch, all of it or nothing; returns what it adds to the run's counts.

    Raises ``LeaseLost``, having written nothing, where the lease went.
    """
    tally = Tally()
    for grade in grades:
        tally.count(grade, sent=grade.attempted, is_new=grade.counts)
    tally.line_items_posted = sum(1 for i in line_items if i.kind is Kind.POST)
    tally.line_items_rejected = sum(1 for i in line_items if i.kind is Kind.REJECT)
    tally.titles_kept = sum(1 for i in items if i.title_kept)
    held = await pool.fetchval(
        _SETTLE,
        lease.district_id,
        now,
        run_id,
        lease.holder,
        lease.epoch,
        # In the order of their keys, as intake writes them: two that want the same rows never
        # wait for each other.
        *_grade_columns(sorted(grades, key=_key)),
        *_line_item_columns(sorted(line_items, key=_key)),
        *_item_columns(sorted(items, key=_key)),
        *_counts(tally),
    )
    if not held:
        raise lease_lost(lease)
    return tally


_key: Final = attrgetter("key")


def _grade_columns(grades: Sequence[SettledGrade]) -> list[list[Any]]:
    values = [g.sent or g for g in grades]
    columns: list[list[Any]] = [
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
        [g.deleted for g in grades],
        [g.attempted for g in grades],
        # As text: asyncpg takes five times as long to write a number.
        [None if v.score is None else str(v.score) for v in values],
        [v.score_status for v in values],
        [v.origin for v in values],
        [g.allocated_id for g in grades],
        [g.refused for g in grades],
        [g.pending_since if g.kind in _UNSETTLED else None for g in grades],
    ]
    # What is NULL in all rows is left out: unnest fills shorter arrays up, and asyncpg takes half
    # a microsecond for each element.
    return [c if any(value is not None for value in c) else [] for c in columns]


_UNSETTLED: Final = (Kind.HOLD, Kind.DEFER)


def _line_item_columns(line_items: Sequence[SettledLineItem]) -> list[list[Any]]:
    return [
        [i.key.assessment_id for i in line_items],
        [i.key.class_id for i in line_items],
        [i.sourced_id for i in line_items],
        [i.kind for i in line_items],
        [i.reason for i in line_items],
        [i.detail or None for i in line_items],
        [None if i.posted is None else dict(i.posted) for i in line_items],
        [i.otus_type for i in line_items],
        [i.refused for i in line_items],
    ]


def _item_columns(items: Sequence[SettledItem]) -> list[list[Any]]:
    return [
        [i.key.assessment_id for i in items],
        [i.key.class_id for i in items],
        [i.revision for i in items],
        [i.version for i in items],
        [i.decide_from for i in items],
        [i.wake_at for i in items],
    ]


def _counts(tally: Tally) -> list[Any]:
    return [
        tally.line_items_posted,
        tally.line_items_rejected,
        tally.posted.total(),
        tally.of_kind(Kind.REJECT),
        tally.of_kind(Kind.SKIP),
        tally.of_kind(Kind.HOLD),
        tally.posted[Origin.CLOCK],
        tally.titles_kept,
        list(tally.by_reason),
        list(tally.by_reason.values()),
    ]


# One statement: one round trip, one commit, and nobody can die between its parts. Nothing of it
# is written without the lease's row, whose lock is waited for and held to the end: whoever would
# take the lease meanwhile waits, and where somebody took it first no row is found.
# Parts run in no order but the one in which they read each other: assessments before grades, as
# intake writes them, so that the two never wait for each other.
# What Skyward was told is true whatever came meanwhile; the rest only while the revision is ours.
# A refusal never forgets what was acknowledged before it.
_SETTLE: Final = """
WITH lease_held AS MATERIALIZED (
    SELECT true FROM lease WHERE district_id = $1 AND holder = $4 AND epoch = $5 FOR SHARE
), items AS (
    UPDATE assessment a SET
        settled_version = s.version, wake_at = s.wake_at,
        decide_from = CASE WHEN a.decide_from IS DISTINCT FROM s.decide_from THEN a.decide_from END
    FROM lease_held, unnest($33::text[], $34::text[], $35::int[], $36::bigint[],
        $37::timestamptz[], $38::timestamptz[]) AS s (assessment_id, class_id, revision, version,
        decide_from, wake_at)
    WHERE a.district_id = $1 AND a.assessment_id = s.assessment_id AND a.class_id = s.class_id
        AND a.revision = s.revision
    RETURNING true
), settled AS MATERIALIZED (
    SELECT s.*, score_text::numeric AS score
    FROM lease_held, (SELECT count(*) FROM items) AS written_before, unnest($6::text[], $7::text[],
        $8::text[], $9::int[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::bool[], $16::bool[], $17::bool[], $18::text[], $19::text[], $20::text[], $21::text[],
        $22::text[], $23::timestamptz[]) AS s (assessment_id, class_id, student_id, revision,
        version, state, kind, reason, detail, told, deleted, attempted, score_text, score_status,
        origin, allocated_id, refused, pending_since)
), settled_line_items AS MATERIALIZED (
    SELECT s.* FROM lease_held, unnest($24::text[], $25::text[], $26::text[], $27::text[],
        $28::text[], $29::text[], $30::jsonb[], $31::text[], $32::text[]) AS s (assessment_id,
        class_id, sourced_id, kind, reason, detail, posted, otus_type, refused)
), line_items AS (
    INSERT INTO line_item AS l (district_id, assessment_id, class_id, sourced_id, posted,
        otus_type, posted_at, refused, reason, detail)
    SELECT $1, assessment_id, class_id, sourced_id, posted, otus_type,
        CASE WHEN posted IS NOT NULL THEN $2::timestamptz END, refused, reason, detail
    FROM settled_line_items WHERE kind <> 'defer'
    ON CONFLICT (district_id, assessment_id, class_id) DO UPDATE SET
        sourced_id = CASE WHEN excluded.posted IS NULL THEN l.sourced_id
                          ELSE excluded.sourced_id END,
        posted = coalesce(excluded.posted, l.posted),
        otus_type = CASE WHEN excluded.posted IS NULL THEN l.otus_type ELSE excluded.otus_type END,
        posted_at = coalesce(excluded.posted_at, l.posted_at), refused = excluded.refused,
        reason = excluded.reason, detail = excluded.detail
), grades AS (
    UPDATE grade g SET
        sent_score = CASE WHEN NOT s.told THEN g.sent_score WHEN NOT s.deleted THEN s.score END,
        sent_status = CASE WHEN NOT s.told THEN g.sent_status
                           WHEN NOT s.deleted THEN s.score_status END,
        sent_origin = CASE WHEN NOT s.told THEN g.sent_origin WHEN NOT s.deleted THEN s.origin END,
        sent_at = CASE WHEN NOT s.told THEN g.sent_at WHEN NOT s.deleted THEN $2::timestamptz END,
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
                             WHEN s.state = 'pending'
                             THEN coalesce(g.pending_since, s.pending_since) END,
        decide_from = CASE WHEN g.revision <> s.revision THEN g.decide_from
                           WHEN s.kind = 'defer' THEN coalesce(g.decide_from, s.pending_since) END
    FROM settled s
    WHERE s.revision IS NOT NULL AND g.district_id = $1 AND g.assessment_id = s.assessment_id
        AND g.class_id = s.class_id AND g.student_id = s.student_id
), new_grades AS (
    INSERT INTO grade AS g (district_id, assessment_id, class_id, student_id, state, kind, reason,
        detail, decided_at, sent_score, sent_status, sent_origin, sent_at, allocated_id, refused,
        pending_since, decide_from)
    SELECT $1, assessment_id, class_id, student_id, state, kind, reason, detail, $2::timestamptz,
        CASE WHEN told THEN score END, CASE WHEN told THEN score_status END,
        CASE WHEN told THEN origin END, CASE WHEN told THEN $2::timestamptz END, allocated_id,
        refused, CASE WHEN state = 'pending' THEN pending_since END,
        CASE WHEN kind = 'defer' THEN pending_since END
    FROM settled WHERE revision IS NULL
    ON CONFLICT (district_id, assessment_id, class_id, student_id) DO UPDATE SET
        sent_score = excluded.sent_score, sent_status = excluded.sent_status,
        sent_origin = excluded.sent_origin, sent_at = excluded.sent_at,
        allocated_id = excluded.allocated_id
    WHERE excluded.sent_at IS NOT NULL
), history AS (
    INSERT INTO sent (district_id, at, run_id, assessment_id, class_id, student_id, score,
        score_status, origin, outcome, reason)
    SELECT $1, $2::timestamptz, $3, h.* FROM (
        -- A withdrawal that Skyward acknowledged is settled as a skip.
        SELECT assessment_id, class_id, student_id, score, score_status, origin,
            CASE WHEN told THEN 'post' ELSE kind END, reason
        FROM settled WHERE attempted
        UNION ALL
        SELECT assessment_id, class_id, '', NULL, NULL, NULL, kind, reason FROM settled_line_items
    ) h
    ON CONFLICT DO NOTHING
), counts AS (
    UPDATE flush_run SET line_items_posted = line_items_posted + $39::int,
        line_items_rejected = line_items_rejected + $40::int, posted = posted + $41::int,
        rejected = rejected + $42::int, skipped = skipped + $43::int, held = held + $44::int,
        zeros_posted = zeros_posted + $45::int, titles_kept = titles_kept + $46::int,
        reasons = reasons || (
            SELECT coalesce(jsonb_object_agg(
                n.reason, n.count + coalesce((reasons ->> n.reason)::int, 0)), '{}')
            FROM unnest($47::text[], $48::int[]) AS n (reason, count))
    FROM lease_held
    WHERE district_id = $1 AND run_id = $3
        AND ($39::int + $40::int + $41::int + $46::int > 0 OR cardinality($47::text[]) > 0)
)
SELECT true FROM lease_held"""

"""Recording: a batch of changes and the offsets behind it, in one transaction.

Version-guarded: an older or equal version changes nothing but since when its subject waits: the
earliest time of all that was not settled, so a replay changes nothing. A tombstone carries no
version; it counts where it stands later in the log than what is stored. Rows go in key order, so
that two replicas never wait for each other in a circle.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from consumer.events import (
    ASSESSMENT_CHANGED,
    GRADE_CHANGED,
    GROUP_CHANGED,
    ID_CHARACTERS,
    KEY_BYTES,
    AssessmentChanged,
    Change,
    GradeChanged,
    GroupChanged,
    QuarantineReason,
    moment,
)
from consumer.store.connection import Connection, Pool


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record of Kafka's log as it came; its client's own records have the same fields and go for
    one.

    ``timestamp`` is in milliseconds since 1970, any number; a header's value may be null.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Recordable(msgspec.Struct, frozen=True, gc=False):
    """A change that was read, and its record: where it stood, and what waits should it have to."""

    change: Change
    record: Record


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A record for quarantine."""

    record: Record
    reason: str
    detail: str


@dataclass(slots=True)
class Batch:
    """What one poll brought: readable changes, unreadable records, the offsets to store.

    ``next_offsets`` maps (topic, partition) to the offset after the last record.
    """

    changes: list[Recordable] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: by topic how many changed a row and how many were stale."""

    recorded: Mapping[str, int]
    stale: Mapping[str, int]
    quarantined: Mapping[str, int]


async def record(
    pool: Pool,
    batch: Batch,
    now: datetime,
    *,
    folded: "Folded | None" = None,
    ask_first: bool = False,
) -> Recorded:
    """Records ``batch`` in one transaction; ``now`` stamps what goes to quarantine.

    ``folded`` is what ``fold`` made of its changes, where there was time to do so before.
    ``ask_first`` changes no outcome: it is faster where most of the grades are stored already,
    and slower where they are not.
    """
    async with pool.acquire() as connection, connection.transaction():
        return await record_within(connection, batch, now, folded=folded, ask_first=ask_first)


async def record_within(
    connection: Connection,
    batch: Batch,
    now: datetime,
    *,
    folded: "Folded | None" = None,
    ask_first: bool = False,
) -> Recorded:
    """The same within the caller's transaction."""
    changes, unreadable = batch.changes, batch.unreadable
    districts, stale = _counted(changes)
    known = await known_districts(connection, districts)
    if districts != known:
        changes, unreadable = _of_known(batch, known)
        _, stale = _counted(changes)
        folded = None
    if ask_first:
        changes = await _not_stored(connection, changes)
        folded = None
    recorded = dict.fromkeys(stale, 0)
    for topic, rounds in (fold(changes) if folded is None else folded).items():
        write = _WRITERS[topic]
        recorded[topic] = sum([await write(connection, one) for one in rounds])
        stale[topic] -= recorded[topic]
    if unreadable:
        await _quarantine(connection, unreadable, now)
    await store_offsets(connection, batch.next_offsets)
    reasons: dict[str, int] = {}
    for waits in unreadable:
        reasons[waits.reason] = reasons.get(waits.reason, 0) + 1
    return Recorded(recorded, stale, reasons)


def _counted(changes: Sequence[Recordable]) -> tuple[set[str], dict[str, int]]:
    """The districts, and how many changes each topic has."""
    topics = Counter([one.change.topic for one in changes])
    return {one.change.key[0] for one in changes}, dict(topics)


async def stored_offsets(pool: Pool, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The next offset to read of each partition of ``topics`` that was ever read."""
    rows = await pool.fetch(
        "SELECT topic, partition, next_offset FROM intake_offset WHERE topic = ANY($1)",
        list(topics),
    )
    return {(r["topic"], r["partition"]): r["next_offset"] for r in rows}


async def store_offsets(connection: Any, offsets: Mapping[tuple[str, int], int]) -> None:
    """Stores next offsets; one never goes back, whoever writes it."""
    if offsets:
        ordered = sorted(offsets)
        await connection.execute(
            _OFFSETS,
            [t for t, _ in ordered],
            [p for _, p in ordered],
            [offsets[key] for key in ordered],
        )


_OFFSETS: Final = """
INSERT INTO intake_offset AS o (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE excluded.next_offset > o.next_offset"""


async def move_offsets(
    pool: Pool, moves: Mapping[tuple[str, int], tuple[int, int]]
) -> set[tuple[str, int]]:
    """Moves next offsets, also back, each from one to another; returns which still stood there."""
    rows = await pool.fetch(
        _MOVED,
        [topic for topic, _ in moves],
        [partition for _, partition in moves],
        [stood_at for stood_at, _ in moves.values()],
        [reads_from for _, reads_from in moves.values()],
    )
    return {(r["topic"], r["partition"]) for r in rows}


_MOVED: Final = """
UPDATE intake_offset AS o SET next_offset = m.reads_from
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[])
    AS m (topic, partition, stood_at, reads_from)
WHERE o.topic = m.topic AND o.partition = m.partition AND o.next_offset = m.stood_at
RETURNING o.topic, o.partition"""


async def known_districts(connection: Connection, wanted: Iterable[str]) -> frozenset[str]:
    """Those that were applied; none of them is removed before this transaction ends.

    The table is locked and not their rows: of several districts Citus locks no rows at once.
    """
    await connection.execute("LOCK TABLE district IN ROW SHARE MODE")
    rows = await connection.fetch(
        "SELECT district_id FROM district WHERE district_id = ANY($1)", sorted(wanted)
    )
    return frozenset(r["district_id"] for r in rows)


def _of_known(batch: Batch, known: Container[str]) -> tuple[list[Recordable], list[Unreadable]]:
    """The changes of known districts; what goes to quarantine, those of unknown ones among it."""
    changes: list[Recordable] = []
    unreadable = list(batch.unreadable)
    for one in batch.changes:
        if one.change.key[0] in known:
            changes.append(one)
            continue
        detail = "no district of this id was applied; apply it, then replay this event"
        unreadable.append(Unreadable(one.record, QuarantineReason.UNKNOWN_DISTRICT, detail))
    return changes, unreadable


# -- folding --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Round:
    """Changes of one topic, of which none follows a tombstone of its own key.

    ``newest`` has the newest event of each key, in key order, and ``older`` what these supersede;
    ``tombstones`` the last one of each key, in key order. ``columns`` is what is written at any
    rate, as its statement takes it.
    """

    newest: Sequence[Recordable]
    older: Sequence[Recordable]
    tombstones: Sequence[Recordable]
    columns: Sequence[Any]


Folded = Mapping[str, Sequence[Round]]
"""A batch's changes by topic, in the order in which topics and rounds are written."""


def fold(changes: Sequence[Recordable]) -> Folded:
    """``changes``, in log order, as ``record`` writes them: pure, and half of its own work."""
    by_topic: dict[str, list[Recordable]] = {}
    for one in changes:
        by_topic.setdefault(one.change.topic, []).append(one)
    return {
        topic: [_folded(topic, some) for some in _rounds(by_topic[topic])]
        for topic in _WRITERS
        if topic in by_topic
    }


def _rounds(changes: Sequence[Recordable]) -> list[list[Recordable]]:
    """The changes in log order, cut so that a tombstone is the last of its key in its round.

    What follows a tombstone is written after it, as if it had come with the next batch.
    """
    rounds: list[list[Recordable]] = [[]]
    tombstones: dict[tuple[str, ...], int] = {}
    for one in changes:
        key = one.change.key
        number = tombstones.get(key, 0)
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(one)
        if one.change.data is None:
            tombstones[key] = number + 1
    return rounds


def _folded(topic: str, changes: Sequence[Recordable]) -> Round:
    newest: dict[tuple[str, ...], Recordable] = {}
    older: list[Recordable] = []
    tombstones: dict[tuple[str, ...], Recordable] = {}
    for one in changes:
        key, data = one.change.key, one.change.data
        if data is None:
            tombstones[key] = one
            continue
        best = newest.get(key)
        if best is None:
            newest[key] = one
            continue
        assert best.change.data is not None
        if data.version > best.change.data.version:
            newest[key] = one
            older.append(best)
        else:
            older.append(one)
    in_order = [newest[key] for key in sorted(newest)]
    return Round(
        in_order,
        older,
        [tombstones[key] for key in sorted(tombstones)],
        _COLUMNS[topic](in_order if topic != GROUP_CHANGED else changes),
    )


def _changed_rows(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])


# -- grades ---------------------------------------------------------------------------------


async def _record_grades(connection: Connection, one: Round) -> int:
    written = 0
    if one.newest:
        written = _changed_rows(await connection.execute(_GRADES, *one.columns))
    if one.older:
        await connection.execute(
            _GRADES_SINCE,
            *_versions([late.change for late in one.older]),
        )
    if one.tombstones:
        written += _changed_rows(
            await connection.execute(_GRADES_REMOVED, *_tombstone_columns(one.tombstones, 4))
        )
    return written


def _grade_columns(newest: Sequence[Recordable]) -> list[Any]:
    rows = [(one, one.change.data) for one in newest if isinstance(one.change.data, GradeChanged)]
    return [
        _lines([one.change.subject for one, _ in rows]),
        _lines([str(d.version) for _, d in rows]),
        _lines(["" if d.score is None else str(d.score) for _, d in rows]),
        _lines([d.completion for _, d in rows]),
        _lines([d.submission or "" for _, d in rows]),
        _lines([str(one.change.changed_us) for one, _ in rows]),
        _lines([str(one.record.partition) for one, _ in rows]),
        _lines([str(one.record.offset) for one, _ in rows]),
    ]


def _versions(changes: Sequence[Change]) -> tuple[str, str, str]:
    """The keys of events, and of each its version and when it changed."""
    return (
        _lines([change.subject for change in changes]),
        _lines([str(change.data.version) for change in changes if change.data is not None]),
        _lines([str(change.changed_us) for change in changes]),
    )


# A change's moment from its number: in seconds and the rest, for an interval is multiplied by a
# binary float.
_AT: Final = """timestamptz 'epoch' + changed / 1000000 * interval '1 second'
            + changed % 1000000 * interval '1 microsecond'"""

# What ``_versions`` gives as $1 to $3, a row each; ``place`` counts from 1.
_VERSIONS: Final = f"""(
    SELECT split_part(key, '/', 1) AS district_id, split_part(key, '/', 2) AS assessment_id,
        split_part(key, '/', 3) AS class_id, split_part(key, '/', 4) AS student_id, version,
        {_AT} AS changed_at, place
    FROM unnest(string_to_array($1, E'\n'), string_to_array($2, E'\n')::bigint[],
        string_to_array($3, E'\n')::bigint[]) WITH ORDINALITY AS k (key, version, changed, place)
)"""


def _lines(texts: Sequence[str]) -> str:
    """One text for a column: of an array the driver looks at each element, which takes several
    times as long.

    No id and no word of ours holds a control character.
    """
    return "\n".join(texts)


async def _not_stored(connection: Connection, changes: Sequence[Recordable]) -> list[Recordable]:
    """Those of ``changes`` that may change what is stored; the upsert locks all it is given."""
    left: list[Recordable] = []
    for begin in range(0, len(changes), _ASKED):
        some = changes[begin : begin + _ASKED]
        asked = [
            one.change
            for one in some
            if one.change.topic == GRADE_CHANGED and one.change.data is not None
        ]
        places: list[int] | None = []
        if asked:
            places = await connection.fetchval(_GRADES_STORED, *_versions(asked), len(asked))
        # None says all of them, as nearly always in a replay.
        stored = asked if places is None else [asked[place - 1] for place in places]
        if len(stored) < len(some):
            known = set(map(id, stored))
            left += [one for one in some if id(one.change) not in known]
    return left


# For more keys at once Postgres rather reads a whole table of some hundred thousand grades.
_ASKED: Final = 2_500

# What was settled, or pending since before, stays so whatever else this batch or another replica
# writes. A plain join, which Citus can send to its nodes.
_GRADES_STORED: Final = f"""
SELECT CASE WHEN count(*) < $4 THEN coalesce(array_agg(n.place), '{{}}') END
FROM {_VERSIONS} n
JOIN grade g ON g.district_id = n.district_id AND g.assessment_id = n.assessment_id
    AND g.class_id = n.class_id AND g.student_id = n.student_id
WHERE g.version >= n.version
    AND (g.settled_version >= n.version OR g.pending_since <= n.changed_at)"""

# An older version that came late may have changed before the cutoff although the newest did not;
# the grade is eligible by the first of its versions that was not sent. Such a one moves
# ``pending_since`` and ``decide_from`` and leaves the rest. So does an equal version with an
# earlier time: the store knows no version's own time, and with any other rule it would matter
# how the log is cut, or that it is replayed.
_GRADES: Final = f"""
INSERT INTO grade AS g (district_id, assessment_id, class_id, student_id, version, score,
    completion, submission, changed_at, log_partition, log_offset, pending_since, decide_from)
SELECT split_part(n.key, '/', 1), split_part(n.key, '/', 2), split_part(n.key, '/', 3),
    split_part(n.key, '/', 4), n.version, n.score::numeric, n.completion, n.submission,
    n.changed_at, n.log_partition, n.log_offset, n.changed_at, n.changed_at
FROM (
    SELECT key, version, score, completion, submission, log_partition, log_offset,
        {_AT} AS changed_at
    FROM unnest(string_to_array($1, E'\n'), string_to_array($2, E'\n')::bigint[],
        string_to_array($3, E'\n', ''), string_to_array($4, E'\n'),
        string_to_array($5, E'\n', ''), string_to_array($6, E'\n')::bigint[],
        string_to_array($7, E'\n')::int[], string_to_array($8, E'\n')::bigint[])
        AS k (key, version, score, completion, submission, changed, log_partition, log_offset)
    -- A fence: else the moment is worked out for each of its three columns.
    OFFSET 0
) n
ON CONFLICT (district_id, assessment_id, class_id, student_id) DO UPDATE SET
    version = greatest(g.version, excluded.version),
    revision = g.revision + CASE WHEN g.version >= excluded.version THEN 0 ELSE 1 END,
    score = CASE WHEN g.version >= excluded.version THEN g.score ELSE excluded.score END,
    completion =
        CASE WHEN g.version >= excluded.version THEN g.completion ELSE excluded.completion END,
    submission =
        CASE WHEN g.version >= excluded.version THEN g.submission ELSE excluded.submission END,
    changed_at =
        CASE WHEN g.version >= excluded.version THEN g.changed_at ELSE excluded.changed_at END,
    log_partition = CASE WHEN g.version >= excluded.version
        THEN g.log_partition ELSE excluded.log_partition END,
    log_offset =
        CASE WHEN g.version >= excluded.version THEN g.log_offset ELSE excluded.log_offset END,
    state = 'pending',
    kind = CASE WHEN g.version >= excluded.version THEN g.kind END,
    reason = CASE WHEN g.version >= excluded.version THEN g.reason END,
    detail = CASE WHEN g.version >= excluded.version THEN g.detail END,
    pending_since = least(g.pending_since, excluded.changed_at),
    decide_from = least(excluded.changed_at,
        CASE WHEN g.version >= excluded.version THEN g.decide_from ELSE g.pending_since END)
WHERE g.version IS NULL OR g.version < excluded.version
    OR g.version >= excluded.version AND g.state = 'pending' AND g.decide_from IS NOT NULL
        AND (g.settled_version IS NULL OR g.settled_version < excluded.version)
        AND g.pending_since > excluded.changed_at"""

_GRADES_SINCE: Final = f"""
UPDATE grade g SET pending_since = least(g.pending_since, s.changed_at),
    decide_from = least(g.decide_from, s.changed_at)
FROM (
    SELECT o.district_id, o.assessment_id, o.class_id, o.student_id,
        min(o.changed_at) AS changed_at
    FROM {_VERSIONS} o
    JOIN grade h USING (district_id, assessment_id, class_id, student_id)
    WHERE h.state = 'pending' AND o.version <= h.version
        AND (h.settled_version IS NULL OR o.version > h.settled_version)
    GROUP BY 1, 2, 3, 4
) s
WHERE g.district_id = s.district_id AND g.assessment_id = s.assessment_id
    AND g.class_id = s.class_id AND g.student_id = s.student_id
    AND g.state = 'pending' AND g.decide_from IS NOT NULL AND s.changed_at < g.pending_since"""

_GRADES_REMOVED: Final = """
UPDATE grade g SET revision = g.revision + 1, score = NULL, completion = 'not_started',
    submission = NULL, changed_at = s.changed_at, log_partition = s.log_partition,
    log_offset = s.log_offset, state = 'pending', kind = NULL, reason = NULL, detail = NULL,
    pending_since = least(g.pending_since, s.changed_at),
    decide_from = least(g.pending_since, s.changed_at)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::int[],
    $7::bigint[]) AS s (district_id, assessment_id, class_id, student_id, changed_at,
    log_partition, log_offset)
WHERE g.district_id = s.district_id AND g.assessment_id = s.assessment_id
    AND g.class_id = s.class_id AND g.student_id = s.student_id AND g.version IS NOT NULL
    AND (CASE WHEN g.log_partition = s.log_partition THEN s.log_offset > g.log_offset
              ELSE s.changed_at > g.changed_at END)"""


# -- assessments ----------------------------------------------------------------------------


async def _record_assessments(connection: Connection, one: Round) -> int:
    written = 0
    if one.newest:
        # The rows themselves: what it counts, Citus tells with those that it left as they were.
        written = len(await connection.fetch(_ASSESSMENTS, *one.columns))
    late = one.older if written == len(one.newest) else [*one.older, *one.newest]
    if late:
        await connection.execute(
            _ASSESSMENTS_SINCE,
            [one.change.key[0] for one in late],
            [one.change.key[1] for one in late],
            [one.change.key[2] for one in late],
            [one.change.data.version for one in late if one.change.data is not None],
            [one.change.changed_at for one in late],
        )
    if one.tombstones:
        written += _changed_rows(
            await connection.execute(_ASSESSMENTS_DELETED, *_tombstone_columns(one.tombstones, 3))
        )
    return written


def _assessment_columns(newest: Sequence[Recordable]) -> list[Any]:
    rows = [
        (one, one.change.data) for one in newest if isinstance(one.change.data, AssessmentChanged)
    ]
    return [
        [d.district_id for _, d in rows],
        [d.assessment_id for _, d in rows],
        [d.class_id for _, d in rows],
        [d.version for _, d in rows],
        [d.title for _, d in rows],
        [d.type for _, d in rows],
        [d.format for _, d in rows],
        [d.grading_scale for _, d in rows],
        [d.points_possible for _, d in rows],
        [d.include_in_final_grade for _, d in rows],
        [d.assigned_by.user_id for _, d in rows],
        [d.assigned_by.in_sis for _, d in rows],
        [d.assigned_at for _, d in rows],
        [d.due_at for _, d in rows],
        [d.status for _, d in rows],
        [d.class_sourced_id for _, d in rows],
        [d.school_sourced_id for _, d in rows],
        [{a.student_id: a.sourced_id for a in d.assignees} for _, d in rows],
        [one.change.changed_at for one, _ in rows],
        [one.record.partition for one, _ in rows],
        [one.record.offset for one, _ in rows],
    ]


_ASSESSMENTS: Final = """
INSERT INTO assessment AS a (district_id, assessment_id, class_id, version, title, type, format,
    grading_scale, points_possible, include_in_final_grade, assigner_id, assigner_in_sis,
    assigned_at, due_at, status, class_sourced_id, school_sourced_id, assignees, changed_at,
    log_partition, log_offset, decide_from)
SELECT n.*, n.changed_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::numeric[], $10::bool[], $11::text[], $12::bool[],
    $13::timestamptz[], $14::timestamptz[], $15::text[], $16::text[], $17::text[],
    $18::jsonb[], $19::timestamptz[], $20::int[], $21::bigint[])
    AS n (district_id, assessment_id, class_id, version, title, type, format, grading_scale,
        points_possible, include_in_final_grade, assigner_id, assigner_in_sis, assigned_at,
        due_at, status, class_sourced_id, school_sourced_id, assignees, changed_at,
        log_partition, log_offset)
ON CONFLICT (district_id, assessment_id, class_id) DO UPDATE SET
    version = excluded.version, revision = a.revision + 1, title = excluded.title,
    type = excluded.type, format = excluded.format, grading_scale = excluded.grading_scale,
    points_possible = excluded.points_possible,
    include_in_final_grade = excluded.include_in_final_grade,
    assigner_id = excluded.assigner_id, assigner_in_sis = excluded.assigner_in_sis,
    assigned_at = excluded.assigned_at, due_at = excluded.due_at, status = excluded.status,
    class_sourced_id = excluded.class_sourced_id,
    school_sourced_id = excluded.school_sourced_id, assignees = excluded.assignees,
    changed_at = excluded.changed_at, log_partition = excluded.log_partition,
    log_offset = excluded.log_offset,
    decide_from = least(a.decide_from, excluded.changed_at)
WHERE a.version < excluded.version
RETURNING a.district_id"""

_ASSESSMENTS_SINCE: Final = """
UPDATE assessment a SET decide_from = s.changed_at
FROM (
    SELECT o.district_id, o.assessment_id, o.class_id, min(o.changed_at) AS changed_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
        AS o (district_id, assessment_id, class_id, version, changed_at)
    JOIN assessment h USING (district_id, assessment_id, class_id)
    WHERE h.decide_from IS NOT NULL AND o.version <= h.version
        AND (h.settled_version IS NULL OR o.version > h.settled_version)
    GROUP BY 1, 2, 3
) s
WHERE a.district_id = s.district_id AND a.assessment_id = s.assessment_id
    AND a.class_id = s.class_id AND s.changed_at < a.decide_from"""

_ASSESSMENTS_DELETED: Final = """
UPDATE assessment a SET revision = a.revision + 1, status = 'deleted',
    changed_at = s.changed_at, log_partition = s.log_partition, log_offset = s.log_offset,
    decide_from = least(a.decide_from, s.changed_at)
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::bigint[])
    AS s (district_id, assessment_id, class_id, changed_at, log_partition, log_offset)
WHERE a.district_id = s.district_id AND a.assessment_id = s.assessment_id
    AND a.class_id = s.class_id
    AND (CASE WHEN a.log_partition = s.log_partition THEN s.log_offset > a.log_offset
              ELSE s.changed_at > a.changed_at END)"""


# -- the teacher group ----------------------------------------------------------------------


async def _record_group(connection: Connection, one: Round) -> int:
    touched: list[Any] = []
    if one.newest:
        touched += await connection.fetch(_GROUP, *one.columns)
    if one.tombstones:
        touched += await connection.fetch(_GROUP_LEFT, *_tombstone_columns(one.tombstones, 2))
    if touched:
        touched.sort(key=lambda r: (r["district_id"], r["teacher_id"]))
        await connection.execute(
            _GROUP_ITEMS,
            [r["district_id"] for r in touched],
            [r["teacher_id"] for r in touched],
            [r["changed_at"] for r in touched],
        )
    return len(touched)


def _group_columns(changes: Sequence[Recordable]) -> list[Any]:
    rows = sorted(
        ((one, d) for one in changes if isinstance(d := one.change.data, GroupChanged)),
        key=lambda row: row[0].change.key,
    )
    return [
        [one.change.key[0] for one, _ in rows],
        [one.change.key[1] for one, _ in rows],
        [d.version for _, d in rows],
        [d.member for _, d in rows],
        [one.change.changed_at for one, _ in rows],
        [one.record.partition for one, _ in rows],
        [one.record.offset for one, _ in rows],
    ]


_GROUP: Final = """
INSERT INTO membership (district_id, teacher_id, version, member, changed_at, log_partition,
    log_offset)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bool[], $5::timestamptz[],
    $6::int[], $7::bigint[])
ON CONFLICT (district_id, teacher_id, version) DO NOTHING
RETURNING district_id, teacher_id, changed_at"""

_GROUP_LEFT: Final = """
UPDATE membership m SET member = false, changed_at = s.changed_at,
    log_partition = s.log_partition, log_offset = s.log_offset
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::int[], $5::bigint[])
    AS s (district_id, teacher_id, changed_at, log_partition, log_offset)
WHERE m.district_id = s.district_id AND m.teacher_id = s.teacher_id
    AND NOT EXISTS (SELECT FROM membership n WHERE n.district_id = m.district_id
        AND n.teacher_id = m.teacher_id AND n.version > m.version)
    AND (CASE WHEN m.log_partition = s.log_partition THEN s.log_offset > m.log_offset
              ELSE s.changed_at > m.changed_at END)
RETURNING m.district_id, m.teacher_id, m.changed_at"""

# The revision rises: a run that decides the item just now knows nothing of the change.
_GROUP_ITEMS: Final = """
UPDATE assessment a SET revision = a.revision + 1,
    decide_from = least(a.decide_from, s.changed_at)
FROM (SELECT district_id, teacher_id, min(changed_at) AS changed_at
      FROM unnest($1::text[], $2::text[], $3::timestamptz[])
          AS t (district_id, teacher_id, changed_at) GROUP BY 1, 2) s
WHERE a.district_id = s.district_id AND a.assigner_id = s.teacher_id"""


def _tombstone_columns(tombstones: Sequence[Recordable], parts: int) -> list[list[Any]]:
    keys = [[one.change.key[i] for one in tombstones] for i in range(parts)]
    return [
        *keys,
        [one.change.changed_at for one in tombstones],
        [one.record.partition for one in tombstones],
        [one.record.offset for one in tombstones],
    ]


# In the order of writing: an assessment before the grades that need it, the group before both.
_WRITERS: Final[Mapping[str, Callable[[Connection, Round], Awaitable[int]]]] = {
    GROUP_CHANGED: _record_group,
    ASSESSMENT_CHANGED: _record_assessments,
    GRADE_CHANGED: _record_grades,
}
# Of the group every version is kept, so that a late one is no less than the newest.
_COLUMNS: Final[Mapping[str, Callable[[Sequence[Recordable]], list[Any]]]] = {
    GROUP_CHANGED: _group_columns,
    ASSESSMENT_CHANGED: _assessment_columns,
    GRADE_CHANGED: _grade_columns,
}


# -- quarantine -----------------------------------------------------------------------------


async def _quarantine(connection: Connection, rows: Sequence[Unreadable], now: datetime) -> None:
    subjects = [_subject(one.record.key) for one in rows]
    await connection.execute(
        _QUARANTINE,
        [_district(s) for s in subjects],
        [one.record.topic for one in rows],
        [one.record.partition for one in rows],
        [one.record.offset for one in rows],
        [moment(one.record.timestamp) for one in rows],
        now,
        [one.reason for one in rows],
        [one.detail for one in rows],
        subjects,
        [one.record.key for one in rows],
        [one.record.value for one in rows],
        [_headers(one.record) for one in rows],
    )


def _headers(record: Record) -> dict[str, str]:
    return {n.encode().hex(): content.hex() for n, content in record.headers if content is not None}


def _subject(key: bytes | None) -> str | None:
    try:
        text = key.decode() if key is not None else None
    except UnicodeDecodeError:
        return None
    # A longer key is no key of ours, nor does Postgres' text hold NUL.
    return None if text is None or "\x00" in text or len(key or b"") > KEY_BYTES else text


def _district(subject: str | None) -> str:
    # What is too long for an id would not fit the indexes that begin with the district.
    first = subject.partition("/")[0] if subject else ""
    return first if len(first) <= ID_CHARACTERS else ""


_QUARANTINE: Final = """
INSERT INTO quarantine (district_id, topic, partition, log_offset, recorded_at, received_at,
    reason, detail, subject, key, value, headers)
SELECT q.district_id, q.topic, q.partition, q.log_offset, q.recorded_at, $6, q.reason, q.detail,
    q.subject, q.key, q.value, q.headers
FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::timestamptz[], $7::text[],
    $8::text[], $9::text[], $10::bytea[], $11::bytea[], $12::jsonb[])
    AS q (district_id, topic, partition, log_offset, recorded_at, reason, detail, subject, key,
          value, headers)
ON CONFLICT (district_id, topic, partition, log_offset) DO NOTHING"""

"""Recording: the newest version wins, however the log was cut into batches or replayed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.events import Assigner, QuarantineReason, moment
from consumer.gradebook import AssessmentStatus, Membership
from consumer.sandbox.otus import milliseconds
from consumer.store import districts, recording
from consumer.store.connection import Pool, connect
from consumer.store.quarantined import find_all
from consumer.store.recording import (
    Batch,
    Record,
    Recordable,
    Recorded,
    Unreadable,
    fold,
    record,
    store_offsets,
    stored_offsets,
)
from tests.recordables import (
    LAKESIDE,
    NOON,
    apply,
    assessment,
    batch,
    cut,
    grade,
    member,
    microseconds,
    minute,
    tombstone,
)

SHARED_DATABASE = settings(
    max_examples=30,
    deadline=None,
    # Each example has a key of its own in the test's one database.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a database in which the district lakeside was applied."""
    async with await connect(database_url, size=4) as opened:
        await apply(opened)
        yield opened


async def record_all(pool: Pool, batches: Sequence[Batch], *, ask_first: bool = False) -> None:
    """Records one batch after another."""
    for one in batches:
        await record(pool, one, NOON, ask_first=ask_first)


async def grade_row(pool: Pool, student: str = "s-1") -> dict[str, Any]:
    """The student's whole row."""
    row = await pool.fetchrow("SELECT * FROM grade WHERE student_id = $1", student)
    assert row is not None
    return dict(row)


async def assessment_row(pool: Pool, assessment_id: str = "a-1") -> dict[str, Any]:
    """The assessment's whole row."""
    row = await pool.fetchrow("SELECT * FROM assessment WHERE assessment_id = $1", assessment_id)
    assert row is not None
    return dict(row)


async def everything(pool: Pool) -> list[list[dict[str, Any]]]:
    """All that recording writes."""
    return [
        [dict(row) for row in await pool.fetch(f"SELECT * FROM {table} ORDER BY {table}::text")]
        for table in ("grade", "assessment", "membership", "quarantine", "intake_offset")
    ]


async def settle_grade(pool: Pool, student: str = "s-1") -> None:
    """Posts what stands there, as a run would have."""
    await pool.execute(
        "UPDATE grade SET state = 'posted', kind = 'post', settled_version = version,"
        " pending_since = NULL, decide_from = NULL, sent_score = score, sent_at = changed_at,"
        " sent_status = 'fully graded', sent_origin = 'teacher' WHERE student_id = $1",
        student,
    )


async def settle_items(pool: Pool) -> None:
    """Marks all items as decided, as a run would have."""
    await pool.execute("UPDATE assessment SET decide_from = NULL, settled_version = version")


# -- the newest version ---------------------------------------------------------------------


@SHARED_DATABASE
@given(data=st.data())
async def test_the_newest_grade_wins_whatever_the_order_and_the_batches(
    pool: Pool, data: st.DataObject
) -> None:
    student = f"s-{uuid4()}"
    times = data.draw(st.lists(st.integers(0, 600), min_size=1, max_size=6))
    versions = data.draw(st.permutations(list(range(1, len(times) + 1))))
    changes = [
        grade(version, times[version - 1], offset, student=student, score=str(version))
        for offset, version in enumerate(versions)
    ]
    at = data.draw(st.lists(st.integers(0, len(changes)), max_size=4))
    await record_all(pool, cut(changes, at))
    row = await grade_row(pool, student)
    newest = len(times)
    assert (row["version"], row["score"]) == (newest, Decimal(newest))
    assert row["changed_at"] == minute(times[-1])
    # Not one of them was sent, so the first of them makes the grade eligible.
    assert row["pending_since"] == row["decide_from"] == minute(min(times))
    assert (row["state"], row["kind"]) == ("pending", None)


@SHARED_DATABASE
@given(data=st.data())
async def test_the_newest_assessment_wins_whatever_the_order_and_the_batches(
    pool: Pool, data: st.DataObject
) -> None:
    item = f"a-{uuid4()}"
    times = data.draw(st.lists(st.integers(0, 600), min_size=1, max_size=6))
    versions = data.draw(st.permutations(list(range(1, len(times) + 1))))
    changes = [
        assessment(version, times[version - 1], offset, assessment_id=item)
        for offset, version in enumerate(versions)
    ]
    at = data.draw(st.lists(st.integers(0, len(changes)), max_size=4))
    await record_all(pool, cut(changes, at))
    row = await assessment_row(pool, item)
    assert (row["version"], row["title"]) == (len(times), f"Unit {len(times)}")
    assert row["decide_from"] == minute(min(times))


async def test_a_newer_version_after_a_posted_one_is_pending_again_since_it_changed(
    pool: Pool,
) -> None:
    await record(pool, batch(grade(1, 0, score="7")), NOON)
    await settle_grade(pool)
    await record(pool, batch(grade(2, 30, score="9")), NOON)
    row = await grade_row(pool)
    assert (row["state"], row["score"], row["pending_since"]) == ("pending", 9, minute(30))
    assert (row["sent_score"], row["settled_version"], row["revision"]) == (7, 1, 2)


@pytest.mark.parametrize("together", [True, False])
async def test_an_equal_version_changes_nothing(pool: Pool, together: bool) -> None:
    first, again = grade(4, 20, 0, score="6"), grade(4, 30, 1, score="1")
    counted = await _count(pool, cut([first, again], [] if together else [1]))
    assert counted == ({"grade-changed": 1}, {"grade-changed": 1}, {})
    row = await grade_row(pool)
    assert (row["score"], row["changed_at"], row["pending_since"]) == (6, minute(20), minute(20))
    assert (row["revision"], row["log_offset"]) == (1, 0)


@pytest.mark.parametrize("together", [True, False])
async def test_an_equal_version_of_an_earlier_time_moves_that_and_nothing_else(
    pool: Pool, together: bool
) -> None:
    first, again = grade(4, 20, 0, score="6"), grade(4, 10, 1, score="1")
    await record_all(pool, cut([first, again], [] if together else [1]))
    row = await grade_row(pool)
    assert (row["score"], row["changed_at"], row["pending_since"]) == (6, minute(20), minute(10))
    assert (row["revision"], row["log_offset"], row["decide_from"]) == (1, 0, minute(10))


@pytest.mark.parametrize("together", [True, False])
async def test_an_older_version_that_came_late_makes_the_grade_eligible_by_its_earlier_time(
    pool: Pool, together: bool
) -> None:
    changes = [grade(3, 50, 0, score="9"), grade(2, 10, 1, score="5")]
    await record_all(pool, cut(changes, [] if together else [1]))
    row = await grade_row(pool)
    assert (row["version"], row["score"], row["changed_at"]) == (3, 9, minute(50))
    assert row["pending_since"] == row["decide_from"] == minute(10)


@pytest.mark.parametrize("together", [True, False])
async def test_an_older_version_that_was_settled_makes_nothing_eligible(
    pool: Pool, together: bool
) -> None:
    await record(pool, batch(grade(2, 10, 0)), NOON)
    await settle_grade(pool)
    changes = [grade(3, 50, 1), grade(1, 5, 2), grade(2, 10, 3)]
    await record_all(pool, cut(changes, [] if together else [1, 2]))
    assert (await grade_row(pool))["pending_since"] == minute(50)


async def test_an_older_version_of_a_grade_that_is_settled_changes_nothing(pool: Pool) -> None:
    await record(pool, batch(grade(5, 10, 0)), NOON)
    await settle_grade(pool)
    before = await grade_row(pool)
    await record(pool, batch(grade(4, 5, 1)), NOON)
    assert await grade_row(pool) == before


async def test_an_older_assessment_that_was_settled_makes_nothing_eligible(pool: Pool) -> None:
    await record(pool, batch(assessment(2, 10)), NOON)
    await settle_items(pool)
    await record(pool, batch(assessment(3, 50, 3), assessment(1, 0, 4), assessment(2, 10, 5)), NOON)
    assert (await assessment_row(pool))["decide_from"] == minute(50)


async def test_the_whole_range_of_versions_and_scores_is_kept_exactly(pool: Pool) -> None:
    await record(
        pool,
        batch(
            grade(-(2**63), offset=0, student="least", score="8.000000000000000000000000000001"),
            grade(2**63 - 1, offset=1, student="most", score="-1E+30"),
        ),
        NOON,
    )
    least, most = await grade_row(pool, "least"), await grade_row(pool, "most")
    assert least["version"] == -(2**63)
    assert least["score"] == Decimal("8.000000000000000000000000000001")
    assert (most["version"], most["score"]) == (2**63 - 1, Decimal(-(10**30)))


# -- tombstones -----------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
async def test_a_tombstone_removes_the_score_and_keeps_the_version(
    pool: Pool, together: bool
) -> None:
    first = grade(3, 0, 0, score="9")
    await record_all(pool, cut([first, tombstone(first, 40, 1)], [] if together else [1]))
    row = await grade_row(pool)
    assert (row["score"], row["completion"], row["submission"]) == (None, "not_started", None)
    assert (row["version"], row["changed_at"], row["pending_since"]) == (3, minute(40), minute(0))
    await record(pool, batch(grade(3, 50, 2, score="9")), NOON)
    assert (await grade_row(pool))["score"] is None
    await record(pool, batch(grade(4, 60, 3, score="7")), NOON)
    assert (await grade_row(pool))["score"] == 7


@pytest.mark.parametrize("together", [True, False])
async def test_an_event_after_a_tombstone_brings_the_grade_back(pool: Pool, together: bool) -> None:
    first = grade(1, 0, 0)
    log = [first, tombstone(first, 10, 1), grade(2, 20, 2, score="5")]
    await record_all(pool, cut(log, [] if together else [1, 2]))
    row = await grade_row(pool)
    assert (row["version"], row["score"], row["completion"]) == (2, 5, "graded")


async def test_a_tombstone_replayed_after_a_newer_event_changes_nothing(pool: Pool) -> None:
    first = grade(1, 0, 0)
    gone = tombstone(first, 10, 1)
    await record_all(pool, cut([first, gone, grade(2, 20, 2, score="5")], [1, 2]))
    before = await everything(pool)
    await record(pool, batch(gone), NOON)
    assert await everything(pool) == before


async def test_tombstones_for_unknown_keys_change_nothing(pool: Pool) -> None:
    nobody = [
        tombstone(of, 10, 5) for of in (grade(1, student="who"), assessment(1), member(1, True))
    ]
    counted = await record(pool, batch(*nobody), NOON)
    assert set(counted.recorded.values()) == {0}
    assert set(counted.stale.values()) == {1}
    assert (await everything(pool))[:4] == [[], [], [], []]


@pytest.mark.parametrize("together", [True, False])
async def test_an_assessments_tombstone_deletes_it_until_a_higher_version_comes(
    pool: Pool, together: bool
) -> None:
    first = assessment(2, 0, 0)
    await record_all(pool, cut([first, tombstone(first, 10, 1)], [] if together else [1]))
    row = await assessment_row(pool)
    assert (row["status"], row["version"], row["title"]) == ("deleted", 2, "Unit 2")
    await record(pool, batch(assessment(2, 20, 2)), NOON)
    assert (await assessment_row(pool))["status"] == "deleted"
    await record(pool, batch(assessment(3, 30, 3, status=AssessmentStatus.ACTIVE)), NOON)
    assert (await assessment_row(pool))["status"] == "active"


async def test_a_tombstone_from_another_partition_counts_by_its_time(pool: Pool) -> None:
    first = grade(1, 30, 7)
    await record(pool, batch(first), NOON)
    for changed, expected in ((20, 8), (40, None)):
        gone = tombstone(first, changed, 0)
        gone = replace(gone, record=replace(gone.record, partition=1))
        await record(pool, batch(gone), NOON)
        assert (await grade_row(pool))["score"] == expected


@SHARED_DATABASE
@given(
    topic=st.sampled_from(["grade", "assessment", "membership"]),
    # A version, or None for a tombstone, and its time; the one before all others was settled.
    said=st.lists(
        st.tuples(st.none() | st.integers(2, 5), st.integers(0, 600)), min_size=1, max_size=7
    ),
    at=st.lists(st.integers(1, 7), max_size=4),
    ask_first=st.booleans(),
)
# The same version twice with different times, the earlier one last, and then a newer one.
@example(topic="grade", said=[(2, 50), (2, 10), (3, 60)], at=[], ask_first=False)
@example(topic="grade", said=[(2, 50), (2, 10)], at=[], ask_first=True)
# All events of a batch are stored already, and a tombstone is not.
@example(topic="grade", said=[(2, 50), (2, 50), (None, 60)], at=[1], ask_first=True)
@example(topic="grade", said=[(2, 50), (3, 60), (2, 10)], at=[1], ask_first=False)
@example(topic="assessment", said=[(2, 50), (2, 10), (3, 60)], at=[], ask_first=False)
async def test_how_the_log_is_cut_into_batches_makes_no_difference(
    pool: Pool, topic: str, said: list[tuple[int | None, int]], at: list[int], ask_first: bool
) -> None:
    made, columns = {
        "grade": (_a_grade, "version, score, changed_at, log_offset, pending_since, decide_from"),
        "assessment": (
            _an_assessment,
            "version, title, status, changed_at, log_offset, decide_from",
        ),
        "membership": (_a_membership, "version, member, changed_at, log_offset"),
    }[topic]
    rows = []
    for places, asks in ((at, ask_first), (range(len(said) + 1), False)):
        subject = str(uuid4())
        begun = made(subject, 1, 0, 0)
        await record(pool, batch(begun), NOON)
        if made is _a_grade:
            await settle_grade(pool, subject)
        await settle_items(pool)
        log = [
            tombstone(begun, time, offset)
            if version is None
            else made(subject, version, time, offset)
            for offset, (version, time) in enumerate(said, 1)
        ]
        whole = cut(log, [place for place in places if place <= len(log)])
        await record_all(pool, whole, ask_first=asks)
        table, column = _place_of(begun)
        query = f"SELECT {columns} FROM {table} WHERE {column} = $1 ORDER BY version"
        rows.append(await pool.fetch(query, subject))
        # What is read once more, from its beginning, changes nothing.
        await record_all(pool, whole, ask_first=asks)
        rows.append(await pool.fetch(query, subject))
    assert rows[0] == rows[1] == rows[2] == rows[3]


def _a_grade(subject: str, version: int, changed: int, offset: int) -> Recordable:
    return grade(version, changed, offset, student=subject, score=str(version))


def _an_assessment(subject: str, version: int, changed: int, offset: int) -> Recordable:
    return assessment(version, changed, offset, assessment_id=subject)


def _a_membership(subject: str, version: int, changed: int, offset: int) -> Recordable:
    return member(version, version % 2 == 1, changed, offset, teacher=subject)


def _place_of(one: Recordable) -> tuple[str, str]:
    """The table of a change, and the column that its subject's last id is in."""
    return {
        "grade-changed": ("grade", "student_id"),
        "assessment-changed": ("assessment", "assessment_id"),
        "passback-group-changed": ("membership", "teacher_id"),
    }[one.change.topic]


# -- replays --------------------------------------------------------------------------------


async def test_the_same_batch_twice_changes_nothing(pool: Pool) -> None:
    first = grade(1, 0, 0)
    whole = batch(
        first,
        grade(3, 20, 1, score="9"),
        tombstone(first, 30, 2),
        grade(2, 10, 3),
        assessment(1, 0, 0),
        tombstone(assessment(1), 5, 1),
        assessment(2, 10, 2),
        member(1, True, 0, 0),
        tombstone(member(1, True), 10, 1),
        member(2, True, 20, 2),
    )
    whole.unreadable.append(_unreadable(b"\xff"))
    await record(pool, whole, NOON)
    await settle_items(pool)
    before = await everything(pool)
    counted = await record(pool, whole, minute(5))
    assert await everything(pool) == before
    assert set(counted.recorded.values()) == {0}


async def test_a_replay_that_asks_first_locks_no_row(pool: Pool) -> None:
    whole = batch(grade(1, 0, 0, student="s-1"), *(grade(v, v, v) for v in (2, 3)))
    await record(pool, whole, NOON)
    before = await pool.fetch("SELECT xmin, xmax, * FROM grade ORDER BY student_id")
    counted = await record(pool, whole, NOON, ask_first=True)
    assert await pool.fetch("SELECT xmin, xmax, * FROM grade ORDER BY student_id") == before
    assert (counted.recorded, counted.stale) == ({"grade-changed": 0}, {"grade-changed": 3})
    newer = batch(grade(4, 9, 4), grade(1, 0, 0, student="s-1"))
    counted = await record(pool, newer, NOON, ask_first=True)
    assert (counted.recorded, counted.stale) == ({"grade-changed": 1}, {"grade-changed": 1})


@pytest.mark.parametrize("ask_first", [False, True])
async def test_a_replay_of_more_than_is_asked_for_at_once_leaves_nothing_of_the_batch_out(
    pool: Pool, ask_first: bool
) -> None:
    """The cut between two questions falls among what is stored, newer, new, removed, and others."""
    middle = recording._ASKED
    stored = [grade(1, 0, n, student=f"s-{n}", score="1") for n in range(middle + 40)]
    await record(pool, batch(*stored), NOON)
    whole = list(stored)
    for at in (middle - 20, middle + 10):
        whole[at] = grade(2, 5, 10_000 + at, student=f"s-{at}", score="2")
        whole[at + 1] = tombstone(stored[at + 1], 6, 20_000 + at)
        whole[at + 2] = grade(1, 5, 30_000 + at, student=f"new-{at}", score="3")
        whole[at + 3] = assessment(1, 5, 40_000 + at, assessment_id=f"a-{at}")
    counted = await record(pool, batch(*whole), NOON, ask_first=ask_first)
    assert counted.recorded == {"grade-changed": 6, "assessment-changed": 2}
    assert counted.stale == {"grade-changed": middle + 32, "assessment-changed": 0}
    rows = await pool.fetch("SELECT student_id, score::text FROM grade")
    scores = {row["student_id"]: row["score"] for row in rows}
    for at in (middle - 20, middle + 10):
        assert scores.pop(f"s-{at}") == "2"
        assert scores.pop(f"s-{at + 1}") is None
        assert scores.pop(f"new-{at}") == "3"
    assert set(scores.values()) == {"1"}
    assert len(scores) == middle + 36
    assert await pool.fetchval("SELECT count(*) FROM assessment") == 2


@pytest.mark.parametrize("ask_first", [False, True])
async def test_what_was_folded_before_is_recorded_as_what_was_not(
    pool: Pool, ask_first: bool
) -> None:
    await apply(pool, "hillside")
    counted = {}
    for district in ("lakeside", "hillside", "nobodys"):
        whole = batch(
            *(grade(v, v, v, district_id=district, score=str(v)) for v in (2, 1, 3)),
            tombstone(grade(3, 20, 4, district_id=district), 30, 5),
            grade(4, 40, 6, district_id=district),
            grade(1, 0, 7, student="s-2", district_id=district),
        )
        folded = None if district == "lakeside" else fold(whole.changes)
        counted[district] = await record(pool, whole, NOON, folded=folded, ask_first=ask_first)
    assert counted["hillside"] == counted["lakeside"]
    assert counted["hillside"].recorded == {"grade-changed": 4}
    assert counted["nobodys"].quarantined == {QuarantineReason.UNKNOWN_DISTRICT: 6}
    assert counted["nobodys"].recorded == {}
    rows = await pool.fetch("SELECT * FROM grade ORDER BY district_id DESC, student_id")
    kept = [{**row, "district_id": None} for row in rows]
    assert len(kept) == 4
    assert kept[:2] == kept[2:]


async def test_two_replicas_that_record_the_same_at_once_leave_what_one_leaves(
    pool: Pool,
) -> None:
    changes = [
        grade(version, version, student * 3 + version, student=f"s-{student}", score=str(version))
        for student in range(100)
        for version in (1, 2, 3)
    ]
    backwards = list(reversed(changes))
    await asyncio.gather(*(record(pool, batch(*some), NOON) for some in (changes, backwards)))
    rows = await pool.fetch("SELECT version, score, pending_since FROM grade")
    assert len(rows) == 100
    assert {tuple(row) for row in rows} == {(3, Decimal(3), minute(1))}


async def test_a_batch_that_fails_leaves_neither_rows_nor_offsets(pool: Pool) -> None:
    refused = replace(grade(1), record=replace(grade(1).record, offset=2**63 - 1))
    with pytest.raises(Exception, match="int64"):
        await record(pool, batch(assessment(1), refused), NOON)
    assert await everything(pool) == [[], [], [], [], []]


# -- offsets --------------------------------------------------------------------------------


async def test_offsets_never_go_back(pool: Pool) -> None:
    await store_offsets(pool, {("t", 0): 10, ("t", 1): 4})
    await store_offsets(pool, {("t", 0): 7, ("t", 1): 5})
    assert await stored_offsets(pool, ["t"]) == {("t", 0): 10, ("t", 1): 5}
    await record(pool, Batch(next_offsets={("t", 0): 9, ("u", 0): 0}), NOON)
    assert await stored_offsets(pool, ["t", "u"]) == {("t", 0): 10, ("t", 1): 5, ("u", 0): 0}
    assert await stored_offsets(pool, ["another"]) == {}


async def test_the_offsets_are_stored_with_their_rows(pool: Pool) -> None:
    await record(pool, batch(grade(1, offset=41), assessment(1, offset=7)), NOON)
    assert await stored_offsets(pool, ["otus.grade-changed", "otus.assessment-changed"]) == {
        ("otus.grade-changed", 0): 42,
        ("otus.assessment-changed", 0): 8,
    }


# -- moments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed_at",
    [
        datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 20, 18, 0, 0, 123_456, tzinfo=UTC),
        # In seconds, and in no float, to the microsecond.
        datetime(2255, 6, 5, 23, 47, 34, 740_993, tzinfo=UTC),
        datetime(8999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_a_grades_moment_is_kept_to_the_microsecond(
    pool: Pool, changed_at: datetime, late: bool
) -> None:
    one = grade(1)
    one = replace(one, change=replace(one.change, changed_us=microseconds(changed_at)))
    if late:
        # An older version moves since when the grade waits, and nothing else.
        newer = grade(2)
        after = replace(newer.change, changed_us=microseconds(changed_at) + 1)
        await record(pool, batch(replace(newer, change=after), one), NOON)
    else:
        await record(pool, batch(one), NOON)
    row = await grade_row(pool)
    assert (row["pending_since"], row["decide_from"]) == (changed_at, changed_at)
    assert row["changed_at"] == changed_at + late * timedelta(microseconds=1)


# -- quarantine -----------------------------------------------------------------------------


async def test_what_waits_in_quarantine_is_read_again_as_it_came(pool: Pool) -> None:
    headers = [("ce_id", b"e-1"), ("trace", None), ("", b""), ("n\x00", b"\xff")]
    waits = [
        Record("otus.grade-changed", 3, number, timestamp, b"\xff", b"{", headers)
        for number, timestamp in enumerate((-1, 0, 1_795_197_600_123, 172_863_827_082_881, 2**63))
    ]
    unreadable = [Unreadable(one, QuarantineReason.NOT_JSON, "no JSON") for one in waits]
    await record(pool, Batch(unreadable=unreadable), NOON)
    for came, found in zip(waits, await find_all(pool), strict=True):
        kept = replace(
            came,
            # What no clock says counts as the nearest that one may.
            timestamp=milliseconds(moment(came.timestamp)),
            headers=sorted((name, content) for name, content in headers if content is not None),
        )
        assert replace(found.record, headers=sorted(found.record.headers)) == kept


async def test_an_unknown_districts_event_goes_to_quarantine_with_its_bytes(pool: Pool) -> None:
    stranger = grade(1, 5, 9, district_id="hillside")
    counted = await record(pool, batch(stranger, grade(1)), minute(6))
    assert counted.quarantined == {QuarantineReason.UNKNOWN_DISTRICT: 1}
    assert counted.recorded == {"grade-changed": 1}
    [row] = await pool.fetch("SELECT * FROM quarantine")
    assert (row["district_id"], row["topic"]) == ("hillside", "otus.grade-changed")
    assert (row["partition"], row["log_offset"], row["reason"]) == (0, 9, "unknown_district")
    assert row["subject"] == "hillside/a-1/c-7/s-1"
    assert (row["key"], row["value"]) == (b"hillside/a-1/c-7/s-1", b"the record's value")
    assert row["headers"] == {b"ce_id".hex(): b"e-1".hex()}
    assert (row["recorded_at"], row["received_at"]) == (minute(5), minute(6))
    assert await pool.fetchval("SELECT count(*) FROM grade WHERE district_id = 'hillside'") == 0


async def test_what_is_recorded_while_its_district_is_removed_goes_with_it(
    pool: Pool, database_url: str
) -> None:
    async with await connect(database_url, size=3) as others:
        async with others.acquire() as rival, rival.transaction():
            # The removal waits for this one, after it has deleted all grades.
            await rival.execute("SELECT FROM settings_revision FOR UPDATE")
            removing = asyncio.create_task(districts.remove(others, "lakeside", NOON, {}))
            while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            recording = asyncio.create_task(record(others, batch(grade(1)), NOON))
            await asyncio.wait([recording], timeout=0.3)
        await removing
        await recording
    assert await pool.fetchval("SELECT count(*) FROM grade") == 0


# Random, so that Postgres cannot compress it into its indexes.
_CHANCE = Random(7)
_NO_ID = _CHANCE.randbytes(1_280).hex()
_FOUR_IDS = "/".join(
    "".join(chr(_CHANCE.randrange(0x4E00, 0x9FFF)) for _ in range(212)) for _ in "four"
)


@pytest.mark.parametrize(
    ("key", "district", "subject"),
    [
        (None, "", None),
        (b"", "", ""),
        (b"\xff\xfe", "", None),
        (b"lakeside/a\x00", "", None),
        (b"lakeside/a-1/c-7/s-1", "lakeside", "lakeside/a-1/c-7/s-1"),
        (_NO_ID.encode(), "", _NO_ID),
        (_FOUR_IDS.encode(), _FOUR_IDS[:212], _FOUR_IDS),
        (_FOUR_IDS.encode() * 9, "", None),
    ],
    ids=["none", "empty", "bytes", "nul", "ours", "no-id", "longest", "too-long"],
)
async def test_any_key_at_all_can_wait_in_quarantine(
    pool: Pool, key: bytes | None, district: str, subject: str | None
) -> None:
    await record(pool, Batch(unreadable=[_unreadable(key)]), NOON)
    row = await pool.fetchrow("SELECT * FROM quarantine")
    assert row is not None
    assert (row["key"], row["district_id"], row["subject"]) == (key, district, subject)


def _unreadable(key: bytes | None) -> Unreadable:
    waits = Record("otus.grade-changed", 0, 90, milliseconds(NOON), key, b"{", [])
    return Unreadable(waits, QuarantineReason.NOT_JSON, "no JSON")


# -- the teacher group ----------------------------------------------------------------------


async def _membership(pool: Pool, teacher: str = "t-100", **changes: Any) -> Membership | None:
    district = LAKESIDE.model_copy(update=changes)
    return (await districts.memberships(pool, district)).get(teacher)


@SHARED_DATABASE
@given(data=st.data())
async def test_joined_left_and_joined_anew_counts_from_the_second_join_in_any_order(
    pool: Pool, data: st.DataObject
) -> None:
    teacher = f"t-{uuid4()}"
    history = [(1, True, 0), (2, True, 5), (3, False, 10), (4, True, 20), (5, True, 30)]
    order = data.draw(st.permutations(history))
    changes = [
        member(version, joined, changed, offset, teacher=teacher)
        for offset, (version, joined, changed) in enumerate(order)
    ]
    await record_all(pool, cut(changes, data.draw(st.lists(st.integers(0, 5), max_size=4))))
    assert await _membership(pool, teacher) == Membership(True, minute(20))


async def test_membership_follows_the_events_and_else_the_district_file(pool: Pool) -> None:
    assert await _membership(pool) is None
    assert await _membership(pool, group=("t-100",)) == Membership(True, None)
    await record(pool, batch(member(1, True, 5)), NOON)
    assert await _membership(pool) == Membership(True, minute(5))
    # Joined before all time, and nothing that was said since took it back.
    assert await _membership(pool, group=("t-100",)) == Membership(True, None)
    await record(pool, batch(member(2, False, 10)), NOON)
    assert await _membership(pool, group=("t-100",)) == Membership(False, None)


@pytest.mark.parametrize("together", [True, False])
async def test_a_tombstone_ends_a_membership_and_a_later_join_counts_anew(
    pool: Pool, together: bool
) -> None:
    first = member(1, True, 0, 0)
    log = [first, tombstone(first, 10, 1), member(2, True, 20, 2)]
    await record_all(pool, cut(log[:2], [] if together else [1]))
    assert await _membership(pool) == Membership(False, None)
    await record_all(pool, [batch(*log)] if together else [batch(log[2])])
    assert await _membership(pool) == Membership(True, minute(20))


async def test_one_poll_that_brings_join_tombstone_and_join_counts_from_the_second_join(
    pool: Pool,
) -> None:
    first = member(1, True, 0, 0)
    await record(pool, batch(first, tombstone(first, 10, 1), member(2, True, 20, 2)), NOON)
    assert await _membership(pool) == Membership(True, minute(20))


async def test_a_group_change_marks_the_assigners_items_for_deciding(pool: Pool) -> None:
    await record(
        pool,
        batch(
            assessment(1),
            assessment(2, assessment_id="a-2"),
            assessment(3, assessment_id="a-3", assigned_by=Assigner("t-7", True)),
        ),
        NOON,
    )
    await settle_items(pool)

    async def marked() -> dict[str, datetime | None]:
        rows = await pool.fetch("SELECT assessment_id, decide_from FROM assessment")
        return {row["assessment_id"]: row["decide_from"] for row in rows}

    await record(pool, batch(member(1, True, 30)), NOON)
    assert await marked() == {"a-1": minute(30), "a-2": minute(30), "a-3": None}
    await settle_items(pool)
    await record(pool, batch(member(1, True, 30)), NOON)
    assert await marked() == {"a-1": None, "a-2": None, "a-3": None}
    await record(pool, batch(tombstone(member(1, True), 40, 2)), NOON)
    assert await marked() == {"a-1": minute(40), "a-2": minute(40), "a-3": None}


# -- counts ---------------------------------------------------------------------------------


async def test_every_change_is_counted_as_recorded_stale_or_quarantined(pool: Pool) -> None:
    first = grade(1, 0, 0)
    counted = await _count(
        pool,
        [
            batch(first, grade(2, 1, 1), grade(1, 0, 2), tombstone(first, 3, 3), assessment(1)),
            batch(grade(2, 1, 1), member(1, True), grade(1, district_id="hillside")),
        ],
    )
    assert counted == (
        {"grade-changed": 2, "assessment-changed": 1, "passback-group-changed": 1},
        {"grade-changed": 3, "assessment-changed": 0, "passback-group-changed": 0},
        {QuarantineReason.UNKNOWN_DISTRICT: 1},
    )


async def _count(
    pool: Pool, batches: Sequence[Batch]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """What several batches added: recorded, stale and quarantined."""
    counted: list[Recorded] = [await record(pool, one, NOON) for one in batches]
    sums: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
    for one in counted:
        for total, part in zip(sums, (one.recorded, one.stale, one.quarantined), strict=True):
            for name, count in part.items():
                total[name] = total.get(name, 0) + count
    return sums

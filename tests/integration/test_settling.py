"""Settling: only what was read is settled, what Skyward acknowledged is kept in any case."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from consumer.errors import LeaseLost
from consumer.gradebook import (
    GradeKey,
    ItemKey,
    Kind,
    Origin,
    Reason,
    RunReport,
    ScoreStatus,
    Sent,
)
from consumer.store import runs
from consumer.store.connection import Pool, connect
from consumer.store.recording import record, record_within
from consumer.store.runs import FlushRun, Lease
from consumer.store.settling import SettledGrade, SettledItem, SettledLineItem, settle
from tests.recordables import (
    NOON,
    TONIGHT,
    apply,
    assessment,
    batch,
    grade,
    member,
    minute,
    tombstone,
)

ITEM = ItemKey("a-1", "c-7")
LATER = TONIGHT.at + timedelta(minutes=1)
EIGHT = Sent(Decimal(8), ScoreStatus.FULLY_GRADED, Origin.TEACHER)
ZERO = Sent(Decimal(0), ScoreStatus.FULLY_GRADED, Origin.CLOCK)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a database in which the district lakeside was applied."""
    async with await connect(database_url, size=4) as opened:
        await apply(opened)
        yield opened


@pytest.fixture
async def lease(pool: Pool) -> Lease:
    """Lakeside's lease."""
    taken = await runs.take_lease(pool, "lakeside", "replica-1", timedelta(minutes=5))
    assert taken is not None
    return taken


@pytest.fixture
async def run(pool: Pool, lease: Lease) -> FlushRun:
    """Tonight's run."""
    return await runs.begin(pool, lease, "nightly", TONIGHT, 1, TONIGHT.at)


def settled(
    kind: Kind, reason: Reason | None = None, student: str = "s-1", **changes: Any
) -> SettledGrade:
    """What became of a student's grade, read at revision and version 1."""
    return SettledGrade(
        key=GradeKey(*ITEM, student),
        revision=changes.pop("revision", 1),
        version=changes.pop("version", 1),
        kind=kind,
        reason=reason,
        detail=changes.pop("detail", ""),
        counts=changes.pop("counts", True),
        pending_since=changes.pop("pending_since", minute(0)),
        **changes,
    )


def posted(student: str = "s-1", sent: Sent = EIGHT, **changes: Any) -> SettledGrade:
    """A grade that Skyward acknowledged."""
    return settled(
        Kind.POST,
        student=student,
        sent=sent,
        attempted=True,
        score=sent.score,
        score_status=sent.score_status,
        origin=sent.origin,
        **changes,
    )


def line_item(kind: Kind, reason: Reason | None = None, **changes: Any) -> SettledLineItem:
    """What became of the line item."""
    acknowledged = {"title": "Unit 1"} if kind is Kind.POST else None
    return SettledLineItem(
        key=ITEM,
        sourced_id=changes.pop("sourced_id", "li-1"),
        kind=kind,
        reason=reason,
        detail="",
        posted=changes.pop("posted", acknowledged),
        otus_type="Quiz",
        refused=changes.pop("refused", None),
    )


async def settle_all(
    pool: Pool,
    run: FlushRun,
    lease: Lease,
    *grades: SettledGrade,
    line_items: tuple[SettledLineItem, ...] = (),
    items: tuple[SettledItem, ...] = (),
) -> None:
    """Settles one batch a minute after the cutoff."""
    await settle(pool, lease, run.run_id, grades, line_items, items, LATER)


async def row_of(pool: Pool, student: str = "s-1") -> dict[str, Any]:
    """The student's whole row."""
    row = await pool.fetchrow("SELECT * FROM grade WHERE student_id = $1", student)
    assert row is not None
    return dict(row)


async def item_of(pool: Pool) -> dict[str, Any]:
    """The assessment's whole row."""
    row = await pool.fetchrow("SELECT * FROM assessment")
    assert row is not None
    return dict(row)


async def report_of(pool: Pool) -> RunReport:
    """The run as it is reported."""
    [report] = await runs.reports(pool, "lakeside")
    return report


# -- a grade --------------------------------------------------------------------------------


async def test_a_posted_grade_is_settled_with_what_skyward_acknowledged(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1)), NOON)
    await settle_all(pool, run, lease, posted(allocated_id="theirs-1"))
    row = await row_of(pool)
    assert (row["state"], row["kind"], row["reason"]) == ("posted", "post", None)
    assert (row["sent_score"], row["sent_status"]) == (8, "fully graded")
    assert (row["sent_origin"], row["sent_at"], row["allocated_id"]) == (
        "teacher",
        LATER,
        "theirs-1",
    )
    assert (row["settled_version"], row["decided_at"]) == (1, LATER)
    assert (row["pending_since"], row["decide_from"]) == (None, None)


@pytest.mark.parametrize(
    ("kind", "reason", "state", "pending", "waits", "version"),
    [
        (Kind.SKIP, Reason.EXCUSED, "skipped", None, None, 1),
        (Kind.REJECT, Reason.STUDENT_UNKNOWN, "rejected", None, None, 1),
        (Kind.HOLD, Reason.NOT_DUE_YET, "pending", minute(0), None, None),
        (Kind.DEFER, Reason.THROTTLED, "pending", minute(0), minute(0), None),
    ],
)
async def test_every_other_decision_is_settled_in_its_state(
    pool: Pool,
    lease: Lease,
    run: FlushRun,
    kind: Kind,
    reason: Reason,
    state: str,
    pending: object,
    waits: object,
    version: int | None,
) -> None:
    await record(pool, batch(grade(1)), NOON)
    await settle_all(pool, run, lease, settled(kind, reason, detail="because"))
    row = await row_of(pool)
    assert (row["state"], row["kind"], row["reason"]) == (state, kind.value, reason.value)
    assert (row["pending_since"], row["decide_from"]) == (pending, waits)
    assert (row["settled_version"], row["detail"]) == (version, "because")
    assert (row["sent_at"], row["sent_score"]) == (None, None)


async def test_a_version_that_came_meanwhile_stays_pending_and_what_was_sent_is_kept(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1, 0)), NOON)
    await record(pool, batch(grade(2, 30, score="9")), NOON)
    await settle_all(pool, run, lease, posted(allocated_id="theirs-1"))
    row = await row_of(pool)
    assert (row["state"], row["kind"], row["score"]) == ("pending", None, 9)
    assert (row["pending_since"], row["decide_from"]) == (minute(0), minute(0))
    assert (row["settled_version"], row["decided_at"]) == (None, None)
    assert (row["sent_score"], row["sent_origin"], row["sent_at"]) == (8, "teacher", LATER)
    assert row["allocated_id"] == "theirs-1"


async def test_a_tombstone_that_came_meanwhile_stays_pending(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1)), NOON)
    await record(pool, batch(tombstone(grade(1), 5, 2)), NOON)
    await settle_all(pool, run, lease, posted())
    row = await row_of(pool)
    assert (row["state"], row["score"], row["sent_score"]) == ("pending", None, 8)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind.SKIP, Reason.EXCUSED),
        (Kind.REJECT, Reason.LOCKED),
        (Kind.HOLD, Reason.NOT_DUE_YET),
        (Kind.DEFER, Reason.THROTTLED),
    ],
)
async def test_a_decision_about_an_older_revision_writes_nothing(
    pool: Pool, lease: Lease, run: FlushRun, kind: Kind, reason: Reason
) -> None:
    await record(pool, batch(grade(1)), NOON)
    await record(pool, batch(grade(2, 30)), NOON)
    before = await row_of(pool)
    await settle_all(pool, run, lease, settled(kind, reason, refused="f"))
    assert await row_of(pool) == before


async def test_a_refusal_never_forgets_what_was_acknowledged_before(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1)), NOON)
    await settle_all(pool, run, lease, posted(allocated_id="theirs-1"))
    await record(pool, batch(grade(2, 30, score="9")), NOON)
    refused = settled(Kind.REJECT, Reason.LOCKED, revision=2, version=2, refused="fingerprint")
    await settle_all(pool, run, lease, refused)
    row = await row_of(pool)
    assert (row["state"], row["reason"], row["refused"]) == ("rejected", "locked", "fingerprint")
    assert (row["sent_score"], row["sent_at"], row["allocated_id"]) == (8, LATER, "theirs-1")


async def test_a_deleted_result_is_told_no_more(pool: Pool, lease: Lease, run: FlushRun) -> None:
    await record(pool, batch(grade(1)), NOON)
    await settle_all(pool, run, lease, posted())
    gone = settled(Kind.SKIP, Reason.DIVERGED, deleted=True, attempted=True)
    await settle_all(pool, run, lease, gone)
    row = await row_of(pool)
    assert (row["state"], row["reason"]) == ("skipped", "diverged")
    assert (row["sent_score"], row["sent_status"], row["sent_origin"], row["sent_at"]) == (
        None,
        None,
        None,
        None,
    )


async def test_a_deferred_grade_stays_pending_since_it_was(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1, 20)), NOON)
    deferred = settled(Kind.DEFER, Reason.THROTTLED, pending_since=minute(500))
    await settle_all(pool, run, lease, deferred)
    row = await row_of(pool)
    assert (row["pending_since"], row["decide_from"]) == (minute(20), minute(20))


# -- a student of whom no event came --------------------------------------------------------


def nobodys(of: SettledGrade) -> SettledGrade:
    """The same about an assignee of whom no event ever came."""
    return replace(of, revision=None, version=None)


async def test_a_zero_for_a_student_without_an_event_makes_the_row(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await settle_all(
        pool,
        run,
        lease,
        nobodys(posted("s-1", ZERO)),
        nobodys(settled(Kind.HOLD, Reason.ZEROS_HELD, "s-2")),
        nobodys(settled(Kind.DEFER, Reason.THROTTLED, "s-3")),
        nobodys(settled(Kind.SKIP, Reason.ZERO_NOT_ALLOWED, "s-4")),
    )
    zero = await row_of(pool, "s-1")
    assert (zero["version"], zero["state"], zero["sent_origin"]) == (None, "posted", "clock")
    states = {
        row["student_id"]: (row["state"], row["pending_since"], row["decide_from"])
        for row in await pool.fetch("SELECT * FROM grade")
    }
    assert states == {
        "s-1": ("posted", None, None),
        "s-2": ("pending", minute(0), None),
        "s-3": ("pending", minute(0), minute(0)),
        "s-4": ("skipped", None, None),
    }


async def test_an_event_that_came_while_a_zero_was_sent_stays_pending(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1, 30), grade(1, 30, student="s-2")), NOON)
    before = await row_of(pool, "s-2")
    await settle_all(
        pool,
        run,
        lease,
        nobodys(posted("s-1", ZERO)),
        nobodys(settled(Kind.HOLD, Reason.ZEROS_HELD, "s-2")),
    )
    row = await row_of(pool)
    assert (row["state"], row["version"], row["score"]) == ("pending", 1, 8)
    assert (row["decide_from"], row["sent_score"], row["sent_origin"]) == (minute(30), 0, "clock")
    assert await row_of(pool, "s-2") == before


# -- line items, and items as a whole -------------------------------------------------------


async def test_a_refused_line_item_keeps_what_was_acknowledged_before(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await settle_all(pool, run, lease, line_items=(line_item(Kind.POST),))
    refusal = line_item(Kind.REJECT, Reason.CATEGORY_REFUSED, refused="f", sourced_id="another")
    await settle_all(pool, run, lease, line_items=(refusal,))
    row = await pool.fetchrow("SELECT * FROM line_item")
    assert row is not None
    assert (row["sourced_id"], row["posted"], row["posted_at"]) == (
        "li-1",
        {"title": "Unit 1"},
        LATER,
    )
    assert (row["refused"], row["reason"]) == ("f", "category_refused")
    await settle_all(pool, run, lease, line_items=(line_item(Kind.POST),))
    assert await pool.fetchval("SELECT count(*) FROM line_item WHERE refused IS NULL") == 1


async def test_a_deferred_line_item_leaves_no_row_but_that_it_was_tried(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    deferred = line_item(Kind.DEFER, Reason.SKYWARD_UNAVAILABLE)
    await settle_all(pool, run, lease, line_items=(deferred,))
    assert await pool.fetchval("SELECT count(*) FROM line_item") == 0
    [sent] = await pool.fetch("SELECT student_id, outcome, reason FROM sent")
    assert tuple(sent) == ("", "defer", "skyward_unavailable")


async def test_an_item_that_was_decided_whole_waits_for_its_moment(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(assessment(4, 10)), NOON)
    whole = SettledItem(ITEM, 1, 4, minute(10), minute(60))
    await settle_all(pool, run, lease, items=(whole,))
    row = await item_of(pool)
    assert (row["decide_from"], row["wake_at"]) == (None, minute(60))
    assert row["settled_version"] == 4


async def test_an_item_that_changed_meanwhile_is_decided_again(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(assessment(4, 10)), NOON)
    await record(pool, batch(assessment(5, 30)), NOON)
    before = await item_of(pool)
    whole = SettledItem(ITEM, 1, 4, minute(10), minute(60))
    await settle_all(pool, run, lease, items=(whole,))
    assert await item_of(pool) == before
    assert before["decide_from"] == minute(10)


async def test_an_item_that_was_marked_meanwhile_is_decided_again(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(assessment(4, 10)), NOON)
    # Read while the clock alone asked for it; then the settings marked it.
    whole = SettledItem(ITEM, 1, 4, None, minute(60))
    await settle_all(pool, run, lease, items=(whole,))
    assert (await item_of(pool))["decide_from"] == minute(10)


@pytest.mark.parametrize("change", [member(1, True, 30), member(1, False, 30)])
async def test_a_group_change_that_came_while_its_item_was_decided_is_not_lost(
    pool: Pool, lease: Lease, run: FlushRun, change: Any
) -> None:
    await record(pool, batch(assessment(4, 10)), NOON)
    whole = SettledItem(ITEM, 1, 4, minute(10), None)
    await record(pool, batch(change), NOON)
    await settle_all(pool, run, lease, items=(whole,))
    assert (await item_of(pool))["decide_from"] == minute(10)


# -- the lease ------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs_gone", [1, 2])
async def test_a_lost_lease_writes_nothing_and_says_so(
    pool: Pool, run: FlushRun, lease: Lease, epochs_gone: int
) -> None:
    await record(pool, batch(grade(1), assessment(1)), NOON)
    await pool.execute("UPDATE lease SET epoch = epoch + $1, holder = 'replica-2'", epochs_gone)

    async def stored() -> list[Any]:
        tables = ("grade", "line_item", "assessment", "sent", "flush_run")
        return [await pool.fetch(f"SELECT * FROM {table}") for table in tables]

    before = await stored()
    with pytest.raises(LeaseLost, match="lakeside"):
        await settle_all(
            pool,
            run,
            lease,
            posted(),
            nobodys(posted("s-2", ZERO)),
            line_items=(line_item(Kind.POST),),
            items=(SettledItem(ITEM, 1, 1, minute(0), None),),
        )
    assert await stored() == before


# -- meanwhile ------------------------------------------------------------------------------


async def waits_for_a_lock(pool: Pool) -> None:
    """Until somebody in this database waits for another's row."""
    while not await pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database())"
    ):
        await asyncio.sleep(0.001)


async def test_a_settling_that_waits_for_intake_takes_in_what_intake_wrote(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1, 0), assessment(1, 0)), NOON)
    whole = SettledItem(ITEM, 1, 1, minute(0), minute(60))
    async with pool.acquire() as intake, asyncio.TaskGroup() as tasks, intake.transaction():
        newer = batch(grade(2, 30, score="9"), grade(1, 30, student="s-2"), assessment(2, 30))
        await record_within(intake, newer, NOON)
        tasks.create_task(
            settle_all(
                pool,
                run,
                lease,
                posted(),
                nobodys(posted("s-2", ZERO)),
                items=(whole,),
            )
        )
        await waits_for_a_lock(pool)
    row, zero, item = await row_of(pool), await row_of(pool, "s-2"), await item_of(pool)
    assert (row["state"], row["score"], row["sent_score"]) == ("pending", 9, 8)
    assert (row["settled_version"], row["decide_from"]) == (None, minute(0))
    assert (zero["state"], zero["score"], zero["sent_score"]) == ("pending", 8, 0)
    assert (item["settled_version"], item["decide_from"]) == (None, minute(0))
    assert (await report_of(pool)).results["posted"] == 2


async def test_intake_and_a_settling_that_want_the_same_rows_never_wait_for_each_other(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1, 0), assessment(1, 0)), NOON)
    whole = SettledItem(ITEM, 1, 1, minute(0), minute(60))
    async with pool.acquire() as intake, asyncio.TaskGroup() as tasks, intake.transaction():
        await record_within(intake, batch(assessment(2, 30)), NOON)
        tasks.create_task(settle_all(pool, run, lease, posted(), items=(whole,)))
        await waits_for_a_lock(pool)
        # Of a deadlock one of the two would be the victim.
        await record_within(intake, batch(grade(2, 30, score="9")), NOON)
    row = await row_of(pool)
    assert (row["state"], row["score"], row["sent_score"]) == ("pending", 9, 8)


async def test_a_lease_that_goes_while_a_settling_waits_for_it_writes_nothing(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1)), NOON)
    before = await row_of(pool)
    async with pool.acquire() as another:
        taken = another.transaction()
        await taken.start()
        await another.execute("UPDATE lease SET epoch = epoch + 1, holder = 'replica-2'")
        late = asyncio.create_task(settle_all(pool, run, lease, posted()))
        await waits_for_a_lock(pool)
        await taken.commit()
        with pytest.raises(LeaseLost, match="lakeside"):
            await late
    assert await row_of(pool) == before
    assert await pool.fetchval("SELECT count(*) FROM sent") == 0


async def test_whoever_would_take_the_lease_waits_for_a_settling_that_began_under_it(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(grade(1)), NOON)
    await pool.execute("UPDATE lease SET expires_at = '-infinity'")
    async with pool.acquire() as intake, asyncio.TaskGroup() as tasks:
        async with intake.transaction():
            await intake.execute("SELECT FROM grade FOR UPDATE")
            settling = tasks.create_task(settle_all(pool, run, lease, posted()))
            await waits_for_a_lock(pool)
            taking = tasks.create_task(
                runs.take_lease(pool, "lakeside", "replica-2", timedelta(minutes=5))
            )
            await asyncio.sleep(0.2)
            assert not taking.done()
        await settling
        taken = await taking
    assert taken is not None
    assert taken.epoch == lease.epoch + 1
    assert (await row_of(pool))["state"] == "posted"


# -- the run's counts -----------------------------------------------------------------------


async def test_counts_and_reasons_of_the_run_add_up_over_batches(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    students = [f"s-{number}" for number in range(1, 10)]
    await record(
        pool, batch(*(grade(1, 0, n, student=student) for n, student in enumerate(students))), NOON
    )
    await settle_all(
        pool,
        run,
        lease,
        posted("s-1"),
        posted("s-2", ZERO),
        settled(Kind.SKIP, Reason.EXCUSED, "s-3"),
        settled(Kind.SKIP, Reason.EXCLUDED, "s-4"),
        settled(Kind.HOLD, Reason.NOT_DUE_YET, "s-5"),
        line_items=(line_item(Kind.POST),),
    )
    await settle_all(pool, run, lease)
    await settle_all(
        pool,
        run,
        lease,
        settled(Kind.SKIP, Reason.EXCUSED, "s-6"),
        settled(Kind.REJECT, Reason.STUDENT_UNKNOWN, "s-7", attempted=True),
        # Deferred ones are counted when the run closes, those that did not change not at all,
        # and neither is one that Skyward holds already.
        settled(Kind.DEFER, Reason.THROTTLED, "s-8"),
        settled(Kind.SKIP, Reason.EXCUSED, "s-9", counts=False),
        settled(Kind.POST, student="s-1", origin=Origin.TEACHER, sent=EIGHT),
        line_items=(line_item(Kind.REJECT, Reason.CATEGORY_REFUSED, refused="f"),),
    )
    report = await report_of(pool)
    assert report.results == {"posted": 2, "rejected": 1, "skipped": 3, "held": 1, "deferred": 0}
    assert report.reasons == {
        "excused": 2,
        "excluded": 1,
        "not_due_yet": 1,
        "student_unknown": 1,
    }
    assert report.zeros_posted == 1
    assert (report.line_items_posted, report.line_items_rejected) == (1, 1)


async def test_everything_that_was_sent_is_kept_with_its_outcome(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await settle_all(
        pool,
        run,
        lease,
        posted("s-1"),
        settled(Kind.REJECT, Reason.LOCKED, "s-2", attempted=True, score=Decimal("7.5")),
        settled(Kind.DEFER, Reason.THROTTLED, "s-3", attempted=True),
        # A withdrawal that Skyward acknowledged.
        settled(Kind.SKIP, Reason.DIVERGED, "s-4", attempted=True, deleted=True),
        settled(Kind.SKIP, Reason.EXCUSED, "s-5"),
    )
    rows = await pool.fetch("SELECT student_id, score, outcome, reason FROM sent ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        ("s-1", 8, "post", None),
        ("s-2", Decimal("7.5"), "reject", "locked"),
        ("s-3", None, "defer", "throttled"),
        ("s-4", None, "post", "diverged"),
    ]
    assert await pool.fetchval("SELECT bool_and(at = $1 AND run_id = $2) FROM sent", LATER,
                               run.run_id)  # fmt: skip


# -- the state machine ----------------------------------------------------------------------

ILLEGAL_GRADES = [
    "state = 'sent'",
    "state = 'posted'",
    "state = 'skipped', kind = 'skip', reason = 'excused'",
    "kind = 'skip', reason = 'excused'",
    "kind = 'reject', reason = 'locked'",
    "kind = 'post'",
    "kind = 'hold'",
    "reason = 'not_due_yet'",
    "pending_since = NULL",
    "decide_from = NULL",
    "decide_from = NULL, kind = 'defer', reason = 'throttled'",
    "sent_at = now()",
    "sent_status = 'fully graded', sent_origin = 'clock'",
    "sent_at = now(), sent_status = 'fully graded'",
    "sent_at = now(), sent_status = 'fully graded', sent_origin = 'somebody'",
    "state = 'posted', kind = 'post', pending_since = NULL, decide_from = NULL",
    "state = 'skipped', kind = 'skip', pending_since = NULL, decide_from = NULL",
    "completion = 'done'",
    "submission = 'early'",
    "zero_ruling = 'perhaps'",
    # A state without its decision.
    (
        "state = 'posted', pending_since = NULL, decide_from = NULL, sent_at = now(),"
        " sent_status = 'fully graded', sent_origin = 'teacher'"
    ),
    "state = 'rejected', pending_since = NULL, decide_from = NULL",
    "state = 'skipped', pending_since = NULL, decide_from = NULL",
]
ILLEGAL = [
    "UPDATE flush_run SET state = 'failed', finished_at = now()",
    "UPDATE flush_run SET state = 'done'",
    "UPDATE flush_run SET finished_at = now()",
    "UPDATE flush_run SET kind = 'hourly'",
    "UPDATE intake_offset SET next_offset = -1",
    "UPDATE district SET paused_until = now()",
    "UPDATE district SET revision = 0",
    "UPDATE assessment SET status = 'archived'",
    "UPDATE assessment SET grading_scale = 'letters'",
    "UPDATE assessment SET assignees = '[]'",
    "UPDATE line_item SET posted = NULL",
    "UPDATE line_item SET refused = 'f'",
    "UPDATE sent SET outcome = 'skip'",
]


async def refused_by(pool: Pool, statements: list[str]) -> list[str]:
    """Those of the statements that a CHECK refuses; the others' work is undone."""
    found = []
    for statement in statements:
        async with pool.acquire() as connection:
            undone = connection.transaction()
            await undone.start()
            try:
                await connection.execute(statement)
            except asyncpg.CheckViolationError:
                found.append(statement)
            finally:
                await undone.rollback()
    return found


async def test_the_state_machine_refuses_every_illegal_grade(pool: Pool) -> None:
    await record(pool, batch(grade(1)), NOON)
    statements = [f"UPDATE grade SET {illegal}" for illegal in ILLEGAL_GRADES]
    assert await refused_by(pool, statements) == statements


async def test_no_other_table_takes_what_makes_no_sense(
    pool: Pool, lease: Lease, run: FlushRun
) -> None:
    await record(pool, batch(assessment(1)), NOON)
    await settle_all(pool, run, lease, line_items=(line_item(Kind.POST),))
    assert await refused_by(pool, ILLEGAL) == ILLEGAL

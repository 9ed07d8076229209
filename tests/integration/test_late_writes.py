"""A write that arrives after the one that came after it: an old value stands, but not for long."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from consumer.gradebook import (
    GradeKey,
    ItemKey,
    Kind,
    Result,
    ScoreStatus,
    line_item_id,
    result_id,
)
from consumer.store import districts
from tests.integration.nights import Nights, nights_of
from tests.integration.simulated_time import SimulatedTime

CHICAGO_NOON = datetime(2026, 11, 20, 18, tzinfo=UTC)
CUTOFF = CHICAGO_NOON + timedelta(hours=10)
NAMES = ("quiz", "essay", "lab")
OLD, NEW = ({f"s-{n}": score for n in range(len(NAMES))} for score in "89")


@pytest.fixture
async def nights(tmp_path: Path, database_url: str) -> AsyncIterator[Nights]:
    async with nights_of(tmp_path, database_url, now=CHICAGO_NOON) as built:
        yield built


async def a_first_attempt_in_doubt(nights: Nights, fault: str) -> SimulatedTime:
    """A night whose first attempt sent 8 everywhere and heard nothing, by ``fault``."""
    time = SimulatedTime(nights)
    await time.begin()
    for student, name in enumerate(NAMES):
        nights.evening.assess(name, due_days=5)
        nights.evening.grade(name, student, "8")
    nights.skyward.fault(fault, match="PUT .*/results/", times=None)
    (first,) = await time.pass_to(CUTOFF + timedelta(seconds=30))
    nights.skyward.clear_faults()
    assert first.state == "deferred"
    return time


async def an_old_value_stands(nights: Nights) -> SimulatedTime:
    """A night whose first attempt sent 8; then 9 was posted, and then the 8 arrived."""
    # To its sender a write is lost in the same way when it is on its way for long.
    time = await a_first_attempt_in_doubt(nights, "reset_before")
    assert nights.scores() == {}
    for student, name in enumerate(NAMES):
        nights.evening.grade(name, student, "9")
    (second,) = await time.pass_to(CUTOFF + timedelta(seconds=80))
    assert (second.state, nights.scores()) == ("done", NEW)
    for student, name in enumerate(NAMES):
        await arrives(nights, name, student)
    assert nights.scores() == OLD
    return time


async def arrives(nights: Nights, name: str, student: int) -> None:
    """The write of an 8 that was on its way."""
    stored = await districts.find(nights.pool, "lakeside")
    assert stored is not None
    item = ItemKey(name, "c-1")
    late = Result(
        sourced_id=result_id("lakeside", GradeKey(*item, f"s-{student}")),
        line_item_sourced_id=line_item_id("lakeside", item),
        student_sourced_id=nights.evening.students[student],
        score=Decimal(8),
        score_status=ScoreStatus.FULLY_GRADED,
        score_date=CUTOFF,
        modified_at=CUTOFF,
    )
    async with nights.flusher().connect(stored, stored.district) as skyward:
        assert (await skyward.put_result(late)).kind is Kind.POST


async def test_an_old_value_that_arrives_after_a_newer_one_gives_way_to_it(nights: Nights) -> None:
    time = await an_old_value_stands(nights)
    (third,) = await time.pass_to(CUTOFF + timedelta(minutes=5))
    assert (third.state, third.cutoff_at, nights.scores()) == ("done", CUTOFF, NEW)
    # Nothing is in doubt any more, and the next run is the next night's.
    assert await nights.pool.fetchval("SELECT in_doubt FROM lease") == []
    assert await time.pass_to(CUTOFF + timedelta(hours=23)) == []
    (fourth,) = await time.pass_to(CUTOFF + timedelta(hours=25))
    assert (fourth.results["posted"], nights.scores()) == (0, NEW)


async def test_what_a_teacher_changes_a_day_later_is_not_taken_for_a_late_write(
    nights: Nights,
) -> None:
    time = await an_old_value_stands(nights)
    await nights.pool.execute(
        "UPDATE lease SET look_again_at = look_again_at - interval '61 minutes'"
    )
    await time.pass_to(CUTOFF + timedelta(hours=25))
    assert nights.scores() == OLD
    assert await nights.pool.fetchval("SELECT in_doubt FROM lease") == []


async def test_where_nothing_is_late_skyward_is_asked_once_more_and_nothing_is_sent(
    nights: Nights,
) -> None:
    time = await a_first_attempt_in_doubt(nights, "reset_after")
    (second,) = await time.pass_to(CUTOFF + timedelta(seconds=80))
    assert second.state == "done"
    sent = nights.operations("putResult")
    (third,) = await time.pass_to(CUTOFF + timedelta(minutes=5))
    assert third.results == second.results
    assert nights.operations("putResult") == sent
    assert await time.pass_to(CUTOFF + timedelta(hours=23)) == []

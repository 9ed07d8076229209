"""Zeros come from the clock, by every ruling, over several nights."""

from datetime import timedelta
from typing import Any

import pytest

from consumer.rules import ZeroRuling
from consumer.store import held_zeros
from tests.integration.nights import Nights


def due(nights: Nights, *, students: int = 2, due_days: float = -1, **changes: Any) -> None:
    """A quiz that is due, assigned to the first students alone."""
    assignees = [
        {"student_id": f"s-{n}", "sourced_id": nights.evening.students[n]} for n in range(students)
    ]
    nights.evening.assess("quiz", due_days=due_days, **({"assignees": assignees} | changes))


async def zeros(nights: Nights, **changes: Any) -> None:
    await nights.apply(zeros=nights.settings["zeros"] | changes)


def statuses(nights: Nights) -> dict[str, str]:
    """The scoreStatus of each result that Skyward holds, by the student's number."""
    number = {student: n for n, student in enumerate(nights.evening.students)}
    lines = [line for line in nights.skyward.gradebook() if line.get("student") in number]
    return {f"s-{number[line['student']]}": line["scoreStatus"] for line in lines}


async def origins(nights: Nights) -> dict[str, str]:
    rows = await nights.pool.fetch("SELECT student_id, sent_origin FROM grade ORDER BY student_id")
    return {row["student_id"]: row["sent_origin"] for row in rows}


async def test_every_assignee_who_handed_nothing_in_gets_a_zero_and_its_origin_is_the_clock(
    nights: Nights,
) -> None:
    due(nights, students=5)
    nights.evening.grade("quiz", 0, "8")
    nights.evening.grade("quiz", 1, None, completion="not_started", submission="missing")
    nights.evening.grade("quiz", 2, None, completion="in_progress", submission=None)
    report = await nights.flush()
    assert (report.zeros_posted, report.results["posted"]) == (4, 5)
    assert nights.scores() == {"s-0": "8", "s-1": "0", "s-2": "0", "s-3": "0", "s-4": "0"}
    clock = dict.fromkeys(("s-1", "s-2", "s-3", "s-4"), "clock")
    assert await origins(nights) == {"s-0": "teacher"} | clock


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"completion": "turned_in"}, "not_graded"),
        ({"completion": "turned_in", "submission": "late"}, "not_graded"),
        ({"completion": "graded"}, "score_invalid"),
        ({"completion": "not_started", "submission": "excused"}, "excused"),
        ({"completion": "not_started", "submission": "excluded"}, "excluded"),
        ({"completion": "in_progress", "score": "4", "submission": None}, "not_graded"),
    ],
)
async def test_never_a_zero_for(nights: Nights, said: dict[str, Any], reason: str) -> None:
    due(nights, students=1)
    nights.evening.grade("quiz", 0, said.pop("score", None), **said)
    report = await nights.flush()
    assert (report.zeros_posted, report.reasons) == (0, {reason: 1})
    assert (await nights.flush(days=1)).zeros_posted == 0
    assert nights.scores() == {}


@pytest.mark.parametrize(
    ("changes", "switch", "detail"),
    [
        ({"format": "plus"}, {"plus": True}, "plus"),
        ({"due_days": -20}, {"retroactive": True}, "retroactive"),
    ],
)
async def test_a_zero_that_needs_a_switch_comes_with_it(
    nights: Nights, changes: dict[str, Any], switch: dict[str, Any], detail: str
) -> None:
    await nights.apply(live_since=(nights.cutoff().service_date - timedelta(days=9)).isoformat())
    due(nights, **({"assigned_days": -21} | changes))
    assert (await nights.flush()).reasons == {"zero_not_allowed": 2}
    assert await nights.pool.fetchval("SELECT min(detail) FROM grade") is not None
    told = await nights.pool.fetchval("SELECT min(detail) FROM grade")
    assert told.startswith(detail)
    await zeros(nights, **switch)
    assert (await nights.flush(days=1)).zeros_posted == 2


async def test_what_was_begun_is_a_zero_only_where_the_district_says_so(nights: Nights) -> None:
    await zeros(nights, in_progress=False)
    due(nights, students=1)
    nights.evening.grade("quiz", 0, None, completion="in_progress", submission=None)
    assert (await nights.flush()).reasons == {"zero_not_allowed": 1}
    await zeros(nights, in_progress=True)
    assert (await nights.flush(days=1)).zeros_posted == 1


async def test_no_zero_for_what_was_due_before_its_assigner_joined(nights: Nights) -> None:
    due(nights, due_days=-3, assigned_by={"user_id": "t-9", "in_sis": True})
    nights.evening.join("t-9", days=-2)
    assert (await nights.flush()).reasons == {"zero_not_allowed": 2}
    due(nights, due_days=-1, assigned_by={"user_id": "t-9", "in_sis": True})
    assert (await nights.flush()).zeros_posted == 2


async def test_without_a_due_date_it_never_becomes_a_zero(nights: Nights) -> None:
    due(nights, assigned_days=-20, due_at=None)
    nights.evening.grade("quiz", 0, None, completion="in_progress", submission=None)
    assert (await nights.flush()).reasons == {"not_due_yet": 1}
    assert (await nights.flush(days=10)).zeros_posted == 0


async def test_an_item_of_ten_and_a_half_points_gets_no_zero_under_whole_points_possible(
    nights: Nights,
) -> None:
    await nights.apply(rules=nights.settings["rules"] | {"whole_number_rule": "points_possible"})
    due(nights, points_possible="10.5")
    assert (await nights.flush()).reasons == {"score_not_whole": 2}
    due(nights, points_possible="10")
    assert (await nights.flush()).zeros_posted == 2


async def test_a_zero_never_overwrites_a_teachers_score(nights: Nights) -> None:
    due(nights, students=1)
    nights.evening.grade("quiz", 0, "7")
    await nights.flush()
    nights.evening.grade("quiz", 0, None, completion="in_progress", submission=None)
    report = await nights.flush(days=1)
    assert (report.zeros_posted, report.reasons) == (0, {"diverged": 1})
    assert nights.scores() == {"s-0": "7"}


async def test_a_later_grade_replaces_the_zero_and_a_zero_from_the_teacher_is_the_teachers(
    nights: Nights,
) -> None:
    due(nights)
    await nights.flush()
    nights.evening.grade("quiz", 0, "6", submission="late")
    nights.evening.grade("quiz", 1, "0", submission="late")
    report = await nights.flush(days=1)
    assert report.zeros_posted == 0
    assert nights.scores() == {"s-0": "6", "s-1": "0"}
    assert (await origins(nights))["s-0"] == "teacher"


async def test_the_score_status_of_a_zero_is_the_districts_choice(nights: Nights) -> None:
    await zeros(nights, score_status="not submitted")
    due(nights, students=1)
    await nights.flush()
    assert statuses(nights) == {"s-0": "not submitted"}


async def test_a_teachers_zero_is_sent_where_the_clocks_stood_as_not_submitted(
    nights: Nights,
) -> None:
    await zeros(nights, score_status="not submitted")
    due(nights, students=1)
    await nights.flush()
    nights.evening.grade("quiz", 0, "0")
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert statuses(nights) == {"s-0": "fully graded"}


async def test_zeros_that_stand_in_skyward_stay_when_the_district_chooses_another_status(
    nights: Nights,
) -> None:
    due(nights)
    assert (await nights.flush()).zeros_posted == 2
    await zeros(nights, score_status="not submitted")
    report = await nights.flush(days=1)
    assert (report.zeros_posted, report.results["posted"]) == (0, 0)


async def test_a_due_date_that_moves_ahead_leaves_the_zero_and_reports_it_until_it_is_due_again(
    nights: Nights,
) -> None:
    due(nights)
    assert (await nights.flush()).zeros_posted == 2
    due(nights, due_days=3)
    moved = await nights.flush()
    assert (moved.results["posted"], moved.reasons) == (0, {"diverged": 2})
    again = await nights.flush(days=4)
    assert (again.results["posted"], again.reasons) == (0, {})
    states = await nights.pool.fetch("SELECT DISTINCT state FROM grade")
    assert [row["state"] for row in states] == ["posted"]


async def test_a_zero_that_was_withdrawn_when_its_due_date_moved_comes_back_when_it_is_due(
    nights: Nights,
) -> None:
    await nights.apply(rules=nights.settings["rules"] | {"after_posting": {"removed": "exempt"}})
    due(nights, students=1)
    assert (await nights.flush()).zeros_posted == 1
    due(nights, students=1, due_days=3)
    assert (await nights.flush()).reasons == {"diverged": 1}
    assert statuses(nights) == {"s-0": "exempt"}
    assert (await nights.flush(days=1)).reasons == {}
    assert (await nights.flush(days=4)).zeros_posted == 1
    assert statuses(nights) == {"s-0": "fully graded"}


async def test_the_breaker_holds_all_zeros_until_they_are_released_and_nothing_else(
    nights: Nights,
) -> None:
    await zeros(nights, max_count=1, max_share=0.5)
    due(nights, students=4)
    nights.evening.grade("quiz", 0, "8")
    first = await nights.flush()
    assert (first.results["posted"], first.reasons) == (1, {"zeros_held": 3})
    assert (await nights.flush(days=1)).zeros_posted == 0
    assert await held_zeros.rule(nights.pool, "lakeside", ZeroRuling.RELEASED, nights.now) == 3
    assert (await nights.flush(days=1)).zeros_posted == 3
    assert (await nights.flush(days=1)).zeros_posted == 0


async def test_discarded_zeros_never_go_and_a_grade_that_comes_later_does(
    nights: Nights,
) -> None:
    await zeros(nights, max_count=1, max_share=0.5)
    due(nights, students=4)
    await nights.flush()
    await held_zeros.rule(nights.pool, "lakeside", ZeroRuling.DISCARDED, nights.now)
    assert (await nights.flush(days=1)).reasons == {"zero_not_allowed": 4}
    nights.evening.grade("quiz", 0, "5", submission="late")
    report = await nights.flush(days=1)
    assert (report.results["posted"], report.zeros_posted) == (1, 0)
    assert nights.scores() == {"s-0": "5"}


async def test_the_breaker_needs_both_the_count_and_the_share(nights: Nights) -> None:
    await zeros(nights, max_count=3, max_share=0.5)
    due(nights, students=4)
    nights.evening.grade("quiz", 0, "8")
    assert (await nights.flush()).zeros_posted == 3  # three of four, but not more than three
    await zeros(nights, max_count=1, max_share=0.75)
    nights.evening.assess("test", assignees=[])
    due(nights, students=8)
    for student in (4, 5):
        nights.evening.grade("quiz", student, "8")
    assert (await nights.flush(days=1)).zeros_posted == 2  # more than one, but a quarter


async def test_a_student_who_is_assigned_later_gets_a_zero_too_and_one_who_left_none(
    nights: Nights,
) -> None:
    due(nights, students=1)
    assert (await nights.flush()).zeros_posted == 1
    due(nights, students=3)
    assert (await nights.flush(days=1)).zeros_posted == 2
    due(nights, students=1, due_days=-0.5)
    report = await nights.flush(days=1)
    assert (report.zeros_posted, report.reasons) == (0, {"diverged": 2})

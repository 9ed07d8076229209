"""What was kept back is decided again exactly when something that its decision used changed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from consumer.gradebook import RunReport
from tests.integration.nights import Nights

Step = Callable[[Nights], Awaitable[None]]
OLD = {"assigned_days": -70, "due_days": -50}  # in the period that has closed
LATE_TEACHER = {"user_id": "t-9", "in_sis": True}


def quiz(**changes: Any) -> Step:
    """Otus says this of the quiz, which is assigned to the graded student alone."""

    async def step(nights: Nights) -> None:
        said: dict[str, Any] = {"due_days": 5, "assignees": alone(nights)}
        nights.evening.assess("quiz", **(said | changes))

    return step


def alone(nights: Nights) -> list[dict[str, str]]:
    return [{"student_id": "s-0", "sourced_id": nights.evening.students[0]}]


def graded(score: str | None = "8", **changes: Any) -> Step:
    async def step(nights: Nights) -> None:
        nights.evening.grade("quiz", 0, score, **changes)

    return step


def settings(**changes: Any) -> Step:
    async def step(nights: Nights) -> None:
        await nights.apply(**changes)

    return step


def rules(**changes: Any) -> Step:
    async def step(nights: Nights) -> None:
        await nights.apply(rules=nights.settings["rules"] | changes)

    return step


def effective(days: int) -> Step:
    """The effective date, so many days from today."""

    async def step(nights: Nights) -> None:
        day = nights.cutoff().service_date + timedelta(days=days)
        await nights.apply(effective_date=day.isoformat())

    return step


def mapped(**categories: str) -> Step:
    async def step(nights: Nights) -> None:
        await nights.apply(categories=nights.settings["categories"] | categories)

    return step


def joined(teacher: str) -> Step:
    async def step(nights: Nights) -> None:
        nights.evening.join(teacher)

    return step


def category(*, active: bool) -> Step:
    """The category of the quiz in the class's gradebook."""

    async def step(nights: Nights) -> None:
        class_id = nights.evening.classes[0]
        nights.skyward.act("setCategory", class_id=class_id, category="cat-test", active=active)

    return step


def district_level(yes: bool) -> Step:
    async def step(nights: Nights) -> None:
        found = nights.skyward.settings()["categories"]
        found["cat-test"]["district_level"] = yes
        found["cat-homework"]["district_level"] = True
        nights.skyward.configure(
            categories=found,
            class_categories={nights.evening.classes[0]: ["cat-test", "cat-homework"]},
        )

    return step


def moved_period(number: int, start: int, end: int) -> Step:
    """The office gives a grading period other dates, in days from today."""

    async def step(nights: Nights) -> None:
        today = nights.cutoff().service_date
        nights.skyward.act(
            "movePeriod",
            period=nights.period(number),
            start=(today + timedelta(days=start)).isoformat(),
            end=(today + timedelta(days=end)).isoformat(),
        )

    return step


def refused(status: int = 422) -> Step:
    async def step(nights: Nights) -> None:
        nights.skyward.fault("status", match="PUT .*/results/", status=status, times=1)

    return step


class Dependency(NamedTuple):
    """What stops the grade at first, under which reason, and the change that lets it go."""

    reason: str
    before: tuple[Step, ...]
    change: tuple[Step, ...]


DEPENDENCIES = {
    "its own new version: a whole score": Dependency(
        "score_not_whole", (quiz(), graded("8.5")), (graded("8"),)
    ),
    "its own new version: graded at last": Dependency(
        "not_graded", (quiz(), graded(None, completion="turned_in")), (graded(),)
    ),
    "its own new version: the mark Excluded is taken off": Dependency(
        "excluded", (quiz(), graded(submission="excluded")), (graded(),)
    ),
    "its own new version: no longer Excused": Dependency(
        "excused", (quiz(), graded(submission="excused")), (graded(),)
    ),
    "its own new version: a score that is no longer negative": Dependency(
        "score_invalid", (quiz(), graded("-1")), (graded(),)
    ),
    "its assessment comes at last": Dependency("assessment_unknown", (graded(),), (quiz(),)),
    "its assessment: assigned again": Dependency(
        "unassigned", (quiz(status="unassigned"), graded()), (quiz(),)
    ),
    "its assessment: no longer deleted": Dependency(
        "deleted", (quiz(status="deleted"), graded()), (quiz(),)
    ),
    "its assessment: the student is assigned": Dependency(
        "student_not_assigned", (quiz(assignees=[]), graded()), (quiz(),)
    ),
    "its assessment: points instead of standards": Dependency(
        "standards_based", (quiz(grading_scale="standards"), graded()), (quiz(),)
    ),
    "its assessment: points possible above 0": Dependency(
        "points_possible_invalid", (quiz(points_possible="0"), graded()), (quiz(),)
    ),
    "its assessment: Include Score in Final Grade is switched on": Dependency(
        "not_in_final_grade", (quiz(include_in_final_grade=False), graded()), (quiz(),)
    ),
    "its assessment: assigned by one who is in the SIS": Dependency(
        "assigner_not_in_sis",
        (quiz(assigned_by={"user_id": "admin", "in_sis": False}), graded()),
        (quiz(),),
    ),
    "its assessment: named at last": Dependency(
        "name_empty", (quiz(title=" "), graded()), (quiz(),)
    ),
    "its assessment: a name of 50 becomes one of 49": Dependency(
        "name_too_long", (quiz(title="x" * 50), graded()), (quiz(title="x" * 49),)
    ),
    "its assessment: its dates move into an open period": Dependency(
        "grading_period_closed", (quiz(**OLD), graded()), (quiz(),)
    ),
    "its assessment: its due date moves into a period": Dependency(
        "grading_period_unknown", (quiz(due_days=300), graded()), (quiz(),)
    ),
    "its assessment: a due date is set": Dependency(
        "due_date_missing",
        (rules(due_date_missing="hold"), quiz(due_at=None), graded()),
        (quiz(),),
    ),
    "group membership: the assigner joins": Dependency(
        "assigner_not_in_group", (quiz(assigned_by=LATE_TEACHER), graded()), (joined("t-9"),)
    ),
    "group membership: the district file names the assigner": Dependency(
        "assigner_not_in_group",
        (quiz(assigned_by=LATE_TEACHER), graded()),
        (settings(group=["t-9"]),),
    ),
    "the mapping: the type gets a category": Dependency(
        "category_unmapped", (quiz(type="Kahoot"), graded()), (mapped(Kahoot="cat-test"),)
    ),
    "the mapping: another category, which is active": Dependency(
        "category_inactive",
        (category(active=False), quiz(), graded()),
        (mapped(Quiz="cat-homework"),),
    ),
    "the effective date moves back": Dependency(
        "before_effective_date",
        (effective(-3), quiz(assigned_days=-6, changed_days=-6), graded()),
        (effective(-10),),
    ),
    "the effective date that lies ahead moves to today": Dependency(
        "effective_date_in_future", (effective(9), quiz(), graded()), (effective(-1),)
    ),
    "another setting: whole points possible instead of whole grades": Dependency(
        "score_not_whole",
        (quiz(), graded("8.5")),
        (rules(whole_number_rule="points_possible"),),
    ),
    "another setting: extra credit is sent": Dependency(
        "over_points_possible",
        (rules(over_points_possible="hold"), quiz(), graded("12")),
        (rules(over_points_possible="send"),),
    ),
    "another setting: Excused is sent as exempt": Dependency(
        "excused",
        (quiz(), graded(submission="excused")),
        (rules(excused="exempt"),),
    ),
    "another setting: a due date is made where there is none": Dependency(
        "due_date_missing",
        (rules(due_date_missing="hold"), quiz(due_at=None), graded()),
        (rules(due_date_missing={"assign_plus_days": 7}),),
    ),
    "a category becomes active in the class": Dependency(
        "category_inactive",
        (category(active=False), quiz(), graded()),
        (category(active=True),),
    ),
    "a category becomes district-level": Dependency(
        "category_not_district_level",
        (district_level(False), quiz(), graded()),
        (district_level(True),),
    ),
    "a grading period is opened again": Dependency(
        "grading_period_closed", (quiz(**OLD), graded()), (moved_period(1, -122, 3),)
    ),
    "a grading period is moved over the due day": Dependency(
        "grading_period_unknown",
        (quiz(due_days=300), graded()),
        (moved_period(3, 40, 310),),
    ),
    "a refused score: a new one": Dependency(
        "refused_by_skyward", (quiz(), graded(), refused(400)), (graded("9"),)
    ),
    "a refused score: the settings change": Dependency(
        "refused_by_skyward", (quiz(), graded(), refused(400)), (settings(name="Lakeside"),)
    ),
}


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES.keys())
async def test_a_grade_goes_once_what_stopped_it_changes_and_is_asked_of_no_more(
    nights: Nights, dependency: Dependency
) -> None:
    stopped = await _after(nights, dependency.before)
    assert stopped.reasons == {dependency.reason: 1}
    assert nights.scores() == {}
    await _expect_quiet(nights)
    gone = await _after(nights, dependency.change)
    assert (gone.results["posted"], gone.reasons) == (1, {})
    assert list(nights.scores()) == ["s-0"]
    await _expect_quiet(nights)


async def _after(nights: Nights, steps: tuple[Step, ...]) -> RunReport:
    for step in steps:
        await step(nights)
    return await nights.flush()


async def _expect_quiet(nights: Nights) -> None:
    """A night on which nothing changed decides nothing: no row is written, nothing is sent."""
    before, writes = await nights.rows(), len(nights.writes())
    report = await nights.flush()
    assert (report.state, sum(report.results.values()), report.reasons) == ("done", 0, {})
    assert await nights.rows() == before
    assert len(nights.writes()) == writes


async def test_the_day_of_the_effective_date_lets_go_what_it_held(nights: Nights) -> None:
    await effective(2)(nights)
    await quiz(assigned_days=3)(nights)
    await graded()(nights)
    assert (await nights.flush()).reasons == {"effective_date_in_future": 1}
    assert (await nights.flush(days=1)).results["posted"] == 0
    assert (await nights.flush(days=1)).results["posted"] == 1


async def test_the_day_of_the_effective_date_does_not_let_go_what_was_assigned_before(
    nights: Nights,
) -> None:
    await effective(2)(nights)
    await quiz()(nights)
    await graded()(nights)
    await nights.flush()
    assert (await nights.flush(days=2)).reasons == {"before_effective_date": 1}


async def test_the_passing_of_a_period_closes_what_was_not_sent(nights: Nights) -> None:
    await quiz(include_in_final_grade=False, due_days=-1)(nights)
    await graded()(nights)
    await nights.flush()
    nights.now += timedelta(days=60)
    await quiz(due_days=-1)(nights)
    assert (await nights.flush()).reasons["grading_period_closed"] >= 1
    assert nights.scores() == {}


async def test_a_join_applies_back_to_the_start_of_the_open_period_and_no_further(
    nights: Nights,
) -> None:
    for name, days in (("closed", -60), ("open", -20), ("new", -1)):
        nights.evening.assess(
            name,
            assigned_days=days,
            due_days=days + 0.5,
            assigned_by=LATE_TEACHER,
            assignees=alone(nights),
        )
        nights.evening.grade(name, 0, "8")
    assert (await nights.flush()).results["posted"] == 0
    nights.evening.join("t-9")
    report = await nights.flush()
    assert report.results["posted"] == 2
    assert report.zeros_posted == 0
    assert report.reasons == {"grading_period_closed": 1}


async def test_a_join_applies_back_to_the_effective_date_where_that_is_later(
    nights: Nights,
) -> None:
    await effective(-10)(nights)
    for name, days in (("before", -20), ("after", -5)):
        nights.evening.assess(
            name, assigned_days=days, changed_days=days, due_days=3, assigned_by=LATE_TEACHER
        )
        nights.evening.grade(name, 0, "8")
    await nights.flush()
    nights.evening.join("t-9")
    report = await nights.flush()
    assert report.results["posted"] == 1
    assert report.reasons == {"before_effective_date": 1}


async def test_a_closed_period_that_opens_again_is_seen_where_nobody_handed_anything_in(
    nights: Nights,
) -> None:
    await quiz(**OLD)(nights)
    assert (await nights.flush()).zeros_posted == 0
    await moved_period(1, -122, 3)(nights)
    assert (await nights.flush()).zeros_posted == 1


async def test_settings_that_change_during_a_run_are_those_of_the_next(nights: Nights) -> None:
    await quiz()(nights)
    await graded("8.5")(nights)
    await nights.record()
    cutoff = nights.cutoff()
    nights.skyward.configure(unavailable=True)
    await nights.run("nightly", cutoff)
    nights.skyward.configure(unavailable=False)
    await rules(whole_number_rule="points_possible")(nights)
    assert (await nights.run("nightly", cutoff)).reasons == {"score_not_whole": 1}
    assert (await nights.flush(days=1)).results["posted"] == 1


async def test_a_new_secret_lets_a_stopped_district_go_on(nights: Nights) -> None:
    await quiz()(nights)
    await graded()(nights)
    right = nights.skyward
    nights.skyward = replace(right, client_secret="the old one")
    report = await nights.flush()
    assert (report.state, report.stopped_by) == ("deferred", "credentials_refused")
    nights.skyward = right
    assert (await nights.flush()).results["posted"] == 1

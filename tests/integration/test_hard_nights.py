"""Nights on which a shortcut would lose a value, make a wrong zero, or never end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from consumer.gradebook import GradeKey, RunReport, result_id
from consumer.store import undecided
from tests.integration.nights import Nights


async def test_the_breaker_is_asked_anew_when_a_night_is_retried_after_intake_was_behind(
    nights: Nights,
) -> None:
    await nights.apply(zeros=nights.settings["zeros"] | {"max_count": 3, "max_share": 0.5})
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    await nights.record()
    cutoff = nights.cutoff()
    nights.caught_up = False
    await nights.run("nightly", cutoff)
    nights.caught_up = True
    again = await nights.run("nightly", cutoff)
    assert again.zeros_posted == 0
    assert again.reasons["zeros_held"] == len(nights.evening.students) - 1


async def test_held_zeros_wait_for_a_ruling_whatever_else_decides_them_again(
    nights: Nights,
) -> None:
    await nights.apply(zeros=nights.settings["zeros"] | {"max_count": 40, "max_share": 0.5})
    for number in range(4):
        nights.evening.assess(f"quiz{number}")
    first = await nights.flush()
    assert first.reasons == {"zeros_held": 4 * len(nights.evening.students)}
    nights.evening.assess("quiz0", title="Renamed")
    assert (await nights.flush(days=1)).zeros_posted == 0


async def test_zeros_that_came_due_without_the_licence_come_with_it(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=2)
    await nights.flush()
    nights.skyward.configure(licensed=False)
    report = await nights.flush(days=3)
    assert (report.state, report.stopped_by) == ("deferred", "licence_missing")
    nights.skyward.configure(licensed=True)
    assert (await nights.flush(days=1)).zeros_posted == len(nights.evening.students)


async def test_students_that_skyward_does_not_know_are_rejected_and_the_run_ends(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5)
    for student in range(4):
        nights.evening.grade("quiz", student, "8")
    nights.skyward.fault("status", match="PUT .*/results/", status=404, times=None, shape="empty")
    report = await nights.flush()
    assert report.state == "done"
    assert report.reasons == {"student_unknown": 4}


async def test_a_join_that_comes_while_the_run_reads_is_not_lost(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {"user_id": "t-late", "in_sis": True}
    nights.evening.assess("quiz", due_days=5, assigned_by=late)
    nights.evening.grade("quiz", 0, "8")
    await nights.record()
    read = undecided.items

    async def join_then_read(*arguments: Any) -> AsyncIterator[list[undecided.UndecidedItem]]:
        nights.evening.join("t-late")
        await nights.record()
        async for page in read(*arguments):
            yield page

    monkeypatch.setattr(undecided, "items", join_then_read)
    during = await nights.flush()
    monkeypatch.undo()
    after = await nights.flush(days=1)
    assert during.results["posted"] + after.results["posted"] == 1


async def test_a_class_that_cannot_be_read_stops_no_other(nights: Nights) -> None:
    for number in range(2):
        nights.evening.assess("quiz", due_days=5, number=number)
        nights.evening.grade("quiz", 0, "8", number=number)
    unreadable = f"GET .*/classes/{nights.evening.classes[0]}"
    nights.skyward.fault("status", match=unreadable, status=400, times=None)
    report = await nights.flush()
    assert report.state == "done"
    assert report.results["posted"] == 2


async def test_a_category_that_becomes_active_lets_the_zeros_of_an_untouched_item_come(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz")
    only = {nights.evening.classes[0]: ("cat-homework",)}
    nights.skyward.configure(class_categories=only)
    assert (await nights.flush()).zeros_posted == 0
    nights.skyward.configure(class_categories={})
    assert (await nights.flush(days=1)).zeros_posted == len(nights.evening.students)


async def test_grades_that_always_fail_starve_nothing_behind_them(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undecided, "ITEMS", 1)
    for number in range(2):
        nights.evening.assess(f"quiz{number}", due_days=5, number=number)
        for student in range(6):
            nights.evening.grade(f"quiz{number}", student, "8", number=number)
    bad = "|".join(result_id("lakeside", GradeKey("quiz0", "c-1", f"s-{n}")) for n in range(6))
    nights.skyward.fault("status", match=f"PUT .*/results/({bad})", status=500, times=None)
    report = await nights.flush()
    assert (report.results["posted"], report.results["deferred"]) == (6, 6)
    assert report.reasons == {"skyward_unavailable": 6}


async def test_a_run_that_goes_on_after_a_stop_counts_each_grade_once(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    for student in range(6):
        nights.evening.grade("quiz", student, "8" if student else "8.5")
    await nights.record()
    cutoff = nights.cutoff()
    nights.skyward.configure(unavailable=True)
    first: RunReport = await nights.run("nightly", cutoff)
    assert (first.state, first.results["deferred"]) == ("deferred", 6)
    nights.skyward.configure(unavailable=False)
    second = await nights.run("nightly", cutoff)
    assert second.results == {
        "posted": 5,
        "rejected": 0,
        "skipped": 1,
        "held": 0,
        "deferred": 0,
    }
    assert second.reasons == {"score_not_whole": 1}

"""What Skyward acknowledged and does not hold: found by reading some of it back."""

from decimal import Decimal
from typing import Literal

import pytest

from tests.integration.nights import Nights


def graded(nights: Nights, *, assessments: int = 1, students: int = 4) -> None:
    """Scores of 8 of 10 for the first students, due later."""
    for number in range(assessments):
        nights.evening.assess(f"quiz-{number}", due_days=5)
        for student in range(students):
            nights.evening.grade(f"quiz-{number}", student, "8")


def operations(nights: Nights, name: str) -> int:
    return sum(1 for line in nights.standin.journal_lines() if line["operation"] == name)


@pytest.mark.parametrize("setting", ["percent", "mark"])
async def test_the_setting_of_rule_10_stops_the_district_after_one_result(
    nights: Nights, setting: Literal["percent", "mark"]
) -> None:
    nights.skyward.configure(use_grade_when_posting=setting)
    graded(nights, assessments=3)
    report = await nights.flush()
    assert (report.state, report.stopped_by) == ("deferred", "use_grade_setting_on")
    assert report.results["posted"] == 0
    assert report.reasons == {"use_grade_setting_on": 12}
    assert operations(nights, "putResult") == 1


async def test_everything_goes_once_the_setting_is_off_and_nothing_twice(nights: Nights) -> None:
    nights.skyward.configure(use_grade_when_posting="percent")
    graded(nights)
    await nights.flush()
    nights.skyward.configure(use_grade_when_posting="off")
    report = await nights.flush(days=1)
    assert report.results["posted"] == 4
    assert set(nights.scores().values()) == {"8"}
    assert operations(nights, "putResult") == 5
    assert (await nights.flush(days=1)).results["posted"] == 0


async def test_a_result_that_was_acknowledged_and_not_stored_goes_with_the_next_run(
    nights: Nights,
) -> None:
    graded(nights)
    nights.skyward.fault("swallow", match="PUT .*/results/", times=1)
    report = await nights.flush()
    assert report.results["posted"] == 3
    assert report.reasons == {"skyward_unavailable": 1}
    again = await nights.flush(days=1)
    assert again.results["posted"] == 1
    assert nights.scores() == {f"s-{n}": "8" for n in range(4)}


async def test_a_server_that_stores_nothing_stops_the_run_and_loses_nothing(
    nights: Nights,
) -> None:
    graded(nights, assessments=2, students=3)
    nights.skyward.fault("swallow", match="PUT .*/results/", times=None)
    report = await nights.flush()
    assert (report.state, report.stopped_by) == ("deferred", "skyward_unavailable")
    assert report.results["posted"] == 0
    nights.skyward.clear_faults()
    assert (await nights.flush(days=1)).results["posted"] == 6


async def test_a_quiet_read_back_costs_one_read_a_batch(nights: Nights) -> None:
    graded(nights, students=6)
    report = await nights.flush()
    assert report.results["posted"] == 6
    assert operations(nights, "getResult") == 2  # the first, and one of the batch


async def test_a_district_may_switch_the_read_back_off(nights: Nights) -> None:
    await nights.apply(skyward=nights.settings["skyward"] | {"read_back": False})
    graded(nights)
    assert (await nights.flush()).results["posted"] == 4
    assert operations(nights, "getResult") == 0


async def test_a_server_that_shows_results_only_in_lists_is_believed(nights: Nights) -> None:
    graded(nights)
    nights.skyward.fault("status", match="GET .*/results/[^/]+$", status=404, times=None)
    report = await nights.flush()
    assert (report.state, report.results["posted"]) == ("done", 4)


async def test_a_server_that_refuses_to_show_results_is_believed(nights: Nights) -> None:
    graded(nights)
    nights.skyward.fault("status", match="GET .*/results", status=403, times=None)
    report = await nights.flush()
    assert (report.state, report.results["posted"]) == ("done", 4)


async def test_ids_that_the_server_chose_are_read_back_under_those_ids(nights: Nights) -> None:
    nights.skyward.configure(allocates_ids=True, put_body="pair")
    graded(nights)
    report = await nights.flush()
    assert (report.state, report.results["posted"]) == ("done", 4)


async def test_an_extra_credit_that_the_server_cuts_is_no_setting_of_rule_10(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5, points_possible="10")
    nights.evening.grade("quiz", 0, "12")
    nights.evening.grade("quiz", 1, "8")
    report = await nights.flush()
    assert report.results["posted"] == 2
    assert {Decimal(s or 0) for s in nights.scores().values()} == {Decimal(12), Decimal(8)}

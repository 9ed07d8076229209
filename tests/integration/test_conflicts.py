"""A score that a teacher changed in Skyward after it was posted, and what becomes of it."""

from typing import Any

import pytest

from consumer.gradebook import GradeKey, RunReport, result_id
from tests.integration.nights import Nights

QUIZ = GradeKey("quiz", "c-1", "s-0")
RESULT = result_id("lakeside", QUIZ)


async def posted_then_changed(nights: Nights, score: str | None, **rules: Any) -> RunReport:
    """8 was posted, a teacher made it ``score`` in Skyward, and then Otus says 9."""
    await nights.apply(
        rules=nights.settings["rules"] | rules,
        # Else what was acknowledged would be read as well.
        skyward=nights.settings["skyward"] | {"read_back": False},
    )
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.skyward.act("changeScore", result=RESULT, score=score)
    nights.evening.grade("quiz", 0, "9")
    return await nights.flush(days=1)


async def test_by_default_what_otus_says_overwrites_a_score_changed_in_skyward(
    nights: Nights,
) -> None:
    report = await posted_then_changed(nights, "5")
    assert report.results["posted"] == 1
    assert nights.scores() == {"s-0": "9"}
    assert reads(nights) == 0


def reads(nights: Nights) -> int:
    return sum(1 for r in nights.standin.journal_lines() if r["operation"] == "getResult")


@pytest.mark.parametrize("theirs", ["5", "8.5", None])
async def test_a_district_that_holds_keeps_a_score_changed_in_skyward_and_reports_it(
    nights: Nights, theirs: str | None
) -> None:
    report = await posted_then_changed(nights, theirs, changed_in_skyward="hold")
    assert report.state == "done"
    assert report.reasons == {"changed_in_skyward": 1}
    assert report.results["posted"] == 0
    assert report.results["held"] == 1
    assert nights.scores() == {"s-0": theirs}
    assert reads(nights) == 1


async def test_a_held_score_goes_once_skyward_shows_the_posted_one_again(nights: Nights) -> None:
    await posted_then_changed(nights, "5", changed_in_skyward="hold")
    nights.skyward.act("changeScore", result=RESULT, score="8")
    report = await nights.flush(days=1)
    assert report.results["posted"] == 1
    assert nights.scores() == {"s-0": "9"}


async def test_a_held_score_goes_once_the_district_chooses_to_overwrite(nights: Nights) -> None:
    await posted_then_changed(nights, "5", changed_in_skyward="hold")
    await nights.apply(rules=nights.settings["rules"] | {"changed_in_skyward": "overwrite"})
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert nights.scores() == {"s-0": "9"}


async def test_a_score_that_nobody_changed_goes_and_one_that_is_the_new_one_already_as_well(
    nights: Nights,
) -> None:
    report = await posted_then_changed(nights, "9", changed_in_skyward="hold")
    assert report.results["posted"] == 1
    nights.evening.grade("quiz", 0, "10")
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert nights.scores() == {"s-0": "10"}


async def test_a_result_that_a_teacher_deleted_is_not_made_anew(nights: Nights) -> None:
    await nights.apply(rules=nights.settings["rules"] | {"changed_in_skyward": "hold"})
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.skyward.act("deleteResult", result=RESULT)
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=1)).reasons == {"changed_in_skyward": 1}
    assert nights.scores() == {}


async def test_a_withdrawal_does_not_take_away_what_a_teacher_typed(nights: Nights) -> None:
    rules = {"changed_in_skyward": "hold", "after_posting": {"excluded": "delete"}}
    await nights.apply(rules=nights.settings["rules"] | rules)
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.skyward.act("changeScore", result=RESULT, score="6")
    nights.evening.grade("quiz", 0, "8", submission="excluded")
    assert (await nights.flush(days=1)).reasons == {"changed_in_skyward": 1}
    assert nights.scores() == {"s-0": "6"}

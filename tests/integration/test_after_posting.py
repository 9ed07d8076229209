"""What happens to a line item and its results after they were posted, night by night."""

from typing import Any

import pytest

from consumer.gradebook import GradeKey, ItemKey, RunReport, line_item_id, result_id
from tests.integration.nights import Nights

LINE_ITEM = line_item_id("lakeside", ItemKey("quiz", "c-1"))
RESULT = result_id("lakeside", GradeKey("quiz", "c-1", "s-0"))


def quiz(nights: Nights, **changes: Any) -> None:
    """Otus says this of the quiz, which is assigned to two students."""
    assignees = [
        {"student_id": f"s-{n}", "sourced_id": nights.evening.students[n]} for n in range(2)
    ]
    said: dict[str, Any] = {"due_days": 5, "assignees": assignees}
    nights.evening.assess("quiz", **(said | changes))


async def posted(nights: Nights, **changes: Any) -> int:
    """The quiz with 8 for the first student stands in Skyward; the number of writes so far."""
    quiz(nights, **changes)
    nights.evening.grade("quiz", 0, "8")
    assert (await nights.flush()).results["posted"] == 1
    return len(nights.writes())


def since(nights: Nights, writes: int) -> list[str]:
    return [w["operation"] for w in nights.writes()[writes:]]


def held(nights: Nights) -> dict[str, Any]:
    """The line item as Skyward holds it."""
    [line] = [one for one in nights.skyward.gradebook() if "title" in one]
    return line


async def state(nights: Nights) -> tuple[str, str | None]:
    row = await nights.pool.fetchrow("SELECT state, reason FROM grade WHERE student_id = 's-0'")
    assert row is not None
    return row["state"], row["reason"]


# -- the score --------------------------------------------------------------------------------


async def test_an_edited_score_is_sent_alone(nights: Nights) -> None:
    writes = await posted(nights)
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert since(nights, writes) == ["putResult"]
    assert nights.scores() == {"s-0": "9"}


@pytest.mark.parametrize("same", ["8", "8.0", "08e0"])
async def test_the_same_score_again_is_no_call_however_it_is_written(
    nights: Nights, same: str
) -> None:
    writes = await posted(nights)
    nights.evening.grade("quiz", 0, same, submission="late")
    report = await nights.flush(days=1)
    assert (report.results["posted"], since(nights, writes)) == (0, [])
    assert await state(nights) == ("posted", None)


async def test_a_second_attempt_that_is_lower_is_what_the_teacher_says_now(nights: Nights) -> None:
    await posted(nights)
    nights.evening.grade("quiz", 0, "3")
    await nights.flush(days=1)
    assert nights.scores() == {"s-0": "3"}


async def test_a_score_that_is_no_longer_whole_leaves_the_posted_one(nights: Nights) -> None:
    writes = await posted(nights)
    nights.evening.grade("quiz", 0, "8.5")
    assert (await nights.flush(days=1)).reasons == {"score_not_whole": 1}
    assert (since(nights, writes), nights.scores()) == ([], {"s-0": "8"})


# -- the line item ----------------------------------------------------------------------------


async def test_a_rename_within_49_sends_the_title_and_no_score(nights: Nights) -> None:
    writes = await posted(nights)
    quiz(nights, title="x" * 49)
    report = await nights.flush(days=1)
    assert report.line_items_posted == 1
    assert since(nights, writes) == ["putLineItem"]
    assert held(nights)["title"] == "x" * 49


async def test_a_rename_beyond_49_keeps_the_title_and_scores_go_on(nights: Nights) -> None:
    writes = await posted(nights)
    quiz(nights, title="x" * 50)
    nights.evening.grade("quiz", 0, "9")
    report = await nights.flush(days=1)
    assert (report.results["posted"], report.titles_kept) == (1, 1)
    assert since(nights, writes) == ["putResult"]
    assert (held(nights)["title"], nights.scores()) == ("Quiz", {"s-0": "9"})
    assert (await nights.flush(days=1)).titles_kept == 0


async def test_a_due_date_that_moves_within_its_period_is_sent(nights: Nights) -> None:
    await posted(nights)
    before = held(nights)
    quiz(nights, due_days=6)
    assert (await nights.flush(days=1)).line_items_posted == 1
    assert held(nights)["dueDate"] != before["dueDate"]
    assert held(nights)["gradingPeriod"] == before["gradingPeriod"] == nights.period(2)


async def test_a_due_date_that_moves_into_the_next_period_takes_the_item_along(
    nights: Nights,
) -> None:
    await posted(nights)
    quiz(nights, due_days=60)
    assert (await nights.flush(days=1)).line_items_posted == 1
    assert held(nights)["gradingPeriod"] == nights.period(3)


async def test_a_due_date_that_moves_into_a_closed_period_is_not_sent(nights: Nights) -> None:
    writes = await posted(nights)
    quiz(nights, assigned_days=-70, due_days=-50)
    nights.evening.grade("quiz", 0, "9")
    report = await nights.flush(days=1)
    assert report.reasons["grading_period_closed"] >= 1
    assert (since(nights, writes), nights.scores()) == ([], {"s-0": "8"})


@pytest.mark.parametrize(("points", "sent"), [("20", True), ("10.0", False), ("0", False)])
async def test_points_possible_that_change_are_sent_where_they_are_valid(
    nights: Nights, points: str, sent: bool
) -> None:
    writes = await posted(nights)
    quiz(nights, points_possible=points)
    await nights.flush(days=1)
    assert since(nights, writes) == (["putLineItem"] if sent else [])
    assert nights.scores() == {"s-0": "8"}


async def test_another_otus_type_moves_the_item_to_its_category(nights: Nights) -> None:
    await posted(nights)
    quiz(nights, type="Project")
    assert (await nights.flush(days=1)).line_items_posted == 1
    assert held(nights)["category"] == nights.settings["categories"]["Project"]


async def test_another_mapping_leaves_what_is_posted_where_it_is(nights: Nights) -> None:
    writes = await posted(nights)
    await nights.apply(categories=nights.settings["categories"] | {"Quiz": "cat-project"})
    nights.evening.grade("quiz", 0, "9")
    await nights.flush(days=1)
    assert since(nights, writes) == ["putResult"]
    assert held(nights)["category"] == "cat-test"


async def test_a_category_that_the_teacher_chose_is_read_and_kept_at_a_rename(
    nights: Nights,
) -> None:
    await posted(nights)
    nights.skyward.act("moveLineItem", line_item=LINE_ITEM, category="cat-project")
    # The district's first run has asked for it as well.
    assert nights.operations("getLineItem") == 1
    quiz(nights, title="Renamed")
    await nights.flush(days=1)
    assert nights.operations("getLineItem") == 2
    assert (held(nights)["title"], held(nights)["category"]) == ("Renamed", "cat-project")


async def test_a_category_that_becomes_inactive_stops_no_score_of_an_item_that_stands(
    nights: Nights,
) -> None:
    await posted(nights)
    class_id = nights.evening.classes[0]
    nights.skyward.act("setCategory", class_id=class_id, category="cat-test", active=False)
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=1)).results["posted"] == 1


# -- taken back -------------------------------------------------------------------------------


def excluded(nights: Nights) -> None:
    nights.evening.grade("quiz", 0, "8", submission="excluded")


def excused(nights: Nights) -> None:
    nights.evening.grade("quiz", 0, "8", submission="excused")


def unassigned(nights: Nights) -> None:
    quiz(nights, status="unassigned")


def deleted(nights: Nights) -> None:
    quiz(nights, status="deleted")


def unsubmitted(nights: Nights) -> None:
    nights.evening.grade("quiz", 0, None, completion="in_progress", submission=None)


def emptied(nights: Nights) -> None:
    nights.evening.grade("quiz", 0, None)


def tombstone(nights: Nights) -> None:
    nights.evening.remove("grade-changed", "quiz", "c-1", "s-0")


def assessment_tombstone(nights: Nights) -> None:
    nights.evening.remove("assessment-changed", "quiz", "c-1")


TAKEN_BACK = [
    (excluded, "excluded"),
    (excused, "excused"),
    (unassigned, "unassigned"),
    (deleted, "unassigned"),
    (assessment_tombstone, "unassigned"),
    (unsubmitted, "removed"),
    (emptied, "removed"),
    (tombstone, "removed"),
]


@pytest.mark.parametrize(
    ("take_back", "setting"), TAKEN_BACK, ids=lambda one: getattr(one, "__name__", str(one))
)
async def test_what_is_taken_back_is_left_and_reported_unless_the_district_says_otherwise(
    nights: Nights, take_back: Any, setting: str
) -> None:
    writes = await posted(nights)
    take_back(nights)
    report = await nights.flush(days=1)
    assert (report.results["posted"], report.reasons) == (0, {"diverged": 1})
    assert (since(nights, writes), nights.scores()) == ([], {"s-0": "8"})
    assert await state(nights) == ("skipped", "diverged")
    assert (await nights.flush(days=1)).reasons == {}


@pytest.mark.parametrize(
    ("take_back", "setting"), TAKEN_BACK, ids=lambda one: getattr(one, "__name__", str(one))
)
@pytest.mark.parametrize(
    ("policy", "operation", "scores"),
    [("exempt", "putResult", {"s-0": None}), ("delete", "deleteResult", {})],
)
async def test_a_policy_withdraws_it_once(
    nights: Nights, take_back: Any, setting: str, policy: str, operation: str, scores: Any
) -> None:
    await nights.apply(rules=nights.settings["rules"] | {"after_posting": {setting: policy}})
    writes = await posted(nights)
    take_back(nights)
    report = await nights.flush(days=1)
    assert report.reasons == {"diverged": 1}
    assert (since(nights, writes), nights.scores()) == ([operation], scores)
    assert (await nights.flush(days=1)).reasons == {}
    assert since(nights, writes) == [operation]


@pytest.mark.parametrize("policy", ["leave", "exempt", "delete"])
async def test_what_is_given_again_after_it_was_taken_back_is_right_again(
    nights: Nights, policy: str
) -> None:
    await nights.apply(rules=nights.settings["rules"] | {"after_posting": {"excluded": policy}})
    writes = await posted(nights)
    excluded(nights)
    await nights.flush(days=1)
    nights.evening.grade("quiz", 0, "8")
    report = await nights.flush(days=1)
    assert nights.scores() == {"s-0": "8"}
    assert report.results["posted"] == (0 if policy == "leave" else 1)
    assert len(since(nights, writes)) == (0 if policy == "leave" else 2)
    assert await state(nights) == ("posted", None)


@pytest.mark.parametrize("policy", ["exempt", "delete"])
async def test_no_policy_writes_into_a_closed_period(nights: Nights, policy: str) -> None:
    after = {"unassigned": policy, "excluded": policy}
    await nights.apply(rules=nights.settings["rules"] | {"after_posting": after})
    writes = await posted(nights)
    deleted(nights)
    report: RunReport = await nights.flush(days=60)
    assert "diverged" in report.reasons
    assert [o for o in since(nights, writes) if o != "putLineItem"] == []


async def test_include_switched_off_stops_further_scores_and_on_again_sends_the_newest(
    nights: Nights,
) -> None:
    await posted(nights)
    quiz(nights, include_in_final_grade=False)
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=1)).reasons == {"not_in_final_grade": 1}
    assert nights.scores() == {"s-0": "8"}
    quiz(nights)
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert nights.scores() == {"s-0": "9"}


async def test_an_assigner_who_leaves_the_group_stops_what_is_new_and_not_what_stands(
    nights: Nights,
) -> None:
    writes = await posted(nights)
    nights.evening.join("t-1", member=False)
    nights.evening.grade("quiz", 1, "7")
    report = await nights.flush(days=1)
    assert report.reasons == {"assigner_not_in_group": 1}
    assert (since(nights, writes), nights.scores()) == ([], {"s-0": "8"})
    assert await state(nights) == ("posted", None)
    nights.evening.join("t-1")
    assert (await nights.flush(days=1)).results["posted"] == 1


# -- people and classes that go ---------------------------------------------------------------


async def test_a_student_who_left_skyward_is_rejected_alone_and_goes_when_back(
    nights: Nights,
) -> None:
    await posted(nights)
    student, class_id = nights.evening.students[0], nights.evening.classes[0]
    nights.skyward.act("removeStudent", student=student, class_id=class_id)
    nights.evening.grade("quiz", 0, "9")
    nights.evening.grade("quiz", 1, "7")
    report = await nights.flush(days=1)
    assert (report.results["posted"], report.results["rejected"]) == (1, 1)
    nights.skyward.act("enrollStudent", student=student, class_id=class_id)
    nights.evening.grade("quiz", 0, "10")
    assert (await nights.flush(days=1)).results["posted"] == 1


async def test_a_class_that_is_gone_from_skyward_is_rejected_and_stops_no_other(
    nights: Nights,
) -> None:
    await posted(nights)
    nights.skyward.act("removeClass", class_id=nights.evening.classes[0])
    quiz(nights, title="Renamed")
    nights.evening.grade("quiz", 0, "9")
    nights.evening.assess("quiz", due_days=5, number=1)
    nights.evening.grade("quiz", 0, "6", number=1)
    report = await nights.flush(days=1)
    assert report.state == "done"
    assert report.results["posted"] == 1
    assert report.results["rejected"] == 1


async def test_two_teachers_who_assign_the_same_thing_make_two_items(nights: Nights) -> None:
    await posted(nights)
    nights.evening.assess("quiz-again", due_days=5)
    nights.evening.grade("quiz-again", 0, "8")
    report = await nights.flush(days=1)
    assert (report.line_items_posted, report.results["posted"]) == (1, 1)


async def test_a_district_that_moves_to_the_other_product_goes_on_there(nights: Nights) -> None:
    await posted(nights)
    skyward = nights.settings["skyward"] | {"product": "sms2", "oneroster_version": "1.1"}
    await nights.apply(skyward=skyward)
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert nights.scores() == {"s-0": "9"}

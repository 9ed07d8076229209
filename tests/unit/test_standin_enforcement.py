"""Skyward's rules as the stand-in enforces them, without HTTP."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import consumer.sandbox
from consumer.sandbox.roster import read_roster
from consumer.sandbox.skyward.behaviour import Settings, Version
from consumer.sandbox.skyward.bodies import read_line_item, read_result
from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.enforcement import (
    altered_score,
    line_item_to_store,
    result_to_store,
)
from consumer.sandbox.skyward.gradebook import LineItem, Result
from consumer.sandbox.skyward.refusal import Refusal
from consumer.sandbox.skyward.tokens import TokenDesk

SCHOOL = Path(consumer.sandbox.__file__).parent / "school" / "district"
ROSTER = read_roster(SCHOOL)
CLASS, OTHER_CLASS = "class-000", "class-001"
STUDENT = ROSTER.students_of(CLASS)[0]
STRANGER = next(
    user.sourced_id
    for user in ROSTER.users.values()
    if user.role == "student" and user.sourced_id not in ROSTER.students_of(CLASS)
)
# With this day the closed period is 2026-07-25 to 2026-10-12, the open one ends on 2026-12-31.
TODAY = date(2026, 11, 23)
OPEN = "session-full-gp2"


def district(**settings: Any) -> District:
    return District("d", ROSTER, TokenDesk("k", "s"), Settings(today=TODAY, **settings))


def line_item_fields(**changes: Any) -> dict[str, Any]:
    fields = {
        "title": "Unit 3 Quiz",
        "assignDate": "2026-11-16T09:00:00-06:00",
        "dueDate": "2026-11-20T23:59:00-06:00",
        "class": {"sourcedId": CLASS},
        "school": {"sourcedId": "org-1"},
        "category": {"sourcedId": "cat-test"},
        "gradingPeriod": {"sourcedId": OPEN},
        "resultValueMin": 0,
        "resultValueMax": 10,
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def put_item(home: District, version: Version = "1.2", /, **changes: Any) -> LineItem:
    if version == "1.1":
        changes = {"school": None} | changes
    content = json.dumps({"lineItem": line_item_fields(**changes)}).encode()
    body = read_line_item(content, version, home.settings)
    item = line_item_to_store(home, body, "item", version, 0.0)
    home.gradebook.put_line_item(item)
    return item


def put_result(home: District, version: Version = "1.2", /, **changes: Any) -> Result:
    fields = {
        "lineItem": {"sourcedId": "item"},
        "student": {"sourcedId": STUDENT},
        "scoreStatus": "fully graded",
        "score": 8,
        "scoreDate": "2026-11-20",
    } | changes
    content = {"result": {name: value for name, value in fields.items() if value is not None}}
    return put_result_bytes(home, json.dumps(content).encode(), version)


def put_result_bytes(home: District, content: bytes, version: Version = "1.2") -> Result:
    body = read_result(content, version, home.settings)
    result = result_to_store(home, body, "result", version, 0.0)
    home.gradebook.put_result(result)
    return result


def refused(status: int, *words: str) -> Any:
    pattern = "".join(f"(?=.*{word})" for word in words)
    return pytest.raises(
        Refusal, match=f"(?s){pattern}", check=lambda refusal: refusal.status == status
    )


def test_a_complete_line_item_is_stored_in_both_versions() -> None:
    assert put_item(district(), "1.1").school is None
    assert put_item(district(), "1.2").school == "org-1"


@pytest.mark.parametrize(
    ("version", "field"),
    [
        ("1.1", "title"),
        ("1.1", "gradingPeriod"),
        ("1.1", "category"),
        ("1.1", "dueDate"),
        ("1.1", "resultValueMin"),
        ("1.1", "resultValueMax"),
        ("1.2", "school"),
        ("1.2", "class"),
        ("1.2", "category"),
        ("1.2", "assignDate"),
    ],
)
def test_a_required_field_that_is_missing_is_named(version: Version, field: str) -> None:
    with refused(400, field):
        put_item(district(), version, **{field: None})


def test_version_1_2_needs_neither_period_nor_range() -> None:
    put_item(district(), gradingPeriod=None, resultValueMin=None, resultValueMax=None)


def test_a_field_that_version_1_1_does_not_have_is_refused() -> None:
    with refused(400, "school"):
        put_item(district(), "1.1", school={"sourcedId": "org-1"})


def test_an_unknown_field_is_refused_or_ignored_as_set() -> None:
    with refused(400, "colour"):
        put_item(district(), colour="red")
    put_item(district(unknown_fields="ignore"), colour="red")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", 7),
        ("resultValueMax", "10"),
        ("class", CLASS),
        ("dueDate", "tomorrow"),
        ("dueDate", "2026-11-20T23:59:00"),
        ("dueDate", "2026-11-20"),
        ("status", "gone"),
    ],
)
def test_an_ill_typed_field_is_invalid_data(field: str, value: object) -> None:
    with refused(400) as caught:
        put_item(district(), **{field: value})
    assert caught.value.minor == "invaliddata"


def test_version_1_1_also_takes_dates() -> None:
    put_item(district(), "1.1", assignDate="2026-11-16", dueDate="2026-11-20")


def test_a_reference_of_the_wrong_type_is_refused() -> None:
    with refused(400, "class", "org"):
        put_item(district(), **{"class": {"sourcedId": CLASS, "href": "h", "type": "org"}})


def test_standard_references_and_wire_form_can_be_demanded() -> None:
    with refused(400, "href"):
        put_item(district(references="standard"))
    with refused(400, "sourcedId, status, dateLastModified"):
        put_item(district(wire="standard"))


@pytest.mark.parametrize(
    ("field", "kind"),
    [("class", "class"), ("school", "school"), ("gradingPeriod", "gradingPeriod")],
)
def test_a_reference_to_nothing_is_named(field: str, kind: str) -> None:
    with refused(404, kind, "nowhere"):
        put_item(district(), **{field: {"sourcedId": "nowhere"}})


def test_a_term_is_no_grading_period() -> None:
    with refused(404, "session-full"):
        put_item(district(), gradingPeriod={"sourcedId": "session-full"})
    put_item(district(), gradingPeriod=None, academicSession={"sourcedId": "session-full"})


@pytest.mark.parametrize(
    ("assigned", "due", "named"),
    [
        ("2026-09-01T12:00:00Z", "2026-09-20T12:00:00Z", "dueDate 2026-09-20"),
        ("2026-10-10T12:00:00Z", "2026-11-20T12:00:00Z", "assignDate 2026-10-10"),
        ("2026-07-01T12:00:00Z", "2026-11-20T12:00:00Z", "straddles"),
        # 04:59 in UTC is still the last closed day in Chicago.
        ("2026-10-13T04:59:00Z", "2026-11-20T12:00:00Z", "assignDate 2026-10-12"),
    ],
)
def test_dates_that_touch_a_closed_period_are_refused(assigned: str, due: str, named: str) -> None:
    with refused(422, named, "2026-07-25 to 2026-10-12"):
        put_item(district(), assignDate=assigned, dueDate=due)


def test_the_first_moment_of_the_open_period_passes() -> None:
    put_item(district(), assignDate="2026-10-13T05:00:00Z")


def test_the_last_minute_of_a_period_belongs_to_it() -> None:
    put_item(district(), dueDate="2027-01-01T05:59:00Z")
    with refused(422, "2027-01-01", "outside"):
        put_item(district(), dueDate="2027-01-01T06:00:00Z")


def test_a_due_date_in_a_coming_period_passes_when_that_one_is_named() -> None:
    coming = {"sourcedId": "session-full-gp3"}
    put_item(district(), dueDate="2027-02-01T12:00:00Z", gradingPeriod=coming)


def test_closing_by_hand_refuses_and_reopening_passes() -> None:
    home = district()
    home.set_closed(OPEN, closed=True)
    with refused(422, "2026-11-20"):
        put_item(home)
    home.set_closed(OPEN, closed=False)
    put_item(home)


def test_a_score_for_an_item_of_a_closed_period_is_refused_unless_set_otherwise() -> None:
    home = district()
    put_item(home)
    home.set_closed(OPEN, closed=True)
    with refused(422, "2026-11-20"):
        put_result(home)
    home.configure({"closed_period_refuses_results": False})
    put_result(home)


def test_a_category_must_be_known_district_level_and_active_in_the_class() -> None:
    own = {"cat-own": {"title": "Own", "district_level": False}}
    home = district()
    home.configure({"categories": own | {"cat-test": {"title": "Tests"}}})
    with refused(422, "cat-nowhere", "unknown"):
        put_item(home, category={"sourcedId": "cat-nowhere"})
    with refused(422, "cat-own", "district-level"):
        put_item(home, category={"sourcedId": "cat-own"})
    home.set_category(CLASS, "cat-test", active=False)
    with refused(422, "cat-test", "not active", CLASS):
        put_item(home)
    home.set_category(CLASS, "cat-test", active=True)
    put_item(home)


def test_a_class_can_have_categories_of_its_own_choice() -> None:
    home = district(class_categories={CLASS: ("cat-homework",)})
    with refused(422, "cat-test"):
        put_item(home)
    put_item(home, category={"sourcedId": "cat-homework"})


def test_a_category_refusal_may_be_a_400() -> None:
    with refused(400, "nowhere"):
        put_item(district(category_refusal_status=400), category={"sourcedId": "nowhere"})


def test_a_title_of_49_passes_and_of_50_does_not() -> None:
    put_item(district(), title="é" * 49)
    with refused(422, "title"):
        put_item(district(), title="é" * 50)


def test_a_line_item_stays_in_its_class() -> None:
    home = district()
    put_item(home)
    with refused(422, CLASS):
        put_item(home, **{"class": {"sourcedId": OTHER_CLASS}})


def test_a_forbidden_class_and_a_locked_class_refuse_items_and_results() -> None:
    home = district()
    put_item(home)
    home.configure({"forbidden_classes": [CLASS]})
    with refused(403, CLASS):
        put_result(home)
    home.configure({"forbidden_classes": [], "locked_classes": {CLASS: 409}})
    with refused(409, CLASS):
        put_item(home)


def test_a_result_needs_its_line_item_and_an_enrolled_student() -> None:
    home = district()
    with refused(404, "lineItem item"):
        put_result(home)
    put_item(home)
    with refused(404, "student nobody"):
        put_result(home, student={"sourcedId": "nobody"})
    with refused(422, STRANGER, "not enrolled"):
        put_result(home, student={"sourcedId": STRANGER})
    put_result(home)


def test_a_teacher_is_no_student() -> None:
    home = district()
    put_item(home)
    teacher = ROSTER.teachers_of(CLASS)[0]
    with refused(404, teacher):
        put_result(home, student={"sourcedId": teacher})


def test_a_student_dropped_by_hand_is_refused_until_enrolled_again() -> None:
    home = district()
    put_item(home)
    home.remove_student(STUDENT, CLASS)
    with refused(422, "not enrolled"):
        put_result(home)
    home.enroll_student(STUDENT, CLASS)
    put_result(home)
    home.remove_student(STUDENT, None)
    with refused(404, STUDENT):
        put_result(home)


def test_what_one_district_does_to_its_roster_leaves_another_alone() -> None:
    home, neighbour = district(), district()
    home.remove_class(CLASS)
    with refused(404, CLASS):
        put_item(home)
    put_item(neighbour)


def test_only_version_1_1_needs_a_score() -> None:
    home = district()
    put_item(home)
    put_result(home, "1.2", score=None, scoreStatus="exempt")
    with refused(400, "score"):
        put_result(home, "1.1", score=None)


@pytest.mark.parametrize(
    "text", ["8", "8.0", "8.50", "1e1", "0.1000000000000000055511151231257827"]
)
def test_a_score_keeps_its_exact_text(text: str) -> None:
    home = district()
    put_item(home)
    content = json.dumps(
        {
            "result": {
                "lineItem": {"sourcedId": "item"},
                "student": {"sourcedId": STUDENT},
                "scoreStatus": "fully graded",
                "scoreDate": "2026-11-20",
                "score": "SCORE",
            }
        }
    )
    assert put_result_bytes(home, content.replace('"SCORE"', text).encode()).score == text


@pytest.mark.parametrize("score", ["8", None, True, [8], {}])
def test_a_score_that_is_no_number_is_invalid(score: object) -> None:
    home = district()
    put_item(home)
    content = {
        "result": {
            "lineItem": {"sourcedId": "item"},
            "student": {"sourcedId": STUDENT},
            "scoreStatus": "fully graded",
            "scoreDate": "2026-11-20",
            "score": score,
        }
    }
    with refused(400, "score must be a number"):
        put_result_bytes(home, json.dumps(content).encode())


def test_a_score_over_the_maximum_is_taken_and_one_below_the_minimum_is_not() -> None:
    home = district()
    put_item(home)
    assert put_result(home, score=12).score == "12"
    with refused(422, "resultValueMin"):
        put_result(home, score=-1)


def test_a_score_status_must_be_one_of_oneroster() -> None:
    home = district()
    put_item(home)
    put_result(home, scoreStatus="ext:late")
    with refused(400, "perfect"):
        put_result(home, scoreStatus="perfect")


def test_a_score_date_may_have_a_time_unless_the_standard_is_demanded() -> None:
    home = district()
    put_item(home)
    moment = "2026-11-20T12:00:00Z"
    put_result(home, scoreDate=moment)
    home.configure({"wire": "standard"})
    with refused(400, moment):
        put_result(home, scoreDate=moment)


def test_replace_forgets_what_the_body_leaves_out_and_merge_keeps_it() -> None:
    home = district()
    put_item(home, description="Bring a pen")
    assert put_item(home).extras is None
    home.configure({"put": "merge"})
    put_item(home, description="Bring a pen")
    merged = put_item(home, title=None, category=None, description=None)
    assert merged.title == "Unit 3 Quiz"
    assert merged.extras == {"description": "Bring a pen"}
    put_result(home, comment="well done")
    assert put_result(home, score=9).extras == {"comment": "well done"}


@pytest.mark.parametrize(
    ("mode", "score", "maximum", "stored"),
    [
        ("percent", "8", "10", "80"),
        ("percent", "1", "3", "33.33"),
        ("percent", "8", "100", "8"),
        ("percent", "8", None, "8"),
        ("percent", "8", "0", "8"),
        ("mark", "9", "10", "4"),
        ("mark", "7.5", "10", "2"),
        ("mark", "1", "10", "0"),
        ("mark", "12", "10", "4"),
    ],
)
def test_the_setting_of_rule_10_alters_scores(
    mode: str, score: str, maximum: str | None, stored: str
) -> None:
    settings = Settings(use_grade_when_posting=mode)  # type: ignore[arg-type]
    assert altered_score(score, maximum, settings) == stored


def test_with_the_setting_of_rule_10_on_the_altered_score_is_what_is_held() -> None:
    home = district(use_grade_when_posting="percent")
    put_item(home)
    assert put_result(home).score == "80"

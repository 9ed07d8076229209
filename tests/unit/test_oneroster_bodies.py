"""What is written: complete and valid for each version and wire form, and exact."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.gradebook import (
    GradeKey,
    ItemKey,
    LineItem,
    Result,
    ScoreStatus,
    line_item_id,
    result_id,
)
from consumer.oneroster import Bodies, Paths, PathStyle, Version, WireForm, scopes

CHICAGO = ZoneInfo("America/Chicago")
ITEM = LineItem(
    sourced_id="li-1",
    title="Łódź – essay 1",
    assign_date=datetime(2026, 11, 2, 8, 0, tzinfo=CHICAGO),
    due_date=datetime(2026, 11, 20, 23, 59, tzinfo=CHICAGO),
    class_sourced_id="class/1 ü",
    school_sourced_id="school-1",
    category_sourced_id="cat-1",
    grading_period_sourced_id="gp-1",
    result_value_max=Decimal("10.0"),
    modified_at=datetime(2026, 11, 21, 4, 5, 6, 789, tzinfo=UTC),
)
RESULT = Result(
    sourced_id="r-1",
    line_item_sourced_id="li-1",
    student_sourced_id="student-1",
    score=Decimal("8.50"),
    score_status=ScoreStatus.FULLY_GRADED,
    score_date=datetime(2026, 11, 20, 23, 30, tzinfo=CHICAGO),
    modified_at=datetime(2026, 11, 21, 4, 5, 6, tzinfo=UTC),
)
FORMS: list[tuple[Version, WireForm]] = [
    ("1.1", "standard"),
    ("1.1", "lean"),
    ("1.2", "standard"),
    ("1.2", "lean"),
]
LINE_ITEM = {"sourcedId", "title", "assignDate", "dueDate", "class", "category"} | {
    "gradingPeriod",
    "resultValueMin",
    "resultValueMax",
}
BASE = {"status", "dateLastModified"}


def bodies(version: Version, form: WireForm, style: PathStyle = "flat") -> Bodies:
    return Bodies(Paths("https://d.example/api/", version, style), form)


def line_item(version: Version, form: WireForm) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bodies(version, form).line_item(ITEM))
    assert set(body) == {"lineItem"}
    return dict(body["lineItem"])


def result(version: Version, form: WireForm, value: Result = RESULT) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bodies(version, form).result(value))
    assert set(body) == {"result"}
    return dict(body["result"])


@given(district=st.text(), key=st.tuples(st.text(), st.text(), st.text()))
def test_our_ids_are_uuids_of_otus_ids(district: str, key: tuple[str, str, str]) -> None:
    namespace = uuid5(NAMESPACE_URL, "https://passback.otus/ids")
    item = f"{district}/{key[0]}/{key[1]}"
    ids = line_item_id(district, ItemKey(*key[:2])), result_id(district, GradeKey(*key))
    assert ids == (
        str(uuid5(namespace, f"lineItem/{item}")),
        str(uuid5(namespace, f"result/{item}/{key[2]}")),
    )


def test_a_line_item_has_exactly_the_fields_of_its_version_and_form() -> None:
    assert set(line_item("1.1", "standard")) == LINE_ITEM | BASE
    assert set(line_item("1.1", "lean")) == LINE_ITEM
    assert set(line_item("1.2", "standard")) == LINE_ITEM | BASE | {"school", "academicSession"}
    assert set(line_item("1.2", "lean")) == LINE_ITEM | {"school"}


def test_a_result_has_exactly_the_fields_of_its_form() -> None:
    lean = {"sourcedId", "lineItem", "student", "scoreStatus", "score", "scoreDate"}
    for version, form in FORMS:
        assert set(result(version, form)) == (lean | BASE if form == "standard" else lean)


def test_a_standard_reference_says_where_and_what_and_a_lean_one_only_which() -> None:
    assert line_item("1.2", "lean")["class"] == {"sourcedId": "class/1 ü"}
    assert line_item("1.2", "standard")["class"] == {
        "href": "https://d.example/api/ims/oneroster/v1p2/classes/class%2F1%20%C3%BC",
        "sourcedId": "class/1 ü",
        "type": "class",
    }
    standard = line_item("1.2", "standard")
    kinds = {name: standard[name]["type"] for name in standard if isinstance(standard[name], dict)}
    assert kinds == {
        "class": "class",
        "school": "org",
        "category": "category",
        "gradingPeriod": "academicSession",
        "academicSession": "academicSession",
    }
    assert result("1.1", "standard")["student"]["type"] == "user"
    assert result("1.1", "standard")["lineItem"]["type"] == "lineItem"


def test_each_field_of_a_line_item_holds_what_it_is_named_for() -> None:
    written = line_item("1.2", "standard")
    ids = {n: written.pop(n)["sourcedId"] for n in list(written) if isinstance(written[n], dict)}
    assert ids == {
        "class": "class/1 ü",
        "school": "school-1",
        "category": "cat-1",
        "gradingPeriod": "gp-1",
        "academicSession": "gp-1",
    }
    assert written == {
        "sourcedId": "li-1",
        "status": "active",
        "dateLastModified": "2026-11-21T04:05:06Z",
        "title": "Łódź – essay 1",
        "assignDate": "2026-11-02T08:00:00-06:00",
        "dueDate": "2026-11-20T23:59:00-06:00",
        "resultValueMin": 0,
        "resultValueMax": 10,
    }


def test_each_field_of_a_result_holds_what_it_is_named_for() -> None:
    written = result("1.1", "standard")
    ids = {n: written.pop(n)["sourcedId"] for n in list(written) if isinstance(written[n], dict)}
    assert ids == {"lineItem": "li-1", "student": "student-1"}
    assert written == {
        "sourcedId": "r-1",
        "status": "active",
        "dateLastModified": "2026-11-21T04:05:06Z",
        "scoreStatus": "fully graded",
        "score": 8.5,
        "scoreDate": "2026-11-20",
    }


def test_the_days_are_read_in_the_districts_own_zone() -> None:
    assert line_item("1.2", "lean")["dueDate"] == "2026-11-20T23:59:00-06:00"
    for version, form in FORMS:
        moment = "" if form == "standard" else "T23:30:00-06:00"
        assert result(version, form)["scoreDate"] == f"2026-11-20{moment}"
    assert line_item("1.1", "standard")["dateLastModified"] == "2026-11-21T04:05:06Z"


def test_a_whole_number_is_written_without_a_point() -> None:
    assert b'"resultValueMin":0,"resultValueMax":10}' in bodies("1.1", "lean").line_item(ITEM)
    assert b'"score":8.5,' in bodies("1.1", "lean").result(RESULT)


@pytest.mark.parametrize(("version", "form"), FORMS)
def test_an_exempt_result_has_no_score_but_in_1_1_the_required_zero(
    version: Version, form: WireForm
) -> None:
    exempt = Result("r", "li", "s", None, ScoreStatus.EXEMPT, RESULT.score_date, RESULT.modified_at)
    written = result(version, form, exempt)
    assert written["scoreStatus"] == "exempt"
    assert written.get("score") == (0 if version == "1.1" else None)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_decimal_comes_back_exactly(score: Decimal) -> None:
    value = Result("r", "li", "s", score, ScoreStatus.FULLY_GRADED, ITEM.due_date, ITEM.modified_at)
    body = bodies("1.2", "lean").result(value)
    read = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    assert read["result"]["score"] == score


def test_flat_and_split_differ_only_in_1_2() -> None:
    flat, split = Paths("https://d/x", "1.2", "flat"), Paths("https://d/x/", "1.2", "split")
    assert flat.result("1") == "https://d/x/ims/oneroster/v1p2/results/1"
    assert flat.classes() == "https://d/x/ims/oneroster/v1p2/classes"
    assert split.result("1") == "https://d/x/ims/oneroster/gradebook/v1p2/results/1"
    assert split.classes() == "https://d/x/ims/oneroster/rostering/v1p2/classes"
    assert split.class_categories("c") == (
        "https://d/x/ims/oneroster/gradebook/v1p2/classes/c/categories"
    )
    for style in ("flat", "split"):
        paths = Paths("https://d", "1.1", style)
        assert paths.result("1") == "https://d/ims/oneroster/v1p1/results/1"
        assert paths.class_students("c") == "https://d/ims/oneroster/v1p1/classes/c/students"


def test_the_path_of_the_base_url_stays_as_the_district_wrote_it() -> None:
    for written in ("https://d/SISX", "https://d/a%20b", "https://d/v(1):x;y=2"):
        url = Paths(f"{written}/", "1.1", "flat").result("1")
        assert url == f"{written}/ims/oneroster/v1p1/results/1"


def test_what_a_class_holds_lies_below_it() -> None:
    paths = Paths("https://d", "1.2", "flat")
    below = "https://d/ims/oneroster/v1p2/classes/c%2F1"
    assert paths.class_line_items("c/1") == f"{below}/lineItems"
    assert paths.class_results("c/1") == f"{below}/results"
    assert paths.line_item_results("c/1", "l 1") == f"{below}/lineItems/l%201/results"


@pytest.mark.parametrize(
    ("sourced_id", "segment"), [(".", "%2E"), ("..", "%2E%2E"), ("...", "..."), ("\ud800", "%3F")]
)
def test_an_id_of_dots_or_of_half_a_character_is_a_segment_all_the_same(
    sourced_id: str, segment: str
) -> None:
    url = Paths("https://d", "1.1", "flat").line_item(sourced_id)
    assert url == f"https://d/ims/oneroster/v1p1/lineItems/{segment}"


@given(st.text(min_size=1, max_size=40))
def test_no_id_leaves_its_path_segment(sourced_id: str) -> None:
    url = Paths("https://d", "1.1", "flat").line_item(sourced_id)
    segment = url.removeprefix("https://d/ims/oneroster/v1p1/lineItems/")
    assert segment.isascii()
    assert segment not in (".", "..")
    assert not set("/?#% ") & set(segment.replace("%", "", segment.count("%")))


def test_the_scope_to_delete_is_asked_for_only_on_demand() -> None:
    prefix = "https://purl.imsglobal.org/spec/or/v1p1/scope/"
    assert scopes("1.1", delete=False) == (
        prefix + "roster-core.readonly",
        prefix + "gradebook.readonly",
        prefix + "gradebook.createput",
    )
    assert scopes("1.2", delete=True)[-1].endswith("/v1p2/scope/gradebook.delete")

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from consumer.district import read_district
from consumer.sandbox.make_school import make_school
from consumer.sandbox.oracle import Expected, Oracle, clean_title, periods_by_class
from consumer.sandbox.roster import Roster, read_roster, with_grading_periods
from consumer.sandbox.school_calendar import calendar_on
from consumer.sandbox.schoolday import (
    ASSESSMENT,
    GRADE,
    GROUP,
    SCHOOL,
    Record,
    SchoolDayError,
    district_settings,
    school_day,
)
from consumer.sandbox.seating import seat
from consumer.sandbox.submissions import SubmissionsError, read_course_runs

NOW = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
OULAD = SCHOOL / "oulad"


@pytest.fixture(scope="module")
def roster() -> Roster:
    return with_grading_periods(read_roster(SCHOOL / "district"), NOW.date())


@pytest.fixture(scope="module")
def day(roster: Roster) -> list[Record]:
    return list(school_day(roster, OULAD, district_id="demo", now=NOW, seed=1))


@pytest.fixture(scope="module")
def settings(roster: Roster) -> dict[str, Any]:
    return district_settings(
        roster,
        district_id="demo",
        now=NOW,
        timezone="America/Chicago",
        cutoff="22:00",
        base_url="https://skyward.example/",
        token_url="https://skyward.example/oauth/token",
    )


@pytest.fixture(scope="module")
def answers(
    roster: Roster, day: list[Record], settings: dict[str, Any]
) -> list[tuple[str, str, str, Expected]]:
    oracle = Oracle(settings, periods_by_class(roster))
    for record in day:
        oracle.fold(record)
    return list(oracle.expected(NOW))


def readable(records: list[Record], topic: str) -> Iterator[tuple[Record, str, dict[str, Any]]]:
    """(record, event id, data) of every record of ``topic`` that is JSON with data in it."""
    for record in records:
        if record.topic != topic or record.value is None:
            continue
        try:
            content = json.loads(record.value, parse_float=Decimal)
        except ValueError:
            continue
        headers = dict(record.headers)
        if "ce_id" in headers:
            yield record, headers["ce_id"].decode(), content
        elif "data" in content:
            yield record, content["id"], content["data"]


def newest_assessments(records: list[Record]) -> list[dict[str, Any]]:
    newest: dict[str, dict[str, Any]] = {}
    for record, _, data in readable(records, ASSESSMENT):
        if record.key not in newest or newest[record.key]["version"] < data["version"]:
            newest[record.key] = data
    return list(newest.values())


def test_every_submission_becomes_exactly_one_grade(day: list[Record]) -> None:
    submitted: Counter[tuple[str, str]] = Counter()
    for run in read_course_runs(OULAD):
        for student, work in run.work():
            for one in work:
                assessment = run.assessments[one.place].assessment_id
                submitted[f"oulad-{assessment}", str(student)] += 1
    graded: dict[tuple[str, str], set[str]] = {}
    for record, name, data in readable(day, GRADE):
        made_of = tuple(name.removeprefix("oulad-").split("-"))
        if len(made_of) == 2 and made_of[0].isdigit():
            key = (data["assessment_id"], made_of[1])
            graded.setdefault(key, set()).add(record.key)
    assert max(submitted.values()) == 1
    assert graded.keys() == submitted.keys()
    assert all(len(subjects) == 1 for subjects in graded.values())
    assert len({key for keys in graded.values() for key in keys}) == len(submitted) == 15_163


def test_the_same_arguments_give_the_same_bytes(roster: Roster, day: list[Record]) -> None:
    assert day == list(school_day(roster, OULAD, district_id="demo", now=NOW, seed=1))


def test_another_seed_gives_another_day_of_the_same_work(roster: Roster, day: list[Record]) -> None:
    other = list(school_day(roster, OULAD, district_id="demo", now=NOW, seed=2))
    assert other != day
    of = [
        {record.key for record in records if record.topic == ASSESSMENT} for records in (day, other)
    ]
    assert of[0] == of[1]


def test_a_roster_with_too_few_seats_is_named_at_once(roster: Roster) -> None:
    few = replace(roster, classes=dict(list(roster.classes.items())[:3]))
    with pytest.raises(
        SubmissionsError, match=r"96 student seats in 3 classes, too few for the 1,800"
    ):
        school_day(few, OULAD, district_id="demo", now=NOW, seed=1)


def test_homerooms_are_used_only_where_the_other_classes_have_too_few_seats(
    roster: Roster,
) -> None:
    classes = dict(roster.classes)
    one = next(iter(classes))
    classes[one] = replace(classes[one], class_type="homeroom")
    runs = read_course_runs(OULAD)
    with_homeroom = replace(roster, classes=classes)
    assert one not in {seated.class_id for seated in seat(with_homeroom, runs[:3], OULAD)}
    assert one in {seated.class_id for seated in seat(with_homeroom, runs, OULAD)}


def test_who_never_submitted_fills_seats_that_are_left(roster: Roster) -> None:
    seated = list(seat(roster, read_course_runs(OULAD), OULAD))
    assert sum(1 for one in seated for sitting in one.seats if not sitting.work) == 216
    assert all(len({s.student for s in one.seats}) == len(one.seats) for one in seated)


def test_a_folder_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SubmissionsError, match=r"holds neither courses\.csv nor courses\.csv\.gz"):
        read_course_runs(tmp_path)


def test_a_table_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "courses.csv").write_text(
        "code_module,code_presentation,module_presentation_length\nAAA,2013J,long\n"
    )
    with pytest.raises(SubmissionsError, match=r"courses\.csv, line 2, cannot be read"):
        read_course_runs(tmp_path)


def test_a_day_without_an_open_grading_period_is_named(roster: Roster) -> None:
    with pytest.raises(SchoolDayError, match="No grading period of the roster contains 2031-01-01"):
        calendar_on(date(2031, 1, 1), roster.grading_periods)


def test_the_first_day_of_a_grading_period_makes_a_day_too(roster: Roster) -> None:
    start = roster.grading_periods[1].start_date
    morning = datetime(start.year, start.month, start.day, 18, tzinfo=UTC)
    records = list(school_day(roster, OULAD, district_id="demo", now=morning, seed=1))
    assert len({r.key for r in records if r.topic == GRADE}) > 15_163


def test_every_time_is_past_and_no_record_is_older_than_a_day(day: list[Record]) -> None:
    assert all(
        NOW - timedelta(days=1) <= datetime.fromtimestamp(r.timestamp_ms / 1000, UTC) <= NOW
        for r in day
    )
    for topic in (GROUP, ASSESSMENT, GRADE):
        for record, _, _ in readable(day, topic):
            headers = dict(record.headers)
            moment = (
                headers["ce_time"].decode()
                if "ce_time" in headers
                else json.loads(record.value or b"")["time"]
            )
            assert datetime.fromisoformat(moment) < NOW


def test_nothing_is_assigned_after_it_is_due(day: list[Record]) -> None:
    for data in newest_assessments(day):
        if data["due_at"]:
            assert datetime.fromisoformat(data["assigned_at"]) < datetime.fromisoformat(
                data["due_at"]
            )


def test_most_work_is_due_in_the_open_period_and_past_with_some_before_and_after_it(
    day: list[Record], roster: Roster
) -> None:
    closed, now_open, coming = roster.grading_periods
    where: Counter[str] = Counter()
    for data in newest_assessments(day):
        due = data["due_at"] and datetime.fromisoformat(data["due_at"])
        if due is None:
            where["none"] += 1
        elif due > NOW:
            where["coming" if coming.contains(due.date()) else "future"] += 1
        else:
            where["closed" if closed.contains(due.date()) else "open"] += 1
            assert closed.contains(due.date()) or due.date() >= now_open.start_date
    total = sum(where.values())
    assert where["open"] > total * 0.6
    assert where.keys() == {"none", "coming", "future", "closed", "open"}


def test_assessments_come_in_every_variety(day: list[Record]) -> None:
    items = newest_assessments(day)
    lengths = Counter(len(clean_title(data["title"])) for data in items)
    assert lengths[49] > 5
    assert lengths[50] > 5
    assert any(length > 50 for length in lengths)
    assert any(len(data["title"]) > 50 > len(clean_title(data["title"])) for data in items)
    assert any("\u0301" in data["title"] for data in items)
    assert any("\N{PARTY POPPER}" in data["title"] for data in items)
    assert any("\t" in data["title"] and "\0" in data["title"] for data in items)
    assert {data["format"] for data in items} == {
        "simple",
        "rubric",
        "advanced",
        "plus",
        "bubble_sheet",
    }
    assert {str(data["points_possible"]) for data in items} == {
        "100",
        "100.0",
        "10.5",
        "0",
        "50",
        "None",
    }
    assert {data["status"] for data in items} == {"active", "unassigned", "deleted"}
    assert len({data["type"] for data in items} & {"Discussion", "Quiz", "Paper", "Test"}) == 4
    assert any("rubric_id" in data for data in items)
    zones = Counter(data["due_at"][-6:] for data in items if data["due_at"])
    assert zones["-05:00"] > 10
    assert zones["+05:30"] > 10


def test_grades_come_in_every_variety(day: list[Record]) -> None:
    grades = [data for _, _, data in readable(day, GRADE)]
    assert {type(data.get("score")) for data in grades} == {str, int, Decimal, type(None)}
    assert {"78", 78, "78.0", Decimal("78.5")} <= {data.get("score") for data in grades}
    states = {(data.get("completion"), data.get("submission")) for data in grades}
    assert {
        ("graded", "on_time"),
        ("graded", "late"),
        ("graded", "missing"),
        ("graded", "excluded"),
        ("graded", "excused"),
        ("graded", None),
        ("turned_in", "late"),
        ("in_progress", "on_time"),
        ("not_started", "missing"),
    } <= states
    provisional = {
        data["score"] is None for data in grades if data.get("completion") == "in_progress"
    }
    assert provisional == {True, False}


def test_deliveries_repeat_and_overtake_each_other(day: list[Record]) -> None:
    versions: dict[str, list[int]] = {}
    for record, _, data in readable(day, GRADE):
        if isinstance(data.get("version"), int) and data["version"] < 9:
            versions.setdefault(record.key, []).append(data["version"])
    seen = Counter(tuple(of_key) for of_key in versions.values())
    assert {(1,), (1, 2), (2, 1), (2, 2), (1, 1)} <= seen.keys()
    first_at: dict[str, str] = {}
    for record in day:
        first_at.setdefault("/".join(record.key.split("/")[:3]), record.topic)
    assert set(first_at.values()) == {GROUP, ASSESSMENT, GRADE}


def test_both_modes_and_tombstones_of_every_kind_appear(day: list[Record]) -> None:
    modes = Counter(
        "binary" if "ce_id" in dict(r.headers) else "structured" if r.headers else "bare"
        for r in day
    )
    assert min(modes["binary"], modes["structured"], modes["bare"]) > 1000
    assert {record.topic for record in day if record.value is None} == {GROUP, ASSESSMENT, GRADE}


def test_some_events_cannot_be_read(
    roster: Roster, day: list[Record], settings: dict[str, Any]
) -> None:
    oracle = Oracle(settings, periods_by_class(roster))
    for record in day:
        oracle.fold(record)
    assert 10 <= oracle.unreadable <= 40


def test_every_rule_is_met_in_both_outcomes(
    answers: list[tuple[str, str, str, Expected]],
) -> None:
    counted = Counter(one.reason or one.origin for _, _, _, one in answers)
    assert counted.keys() == {
        "teacher",
        "clock",
        "assessment_unknown",
        "deleted",
        "unassigned",
        "student_not_assigned",
        "standards_based",
        "points_possible_invalid",
        "not_in_final_grade",
        "assigner_not_in_sis",
        "assigner_not_in_group",
        "name_empty",
        "name_too_long",
        "category_unmapped",
        "before_effective_date",
        "grading_period_unknown",
        "grading_period_closed",
        "excluded",
        "excused",
        "not_graded",
        "not_due_yet",
        "zero_not_allowed",
        "event_quarantined",
        "score_invalid",
        "score_not_whole",
    }
    assert counted["teacher"] > len(answers) * 0.4
    assert counted["clock"] > len(answers) * 0.1


def test_the_settings_are_a_valid_district_file(settings: dict[str, Any]) -> None:
    district = read_district(settings).district
    assert len(district.categories) == 12
    assert district.zeros.max_share == 1
    assert district.effective_date == district.live_since


def test_the_packaged_school_is_small_and_attributed() -> None:
    files = [path for path in SCHOOL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    attribution = (SCHOOL / "ATTRIBUTION.md").read_text("utf-8")
    assert all(word in attribution for word in ("Kuzilek", "10.1038/sdata.2017.171", "CC BY 4.0"))


def test_the_packaged_district_is_what_its_script_makes(tmp_path: Path) -> None:
    oulad = tmp_path / "oulad"
    oulad.mkdir()
    for name, columns in (
        ("courses", "code_module,code_presentation,module_presentation_length"),
        ("assessments", "code_module,code_presentation,id_assessment,assessment_type,date,weight"),
        ("studentRegistration", "code_module,code_presentation,id_student,date_registration"),
        ("studentAssessment", "id_assessment,id_student,date_submitted,is_banked,score"),
    ):
        (oulad / f"{name}.csv").write_text(columns + "\n")
    make_school(oulad, tmp_path)
    for made in (tmp_path / "district").iterdir():
        assert made.read_bytes() == (SCHOOL / "district" / made.name).read_bytes()

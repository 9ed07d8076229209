import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from consumer.sandbox.oracle import (
    Expected,
    Oracle,
    clean_title,
    compare,
    line_item_id,
    result_id,
)
from consumer.sandbox.schoolday import Record

CUTOFF = datetime(2026, 11, 24, 4, tzinfo=UTC)  # 22:00 in Chicago on 23 November
PERIODS = {
    "sky-1": (
        (date(2026, 7, 25), date(2026, 10, 12)),
        (date(2026, 10, 13), date(2026, 12, 31)),
        (date(2027, 1, 1), date(2027, 3, 21)),
    )
}
SETTINGS: dict[str, Any] = {
    "district": "d",
    "timezone": "America/Chicago",
    "cutoff": "22:00",
    "effective_date": "2026-10-20",
    "live_since": "2026-10-20",
    "categories": {"Quiz": "cat-test"},
    "zeros": {"max_count": 50, "max_share": 1.0},
    "group": ["t-1"],
}


class Night:
    """A night of one class with students s-1 and s-2; each call publishes one event."""

    def __init__(self, **settings: Any) -> None:
        self.oracle = Oracle({**SETTINGS, **settings}, PERIODS)

    def _event(self, topic: str, ids: list[str], data: dict[str, Any], time: str) -> None:
        key = "/".join(["d", *ids])
        event = {
            "specversion": "1.0",
            "id": "e",
            "source": "/otus",
            "type": f"com.otus.{topic}.v1",
            "subject": key,
            "time": time,
            "data": {"district_id": "d", "version": 1, **data},
        }
        self.publish(topic, key, json.dumps(event).encode())

    def publish(self, topic: str, key: str, value: bytes | None) -> None:
        at = int((CUTOFF - timedelta(hours=1)).timestamp() * 1000)
        self.oracle.fold(Record(topic, key, value, at))

    def assessment(self, time: str = "2026-11-16T15:00:00Z", **data: Any) -> None:
        whole = {
            "assessment_id": "a",
            "class_id": "c",
            "title": "Unit 3 Quiz",
            "type": "Quiz",
            "format": "simple",
            "grading_scale": "points",
            "points_possible": "100",
            "include_in_final_grade": True,
            "assigned_by": {"user_id": "t-1", "in_sis": True},
            "assigned_at": "2026-11-16T09:00:00-06:00",
            "due_at": "2026-11-20T23:59:00-06:00",
            "status": "active",
            "class_sourced_id": "sky-1",
            "school_sourced_id": "sky-school",
            "assignees": [
                {"student_id": "s-1", "sourced_id": "sky-s-1"},
                {"student_id": "s-2", "sourced_id": "sky-s-2"},
            ],
        }
        self._event("assessment-changed", ["a", "c"], {**whole, **data}, time)

    def grade(self, score: Any, time: str = "2026-11-19T20:00:00Z", **data: Any) -> None:
        whole = {
            "assessment_id": "a",
            "class_id": "c",
            "student_id": "s-1",
            "score": score,
            "completion": "graded",
            "submission": "on_time",
        }
        self._event("grade-changed", ["a", "c", "s-1"], {**whole, **data}, time)

    def member(self, member: bool, time: str, version: int) -> None:
        data = {"teacher_id": "t-1", "member": member, "version": version}
        self._event("passback-group-changed", ["t-1"], data, time)

    def answers(self, cutoff: datetime = CUTOFF) -> dict[str, Expected]:
        return {student: one for _, _, student, one in self.oracle.expected(cutoff)}

    def verdict(self, student: str = "s-1") -> str:
        """Score or reason; empty where nothing is said of the student."""
        one = self.answers().get(student)
        return "" if one is None else one.score or one.reason


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (78, "78"),
        ("78", "78"),
        ("78.0", "78"),
        (8.5, "score_not_whole"),
        ("8.000000001", "score_not_whole"),
        ("100", "100"),
        ("104", "104"),
        ("0", "0"),
        (-1, "score_invalid"),
        (None, "score_invalid"),
    ],
)
def test_only_whole_scores_stand(score: Any, verdict: str) -> None:
    night = Night()
    night.assessment()
    night.grade(score)
    assert night.verdict() == verdict


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"title": "x" * 49}, "78"),
        ({"title": "x" * 50}, "name_too_long"),
        ({"title": f"  {'x' * 49}\t\r\n"}, "78"),
        ({"title": "e\u0301" * 49}, "78"),
        ({"title": "e\u0301" * 50}, "name_too_long"),
        ({"title": "\N{PARTY POPPER}" * 49}, "78"),
        ({"title": " \t\0 "}, "name_empty"),
        ({"status": "deleted"}, "deleted"),
        ({"status": "unassigned"}, "unassigned"),
        ({"assignees": []}, "student_not_assigned"),
        ({"grading_scale": "standards", "points_possible": None}, "standards_based"),
        ({"points_possible": "0"}, "points_possible_invalid"),
        ({"points_possible": None}, "points_possible_invalid"),
        ({"points_possible": 10.5}, "78"),
        ({"include_in_final_grade": False}, "not_in_final_grade"),
        ({"assigned_by": {"user_id": "t-1", "in_sis": False}}, "assigner_not_in_sis"),
        ({"assigned_by": {"user_id": "t-9", "in_sis": True}}, "assigner_not_in_group"),
        ({"type": "Discussion"}, "category_unmapped"),
        ({"due_at": "2027-03-21T23:59:00-05:00"}, "78"),
        ({"due_at": "2027-03-22T00:00:00-05:00"}, "grading_period_unknown"),
        ({"assigned_at": "2026-10-13T00:00:00-05:00"}, "78"),
        ({"assigned_at": "2026-10-12T23:59:00-05:00"}, "grading_period_closed"),
        ({"due_at": None}, "78"),
    ],
)
def test_an_assessment_passes_or_is_kept_back_by_the_first_rule(
    change: dict[str, Any], verdict: str
) -> None:
    night = Night()
    night.assessment(**change)
    night.grade("78")
    assert night.verdict() == verdict


def test_a_period_ends_with_its_last_local_day() -> None:
    night = Night()
    night.assessment(
        time="2026-11-01T00:00:00Z",
        assigned_at="2026-10-05T09:00:00-05:00",
        due_at="2026-10-12T23:59:00-05:00",  # the 13th in UTC
    )
    night.grade("78")
    assert night.verdict() == "grading_period_closed"


@pytest.mark.parametrize(
    ("assigned", "changed", "verdict"),
    [
        ("2026-10-20T00:00:00-05:00", "2026-10-15T12:00:00Z", "78"),
        ("2026-10-19T23:59:00-05:00", "2026-10-20T04:59:00Z", "before_effective_date"),
        ("2026-10-19T23:59:00-05:00", "2026-10-20T05:00:00Z", "78"),
    ],
)
def test_assigned_or_changed_on_the_effective_date_passes(
    assigned: str, changed: str, verdict: str
) -> None:
    night = Night()
    night.assessment(time=changed, assigned_at=assigned)
    night.grade("78")
    assert night.verdict() == verdict


@pytest.mark.parametrize(
    ("completion", "submission", "score", "verdict"),
    [
        ("not_started", "missing", None, "0"),
        ("in_progress", None, None, "0"),
        ("in_progress", None, "50", "not_graded"),
        ("turned_in", "on_time", None, "not_graded"),
        ("turned_in", "on_time", "50", "not_graded"),
        ("graded", "excluded", "50", "excluded"),
        ("not_started", "excluded", None, "excluded"),
        ("not_started", "excused", None, "excused"),
        ("graded", "late", "50", "50"),
    ],
)
def test_what_is_not_graded_is_a_zero_only_where_nothing_was_handed_in(
    completion: str, submission: str | None, score: str | None, verdict: str
) -> None:
    night = Night()
    night.assessment()
    night.grade(score, completion=completion, submission=submission)
    assert night.verdict() == verdict


@pytest.mark.parametrize(
    ("due", "verdict"),
    [
        ("2026-11-23T22:00:00-06:00", "0"),
        ("2026-11-23T22:00:01-06:00", ""),
        (None, ""),
        ("2026-10-20T00:00:00-05:00", "0"),
    ],
)
def test_who_has_no_grade_gets_a_zero_once_the_due_moment_is_reached(
    due: str | None, verdict: str
) -> None:
    night = Night()
    night.assessment(assigned_at="2026-10-14T09:00:00-05:00", due_at=due)
    assert night.verdict("s-2") == verdict


def test_a_known_grade_that_is_not_due_says_so() -> None:
    night = Night()
    night.assessment(due_at=None)
    night.grade(None, completion="not_started", submission=None)
    assert night.verdict() == "not_due_yet"


def test_no_zero_is_made_of_a_plus_assessment_or_before_the_district_went_live() -> None:
    for change in (
        {"format": "plus"},
        {"assigned_at": "2026-10-14T09:00:00-05:00", "due_at": "2026-10-19T23:59:00-05:00"},
    ):
        night = Night()
        night.assessment(**change)
        night.grade(None, completion="not_started", submission=None)
        assert night.verdict() == "zero_not_allowed"
        assert night.verdict("s-2") == "zero_not_allowed"


def test_a_teacher_who_joins_later_makes_no_zero_of_what_was_due_before() -> None:
    night = Night()
    night.assessment()
    night.member(True, "2026-11-21T05:59:00Z", 1)
    assert night.verdict("s-2") == "0"  # it is due at that very moment
    night.member(True, "2026-11-21T05:59:01Z", 2)
    assert night.verdict("s-2") == "zero_not_allowed"


def test_a_teacher_who_left_passes_nothing_and_a_stale_join_does_not_bring_him_back() -> None:
    night = Night()
    night.assessment()
    night.grade("78")
    night.member(False, "2026-11-20T00:00:00Z", 2)
    night.member(True, "2026-11-22T00:00:00Z", 1)
    assert night.verdict() == "assigner_not_in_group"


def test_the_newest_version_counts_whatever_the_order() -> None:
    night = Night()
    night.assessment()
    night.grade("60", version=2)
    night.grade("97", version=1)
    night.grade("98", version=2)
    assert night.verdict() == "60"


def test_a_tombstone_removes_a_score_and_needs_a_higher_version_after_it() -> None:
    night = Night()
    night.assessment()
    night.grade("78", version=3)
    night.publish("grade-changed", "d/a/c/s-1", None)
    night.grade("78", version=3)
    assert night.verdict() == "0"
    night.grade("79", version=4)
    assert night.verdict() == "79"
    night.publish("assessment-changed", "d/a/c", None)
    assert night.verdict() == "deleted"


def test_an_unreadable_event_holds_the_zero_of_its_key_only() -> None:
    night = Night()
    night.assessment()
    night.publish("grade-changed", "d/a/c/s-1", b"\xff")
    assert night.verdict() == "event_quarantined"
    assert night.verdict("s-2") == "0"
    night.publish("assessment-changed", "d/a/c", b"{}")
    assert night.verdict("s-2") == "event_quarantined"
    assert night.oracle.unreadable == 2


def test_a_key_that_disagrees_and_a_version_beyond_64_bits_are_unreadable() -> None:
    night = Night()
    night.assessment()
    night.grade("78", student_id="s-2")
    night.grade("78", version=2**63)
    night.grade("NaN")
    night.grade("78", completion="finished")
    assert night.oracle.unreadable == 4
    assert night.verdict() == "event_quarantined"


def test_a_grade_of_no_known_assessment_waits() -> None:
    night = Night()
    night.grade("78")
    assert night.verdict() == "assessment_unknown"


def test_what_changed_only_after_the_cutoff_waits_for_the_next_night() -> None:
    night = Night()
    night.assessment()
    night.grade("78", time="2026-11-19T20:00:00Z")
    before = night.answers(datetime(2026, 11, 19, 19, tzinfo=UTC))["s-1"]
    assert not before.stands
    assert before.reason == ""


def test_the_breaker_holds_all_zeros_only_when_count_and_share_are_exceeded() -> None:
    for max_count, max_share, verdict in ((1, 0.9, "zeros_held"), (2, 0.9, "0"), (1, 1.0, "0")):
        night = Night(zeros={"max_count": max_count, "max_share": max_share})
        night.assessment()
        assert night.verdict("s-2") == verdict


def test_whole_points_possible_may_be_asked_for_instead_of_whole_scores() -> None:
    for points, verdict in (("10", "8.5"), ("10.5", "score_not_whole")):
        night = Night(rules={"whole_number_rule": "points_possible"})
        night.assessment(points_possible=points)
        night.grade("8.5")
        assert night.verdict() == verdict
        assert night.verdict("s-2") == ("0" if points == "10" else "score_not_whole")


def test_a_title_is_composed_trimmed_and_collapsed() -> None:
    assert clean_title(" \tRe\u0301sume\u0301\r\n \0 two\u00a0 ") == "R\u00e9sum\u00e9 two"


def state_of(night: Night) -> Iterator[str]:
    item = str(line_item_id("d", "a", "c"))
    yield json.dumps({"sourcedId": item, "title": "Unit 3 Quiz", "class": {"sourcedId": "sky-1"}})
    for student, one in night.answers().items():
        if one.stands:
            yield json.dumps(
                {
                    "sourcedId": str(result_id("d", "a", "c", student)),
                    "lineItem": {"sourcedId": item},
                    "student": {"sourcedId": one.student_sourced_id},
                    "score": float(one.score or 0),
                    "scoreStatus": one.score_status,
                }
            )


@pytest.fixture
def posted() -> Night:
    night = Night()
    night.assessment()
    night.grade("78")
    return night


def differences(night: Night, lines: list[str]) -> list[str]:
    return compare(night.oracle.expected(CUTOFF), lines, district_id="d")


def test_a_state_that_is_as_expected_has_no_difference(posted: Night) -> None:
    assert differences(posted, list(state_of(posted))) == []


def test_a_missing_result_is_a_difference(posted: Night) -> None:
    found = differences(posted, list(state_of(posted))[:-1])
    assert found == ["assessment a, class c, student s-2: nothing stands, but 0 should (clock)."]


def test_a_wrong_score_is_a_difference(posted: Night) -> None:
    lines = [line.replace("78.0", "77") for line in state_of(posted)]
    assert differences(posted, lines) == [
        "assessment a, class c, student s-1: score is '77', but should be '78'."
    ]


def test_a_wrong_student_is_a_difference(posted: Night) -> None:
    lines = [line.replace("sky-s-1", "sky-s-2") for line in state_of(posted)]
    assert len(differences(posted, lines)) == 1


def test_a_result_too_many_is_a_difference(posted: Night) -> None:
    lines = list(state_of(posted))
    posted.grade("78.5", version=2)
    assert differences(posted, lines) == [
        "assessment a, class c, student s-1: 78 stands, but nothing should (score_not_whole)."
    ]


def test_a_line_item_without_a_result_is_a_difference(posted: Night) -> None:
    lines = list(state_of(posted))[:1]
    posted.assessment(version=2, status="deleted")
    found = differences(posted, lines)
    assert len(found) == 1
    assert "stands without any result" in found[0]


def test_a_renamed_line_item_is_a_difference(posted: Night) -> None:
    lines = [line.replace("Unit 3 Quiz", "Another") for line in state_of(posted)]
    assert "title is 'Another'" in differences(posted, lines)[0]


def test_what_was_deleted_in_skyward_does_not_stand(posted: Night) -> None:
    lines = list(state_of(posted))
    gone = json.dumps({**json.loads(lines[-1]), "status": "tobedeleted"})
    assert len(differences(posted, [*lines[:-1], gone])) == 1

"""One ordinary night at one ordinary district, and what tests change about it.

Friday 20 November 2026, 22:00 in Chicago. A quiz of 10 points, assigned on Monday and due
this afternoon, by a teacher of the group; its one student was given 8 points.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from consumer.district import District
from consumer.gradebook import (
    AcademicSession,
    Assessment,
    AssessmentStatus,
    Completion,
    Decision,
    Grade,
    ItemKey,
    Membership,
    Origin,
    ScoreStatus,
    Sent,
    Submission,
)
from consumer.rules import Case, Categories, Frame, Item, Tonight, ZeroRuling, decide, frame

CHICAGO: Final = ZoneInfo("America/Chicago")
TODAY: Final = date(2026, 11, 20)


def at(day: date, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """An instant in UTC, from a wall clock in Chicago."""
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=CHICAGO).astimezone(
        UTC
    )


def nov(day: int, hour: int = 12, minute: int = 0, second: int = 0) -> datetime:
    """An instant in UTC, from a wall clock in Chicago in November 2026."""
    return at(date(2026, 11, day), hour, minute, second)


CUTOFF: Final = nov(20, 22)


def period(name: str, start: str, end: str, **changes: Any) -> AcademicSession:
    """An active grading period; both days are written as ISO dates."""
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    return replace(AcademicSession(name, "gradingPeriod", True, first, last, None), **changes)


FIRST: Final = period("gp-1", "2026-08-17", "2026-10-16")
SECOND: Final = period("gp-2", "2026-10-19", "2026-12-18")
THIRD: Final = period("gp-3", "2027-01-04", "2027-03-19")

SETTINGS: Final[Mapping[str, Any]] = {
    "district": "lakeside",
    "name": "Lakeside Public Schools",
    "timezone": "America/Chicago",
    "cutoff": "22:00",
    "effective_date": "2026-08-24",
    "live_since": "2026-08-24",
    "skyward": {
        "base_url": "https://lakeside.skyward.example/",
        "token_url": "https://lakeside.skyward.example/oauth/token",
    },
    "categories": {"Quiz": "cat-test", "Homework": "cat-homework"},
}

_ASSESSMENT: Final = Assessment(
    key=ItemKey("a-1", "c-7"),
    version=3,
    title="Unit 3 Quiz",
    type="Quiz",
    format="simple",
    grading_scale="points",
    points_possible=Decimal(10),
    include_in_final_grade=True,
    assigner_id="t-100",
    assigner_in_sis=True,
    assigned_at=nov(16, 9),
    due_at=nov(20, 15),
    status=AssessmentStatus.ACTIVE,
    class_sourced_id="sky-class-7",
    school_sourced_id="sky-school-1",
    assignees={"s-1": "sky-stu-1"},
    changed_at=nov(16, 9),
)
_ASSESSMENT_FIELDS: Final = frozenset(f.name for f in fields(Assessment))


def district(**changes: Any) -> District:
    """The district with other settings."""
    return District.model_validate({**SETTINGS, **changes})


def framed(**facts: Any) -> Frame:
    """The quiz, framed for the night, with what a test says of it changed.

    ``facts`` are fields of ``Assessment``, settings of the district, and ``known=False``,
    ``member``, ``joined_at``, ``periods``, ``district_lists``, ``class_lists``, ``in_skyward``,
    ``quarantined_item``, ``today``, ``cutoff_at``, ``intake_caught_up``, ``zeros_held``.
    """
    assessment = replace(
        _ASSESSMENT, **{name: facts.pop(name) for name in _ASSESSMENT_FIELDS & facts.keys()}
    )
    if isinstance(assessment.points_possible, str):
        assessment = replace(assessment, points_possible=Decimal(assessment.points_possible))
    if isinstance(assessment.status, str):
        assessment = replace(assessment, status=AssessmentStatus(assessment.status))
    in_class = facts.pop("class_lists", ("cat-test", "cat-homework"))
    item = Item(
        assessment=assessment if facts.pop("known", True) else None,
        membership=Membership(facts.pop("member", True), facts.pop("joined_at", None)),
        periods=tuple(facts.pop("periods", (FIRST, SECOND, THIRD))),
        categories=Categories(
            frozenset(facts.pop("district_lists", ("cat-test", "cat-homework"))),
            None if in_class is None else frozenset(in_class),
        ),
        in_skyward=facts.pop("in_skyward", False),
        quarantined=facts.pop("quarantined_item", False),
        tonight=Tonight(
            cutoff_at=facts.pop("cutoff_at", CUTOFF),
            today=facts.pop("today", TODAY),
            intake_caught_up=facts.pop("intake_caught_up", True),
            zeros_held=facts.pop("zeros_held", False),
            district=district(**facts),
        ),
    )
    return frame(item)


def case(**facts: Any) -> Case:
    """The one student's grade.

    ``facts`` are those of ``framed`` and ``student``, ``completion``, ``score``, ``submission``,
    ``sent`` as ``("8", "teacher")``, ``quarantined_grade``, ``held``, ``ruling``.
    Where ``completion`` is not graded there is no score unless one is given.
    """
    completion = Completion(facts.pop("completion", "graded"))
    score = facts.pop("score", "8" if completion is Completion.GRADED else None)
    submission = facts.pop("submission", None)
    grade = Grade(
        version=1,
        score=None if score is None else Decimal(score),
        completion=completion,
        submission=None if submission is None else Submission(submission),
    )
    sent = facts.pop("sent", None)
    ruling = facts.pop("ruling", None)
    return Case(
        student_id=facts.pop("student", "s-1"),
        grade=grade,
        sent=None if sent is None else _sent(*sent),
        quarantined=facts.pop("quarantined_grade", False),
        held=facts.pop("held", False),
        zero_ruling=None if ruling is None else ZeroRuling(ruling),
        frame=framed(**facts),
    )


def _sent(score: str | None, origin: str, status: str = "fully graded") -> Sent:
    return Sent(None if score is None else Decimal(score), ScoreStatus(status), Origin(origin))


def told(decision: Decision) -> str:
    """A decision in words: ``post 8 by teacher``, ``skip excused``, ``hold not_due_yet``.

    ``, again`` follows where nothing is sent because Skyward holds it, and ``, delete`` or
    ``, send exempt`` where something is withdrawn.
    """
    if decision.kind == "post":
        value = decision.score if decision.score is not None else decision.score_status
        return f"post {value} by {decision.origin}{'' if decision.send else ', again'}"
    words = f"{decision.kind} {decision.reason}"
    if decision.delete:
        words += ", delete"
    if decision.send:
        words += f", send {decision.score_status}"
    return words


def decided(**facts: Any) -> str:
    """What is decided, in words, about ``case(**facts)``."""
    return told(decide(case(**facts)))

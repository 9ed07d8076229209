"""What Otus says, as changes that stand in a log: for tests that record without a Kafka.

Minutes count from noon (UTC) on Friday 20 November 2026; one partition of one topic unless told.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from consumer import events
from consumer.cutoff import Cutoff
from consumer.district import District
from consumer.events import AssessmentChanged, Change, GradeChanged, GroupChanged
from consumer.gradebook import AssessmentStatus, Completion, Submission
from consumer.sandbox.otus import milliseconds
from consumer.store import districts
from consumer.store.connection import Pool
from consumer.store.recording import Batch, Record, Recordable

NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
TONIGHT: Final = Cutoff(date(2026, 11, 20), datetime(2026, 11, 21, 4, tzinfo=UTC))
LAKESIDE: Final = District.model_validate(
    {
        "district": "lakeside",
        "name": "Lakeside Public Schools",
        "timezone": "America/Chicago",
        "cutoff": time(22),
        "effective_date": "2026-08-24",
        "skyward": {
            "base_url": "https://lakeside.skyward.example/",
            "token_url": "https://lakeside.skyward.example/oauth/token",
        },
        "categories": {"Quiz": "cat-test"},
    }
)


def minute(number: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=number)


async def apply(pool: Pool, district_id: str = "lakeside", next_run: Cutoff = TONIGHT) -> int:
    """Applies a district whose next run is ``next_run``; returns the settings revision."""
    district = LAKESIDE.model_copy(update={"district": district_id})
    return await districts.apply(pool, district, b"key", b"secret", next_run, next_run.at, NOON)


def grade(
    version: int,
    changed: float = 0,
    offset: int | None = None,
    *,
    student: str = "s-1",
    score: str | None = "8",
    **changes: Any,
) -> Recordable:
    """A grade in assessment a-1 of class c-7; ``offset`` is the version where None."""
    data = GradeChanged(
        **{
            "district_id": "lakeside",
            "assessment_id": "a-1",
            "class_id": "c-7",
            "student_id": student,
            "version": version,
            "completion": Completion.GRADED,
            "score": None if score is None else Decimal(score),
            "submission": Submission.ON_TIME,
            **changes,
        }
    )
    key = (data.district_id, data.assessment_id, data.class_id, data.student_id)
    return _at(events.GRADE_CHANGED, key, data, changed, version if offset is None else offset)


def assessment(
    version: int, changed: float = 0, offset: int | None = None, **changes: Any
) -> Recordable:
    """Assessment a-1 of class c-7, given by teacher t-100."""
    data = AssessmentChanged(
        **{
            "district_id": "lakeside",
            "assessment_id": "a-1",
            "class_id": "c-7",
            "version": version,
            "title": f"Unit {version}",
            "type": "Quiz",
            "format": "simple",
            "grading_scale": "points",
            "include_in_final_grade": True,
            "assigned_by": events.Assigner("t-100", True),
            "assigned_at": minute(-60),
            "status": AssessmentStatus.ACTIVE,
            "class_sourced_id": "sky-class-7",
            "school_sourced_id": "sky-school-1",
            "assignees": [events.Assignee("s-1", "sky-stu-1")],
            "points_possible": Decimal(10),
            "due_at": minute(60),
            **changes,
        }
    )
    key = (data.district_id, data.assessment_id, data.class_id)
    return _at(events.ASSESSMENT_CHANGED, key, data, changed, version if offset is None else offset)


def member(
    version: int,
    joined: bool,
    changed: float = 0,
    offset: int | None = None,
    *,
    teacher: str = "t-100",
) -> Recordable:
    """A teacher joined or left the group."""
    data = GroupChanged("lakeside", teacher, version, joined)
    key = (data.district_id, data.teacher_id)
    return _at(events.GROUP_CHANGED, key, data, changed, version if offset is None else offset)


def tombstone(of: Recordable, changed: float, offset: int) -> Recordable:
    """A null value for the key of ``of``."""
    return _at(of.change.topic, of.change.key, None, changed, offset)


def batch(*changes: Recordable) -> Batch:
    """One poll's batch, with the offsets after its last records."""
    ends: dict[tuple[str, int], int] = {}
    for one in changes:
        where = (one.record.topic, one.record.partition)
        ends[where] = max(ends.get(where, 0), one.record.offset + 1)
    return Batch(list(changes), [], ends)


def cut(changes: Sequence[Recordable], at: Sequence[int]) -> list[Batch]:
    """The same log as several batches, cut before the places ``at``."""
    places = sorted({0, *at, len(changes)})
    return [batch(*changes[first:last]) for first, last in pairwise(places)]


def _at(
    topic: str, key: tuple[str, ...], data: events.Data | None, changed: float, offset: int
) -> Recordable:
    changed_at = minute(changed)
    subject = "/".join(key)
    value, headers = b"the record's value", [("ce_id", b"e-1")]
    stood = (f"otus.{topic}", 0, offset, milliseconds(changed_at))
    record = Record(*stood, subject.encode(), value, headers)
    return Recordable(Change(topic, subject, key, data, microseconds(changed_at)), record)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, as a change has them."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

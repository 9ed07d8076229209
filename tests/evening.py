"""Hand-written events of a few classes, in the shape that upstream publishes."""

import json
from datetime import datetime, timedelta
from typing import Any

from consumer.sandbox.otus import milliseconds
from consumer.sandbox.roster import Roster
from consumer.sandbox.schoolday import Record


class Evening:
    """Hand-written events of one class, its teacher in the group.

    ``now`` is when its events are published; what they tell changed half an hour before.
    """

    def __init__(self, roster: Roster, district: str, now: datetime) -> None:
        self._district = district
        self.now = now
        self._roster = roster
        self.classes = sorted(c for c in roster.classes if len(roster.students_of(c)) > 6)
        self._class_id = self.classes[0]
        self.students = sorted(roster.students_of(self._class_id))
        self.records: list[Record] = []
        self._version = 0
        self._event(
            "passback-group-changed",
            ("t-1",),
            {"teacher_id": "t-1", "member": True},
            days=-100,
        )

    def terms(self) -> tuple[str, ...]:
        """The terms of the first class."""
        return tuple(self._roster.classes[self._class_id].terms)

    def assess(
        self,
        name: str,
        *,
        title: str = "Quiz",
        assigned_days: float = -5,
        due_days: float = -1,
        number: int = 0,
        changed_days: float = 0,
        **changes: Any,
    ) -> None:
        """An assessment of the class with that number; ``changes`` replace fields."""
        class_id = self.classes[number]
        self._event(
            "assessment-changed",
            (name, f"c-{number + 1}"),
            {
                "assessment_id": name,
                "class_id": f"c-{number + 1}",
                "title": title,
                "type": "Quiz",
                "format": "simple",
                "grading_scale": "points",
                "points_possible": "10",
                "include_in_final_grade": True,
                "assigned_by": {"user_id": "t-1", "in_sis": True},
                "assigned_at": (self.now + timedelta(days=assigned_days)).isoformat(),
                "due_at": (self.now + timedelta(days=due_days)).isoformat(),
                "status": "active",
                "class_sourced_id": class_id,
                "school_sourced_id": self._roster.classes[class_id].school,
                "assignees": self.assignees(number),
            }
            | changes,
            days=changed_days,
        )

    def assignees(self, number: int) -> list[dict[str, str]]:
        """All students of the class with that number."""
        return [
            {"student_id": f"s-{i}", "sourced_id": s}
            for i, s in enumerate(sorted(self._roster.students_of(self.classes[number])))
        ]

    def grade(
        self,
        assessment: str,
        student: int,
        score: str | None,
        *,
        completion: str = "graded",
        submission: str | None = "on_time",
        number: int = 0,
        after: timedelta = timedelta(),
    ) -> None:
        """A grade; ``after`` is how much later than the others it changed."""
        self._event(
            "grade-changed",
            (assessment, f"c-{number + 1}", f"s-{student}"),
            {
                "assessment_id": assessment,
                "class_id": f"c-{number + 1}",
                "student_id": f"s-{student}",
                "score": score,
                "completion": completion,
                "submission": submission,
            },
            days=after / timedelta(days=1),
        )

    def join(self, teacher: str, *, member: bool = True, days: float = 0) -> None:
        """A teacher joins the group, or leaves it."""
        data = {"teacher_id": teacher, "member": member}
        self._event("passback-group-changed", (teacher,), data, days=days)

    def remove(self, topic: str, *key: str) -> None:
        """A tombstone: deleted, its score removed, or left."""
        subject = "/".join((self._district, *key))
        self.records.append(Record(topic, subject, None, milliseconds(self.now)))

    def _event(
        self, topic: str, key: tuple[str, ...], data: dict[str, Any], days: float = 0
    ) -> None:

        self._version += 1
        subject = "/".join((self._district, *key))
        at = self.now + timedelta(days=days) - timedelta(minutes=30)
        event = {
            "specversion": "1.0",
            "id": f"e-{self._version}",
            "source": "/otus/gradebook",
            "type": f"com.otus.{topic}.v1",
            "subject": subject,
            "time": at.isoformat(),
            "data": {"district_id": self._district, "version": self._version} | data,
        }
        self.records.append(
            Record(topic, subject, json.dumps(event).encode(), milliseconds(self.now))
        )

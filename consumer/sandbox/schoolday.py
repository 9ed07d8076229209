"""A school day: the events that Otus publishes for a district, made from real submissions.

The classes and people are the roster's, the work is the OULAD's (`seating` says who sits where),
and a hash of ids and seed gives every rule of the guide its passing and its failing cases. The
same arguments give the same bytes; events stream class by class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from consumer.sandbox.assignments import Assignments, Item
from consumer.sandbox.district_file import CATEGORIES, district_settings
from consumer.sandbox.grades import Grades, State
from consumer.sandbox.otus import ASSESSMENT, GRADE, GROUP, Otus, Record, milliseconds, otus_id
from consumer.sandbox.roster import Roster
from consumer.sandbox.school_calendar import Calendar, SchoolDayError, calendar_on
from consumer.sandbox.seating import Seat, SeatedClass, seat
from consumer.sandbox.submissions import read_course_runs
from consumer.sandbox.teachers import joining, leaving, standing_of

__all__ = [
    "ASSESSMENT",
    "CATEGORIES",
    "GRADE",
    "GROUP",
    "SCHOOL",
    "Record",
    "SchoolDayError",
    "district_settings",
    "otus_id",
    "school_day",
]

SCHOOL: Final = Path(__file__).parent / "school"
"""The packaged school: ``district`` (OneRoster CSV) and ``oulad`` (submissions)."""


def school_day(
    roster: Roster,
    submissions_dir: Path,
    *,
    district_id: str,
    now: datetime,
    seed: int,
    timezone: str = "America/Chicago",
) -> Iterator[Record]:
    """Everything that Otus publishes up to ``now`` (aware), as records in the order to publish.

    Each submission in ``submissions_dir`` becomes one grade (assessment, class, student); further
    records are redeliveries, older versions, and what the clock or a person adds. Raises at once
    SubmissionsError (unreadable, or too few seats) or SchoolDayError (no open grading period).
    """
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    calendar = calendar_on(today, roster.grading_periods)
    classes = seat(roster, read_course_runs(submissions_dir), submissions_dir)
    return _events(roster, Otus(district_id, now, seed, zone), calendar, classes)


class _Fault(NamedTuple):
    """One event that nobody can read: what is changed in an event that would be good."""

    envelope: Mapping[str, Any]
    data: Mapping[str, Any]
    without: str = ""


_FAULTS: Final = (
    None,  # poison bytes
    _Fault({}, {}, without="completion"),
    _Fault({}, {"district_id": "a-district-of-nobody"}),
    _Fault({"type": "com.otus.grade-changed.v9"}, {}),
    _Fault({}, {"version": 2**63}),
    _Fault({}, {"submission": "on_tim"}),
    _Fault({}, {"student_id": "student-of-another-key"}),
    _Fault({}, {"score": "NaN"}),
    _Fault({}, {"completion": 3}),
)


def _events(
    roster: Roster, otus: Otus, calendar: Calendar, classes: Iterator[SeatedClass]
) -> Iterator[Record]:
    standing = standing_of(roster)
    day = _Day(otus, Assignments(otus, roster, tuple(standing), calendar.today), Grades(otus))
    yield from joining(otus, standing, calendar.open.start_date)
    # Faults, tombstones and the like are few whatever the district's size.
    every = max(4, len(roster.classes) // 16)
    for number, seated in enumerate(classes):
        yield from day.of_class(seated)
        if number % every == 1:
            yield from day.oddities(number // every, seated)
    yield from leaving(otus, standing)


@dataclass(frozen=True, slots=True)
class _Day:
    otus: Otus
    assignments: Assignments
    grades: Grades

    def of_class(self, seated: SeatedClass) -> Iterator[Record]:
        items = [
            self.assignments.item(seated, place) for place in range(len(seated.run.assessments))
        ]
        students = [otus_id("student", one.student) for one in seated.seats]
        announced = [
            record for item in items for record in self.assignments.records(item, seated, students)
        ]
        # Some classes' grades overtake their assessments: order between topics is nobody's promise.
        grades_first = self.otus.chance("grades first", seated.class_id) < 0.06
        if not grades_first:
            yield from announced
        for student, one in zip(students, seated.seats, strict=True):
            yield from self.grades.of_student(items, student, one)
        if grades_first:
            yield from announced
        for item in items:
            if "tombstone" in item.traits:
                key = f"{self.otus.district}/{item.key}"
                yield self.otus.tombstone(ASSESSMENT, key, self.otus.now - timedelta(minutes=50))

    def oddities(self, turn: int, seated: SeatedClass) -> Iterator[Record]:
        """One event that cannot be read, and by turns a grade of nothing and a removed score."""
        items = [
            self.assignments.item(seated, place) for place in range(len(seated.run.assessments))
        ]
        item = next((one for one in items if one.traits == {"plain"} and one.due), items[0])
        place = items.index(item)
        at = self.otus.now - timedelta(minutes=20)
        fault = _FAULTS[turn % len(_FAULTS)]
        if fault is None:
            # On a student without work, so that a zero is held because of it; else on anyone.
            one = next(
                (s for s in seated.seats if all(w.place != place for w in s.work)), seated.seats[0]
            )
            student = otus_id("student", one.student)
            key = f"{self.otus.district}/{item.key}/{student}"
            yield Record(GRADE, key, b"\x00\xff poison", milliseconds(at))
            key = f"{self.otus.district}/{items[-1].key}"
            yield Record(ASSESSMENT, key, b'{"specversion":"1.0","id":', milliseconds(at))
        else:
            student = otus_id("student", seated.seats[0].student)
            yield self._unreadable(item, student, turn, fault, at)
        if turn % 4 == 1:
            unknown = replace(item, assessment_id=f"otus-draft-{turn}")
            state = State('"88"', "graded", "on_time")
            yield self.grades.event(unknown, student, f"unknown-{turn}", 1, state, at)
        if turn % 4 == 2:
            yield from self._removed(items, seated.seats[0], at)

    def _removed(self, items: Sequence[Item], one: Seat, at: datetime) -> Iterator[Record]:
        """Removes the scores of what is not due yet: a removed one that is due is a zero."""
        for work in one.work:
            item = items[work.place]
            if item.due and item.due > self.otus.now + timedelta(days=2):
                key = f"{self.otus.district}/{item.key}/{otus_id('student', one.student)}"
                yield self.otus.tombstone(GRADE, key, at)

    def _unreadable(
        self, item: Item, student: str, turn: int, fault: _Fault, at: datetime
    ) -> Record:
        good = self.grades.event(
            item, student, f"fault-{turn}", 9, State('"3"', "graded", "on_time"), at, mode=0
        )
        assert good.value is not None
        event = msgspec.json.decode(good.value)
        event.update(fault.envelope)
        event["data"].update(fault.data)
        event["data"].pop(fault.without, None)
        key = good.key
        if "district_id" in fault.data:
            key = key.replace(self.otus.district, fault.data["district_id"], 1)
            event["subject"] = key
        return good._replace(key=key, value=msgspec.json.encode(event))

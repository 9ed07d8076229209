"""One district that the stand-in hosts: its roster as it is today, its gradebook, its settings."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from consumer.sandbox.roster import (
    AcademicSession,
    Enrollment,
    Roster,
    SchoolClass,
    User,
    grading_periods_under,
    with_grading_periods,
)
from consumer.sandbox.skyward.behaviour import Category, FaultPlan, Settings
from consumer.sandbox.skyward.gradebook import Gradebook
from consumer.sandbox.skyward.throttle import Throttle
from consumer.sandbox.skyward.tokens import TokenDesk


class District:
    """A tenant. The roster itself is shared and never changed: what a teacher changes lies here.

    aliases maps sourcedIds that a caller supplied to those that the server allocated.
    """

    def __init__(self, name: str, roster: Roster, desk: TokenDesk, settings: Settings) -> None:
        self.name = name
        self.desk = desk
        self.faults = FaultPlan()
        self.throttle = Throttle()
        self.gradebook = Gradebook()
        self.aliases: dict[str, str] = {}
        self.answers: Counter[tuple[str, int | None]] = Counter()
        self.settings = settings
        self.zone = ZoneInfo(settings.timezone)
        self.roster = with_grading_periods(roster, self.today())
        self.sessions: dict[str, AcademicSession] = dict(self.roster.sessions)
        self.classes: Mapping[str, SchoolClass] = roster.classes
        self.users: Mapping[str, User] = roster.users
        self._enrolled: dict[str, dict[str, None]] = {}
        self._closed_by_hand: dict[str, bool] = {}
        self._inactive: dict[str, set[str]] = {}
        self._active: dict[str, set[str]] = {}

    def configure(self, changes: Mapping[str, Any]) -> Settings:
        """Changes some settings; msgspec.ValidationError says which is wrong, and none changes."""
        merged = {**msgspec.to_builtins(self.settings), **changes}
        self.settings = msgspec.convert(merged, Settings)
        self.zone = ZoneInfo(self.settings.timezone)
        return self.settings

    def empty_gradebook(self) -> None:
        """Forgets all line items, results and allocated ids."""
        self.gradebook = Gradebook()
        self.aliases = {}

    def today(self) -> date:
        """The day it is for this district."""
        return self.settings.today or datetime.now(self.zone).date()

    def students_of(self, class_id: str) -> dict[str, None]:
        """Those enrolled in the class now, as the keys of a mapping."""
        enrolled = self._enrolled.get(class_id)
        if enrolled is None:
            enrolled = dict.fromkeys(
                student for student in self.roster.students_of(class_id) if student in self.users
            )
            self._enrolled[class_id] = enrolled
        return enrolled

    def enrollments(self) -> Iterator[Enrollment]:
        """The enrollments that the roster brought and nobody ended since."""
        for enrollment in self.roster.enrollments.values():
            if enrollment.class_id not in self.classes or enrollment.user not in self.users:
                continue
            students = self.students_of(enrollment.class_id)
            if enrollment.role != "student" or enrollment.user in students:
                yield enrollment

    def grading_periods_of(self, class_id: str) -> tuple[AcademicSession, ...]:
        """The grading periods that a line item of the class may lie in, the earliest first."""
        return grading_periods_under(self.classes[class_id].terms, self.sessions)

    def is_closed(self, period: AcademicSession) -> bool:
        """Whether the period's last day is over, or somebody closed it; reopened ones are open."""
        by_hand = self._closed_by_hand.get(period.sourced_id)
        return by_hand if by_hand is not None else period.end_date < self.today()

    def categories(self) -> dict[str, Category]:
        """The district-level categories by sourcedId."""
        return {key: one for key, one in self.settings.categories.items() if one.district_level}

    def categories_of(self, class_id: str) -> dict[str, Category]:
        """The categories that are active in the class, district-level or not, by sourcedId."""
        chosen = self.settings.class_categories.get(class_id)
        active = set(self.categories() if chosen is None else chosen)
        active -= self._inactive.get(class_id, set())
        active |= self._active.get(class_id, set())
        return {
            key: one
            for key, one in self.settings.categories.items()
            if key in active and one.status == "active"
        }

    def set_category(self, class_id: str, category: str, *, active: bool) -> None:
        """A teacher switches a category on or off in the gradebook of a class."""
        on, off = (self._active, self._inactive) if active else (self._inactive, self._active)
        on.setdefault(class_id, set()).add(category)
        off.setdefault(class_id, set()).discard(category)

    def set_closed(self, period_id: str, *, closed: bool) -> None:
        """The office closes or reopens a grading period, whatever its dates say."""
        self._closed_by_hand[period_id] = closed

    def move_period(self, period_id: str, start: date, end: date) -> None:
        """The office gives a grading period other dates; they decide again if it is closed."""
        self.sessions[period_id] = replace(self.sessions[period_id], start_date=start, end_date=end)
        self._closed_by_hand.pop(period_id, None)

    def remove_class(self, class_id: str) -> None:
        self.classes = {key: one for key, one in self.classes.items() if key != class_id}

    def remove_student(self, student: str, class_id: str | None) -> None:
        """Drops a student from one class, or from the district when class_id is None."""
        if class_id is not None:
            self.students_of(class_id).pop(student, None)
            return
        self.users = {key: one for key, one in self.users.items() if key != student}
        for enrolled in self._enrolled.values():
            enrolled.pop(student, None)

    def enroll_student(self, student: str, class_id: str) -> None:
        """Adds, or adds again, a student to a class."""
        if student not in self.users:
            self.users = {**self.users, student: self.roster.users[student]}
        self._enrolled[class_id] = {**self.students_of(class_id), student: None}

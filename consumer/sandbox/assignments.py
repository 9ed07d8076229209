"""What teachers assigned: each assessment of a course run in a class, in every variety."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from consumer.sandbox.otus import ASSESSMENT, Otus, Record, instant, otus_id
from consumer.sandbox.roster import Roster
from consumer.sandbox.school_calendar import Calendar, calendar_on
from consumer.sandbox.seating import SeatedClass
from consumer.sandbox.submissions import RunAssessment
from consumer.sandbox.teachers import administrator_of

_UNMAPPED_TYPE: Final = "Discussion"
_FORMATS: Final = ("simple", "simple", "rubric", "advanced", "bubble_sheet")
_TYPES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "CMA": ("Quiz", "Quiz", "Homework", "Checklist", "Observation", "Lab"),
    "TMA": ("Assignment", "Homework", "Journal", "Paper", "Presentation", "Project", "Other"),
    "Exam": ("Test",),
}
_SUBJECTS: Final = (
    "Fractions|Photosynthesis|The Water Cycle|Persuasive Writing|Ratios|Plate Tectonics|Sonnets|"
    "Linear Equations|The Silk Road|Ecosystems|Irregular Verbs|Perspective Drawing|Cell Division|"
    "Primary Sources|Probability|Simple Machines"
)
# What may be special about an item, with its share in thousandths; most items are plain.
_TRAITS: Final = (
    ("standards", 25),
    ("not_in_final_grade", 25),
    ("admin_outside_sis", 15),
    ("outside_teacher", 15),
    ("admin_in_group", 10),
    ("co_teacher", 20),
    ("type_unmapped", 20),
    ("name_of_49", 15),
    ("name_of_50", 15),
    ("name_long", 10),
    ("name_combining", 12),
    ("name_emoji", 12),
    ("name_control", 15),
    ("name_empty", 6),
    ("plus", 20),
    ("points_10_5", 15),
    ("points_0", 8),
    ("points_50", 10),
    ("unassigned", 8),
    ("deleted", 8),
    ("tombstone", 4),
    ("closed", 25),
    ("straddling", 15),
    ("coming", 20),
    ("beyond", 8),
    ("no_due_date", 15),
    ("early", 15),
    ("student_dropped", 12),
)
_SECOND_TRAIT: Final = 0.06

_FAMILY: Final = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"


@dataclass(frozen=True, slots=True)
class Item:
    """One assessment in one class as Otus has it now."""

    assessment_id: str
    class_id: str
    traits: frozenset[str]
    points: int | float | str | None
    assigned: datetime
    due: datetime | None
    changed: datetime
    source: RunAssessment

    @property
    def key(self) -> str:
        return f"{self.assessment_id}/{self.class_id}"


@dataclass(frozen=True, slots=True)
class Assignments:
    """Makes the assessments of a roster's classes; ``teachers`` are sourcedIds."""

    otus: Otus
    roster: Roster
    teachers: Sequence[str]
    today: date

    def item(self, seated: SeatedClass, place: int) -> Item:
        source = seated.run.assessments[place]
        assessment_id = f"oulad-{source.assessment_id}"
        class_id = otus_id("class", seated.class_id)
        ids = (assessment_id, seated.class_id)
        traits = {self._trait("trait", *ids)}
        if self.otus.chance("two traits", *ids) < _SECOND_TRAIT:
            traits.add(self._trait("second trait", *ids))
        points: int | float | str | None = ("100", "100", 100, "100.0")[
            self.otus.draw("points", *ids) % 4
        ]
        if "points_0" in traits:
            points = 0
        elif "points_10_5" in traits:
            points = "10.5" if self.otus.draw("text", *ids) % 2 else 10.5
        elif "points_50" in traits:
            points = 50
        if "standards" in traits:
            points = None
        calendar = calendar_on(self.today, self.roster.grading_periods_of(seated.class_id))
        assigned_day, due_day = self._days(calendar, source, seated.run.length, traits, ids)
        due_time = (time(23, 59), time(23, 59), time(15, 30), time(8))[
            self.otus.draw("due", *ids) % 4
        ]
        assigned_time = time(
            8 + self.otus.draw("hour", *ids) % 8, self.otus.draw("minute", *ids) % 60
        )
        due = None if due_day is None else instant(due_day, due_time, self.otus.zone)
        # Nothing is assigned after it is due, nor later than two hours ago.
        assigned = min(
            instant(assigned_day, assigned_time, self.otus.zone),
            self.otus.now - timedelta(hours=2),
            *([due - timedelta(hours=1)] if due else []),
        )
        changed = assigned + timedelta(minutes=3)
        if "early" in traits or self.otus.chance("edited", *ids) < 0.4:
            changed = self.otus.now - timedelta(minutes=60 + self.otus.draw("edit", *ids) % 4000)
            changed = max(changed, assigned + timedelta(minutes=3))
        return Item(
            assessment_id, class_id, frozenset(traits), points, assigned, due, changed, source
        )

    def _days(
        self,
        calendar: Calendar,
        source: RunAssessment,
        length: int,
        traits: set[str],
        ids: tuple[str, str],
    ) -> tuple[date, date | None]:
        """The days assigned and due: the run's days, drawn into the open period."""
        jitter = self.otus.draw("jitter", *ids)
        start, elapsed = (calendar.open.start_date, (self.today - calendar.open.start_date).days)
        ahead = min((calendar.open.end_date - self.today).days, max(1, elapsed // 6))
        if "closed" in traits and calendar.closed:
            due = calendar.closed.end_date - timedelta(days=jitter % 12)
            return due - timedelta(days=6), due
        if "straddling" in traits and calendar.closed:
            assigned = calendar.closed.end_date - timedelta(days=jitter % 3)
            return assigned, start + timedelta(days=2 + jitter % 4)
        if "coming" in traits and calendar.coming:
            due = calendar.coming.start_date + timedelta(days=jitter % 10)
            return self.today - timedelta(days=1 + jitter % 4), due
        if "beyond" in traits:
            last = calendar.coming or calendar.open
            due = last.end_date + timedelta(days=200 + jitter % 20)
            return self.today - timedelta(days=1 + jitter % 4), due
        if "early" in traits:
            due = calendar.effective_date - timedelta(days=1)
            return due - timedelta(days=1), due
        share = min(1.0, max(0.0, (source.due_day or length) / length))
        offset = 2 + round(share * max(0, elapsed + ahead - 2)) + jitter % 5 - 2
        due = min(start + timedelta(days=max(1, offset)), calendar.open.end_date)
        earliest = start + timedelta(days=jitter // 5 % 6)
        assigned = max(due - timedelta(days=5 + jitter // 30 % 8), earliest)
        assigned = min(assigned, due - timedelta(days=1))
        no_due_date = "no_due_date" in traits or source.due_day is None
        return assigned, None if no_due_date else due

    def records(self, item: Item, seated: SeatedClass, students: Sequence[str]) -> Iterator[Record]:
        ids = (item.assessment_id, seated.class_id)
        traits = item.traits
        school_class = self.roster.classes[seated.class_id]
        assignees = [
            {"student_id": student, "sourced_id": one.student}
            for student, one in zip(students, seated.seats, strict=True)
        ]
        if "student_dropped" in traits:
            assignees = assignees[1:]
        kinds = _TYPES_OF.get(item.source.kind, ("Other",))
        version = 2 + self.otus.draw("versions", *ids) % 3 if item.changed > item.assigned else 1
        kind = kinds[self.otus.draw("type", *ids) % len(kinds)]
        data: dict[str, Any] = {
            "district_id": self.otus.district,
            "assessment_id": item.assessment_id,
            "class_id": item.class_id,
            "version": version,
            "title": self._title(item, kind, ids),
            "type": _UNMAPPED_TYPE if "type_unmapped" in traits else kind,
            "format": "plus"
            if "plus" in traits
            else _FORMATS[self.otus.draw("format", *ids) % len(_FORMATS)],
            "grading_scale": "standards" if "standards" in traits else "points",
            "points_possible": item.points,
            "include_in_final_grade": "not_in_final_grade" not in traits,
            "assigned_by": self._assigner(item, seated, ids),
            "assigned_at": self.otus.moment(item.assigned, *ids),
            "due_at": None if item.due is None else self.otus.moment(item.due, *ids),
            "status": next((s for s in ("unassigned", "deleted") if s in traits), "active"),
            "class_sourced_id": seated.class_id,
            "school_sourced_id": school_class.school,
            "assignees": assignees,
        }
        if self.otus.chance("extra", *ids) < 0.03:
            data["rubric_id"] = "a field that we do not know yet"
        key = f"{self.otus.district}/{item.key}"
        newest = self.otus.event(ASSESSMENT, key, f"{item.key}-v{version}", data, item.changed)
        yield from self._delivered(
            newest,
            self.otus.event(
                ASSESSMENT,
                key,
                f"{item.key}-v{version - 1}",
                {**data, "version": version - 1, "title": "Draft", "include_in_final_grade": True},
                item.assigned,
            ),
        )

    def _delivered(self, newest: Record, older: Record) -> Iterator[Record]:
        """The newest version; now and then twice, or after an older one, or before it."""
        chance = self.otus.chance("delivery", newest.key)
        if chance < 0.02:
            yield from (newest, newest)
        elif chance < 0.04:
            yield from (older, newest)
        elif chance < 0.055:
            yield from (newest, older)
        else:
            yield newest

    def _assigner(self, item: Item, seated: SeatedClass, ids: tuple[str, str]) -> dict[str, Any]:
        if "admin_outside_sis" in item.traits:
            return {"user_id": otus_id("admin", "of Otus alone"), "in_sis": False}
        if "outside_teacher" in item.traits:
            return {"user_id": otus_id("teacher", "of another school"), "in_sis": True}
        if "admin_in_group" in item.traits:
            return {"user_id": administrator_of(self.roster), "in_sis": True}
        own = self.roster.teachers_of(seated.class_id)
        if "co_teacher" in item.traits or not own:
            others = self.teachers or ("of nobody",)
            other = others[self.otus.draw("co-teacher", *ids) % len(others)]
            return {"user_id": otus_id("teacher", other), "in_sis": True}
        return {"user_id": otus_id("teacher", own[0]), "in_sis": True}

    def _title(self, item: Item, kind: str, ids: tuple[str, str]) -> str:
        traits = item.traits
        subjects = _SUBJECTS.split("|")
        subject = subjects[self.otus.draw("subject", *ids) % len(subjects)]
        title = f"{kind} {item.source.assessment_id}: {subject}"
        filler = " and what we learned from it, step by step, in our own words"
        if "name_of_49" in traits:
            return (title + filler)[:48].rstrip().ljust(49, "!")
        if "name_of_50" in traits:
            return (title + filler)[:49].rstrip().ljust(50, "!")
        if "name_long" in traits:
            return title + filler
        if "name_combining" in traits:  # 49 code points as NFC, 59 as it is sent
            return ("Re\u0301sume\u0301s " * 5 + title)[:59]
        if "name_emoji" in traits:  # 49 or 50 code points; every emoji counts as its code points
            length = 49 + self.otus.draw("emoji", *ids) % 2
            start = f"{_FAMILY} {title} "[: length - 1].rstrip()
            return start + "\N{PARTY POPPER}" * (length - len(start))
        if "name_control" in traits:
            return f"\t {title.replace(' ', chr(9) + ' ' + chr(0))}  \u0007\r\n\n    \u00a0    "
        if "name_empty" in traits:
            return " \t\u0000\n "
        return title

    def _trait(self, what: str, *ids: str) -> str:
        place = self.otus.draw(what, *ids) % 1000
        for trait, share in _TRAITS:
            if place < share:
                return trait
            place -= share
        return "plain"

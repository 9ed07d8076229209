"""The answer key of a school day: what must stand in Skyward, worked out a second time.

It reads the published records themselves and follows the written rules in its own plain way,
sharing no rule, event or period code with the product: where the two disagree, one is wrong.
It knows a first night: nothing was posted before. 174,000 grades take some 60 MB.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from sys import intern
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from consumer.sandbox.oracle_reading import (
    Unreadable,
    clean_title,
    decimal,
    envelope,
    flag,
    moment_of,
    one_of,
    text,
)
from consumer.sandbox.oracle_state import Expected, compare, line_item_id, plain, result_id
from consumer.sandbox.otus import Record
from consumer.sandbox.roster import Roster

__all__ = [
    "Expected",
    "Oracle",
    "Period",
    "clean_title",
    "compare",
    "line_item_id",
    "periods_by_class",
    "result_id",
]

Period = tuple[date, date]
"""First and last day of a grading period, both inclusive."""

_CLOCK_TOLERANCE: Final = timedelta(minutes=5)


class _Item(NamedTuple):
    version: int
    title: str
    type: str
    format: str
    by_points: bool
    points: Decimal | None
    included: bool
    assigner: str
    in_sis: bool
    assigned: datetime
    due: datetime | None
    status: str
    class_sourced_id: str
    assignees: tuple[tuple[str, str], ...]
    changed: datetime


class _Grade(NamedTuple):
    version: int
    score: str | None
    completion: str
    submission: str | None


class _Member(NamedTuple):
    version: int | None  # None: from the district file, which every event overrules
    member: bool
    joined: datetime | None


class Oracle:
    """Folds records as they are published, then says what must stand.

    ``settings`` is the district file; ``periods`` gives each class (Skyward's sourcedId) its
    grading periods, see `periods_by_class`.
    """

    def __init__(
        self, settings: Mapping[str, Any], periods: Mapping[str, Sequence[Period]]
    ) -> None:
        self._settings = settings
        self._district: str = settings["district"]
        self._zone = ZoneInfo(settings["timezone"])
        self._periods = periods
        self._items: dict[tuple[str, str], _Item] = {}
        self._grades: dict[tuple[str, str], dict[str, _Grade]] = {}
        # When each grade changed first: one that only changed after the cutoff waits a night.
        self._changed: dict[tuple[str, str], dict[str, float]] = {}
        self._members: dict[str, _Member] = {
            teacher: _Member(None, True, None) for teacher in settings.get("group", ())
        }
        self._quarantined: set[str] = set()
        self._same_grade: dict[_Grade, _Grade] = {}
        self._same_assignees: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}
        self.unreadable = 0

    # -- reading

    def fold(self, record: Record) -> None:
        """Takes in one record, in the order of publishing."""
        published = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        try:
            if record.value is None:
                self._forget(record, published)
                return
            kind, subject, moment, data = envelope(record)
            if kind != f"com.otus.{record.topic}.v1":
                raise Unreadable
            if moment > published + _CLOCK_TOLERANCE:
                moment = published
            if text(data, "district_id") != self._district or subject != record.key:
                raise Unreadable
            version = data.get("version")
            if type(version) is not int or not -(2**63) <= version < 2**63:
                raise Unreadable
            if record.topic == "grade-changed":
                self._fold_grade(record.key, version, moment, data)
            elif record.topic == "assessment-changed":
                self._fold_assessment(record.key, version, moment, data)
            else:
                self._fold_member(record.key, version, moment, data)
        except Unreadable:
            self.unreadable += 1
            self._quarantined.add(record.key)

    def _fold_grade(self, key: str, version: int, moment: datetime, data: dict[str, Any]) -> None:
        ids = [text(data, name) for name in ("assessment_id", "class_id", "student_id")]
        if "/".join([self._district, *ids]) != key:
            raise Unreadable
        score = None if data.get("score") is None else str(decimal(data["score"]))
        completion = one_of(data, "completion", "not_started in_progress turned_in graded")
        submission = data.get("submission")
        if submission is not None:
            submission = one_of(data, "submission", "on_time late missing excused excluded")
        item, student = (intern(ids[0]), intern(ids[1])), intern(ids[2])
        known = self._grades.setdefault(item, {}).get(student)
        if known is not None and known.version >= version:
            return
        self._keep_grade(item, student, _Grade(version, score, completion, submission), moment)

    def _keep_grade(
        self, item: tuple[str, str], student: str, grade: _Grade, moment: datetime
    ) -> None:
        self._grades[item][student] = self._same_grade.setdefault(grade, grade)
        changes = self._changed.setdefault(item, {})
        changes[student] = min(moment.timestamp(), changes.get(student, float("inf")))

    def _fold_assessment(
        self, key: str, version: int, moment: datetime, data: dict[str, Any]
    ) -> None:
        ids = [text(data, name) for name in ("assessment_id", "class_id")]
        if "/".join([self._district, *ids]) != key:
            raise Unreadable
        assigner = data.get("assigned_by")
        people = data.get("assignees")
        if not isinstance(assigner, dict) or not isinstance(people, list):
            raise Unreadable
        if not all(isinstance(one, dict) for one in people):
            raise Unreadable
        assignees = tuple(
            (intern(text(one, "student_id")), intern(text(one, "sourced_id"))) for one in people
        )
        points = data.get("points_possible")
        due = data.get("due_at")
        title = data.get("title")
        if not isinstance(title, str):
            raise Unreadable
        item = _Item(
            version,
            clean_title(title),
            intern(text(data, "type")),
            intern(text(data, "format")),
            one_of(data, "grading_scale", "points standards") == "points",
            None if points is None else decimal(points),
            flag(data, "include_in_final_grade"),
            intern(text(assigner, "user_id")),
            flag(assigner, "in_sis"),
            moment_of(data.get("assigned_at")),
            None if due is None else moment_of(due),
            one_of(data, "status", "active unassigned deleted"),
            intern(text(data, "class_sourced_id")),
            self._same_assignees.setdefault(assignees, assignees),
            moment,
        )
        text(data, "school_sourced_id")
        at = (intern(ids[0]), intern(ids[1]))
        if at not in self._items or self._items[at].version < version:
            self._items[at] = item

    def _fold_member(self, key: str, version: int, moment: datetime, data: dict[str, Any]) -> None:
        teacher, member = text(data, "teacher_id"), flag(data, "member")
        if f"{self._district}/{teacher}" != key:
            raise Unreadable
        known = self._members.get(teacher)
        if known is None or known.version is None or known.version < version:
            self._members[teacher] = _Member(version, member, moment)

    def _forget(self, record: Record, published: datetime) -> None:
        ids = record.key.split("/")
        parts = {"grade-changed": 4, "assessment-changed": 3, "passback-group-changed": 2}
        if ids[0] != self._district or len(ids) != parts[record.topic]:
            raise Unreadable
        if record.topic == "grade-changed":
            item, student = (ids[1], ids[2]), ids[3]
            known = self._grades.get(item, {}).get(student)
            if known is not None:
                gone = _Grade(known.version, None, "not_started", None)
                self._keep_grade(item, student, gone, published)
        elif record.topic == "assessment-changed":
            at = (ids[1], ids[2])
            if at in self._items:
                self._items[at] = self._items[at]._replace(status="deleted")
        elif ids[1] in self._members:
            left = self._members[ids[1]]
            self._members[ids[1]] = left._replace(member=False, joined=published)

    # -- answering

    def expected(self, cutoff: datetime) -> Iterator[tuple[str, str, str, Expected]]:
        """(assessment, class, student, what must stand) for every grade and every zero.

        Students without a grade event appear only once it was due and everything else passes:
        with a zero, or with why there is none. The service date is the local day of ``cutoff``.
        """
        rules = self._settings.get("zeros", {})
        zeros = assignees = 0
        for at in self._every_item():
            made = sum(one.origin == "clock" for _, one in self._of_item(at, cutoff, False))
            if made:
                zeros += made
                assignees += len(self._items[at].assignees)
        share = Decimal(str(rules.get("max_share", "0.5")))
        held = zeros > rules.get("max_count", 50) and zeros > share * assignees
        for at in self._every_item():
            for student, one in self._of_item(at, cutoff, held):
                yield at[0], at[1], student, one

    def _every_item(self) -> Iterator[tuple[str, str]]:
        yield from self._items
        yield from (at for at in self._grades if at not in self._items)

    def _of_item(
        self, at: tuple[str, str], cutoff: datetime, zeros_held: bool
    ) -> Iterator[tuple[str, Expected]]:
        """Each grade of one assessment in one class, then the zeros of those without any."""
        grades, changed = self._grades.get(at, {}), self._changed.get(at, {})
        item = self._items.get(at)
        if item is None:
            for student in grades:
                yield student, Expected(None, None, "assessment_unknown")
            return
        assignees = dict(item.assignees)
        gone = _not_there(item)
        failing = gone or self._item_fails(item, cutoff)
        no_zero = self._zero_fails(item, at, cutoff)
        for student, grade in grades.items():
            where = (item.class_sourced_id, assignees.get(student, ""), item.title)
            if changed[student] > cutoff.timestamp():
                verdict = Expected(None, None, "")
            elif gone:
                verdict = Expected(None, None, gone)
            elif student not in assignees:
                verdict = Expected(None, None, "student_not_assigned")
            elif failing:
                verdict = Expected(None, None, failing)
            else:
                verdict = self._grade(item, grade)
                if verdict.origin == "clock":
                    verdict = self._zero(at, student, no_zero, grade, zeros_held)
            yield (
                student,
                verdict._replace(
                    class_sourced_id=where[0], student_sourced_id=where[1], title=where[2]
                ),
            )
        if failing or no_zero == "not_due_yet":
            return
        for student, sourced_id in item.assignees:
            if student not in grades:
                verdict = self._zero(at, student, no_zero, _NOTHING, zeros_held)
                yield (
                    student,
                    verdict._replace(
                        class_sourced_id=item.class_sourced_id,
                        student_sourced_id=sourced_id,
                        title=item.title,
                    ),
                )

    def _item_fails(self, item: _Item, cutoff: datetime) -> str:
        """The first rule that keeps back all of an item's grades, or nothing."""
        settings = self._settings
        today = cutoff.astimezone(self._zone).date()
        assigned, changed = self._day(item.assigned), self._day(item.changed)
        due = self._due_day(item)
        effective = _date(settings["effective_date"])
        member = self._members.get(item.assigner)
        periods = self._periods.get(item.class_sourced_id, ())
        if not item.by_points:
            return "standards_based"
        if item.points is None or item.points <= 0:
            return "points_possible_invalid"
        if not item.included:
            return "not_in_final_grade"
        if not item.in_sis:
            return "assigner_not_in_sis"
        if member is None or not member.member:
            return "assigner_not_in_group"
        if not item.title:
            return "name_empty"
        if len(item.title) >= 50:
            return "name_too_long"
        if item.type not in settings["categories"]:
            return "category_unmapped"
        if item.due is None and settings.get("rules", {}).get("due_date_missing") == "hold":
            return "due_date_missing"
        if effective > today:
            return "effective_date_in_future"
        if assigned < effective and changed < effective:
            return "before_effective_date"
        if not any(first <= due <= last for first, last in periods):
            return "grading_period_unknown"
        days = (min(assigned, due), max(assigned, due))
        if any(last < today and first <= days[1] and last >= days[0] for first, last in periods):
            return "grading_period_closed"
        return ""

    def _zero_fails(self, item: _Item, at: tuple[str, str], cutoff: datetime) -> str:
        """What keeps the clock from making any zero of this item, or nothing."""
        rules = self._settings.get("zeros", {})
        if item.due is None or item.due > cutoff:
            return "not_due_yet"
        if item.format == "plus" and not rules.get("plus", False):
            return "zero_not_allowed"
        live_since = self._settings.get("live_since")
        member = self._members.get(item.assigner)
        if not rules.get("retroactive", False):
            if live_since and self._day(item.due) < _date(live_since):
                return "zero_not_allowed"
            if member and member.joined and item.due < member.joined:
                return "zero_not_allowed"
        if "/".join((self._district, *at)) in self._quarantined:
            return "event_quarantined"
        if self._whole_points_wanted() and item.points is not None and item.points % 1:
            return "score_not_whole"
        return ""

    def _zero(
        self, at: tuple[str, str], student: str, no_zero: str, grade: _Grade, held: bool
    ) -> Expected:
        rules = self._settings.get("zeros", {})
        if no_zero in ("not_due_yet", "zero_not_allowed"):
            return Expected(None, None, no_zero)
        if grade.completion == "in_progress" and not rules.get("in_progress", True):
            return Expected(None, None, "zero_not_allowed")
        if "/".join((self._district, *at, student)) in self._quarantined:
            return Expected(None, None, "event_quarantined")
        if no_zero:
            return Expected(None, None, no_zero)
        if held:
            return Expected(None, None, "zeros_held")
        return Expected("0", rules.get("score_status", "fully graded"), "", "clock")

    def _grade(self, item: _Item, grade: _Grade) -> Expected:
        """What becomes of a grade of an item that passes; origin clock asks for `_zero`."""
        rules = self._settings.get("rules", {})
        if grade.submission == "excluded":
            return Expected(None, None, "excluded")
        if grade.submission == "excused":
            if rules.get("excused", "hold_back") == "exempt":
                return Expected(None, "exempt", "", "teacher")
            return Expected(None, None, "excused")
        if grade.completion == "turned_in":
            return Expected(None, None, "not_graded")
        if grade.completion != "graded":
            if grade.score is not None:
                return Expected(None, None, "not_graded")
            return Expected("0", None, "", "clock")
        if grade.score is None:
            return Expected(None, None, "score_invalid")
        score = Decimal(grade.score)
        assert item.points is not None
        if score < 0:
            return Expected(None, None, "score_invalid")
        if rules.get("over_points_possible", "send") == "hold" and score > item.points:
            return Expected(None, None, "over_points_possible")
        if (item.points if self._whole_points_wanted() else score) % 1:
            return Expected(None, None, "score_not_whole")
        return Expected(plain(score), "fully graded", "", "teacher")

    def _whole_points_wanted(self) -> bool:
        rule = self._settings.get("rules", {}).get("whole_number_rule", "grade")
        return bool(rule == "points_possible")

    def _due_day(self, item: _Item) -> date:
        if item.due is not None:
            return self._day(item.due)
        missing = self._settings.get("rules", {}).get("due_date_missing", {})
        days = 7 if missing == "hold" else missing.get("assign_plus_days", 7)
        return self._day(item.assigned) + timedelta(days=days)

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self._zone).date()


_NOTHING: Final = _Grade(0, None, "not_started", None)


def _not_there(item: _Item) -> str:
    return "" if item.status == "active" else item.status


def _date(value: str | date) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def periods_by_class(roster: Roster) -> dict[str, tuple[Period, ...]]:
    """Each class's grading periods: those that are, or lie under, its terms, else all."""
    sessions = roster.sessions
    periods = [s for s in sessions.values() if s.type == "gradingPeriod" and s.status == "active"]

    def above(sourced_id: str) -> set[str]:
        line: set[str] = set()
        while sourced_id in sessions and sourced_id not in line:
            line.add(sourced_id)
            sourced_id = sessions[sourced_id].parent
        return line

    lines = {period.sourced_id: above(period.sourced_id) for period in periods}
    by_terms: dict[tuple[str, ...], tuple[Period, ...]] = {}
    for school_class in roster.classes.values():
        if school_class.terms not in by_terms:
            under = [p for p in periods if lines[p.sourced_id] & set(school_class.terms)]
            by_terms[school_class.terms] = tuple(
                (p.start_date, p.end_date) for p in (under or periods)
            )
    return {class_id: by_terms[one.terms] for class_id, one in roster.classes.items()}

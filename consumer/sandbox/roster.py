"""A school district read from a folder of OneRoster 1.1 CSV files.

Everything is frozen and shared: one `Roster` may serve fifty districts of a test at once. Texts
that repeat (statuses, dates, identifiers that are referred to) are kept once, so that a district of
31,000 enrollments takes some 15 MiB.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeVar

GRADING_PERIOD_DAYS = 80
"""How long a grading period made by `with_grading_periods` is, in days, both ends counted."""

CLOSED_SINCE_DAYS = 42
"""How many days before today the last grading period ended, in `with_grading_periods`."""


class RosterError(Exception):
    """The folder is no OneRoster export that can be read; the message names file, line and cure."""


@dataclass(frozen=True, slots=True)
class Org:
    """A district or a school of it."""

    sourced_id: str
    status: str
    date_last_modified: str
    name: str
    type: str
    identifier: str
    parent: str


@dataclass(frozen=True, slots=True)
class AcademicSession:
    """A school year, term or grading period; both dates belong to it."""

    sourced_id: str
    status: str
    date_last_modified: str
    title: str
    type: str
    start_date: date
    end_date: date
    parent: str
    school_year: str

    def contains(self, day: date) -> bool:
        """Whether `day` lies in the session, first and last day included."""
        return self.start_date <= day <= self.end_date


@dataclass(frozen=True, slots=True)
class Course:
    """What a class teaches."""

    sourced_id: str
    status: str
    date_last_modified: str
    title: str
    course_code: str
    school_year: str
    org: str
    grades: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SchoolClass:
    """OneRoster's class: students taught together by a teacher under some terms."""

    sourced_id: str
    status: str
    date_last_modified: str
    title: str
    class_code: str
    class_type: str
    course: str
    school: str
    terms: tuple[str, ...]
    grades: tuple[str, ...]
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A student, teacher or administrator."""

    sourced_id: str
    status: str
    date_last_modified: str
    enabled: bool
    orgs: tuple[str, ...]
    role: str
    username: str
    given_name: str
    family_name: str
    identifier: str
    email: str
    grades: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A user's place in a class; `role` is `student`, `teacher` or another of OneRoster's."""

    sourced_id: str
    status: str
    date_last_modified: str
    class_id: str
    school: str
    user: str
    role: str
    primary: bool
    begin_date: str
    end_date: str


@dataclass(frozen=True, slots=True)
class Roster:
    """A whole district by sourcedId, in the order of its files.

    `sessions` holds every academic session, whatever its type.
    """

    orgs: Mapping[str, Org]
    sessions: Mapping[str, AcademicSession]
    courses: Mapping[str, Course]
    classes: Mapping[str, SchoolClass]
    users: Mapping[str, User]
    enrollments: Mapping[str, Enrollment]
    _students: Mapping[str, tuple[str, ...]]
    _teachers: Mapping[str, tuple[str, ...]]

    def students_of(self, class_id: str) -> tuple[str, ...]:
        """The students with an active enrollment in the class; none for an unknown class."""
        return self._students.get(class_id, ())

    def teachers_of(self, class_id: str) -> tuple[str, ...]:
        """The teachers with an active enrollment in the class, the primary one first."""
        return self._teachers.get(class_id, ())

    @property
    def schools(self) -> tuple[Org, ...]:
        """The orgs of type school."""
        return tuple(org for org in self.orgs.values() if org.type == "school")

    @property
    def grading_periods(self) -> tuple[AcademicSession, ...]:
        """The active academic sessions of type gradingPeriod, the earliest first."""
        periods = (
            session
            for session in self.sessions.values()
            if session.type == "gradingPeriod" and session.status == "active"
        )
        return tuple(sorted(periods, key=lambda period: (period.start_date, period.sourced_id)))

    def grading_periods_of(self, class_id: str) -> tuple[AcademicSession, ...]:
        """The grading periods that are, or lie under, a term of the class; all when none does."""
        return grading_periods_under(self.classes[class_id].terms, self.sessions)


def grading_periods_under(
    terms: Iterable[str], sessions: Mapping[str, AcademicSession]
) -> tuple[AcademicSession, ...]:
    """The active grading periods among `sessions` that are, or lie under, one of `terms`.

    All active grading periods when none lies there; the earliest first.
    """
    wanted = set(terms)
    periods = [
        session
        for session in sessions.values()
        if session.type == "gradingPeriod" and session.status == "active"
    ]
    under = [period for period in periods if wanted & set(_line_of(period, sessions))]
    return tuple(
        sorted(under or periods, key=lambda period: (period.start_date, period.sourced_id))
    )


def _line_of(session: AcademicSession, sessions: Mapping[str, AcademicSession]) -> Iterator[str]:
    seen: set[str] = set()
    current: AcademicSession | None = session
    while current is not None and current.sourced_id not in seen:
        seen.add(current.sourced_id)
        yield current.sourced_id
        current = sessions.get(current.parent)


def read_roster(directory: Path) -> Roster:
    """The district whose orgs, academicSessions, courses, classes, users and enrollments lie there.

    Raises RosterError when a file or a column is missing or a value cannot be read. An empty status
    (bulk files leave it out) counts as active.
    """
    shared: dict[str, str] = {}
    tables = {
        name: _Table(directory / f"{name}.csv", shared)
        for name in ("orgs", "academicSessions", "courses", "classes", "users", "enrollments")
    }
    enrollments = _by_id(tables["enrollments"].read(_enrollment))
    return Roster(
        orgs=_by_id(tables["orgs"].read(_org)),
        sessions=_by_id(tables["academicSessions"].read(_session)),
        courses=_by_id(tables["courses"].read(_course)),
        classes=_by_id(tables["classes"].read(_class)),
        users=_by_id(tables["users"].read(_user)),
        enrollments=enrollments,
        _students=_members(enrollments.values(), "student"),
        _teachers=_members(enrollments.values(), "teacher"),
    )


def with_grading_periods(roster: Roster, today: date) -> Roster:
    """The roster with grading periods: its own where it has any, else three made around `today`.

    Made ones, under each term that a class has, follow each other without a gap: one that ended
    `CLOSED_SINCE_DAYS` before `today`, the open one, and a coming one, each `GRADING_PERIOD_DAYS`
    long. Their sourcedIds are `{term}-gp1` to `{term}-gp3`. A term or school year that does not
    contain `today` is moved by whole years of 52 weeks until it does, then extended to contain its
    three periods; enrollments are extended with it.
    """
    if roster.grading_periods:
        return roster
    last_closed = today - timedelta(days=CLOSED_SINCE_DAYS)
    sessions = dict(roster.sessions)
    terms = {term for school_class in roster.classes.values() for term in school_class.terms}
    for term_id in sorted(terms & sessions.keys()):
        periods = tuple(_made_periods(sessions[term_id], last_closed))
        for ancestor_id in _line_of(sessions[term_id], sessions):
            sessions[ancestor_id] = _containing(
                sessions[ancestor_id], today, periods[0].start_date, periods[-1].end_date
            )
        sessions.update((period.sourced_id, period) for period in periods)
    spanned = [session for session in sessions.values() if session.sourced_id in terms]
    first = min((session.start_date for session in spanned), default=today).isoformat()
    last = max((session.end_date for session in spanned), default=today).isoformat()
    enrollments = {
        key: replace(
            enrollment,
            begin_date=enrollment.begin_date and min(enrollment.begin_date, first),
            end_date=enrollment.end_date and max(enrollment.end_date, last),
        )
        for key, enrollment in roster.enrollments.items()
    }
    return replace(
        roster,
        sessions=MappingProxyType(sessions),
        enrollments=MappingProxyType(enrollments),
    )


def _made_periods(term: AcademicSession, last_closed: date) -> Iterator[AcademicSession]:
    length = timedelta(days=GRADING_PERIOD_DAYS)
    start = last_closed + timedelta(days=1) - length
    for number in (1, 2, 3):
        yield AcademicSession(
            sourced_id=f"{term.sourced_id}-gp{number}",
            status="active",
            date_last_modified=term.date_last_modified,
            title=f"Grading Period {number}",
            type="gradingPeriod",
            start_date=start,
            end_date=start + length - timedelta(days=1),
            parent=term.sourced_id,
            school_year=term.school_year,
        )
        start += length


def _containing(session: AcademicSession, today: date, first: date, last: date) -> AcademicSession:
    year = timedelta(weeks=52)
    start, end = session.start_date, session.end_date
    while end < today:
        start, end = start + year, end + year
    while start > today:
        start, end = start - year, end - year
    return replace(session, start_date=min(start, first), end_date=max(end, last))


class _Row(Protocol):
    @property
    def sourced_id(self) -> str: ...


_R = TypeVar("_R", bound=_Row)


class _Cells:
    """One CSV record, read by column name; repeated texts are kept once."""

    def __init__(
        self, columns: Mapping[str, int], cells: list[str], shared: dict[str, str]
    ) -> None:
        self._columns = columns
        self._cells = cells
        self._shared = shared

    def text(self, column: str) -> str:
        cell = self._cells[self._columns[column]].strip()
        return self._shared.setdefault(cell, cell)

    def optional(self, column: str) -> str:
        return self.text(column) if column in self._columns else ""

    def required(self, column: str) -> str:
        cell = self.text(column)
        if not cell:
            raise ValueError(f"{column} is empty")
        return cell

    def status(self) -> str:
        return self.optional("status") or "active"

    def listed(self, column: str) -> tuple[str, ...]:
        parts = (part.strip() for part in self.optional(column).split(","))
        return tuple(self._shared.setdefault(part, part) for part in parts if part)


class _Table:
    """One file of the export."""

    def __init__(self, path: Path, shared: dict[str, str]) -> None:
        self._path = path
        self._shared = shared

    def read(self, build: Callable[[_Cells], _R]) -> Iterator[_R]:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as lines:
                yield from self._records(csv.reader(lines), build)
        except OSError as error:
            raise RosterError(
                f"{self._path} cannot be read ({error.strerror}); a OneRoster 1.1 CSV folder has"
                " orgs, academicSessions, courses, classes, users and enrollments .csv"
            ) from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise RosterError(f"{self._path} is no CSV file in UTF-8: {error}") from error

    def _records(self, reader: Iterator[list[str]], build: Callable[[_Cells], _R]) -> Iterator[_R]:
        header = next(reader, [])
        columns = {name.strip(): index for index, name in enumerate(header)}
        for number, cells in enumerate(reader, start=2):
            if not cells:
                continue
            try:
                yield build(_Cells(columns, cells, self._shared))
            except KeyError as error:
                raise RosterError(
                    f"{self._path} has no column {error.args[0]};"
                    " its header must be that of OneRoster 1.1"
                ) from error
            except IndexError as error:
                raise RosterError(
                    f"{self._path} record {number} has {len(cells)} cells where the header has"
                    f" {len(columns)}; export the file again"
                ) from error
            except ValueError as error:
                raise RosterError(
                    f"{self._path} record {number}: {error}; correct the file"
                ) from error


def _by_id(rows: Iterable[_R]) -> Mapping[str, _R]:
    return MappingProxyType({row.sourced_id: row for row in rows})


def _members(enrollments: Iterable[Enrollment], role: str) -> Mapping[str, tuple[str, ...]]:
    members: dict[str, dict[str, bool]] = {}
    for enrollment in enrollments:
        if enrollment.role == role and enrollment.status == "active":
            members.setdefault(enrollment.class_id, {})[enrollment.user] = enrollment.primary
    return MappingProxyType(
        {
            class_id: tuple(sorted(users, key=lambda user: not users[user]))
            for class_id, users in members.items()
        }
    )


def _org(cells: _Cells) -> Org:
    return Org(
        sourced_id=cells.required("sourcedId"),
        status=cells.status(),
        date_last_modified=cells.optional("dateLastModified"),
        name=cells.text("name"),
        type=cells.text("type"),
        identifier=cells.optional("identifier"),
        parent=cells.optional("parentSourcedId"),
    )


def _session(cells: _Cells) -> AcademicSession:
    start, end = (date.fromisoformat(cells.text(name)) for name in ("startDate", "endDate"))
    if end < start:
        raise ValueError(f"endDate {end} is before startDate {start}")
    return AcademicSession(
        sourced_id=cells.required("sourcedId"),
        status=cells.status(),
        date_last_modified=cells.optional("dateLastModified"),
        title=cells.text("title"),
        type=cells.text("type"),
        start_date=start,
        end_date=end,
        parent=cells.optional("parentSourcedId"),
        school_year=cells.optional("schoolYear"),
    )


def _course(cells: _Cells) -> Course:
    return Course(
        sourced_id=cells.required("sourcedId"),
        status=cells.status(),
        date_last_modified=cells.optional("dateLastModified"),
        title=cells.text("title"),
        course_code=cells.optional("courseCode"),
        school_year=cells.optional("schoolYearSourcedId"),
        org=cells.optional("orgSourcedId"),
        grades=cells.listed("grades"),
    )


def _class(cells: _Cells) -> SchoolClass:
    return SchoolClass(
        sourced_id=cells.required("sourcedId"),
        status=cells.status(),
        date_last_modified=cells.optional("dateLastModified"),
        title=cells.text("title"),
        class_code=cells.optional("classCode"),
        class_type=cells.optional("classType"),
        course=cells.optional("courseSourcedId"),
        school=cells.required("schoolSourcedId"),
        terms=cells.listed("termSourcedIds"),
        grades=cells.listed("grades"),
        subjects=cells.listed("subjects"),
    )


def _user(cells: _Cells) -> User:
    return User(
        sourced_id=cells.required("sourcedId"),
        status=cells.status(),
        date_last_modified=cells.optional("dateLastModified"),
        enabled=cells.optional("enabledUser").lower() != "false",
        orgs=cells.listed("orgSourcedIds"),
        role=cells.required("role"),
        username=cells.optional("username"),
        given_name=cells.text("givenName"),
        family_name=cells.text("familyName"),
        identifier=cells.optional("identifier"),
        email=cells.optional("email"),
        grades=cells.listed("grades"),
    )


def _enrollment(cells: _Cells) -> Enrollment:
    return Enrollment(
        sourced_id=cells.required("sourcedId"),
        status=cells.status(),
        date_last_modified=cells.optional("dateLastModified"),
        class_id=cells.required("classSourcedId"),
        school=cells.optional("schoolSourcedId"),
        user=cells.required("userSourcedId"),
        role=cells.required("role"),
        primary=cells.optional("primary").lower() == "true",
        begin_date=cells.optional("beginDate"),
        end_date=cells.optional("endDate"),
    )

"""Makes the packaged school: a district of our own making and a slice of the OULAD.

Deterministic: the same OULAD gives the same bytes.

    python -m consumer.sandbox.make_school --oulad DIR --out DIR
"""

import argparse
import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

SCHOOLS: Final = (
    ("Alder Brook Elementary School", ("03", "04", "05")),
    ("Fern Hollow Middle School", ("06", "07", "08")),
    ("Quarry Ridge High School", ("09", "10", "11")),
)
CLASSES_PER_SCHOOL: Final = 21
STUDENTS_PER_SCHOOL: Final = 336
CLASSES_PER_STUDENT: Final = 2
TEACHERS_PER_SCHOOL: Final = 14
SUBJECTS: Final = ("English", "Mathematics", "Science", "History", "Spanish", "Art", "Music")

# Runs with many submissions a student, so that the slice has work for every rule.
RUNS: Final = (
    ("BBB", "2013B"),
    ("BBB", "2013J"),
    ("BBB", "2014B"),
    ("DDD", "2013B"),
    ("FFF", "2013B"),
    ("FFF", "2013J"),
    ("FFF", "2014B"),
    ("FFF", "2014J"),
    ("GGG", "2013J"),
)
SUBMITTERS_PER_RUN: Final = 200
SILENT_PER_RUN: Final = 24

GIVEN_NAMES: Final = (
    "Ada Basil Cleo Dorian Elowen Fabian Greta Hollis Iris Jonas Kaia Leopold Maren Nico Odette"
    " Piers Quilla Rufus Saskia Tobin Una Viggo Wren Xanthe Yara Zeno Anouk Bram Calla Davi"
)
FAMILY_STARTS: Final = (
    "Amber Bristle Cedar Dapple Ember Fallow Garnet Hazel Indigo Juniper Kestrel Linden Marl Nettle"
    " Otter Pebble Quill Rowan Sorrel Thistle Umber Velvet Willow Yarrow"
)
FAMILY_ENDS: Final = (
    "ash bank croft dale fen gate ham lock mere moor nook stow thorpe vale wick worth"
)
MODIFIED: Final = "2026-08-01T06:00:00.000Z"
YEAR: Final = ("2026-08-15", "2027-06-10", "2026-2027")
DISTRICT: Final = "Juniper Valley Public Schools"

_Row = Sequence[str]

KEPT: Final = ("sourcedId", "status", "dateLastModified")
COLUMNS: Final = {
    "orgs": "name type identifier parentSourcedId",
    "academicSessions": "title type startDate endDate parentSourcedId schoolYear",
    "courses": "schoolYearSourcedId title courseCode grades orgSourcedId subjects subjectCodes",
    "classes": "title grades courseSourcedId classCode classType location schoolSourcedId"
    " termSourcedIds subjects subjectCodes periods",
    "users": "enabledUser orgSourcedIds role username userIds givenName familyName middleName"
    " identifier email sms phone agentSourcedIds grades password",
    "enrollments": "classSourcedId schoolSourcedId userSourcedId role primary beginDate endDate",
}
ABSENT: Final = "categories classResources courseResources demographics lineItems resources results"


def make_school(oulad: Path, out: Path) -> None:
    """Writes ``out/district/*.csv`` (OneRoster 1.1) and ``out/oulad/*.csv.gz``."""
    district, submissions = out / "district", out / "oulad"
    district.mkdir(parents=True, exist_ok=True)
    submissions.mkdir(parents=True, exist_ok=True)
    for name, (columns, rows) in _district().items():
        (district / f"{name}.csv").write_bytes(_csv(columns, rows))
    for name, (columns, rows) in _slice(oulad).items():
        packed = gzip.compress(_csv(columns, rows), compresslevel=9, mtime=0)
        (submissions / f"{name}.csv.gz").write_bytes(packed)


def _district() -> dict[str, tuple[_Row, list[_Row]]]:
    kept = ("active", MODIFIED)
    start, end, year = YEAR
    orgs: list[_Row] = [("org-0", *kept, DISTRICT, "district", "1000", "")]
    sessions: list[_Row] = [
        ("session-year", *kept, "School Year", "schoolYear", start, end, "", year),
        ("session-full", *kept, "Full Year", "term", start, end, "session-year", year),
    ]
    courses: list[_Row] = []
    classes: list[_Row] = []
    users: list[_Row] = [_user(0, "administrator", "org-0", "")]
    enrollments: list[_Row] = []

    def enroll(number: int, school: str, user: str, role: str, primary: str) -> None:
        enrollments.append(
            (
                f"enrollment-{len(enrollments):05d}",
                *kept,
                f"class-{number:03d}",
                school,
                user,
                role,
                primary,
                start,
                end,
            )
        )

    for at, (name, grades) in enumerate(SCHOOLS, start=1):
        school = f"org-{at}"
        orgs.append((school, *kept, name, "school", str(1000 + at), "org-0"))
        users.append(_user(len(users), "administrator", school, ""))
        teachers = [
            _user(len(users) + n, "teacher", school, "") for n in range(TEACHERS_PER_SCHOOL)
        ]
        users += teachers
        students = [
            _user(len(users) + n, "student", school, grades[n * len(grades) // STUDENTS_PER_SCHOOL])
            for n in range(STUDENTS_PER_SCHOOL)
        ]
        users += students
        first = len(classes)
        # A grade's classes lie side by side, so a student's two classes are of his own grade.
        per_grade = CLASSES_PER_SCHOOL // len(grades)
        for n in range(CLASSES_PER_SCHOOL):
            grade, subject = grades[n // per_grade], SUBJECTS[n % per_grade]
            course, number = f"course-{grade}-{n % per_grade}", first + n
            title = f"{subject} {int(grade)}"
            courses.append(
                (course, *kept, "session-year", title, course, grade, "org-0", subject, "")
            )
            classes.append(
                (
                    f"class-{number:03d}",
                    *kept,
                    title,
                    grade,
                    course,
                    f"{grade}{n % per_grade}-A",
                    "scheduled",
                    f"Room {at}{n:02d}",
                    school,
                    "session-full",
                    subject,
                    "",
                    "",
                )
            )
            enroll(number, school, teachers[n % TEACHERS_PER_SCHOOL][0], "teacher", "true")
        for n, student in enumerate(students):
            grade_at = n * len(grades) // STUDENTS_PER_SCHOOL
            for turn in range(CLASSES_PER_STUDENT):
                number = first + grade_at * per_grade + (n + turn * 3) % per_grade
                enroll(number, school, student[0], "student", "")
    manifest: list[_Row] = [("manifest.version", "1.0"), ("oneroster.version", "1.1")]
    manifest += [(f"file.{name}", "bulk") for name in COLUMNS]
    manifest += [(f"file.{name}", "absent") for name in ABSENT.split()]
    rows = {
        "orgs": orgs,
        "academicSessions": sessions,
        "courses": courses,
        "classes": classes,
        "users": users,
        "enrollments": enrollments,
    }
    tables = {name: ((*KEPT, *columns.split()), rows[name]) for name, columns in COLUMNS.items()}
    return {**tables, "manifest": (("propertyName", "value"), manifest)}


def _user(number: int, role: str, org: str, grade: str) -> _Row:
    draw = _draw("user", str(number))
    givens, starts, ends = GIVEN_NAMES.split(), FAMILY_STARTS.split(), FAMILY_ENDS.split()
    given = givens[draw % len(givens)]
    draw //= len(givens)
    family = starts[draw % len(starts)] + ends[draw // len(starts) % len(ends)]
    username = f"{given}.{family}.{number}".lower()
    return (
        f"user-{number:04d}",
        "active",
        MODIFIED,
        "true",
        org,
        role,
        username,
        "",
        given,
        family,
        "",
        f"{910000 + number}",
        f"{username}@juniper-valley.example",
        "",
        "",
        "",
        grade,
        "",
    )


def _slice(oulad: Path) -> dict[str, tuple[_Row, list[_Row]]]:
    tables: dict[str, list[_Row]] = {
        name: list(csv.reader((oulad / f"{name}.csv").read_text("utf-8").splitlines()))
        for name in ("courses", "assessments", "studentRegistration", "studentAssessment")
    }
    head = {name: rows[0] for name, rows in tables.items()}
    assessments = [row for row in tables["assessments"][1:] if (row[0], row[1]) in RUNS]
    run_of = {row[2]: (row[0], row[1]) for row in assessments}
    submitted = [row for row in tables["studentAssessment"][1:] if row[0] in run_of]
    submitters = {(run_of[row[0]], row[1]) for row in submitted}
    registered = [row for row in tables["studentRegistration"][1:] if (row[0], row[1]) in RUNS]
    seated = {((row[0], row[1]), row[2]) for row in registered} | submitters
    chosen: set[tuple[tuple[str, str], str]] = set()
    for run in RUNS:
        of_run = sorted(
            (one for one in seated if one[0] == run), key=lambda one: _draw(*run, one[1])
        )
        chosen.update([one for one in of_run if one in submitters][:SUBMITTERS_PER_RUN])
        chosen.update([one for one in of_run if one not in submitters][:SILENT_PER_RUN])
    return {
        "courses": (head["courses"], [r for r in tables["courses"] if (r[0], r[1]) in RUNS]),
        "assessments": (head["assessments"], assessments),
        "studentRegistration": (
            head["studentRegistration"],
            [row for row in registered if ((row[0], row[1]), row[2]) in chosen],
        ),
        "studentAssessment": (
            head["studentAssessment"],
            [row for row in submitted if (run_of[row[0]], row[1]) in chosen],
        ),
    }


def _draw(*names: str) -> int:
    return int.from_bytes(blake2b("/".join(names).encode(), digest_size=8).digest())


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the packaged school.")
    parser.add_argument("--oulad", type=Path, required=True, help="folder of the OULAD tables")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    given = parser.parse_args()
    make_school(given.oulad, given.out)

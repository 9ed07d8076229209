"""Who sits where: each class of a roster takes one course run and a chunk of its students.

Every student who submitted anything gets exactly one seat for each of his course runs, so every
submission is used exactly once; those who registered and never submitted fill what is left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TypeAlias

from consumer.sandbox.roster import Roster
from consumer.sandbox.submissions import CourseRun, Submission, SubmissionsError


@dataclass(frozen=True, slots=True)
class Seat:
    """A roster student with the work of the dataset's student; no work: never submitted."""

    student: str
    dataset_student: int
    work: Sequence[Submission]


@dataclass(frozen=True, slots=True)
class SeatedClass:
    """One class, the course run that it takes, and its seats in the roster's order."""

    class_id: str
    run: CourseRun
    seats: tuple[Seat, ...]


def seat(roster: Roster, runs: Sequence[CourseRun], source: Path) -> Iterator[SeatedClass]:
    """The classes one after the other; ``source`` names the submissions in an error.

    Scheduled classes come first; homerooms only where the others have too few seats.
    Raises SubmissionsError at once, before the first class, when the seats are too few.
    """
    sizes = [(class_id, len(roster.students_of(class_id))) for class_id in roster.classes]
    wanted = sum(run.submitters for run in runs)
    scheduled = [
        (class_id, size)
        for class_id, size in sizes
        if size and roster.classes[class_id].class_type != "homeroom"
    ]
    homerooms = [
        (class_id, size)
        for class_id, size in sizes
        if size and roster.classes[class_id].class_type == "homeroom"
    ]
    for classes in (scheduled, scheduled + homerooms):
        plan = _spread(classes, runs, wanted)
        if plan is not None:
            return _seated(roster, plan)
    seats = sum(size for _, size in sizes)
    raise SubmissionsError(
        f"The roster has {seats:,} student seats in {len(sizes):,} classes, too few for the"
        f" {wanted:,} students by course run who submitted work in {source}: give a roster with"
        " more enrollments or a folder with fewer submissions."
    )


_Plan: TypeAlias = list[tuple[CourseRun, list[tuple[str, int]]]]


def _spread(
    classes: Sequence[tuple[str, int]], runs: Sequence[CourseRun], wanted: int
) -> _Plan | None:
    """(run, [(class, submitters it takes)]) with room for the silent in every class, if it fits.

    The share of seats for submitters starts at what would fill the roster evenly and rises,
    because the last class of a run is seldom full.
    """
    seats = sum(size for _, size in classes)
    if not wanted or wanted > seats:
        return None
    first = int(100 * wanted / seats)
    for percent in range(first, 101):
        plan: _Plan = []
        free = iter(classes)
        complete = True
        for run in runs:
            taken: list[tuple[str, int]] = []
            left = run.submitters
            while left:
                class_id, size = next(free, (None, 0))
                if class_id is None:
                    complete = False
                    break
                chunk = min(left, ceil(size * percent / 100))
                taken.append((class_id, chunk))
                left -= chunk
            plan.append((run, taken))
        if complete:
            return plan
    return None


def _seated(roster: Roster, plan: _Plan) -> Iterator[SeatedClass]:
    for run, classes in plan:
        work = run.work()
        silent = iter(run.silent)
        for class_id, chunk in classes:
            students = iter(roster.students_of(class_id))
            seats = [
                Seat(student, *next(work))
                for _, student in zip(range(chunk), students, strict=False)
            ]
            # The order matters: zip takes from its first iterator before it finds the second
            # one exhausted, and a student of the dataset taken so would be lost.
            seats += [
                Seat(student, dataset_student, ())
                for student, dataset_student in zip(students, silent, strict=False)
            ]
            yield SeatedClass(class_id, run, tuple(seats))

"""Real submissions: a folder of the Open University Learning Analytics Dataset (OULAD).

Read are ``courses``, ``assessments``, ``studentRegistration`` and ``studentAssessment``, each as
``.csv`` or ``.csv.gz``. A *course run* is one presentation of a module, such as ``FFF/2013J``.
"""

import csv
import gzip
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

# One submission is one 64-bit integer, so that 174,000 of them take 1.4 MB and sort at once:
# student, the assessment's place in its run, day submitted (shifted), score.
_SCORE_BITS: Final = 8
_DAY_BITS: Final = 12
_PLACE_BITS: Final = 8
_NO_SCORE: Final = (1 << _SCORE_BITS) - 1
_DAY_SHIFT: Final = 1024


class SubmissionsError(Exception):
    """The folder is no OULAD extract that can be read; the message names file, line and cure."""


class RunAssessment(NamedTuple):
    """One assessment of a course run; ``due_day`` counts from the run's start, None without."""

    assessment_id: int
    kind: str
    due_day: int | None


class Submission(NamedTuple):
    """What one student handed in: ``place`` is the assessment's index in its run.

    ``day`` counts from the run's start and may be negative; ``score`` is 0 to 100 or None.
    """

    place: int
    day: int
    score: int | None


@dataclass(frozen=True, slots=True)
class CourseRun:
    """One course run: ``length`` in days, its assessments, who submitted and who never did."""

    name: str
    length: int
    assessments: tuple[RunAssessment, ...]
    packed: "array[int]"
    submitters: int
    silent: tuple[int, ...]

    def work(self) -> Iterator[tuple[int, list[Submission]]]:
        """Each student who submitted anything, with all the submissions; students ascending."""
        by_student = groupby(self.packed, key=lambda p: p >> _SCORE_BITS + _DAY_BITS + _PLACE_BITS)
        for student, packed in by_student:
            yield student, [_unpack(one) for one in packed]


def read_course_runs(directory: Path) -> tuple[CourseRun, ...]:
    """All course runs in ``directory`` by name. Raises SubmissionsError."""
    lengths: dict[str, int] = {}
    with _table(directory, "courses") as rows:
        for row in rows:
            lengths[_run_name(row)] = int(row["module_presentation_length"])
    assessments: dict[str, list[RunAssessment]] = {name: [] for name in lengths}
    place_of: dict[str, tuple[str, int]] = {}
    with _table(directory, "assessments") as rows:
        for row in rows:
            of_run = assessments[_run_name(row)]
            place_of[row["id_assessment"]] = (_run_name(row), len(of_run))
            due = int(row["date"]) if row["date"] else None
            of_run.append(RunAssessment(int(row["id_assessment"]), row["assessment_type"], due))
    packed = _packed_submissions(directory, place_of)
    registered: dict[str, set[int]] = defaultdict(set)
    with _table(directory, "studentRegistration") as rows:
        for row in rows:
            registered[_run_name(row)].add(int(row["id_student"]))
    return tuple(
        _course_run(name, lengths[name], assessments[name], packed[name], registered[name])
        for name in sorted(lengths)
    )


def _course_run(
    name: str,
    length: int,
    assessments: list[RunAssessment],
    packed: list[int],
    registered: set[int],
) -> CourseRun:
    in_order = array("Q", sorted(packed))
    submitters = {one >> _SCORE_BITS + _DAY_BITS + _PLACE_BITS for one in in_order}
    silent = tuple(sorted(registered - submitters))
    return CourseRun(name, length, tuple(assessments), in_order, len(submitters), silent)


def _packed_submissions(
    directory: Path, place_of: Mapping[str, tuple[str, int]]
) -> dict[str, list[int]]:
    packed: dict[str, list[int]] = defaultdict(list)
    with _table(directory, "studentAssessment") as rows:
        for row in rows:
            run, place = place_of[row["id_assessment"]]
            day = int(row["date_submitted"]) + _DAY_SHIFT
            score = int(row["score"]) if row["score"] else _NO_SCORE
            if not (0 <= day < 1 << _DAY_BITS and 0 <= score <= _NO_SCORE):
                raise ValueError(f"day {row['date_submitted']} or score {row['score']} is too far")
            one = int(row["id_student"]) << _PLACE_BITS | place
            packed[run].append((one << _DAY_BITS | day) << _SCORE_BITS | score)
    return packed


def _unpack(packed: int) -> Submission:
    score = packed & _NO_SCORE
    day = (packed >> _SCORE_BITS) & ((1 << _DAY_BITS) - 1)
    place = (packed >> _SCORE_BITS + _DAY_BITS) & ((1 << _PLACE_BITS) - 1)
    return Submission(place, day - _DAY_SHIFT, None if score == _NO_SCORE else score)


def _run_name(row: Mapping[str, str]) -> str:
    return f"{row['code_module']}/{row['code_presentation']}"


@contextmanager
def _table(directory: Path, name: str) -> Iterator[Iterator[dict[str, str]]]:
    plain, zipped = directory / f"{name}.csv", directory / f"{name}.csv.gz"
    path = plain if plain.exists() else zipped
    if not path.exists():
        raise SubmissionsError(
            f"{directory} holds neither {plain.name} nor {zipped.name}; name a folder with the"
            " OULAD tables courses, assessments, studentRegistration and studentAssessment."
        )
    opener = gzip.open if path is zipped else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            yield rows
        except (KeyError, ValueError, TypeError) as error:
            raise SubmissionsError(
                f"{path}, line {rows.line_num}, cannot be read ({error}); use the table as the"
                " OULAD publishes it."
            ) from None

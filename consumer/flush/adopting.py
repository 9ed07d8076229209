"""What a run that ended before its time left in doubt: Skyward is asked, and the store learns it.

Between a write and its settling a process may die, or an answer may be lost. Most of that is
sent again, which changes nothing. But where Otus takes a grade back meanwhile, nothing is sent
again, and Skyward would hold a value of which the store knows nothing. So before a run decides
anything, what Skyward shows of the items in doubt becomes what the store believes was sent.

A write may also arrive after that question, and after a newer one of the next run: then an old
value stands. So Skyward is asked once more, ``in_doubt.LATE`` after that run, of everything that
was sent of these items; what it shows otherwise is decided again, and sent. Where the district
keeps what Skyward shows otherwise (``changed_in_skyward``), that is kept as well.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from consumer.district import District
from consumer.gradebook import (
    Assessment,
    Completion,
    GradeKey,
    ItemKey,
    Kind,
    Origin,
    ScoreStatus,
    Sent,
    line_item_id,
    result_id,
)
from consumer.oneroster import HeldLineItem, HeldResult
from consumer.skyward import Skyward
from consumer.store import in_doubt
from consumer.store.connection import Pool
from consumer.store.in_doubt import AdoptedLineItem, AdoptedResult
from consumer.store.runs import FlushRun, Lease
from consumer.store.settling import Tally
from consumer.store.undecided import UndecidedGrade, UndecidedItem

_AT_ONCE: Final = 20

Grades = Mapping[str, UndecidedGrade]
"""A line item's grades by student."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """One item in doubt, what the store knows of it, and what Skyward shows, by student.

    ``results`` is None where Skyward does not show any.
    """

    item: UndecidedItem
    assessment: Assessment
    grades: Grades
    line_item: HeldLineItem
    results: Mapping[str, HeldResult] | None


async def adopt(
    pool: Pool, skyward: Skyward, district: District, lease: Lease, run: FlushRun, now: datetime
) -> Tally:
    """Settles the doubt about the lease's items; returns what it adds to the run's counts.

    Raises ``DistrictStopped`` where Skyward cannot be asked, and ``LeaseLost``.
    """
    tally = Tally()
    again = lease.was_asked(now)
    # Of a Skyward that does not show what it holds nothing can be learnt.
    keys = lease.in_doubt if district.skyward.read_back else ()
    for first in range(0, len(keys), _AT_ONCE):
        items = await in_doubt.read(pool, district.district, keys[first : first + _AT_ONCE])
        asked = await asyncio.gather(
            *(_ask(pool, skyward, district.district, item, grades) for item, grades in items)
        )
        shown = [one for one in asked if one is not None]
        line_items = [found for one in shown if (found := _line_item(one, again)) is not None]
        results = [found for one in shown for found in _results(district, one, again)]
        if line_items or results:
            tally.posted += await in_doubt.adopt(
                pool,
                lease,
                run.run_id,
                line_items,
                results,
                run.cutoff.at,
                now,
                decide_again=again,
            )
    await in_doubt.remember(pool, lease, still_in_doubt(district, lease, now))
    return tally


def still_in_doubt(district: District, lease: Lease, now: datetime) -> Sequence[ItemKey]:
    """The lease's items of which Skyward is to be asked once more after this run."""
    return () if lease.is_over(now) or not district.skyward.read_back else lease.in_doubt


async def _ask(
    pool: Pool, skyward: Skyward, district_id: str, item: UndecidedItem, grades: Grades
) -> _Shown | None:
    assessment = item.assessment
    if assessment is None:
        return None
    held = await skyward.read_line_item(item.line_item_id or line_item_id(district_id, item.key))
    if held is None or not held.active:
        return None
    class_id = held.class_sourced_id or assessment.class_sourced_id
    rows = await skyward.read_results_shown(class_id, held.sourced_id)
    if rows is None:
        return _Shown(item, assessment, grades, held, None)
    students = assessment.assignees.keys() | grades.keys()
    results = _by_student(district_id, assessment, grades, students, rows)
    if len(results) < len(rows):
        # Of somebody who is not assigned any more, and of whom no event ever came.
        others = await in_doubt.students(pool, district_id, item.key.class_id) - students
        results |= _by_student(district_id, assessment, {}, others, rows)
    return _Shown(item, assessment, grades, held, results)


def _by_student(
    district_id: str,
    assessment: Assessment,
    grades: Grades,
    students: Iterable[str],
    rows: Sequence[HeldResult],
) -> dict[str, HeldResult]:
    """The results by Otus' ids: by our own sourcedId, or by whose it is where the server chose."""
    by_id = {one.sourced_id: one for one in rows}
    by_sourced_id = {one.student_sourced_id: one for one in rows}
    found = {}
    for student in students:
        grade = grades.get(student)
        allocated = None if grade is None else grade.allocated_id
        one = by_id.get(allocated or result_id(district_id, GradeKey(*assessment.key, student)))
        one = one or by_sourced_id.get(assessment.assignees.get(student, ""))
        if one is not None:
            found[student] = one
    return found


# -- the line item ------------------------------------------------------------------------------


def _line_item(shown: _Shown, again: bool) -> AdoptedLineItem | None:
    """What to believe of the line item; None where the store is right."""
    item, held, assessment = shown.item, shown.line_item, shown.assessment
    if item.posted is None:
        # What is not known of it is no body of ours, so that it is written once more.
        nothing = dict.fromkeys(("assignDate", "category", "gradingPeriod"), "")
        believed = nothing | {
            "title": "",
            "dueDate": "",
            "class": assessment.class_sourced_id,
            "school": assessment.school_sourced_id,
            "resultValueMax": "",
        }
    else:
        believed = dict(item.posted.fields)
        if item.decide_from is None and not again:
            return None  # nothing of the item itself had changed, so it was not written
    posted = believed | _seen(held, believed)
    if item.posted is not None and posted == believed:
        return None
    return AdoptedLineItem(item.key, held.sourced_id, posted, assessment.type)


def _seen(held: HeldLineItem, believed: Mapping[str, str]) -> dict[str, str]:
    """The fields that Skyward shows with another value than the one that is believed."""
    seen = {}
    if held.title is not None:
        seen["title"] = held.title
    if held.class_sourced_id is not None:
        seen["class"] = held.class_sourced_id
    if held.category_sourced_id is not None and not believed["category"]:
        seen["category"] = held.category_sourced_id
    if held.due_date is not None and believed["dueDate"][:10] != held.due_date.isoformat():
        seen["dueDate"] = held.due_date.isoformat()
    points = held.result_value_max
    if points is not None and believed["resultValueMax"] != f"{points.normalize():f}":
        seen["resultValueMax"] = f"{points.normalize():f}"
    return seen


# -- its results --------------------------------------------------------------------------------


def _results(district: District, shown: _Shown, again: bool) -> list[AdoptedResult]:
    """What to believe of the results, where the store is not right."""
    if shown.results is None:
        return []
    found = []
    for student in sorted(shown.grades.keys() | shown.results.keys()):
        grade, theirs = shown.grades.get(student), shown.results.get(student)
        if grade is not None and not _was_on_its_way(shown.item, grade):
            key = GradeKey(*shown.item.key, student)
            if again and theirs is not None and _may_be_ours(district, key, grade, theirs):
                found.append(_adopted(district, shown.item.key, student, grade, theirs))
            continue
        sent = None if grade is None else grade.sent
        if theirs is None:
            # A teacher may have deleted it, or we did.
            if sent is not None and district.rules.changed_in_skyward == "overwrite":
                key = GradeKey(*shown.item.key, student)
                found.append(AdoptedResult(key, None, None, counts=False))
        elif _is_news(district, grade, theirs):
            found.append(_adopted(district, shown.item.key, student, grade, theirs))
    return found


def _was_on_its_way(item: UndecidedItem, grade: UndecidedGrade) -> bool:
    """Whether the run before may have sent it: it was not settled since."""
    return grade.decide_from is not None or (
        item.decide_from is not None and grade.kind is not Kind.POST
    )


def _may_be_ours(
    district: District, key: GradeKey, grade: UndecidedGrade, theirs: HeldResult
) -> bool:
    """Whether a write that was late may have left this over what was settled since."""
    ours = grade.sent is not None or theirs.sourced_id == result_id(district.district, key)
    return ours and _is_news(district, grade, theirs)


def _is_news(district: District, grade: UndecidedGrade | None, theirs: HeldResult) -> bool:
    if theirs.score is None and not theirs.is_exempt:
        return False  # nothing that we send
    sent = None if grade is None else grade.sent
    if grade is None or sent is None:
        return True
    if theirs.shows(sent.score, sent.score_status is ScoreStatus.EXEMPT):
        return False
    if district.rules.changed_in_skyward == "overwrite":
        return True
    # Where theirs is kept, only what we would send as well is surely ours.
    return not theirs.is_exempt and theirs.score == _score(grade)


def _adopted(
    district: District,
    item: ItemKey,
    student: str,
    grade: UndecidedGrade | None,
    theirs: HeldResult,
) -> AdoptedResult:
    key = GradeKey(*item, student)
    score = None if grade is None else _score(grade)
    if theirs.is_exempt:
        # A zero that was withdrawn is still the clock's.
        origin = grade.sent.origin if grade is not None and grade.sent else Origin.TEACHER
        sent = Sent(None, ScoreStatus.EXEMPT, origin)
    elif theirs.score == 0 and score is None:
        sent = Sent(theirs.score, ScoreStatus(district.zeros.score_status), Origin.CLOCK)
    else:
        sent = Sent(theirs.score, ScoreStatus.FULLY_GRADED, Origin.TEACHER)
    chosen = theirs.sourced_id != result_id(district.district, key)
    # Another score than the newest is sent over it, and counted then.
    return AdoptedResult(
        key,
        sent,
        theirs.sourced_id if chosen else None,
        counts=score is None or theirs.score == score,
    )


def _score(grade: UndecidedGrade) -> Decimal | None:
    """What the teacher gave, where it is graded."""
    return grade.grade.score if grade.grade.completion is Completion.GRADED else None

"""What Skyward holds against what we believe it holds; reads both, writes nothing."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from consumer.gradebook import GradeKey, ItemKey, ScoreStatus, line_item_id, result_id
from consumer.oneroster import HeldLineItem, HeldResult
from consumer.skyward import Skyward
from consumer.store import believed
from consumer.store.believed import BelievedItem, BelievedResult
from consumer.store.connection import Pool

Value = str | Decimal


class DifferenceKind(StrEnum):
    """How Skyward differs.

    ``missing``: it was acknowledged and is not there. ``altered``: it is there with another
    score, title, points or due day. ``orphaned``: it is there, and we do not know of it.
    ``moved``: a teacher chose another category, which is hers to choose (rule 14).
    """

    MISSING = "missing"
    ALTERED = "altered"
    ORPHANED = "orphaned"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; ``student_id`` is None where it is the line item's.

    A student whom Otus does not assign goes by Skyward's sourcedId. ``ours`` and ``theirs`` are
    scores or, of a line item, text.
    """

    key: ItemKey
    student_id: str | None
    kind: DifferenceKind
    ours: Value | None
    theirs: Value | None


@dataclass(slots=True)
class Compared:
    """How much was compared so far."""

    classes: int = 0
    line_items: int = 0
    results: int = 0


async def differences(
    pool: Pool,
    skyward: Skyward,
    district_id: str,
    class_id: str | None,
    compared: Compared,
) -> AsyncIterator[Difference]:
    """Every difference, class by class, and counts in ``compared``.

    ``class_id`` is Otus'; None: all. Raises ``DistrictStopped`` where Skyward cannot be read.
    """
    async for class_sourced_id, items in believed.classes(pool, district_id, class_id):
        held_items = await skyward.read_class_line_items(class_sourced_id)
        line_items = {one.sourced_id: one for one in held_items}
        results: dict[str, list[HeldResult]] = {}
        async for one in skyward.read_class_results(class_sourced_id, list(line_items)):
            if one.line_item_sourced_id is not None:
                results.setdefault(one.line_item_sourced_id, []).append(one)
        for item in items:
            sourced_id = item.sourced_id or line_item_id(district_id, item.key)
            held = line_items.get(sourced_id)
            for found in _of_item(district_id, item, held, results.get(sourced_id, ())):
                yield found
            compared.line_items += item.posted is not None
            compared.results += len(item.results)
        compared.classes += 1


def _of_item(
    district_id: str, item: BelievedItem, held: HeldLineItem | None, results: Sequence[HeldResult]
) -> Iterator[Difference]:
    if item.posted is None:
        if held is not None:
            kind = DifferenceKind.ORPHANED
            yield Difference(item.key, None, kind, None, held.title or held.sourced_id)
        return
    if held is None:
        # Its results went with it.
        yield Difference(item.key, None, DifferenceKind.MISSING, item.posted["title"], None)
        return
    yield from _of_fields(item.key, item.posted, held)
    by_id = {one.sourced_id: one for one in results}
    by_student = {one.student_sourced_id: one for one in results}
    sourced_ids = {student: sourced_id for sourced_id, student in item.students.items()}
    for ours in item.results:
        key = GradeKey(*item.key, ours.student_id)
        theirs = by_id.pop(ours.allocated_id or result_id(district_id, key), None)
        if theirs is None and (same := by_student.get(sourced_ids.get(ours.student_id, ""))):
            theirs = by_id.pop(same.sourced_id, None)
        found = _of_result(item.key, ours, theirs)
        if found is not None:
            yield found
    for one in by_id.values():
        student = item.students.get(one.student_sourced_id, one.student_sourced_id)
        yield Difference(item.key, student, DifferenceKind.ORPHANED, None, _value(one))


def _of_fields(key: ItemKey, posted: Mapping[str, str], held: HeldLineItem) -> Iterator[Difference]:
    points = None if held.result_value_max is None else str(held.result_value_max)
    same_points = points is None or Decimal(posted["resultValueMax"]) == held.result_value_max
    due = None if held.due_date is None else held.due_date.isoformat()
    compared = (
        ("title", posted["title"], held.title, posted["title"] == held.title),
        ("points", posted["resultValueMax"], points, same_points),
        ("due", posted["dueDate"][:10], due, posted["dueDate"][:10] == due),
    )
    for name, ours, theirs, same in compared:
        if theirs is not None and not same:
            kind = DifferenceKind.ALTERED
            yield Difference(key, None, kind, f"{name} {ours}", f"{name} {theirs}")
    category = held.category_sourced_id
    if category is not None and category != posted["category"]:
        ours, theirs = f"category {posted['category']}", f"category {category}"
        yield Difference(key, None, DifferenceKind.MOVED, ours, theirs)


def _of_result(key: ItemKey, ours: BelievedResult, theirs: HeldResult | None) -> Difference | None:
    exempt = ours.sent.score_status is ScoreStatus.EXEMPT
    value = _EXEMPT if exempt or ours.sent.score is None else ours.sent.score
    if theirs is None or not theirs.active:
        return Difference(key, ours.student_id, DifferenceKind.MISSING, value, None)
    if theirs.shows(ours.sent.score, exempt):
        return None
    return Difference(key, ours.student_id, DifferenceKind.ALTERED, value, _value(theirs))


_EXEMPT: Final = "exempt"


def _value(held: HeldResult) -> Value | None:
    return _EXEMPT if held.is_exempt else held.score

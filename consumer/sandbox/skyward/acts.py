"""What people do in Skyward by hand while the integration is not looking."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.refusal import invalid, unknown


class _Act(
    msgspec.Struct,
    frozen=True,
    tag_field="act",
    tag=lambda name: name[0].lower() + name[1:],
    forbid_unknown_fields=True,
):
    """Its JSON name is the class's, begun with a small letter: `{"act": "moveLineItem", ...}`."""


class MoveLineItem(_Act, frozen=True):
    """A teacher moves an item to another category, active in her gradebook or not."""

    line_item: str
    category: str


class ChangeScore(_Act, frozen=True):
    """A teacher types another score; its text is kept as it is. None takes the score away."""

    result: str
    score: str | None


class DeleteLineItem(_Act, frozen=True):
    """A teacher deletes an item, and its results with it."""

    line_item: str


class DeleteResult(_Act, frozen=True):
    """A teacher deletes one score."""

    result: str


class SetCategory(_Act, frozen=True):
    """A teacher switches a category on or off in the gradebook of a class."""

    class_id: str
    category: str
    active: bool


class ClosePeriod(_Act, frozen=True):
    """The office closes a grading period before its last day."""

    period: str


class ReopenPeriod(_Act, frozen=True):
    """The office opens a grading period that is over."""

    period: str


class MovePeriod(_Act, frozen=True):
    """The office gives a grading period other dates, both inclusive."""

    period: str
    start: date
    end: date


class RemoveClass(_Act, frozen=True):
    """A class is gone; its line items stay readable by id."""

    class_id: str


class RemoveStudent(_Act, frozen=True):
    """A student leaves a class, or the district when class_id is None."""

    student: str
    class_id: str | None = None


class EnrollStudent(_Act, frozen=True):
    """A student joins a class, or comes back."""

    student: str
    class_id: str


Act = (
    MoveLineItem
    | ChangeScore
    | DeleteLineItem
    | DeleteResult
    | SetCategory
    | ClosePeriod
    | ReopenPeriod
    | MovePeriod
    | RemoveClass
    | RemoveStudent
    | EnrollStudent
)


def perform(act: Act, district: District) -> None:
    """Does it, whatever the API's rules say; a Refusal names what does not exist."""
    _check_names(act, district)
    gradebook = district.gradebook
    match act:
        case MoveLineItem(line_item, category):
            gradebook.line_items[line_item].category = category
        case ChangeScore(result, score):
            gradebook.results[result].score = _number(score)
        case DeleteLineItem(line_item):
            gradebook.delete_line_item(line_item)
        case DeleteResult(result):
            gradebook.delete_result(result)
        case SetCategory(class_id, category, active):
            district.set_category(class_id, category, active=active)
        case ClosePeriod(period):
            district.set_closed(period, closed=True)
        case ReopenPeriod(period):
            district.set_closed(period, closed=False)
        case MovePeriod(period, start, end):
            district.move_period(period, start, end)
        case RemoveClass(class_id):
            district.remove_class(class_id)
        case RemoveStudent(student, class_id):
            district.remove_student(student, class_id)
        case EnrollStudent(student, class_id):
            district.enroll_student(student, class_id)


def _number(text: str | None) -> str | None:
    try:
        if text is not None and not Decimal(text).is_finite():
            raise invalid(f"score {text} is not finite")
    except InvalidOperation as error:
        raise invalid(f"score {text} is no number") from error
    return text


def _check_names(act: Act, district: District) -> None:
    known: dict[str, Callable[[str], bool]] = {
        "line_item": lambda key: key in district.gradebook.line_items,
        "result": lambda key: key in district.gradebook.results,
        "category": lambda key: key in district.settings.categories,
        "period": lambda key: key in district.sessions,
        "class_id": lambda key: key in district.classes,
        "student": lambda key: key in district.roster.users,
    }
    fields: dict[str, Any] = msgspec.structs.asdict(act)
    for name, is_known in known.items():
        value = fields.get(name)
        if value is not None and not is_known(value):
            raise unknown(f"{name} {value} is unknown")

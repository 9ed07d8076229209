"""What was read: bodies of GET into rows, tolerantly.

A row that is ill-typed is dropped and counted; a body that is no OneRoster list is None.
Numbers are exact: a decimal point in JSON becomes a ``Decimal``, never a float.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from consumer.gradebook import AcademicSession

Row = TypeVar("Row")

_LONGEST_ID: Final = 255
_LONGEST_TITLE: Final = 1000
_LONGEST_NUMBER: Final = 40
_MOST_TERMS: Final = 100
_MOST_VALUES: Final = 1_000_000
"""Some 100 bytes of memory each; a page of the largest size has half as many."""

_NUMBER: Final = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?")
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page: its good rows, how many rows it held, and how many of them were dropped."""

    rows: list[Row]
    seen: int
    dropped: int


class Category(NamedTuple):
    """A gradebook category, of the district or of one class."""

    sourced_id: str
    title: str
    active: bool


class SchoolClass(NamedTuple):
    """A class, the terms it is taught in and its school; None where Skyward does not say."""

    sourced_id: str
    term_ids: tuple[str, ...]
    active: bool
    school_id: str | None = None


class HeldLineItem(NamedTuple):
    """A line item as Skyward holds it; None where it does not say."""

    sourced_id: str
    title: str | None
    class_sourced_id: str | None
    category_sourced_id: str | None
    due_date: date | None
    result_value_max: Decimal | None
    active: bool


class HeldResult(NamedTuple):
    """A result as Skyward holds it; ``score`` is exact, None where there is none."""

    sourced_id: str
    line_item_sourced_id: str | None
    student_sourced_id: str
    score: Decimal | None
    score_status: str | None
    active: bool

    @property
    def is_exempt(self) -> bool:
        return (self.score_status or "").strip().lower() == "exempt"

    def shows(self, score: Decimal | None, exempt: bool) -> bool:
        """Whether it stands as it was sent; of the status only exempt or not is compared.

        Servers have their own words for the others, and leave them out.
        """
        return self.active and self.is_exempt is exempt and (exempt or self.score == score)


def document(body: bytes) -> Any:
    """The JSON document in ``body`` with exact numbers; None where it is not JSON.

    Nor is one where it would be far larger as objects than as bytes.
    """
    # Each value but the first stands behind one of these.
    if len(body) > _MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        return None
    try:
        return _decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, ValueError, RecursionError, InvalidOperation):
        return None


def read_sessions(body: bytes, *, kind: str | None = None) -> Page[AcademicSession] | None:
    """academicSessions, gradingPeriods or terms; ``kind`` is the type of rows that have none."""
    names = ("academicSessions", "gradingPeriods", "terms")
    return _page(body, names, lambda row: _session(row, kind))


def read_categories(body: bytes) -> Page[Category] | None:
    return _page(body, ("categories",), _category)


def read_classes(body: bytes) -> Page[SchoolClass] | None:
    return _page(body, ("classes",), _class)


def read_class(body: bytes) -> SchoolClass | None:
    return _single(body, "class", _class)


def read_line_item(body: bytes) -> HeldLineItem | None:
    return _single(body, "lineItem", _line_item)


def read_line_items(body: bytes) -> Page[HeldLineItem] | None:
    return _page(body, ("lineItems",), _line_item)


def read_results(body: bytes) -> Page[HeldResult] | None:
    return _page(body, ("results",), _result)


def read_result(body: bytes) -> HeldResult | None:
    return _single(body, "result", _result)


def read_users(body: bytes) -> Page[str] | None:
    """The sourcedIds of active users, all others dropped; nothing else of a person is kept."""
    return _page(body, ("users", "students"), _user)


class _IllTyped(Exception):
    """This row cannot be used."""


def _page(
    body: bytes, names: Iterable[str], read: Callable[[Mapping[str, Any]], Row]
) -> Page[Row] | None:
    found = document(body)
    if isinstance(found, dict):
        found = next((found[name] for name in names if name in found), None)
    if not isinstance(found, list):
        return None
    rows: list[Row] = []
    for row in found:
        try:
            rows.append(read(_object(row)))
        except _IllTyped:
            continue
    return Page(rows, len(found), len(found) - len(rows))


def _single(body: bytes, name: str, read: Callable[[Mapping[str, Any]], Row]) -> Row | None:
    found = document(body)
    if isinstance(found, dict):
        try:
            return read(_object(found.get(name, found)))
        except _IllTyped:
            return None
    return None


def _session(row: Mapping[str, Any], kind: str | None) -> AcademicSession:
    found = row.get("type", kind)
    if not isinstance(found, str):
        raise _IllTyped
    return AcademicSession(
        sourced_id=_id(row.get("sourcedId")),
        type=found,
        active=_active(row),
        start=_day(row.get("startDate")),
        end=_day(row.get("endDate")),
        parent=_referred(row.get("parent")),
    )


def _category(row: Mapping[str, Any]) -> Category:
    return Category(_id(row.get("sourcedId")), _title(row) or "", _active(row))


def _class(row: Mapping[str, Any]) -> SchoolClass:
    terms = row.get("terms")
    listed = terms[:_MOST_TERMS] if isinstance(terms, list) else []
    ids = tuple(term for term in map(_referred, listed) if term is not None)
    school = _referred(row.get("school"))
    return SchoolClass(_id(row.get("sourcedId")), ids, _active(row), school)


def _line_item(row: Mapping[str, Any]) -> HeldLineItem:
    try:
        due = _day(row.get("dueDate"))
    except _IllTyped:
        due = None
    return HeldLineItem(
        sourced_id=_id(row.get("sourcedId")),
        title=_title(row),
        class_sourced_id=_referred(row.get("class")),
        category_sourced_id=_referred(row.get("category")),
        due_date=due,
        result_value_max=_number(row.get("resultValueMax")),
        active=_active(row),
    )


def _result(row: Mapping[str, Any]) -> HeldResult:
    student = _referred(row.get("student"))
    if student is None:
        raise _IllTyped
    status = row.get("scoreStatus")
    return HeldResult(
        sourced_id=_id(row.get("sourcedId")),
        line_item_sourced_id=_referred(row.get("lineItem")),
        student_sourced_id=student,
        score=_number(row.get("score")),
        score_status=status[:_LONGEST_ID] if isinstance(status, str) else None,
        active=_active(row),
    )


def _user(row: Mapping[str, Any]) -> str:
    if not _active(row):
        raise _IllTyped
    return _id(row.get("sourcedId"))


def _object(value: object) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise _IllTyped


def _id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**_LONGEST_NUMBER else None
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable():
        return value
    raise _IllTyped


def _referred(value: object) -> str | None:
    """The sourcedId of a reference, which some servers write as a bare string."""
    try:
        return _id(value.get("sourcedId") if isinstance(value, dict) else value)
    except _IllTyped:
        return None


def _title(row: Mapping[str, Any]) -> str | None:
    title = row.get("title")
    return title[:_LONGEST_TITLE] if isinstance(title, str) else None


def _active(row: Mapping[str, Any]) -> bool:
    status = row.get("status") or "active"
    return isinstance(status, str) and status.strip().lower() == "active"


def _day(value: object) -> date:
    """The day of a date, or of a date-time as it is written: in the zone that it names."""
    if not isinstance(value, str):
        raise _IllTyped
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        raise _IllTyped from None


def _number(value: object) -> Decimal | None:
    if isinstance(value, str):
        value = Decimal(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if isinstance(value, Decimal) and value.is_finite():
        digits = value.as_tuple()
        if len(digits.digits) <= _LONGEST_NUMBER and abs(value.adjusted()) <= _LONGEST_NUMBER:
            return value
    return None

"""What a PUT may say: OneRoster's lineItem and result as they arrive, exactly typed.

Every field may be absent here; which ones a version asks for is `required_fields`' to say. Numbers
are kept as the text that was sent: a score of `8.50` is never `8.5`, nor 8.499999999999999.
"""

import re
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from consumer.sandbox.skyward.behaviour import Settings, Version
from consumer.sandbox.skyward.refusal import invalid

Json = dict[str, Any]
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Reference(msgspec.Struct, forbid_unknown_fields=True):
    """A pointer to another object."""

    sourcedId: str
    href: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class LineItemBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A lineItem as sent."""

    sourcedId: str | UnsetType = UNSET
    status: Literal["active", "tobedeleted"] | UnsetType = UNSET
    dateLastModified: datetime | UnsetType = UNSET
    metadata: Json | UnsetType = UNSET
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    assignDate: str | UnsetType = UNSET
    dueDate: str | UnsetType = UNSET
    class_: Reference | UnsetType = msgspec.field(name="class", default=UNSET)
    school: Reference | UnsetType = UNSET
    category: Reference | UnsetType = UNSET
    gradingPeriod: Reference | UnsetType = UNSET
    academicSession: Reference | UnsetType = UNSET
    scoreScale: Reference | UnsetType = UNSET
    resultValueMin: Raw | UnsetType = UNSET
    resultValueMax: Raw | UnsetType = UNSET
    learningObjectiveSet: list[Json] | UnsetType = UNSET


class ResultBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A result as sent."""

    sourcedId: str | UnsetType = UNSET
    status: Literal["active", "tobedeleted"] | UnsetType = UNSET
    dateLastModified: datetime | UnsetType = UNSET
    metadata: Json | UnsetType = UNSET
    lineItem: Reference | UnsetType = UNSET
    student: Reference | UnsetType = UNSET
    class_: Reference | UnsetType = msgspec.field(name="class", default=UNSET)
    scoreScale: Reference | UnsetType = UNSET
    scoreStatus: str | UnsetType = UNSET
    score: Raw | UnsetType = UNSET
    textScore: str | UnsetType = UNSET
    scoreDate: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    learningObjectiveSet: list[Json] | UnsetType = UNSET
    inProgress: Literal["true", "false"] | UnsetType = UNSET
    incomplete: Literal["true", "false"] | UnsetType = UNSET
    late: Literal["true", "false"] | UnsetType = UNSET
    missing: Literal["true", "false"] | UnsetType = UNSET


class _OpenLineItemBody(LineItemBody, kw_only=True, forbid_unknown_fields=False):
    pass


class _OpenResultBody(ResultBody, kw_only=True, forbid_unknown_fields=False):
    pass


class _LineItem(msgspec.Struct, forbid_unknown_fields=True):
    lineItem: LineItemBody


class _Result(msgspec.Struct, forbid_unknown_fields=True):
    result: ResultBody


class _OpenLineItem(msgspec.Struct):
    lineItem: _OpenLineItemBody


class _OpenResult(msgspec.Struct):
    result: _OpenResultBody


_line_item = msgspec.json.Decoder(_LineItem).decode
_result = msgspec.json.Decoder(_Result).decode
_open_line_item = msgspec.json.Decoder(_OpenLineItem).decode
_open_result = msgspec.json.Decoder(_OpenResult).decode

_ONLY_1_2 = {
    "lineItem": ("school", "academicSession", "scoreScale", "learningObjectiveSet"),
    "result": (
        "class_",
        "scoreScale",
        "textScore",
        "learningObjectiveSet",
        "inProgress",
        "incomplete",
        "late",
        "missing",
    ),
}
_REFERENCE_TYPES: dict[str, tuple[str, ...]] = {
    "class_": ("class",),
    "school": ("org",),
    "category": ("category",),
    "gradingPeriod": ("academicSession",),
    "academicSession": ("academicSession",),
    "scoreScale": ("scoreScale",),
    "lineItem": ("lineItem",),
    "student": ("user",),
}
_ALSO_1_1 = {"student": ("student",), "gradingPeriod": ("gradingPeriod",)}
_LINE_ITEM_REFERENCES = (
    "class_",
    "school",
    "category",
    "gradingPeriod",
    "academicSession",
    "scoreScale",
)
_RESULT_REFERENCES = ("lineItem", "student", "class_", "scoreScale")
_SCORE_STATUS = re.compile(
    r"exempt|fully graded|not submitted|partially graded|submitted|ext:[a-zA-Z0-9.\-_]+"
)


def read_line_item(body: bytes, version: Version, settings: Settings) -> LineItemBody:
    """The lineItem in a request's body; a Refusal (400) names what is ill-typed."""
    try:
        decode = _line_item if settings.unknown_fields == "refuse" else _open_line_item
        item: LineItemBody = decode(body).lineItem
    except msgspec.DecodeError as error:
        raise invalid(f"the lineItem cannot be read: {error}") from error
    _check_version("lineItem", item, version, settings)
    for name in _LINE_ITEM_REFERENCES:
        _check_reference(name, getattr(item, name), version, settings)
    for name in ("resultValueMin", "resultValueMax"):
        number_text(name, getattr(item, name))
    for name in ("assignDate", "dueDate"):
        text = getattr(item, name)
        if text is not UNSET:
            moment_or_day(name, text, days_allowed=version == "1.1")
    return item


def read_result(body: bytes, version: Version, settings: Settings) -> ResultBody:
    """The result in a request's body; a Refusal (400) names what is ill-typed."""
    try:
        decode = _result if settings.unknown_fields == "refuse" else _open_result
        result: ResultBody = decode(body).result
    except msgspec.DecodeError as error:
        raise invalid(f"the result cannot be read: {error}") from error
    _check_version("result", result, version, settings)
    for name in _RESULT_REFERENCES:
        _check_reference(name, getattr(result, name), version, settings)
    number_text("score", result.score)
    if result.scoreStatus is not UNSET and not _SCORE_STATUS.fullmatch(result.scoreStatus):
        raise invalid(f"scoreStatus {result.scoreStatus} is none of OneRoster's")
    if result.scoreDate is not UNSET:
        moment = moment_or_day("scoreDate", result.scoreDate, days_allowed=True)
        if settings.wire == "standard" and isinstance(moment, datetime):
            raise invalid(f"scoreDate {result.scoreDate} is not a date")
    return result


def required_fields(
    kind: Literal["lineItem", "result"], version: Version, settings: Settings
) -> tuple[str, ...]:
    """The attributes of a body that must be there."""
    return _REQUIRED[kind, version] + (_BASE if settings.wire == "standard" else ())


_BASE = ("sourcedId", "status", "dateLastModified")
_REQUIRED: dict[tuple[str, Version], tuple[str, ...]] = {
    ("lineItem", "1.1"): (
        "title",
        "assignDate",
        "dueDate",
        "class_",
        "category",
        "gradingPeriod",
        "resultValueMin",
        "resultValueMax",
    ),
    ("lineItem", "1.2"): ("title", "assignDate", "dueDate", "class_", "school", "category"),
    ("result", "1.1"): ("lineItem", "student", "scoreStatus", "score", "scoreDate"),
    ("result", "1.2"): ("lineItem", "student", "scoreStatus", "scoreDate"),
}


def number_text(name: str, raw: Raw | UnsetType) -> str | None:
    """The exact text of a JSON number; None when absent. A Refusal (400) for any other type."""
    if raw is UNSET:
        return None
    text = bytes(raw)
    if not _NUMBER.fullmatch(text):
        raise invalid(f"{name} must be a number, got {text.decode(errors='replace')}")
    return text.decode()


def moment_or_day(name: str, text: str, *, days_allowed: bool) -> datetime | date:
    """A date-time with a zone, or a date where those are allowed; else a Refusal (400)."""
    try:
        if len(text) == len("2026-01-01"):
            day = date.fromisoformat(text)
            if days_allowed:
                return day
            raise invalid(f"{name} {text} is a date; OneRoster 1.2 wants a date-time with a zone")
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise invalid(f"{name} {text} is no date-time") from error
    if moment.tzinfo is None:
        raise invalid(f"{name} {text} has no zone")
    return moment


def _check_version(
    kind: Literal["lineItem", "result"],
    body: LineItemBody | ResultBody,
    version: Version,
    settings: Settings,
) -> None:
    if version == "1.1" and settings.unknown_fields == "refuse":
        for name in _ONLY_1_2[kind]:
            if getattr(body, name) is not UNSET:
                raise invalid(f"{name.rstrip('_')} is no field of a {kind} of OneRoster 1.1")


def _check_reference(
    name: str, reference: Reference | UnsetType, version: Version, settings: Settings
) -> None:
    if reference is UNSET:
        return
    field = name.rstrip("_")
    if settings.references == "standard" and (reference.href is UNSET or reference.type is UNSET):
        raise invalid(f"{field} must be a reference with href, sourcedId and type")
    if reference.type is not UNSET:
        types = _REFERENCE_TYPES[name]
        if version == "1.1":
            types += _ALSO_1_1.get(name, ())
        if reference.type not in types:
            raise invalid(f"{field} has type {reference.type} where {' or '.join(types)} belongs")

"""What is written: lineItem and result in both versions and both wire forms.

``standard`` is complete by the letter of the specification; ``lean`` is what real consumers
send: references by sourcedId alone, no status, no dateLastModified. Decimals become exact
JSON numbers and never pass through a binary float.
"""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from consumer.gradebook import LineItem, Result, ScoreStatus
from consumer.oneroster.paths import Paths

WireForm = Literal["standard", "lean"]

_LONGEST_WHOLE: Final = 40
"""Above so many digits a number keeps its exponent: no score has them, and none may cost us."""


class _Id(Struct, frozen=True, gc=False):
    sourced_id: str = msgspec.field(name="sourcedId")


class _Reference(Struct, frozen=True, gc=False):
    href: str
    sourced_id: str = msgspec.field(name="sourcedId")
    type: str


_Ref = _Id | _Reference


class _LineItem(Struct, frozen=True, gc=False, rename="camel"):
    sourced_id: str
    status: str | UnsetType
    date_last_modified: datetime | UnsetType
    title: str
    assign_date: datetime
    due_date: datetime
    class_: _Ref = msgspec.field(name="class")
    school: _Ref | UnsetType
    category: _Ref
    grading_period: _Ref
    academic_session: _Ref | UnsetType
    result_value_min: int
    result_value_max: int | Decimal


class _LineItemEnvelope(Struct, frozen=True, gc=False):
    line_item: _LineItem = msgspec.field(name="lineItem")


class _Result(Struct, frozen=True, gc=False, rename="camel"):
    sourced_id: str
    status: str | UnsetType
    date_last_modified: datetime | UnsetType
    line_item: _Ref
    student: _Ref
    score_status: ScoreStatus
    score: int | Decimal | UnsetType
    score_date: date | datetime


class _ResultEnvelope(Struct, frozen=True, gc=False):
    result: _Result


_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Bodies:
    """Writes the bodies of one district: its addresses, its version and its wire form."""

    def __init__(self, paths: Paths, wire_form: WireForm) -> None:
        self._paths: Final = paths
        self._standard: Final = wire_form == "standard"
        self._v1p1: Final = paths.version == "1.1"

    def line_item(self, item: LineItem) -> bytes:
        """``{"lineItem": {…}}``."""
        paths = self._paths
        period = item.grading_period_sourced_id
        session = self._reference(paths.academic_session, period, "academicSession")
        return _encode(
            _LineItemEnvelope(
                _LineItem(
                    sourced_id=item.sourced_id,
                    status="active" if self._standard else UNSET,
                    date_last_modified=self._modified(item.modified_at),
                    title=item.title,
                    assign_date=item.assign_date,
                    due_date=item.due_date,
                    class_=self._reference(paths.class_, item.class_sourced_id, "class"),
                    school=UNSET
                    if self._v1p1
                    else self._reference(paths.school, item.school_sourced_id, "org"),
                    category=self._reference(paths.category, item.category_sourced_id, "category"),
                    grading_period=session,
                    academic_session=session if self._standard and not self._v1p1 else UNSET,
                    result_value_min=0,
                    result_value_max=_number(item.result_value_max),
                )
            )
        )

    def result(self, result: Result) -> bytes:
        """``{"result": {…}}``; without a score it is exempt, which 1.1 spells with a 0."""
        score: int | Decimal | UnsetType
        if result.score is not None:
            score = _number(result.score)
        else:
            score = 0 if self._v1p1 else UNSET
        paths = self._paths
        line_item, student = result.line_item_sourced_id, result.student_sourced_id
        when = result.score_date
        return _encode(
            _ResultEnvelope(
                _Result(
                    result.sourced_id,
                    "active" if self._standard else UNSET,
                    self._modified(result.modified_at),
                    self._reference(paths.line_item, line_item, "lineItem"),
                    self._reference(paths.user, student, "user"),
                    result.score_status,
                    score,
                    when.date() if self._standard else when.replace(microsecond=0),
                )
            )
        )

    def _reference(self, url: Callable[[str], str], sourced_id: str, kind: str) -> _Ref:
        if self._standard:
            return _Reference(url(sourced_id), sourced_id, kind)
        return _Id(sourced_id)

    def _modified(self, at: datetime) -> datetime | UnsetType:
        return at.replace(microsecond=0) if self._standard else UNSET


def _number(value: Decimal) -> int | Decimal:
    # 8.0 is written 8, and 8.50 is written 8.5: some servers read the difference.
    if value.adjusted() >= _LONGEST_WHOLE:
        return value
    whole = int(value)
    if whole == value:
        return whole
    return Decimal(format(value, "f").rstrip("0")) if value.adjusted() > -7 else value

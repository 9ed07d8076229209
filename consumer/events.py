"""Bytes from Kafka become what Otus says now: the event contract that we publish upstream.

CloudEvents 1.0 in structured and in binary mode. The models are msgspec structs and not
pydantic's: they read numbers as exact decimals (8.0000000000000000001 is not whole), and
read a stream of grades several times as fast. ``EventUnreadable`` names what is wrong by
its path, never by its value.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec

from consumer.errors import EventUnreadable
from consumer.gradebook import AssessmentStatus, Completion, Submission

ASSESSMENT_CHANGED: Final = "assessment-changed"
GRADE_CHANGED: Final = "grade-changed"
GROUP_CHANGED: Final = "passback-group-changed"
TOPICS: Final = (ASSESSMENT_CHANGED, GRADE_CHANGED, GROUP_CHANGED)

CLOCK_TOLERANCE_US: Final = 5 * 60 * 1_000_000
"""A ``time`` more microseconds ahead of the record's timestamp counts as that timestamp."""

ID_CHARACTERS: Final = 255
"""No id is longer."""

TITLE_CHARACTERS: Final = 1_000
"""Of a longer title only so much is kept; 50 are too long for Skyward."""

KEY_BYTES: Final = 2_600
"""A longer key fits no index of Postgres, and stands for nothing real."""


class QuarantineReason(StrEnum):
    """Why an event could not be read or applied: a closed set, a label of metrics."""

    NOT_JSON = "not_json"
    NOT_CLOUDEVENT = "not_cloudevent"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_DATA = "invalid_data"
    KEY_DISAGREES = "key_disagrees"
    UNKNOWN_DISTRICT = "unknown_district"


_ID_PATTERN: Final = r"^[^/\x00-\x1f\x7f-\x9f]+\Z"
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=_ID_PATTERN)]
# One of the record's key: what agrees with the key, which was checked, needs no check of its own.
_KeyId = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=255, extra_json_schema={"pattern": _ID_PATTERN}),
]
_Word = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Version = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Assignee(msgspec.Struct, frozen=True, gc=False):
    """A student the assessment is assigned to, with Skyward's sourcedId."""

    student_id: _Id
    sourced_id: _Id


class Assigner(msgspec.Struct, frozen=True, gc=False):
    """The user who assigned it, and whether the SIS knows that user."""

    user_id: _Id
    in_sis: bool


class AssessmentChanged(msgspec.Struct, frozen=True):
    """Data of ``com.otus.assessment-changed.v1``: one assessment in one class."""

    district_id: _KeyId
    assessment_id: _KeyId
    class_id: _KeyId
    version: _Version
    title: str
    type: _Word
    format: _Word
    grading_scale: Literal["points", "standards"]
    include_in_final_grade: bool
    assigned_by: Assigner
    assigned_at: _Instant
    status: AssessmentStatus
    class_sourced_id: _Id
    school_sourced_id: _Id
    assignees: list[Assignee]
    points_possible: Decimal | None = None
    due_at: _Instant | None = None


class GradeChanged(msgspec.Struct, frozen=True, gc=False):
    """Data of ``com.otus.grade-changed.v1``: one student's grade."""

    district_id: _KeyId
    assessment_id: _KeyId
    class_id: _KeyId
    student_id: _KeyId
    version: _Version
    completion: Completion
    score: Decimal | None = None
    submission: Submission | None = None


class GroupChanged(msgspec.Struct, frozen=True, gc=False):
    """Data of ``com.otus.passback-group-changed.v1``: a teacher joined or left the group."""

    district_id: _KeyId
    teacher_id: _KeyId
    version: _Version
    member: bool


Data = AssessmentChanged | GradeChanged | GroupChanged


class Change(msgspec.Struct, frozen=True, gc=False):
    """One subject's whole latest state. ``key`` is ``subject`` split at its slashes, the district
    first.

    ``data`` is None for a tombstone. ``changed_us`` is when: microseconds since 1970, in UTC.
    """

    topic: str
    subject: str
    key: tuple[str, ...]
    data: Data | None
    changed_us: int

    @property
    def changed_at(self) -> datetime:
        """The moment of the change, in UTC."""
        return _EPOCH + self.changed_us * _MICROSECOND


_Content = TypeVar("_Content")


class _Envelope(msgspec.Struct, Generic[_Content], gc=False):
    specversion: Literal["1.0"]
    id: Annotated[str, msgspec.Meta(min_length=1)]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    type: str
    time: _Instant
    data: _Content
    subject: str | None = None


class _Sign(msgspec.Struct, gc=False):
    specversion: str | None = None


_DATA: Final[dict[str, type[Data]]] = {
    ASSESSMENT_CHANGED: AssessmentChanged,
    GRADE_CHANGED: GradeChanged,
    GROUP_CHANGED: GroupChanged,
}
_DECODERS: Final = {topic: msgspec.json.Decoder(model) for topic, model in _DATA.items()}
_TYPES: Final = {topic: f"com.otus.{topic}.v1" for topic in TOPICS}
KEY_PARTS: Final = {ASSESSMENT_CHANGED: 3, GRADE_CHANGED: 4, GROUP_CHANGED: 2}
"""How many ids each topic's keys are made of, the district's first."""

_ENVELOPE: Final = msgspec.json.Decoder(_Envelope[msgspec.Raw])
_ENVELOPES: Final[dict[str, msgspec.json.Decoder[_Envelope[Data]]]] = {
    topic: msgspec.json.Decoder(_Envelope[model])  # type: ignore[valid-type]
    for topic, model in _DATA.items()
}
_SIGN: Final = msgspec.json.Decoder(_Sign)
_TIME: Final = msgspec.json.Decoder(_Instant)
_STRUCTURED: Final = b"application/cloudevents+json"

# Instants outside these years cannot be moved between zones, and stand for nothing real.
_YEARS: Final = range(1900, 9000)
_FIRST: Final = datetime(_YEARS.start, 1, 1, tzinfo=UTC)
_END: Final = datetime(_YEARS.stop, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Their last second, as a timestamp of Kafka's.
_LAST_MS: Final = (_END - _EPOCH) // timedelta(milliseconds=1) - 1_000
_WHOLE: Final = Decimal(0)
# Postgres' numeric could hold more, but no gradebook has such a number.
_DIGITS: Final = 30


def moment(timestamp: int) -> datetime:
    """A timestamp of Kafka's, milliseconds since 1970, as a moment from 1970 to the year 8999.

    It may be any 64-bit number; one beyond them counts as their first or last.
    """
    return _EPOCH + _microseconds(timestamp) * _MICROSECOND


def _microseconds(timestamp: int) -> int:
    if not 0 <= timestamp <= _LAST_MS:
        timestamp = 0 if timestamp < 0 else _LAST_MS
    return timestamp * 1000


def read(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    timestamp: int,
) -> Change:
    """Reads one Kafka record; ``topic`` is one of ``TOPICS``, without the prefix.

    ``timestamp`` is the record's own, in milliseconds since 1970. Raises ``EventUnreadable``.
    """
    if value is None:
        ids = _read_key(topic, key)
        return Change(topic, "/".join(ids), ids, None, _microseconds(timestamp))
    try:
        data, time, subject = _read_value(topic, value, headers)
    except EventUnreadable:
        _read_key(topic, key)  # what is wrong with the key is said first
        raise
    ids = _subject_of(data)
    text = "/".join(ids)
    if key != text.encode() or (subject is not None and subject != text):
        _read_key(topic, key)
        _expect_ids(data, ids)
        raise EventUnreadable(
            QuarantineReason.KEY_DISAGREES, "the record's key, the subject and the data disagree"
        )
    if not _are_plain(text, ids):
        _read_key(topic, key)
    changed_us = (_instant(time, "time") - _EPOCH) // _MICROSECOND
    recorded_us = _microseconds(timestamp)
    if changed_us > recorded_us + CLOCK_TOLERANCE_US:
        changed_us = recorded_us
    return Change(topic, text, ids, _checked(data), changed_us)


def _read_value(
    topic: str, value: bytes, headers: Sequence[tuple[str, bytes | None]]
) -> tuple[Data, datetime, str | None]:
    """The data, the time and the subject."""
    try:
        attributes = _binary(headers) if headers else None
        if attributes is None and (whole := _read_whole(topic, value)) is not None:
            return whole.data, whole.time, whole.subject
        raw, time, subject = _open(topic, value, attributes)
        data = _DECODERS[topic].decode(raw)
        if topic in _LOOSE_NUMBERS and _LOOSE_NUMBERS[topic].search(raw):
            _expect_number(raw, _DECIMALS[topic])
    except msgspec.ValidationError as error:
        raise EventUnreadable(QuarantineReason.INVALID_DATA, _without_values(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EventUnreadable(QuarantineReason.NOT_JSON, "the value is not valid JSON") from None
    return data, time, subject


def _read_whole(topic: str, value: bytes) -> _Envelope[Data] | None:
    """A structured event in one go, as nearly all can be read; None where something is unusual.

    Envelope and data one after the other, which then tell what is wrong, take a fifth longer.
    """
    try:
        whole = _ENVELOPES[topic].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if whole.type != _TYPES[topic]:
        return None
    if topic in _LOOSE_NUMBERS and _LOOSE_NUMBERS[topic].search(value):
        return None
    return whole


def normalised_title(title: str) -> str:
    """Unicode NFC, trimmed, runs of white space and control characters made one space.

    Of a title of more than ``TITLE_CHARACTERS`` the beginning: it is too long either way, and to
    bring a million marks into order takes minutes.
    """
    collapsed = _BLANK.sub(" ", title).strip()[:TITLE_CHARACTERS]
    return _BLANK.sub(" ", unicodedata.normalize("NFC", collapsed)).strip()


_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def _are_plain(text: str, ids: Sequence[str]) -> bool:
    """Whether they surely are ids, as nearly all are; ``text`` is all of them with / between."""
    return (
        len(text) <= ID_CHARACTERS
        and text.isascii()
        and text.isprintable()
        and text.count("/") == len(ids) - 1
    )


def _read_key(topic: str, key: bytes | None) -> tuple[str, ...]:
    try:
        parts = tuple(key.decode().split("/")) if key else ()
    except UnicodeDecodeError:
        parts = ()
    if key is not None and len(key) > KEY_BYTES:
        raise EventUnreadable(
            QuarantineReason.INVALID_DATA, f"the record's key has more than {KEY_BYTES} bytes"
        )
    if len(parts) != KEY_PARTS[topic] or not all(_ID.fullmatch(part) for part in parts):
        raise EventUnreadable(
            QuarantineReason.KEY_DISAGREES,
            f"the record's key is not {KEY_PARTS[topic]} ids with / between them",
        )
    return parts


_ID: Final = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,255}")


def _binary(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes] | None:
    """A binary event's headers by their names, which are any case's; None of a structured one.

    Kafka lets a header's value be null; such a one says nothing.
    """
    for name, content in headers:
        if name.lower() == "ce_specversion" and content is not None:
            break
    else:
        return None
    found = {name.lower(): content for name, content in headers if content is not None}
    structured = found.get("content-type", b"").lower().startswith(_STRUCTURED)
    return None if structured else found


def _open(
    topic: str, value: bytes, attributes: dict[str, bytes] | None
) -> tuple[msgspec.Raw | bytes, datetime, str | None]:
    """The data's bytes, the time and the subject, from either CloudEvents mode."""
    if attributes is not None:
        return _open_binary(topic, value, attributes)
    try:
        envelope = _ENVELOPE.decode(value)
    except msgspec.ValidationError as error:
        if _is_marked(value):
            raise
        raise EventUnreadable(
            QuarantineReason.NOT_CLOUDEVENT,
            "it is no CloudEvent: neither ce_ headers nor a specversion in its value",
        ) from error
    _expect_type(topic, envelope.type)
    return envelope.data, envelope.time, envelope.subject


def _is_marked(value: bytes) -> bool:
    try:
        return _SIGN.decode(value).specversion is not None
    except msgspec.ValidationError:
        return False


def _open_binary(
    topic: str, value: bytes, headers: dict[str, bytes]
) -> tuple[bytes, datetime, str | None]:
    missing = [n for n in ("ce_id", "ce_source", "ce_type", "ce_time") if not headers.get(n)]
    if missing:
        raise EventUnreadable(
            QuarantineReason.NOT_CLOUDEVENT, f"the header {missing[0]} is missing"
        )
    if headers["ce_specversion"] != b"1.0":
        raise EventUnreadable(
            QuarantineReason.NOT_CLOUDEVENT, "the header ce_specversion is not 1.0"
        )
    _expect_type(topic, headers["ce_type"].decode())
    try:
        time = _TIME.decode(b'"' + headers["ce_time"] + b'"')
    except msgspec.MsgspecError:
        raise EventUnreadable(
            QuarantineReason.INVALID_DATA, "the header ce_time is no RFC 3339 time with a zone"
        ) from None
    subject = headers.get("ce_subject")
    return value, time, subject.decode() if subject is not None else None


def _expect_type(topic: str, found: str) -> None:
    if found != _TYPES[topic]:
        raise EventUnreadable(
            QuarantineReason.UNKNOWN_TYPE,
            f"the type is not {_TYPES[topic]}, the one this topic has",
        )


def _subject_of(data: Data) -> tuple[str, ...]:
    if isinstance(data, GradeChanged):
        return data.district_id, data.assessment_id, data.class_id, data.student_id
    if isinstance(data, AssessmentChanged):
        return data.district_id, data.assessment_id, data.class_id
    return data.district_id, data.teacher_id


def _expect_ids(data: Data, ids: Sequence[str]) -> None:
    """The models' first fields are the key's ids, in its order."""
    for field, one in zip(data.__struct_fields__, ids, strict=False):
        if not _ID.fullmatch(one):
            raise EventUnreadable(
                QuarantineReason.INVALID_DATA,
                f"Expected `str` without / and control characters - at `$.{field}`",
            )


def _checked(data: Data) -> Data:
    """What the types alone cannot say: bounded numbers, instants that every zone can hold."""
    if isinstance(data, GradeChanged):
        _number(data.score, "score")
    elif isinstance(data, AssessmentChanged):
        _number(data.points_possible, "points_possible")
        return msgspec.structs.replace(
            data,
            title=normalised_title(data.title),
            assigned_at=_instant(data.assigned_at, "assigned_at"),
            due_at=None if data.due_at is None else _instant(data.due_at, "due_at"),
        )
    return data


def _number(value: Decimal | None, field: str) -> None:
    # Nearly every score is whole; to take a number apart costs ten times as much.
    if value is None or (value.same_quantum(_WHOLE) and value.adjusted() <= _DIGITS):
        return
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise EventUnreadable(QuarantineReason.INVALID_DATA, f"{field} is not a finite number")
    if not -_DIGITS <= exponent <= _DIGITS or value.adjusted() > _DIGITS:
        raise EventUnreadable(
            QuarantineReason.INVALID_DATA, f"{field} has more than {_DIGITS} digits"
        )


# ``Decimal`` reads 8_5 as 85, and digits of every script; in JSON these are no numbers. The
# pattern finds what may be one of them, perhaps in a field that is not ours.
_DECIMALS: Final = {GRADE_CHANGED: "score", ASSESSMENT_CHANGED: "points_possible"}
_LOOSE_NUMBERS: Final = {
    topic: re.compile(rb'"%b"\s*:\s*"[^"]*[^-+.eE0-9 "]' % field.encode())
    for topic, field in _DECIMALS.items()
}
_NUMBER: Final = re.compile(r" *[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)? *")


class _Numbers(msgspec.Struct):
    score: object = None
    points_possible: object = None


_NUMBERS: Final = msgspec.json.Decoder(_Numbers)


def _expect_number(raw: msgspec.Raw | bytes, field: str) -> None:
    value = getattr(_NUMBERS.decode(raw), field)
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise EventUnreadable(QuarantineReason.INVALID_DATA, f"{field} is not a finite number")


def _instant(value: datetime, field: str) -> datetime:
    if value.tzinfo is UTC and _FIRST <= value < _END:
        return value
    if value.year not in _YEARS:
        raise EventUnreadable(QuarantineReason.INVALID_DATA, f"{field} is in no year of ours")
    return value.astimezone(UTC)


def _without_values(error: msgspec.ValidationError) -> str:
    # msgspec names the path and the type; only an unknown word of a closed list is quoted.
    return _QUOTED.sub("an unknown word - at", str(error))


# The word may hold anything, " - at" too: the path after it begins last.
_QUOTED: Final = re.compile(r"Invalid enum value .* - at")

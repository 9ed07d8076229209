"""What an answer to a request means for us: any status, any headers, any body -> ``Answer``.

Skyward's own words are read to find the reason and then forgotten, for they may hold a
student's name: ``detail`` is ours, with at most a day or the category that we sent.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from consumer.gradebook import Kind, Outcome, Reason, Scope
from consumer.oneroster.reading import document

LONGEST_PAUSE: Final = 300.0
"""Seconds: the longest that a Retry-After is honoured."""

_LONGEST_TEXT: Final = 4096
_MOST_NODES: Final = 2000
_DEEPEST: Final = 12


class Operation(StrEnum):
    """What was asked, as far as the meaning of an answer depends on it."""

    PUT_LINE_ITEM = "put_line_item"
    PUT_RESULT = "put_result"
    DELETE_LINE_ITEM = "delete_line_item"
    DELETE_RESULT = "delete_result"
    READ = "read"


_ENVELOPE: Final = {Operation.PUT_LINE_ITEM: "lineItem", Operation.PUT_RESULT: "result"}
_DELETES: Final = (Operation.DELETE_LINE_ITEM, Operation.DELETE_RESULT)


@dataclass(frozen=True, slots=True)
class Answer:
    """``retry_after`` is in seconds, at most ``LONGEST_PAUSE``; None where none was given."""

    outcome: Outcome
    retry_after: float | None = None


@dataclass(slots=True)
class _Failure:
    """What a body says of itself; all normalised, ``text`` only to be searched in."""

    failed: bool = False
    minors: set[str] = field(default_factory=set)
    text: str = ""


_POSTED: Final = {
    status: Answer(Outcome(kind=Kind.POST, status=status)) for status in range(200, 300)
}


def read_answer(
    operation: Operation,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    sourced_id: str = "",
    category: str = "",
) -> Answer:
    """Classifies one answer; never raises.

    ``headers`` are asked by lower-case names. ``now`` stands in where the answer has no Date
    of its own. ``sourced_id`` is the id that was written, ``category`` the one it named.
    """
    if status in _POSTED:
        if operation is Operation.READ:
            return _web_page(status) if _is_web_page(body) else _POSTED[status]
        if not body or status == 204:
            return _POSTED[status]
        return _stored(operation, status, headers, body, now, sourced_id, category)
    return _refused(operation, status, status, headers, body, now, category)


def _stored(
    operation: Operation,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    sourced_id: str,
    category: str,
) -> Answer:
    """A 2xx with a body: the entity, an id pair, or a failure all the same."""
    if _is_web_page(body):
        return _web_page(status)
    found = document(body)
    if found is None and status != 201 and body.strip() != b"null":
        return _unavailable(status, "answered with something that is not JSON")
    envelope = _ENVELOPE.get(operation, "")
    if isinstance(found, dict) and not (len(found) == 1 and envelope in found):
        failure = _failure_in(found)
        if failure.failed:
            meant = _meant_by(failure.minors) or 400
            return _refused(operation, status, meant, headers, body, now, category)
    allocated = _allocated(found, envelope, sourced_id)
    if allocated is None:
        return _POSTED[status]
    return Answer(Outcome(kind=Kind.POST, status=status, allocated_id=allocated))


def _refused(
    operation: Operation,
    status: int,
    meant: int,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    category: str,
) -> Answer:
    """``status`` is what was said, ``meant`` what it comes to by the body."""
    if 300 <= meant < 400:
        return _district(
            status,
            Reason.SKYWARD_UNAVAILABLE,
            "Skyward answered with a redirect to another address; check base_url",
        )
    failure = _failure_in(document(body)) if body else _Failure()
    if meant in (400, 422) or meant >= 500:
        meant = _meant_by(failure.minors, definite=meant >= 500) or meant
    if meant == 401:
        return _district(
            status, Reason.CREDENTIALS_REFUSED, "Skyward refused the access token of this district"
        )
    if meant == 429:
        detail = "Skyward asked to slow down"
        return _deferred(status, Reason.THROTTLED, detail, _retry_after(headers, now))
    if meant in (403, 405, 501):
        detail = "Skyward refused the right to do this; check the licence and the scopes"
        return _rejected(status, Reason.FORBIDDEN, detail, Scope.CLASS)
    if meant < 400 or meant in (408, 425) or meant >= 500:
        what = f"answered {status}" if status >= 400 else f"answered {status} with a failure"
        answer = _unavailable(status, what)
        return Answer(answer.outcome, _retry_after(headers, now))
    if meant in (404, 410):
        if operation in _DELETES:
            return Answer(Outcome(kind=Kind.POST, status=status))
        if operation is not Operation.READ and _is_web_page(body):
            detail = "answered 404 with a web page; check base_url and path_style"
            return _unavailable(status, detail, unknown=False)
    if not failure.text and not failure.minors and not _is_web_page(body):
        failure.text = _words(body[:_LONGEST_TEXT].decode("utf-8", "replace"))
    if meant in (404, 410):
        failure.minors.add(_UNKNOWN_OBJECT)
    return _by_words(operation, status, meant, failure, category)


def _by_words(
    operation: Operation, status: int, meant: int, failure: _Failure, category: str
) -> Answer:
    """The item itself was refused: which part of it, by the words of the refusal."""
    text = failure.text
    unknown = _UNKNOWN_OBJECT in failure.minors or bool(_UNKNOWN.search(text))
    period, named = _period_in(text), _CATEGORY.search(text)
    first = named is not None and (period is None or named.start() < period)
    if first and operation is Operation.PUT_LINE_ITEM:
        which = f" {category}" if category else ""
        return _rejected(status, Reason.CATEGORY_REFUSED, f"Skyward refused the category{which}")
    if period is not None and operation is not Operation.READ:
        return _rejected(
            status,
            Reason.REFUSED_GRADING_PERIOD,
            f"Skyward holds the grading period of these dates closed{_day_in(text)}",
        )
    if unknown and operation is Operation.PUT_RESULT:
        line_item, student = _LINE_ITEM.search(text), _STUDENT.search(text)
        if student and (_ENROLLED.search(text) or not line_item or student.end() < line_item.end()):
            return _rejected(
                status, Reason.STUDENT_UNKNOWN, "Skyward does not know the student in this class"
            )
        if line_item or (meant in (404, 410) and not _CLASS.search(text)):
            return _deferred(
                status, Reason.LINE_ITEM_FAILED, "Skyward does not know the line item any more"
            )
    concerns_class = _CLASS.search(text) is not None
    if meant in (404, 410) and not _SCHOOL.search(text):
        concerns_class = True
    if unknown and concerns_class and operation in _ENVELOPE:
        return _rejected(status, Reason.CLASS_UNKNOWN, "Skyward does not know the class")
    if meant in (409, 412, 423):
        return _rejected(status, Reason.LOCKED, "Skyward holds the record locked")
    return _rejected(status, Reason.REFUSED_BY_SKYWARD, f"Skyward refused it ({status})")


def _rejected(status: int, reason: Reason, detail: str, scope: Scope = Scope.ITEM) -> Answer:
    return Answer(Outcome(Kind.REJECT, reason, detail, scope, status))


def _deferred(status: int, reason: Reason, detail: str, retry_after: float | None = None) -> Answer:
    return Answer(Outcome(Kind.DEFER, reason, detail, Scope.ITEM, status), retry_after)


def _district(status: int, reason: Reason, detail: str) -> Answer:
    return Answer(Outcome(Kind.DEFER, reason, detail, Scope.DISTRICT, status))


def _unavailable(status: int, what: str, *, unknown: bool = True) -> Answer:
    return Answer(
        Outcome(
            Kind.DEFER,
            Reason.SKYWARD_UNAVAILABLE,
            f"Skyward {what}",
            Scope.ITEM,
            status,
            unknown=unknown,
        )
    )


def _web_page(status: int) -> Answer:
    return _unavailable(status, "answered with a web page, perhaps a login; check base_url")


# --- what a failure says ------------------------------------------------------------------

_UNKNOWN_OBJECT: Final = "unknownobject"
_MEANT: Final = {
    "unauthorisedrequest": 401,
    "unauthorised": 401,
    "forbidden": 403,
    "unsupported": 501,
    "unsupportedoperation": 501,
    "serverbusy": 429,
    "internalservererror": 500,
    "linkfailure": 500,
    "targetreadfailure": 500,
    _UNKNOWN_OBJECT: 404,
    "invaliddata": 400,
}
_DEFINITE: Final = (_UNKNOWN_OBJECT, "invaliddata")
"""What stands even beside a 5xx: the server looked at this item and said no."""

_MAJOR: Final = frozenset({"codemajor"})
_MINOR: Final = frozenset({"codeminor", "codeminorfieldvalue", "codeminorvalue"})
_SAID: Final = frozenset(
    {"description", "message", "error", "errordescription", "detail", "details", "title"}
    | {"reason", "field", "fieldname", "codeminorfieldname", "errormessage", "exceptionmessage"}
)
_ERRORS: Final = frozenset({"errors", "error", "modelstate", "validationerrors", "fault"})


def _normalised(word: str) -> str:
    """Minor codes and keys differ by spaces, underscores, case and spelling."""
    bare = "".join(c for c in word[:_LONGEST_TEXT].casefold() if c.isalnum())
    return bare.removeprefix("imsx").replace("authoriz", "authoris")


def _meant_by(minors: set[str], *, definite: bool = False) -> int | None:
    for minor, status in _MEANT.items():
        if minor in minors and (not definite or minor in _DEFINITE):
            return status
    return None


def _failure_in(found: Any) -> _Failure:
    failure = _Failure()
    said: list[str] = []
    length = 0
    for key, value in _leaves(found):
        if key in _MAJOR and _normalised(value) in ("failure", "unsupported"):
            failure.failed = True
            failure.minors.add(_normalised(value))
        elif key in _MINOR:
            failure.minors.add(_normalised(value))
        elif key in _SAID and length < _LONGEST_TEXT:
            said.append(value[:_LONGEST_TEXT])
            length += len(value)
    if isinstance(found, dict):
        failure.failed |= any(bool(found[key]) for key in found if _normalised(key) in _ERRORS)
        failure.failed |= found.get("success") is False
    failure.text = _words(" ; ".join(said)[:_LONGEST_TEXT])
    return failure


def _leaves(found: Any) -> Iterator[tuple[str, str]]:
    """Every text with the normalised key that it stands under, breadth bounded.

    Below a list of errors by field, the fields' names count as something said, too.
    """
    left = _MOST_NODES
    stack: list[tuple[str, Any, bool, int]] = [("", found, False, 0)]
    while stack and left:
        left -= 1
        key, value, errors, depth = stack.pop()
        if isinstance(value, str):
            yield ("message" if errors and key not in _MINOR else key), value
        elif depth < _DEEPEST and isinstance(value, dict):
            for name, inner in list(value.items())[:left]:
                if errors:
                    yield "field", name
                normal = _normalised(name)
                stack.append((normal, inner, errors or normal in _ERRORS, depth + 1))
        elif depth < _DEEPEST and isinstance(value, list):
            stack.extend((key, inner, errors, depth + 1) for inner in value[:left])


def _words(text: str) -> str:
    """lineItem.gradingPeriod_id -> line item.grading period id."""
    return _CAMEL.sub(" ", text).replace("_", " ").lower()


_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_UNKNOWN: Final = re.compile(
    r"\b(?:not (?:be )?found|unknown|not exist|doesn'?t exist|no such|cannot find|could not find"
    r"|not (?:currently |actively )?(?:enrolled|a member|active)|inactive|no longer|dropped"
    r"|withdrawn|unrecogni[sz]ed"
    r"|invalid (?:sourced ?id|student|user|class|section|line ?item))\b"
)
_PERIOD: Final = re.compile(
    r"\b(?:grading|marking|reporting) ?(?:period|term)|\bacademic ?session|\bposting window"
)
_PERIOD_SHUT: Final = re.compile(r"\b(?:period|term|window|quarter|semester|trimester)s?\b")
_DATE: Final = re.compile(r"\b(?:due|assign|assigned) ?date")
_SHUT: Final = re.compile(
    r"\b(?:closed|locked|ended|outside|not within|not in|not open|straddles?|in the past|expired)\b"
)
_CATEGORY: Final = re.compile(r"\bcategor(?:y|ies)\b")
_CLASS: Final = re.compile(r"\b(?:class|section|course)\b")
_SCHOOL: Final = re.compile(r"\b(?:school|org|organi[sz]ation)\b")
_STUDENT: Final = re.compile(r"\b(?:student|user|person|learner|pupil)\b|\benrol")
_ENROLLED: Final = re.compile(r"\benrol")
_LINE_ITEM: Final = re.compile(r"\b(?:line ?item|assignment|assessment)s?\b")
_DAY: Final = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)", re.ASCII)


def _period_in(text: str) -> int | None:
    """Where the text speaks of a grading period or of dates that are shut; None if it does not."""
    found = [_PERIOD.search(text)]
    if _SHUT.search(text):
        found += [_PERIOD_SHUT.search(text), _DATE.search(text)]
    return min((match.start() for match in found if match), default=None)


def _day_in(text: str) -> str:
    found = _DAY.search(text)
    try:
        return f" ({date.fromisoformat(found.group()).isoformat()})" if found else ""
    except ValueError:
        return ""


def _is_web_page(body: bytes) -> bool:
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _allocated(found: Any, envelope: str, sourced_id: str) -> str | None:
    """The sourcedId that the server chose instead of ours."""
    if not isinstance(found, dict) or not sourced_id:
        return None
    pairs = found.get("sourcedIdPairs") or found.get("sourcedIdPair") or found
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if isinstance(pair, dict) and pair.get("suppliedSourcedId") == sourced_id:
            return _other(pair.get("allocatedSourcedId"), sourced_id)
    entity = found.get(envelope)
    return _other(entity.get("sourcedId"), sourced_id) if isinstance(entity, dict) else None


def _other(allocated: object, sourced_id: str) -> str | None:
    if not isinstance(allocated, str) or allocated == sourced_id:
        return None
    return allocated if 0 < len(allocated) <= 255 and allocated.isprintable() else None


# --- Retry-After --------------------------------------------------------------------------

_SECONDS: Final = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    said = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(said):
        return min(float(said), LONGEST_PAUSE)
    until = _http_date(said)
    if until is None:
        return None
    since = _http_date(headers.get("date", "")) or now
    return min(max((until - since).total_seconds(), 0.0), LONGEST_PAUSE)


def _http_date(said: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(said[:100]) if said else None
        if found is None:
            return None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None

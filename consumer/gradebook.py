"""The nouns. *Assessment* and *grade* are what Otus says; *line item* and *result* are what
Skyward is told; a *decision* is ours, an *outcome* is theirs.

Frozen values without I/O. Instants are aware datetimes in UTC unless a field says
otherwise; scores are ``Decimal``, never binary floats. What is made for each grade is a msgspec
Struct, which is made ten times as fast as a frozen dataclass; none is part of a cycle, so the
garbage collector need not look at them (``gc=False``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha1
from typing import Final, NamedTuple, Self
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct


class Kind(StrEnum):
    """What a decision or an outcome comes to.

    ``hold``: it will be decided later by itself. ``defer``: Skyward or we could not; next run.
    """

    POST = "post"
    SKIP = "skip"
    HOLD = "hold"
    REJECT = "reject"
    DEFER = "defer"


class Reason(StrEnum):
    """Why a grade did not pass: one closed set, the label of metrics and the word in reports.

    Members may be added, never renamed. ``kind`` is what the reason comes to.
    """

    kind: Kind

    def __new__(cls, code: str, kind: Kind) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.kind = kind
        return member

    STANDARDS_BASED = "standards_based", Kind.SKIP
    SCORE_NOT_WHOLE = "score_not_whole", Kind.SKIP
    NAME_TOO_LONG = "name_too_long", Kind.SKIP
    NAME_EMPTY = "name_empty", Kind.SKIP
    NOT_IN_FINAL_GRADE = "not_in_final_grade", Kind.SKIP
    NOT_GRADED = "not_graded", Kind.SKIP
    EXCLUDED = "excluded", Kind.SKIP
    EXCUSED = "excused", Kind.SKIP
    ASSIGNER_NOT_IN_GROUP = "assigner_not_in_group", Kind.SKIP
    ASSIGNER_NOT_IN_SIS = "assigner_not_in_sis", Kind.SKIP
    BEFORE_EFFECTIVE_DATE = "before_effective_date", Kind.SKIP
    GRADING_PERIOD_CLOSED = "grading_period_closed", Kind.SKIP
    GRADING_PERIOD_UNKNOWN = "grading_period_unknown", Kind.SKIP
    CATEGORY_UNMAPPED = "category_unmapped", Kind.SKIP
    CATEGORY_NOT_DISTRICT_LEVEL = "category_not_district_level", Kind.SKIP
    CATEGORY_INACTIVE = "category_inactive", Kind.SKIP
    STUDENT_NOT_ASSIGNED = "student_not_assigned", Kind.SKIP
    UNASSIGNED = "unassigned", Kind.SKIP
    DELETED = "deleted", Kind.SKIP
    SCORE_INVALID = "score_invalid", Kind.SKIP
    POINTS_POSSIBLE_INVALID = "points_possible_invalid", Kind.SKIP
    ZERO_NOT_ALLOWED = "zero_not_allowed", Kind.SKIP
    DIVERGED = "diverged", Kind.SKIP

    ASSESSMENT_UNKNOWN = "assessment_unknown", Kind.HOLD
    DUE_DATE_MISSING = "due_date_missing", Kind.HOLD
    NOT_DUE_YET = "not_due_yet", Kind.HOLD
    EVENT_QUARANTINED = "event_quarantined", Kind.HOLD
    OVER_POINTS_POSSIBLE = "over_points_possible", Kind.HOLD
    ZEROS_HELD = "zeros_held", Kind.HOLD
    INTAKE_BEHIND = "intake_behind", Kind.HOLD
    DISTRICT_PAUSED = "district_paused", Kind.HOLD
    EFFECTIVE_DATE_IN_FUTURE = "effective_date_in_future", Kind.HOLD
    CHANGED_IN_SKYWARD = "changed_in_skyward", Kind.HOLD

    REFUSED_BY_SKYWARD = "refused_by_skyward", Kind.REJECT
    REFUSED_GRADING_PERIOD = "refused_grading_period", Kind.REJECT
    CLASS_UNKNOWN = "class_unknown", Kind.REJECT
    STUDENT_UNKNOWN = "student_unknown", Kind.REJECT
    CATEGORY_REFUSED = "category_refused", Kind.REJECT
    FORBIDDEN = "forbidden", Kind.REJECT
    LOCKED = "locked", Kind.REJECT

    LICENCE_MISSING = "licence_missing", Kind.DEFER
    CREDENTIALS_REFUSED = "credentials_refused", Kind.DEFER
    USE_GRADE_SETTING_ON = "use_grade_setting_on", Kind.DEFER
    SKYWARD_UNAVAILABLE = "skyward_unavailable", Kind.DEFER
    THROTTLED = "throttled", Kind.DEFER
    LINE_ITEM_FAILED = "line_item_failed", Kind.DEFER
    WINDOW_OVER = "window_over", Kind.DEFER


REASONS: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}
"""A reason by its code."""


class State(StrEnum):
    """Where a grade stands. A held or deferred one stays ``pending``."""

    PENDING = "pending"
    POSTED = "posted"
    REJECTED = "rejected"
    SKIPPED = "skipped"


STATE_OF: Final[Mapping[Kind, State]] = {
    Kind.POST: State.POSTED,
    Kind.SKIP: State.SKIPPED,
    Kind.HOLD: State.PENDING,
    Kind.REJECT: State.REJECTED,
    Kind.DEFER: State.PENDING,
}


class Origin(StrEnum):
    """Who gave a posted value: a teacher, or the clock (a zero for work not submitted)."""

    TEACHER = "teacher"
    CLOCK = "clock"


class ScoreStatus(StrEnum):
    """OneRoster's ``scoreStatus``, as far as we send it."""

    FULLY_GRADED = "fully graded"
    NOT_SUBMITTED = "not submitted"
    EXEMPT = "exempt"


class Completion(StrEnum):
    """Otus: how far the student and the teacher are."""

    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    TURNED_IN = "turned_in"
    GRADED = "graded"


class Submission(StrEnum):
    """Otus: the submission status; each may be set by hand."""

    ON_TIME = "on_time"
    LATE = "late"
    MISSING = "missing"
    EXCUSED = "excused"
    EXCLUDED = "excluded"


class AssessmentStatus(StrEnum):
    """Otus: whether the assessment still stands."""

    ACTIVE = "active"
    UNASSIGNED = "unassigned"
    DELETED = "deleted"


class ItemKey(NamedTuple):
    """One assessment in one class: what becomes one line item."""

    assessment_id: str
    class_id: str


class GradeKey(NamedTuple):
    """One student's grade in one assessment of one class: what becomes one result."""

    assessment_id: str
    class_id: str
    student_id: str

    @property
    def item(self) -> ItemKey:
        return ItemKey(self.assessment_id, self.class_id)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The newest that Otus says of one assessment in one class.

    ``assignees`` maps the Otus student id to Skyward's sourcedId; ``changed_at`` is the
    newest event's ``time``.
    """

    key: ItemKey
    version: int
    title: str
    type: str
    format: str
    grading_scale: str
    points_possible: Decimal | None
    include_in_final_grade: bool
    assigner_id: str
    assigner_in_sis: bool
    assigned_at: datetime
    due_at: datetime | None
    status: AssessmentStatus
    class_sourced_id: str
    school_sourced_id: str
    assignees: Mapping[str, str]
    changed_at: datetime


class Grade(Struct, frozen=True, gc=False):
    """The newest that Otus says of one student's grade.

    ``version`` is None where no grade event ever came: only the clock asks about such a one.
    """

    version: int | None
    score: Decimal | None
    completion: Completion
    submission: Submission | None


NO_EVENT: Final = Grade(
    version=None, score=None, completion=Completion.NOT_STARTED, submission=None
)


@dataclass(frozen=True, slots=True)
class Membership:
    """A teacher's place in the district's Skyward Grade Passback Teacher Group.

    ``joined_at`` is None for one who counts as joined before all time (the district file).
    """

    member: bool
    joined_at: datetime | None


class Sent(Struct, frozen=True, gc=False):
    """What Skyward acknowledged of a grade last; absent means it was never told."""

    score: Decimal | None
    score_status: ScoreStatus
    origin: Origin


class LineItem(Struct, frozen=True, gc=False):
    """OneRoster's lineItem as we send it.

    ``assign_date`` and ``due_date`` are aware in the district's own zone: Skyward reads the
    day from them, and 23:59 on a period's last day is the next day in UTC.
    """

    sourced_id: str
    title: str
    assign_date: datetime
    due_date: datetime
    class_sourced_id: str
    school_sourced_id: str
    category_sourced_id: str
    grading_period_sourced_id: str
    result_value_max: Decimal
    modified_at: datetime


class Result(Struct, frozen=True, gc=False):
    """OneRoster's result as we send it. ``score`` is None only when exempt.

    ``score_date`` is aware in the district's own zone.
    """

    sourced_id: str
    line_item_sourced_id: str
    student_sourced_id: str
    score: Decimal | None
    score_status: ScoreStatus
    score_date: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class AcademicSession:
    """OneRoster's academicSession; both days inclusive."""

    sourced_id: str
    type: str
    active: bool
    start: date
    end: date
    parent: str | None


class Decision(Struct, frozen=True, gc=False):
    """What we make of one grade.

    For ``post``: the value, and ``send`` is False where Skyward holds exactly that already.
    For every other kind: ``reason`` and, in our own words, ``detail``. A diverged grade may
    carry a withdrawal: ``score_status`` exempt to send, or ``delete``.
    """

    kind: Kind
    reason: Reason | None = None
    detail: str = ""
    score: Decimal | None = None
    score_status: ScoreStatus | None = None
    origin: Origin | None = None
    send: bool = False
    delete: bool = False


class Scope(StrEnum):
    """Whom an answer concerns: who must stop."""

    ITEM = "item"
    CLASS = "class"
    DISTRICT = "district"


class Outcome(Struct, frozen=True, gc=False):
    """What became of one request that writes.

    ``kind`` is post, reject or defer. ``detail`` is in our own words: Skyward's may hold a
    student's name. ``allocated_id`` is the sourcedId that the server chose instead of ours.
    ``unknown`` is True where the write may have been stored although no answer said so.
    ``status`` is the HTTP status of the last answer, None where there was none.
    """

    kind: Kind
    reason: Reason | None = None
    detail: str = ""
    scope: Scope = Scope.ITEM
    status: int | None = None
    allocated_id: str | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run: the log line, the metrics, the commands and the stored row are made from it.

    ``results`` counts grades by posted, rejected, skipped, held and deferred; ``reasons``
    counts them by reason code; ``stopped_by`` is the one that ended a deferred run early.
    ``titles_kept`` counts line items whose title grew too long after they were posted.
    """

    district_id: str
    service_date: date
    kind: str
    cutoff_at: datetime
    started_at: datetime
    finished_at: datetime | None
    state: str
    line_items_posted: int = 0
    line_items_rejected: int = 0
    titles_kept: int = 0
    results: Mapping[str, int] = field(default_factory=dict)
    zeros_posted: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    stopped_by: str | None = None


_IDS: Final = uuid5(NAMESPACE_URL, "https://passback.otus/ids").bytes


def line_item_id(district_id: str, key: ItemKey) -> str:
    """The sourcedId of a line item: from Otus' ids alone, so that a repeated PUT is harmless."""
    return _id(f"lineItem/{district_id}/{key.assessment_id}/{key.class_id}")


def result_id(district_id: str, key: GradeKey) -> str:
    """The sourcedId of a result: from Otus' ids alone, so that a repeated PUT is harmless."""
    return _id(f"result/{district_id}/{'/'.join(key)}")


def probe_ids(district_id: str, class_sourced_id: str) -> tuple[str, str]:
    """The sourcedIds of a class's test line item and its result; no assessment has them."""
    where = f"{district_id}/{class_sourced_id}"
    return _id(f"probe/lineItem/{where}"), _id(f"probe/result/{where}")


def _id(name: str) -> str:
    """``str(uuid5(namespace, name))``, without the class UUID, which takes three times as long."""
    digest = bytearray(sha1(_IDS + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

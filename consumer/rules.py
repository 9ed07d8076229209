"""Whether and what: one grade, with all that its decision uses, becomes one ``Decision``.

Pure, and told the time. ``RULES`` is the one table: the rules of the admin guide in the order
in which they are asked; the first that fails names the reason. A rule is one function that
answers None where it passes and says, in our words and without names or scores, why where it
does not. ``frame`` asks what all grades of a line item share once, ``decide`` asks the rest
for each grade, ``verdicts`` asks everything for a person who wants to know.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from consumer.district import AssignPlusDays, District
from consumer.gradebook import (
    NO_EVENT,
    AcademicSession,
    Assessment,
    AssessmentStatus,
    Completion,
    Decision,
    Grade,
    Kind,
    Membership,
    Origin,
    Reason,
    ScoreStatus,
    Sent,
    Submission,
)
from consumer.periods import closed_period_between, period_of

NAME_LIMIT: Final = 50
"""Rule 3: a name must be shorter than this many code points."""

_ZERO: Final = Decimal(0)


class ZeroRuling(StrEnum):
    """What an operator decided about a zero that the breaker held."""

    RELEASED = "released"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Tonight:
    """What every grade of one run shares. ``today`` is the service date.

    ``intake_caught_up``: everything that Kafka held at the cutoff is in the store.
    ``zeros_held``: the breaker tripped tonight.
    """

    district: District
    cutoff_at: datetime
    today: date
    intake_caught_up: bool
    zeros_held: bool = False


@dataclass(frozen=True, slots=True)
class Categories:
    """The sourcedIds of active categories that Skyward lists.

    ``in_class`` is None where the server does not answer for classes: the district list decides.
    """

    district: frozenset[str]
    in_class: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Item:
    """One assessment in one class, with everything about it that a decision uses.

    ``in_skyward``: its line item was acknowledged. ``quarantined``: an unreadable event with
    the assessment's key waits. ``purged``: retention deleted its grades. ``periods`` are the
    class's, in order of their start.
    """

    tonight: Tonight
    assessment: Assessment | None
    membership: Membership
    periods: tuple[AcademicSession, ...]
    categories: Categories
    in_skyward: bool = False
    quarantined: bool = False
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """An item framed for tonight: its days in the district's zone and its first failing rule.

    ``due_at`` is the line item's due date (aware, in the district's zone), made from the
    assign date where Otus has none; ``due_moment`` is Otus' own and None then.
    ``period`` is the one that the due day lies in. ``failed_at`` is the index in ``RULES``.
    """

    item: Item
    assigned_at: datetime
    due_at: datetime
    due_moment: datetime | None
    changed_day: date
    period: AcademicSession | None
    failed_at: int
    failure: str

    @property
    def is_open(self) -> bool:
        """Whether every rule that is asked once an item passes."""
        return self.failed_at == _PASSED


class Case(Struct, frozen=True, gc=False):
    """One grade of a framed item.

    ``sent`` is what Skyward acknowledged last; ``quarantined``: an unreadable event with this
    grade's key waits. ``held``: the breaker held its zero, and nobody has ruled on it.
    """

    frame: Frame
    student_id: str
    grade: Grade
    sent: Sent | None = None
    quarantined: bool = False
    zero_ruling: ZeroRuling | None = None
    held: bool = False


class Asked(StrEnum):
    """Of what a rule is asked: of every grade, once an item, or only of some grades."""

    ITEM = "item"
    GRADE = "grade"
    UNGRADED = "ungraded"
    GRADED = "graded"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the guide. ``claim`` is what holds where it passes; ``number`` the guide's."""

    code: Reason
    asked: Asked
    number: int | None
    claim: str
    check: Callable[["Case"], str | None]


# -- asked once an item ---------------------------------------------------------------------


def _assessment(case: Case) -> Assessment:
    assessment = case.frame.item.assessment
    assert assessment is not None  # the first rule fails where it is unknown
    return assessment


def _unknown(case: Case) -> str | None:
    return (
        "no assessment-changed event has come for it yet"
        if case.frame.item.assessment is None
        else None
    )


def _deleted(case: Case) -> str | None:
    deleted = _assessment(case).status is AssessmentStatus.DELETED
    return "the assessment was deleted in Otus" if deleted else None


def _unassigned(case: Case) -> str | None:
    unassigned = _assessment(case).status is AssessmentStatus.UNASSIGNED
    return "the assessment was unassigned from the class in Otus" if unassigned else None


def _student_not_assigned(case: Case) -> str | None:
    if case.student_id in _assessment(case).assignees:
        return None
    return "the student is not, or no longer, among the assignees"


def _standards_based(case: Case) -> str | None:
    standards = _assessment(case).grading_scale != "points"
    return "it is graded by standards, not by points" if standards else None


def _points_possible_invalid(case: Case) -> str | None:
    points = _assessment(case).points_possible
    return "points possible is missing, 0 or less" if points is None or points <= 0 else None


def _not_in_final_grade(case: Case) -> str | None:
    included = _assessment(case).include_in_final_grade
    return None if included else '"Include Score in Final Grade" is off'


def _assigner_not_in_sis(case: Case) -> str | None:
    if _assessment(case).assigner_in_sis:
        return None
    return "it was assigned by an Otus administrator who is not in the SIS"


def _assigner_not_in_group(case: Case) -> str | None:
    if case.frame.item.membership.member:
        return None
    return "the user who assigned it is not in the Skyward Grade Passback Teacher Group"


def _name_empty(case: Case) -> str | None:
    return None if _assessment(case).title else "its name is empty"


def _name_too_long(case: Case) -> str | None:
    # An item that stands in Skyward keeps its old title there, and its scores go on.
    length = len(_assessment(case).title)
    if length < NAME_LIMIT or case.frame.item.in_skyward:
        return None
    return f"its name has {length} characters; 49 is the most that passes"


def _category_of(case: Case) -> str | None:
    return case.frame.item.tonight.district.categories.get(_assessment(case).type)


def _category_unmapped(case: Case) -> str | None:
    if _category_of(case) is not None:
        return None
    return f"the type {_assessment(case).type!r} is mapped to no Skyward category"


def _category_not_district_level(case: Case) -> str | None:
    lists, category = case.frame.item.categories, _category_of(case)
    if category is None:
        return "no category is mapped that could be asked about"
    if category in lists.district or lists.in_class is None or category not in lists.in_class:
        return None
    return f"category {category} is known to the class only, not to the district"


def _category_inactive(case: Case) -> str | None:
    lists, category = case.frame.item.categories, _category_of(case)
    if category is None:
        return "no category is mapped that could be asked about"
    active = category in (lists.district if lists.in_class is None else lists.in_class)
    if active or case.frame.item.in_skyward:
        return None
    if category in lists.district:
        return f"category {category} is not active in the class's gradebook"
    return f"Skyward lists no active category {category}"


def _due_date_missing(case: Case) -> str | None:
    holds = case.frame.item.tonight.district.rules.due_date_missing == "hold"
    return "it has no due date" if holds and case.frame.due_moment is None else None


def _effective_date_in_future(case: Case) -> str | None:
    tonight = case.frame.item.tonight
    if tonight.district.effective_date <= tonight.today:
        return None
    return f"the district's effective date is {tonight.district.effective_date}"


def _before_effective_date(case: Case) -> str | None:
    effective = case.frame.item.tonight.district.effective_date
    assigned = case.frame.assigned_at.date()
    if assigned >= effective or case.frame.changed_day >= effective:
        return None
    return (
        f"assigned {assigned} and last changed {case.frame.changed_day},"
        f" both before the effective date {effective}"
    )


def _grading_period_unknown(case: Case) -> str | None:
    if case.frame.period is not None:
        return None
    return f"the due day {case.frame.due_at.date()} lies in no grading period of the class"


def _grading_period_closed(case: Case) -> str | None:
    frame = case.frame
    days = sorted((frame.assigned_at.date(), frame.due_at.date()))
    closed = closed_period_between(days[0], days[1], frame.item.periods, frame.item.tonight.today)
    if closed is None:
        return None
    return f"from {days[0]} to {days[1]} it touches a period that closed after {closed.end}"


# -- asked of every grade -------------------------------------------------------------------


def _excluded(case: Case) -> str | None:
    excluded = case.grade.submission is Submission.EXCLUDED
    return "the score is marked Excluded" if excluded else None


def _excused(case: Case) -> str | None:
    excused = case.grade.submission is Submission.EXCUSED
    if excused and case.frame.item.tonight.district.rules.excused == "hold_back":
        return "the student is Excused"
    return None


# -- asked of a grade that is not graded ----------------------------------------------------


def _not_graded(case: Case) -> str | None:
    if case.grade.completion is Completion.TURNED_IN:
        return "it is turned in but not graded"
    return (
        "it carries a provisional score but is not graded" if case.grade.score is not None else None
    )


def _not_due_yet(case: Case) -> str | None:
    due = case.frame.due_moment
    if due is None:
        return "it is not submitted, and without a due date it never becomes a zero"
    if due <= case.frame.item.tonight.cutoff_at:
        return None
    return f"it is not submitted, and due {case.frame.due_at.isoformat(timespec='minutes')}"


def _zero_not_allowed(case: Case) -> str | None:
    item = case.frame.item
    district, due = item.tonight.district, case.frame.due_moment
    if case.zero_ruling is ZeroRuling.DISCARDED:
        return "discarded: an operator discarded the zeros that the breaker held"
    if item.purged:
        return "purged: retention deleted its grades, and with them who had one"
    if _assessment(case).format == "plus" and not district.zeros.plus:
        return "plus: a Plus assessment has no submission"
    if case.grade.completion is Completion.IN_PROGRESS and not district.zeros.in_progress:
        return "in_progress: it was begun, and the district makes no zero of that"
    if due is None or district.zeros.retroactive:
        return None
    if district.live_since is not None and case.frame.due_at.date() < district.live_since:
        return f"retroactive: it was due before the district went live on {district.live_since}"
    joined = item.membership.joined_at
    if joined is not None and due < joined:
        return "retroactive: it was due before the assigner joined the group"
    return None


def _event_quarantined(case: Case) -> str | None:
    if case.quarantined or case.frame.item.quarantined:
        return "an event that could not be read waits in quarantine; no zero may be made meanwhile"
    return None


def _intake_behind(case: Case) -> str | None:
    if case.frame.item.tonight.intake_caught_up:
        return None
    return "it is not certain that every event up to the cutoff was read"


def _zeros_held(case: Case) -> str | None:
    held = case.held or case.frame.item.tonight.zeros_held
    if not held or case.zero_ruling is ZeroRuling.RELEASED:
        return None
    return "too many zeros in one night: the breaker holds them until an operator decides"


# -- asked of a graded one ------------------------------------------------------------------


def _score_invalid(case: Case) -> str | None:
    score = case.grade.score
    if score is None:
        return "it is graded without a score"
    return "the score is negative" if score < 0 else None


def _over_points_possible(case: Case) -> str | None:
    score, points = case.grade.score, _assessment(case).points_possible
    holds = case.frame.item.tonight.district.rules.over_points_possible == "hold"
    if not holds or score is None or points is None or score <= points:
        return None
    return "the score is over the points possible"


def _score_not_whole(case: Case) -> str | None:
    if case.frame.item.tonight.district.rules.whole_number_rule == "points_possible":
        points = _assessment(case).points_possible
        return None if points is None or _is_whole(points) else "points possible is no whole number"
    score = case.grade.score
    return None if score is None or _is_whole(score) else "the score is no whole number"


def _is_whole(value: Decimal) -> bool:
    return value == value.to_integral_value()


_I, _G, _U, _S = Asked.ITEM, Asked.GRADE, Asked.UNGRADED, Asked.GRADED

RULES: Final[tuple[Rule, ...]] = (
    Rule(Reason.ASSESSMENT_UNKNOWN, _I, None, "the assessment is known", _unknown),
    Rule(Reason.DELETED, _I, None, "the assessment is not deleted", _deleted),
    Rule(Reason.UNASSIGNED, _I, None, "the assessment is assigned to the class", _unassigned),
    Rule(
        Reason.STUDENT_NOT_ASSIGNED, _G, None, "the student is an assignee", _student_not_assigned
    ),
    Rule(Reason.STANDARDS_BASED, _I, 1, "it is graded by points", _standards_based),
    Rule(
        Reason.POINTS_POSSIBLE_INVALID,
        _I,
        None,
        "points possible is above 0",
        _points_possible_invalid,
    ),
    Rule(
        Reason.NOT_IN_FINAL_GRADE,
        _I,
        4,
        '"Include Score in Final Grade" is on',
        _not_in_final_grade,
    ),
    Rule(Reason.ASSIGNER_NOT_IN_SIS, _I, 18, "the assigner is in the SIS", _assigner_not_in_sis),
    Rule(
        Reason.ASSIGNER_NOT_IN_GROUP, _I, 17, "the assigner is in the group", _assigner_not_in_group
    ),
    Rule(Reason.NAME_EMPTY, _I, None, "the assessment has a name", _name_empty),
    Rule(Reason.NAME_TOO_LONG, _I, 3, "the name is shorter than 50 characters", _name_too_long),
    Rule(Reason.CATEGORY_UNMAPPED, _I, 12, "the type is mapped to a category", _category_unmapped),
    Rule(
        Reason.CATEGORY_NOT_DISTRICT_LEVEL,
        _I,
        13,
        "the category is district-level",
        _category_not_district_level,
    ),
    Rule(
        Reason.CATEGORY_INACTIVE,
        _I,
        13,
        "the category is active in the class's gradebook",
        _category_inactive,
    ),
    Rule(Reason.DUE_DATE_MISSING, _I, None, "a due date is there or made", _due_date_missing),
    Rule(
        Reason.EFFECTIVE_DATE_IN_FUTURE,
        _I,
        15,
        "the effective date has come",
        _effective_date_in_future,
    ),
    Rule(
        Reason.BEFORE_EFFECTIVE_DATE,
        _I,
        15,
        "it was assigned or changed on or after the effective date",
        _before_effective_date,
    ),
    Rule(
        Reason.GRADING_PERIOD_UNKNOWN,
        _I,
        15,
        "the due day lies in a grading period",
        _grading_period_unknown,
    ),
    Rule(
        Reason.GRADING_PERIOD_CLOSED,
        _I,
        16,
        "no day of it lies in a closed grading period",
        _grading_period_closed,
    ),
    Rule(Reason.EXCLUDED, _G, 6, "the score is not marked Excluded", _excluded),
    Rule(Reason.EXCUSED, _G, None, "the student is not Excused", _excused),
    Rule(Reason.NOT_GRADED, _U, 5, "it is not turned in ungraded", _not_graded),
    Rule(Reason.NOT_DUE_YET, _U, 8, "the due date has passed", _not_due_yet),
    Rule(Reason.ZERO_NOT_ALLOWED, _U, 8, "the district allows this zero", _zero_not_allowed),
    Rule(
        Reason.EVENT_QUARANTINED, _U, None, "no event of it waits in quarantine", _event_quarantined
    ),
    Rule(Reason.INTAKE_BEHIND, _U, None, "every event up to the cutoff was read", _intake_behind),
    Rule(Reason.ZEROS_HELD, _U, None, "the breaker holds no zeros", _zeros_held),
    Rule(Reason.SCORE_INVALID, _S, None, "the score is a number of 0 or more", _score_invalid),
    Rule(
        Reason.OVER_POINTS_POSSIBLE,
        _S,
        None,
        "the score is not over the points possible, or may be",
        _over_points_possible,
    ),
    Rule(Reason.SCORE_NOT_WHOLE, _S, 2, "the number is whole", _score_not_whole),
)

_ITEM_RULES: Final = tuple((i, r) for i, r in enumerate(RULES) if r.asked is _I)
_PASSED: Final = len(RULES)
_STUDENT: Final = next(i for i, r in enumerate(RULES) if r.code is Reason.STUDENT_NOT_ASSIGNED)
_GRADE_RULES: Final = tuple(
    r for r in RULES if r.asked is _G and r.check is not _student_not_assigned
)
_GRADED_RULES: Final = tuple(r for r in RULES if r.asked is _S)
# A zero is a value too: under "whole points possible" it is asked whether its item's are whole.
_UNGRADED_RULES: Final = tuple(r for r in RULES if r.asked is _U) + (RULES[-1],)


def frame(item: Item) -> Frame:
    """Works out what all grades of ``item`` share, and its first failing rule."""
    tonight, assessment = item.tonight, item.assessment
    zone = tonight.district.zone
    if assessment is None:
        return Frame(
            item,
            assigned_at=tonight.cutoff_at,
            due_at=tonight.cutoff_at,
            due_moment=None,
            changed_day=tonight.today,
            period=None,
            failed_at=0,
            failure="no assessment-changed event has come for it yet",
        )
    assigned_at = assessment.assigned_at.astimezone(zone)
    due_at = _due_at(assessment, assigned_at, tonight.district)
    framed = Frame(
        item,
        assigned_at=assigned_at,
        due_at=due_at,
        due_moment=assessment.due_at,
        changed_day=assessment.changed_at.astimezone(zone).date(),
        period=period_of(due_at.date(), item.periods),
        failed_at=_PASSED,
        failure="",
    )
    case = Case(framed, "", NO_EVENT)
    for index, rule in _ITEM_RULES:
        failure = rule.check(case)
        if failure is not None:
            return replace(framed, failed_at=index, failure=failure)
    return framed


def _due_at(assessment: Assessment, assigned_at: datetime, district: District) -> datetime:
    if assessment.due_at is not None:
        return assessment.due_at.astimezone(assigned_at.tzinfo)
    rule = district.rules.due_date_missing
    days = rule.assign_plus_days if isinstance(rule, AssignPlusDays) else 7
    return assigned_at + timedelta(days=days)


def decide(case: Case) -> Decision:
    """The one decision about one grade tonight."""
    taken_back = _taken_back(case) if case.sent is not None else None
    if taken_back is not None:
        return _diverged(case, taken_back)
    failed = _first_failure(case)
    value = _value(case)
    if failed is None:
        assert value is not None  # every path that passes has one
        score, status, origin = value
        same = case.sent is not None and _is_same(case.sent, value)
        return Decision(Kind.POST, score=score, score_status=status, origin=origin, send=not same)
    code, detail = failed
    if case.sent is not None and value is not None and _is_same(case.sent, value):
        # A rule that begins to fail afterwards stops what is new, never what stands already.
        return Decision(Kind.POST, score=value[0], score_status=value[1], origin=case.sent.origin)
    return Decision(code.kind, code, detail)


def verdicts(case: Case) -> list[tuple[Rule, str | None]]:
    """Every rule that applies to the grade, in order, each with None or why it fails."""
    if case.frame.item.assessment is None:
        return [(RULES[0], case.frame.failure)]
    shared = tuple(r for r in RULES if r.asked in (_I, _G))
    return [(rule, rule.check(case)) for rule in shared + _value_rules(case.grade)]


def asks_the_clock(decision: Decision) -> bool:
    """Whether a grade without any event came to something worth keeping: a zero or its stop."""
    return decision.kind is Kind.POST or decision.reason in _PAST_DUE


_PAST_DUE: Final = frozenset(
    {
        Reason.ZERO_NOT_ALLOWED,
        Reason.EVENT_QUARANTINED,
        Reason.INTAKE_BEHIND,
        Reason.ZEROS_HELD,
        Reason.SCORE_NOT_WHOLE,
        Reason.DIVERGED,
    }
)


def wakes_at(framed: Frame) -> datetime | None:
    """The next instant after the cutoff at which the clock alone may change a decision.

    It is the due moment, the effective date's first instant, the first instant after a grading
    period that the item touches, or tomorrow where only asking Skyward can tell; None where the
    clock changes nothing any more.
    """
    tonight, zone = framed.item.tonight, framed.item.tonight.district.zone
    if framed.item.assessment is None:
        return None
    instants = [framed.due_moment] if framed.due_moment is not None else []
    if tonight.district.effective_date > tonight.today:
        instants.append(_midnight(tonight.district.effective_date, zone))
    first, last = sorted((framed.assigned_at.date(), framed.due_at.date()))
    instants += [
        _midnight(p.end + timedelta(days=1), zone)
        for p in framed.item.periods
        if tonight.today <= p.end < _NO_END and p.start <= last and first <= p.end
    ]
    if framed.failed_at < _PASSED and RULES[framed.failed_at].code in _SEEN_BY_ASKING:
        instants.append(_midnight(tonight.today + timedelta(days=1), zone))
    return min((i for i in instants if i > tonight.cutoff_at), default=None)


# No event tells of these, and where nobody handed anything in, no grade tells of the item.
_SEEN_BY_ASKING: Final = frozenset(
    {
        Reason.CATEGORY_INACTIVE,
        Reason.CATEGORY_NOT_DISTRICT_LEVEL,
        Reason.GRADING_PERIOD_UNKNOWN,
    }
)


_NO_END: Final = date(9000, 1, 1)
"""A grading period that lasts longer ends never: no instant of every zone comes after it."""


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def _first_failure(case: Case) -> tuple[Reason, str] | None:
    framed = case.frame
    if framed.failed_at > _STUDENT:
        failure = _student_not_assigned(case)
        if failure is not None:
            return Reason.STUDENT_NOT_ASSIGNED, failure
    if framed.failed_at < _PASSED:
        return RULES[framed.failed_at].code, framed.failure
    for rule in _GRADE_RULES + _value_rules(case.grade):
        failure = rule.check(case)
        if failure is not None:
            return rule.code, failure
    return None


def _is_graded(grade: Grade) -> bool:
    return grade.completion is Completion.GRADED


def _value_rules(grade: Grade) -> tuple[Rule, ...]:
    if grade.submission is Submission.EXCUSED:
        return ()  # it goes as exempt, which needs neither a score nor the clock
    return _GRADED_RULES if _is_graded(grade) else _UNGRADED_RULES


def _value(case: Case) -> tuple[Decimal | None, ScoreStatus, Origin] | None:
    grade, district = case.grade, case.frame.item.tonight.district
    if grade.submission is Submission.EXCUSED and district.rules.excused == "exempt":
        return None, ScoreStatus.EXEMPT, Origin.TEACHER
    if _is_graded(grade):
        if grade.score is None:
            return None
        return grade.score, ScoreStatus.FULLY_GRADED, Origin.TEACHER
    if grade.completion is Completion.TURNED_IN or grade.score is not None:
        return None
    return _ZERO, ScoreStatus(district.zeros.score_status), Origin.CLOCK


def _is_same(sent: Sent, value: tuple[Decimal | None, ScoreStatus, Origin]) -> bool:
    score, status, origin = value
    # A zero of the clock stays as it was posted: another status for zeros is no change in Otus.
    if sent.origin is Origin.CLOCK is origin and sent.score_status is not ScoreStatus.EXEMPT:
        return sent.score == score
    return sent.score_status is status and sent.score == score


def _taken_back(case: Case) -> tuple[str, str] | None:
    """Which policy settles a grade that Skyward holds and Otus took back, and why."""
    framed, grade, sent = case.frame, case.grade, case.sent
    assert sent is not None
    if framed.item.assessment is None:
        return None
    if framed.failed_at < _STUDENT:
        return "unassigned", framed.failure
    if (failure := _student_not_assigned(case)) is not None:
        return "unassigned", failure
    if (failure := _excluded(case)) is not None:
        return "excluded", failure
    if (failure := _excused(case)) is not None:
        return "excused", failure
    if grade.submission is Submission.EXCUSED:
        return None
    if _is_graded(grade):
        return ("removed", "its score was removed") if grade.score is None else None
    if grade.score is not None:
        return None
    if sent.origin is Origin.TEACHER:
        return "removed", "its score was removed"
    if _not_due_yet(case) is not None and grade.completion is not Completion.TURNED_IN:
        return "removed", "a zero was posted, and then its due date moved ahead"
    return None


def _diverged(case: Case, taken_back: tuple[str, str]) -> Decision:
    policy_name, why = taken_back
    assert case.sent is not None
    policy = getattr(case.frame.item.tonight.district.rules.after_posting, policy_name)
    # Skyward refuses writes that touch a closed period, and one for a student whose id went with
    # the assignment cannot be made: then it can only be left and reported.
    unknown = policy == "exempt" and case.student_id not in _assessment(case).assignees
    stopped = _STUDENT < case.frame.failed_at < _PASSED or _grading_period_closed(case) is not None
    if policy == "leave" or unknown or stopped:
        return Decision(Kind.SKIP, Reason.DIVERGED, f"{why}; what Skyward shows was left alone")
    if policy == "delete":
        return Decision(Kind.SKIP, Reason.DIVERGED, f"{why}; deleted in Skyward", delete=True)
    done = case.sent.score_status is ScoreStatus.EXEMPT
    return Decision(
        Kind.SKIP,
        Reason.DIVERGED,
        f"{why}; marked exempt in Skyward",
        score_status=ScoreStatus.EXEMPT,
        # A zero that was withdrawn is still the clock's: it comes back when it is due again.
        origin=case.sent.origin,
        send=not done,
    )

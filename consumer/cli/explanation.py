"""One grade's decision, rebuilt offline: the stored decision, today's verdicts, what next."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from msgspec import structs

from consumer.cli.guidance import GUIDANCE
from consumer.cli.output import local
from consumer.cli.session import now
from consumer.district import District
from consumer.errors import UsageError
from consumer.gradebook import (
    NO_EVENT,
    Grade,
    GradeKey,
    Kind,
    Membership,
    Reason,
    Sent,
    State,
    line_item_id,
    result_id,
)
from consumer.periods import grading_periods_of
from consumer.rules import Case, Categories, Item, Rule, Tonight, ZeroRuling, frame, verdicts
from consumer.store import districts, skyward_state, undecided
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.explaining import (
    SentLine,
    StandingGrade,
    grades_of,
    items_of,
    sent_of,
    students_of,
)
from consumer.store.skyward_state import SkywardClass, SkywardDistrict
from consumer.store.undecided import UndecidedItem

_ASKS_SKYWARD: Final = frozenset(
    {
        Reason.CATEGORY_NOT_DISTRICT_LEVEL,
        Reason.CATEGORY_INACTIVE,
        Reason.GRADING_PERIOD_UNKNOWN,
        Reason.GRADING_PERIOD_CLOSED,
    }
)
_NOT_READ: Final = "not known: Skyward was not read for this class yet"
_NOBODY: Final = Membership(False, None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule today; ``passes`` is None where Skyward must be read first."""

    rule: Rule
    passes: bool | None
    because: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of one grade.

    ``kind``, ``reason`` and ``detail`` are the decision of the last run, None before the first;
    ``verdicts`` are today's. ``held`` is what Skyward acknowledged last.
    """

    district: District
    key: GradeKey
    item: UndecidedItem
    grade: Grade
    changed_at: datetime | None
    state: State
    kind: Kind | None
    reason: Reason | None
    detail: str | None
    decided_at: datetime | None
    held: Sent | None
    verdicts: list[Verdict]
    line_item_sourced_id: str
    result_sourced_id: str
    sent: list[SentLine]
    sent_line_item: list[SentLine]
    retry_when: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What every grade of one district shares."""

    stored: StoredDistrict
    memberships: Mapping[str, Membership]
    quarantined: frozenset[str]
    skyward: SkywardDistrict | None
    classes: Mapping[str, SkywardClass]


async def explain_all(
    pool: Pool,
    stored: StoredDistrict,
    assessment_id: str,
    class_id: str | None,
    student_id: str | None,
) -> list[Explanation]:
    """Every grade that matches, in key order; raises ``UsageError`` where nothing does."""
    district_id = stored.district.district
    items = await items_of(pool, district_id, assessment_id, class_id)
    known = _Known(
        stored,
        await districts.memberships(pool, stored.district),
        await undecided.quarantined_subjects(pool, district_id),
        await skyward_state.find_district(pool, district_id),
        await skyward_state.find_classes(pool, district_id),
    )
    found: list[Explanation] = []
    for item in items:
        grades = await grades_of(pool, district_id, item.key, student_id)
        sent = await sent_of(pool, district_id, item.key, student_id)
        students = students_of(item.assessment, list(grades))
        found += [
            _explain(known, item, GradeKey(*item.key, one), grades.get(one), sent)
            for one in students
            if student_id is None or one == student_id
        ]
    if not found and (student_id is not None or not items):
        raise UsageError(_unknown(district_id, assessment_id, class_id, student_id))
    return found


def _unknown(
    district_id: str, assessment_id: str, class_id: str | None, student_id: str | None
) -> str:
    what = f"assessment {assessment_id!r}"
    if class_id is not None:
        what += f" in class {class_id!r}"
    if student_id is not None:
        what += f" of student {student_id!r}"
    return (
        f"Nothing is known of {what} in district {district_id}: no event of it has come; check"
        " the ids, and 'passback quarantine list'."
    )


def _explain(
    known: _Known,
    item: UndecidedItem,
    key: GradeKey,
    standing: StandingGrade | None,
    sent: Mapping[str, list[SentLine]],
) -> Explanation:
    district = known.stored.district
    row = None if standing is None else standing.undecided
    reason = None if row is None else row.reason
    today = _verdicts(known, item, key, standing)
    return Explanation(
        district=district,
        key=key,
        item=item,
        grade=NO_EVENT if row is None else row.grade,
        changed_at=None if row is None else row.changed_at,
        state=State.PENDING if standing is None else standing.state,
        kind=None if row is None else row.kind,
        reason=reason,
        detail=None if row is None else row.detail,
        decided_at=None if standing is None else standing.decided_at,
        held=None if row is None else row.sent,
        verdicts=today,
        line_item_sourced_id=item.line_item_id or line_item_id(district.district, key.item),
        result_sourced_id=(row and row.allocated_id) or result_id(district.district, key),
        sent=sent.get(key.student_id, []),
        sent_line_item=sent.get("", []),
        retry_when=_retry_when(known.stored, standing, today),
    )


def _verdicts(
    known: _Known, item: UndecidedItem, key: GradeKey, standing: StandingGrade | None
) -> list[Verdict]:
    stored, district = known.stored, known.stored.district
    row = None if standing is None else standing.undecided
    tonight = Tonight(
        district,
        cutoff_at=stored.next_cutoff_at,
        today=stored.next_service_date,
        intake_caught_up=True,
        # What the breaker held stays held until an operator rules on it.
        zeros_held=row is not None and row.reason is Reason.ZEROS_HELD,
    )
    skyward_class: SkywardClass | None = None
    membership = _NOBODY
    if item.assessment is not None:
        skyward_class = known.classes.get(item.assessment.class_sourced_id)
        membership = known.memberships.get(item.assessment.assigner_id, _NOBODY)
    was_read = known.skyward is not None and skyward_class is not None
    read = skyward_class or SkywardClass((), None)
    sessions = {} if known.skyward is None else known.skyward.sessions
    listed = frozenset[str]() if known.skyward is None else known.skyward.categories
    framed = frame(
        Item(
            tonight,
            item.assessment,
            membership,
            grading_periods_of(read.terms, sessions),
            Categories(listed, read.categories),
            in_skyward=item.posted is not None,
            quarantined="/".join((district.district, *key.item)) in known.quarantined,
            purged=item.purged,
        )
    )
    ruling = None if row is None or row.zero_ruling is None else ZeroRuling(row.zero_ruling)
    case = Case(
        framed,
        key.student_id,
        NO_EVENT if row is None else row.grade,
        None if row is None else row.sent,
        quarantined="/".join((district.district, *key)) in known.quarantined,
        zero_ruling=ruling,
        held=row is not None and row.reason is Reason.ZEROS_HELD,
    )
    return [
        _verdict(rule, failure, _but_for_skyward(rule, case), was_read=was_read)
        for rule, failure in verdicts(case)
    ]


def _but_for_skyward(rule: Rule, case: Case) -> str | None:
    """Why the rule would fail if the line item did not stand in Skyward already."""
    item = replace(case.frame.item, in_skyward=False)
    return rule.check(structs.replace(case, frame=replace(case.frame, item=item)))


def _verdict(rule: Rule, failure: str | None, but_for: str | None, *, was_read: bool) -> Verdict:
    if rule.code in _ASKS_SKYWARD and not was_read:
        return Verdict(rule, None, _NOT_READ)
    if failure is None and but_for is not None:
        return Verdict(rule, True, f"{but_for}; but its line item stands, and its scores go on")
    if failure is None:
        return Verdict(rule, True, rule.claim)
    return Verdict(rule, False, failure)


def _retry_when(
    stored: StoredDistrict, standing: StandingGrade | None, today: list[Verdict]
) -> str:
    zone = stored.district.zone
    cutoff = f"the run after {local(stored.next_cutoff_at, zone)}"
    paused = ""
    if stored.is_paused(now()):
        paused = f" The district is paused: {GUIDANCE[Reason.DISTRICT_PAUSED].do}"
    kind = None if standing is None else standing.undecided.kind
    reason = None if standing is None else standing.undecided.reason
    failing = next((v.rule.code for v in today if v.passes is False), None)
    if kind is Kind.POST:
        if failing is None:
            return f"It is in Skyward; it goes again when Otus changes it.{paused}"
        when = GUIDANCE[failing].passes_when
        return f"It is in Skyward; what changes in Otus goes only when {when}.{paused}"
    if reason is not None and (
        reason is Reason.DIVERGED or reason.kind in (Kind.REJECT, Kind.DEFER)
    ):
        failing = failing if reason.kind is Kind.DEFER and failing is not None else reason
    if failing is None:
        return f"Nothing that is known stops it: {cutoff} decides.{paused}"
    told = GUIDANCE[failing]
    return f"It passes when {told.passes_when}. {told.do}{paused}"

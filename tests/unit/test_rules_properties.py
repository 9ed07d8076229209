"""What holds of every decision, whatever Otus, Skyward and the district say."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.gradebook import (
    NO_EVENT,
    AcademicSession,
    Completion,
    Decision,
    Kind,
    Origin,
    Reason,
    ScoreStatus,
    Sent,
    Submission,
)
from consumer.rules import RULES, Case, asks_the_clock, decide, frame, verdicts, wakes_at
from tests.unit.builders import CUTOFF, FIRST, SECOND, THIRD, TODAY, at, case, nov, period

CODES = [rule.code for rule in RULES]

flags = st.booleans()
# Mostly what passes: else the first rules would hide all others.
mostly = st.sampled_from([True] * 9 + [False])
rarely = mostly.map(lambda yes: not yes)
moments = st.sampled_from(
    [
        *(at(date(2026, 8, 20)), at(date(2026, 10, 16), 23, 59), at(date(2026, 10, 19))),
        *(nov(2), nov(16, 9), nov(20, 15), CUTOFF, CUTOFF + timedelta(seconds=1), nov(27)),
        *(at(date(2026, 12, 18), 23, 59), at(date(2026, 12, 25)), at(date(2027, 1, 4))),
    ]
)
days = st.sampled_from([date(2026, 8, 24), date(2026, 11, 2), TODAY, date(2026, 11, 21)])
scores = st.sampled_from(["0", "8", "8.0", "8.5", "8.000000001", "10", "11", "-1", None])
rules = st.fixed_dictionaries(
    {
        "whole_number_rule": st.sampled_from(["grade", "points_possible"]),
        "due_date_missing": st.sampled_from(["hold", {"assign_plus_days": 7}]),
        "excused": st.sampled_from(["hold_back", "exempt"]),
        "over_points_possible": st.sampled_from(["send", "hold"]),
        "after_posting": st.fixed_dictionaries(
            {
                name: st.sampled_from(["leave", "exempt", "delete"])
                for name in ("excluded", "excused", "unassigned", "removed")
            }
        ),
    }
)
zeros = st.fixed_dictionaries(
    {
        "in_progress": flags,
        "plus": flags,
        "retroactive": flags,
        "score_status": st.sampled_from(["fully graded", "not submitted"]),
    }
)
facts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "completion": st.sampled_from(list(Completion)),
        "score": scores,
        "submission": st.sampled_from([None, *Submission]),
        "status": st.sampled_from(["active"] * 8 + ["unassigned", "deleted"]),
        "grading_scale": st.sampled_from(["points"] * 9 + ["standards"]),
        "points_possible": st.sampled_from(["10"] * 7 + ["10.5", "0", None]),
        "format": st.sampled_from(["simple", "rubric", "plus"]),
        "title": st.sampled_from(["Quiz"] * 8 + ["", "x" * 49, "x" * 50]),
        "type": st.sampled_from(["Quiz"] * 9 + ["Lab"]),
        "include_in_final_grade": mostly,
        "assigner_in_sis": mostly,
        "member": mostly,
        "known": mostly,
        "assigned_at": moments,
        "due_at": st.none() | moments,
        "changed_at": moments,
        "joined_at": st.none() | moments,
        "assignees": st.sampled_from([{"s-1": "x"}] * 9 + [{}]),
        "periods": st.sampled_from([(FIRST, SECOND, THIRD)] * 5 + [(SECOND,), (THIRD,), ()]),
        "district_lists": st.sampled_from([("cat-test",)] * 9 + [()]),
        "class_lists": st.sampled_from([("cat-test",)] * 8 + [(), None]),
        "in_skyward": flags,
        "quarantined_item": rarely,
        "quarantined_grade": rarely,
        "intake_caught_up": mostly,
        "zeros_held": flags,
        "held": rarely,
        "ruling": st.sampled_from([None, "released", "discarded"]),
        "effective_date": days,
        "live_since": st.none() | days,
        "rules": rules,
        "zeros": zeros,
    }
)
sent = st.sampled_from(
    [
        *(("8", "teacher"), ("8.5", "teacher"), ("0", "teacher"), ("0", "clock")),
        *(("0", "clock", "not submitted"), (None, "teacher", "exempt")),
    ]
)
fresh = facts.map(lambda f: case(**f))
cases = st.tuples(facts, st.none() | sent).map(lambda f: case(**f[0], sent=f[1]))

many = settings(max_examples=200)


def after(one: Case, decision: Decision) -> Case:
    """The same grade once Skyward has acknowledged what was decided."""
    assert decision.score_status is not None
    assert decision.origin is not None
    return replace(one, sent=Sent(decision.score, decision.score_status, decision.origin))


@many
@given(cases)
def test_deciding_twice_is_the_same(one: Case) -> None:
    again = replace(one, frame=frame(one.frame.item))
    assert decide(one) == decide(one) == decide(again)


@many
@given(fresh)
def test_the_first_failing_verdict_is_the_reason(one: Case) -> None:
    asked = verdicts(one)
    failing = [(rule.code, why) for rule, why in asked if why is not None]
    decision = decide(one)
    if failing:
        assert (decision.reason, decision.detail) == failing[0]
        assert decision.kind is failing[0][0].kind
    else:
        assert decision.kind is Kind.POST
        assert decision.send
    order = [CODES.index(rule.code) for rule, _ in asked]
    assert order == sorted(order)


@many
@given(cases)
@example(
    case(
        completion="not_started",
        score=None,
        status="unassigned",
        rules={"after_posting": {"unassigned": "exempt"}},
        sent=("0", "clock"),
    )
)
def test_a_zero_of_the_clock_needs_a_due_moment_passed_and_nothing_handed_in(one: Case) -> None:
    decision = decide(one)
    if decision.origin is not Origin.CLOCK or not decision.send:
        return
    if decision.kind is not Kind.POST:
        # A zero that was withdrawn is marked exempt, and stays the clock's.
        assert (decision.score, decision.score_status) == (None, ScoreStatus.EXEMPT)
        return
    item, assessment = one.frame.item, one.frame.item.assessment
    assert decision.score == 0
    assert assessment is not None
    assert assessment.due_at is not None
    assert assessment.due_at <= item.tonight.cutoff_at
    assert one.grade.score is None
    assert one.grade.completion in (Completion.NOT_STARTED, Completion.IN_PROGRESS)
    assert one.grade.submission not in (Submission.EXCUSED, Submission.EXCLUDED)
    assert one.student_id in assessment.assignees
    assert item.tonight.intake_caught_up
    assert not item.quarantined
    assert not one.quarantined
    assert one.zero_ruling != "discarded"
    assert not (item.tonight.zeros_held or one.held) or one.zero_ruling == "released"
    assert one.sent is None or one.sent.origin is Origin.CLOCK


@many
@given(cases)
def test_no_score_that_is_not_whole_is_sent_by_the_rule_on_grades(one: Case) -> None:
    decision = decide(one)
    if not decision.send or decision.score is None:
        return
    assert decision.score >= 0
    rule = one.frame.item.tonight.district.rules.whole_number_rule
    assessment = one.frame.item.assessment
    assert assessment is not None
    assert assessment.points_possible is not None
    whole = decision.score if rule == "grade" else assessment.points_possible
    assert whole % 1 == 0


@many
@given(cases)
def test_what_was_acknowledged_is_not_sent_again(one: Case) -> None:
    decision = decide(one)
    if decision.send:
        assert not decide(after(one, decision)).send


@many
@given(cases)
def test_nothing_is_sent_that_a_rule_forbids(one: Case) -> None:
    decision = decide(one)
    failing = [rule.code for rule, why in verdicts(one) if why is not None]
    if decision.kind is Kind.POST and decision.send:
        assert not failing
    if decision.reason not in (None, Reason.DIVERGED):
        assert decision.reason == failing[0]


@many
@given(cases)
def test_a_decision_says_one_thing(one: Case) -> None:
    decision = decide(one)
    if decision.kind is Kind.POST:
        assert decision.reason is None
        assert not decision.delete
        assert decision.score_status is not None
        assert (decision.score is None) == (decision.score_status == "exempt")
    else:
        assert decision.reason is not None
        assert decision.reason.kind is decision.kind
        assert decision.detail
        assert not (decision.send and decision.delete)
    if decision.reason is Reason.DIVERGED:
        assert one.sent is not None
    else:
        assert not decision.delete


@many
@given(cases)
def test_what_skyward_holds_of_a_teacher_is_never_replaced_by_the_clock(one: Case) -> None:
    if one.sent is not None and one.sent.origin is Origin.TEACHER:
        decision = decide(one)
        assert decision.origin is not Origin.CLOCK or not decision.send


@many
@given(fresh)
def test_a_grade_without_an_event_is_kept_only_past_its_due_moment(one: Case) -> None:
    silent = replace(one, grade=NO_EVENT)
    if asks_the_clock(decide(silent)):
        due = one.frame.due_moment
        assert due is not None
        assert due <= CUTOFF


@many
@given(cases)
def test_it_wakes_after_the_cutoff_or_never(one: Case) -> None:
    wakes = wakes_at(one.frame)
    assert wakes is None or wakes > CUTOFF


# -- far outside of a school year -----------------------------------------------------------

instants = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001
    datetime(8999, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
numbers = st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: number == 0 or -60 < number.adjusted() < 60
)
any_period = st.tuples(st.dates(), st.dates()).map(
    lambda ends: AcademicSession("gp", "gradingPeriod", True, min(ends), max(ends), None)
)
wild: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "completion": st.sampled_from(list(Completion)),
        "score": st.none() | numbers,
        "submission": st.sampled_from([None, *Submission]),
        "points_possible": st.none() | numbers,
        "title": st.text(),
        "type": st.text(),
        "assigned_at": instants,
        "due_at": st.none() | instants,
        "changed_at": instants,
        "joined_at": st.none() | instants,
        "cutoff_at": instants,
        "today": st.dates(date(1900, 1, 1), date(8999, 12, 31)),
        "effective_date": st.dates(),
        "live_since": st.none() | st.dates(),
        "periods": st.lists(any_period | st.just(period("gp-x", "2026-01-01", "9999-12-31"))),
        "timezone": st.sampled_from(sorted(available_timezones())),
        "member": flags,
        "known": mostly,
        "in_skyward": flags,
        "class_lists": st.sampled_from([("cat-test",), (), None]),
        "rules": rules,
        "zeros": zeros,
        "sent": st.none() | sent,
    }
)


@many
@given(wild)
def test_deciding_never_fails(facts: dict[str, Any]) -> None:
    one = case(**facts)
    decision = decide(one)
    assert decision.kind in (Kind.POST, Kind.SKIP, Kind.HOLD)
    assert len(verdicts(one)) in range(1, len(RULES) + 1)
    wakes = wakes_at(one.frame)
    assert wakes is None or wakes > one.frame.item.tonight.cutoff_at
    asks_the_clock(decision)


@given(numbers)
def test_a_graded_score_is_sent_as_it_is_or_not_at_all(score: Decimal) -> None:
    decision = decide(case(score=score))
    whole = score == int(score) and score >= 0
    assert (decision.kind is Kind.POST) == whole
    if whole:
        assert decision.score == score

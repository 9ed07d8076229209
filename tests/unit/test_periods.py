"""Grading periods: which a class has, and on which side of a day an assessment lies."""

from collections.abc import Iterable
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumer.gradebook import AcademicSession
from consumer.periods import closed_period_between, grading_periods_of, period_of
from tests.unit.builders import FIRST, SECOND, THIRD, period

PERIODS = (FIRST, SECOND, THIRD)
ONE_DAY = timedelta(days=1)


def by_id(*sessions: AcademicSession) -> dict[str, AcademicSession]:
    return {s.sourced_id: s for s in sessions}


def names(periods: Iterable[AcademicSession]) -> list[str]:
    return [p.sourced_id for p in periods]


YEAR = period("year", "2026-08-01", "2027-06-30", type="schoolYear")
FALL = period("fall", "2026-08-17", "2026-12-18", type="semester", parent="year")
SPRING = period("spring", "2027-01-04", "2027-05-28", type="semester", parent="year")
Q1 = period("q1", "2026-08-17", "2026-10-16", parent="fall")
Q2 = period("q2", "2026-10-19", "2026-12-18", parent="fall")
Q3 = period("q3", "2027-01-04", "2027-03-19", parent="spring")
SCHOOL = by_id(YEAR, FALL, SPRING, Q3, Q2, Q1)


def test_the_periods_of_a_class_are_those_under_its_term_by_their_start() -> None:
    assert names(grading_periods_of(["fall"], SCHOOL)) == ["q1", "q2"]


def test_a_class_of_two_terms_has_the_periods_of_both() -> None:
    assert names(grading_periods_of(["spring", "fall"], SCHOOL)) == ["q1", "q2", "q3"]


def test_a_class_of_the_whole_year_has_what_lies_under_it_at_any_depth() -> None:
    assert names(grading_periods_of(["year"], SCHOOL)) == ["q1", "q2", "q3"]


def test_a_term_may_be_a_grading_period_itself() -> None:
    assert names(grading_periods_of(["q2"], SCHOOL)) == ["q2"]


def test_a_class_whose_terms_have_no_period_has_all() -> None:
    for terms in ([], ["summer"]):
        assert names(grading_periods_of(terms, SCHOOL)) == ["q1", "q2", "q3"]


def test_a_term_counts_although_the_server_lists_grading_periods_alone() -> None:
    assert names(grading_periods_of(["fall"], by_id(Q1, Q2, Q3))) == ["q1", "q2"]


def test_only_active_sessions_of_type_grading_period_count() -> None:
    gone = period("gone", "2026-08-17", "2026-12-18", parent="fall", active=False)
    other = period("other", "2026-08-17", "2026-12-18", parent="fall", type="term")
    school = {**SCHOOL, **by_id(gone, other)}
    assert names(grading_periods_of(["fall"], school)) == ["q1", "q2"]
    assert names(grading_periods_of(["gone"], school)) == ["q1", "q2", "q3"]
    assert grading_periods_of(["fall"], by_id(FALL, gone)) == ()


def test_a_ring_of_parents_ends_the_search() -> None:
    a = period("a", "2026-08-17", "2026-10-16", parent="b")
    b = period("b", "2026-10-19", "2026-12-18", parent="a")
    own = period("own", "2026-10-19", "2026-12-18", parent="own")
    school = by_id(a, b, own, FALL, Q1)
    assert names(grading_periods_of(["fall"], school)) == ["q1"]
    assert names(grading_periods_of(["a"], school)) == ["a", "b"]


def test_the_order_is_the_same_however_skyward_lists_them() -> None:
    twin = period("q0", "2026-08-17", "2026-10-16", parent="fall")
    school = {**SCHOOL, "q0": twin}
    backwards = dict(reversed(school.items()))
    assert grading_periods_of(["fall"], school) == grading_periods_of(["fall"], backwards)
    assert names(grading_periods_of(["fall"], school)) == ["q0", "q1", "q2"]


def test_both_days_of_a_period_are_inclusive() -> None:
    assert period_of(SECOND.start - ONE_DAY, PERIODS) is None
    assert period_of(SECOND.start, PERIODS) == SECOND
    assert period_of(SECOND.end, PERIODS) == SECOND
    assert period_of(SECOND.end + ONE_DAY, PERIODS) is None
    assert period_of(SECOND.start, ()) is None


def test_of_overlapping_periods_the_one_that_began_last_holds_the_day() -> None:
    inner = period("inner", "2026-11-01", "2026-11-30")
    both = (SECOND, inner)
    assert period_of(date(2026, 10, 31), both) == SECOND
    assert period_of(date(2026, 11, 1), both) == inner
    assert period_of(date(2026, 12, 1), both) == SECOND


def test_a_period_is_closed_the_day_after_its_last() -> None:
    def closed(today: date) -> AcademicSession | None:
        return closed_period_between(SECOND.start, SECOND.end, PERIODS, today)

    assert closed(SECOND.end) is None
    assert closed(SECOND.end + ONE_DAY) == SECOND


def test_one_day_in_a_closed_period_is_enough() -> None:
    today = SECOND.start
    long_ago, later = FIRST.start - timedelta(days=30), SECOND.end
    assert closed_period_between(FIRST.end, later, PERIODS, today) == FIRST
    assert closed_period_between(FIRST.end + ONE_DAY, later, PERIODS, today) is None
    assert closed_period_between(long_ago, FIRST.start, PERIODS, today) == FIRST
    assert closed_period_between(long_ago, FIRST.start - ONE_DAY, PERIODS, today) is None
    assert closed_period_between(long_ago, later, PERIODS, today) == FIRST


days = st.dates(date(2026, 1, 1), date(2027, 12, 31))
some_periods = st.lists(
    st.tuples(days, st.integers(0, 120)).map(
        lambda p: AcademicSession(
            f"gp-{p[0]}", "gradingPeriod", True, p[0], p[0] + timedelta(days=p[1]), None
        )
    ),
    max_size=5,
).map(lambda periods: tuple(sorted(periods, key=lambda p: (p.start, p.sourced_id))))


@given(days, days, some_periods, days)
def test_days_are_counted_one_by_one(
    one: date, other: date, periods: tuple[AcademicSession, ...], today: date
) -> None:
    """What the comparisons say is what asking each day says."""
    first, last = sorted((one, other))
    each = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    touched = [p for p in periods if p.end < today and any(p.start <= day <= p.end for day in each)]
    assert closed_period_between(first, last, periods, today) == (touched[0] if touched else None)
    for day in (first, last):
        inside = [p for p in periods if p.start <= day <= p.end]
        assert period_of(day, periods) == (inside[-1] if inside else None)

"""Grading periods: which ones a class has, and how an assessment's days lie in them.

Only active academic sessions of type gradingPeriod count. Both days of a period are
inclusive and are days in the district's zone; a period is closed when its last day is before
today (domain rulings on rules 15 and 16).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from consumer.gradebook import AcademicSession


def grading_periods_of(
    terms: Iterable[str], sessions: Mapping[str, AcademicSession]
) -> tuple[AcademicSession, ...]:
    """The grading periods that are, or lie under, a class's ``terms``; else all of them."""
    periods = [s for s in sessions.values() if s.type == "gradingPeriod" and s.active]
    wanted = set(terms)
    own = [p for p in periods if _lies_under(p, wanted, sessions)]
    return tuple(sorted(own or periods, key=lambda p: (p.start, p.sourced_id)))


def period_of(day: date, periods: Sequence[AcademicSession]) -> AcademicSession | None:
    """The period that ``day`` lies in; of overlapping ones, the one that began last."""
    return next((p for p in reversed(periods) if p.start <= day <= p.end), None)


def closed_period_between(
    first: date, last: date, periods: Sequence[AcademicSession], today: date
) -> AcademicSession | None:
    """A closed period that holds any day from ``first`` to ``last``, both inclusive."""
    return next((p for p in periods if p.end < today and p.start <= last and first <= p.end), None)


def _lies_under(
    period: AcademicSession, terms: set[str], sessions: Mapping[str, AcademicSession]
) -> bool:
    # A term counts by its id even where the server lists grading periods alone.
    seen: set[str] = set()
    above: str | None = period.sourced_id
    while above is not None and above not in seen:
        if above in terms:
            return True
        seen.add(above)
        session = sessions.get(above)
        above = session.parent if session is not None else None
    return False

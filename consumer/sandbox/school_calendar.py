"""The grading periods around a day, as the school day needs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from consumer.sandbox.roster import AcademicSession


class SchoolDayError(Exception):
    """The school day cannot be made; the message says what is missing and what to give."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The grading periods around ``today``; the neighbours are None where there are none."""

    today: date
    closed: AcademicSession | None
    open: AcademicSession
    coming: AcademicSession | None

    @property
    def effective_date(self) -> date:
        """A few days into the open period, so that the first assessments lie before it."""
        return min(self.open.start_date + timedelta(days=3), self.today)


def calendar_on(today: date, periods: Sequence[AcademicSession]) -> Calendar:
    """The calendar of ``today``; raises SchoolDayError where no grading period is open."""
    now_open = [period for period in periods if period.contains(today)]
    if not now_open:
        raise SchoolDayError(
            f"No grading period of the roster contains {today}: give academicSessions of type"
            " gradingPeriod around it, or none at all to get made ones."
        )
    past = [period for period in periods if period.end_date < now_open[0].start_date]
    ahead = [period for period in periods if period.start_date > now_open[0].end_date]
    return Calendar(today, past[-1] if past else None, now_open[0], ahead[0] if ahead else None)

"""When: the instant of a district's nightly cutoff on each service date.

A cutoff is a wall-clock time in the district's zone. One that does not exist on a day
(daylight saving begins) becomes the first instant after the gap; one that happens twice
(it ends), the first of the two. Pure, and told the time; instants are in UTC.
"""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

from consumer.district import WEEKDAYS, District

_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """One service date and the instant, in UTC, at which it is cut off."""

    service_date: date
    at: datetime


def cutoff_on(district: District, service_date: date) -> Cutoff:
    """The cutoff of one service date."""
    zone = district.zone
    wall = datetime.combine(service_date, district.cutoff, zone)
    at = wall.astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return Cutoff(service_date, at)
    # In a gap the two folds give the offsets before and after it, so the gap lies between them.
    before, after = wall.replace(fold=1).astimezone(UTC), at
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return Cutoff(service_date, after.replace(microsecond=0))


def cutoffs(district: District, first: date, days: int) -> Iterator[Cutoff]:
    """The cutoffs of the service dates among ``days`` calendar days from ``first``."""
    for offset in range(days):
        day = first + timedelta(days=offset)
        if district.serves(day):
            yield cutoff_on(district, day)


def next_cutoff(district: District, after: datetime) -> Cutoff:
    """The first cutoff later than the instant ``after``."""
    day = after.astimezone(district.zone).date() - _ONE_DAY
    while True:
        if district.serves(day):
            cutoff = cutoff_on(district, day)
            if cutoff.at > after:
                return cutoff
        day += _ONE_DAY


def longest_gap(service_days: Collection[str]) -> timedelta:
    """The longest time between two cutoffs that the service days allow, by the calendar."""
    serving = [n for n, day in enumerate(2 * WEEKDAYS) if day in service_days]
    return max(after - before for before, after in pairwise(serving)) * _ONE_DAY


def manual_cutoff(district: District, now: datetime) -> Cutoff:
    """The cutoff of a run that a person starts: this moment, on the day it is in the district."""
    return Cutoff(now.astimezone(district.zone).date(), now)


def jitter(district_id: str, bound: timedelta) -> timedelta:
    """How long after its cutoff a district starts: always the same, spread over ``bound``."""
    return bound * (zlib.crc32(district_id.encode()) / 2**32)

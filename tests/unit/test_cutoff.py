"""The instant of each night's cutoff: in every zone, over every change of its clock."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.cutoff import (
    Cutoff,
    cutoff_on,
    cutoffs,
    jitter,
    longest_gap,
    manual_cutoff,
    next_cutoff,
)
from consumer.district import District
from tests.unit.builders import SETTINGS


def district(timezone: str, cutoff: str = "22:00", **changes: Any) -> District:
    settings = {**SETTINGS, "timezone": timezone, "cutoff": cutoff, **changes}
    return District.model_validate(settings)


def local(one: District, day: str) -> str:
    """The cutoff of a service date on the district's own clock, with its offset."""
    return cutoff_on(one, date.fromisoformat(day)).at.astimezone(one.zone).isoformat()


@pytest.mark.parametrize(
    ("timezone", "cutoff", "day", "on_its_clock"),
    [
        ("America/Chicago", "22:00", "2026-07-01", "2026-07-01T22:00:00-05:00"),
        ("America/Chicago", "22:00", "2026-12-01", "2026-12-01T22:00:00-06:00"),
        ("America/Chicago", "22:00:30", "2026-12-01", "2026-12-01T22:00:30-06:00"),
        ("UTC", "00:00", "2026-12-01", "2026-12-01T00:00:00+00:00"),
        ("Asia/Kolkata", "22:00", "2026-11-20", "2026-11-20T22:00:00+05:30"),
        ("Asia/Kathmandu", "22:00", "2026-11-20", "2026-11-20T22:00:00+05:45"),
        ("Pacific/Kiritimati", "22:00", "2026-11-20", "2026-11-20T22:00:00+14:00"),
        ("America/Phoenix", "02:30", "2026-03-08", "2026-03-08T02:30:00-07:00"),
        # Spring: 02:00 to 03:00 does not exist. The first instant after it counts.
        ("America/Chicago", "01:59:59", "2026-03-08", "2026-03-08T01:59:59-06:00"),
        ("America/Chicago", "02:00", "2026-03-08", "2026-03-08T03:00:00-05:00"),
        ("America/Chicago", "02:30", "2026-03-08", "2026-03-08T03:00:00-05:00"),
        ("America/Chicago", "02:59:59", "2026-03-08", "2026-03-08T03:00:00-05:00"),
        ("America/Chicago", "03:00", "2026-03-08", "2026-03-08T03:00:00-05:00"),
        ("America/Chicago", "03:00:01", "2026-03-08", "2026-03-08T03:00:01-05:00"),
        # Autumn: 01:00 to 02:00 happens twice. The first counts.
        ("America/Chicago", "00:59:59", "2026-11-01", "2026-11-01T00:59:59-05:00"),
        ("America/Chicago", "01:00", "2026-11-01", "2026-11-01T01:00:00-05:00"),
        ("America/Chicago", "01:30", "2026-11-01", "2026-11-01T01:30:00-05:00"),
        ("America/Chicago", "01:59:59", "2026-11-01", "2026-11-01T01:59:59-05:00"),
        ("America/Chicago", "02:00", "2026-11-01", "2026-11-01T02:00:00-06:00"),
        # Lord Howe moves by half an hour.
        ("Australia/Lord_Howe", "02:15", "2026-10-04", "2026-10-04T02:30:00+11:00"),
        ("Australia/Lord_Howe", "01:45", "2026-04-05", "2026-04-05T01:45:00+11:00"),
        ("Australia/Lord_Howe", "22:00", "2026-06-01", "2026-06-01T22:00:00+10:30"),
        # There, midnight itself does not exist, and the day begins at one.
        ("Africa/Cairo", "00:00", "2026-04-24", "2026-04-24T01:00:00+03:00"),
        ("America/Santiago", "00:30", "2026-09-06", "2026-09-06T01:00:00-03:00"),
        # Dublin's clock is the one whose daylight saving is negative.
        ("Europe/Dublin", "01:30", "2026-03-29", "2026-03-29T02:00:00+01:00"),
        ("Europe/Dublin", "01:30", "2026-10-25", "2026-10-25T01:30:00+01:00"),
        # Samoa went over the date line and had no 30 December: a gap of a whole day.
        ("Pacific/Apia", "22:00", "2011-12-29", "2011-12-29T22:00:00-10:00"),
        ("Pacific/Apia", "22:00", "2011-12-30", "2011-12-31T00:00:00+14:00"),
        ("Pacific/Apia", "22:00", "2011-12-31", "2011-12-31T22:00:00+14:00"),
    ],
)
def test_a_cutoff_is_its_wall_clock(
    timezone: str, cutoff: str, day: str, on_its_clock: str
) -> None:
    assert local(district(timezone, cutoff), day) == on_its_clock


def test_a_cutoff_is_an_instant_in_utc_with_its_service_date() -> None:
    cutoff = cutoff_on(district("America/Chicago"), date(2026, 11, 20))
    assert cutoff == Cutoff(date(2026, 11, 20), datetime(2026, 11, 21, 4, tzinfo=UTC))
    assert cutoff.at.tzinfo is UTC


def test_every_second_that_the_clock_skips_is_cut_off_at_the_first_instant_after_them() -> None:
    one, day = district("America/Chicago"), date(2026, 3, 8)
    first_after = Cutoff(day, datetime(2026, 3, 8, 8, tzinfo=UTC))
    for second in range(3600):
        skipped = time(2, second // 60, second % 60)
        assert cutoff_on(one.model_copy(update={"cutoff": skipped}), day) == first_after


@pytest.mark.parametrize(
    ("service_days", "days"),
    [
        (["mon", "tue", "wed", "thu", "fri", "sat", "sun"], 1),
        (["mon", "tue", "wed", "thu", "fri"], 3),
        (["mon", "fri"], 4),
        (["sun", "tue"], 5),
        (["fri"], 7),
    ],
)
def test_the_longest_gap_is_the_longest_that_the_week_leaves_also_over_its_end(
    service_days: list[str], days: int
) -> None:
    assert longest_gap(service_days) == timedelta(days=days)


def test_nights_over_a_change_of_the_clock_are_23_and_25_hours_long() -> None:
    one = district("America/Chicago")
    for first, hours in ((date(2026, 3, 7), 23), (date(2026, 10, 31), 25), (date(2026, 6, 1), 24)):
        tonight, tomorrow = cutoffs(one, first, 2)
        assert tomorrow.at - tonight.at == timedelta(hours=hours)


def test_only_service_days_have_a_cutoff_and_days_are_calendar_days() -> None:
    one = district("America/Chicago", service_days=["mon", "fri"])
    found = [c.service_date.day for c in cutoffs(one, date(2026, 11, 16), 8)]
    assert found == [16, 20, 23]
    assert list(cutoffs(one, date(2026, 11, 17), 3)) == []
    assert list(cutoffs(one, date(2026, 11, 16), 0)) == []


def test_the_next_cutoff_is_strictly_later() -> None:
    one = district("America/Chicago")
    tonight = datetime(2026, 11, 21, 4, tzinfo=UTC)
    just_before = tonight - timedelta(microseconds=1)
    assert next_cutoff(one, just_before) == Cutoff(date(2026, 11, 20), tonight)
    assert next_cutoff(one, tonight) == Cutoff(date(2026, 11, 21), tonight + timedelta(days=1))


def test_the_next_cutoff_skips_days_without_service() -> None:
    one = district("America/Chicago", service_days=["fri"])
    friday = cutoff_on(one, date(2026, 11, 20))
    assert next_cutoff(one, friday.at).service_date == date(2026, 11, 27)
    assert next_cutoff(one, friday.at - timedelta(days=6)) == friday


def test_a_cutoff_that_the_clock_moved_into_the_next_day_is_found_from_there() -> None:
    apia = district("Pacific/Apia")
    moved = cutoff_on(apia, date(2011, 12, 30))
    assert next_cutoff(apia, moved.at - timedelta(seconds=1)) == moved
    assert next_cutoff(apia, moved.at).service_date == date(2011, 12, 31)


def test_a_day_that_was_skipped_has_at_midnight_the_cutoff_of_the_next_and_one_run() -> None:
    apia = district("Pacific/Apia", "00:00")
    skipped, after = cutoffs(apia, date(2011, 12, 30), 2)
    assert skipped.at == after.at
    assert next_cutoff(apia, skipped.at).service_date == date(2012, 1, 1)


def test_a_cutoff_by_hand_is_this_moment_on_the_districts_day() -> None:
    now = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)
    assert manual_cutoff(district("America/Chicago"), now) == Cutoff(date(2026, 11, 20), now)
    assert manual_cutoff(district("Asia/Kolkata"), now) == Cutoff(date(2026, 11, 21), now)


def test_jitter_is_always_the_same_and_spreads_districts_over_its_bound() -> None:
    bound = timedelta(seconds=60)
    waits = [jitter(f"district-{n}", bound) for n in range(200)]
    assert waits == [jitter(f"district-{n}", bound) for n in range(200)]
    assert all(timedelta(0) <= wait < bound for wait in waits)
    quarters = {int(wait / bound * 4) for wait in waits}
    assert quarters == {0, 1, 2, 3}
    assert jitter("lakeside", timedelta(0)) == timedelta(0)


ZONES: Final = sorted(available_timezones())
# None of these years has a zone that skips a whole day.
days = st.dates(date(2012, 1, 2), date(2037, 12, 1))
times = st.times().map(lambda t: t.replace(microsecond=0).isoformat())
zones = st.sampled_from(ZONES)


@given(zones, times, days)
def test_cutoffs_strictly_rise(timezone: str, cutoff: str, first: date) -> None:
    instants = [c.at for c in cutoffs(district(timezone, cutoff), first, 15)]
    assert all(a < b for a, b in pairwise(instants))


@given(zones, times, days)
def test_a_cutoff_is_never_before_its_wall_clock_and_late_only_by_a_gap(
    timezone: str, cutoff: str, day: date
) -> None:
    one = district(timezone, cutoff)
    found = cutoff_on(one, day).at.astimezone(one.zone).replace(tzinfo=None)
    wall = datetime.combine(day, time.fromisoformat(cutoff))
    # The widest gap of these years is that of Casey station: three hours and a minute.
    assert wall <= found <= wall + timedelta(hours=3, minutes=1)


@given(st.sampled_from(["America/Chicago", "Australia/Lord_Howe", "Africa/Cairo"]), times, days)
def test_of_all_seconds_of_a_day_it_is_the_first_that_shows_the_wall_clock_or_later(
    timezone: str, cutoff: str, day: date
) -> None:
    one, zone = district(timezone, cutoff), ZoneInfo(timezone)
    at = cutoff_on(one, day).at
    wall = datetime.combine(day, time.fromisoformat(cutoff))
    before = (at - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    assert at.astimezone(zone).replace(tzinfo=None) >= wall
    assert before < wall


@given(zones, times, st.tuples(days, st.times()))
def test_between_an_instant_and_its_next_cutoff_lies_no_other(
    timezone: str, cutoff: str, moment: tuple[date, time]
) -> None:
    one, after = district(timezone, cutoff), datetime.combine(*moment, tzinfo=UTC)
    found = next_cutoff(one, after)
    assert found.at > after
    near = cutoffs(one, moment[0] - timedelta(days=3), 7)
    assert min(c.at for c in near if c.at > after) == found.at

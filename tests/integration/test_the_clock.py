"""Whole nights by the clock: daylight saving, odd zones, downtime, long runs, skew."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from consumer.cutoff import Cutoff, next_cutoff
from consumer.district import District
from consumer.flush.schedule import Schedule
from consumer.gradebook import RunReport
from consumer.store import runs
from consumer.store.clock import Clock
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.runs import Lease
from tests.integration.nights import Nights, nights_of
from tests.integration.simulated_time import PACE, SimulatedTime

CHICAGO_NOON = datetime(2026, 11, 20, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
async def november(tmp_path: Path, database_url: str) -> AsyncIterator[Nights]:
    """A district in Chicago at noon on Friday 20 November 2026; its cutoff is at 22:00."""
    async with nights_of(tmp_path, database_url, now=CHICAGO_NOON) as built:
        yield built


# Each zone with a cutoff, and the instants of four nights in a row on a clock that never jumps.
OVER_A_CHANGE = {
    # Spring: half past two does not exist, and three is the first instant after the gap.
    "Chicago, spring": (
        "America/Chicago",
        "02:30",
        ("03-06T08:30", "03-07T08:30", "03-08T08:00", "03-09T07:30"),
    ),
    # Autumn: half past one happens twice, and the first counts.
    "Chicago, autumn": (
        "America/Chicago",
        "01:30",
        ("10-30T06:30", "10-31T06:30", "11-01T06:30", "11-02T07:30"),
    ),
    "Adelaide, spring": (
        "Australia/Adelaide",
        "02:30",
        ("10-01T17:00", "10-02T17:00", "10-03T16:30", "10-04T16:00"),
    ),
    "Adelaide, autumn": (
        "Australia/Adelaide",
        "02:30",
        ("04-02T16:00", "04-03T16:00", "04-04T16:00", "04-05T17:00"),
    ),
    "St. John's, spring": (
        "America/St_Johns",
        "02:30",
        ("03-06T06:00", "03-07T06:00", "03-08T05:30", "03-09T05:00"),
    ),
    "St. John's, autumn": (
        "America/St_Johns",
        "01:30",
        ("10-30T04:00", "10-31T04:00", "11-01T04:00", "11-02T05:00"),
    ),
    "Lord Howe, by half an hour": (
        "Australia/Lord_Howe",
        "02:15",
        ("10-01T15:45", "10-02T15:45", "10-03T15:30", "10-04T15:15"),
    ),
    "Kolkata": (
        "Asia/Kolkata",
        "22:00",
        ("11-18T16:30", "11-19T16:30", "11-20T16:30", "11-21T16:30"),
    ),
}


@pytest.mark.parametrize("change", OVER_A_CHANGE)
async def test_each_night_over_a_change_of_the_clock_sends_what_changed_up_to_its_instant(
    tmp_path: Path, database_url: str, change: str
) -> None:
    zone, cutoff, instants = OVER_A_CHANGE[change]
    expected = [datetime.fromisoformat(f"2026-{one}:00+00:00") for one in instants]
    noon_before = expected[0] - timedelta(hours=14)
    async with nights_of(
        tmp_path, database_url, now=noon_before, zone=zone, cutoff=cutoff
    ) as nights:
        time = SimulatedTime(nights)
        await time.begin()
        nights.evening.assess("quiz", due_days=20)
        for number, at in enumerate(expected):
            assert await time.pass_to(at - SECOND) == []
            # Published a second after the cutoff: of what changed at it, and of what did then.
            nights.evening.now = at + SECOND
            nights.evening.grade("quiz", 0, str(number), after=timedelta(minutes=30) - SECOND)
            nights.evening.grade("quiz", number + 1, "9", after=timedelta(minutes=30))
            (report,) = await time.pass_to(at + HOUR)
            assert (report.cutoff_at, report.state) == (at, "done")
            late = {f"s-{earlier + 1}": "9" for earlier in range(number)}
            assert nights.scores() == {"s-0": str(number)} | late
    dates = [report.service_date for report in time.reports]
    assert dates == [at.astimezone(ZoneInfo(zone)).date() for at in expected]


async def _week(time: SimulatedTime, down: tuple[timedelta, timedelta] | None) -> list[int]:
    """Three nights of a grade an hour, of 32 students in turn; in ``down``, counted from noon,
    nothing runs. Returns how many results each night sent.
    """
    nights = time.nights
    await time.begin()
    nights.evening.assess("quiz", due_days=20)
    await time.pass_to(CHICAGO_NOON)
    for hour in range(1, 72):
        nights.evening.now = CHICAGO_NOON + hour * HOUR
        student = hour % len(nights.evening.students)
        nights.evening.grade("quiz", student, str(hour), after=timedelta(minutes=30))
        if down is None or not down[0] <= hour * HOUR < down[1]:
            if down is not None and hour * HOUR == down[1]:
                nights.now = CHICAGO_NOON + hour * HOUR
            await time.pass_to(CHICAGO_NOON + hour * HOUR)
    return [report.results["posted"] for report in time.reports]


async def test_a_cutoff_missed_by_hours_of_downtime_sends_the_same_set_late(
    tmp_path: Path, database_url: str, november: Nights
) -> None:
    on_time = SimulatedTime(november)
    sent = await _week(on_time, down=None)
    await november.pool.execute("TRUNCATE grade, assessment, line_item, flush_run, sent, lease")
    november.skyward.empty_gradebook()
    again = replace(november, now=CHICAGO_NOON, published=0)
    again.evening.records.clear()
    again.evening.now = CHICAGO_NOON
    again.evening.join("t-1", days=-100)
    # From nine in the evening until five, over the cutoff at ten.
    late = SimulatedTime(again)
    assert await _week(late, down=(timedelta(hours=9), timedelta(hours=17))) == sent
    assert late.reports[0].started_at == CHICAGO_NOON + timedelta(hours=17)
    assert [r.cutoff_at for r in late.reports] == [r.cutoff_at for r in on_time.reports]


async def test_cutoffs_missed_by_days_of_downtime_have_one_run_each_in_their_order(
    november: Nights,
) -> None:
    time = SimulatedTime(november)
    sent = await _week(time, down=(timedelta(hours=9), timedelta(hours=71)))
    assert [r.cutoff_at for r in time.reports] == [
        CHICAGO_NOON + timedelta(hours=10) + night * DAY for night in range(3)
    ]
    assert {r.started_at for r in time.reports} == {CHICAGO_NOON + timedelta(hours=71)}
    # Of 32 students ten changed by the first cutoff and the others by the second; what goes is
    # the newest that is known, so that the third finds everything sent.
    assert sent == [10, 22, 0]
    newest = {hour % 32: str(hour) for hour in range(1, 72)}
    assert november.scores() == {f"s-{student}": score for student, score in newest.items()}
    assert november.operations("putResult") == 32


async def test_a_time_more_than_five_minutes_ahead_of_its_record_counts_as_the_records(
    november: Nights,
) -> None:
    time = SimulatedTime(november)
    await time.begin()
    november.evening.assess("quiz", due_days=5)
    await time.pass_to(CHICAGO_NOON + timedelta(hours=9, minutes=56))
    # Published four minutes before the cutoff.
    for student, ahead in enumerate(
        (3 * DAY, timedelta(minutes=5, seconds=1), timedelta(minutes=5), timedelta(minutes=4))
    ):
        november.evening.grade("quiz", student, "8", after=timedelta(minutes=30) + ahead)
    await time.pass_to(CHICAGO_NOON + timedelta(hours=11))
    assert november.scores().keys() == {"s-0", "s-1", "s-3"}
    await time.pass_to(CHICAGO_NOON + timedelta(hours=40))
    assert november.scores().keys() == {"s-0", "s-1", "s-2", "s-3"}


async def test_replicas_whose_clocks_are_hours_apart_send_each_value_once(
    november: Nights,
) -> None:
    assert await _sent_by_two_clocks(november) == len(november.evening.students)


async def test_with_leases_on_the_replicas_own_clocks_values_would_go_twice(
    november: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "take_lease", _take_lease_by_the_machines_clock)
    monkeypatch.setattr(runs, "due", _due_whoever_holds_it)
    assert await _sent_by_two_clocks(november) > len(november.evening.students)


async def _begun_on_a_machine(nights: Nights, off: timedelta) -> timedelta:
    """How long after its cutoff, two seconds from now, a night begins there; by the true clock."""
    clock = Clock(lambda: datetime.now(UTC) + off)
    assert abs(await clock.compare(nights.pool) - off) < SECOND
    nights.now = nights.evening.now = datetime.now(UTC)
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.record()
    at = datetime.now(UTC) + 2 * SECOND
    await runs.schedule(nights.pool, "lakeside", Cutoff(at.date(), at), at, 0)
    reports: list[RunReport] = []
    flusher = replace(nights.flusher(), now=clock.now)
    schedule = Schedule(
        flusher,
        PACE,
        lambda district: nullcontext(),
        reports.append,
        lambda district, error: pytest.fail(str(error)),
    )
    while not await schedule.start_due():
        await asyncio.sleep(0.01)
    begun = datetime.now(UTC) - at
    while not reports:
        await asyncio.sleep(0.01)
    assert reports[0].results["posted"] == 1
    return begun


async def test_a_machine_that_is_hours_ahead_begins_no_night_before_its_cutoff(
    nights: Nights,
) -> None:
    begun = await _begun_on_a_machine(nights, 3 * HOUR)
    assert timedelta(0) <= begun < SECOND


async def test_a_build_that_goes_by_the_machines_clock_alone_is_noticed(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "now", lambda self: self._machine())
    assert await _begun_on_a_machine(nights, 3 * HOUR) < -SECOND


async def test_a_clock_that_jumps_ahead_between_two_comparisons_moves_nothing(
    nights: Nights,
) -> None:
    off = timedelta(0)
    clock = Clock(lambda: datetime.now(UTC) + off)
    assert await clock.compare(nights.pool) == timedelta(0)
    off = 5 * HOUR
    assert abs(clock.now() - datetime.now(UTC)) < SECOND
    off = -5 * HOUR
    assert abs(clock.now() - datetime.now(UTC) + 5 * HOUR) < SECOND


def _without_folds(district: District, service_date: date) -> Cutoff:
    wall = datetime.combine(service_date, district.cutoff, district.zone)
    return Cutoff(service_date, wall.replace(fold=1).astimezone(UTC))


async def _after_now(
    self: Schedule, stored: StoredDistrict, cutoff: Cutoff, report: RunReport
) -> None:
    following = next_cutoff(stored.district, self.flusher.now())
    await runs.schedule(self.flusher.pool, report.district_id, following, following.at, 0)


async def test_a_build_that_knows_no_gap_and_no_fold_is_noticed(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.cutoff.cutoff_on", _without_folds)
    with pytest.raises(AssertionError):
        await test_each_night_over_a_change_of_the_clock_sends_what_changed_up_to_its_instant(
            tmp_path, database_url, "Chicago, autumn"
        )


async def test_a_build_that_forgets_missed_cutoffs_is_noticed(
    november: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Schedule, "_schedule_next", _after_now)
    with pytest.raises(AssertionError):
        await test_cutoffs_missed_by_days_of_downtime_have_one_run_each_in_their_order(november)


async def test_a_build_that_believes_times_to_come_is_noticed(
    november: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.events.CLOCK_TOLERANCE_US", 7 * DAY // timedelta(microseconds=1))
    with pytest.raises(AssertionError):
        await test_a_time_more_than_five_minutes_ahead_of_its_record_counts_as_the_records(november)


async def _sent_by_two_clocks(nights: Nights) -> int:
    """How many results two replicas send in one night, one's clock three hours ahead."""
    nights.evening.assess("quiz", due_days=5)
    for student in range(len(nights.evening.students)):
        nights.evening.grade("quiz", student, "8")
    nights.skyward.configure(latency=0.02)
    time = SimulatedTime(nights)
    await time.begin()
    nights.now += timedelta(hours=10, minutes=1)
    await nights.record()
    behind = nights.flusher("behind")
    ahead = replace(nights.flusher("ahead"), now=lambda: nights.now + timedelta(hours=3))
    schedules = [
        Schedule(
            flusher,
            PACE,
            lambda district: nullcontext(),
            time.reports.append,
            lambda district, error: time.failures.append(error),
        )
        for flusher in (behind, ahead)
    ]
    await schedules[0].start_due()
    while not nights.operations("putResult"):
        await asyncio.sleep(0.01)
    while not time.reports:
        await schedules[1].start_due()
        await asyncio.sleep(0.02)
    for one in schedules:
        assert await one.stop(10)
    return nights.operations("putResult")


async def _take_lease_by_the_machines_clock(
    pool: Pool, district_id: str, holder: str, time_to_live: timedelta
) -> Lease | None:
    clock = datetime.now(UTC) + (timedelta(hours=3) if holder == "ahead" else timedelta(0))
    epoch = await pool.fetchval(
        "INSERT INTO lease AS l (district_id, holder, epoch, expires_at) VALUES ($1, $2, 1, $3)"
        " ON CONFLICT (district_id) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1,"
        " expires_at = excluded.expires_at WHERE l.expires_at < $4 RETURNING epoch",
        district_id,
        holder,
        clock + time_to_live,
        clock,
    )
    term = runs.Term.beginning(time_to_live)
    return None if epoch is None else Lease(district_id, holder, epoch, term)


async def _due_whoever_holds_it(pool: Pool, now: datetime, limit: int) -> list[str]:
    rows = await pool.fetch("SELECT district_id FROM district WHERE start_at <= $1", now)
    return [row["district_id"] for row in rows]


async def test_a_run_longer_than_its_window_ends_and_the_next_night_sends_the_rest(
    november: Nights,
) -> None:
    await november.apply(skyward=november.settings["skyward"] | {"max_concurrency": 1})
    students = len(november.evening.students)
    november.evening.assess("quiz", due_days=5)
    for student in range(students):
        november.evening.grade("quiz", student, "8")

    def now() -> datetime:
        """The window is over when half of them stand."""
        stand = int(november.skyward.counts()["results"])
        return november.now + PACE.window * (2 * stand / students)

    time = SimulatedTime(november, flusher=replace(november.flusher(), now=now))
    await time.begin()
    (first,) = await time.pass_to(CHICAGO_NOON + timedelta(hours=11))
    sent = first.results["posted"]
    assert (first.state, first.stopped_by) == ("deferred", "window_over")
    assert sent == -(-students // 2)
    assert first.reasons == {"window_over": students - sent}

    time.flusher = None
    (second,) = await time.pass_to(CHICAGO_NOON + timedelta(hours=40))
    assert second.service_date - first.service_date == timedelta(days=1)
    assert (second.state, second.results["posted"]) == ("done", students - sent)
    assert november.scores() == {f"s-{n}": "8" for n in range(students)}
    assert november.operations("putResult") == students

"""The gauges that are read from the store: what a district's last and next run look like."""

import asyncio
from datetime import timedelta
from itertools import pairwise

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from consumer.cutoff import Cutoff
from consumer.daemon import Daemon
from consumer.metrics import Metrics
from consumer.settings import Settings
from consumer.store import districts, gauges, runs
from consumer.store.connection import connect
from consumer.store.gauges import TOGETHER, DistrictGauges
from tests.integration.nights import Nights
from tests.recordables import apply


async def _read(nights: Nights) -> DistrictGauges:
    (found,) = (await gauges.read(nights.pool, nights.now)).districts
    return found


async def test_before_its_first_cutoff_a_district_has_neither_success_nor_trouble(
    nights: Nights,
) -> None:
    found = await _read(nights)
    assert (found.last_cutoff_at, found.last_success, found.stopped_by) == (None, None, None)
    assert not found.paused
    assert found.next_cutoff_at > nights.now


async def test_a_cutoff_has_passed_from_its_own_moment_on(nights: Nights) -> None:
    due = (await _read(nights)).next_cutoff_at
    assert (await gauges.read(nights.pool, due - timedelta(seconds=1))).districts[
        0
    ].last_cutoff_at is None
    assert (await gauges.read(nights.pool, due)).districts[0].last_cutoff_at == due


async def test_what_stopped_the_newest_attempt_shows_until_one_gets_through(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    await nights.record()
    tonight: Cutoff = nights.cutoff()
    nights.skyward.configure(licensed=False)
    stopped = await nights.run("nightly", tonight)
    assert stopped.stopped_by == "licence_missing"
    found = await _read(nights)
    assert (found.stopped_by, found.last_success) == ("licence_missing", None)
    assert found.last_cutoff_at == tonight.at

    nights.skyward.configure(licensed=True)
    by_hand = await nights.flush()
    found = await _read(nights)
    assert (found.stopped_by, found.last_success) == (None, by_hand.finished_at)
    assert found.last_cutoff_at == tonight.at

    nights.skyward.configure(licensed=False)
    nights.evening.grade("quiz", 1, "7")
    await nights.record()
    nights.now += timedelta(minutes=1)
    # The night that is gone on with is older than the run by hand, and yet the newest attempt.
    again = await nights.run("nightly", tonight)
    assert (again.stopped_by, (await _read(nights)).stopped_by) == (
        "licence_missing",
        "licence_missing",
    )


async def test_a_night_that_was_given_up_shows_until_a_run_gets_through(nights: Nights) -> None:
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    await nights.record()
    nights.skyward.configure(licensed=False)
    first = nights.cutoff()
    await runs.schedule(nights.pool, "lakeside", first, first.at, 0)
    await nights.run("nightly", first)
    # It is tried again until the next cutoff is the one to come.
    assert (await _read(nights)).failing_since is None
    await runs.schedule(nights.pool, "lakeside", second := _after(first), second.at, 0)
    assert (await _read(nights)).failing_since == first.at
    nights.now = second.at
    await nights.run("nightly", second)
    third = _after(second)
    await runs.schedule(nights.pool, "lakeside", third, third.at, 0)
    assert (await _read(nights)).failing_since == first.at

    await districts.pause(nights.pool, "lakeside", nights.now, None, "its licence")
    assert (await _read(nights)).failing_since is None
    await districts.resume(nights.pool, "lakeside", nights.now)
    assert (await _read(nights)).failing_since == first.at
    nights.skyward.configure(licensed=True)
    await nights.flush()
    assert (await _read(nights)).failing_since is None


async def test_nights_of_a_pause_are_no_failure_once_it_is_over(nights: Nights) -> None:
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    await nights.record()
    await districts.pause(nights.pool, "lakeside", nights.now, None, "holidays")
    tonight = nights.cutoff()
    paused = await nights.run("nightly", tonight)
    assert paused.stopped_by == "district_paused"
    following = _after(tonight)
    await runs.schedule(nights.pool, "lakeside", following, following.at, 0)
    await districts.resume(nights.pool, "lakeside", nights.now)
    found = await _read(nights)
    assert (found.paused, found.failing_since, found.last_success) == (False, None, None)


def _after(cutoff: Cutoff) -> Cutoff:
    return Cutoff(cutoff.service_date + timedelta(days=1), cutoff.at + timedelta(days=1))


async def test_a_pause_shows_until_it_is_over(nights: Nights) -> None:
    until = nights.now + timedelta(days=1)
    await districts.pause(nights.pool, "lakeside", nights.now, until, "a test")
    assert (await _read(nights)).paused
    nights.now = until
    assert not (await _read(nights)).paused


async def test_the_longest_gap_follows_the_service_days(nights: Nights) -> None:
    assert (await _read(nights)).longest_gap == timedelta(days=1)
    await nights.apply(service_days=["mon", "tue", "wed", "thu", "fri"])
    assert (await _read(nights)).longest_gap == timedelta(days=3)
    await nights.apply(service_days=["sun"])
    assert (await _read(nights)).longest_gap == timedelta(days=7)


async def test_the_gauges_of_many_districts_leave_room_for_what_else_runs(
    database_url: str,
) -> None:
    many, shown = 3 * TOGETHER, [0]
    registry = CollectorRegistry()
    metrics = Metrics(registry, per_district=True)

    async def look() -> None:
        while True:
            (family,) = metrics._next_cutoff.collect()
            shown.append(len(family.samples))
            await asyncio.sleep(0)

    async with await connect(database_url, size=1) as pool:
        for number in range(many):
            await apply(pool, f"district-{number}")
        daemon = Daemon(Settings(database_url=SecretStr(database_url)), pool, metrics, registry)
        looking = asyncio.create_task(look())
        await daemon._show_gauges()
        await asyncio.sleep(0)
        looking.cancel()
    assert shown[-1] == many
    assert max(after - before for before, after in pairwise(shown)) == TOGETHER

"""Leases, runs and whose turn it is: one holder at a time, fenced by a rising epoch."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import NoReturn

import pytest

from consumer.cutoff import Cutoff
from consumer.errors import LeaseLost
from consumer.flush.run import Flusher
from consumer.store import connection, districts, runs
from consumer.store.connection import Pool, connect
from consumer.store.runs import Lease
from tests.recordables import LAKESIDE, TONIGHT, apply, minute

LONG = timedelta(minutes=5)
GONE = timedelta(milliseconds=-1)
DAY = timedelta(days=1)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a database in which the district lakeside was applied."""
    async with await connect(database_url, size=8) as opened:
        await apply(opened)
        yield opened


async def take(pool: Pool, holder: str = "replica-1", time_to_live: timedelta = LONG) -> Lease:
    """Lakeside's lease, which is free."""
    lease = await runs.take_lease(pool, "lakeside", holder, time_to_live)
    assert lease is not None
    return lease


async def test_a_second_holder_gets_the_lease_only_after_it_expired(pool: Pool) -> None:
    first = await take(pool, "replica-1", timedelta(milliseconds=300))
    assert await runs.take_lease(pool, "lakeside", "replica-2", LONG) is None
    await asyncio.sleep(0.35)
    second = await take(pool, "replica-2")
    assert (first.epoch, second.epoch) == (1, 2)
    assert await runs.take_lease(pool, "lakeside", "replica-3", LONG) is None


async def test_its_own_holder_does_not_get_a_held_lease_twice(pool: Pool) -> None:
    await take(pool)
    assert await runs.take_lease(pool, "lakeside", "replica-1", LONG) is None


async def test_the_epoch_rises_with_every_holder_after_a_release_too(pool: Pool) -> None:
    epochs = []
    for number in range(3):
        lease = await take(pool, f"replica-{number}")
        epochs.append(lease.epoch)
        await runs.release_lease(pool, lease)
    assert epochs == [1, 2, 3]


async def test_of_many_that_want_an_expired_lease_one_gets_it(pool: Pool) -> None:
    await take(pool, "replica-0", GONE)
    taken = await asyncio.gather(
        *(runs.take_lease(pool, "lakeside", f"replica-{n}", LONG) for n in range(1, 9))
    )
    assert [lease.epoch for lease in taken if lease is not None] == [2]


async def test_leases_of_two_districts_have_nothing_to_do_with_each_other(pool: Pool) -> None:
    await take(pool)
    other = await runs.take_lease(pool, "hillside", "replica-2", LONG)
    assert other == Lease("hillside", "replica-2", 1)


async def test_a_renewed_lease_does_not_expire(pool: Pool) -> None:
    lease = await take(pool, time_to_live=GONE)
    await runs.renew_lease(pool, lease, LONG)
    assert await runs.take_lease(pool, "lakeside", "replica-2", LONG) is None


async def test_who_lost_the_lease_renews_nothing_and_releases_nothing(pool: Pool) -> None:
    lost = await take(pool, "replica-1", GONE)
    held = await take(pool, "replica-2")
    with pytest.raises(LeaseLost, match="lakeside"):
        await runs.renew_lease(pool, lost, LONG)
    await runs.release_lease(pool, lost)
    assert await runs.take_lease(pool, "lakeside", "replica-3", LONG) is None
    await runs.renew_lease(pool, held, LONG)


async def test_the_same_holder_with_an_older_epoch_has_lost_it_too(pool: Pool) -> None:
    lost = await take(pool, "replica-1", GONE)
    await take(pool, "replica-1")
    with pytest.raises(LeaseLost):
        await runs.renew_lease(pool, lost, LONG)


async def test_no_write_of_a_run_goes_on_under_a_lost_lease(pool: Pool) -> None:
    lost = await take(pool, "replica-1", GONE)
    run = await runs.begin(pool, lost, "nightly", TONIGHT, 1, minute(0))
    await take(pool, "replica-2")
    before = await pool.fetch("SELECT * FROM flush_run")
    with pytest.raises(LeaseLost):
        await runs.begin(pool, lost, "manual", TONIGHT, 1, minute(1))
    with pytest.raises(LeaseLost):
        await runs.keep_zeros_verdict(pool, lost, run.run_id, held=True)
    with pytest.raises(LeaseLost):
        await runs.finish(pool, lost, run, minute(2), None, {}, {})
    assert await pool.fetch("SELECT * FROM flush_run") == before
    district = await districts.find(pool, "lakeside")
    assert district is not None
    assert district.decided_revision == 0


async def test_a_lease_cannot_be_taken_while_its_holder_is_writing(pool: Pool) -> None:
    lease = await take(pool, "replica-1", GONE)
    async with pool.acquire() as connected:
        async with connected.transaction():
            await runs.expect_lease(connected, lease)
            taking = asyncio.create_task(take(pool, "replica-2"))
            await asyncio.sleep(0.1)
            assert not taking.done()
        assert (await taking).epoch == 2


@pytest.mark.parametrize("stands_still", ["between statements", "within a statement"])
async def test_a_holder_that_stands_still_while_writing_is_ended_by_postgres(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stands_still: str
) -> None:
    monkeypatch.setattr(connection, "STANDS_STILL", 0.3)
    monkeypatch.setattr(connection, "LASTS", 0.6)
    its = await connect(database_url, size=1)
    try:
        lease = await take(its, "replica-1", GONE)
        frozen = await its.acquire()
        await frozen.execute("BEGIN")
        await runs.expect_lease(frozen, lease)
        if stands_still == "within a statement":
            # The server has read its beginning and waits for the rest.
            await frozen.prepare("SELECT 1")
        async with await connect(database_url) as others, asyncio.timeout(5):
            assert (await take(others, "replica-2")).epoch == 2
    finally:
        its.terminate()


# -- whoever is stopped ---------------------------------------------------------------------


def flusher(pool: Pool) -> Flusher:
    """A replica that holds leases and runs nothing."""

    async def reached(wait: timedelta) -> bool:
        raise AssertionError("nothing is run")

    def connect_one(*_: object) -> NoReturn:
        raise AssertionError("nothing is run")

    return Flusher(
        pool=pool,
        holder="replica-1",
        connect=connect_one,
        await_intake=reached,
        now=lambda: minute(0),
        counted=lambda district, tally: None,
    )


async def test_who_is_stopped_while_it_gives_its_lease_back_still_gives_it_back(pool: Pool) -> None:
    leave = asyncio.Event()
    held = asyncio.Event()

    async def hold() -> None:
        async with flusher(pool).lease("lakeside"):
            held.set()
            await leave.wait()

    holding = asyncio.create_task(hold())
    await held.wait()
    async with pool.acquire() as rival, rival.transaction():
        await rival.execute("SELECT FROM lease FOR UPDATE")
        leave.set()
        while not await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)
        holding.cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait([holding])
    assert holding.cancelled()
    assert (await take(pool, "replica-2")).epoch == 2


async def test_who_is_stopped_at_any_moment_leaves_no_lease_behind(pool: Pool) -> None:
    async def hold() -> None:
        async with flusher(pool).lease("lakeside"):
            await asyncio.sleep(0.001)

    takes = []
    for _ in range(5):
        begun = time.perf_counter()
        await hold()
        takes.append(time.perf_counter() - begun)
    cut_off = 0
    for step in range(50):
        holding = asyncio.create_task(hold())
        await asyncio.sleep(min(takes) * step / 50)
        holding.cancel()
        await asyncio.wait([holding])
        cut_off += holding.cancelled()
        await runs.release_lease(pool, await take(pool, "replica-2"))
    assert cut_off > 10


# -- runs -----------------------------------------------------------------------------------


async def test_a_night_that_was_cut_off_is_gone_on_with_as_it_began(pool: Pool) -> None:
    first = await take(pool, "replica-1", GONE)
    begun = await runs.begin(pool, first, "nightly", TONIGHT, 1, minute(0))
    await runs.keep_zeros_verdict(pool, first, begun.run_id, held=True)
    second = await take(pool, "replica-2")
    moved = Cutoff(TONIGHT.service_date, TONIGHT.at + timedelta(hours=1))
    again = await runs.begin(pool, second, "nightly", moved, 5, minute(60))
    assert (again.run_id, again.cutoff, again.settings_revision) == (begun.run_id, TONIGHT, 1)
    assert (again.started_at, again.zeros_held) == (minute(0), True)
    assert await pool.fetchval("SELECT epoch FROM flush_run") == second.epoch


async def test_every_manual_run_is_one_of_its_own(pool: Pool) -> None:
    lease = await take(pool)
    begun = [
        (await runs.begin(pool, lease, kind, TONIGHT, 1, minute(0))).run_id
        for kind in ("nightly", "manual", "manual", "nightly")
    ]
    assert begun[0] == begun[3]
    assert len(set(begun)) == 3


async def test_a_later_attempt_counts_anew_what_the_earlier_one_deferred(pool: Pool) -> None:
    lease = await take(pool)
    run = await runs.begin(pool, lease, "nightly", TONIGHT, 1, minute(0))
    deferred = await runs.finish(
        pool, lease, run, minute(1), "throttled", {"throttled": 3}, {"not_due_yet": 2}
    )
    assert (deferred.state, deferred.stopped_by) == ("deferred", "throttled")
    assert (deferred.results["deferred"], deferred.results["held"]) == (3, 2)
    assert deferred.reasons == {"throttled": 3, "not_due_yet": 2}
    run = await runs.begin(pool, lease, "nightly", TONIGHT, 1, minute(10))
    done = await runs.finish(pool, lease, run, minute(11), None, {}, {})
    assert (done.state, done.stopped_by, done.finished_at) == ("done", None, minute(11))
    assert (done.results["deferred"], done.results["held"]) == (0, 2)
    assert done.reasons == {"not_due_yet": 2}
    assert await runs.reports(pool, "lakeside") == [done]
    assert await runs.last_reports(pool, ["lakeside", "hillside"]) == {"lakeside": done}


async def test_only_a_run_that_is_done_says_which_settings_were_decided_with(pool: Pool) -> None:
    lease = await take(pool)

    async def decided_after(kind: str, revision: int, stopped_by: str | None) -> int:
        run = await runs.begin(pool, lease, kind, TONIGHT, revision, minute(0))
        await runs.finish(pool, lease, run, minute(1), stopped_by, {}, {})
        district = await districts.find(pool, "lakeside")
        assert district is not None
        return district.decided_revision

    assert await decided_after("manual", 7, "throttled") == 0
    assert await decided_after("nightly", 7, "throttled") == 0
    assert await decided_after("nightly", 8, None) == 7
    assert await decided_after("manual", 8, None) == 8


# -- whose turn it is -----------------------------------------------------------------------


async def test_a_district_is_due_from_its_start_until_somebody_holds_its_lease(
    pool: Pool,
) -> None:
    just_before = TONIGHT.at - timedelta(microseconds=1)
    assert await runs.due(pool, just_before, 10) == []
    assert await runs.due(pool, TONIGHT.at, 10) == ["lakeside"]
    lease = await take(pool)
    assert await runs.due(pool, TONIGHT.at, 10) == []
    await runs.release_lease(pool, lease)
    assert await runs.due(pool, TONIGHT.at, 10) == ["lakeside"]
    await take(pool, "replica-2", GONE)
    assert await runs.due(pool, TONIGHT.at, 10) == ["lakeside"]
    tomorrow = Cutoff(TONIGHT.service_date + DAY, TONIGHT.at + DAY)
    await runs.schedule(pool, "lakeside", tomorrow, tomorrow.at + timedelta(seconds=7), 0)
    assert await runs.due(pool, tomorrow.at, 10) == []
    assert await runs.due(pool, tomorrow.at + timedelta(seconds=7), 10) == ["lakeside"]


async def test_who_has_waited_longest_is_due_first_and_no_more_than_asked_for(
    pool: Pool,
) -> None:
    for name, hours in (("b", 2), ("a", 2), ("c", 1)):
        await apply(pool, name, Cutoff(TONIGHT.service_date, TONIGHT.at - timedelta(hours=hours)))
    assert await runs.due(pool, TONIGHT.at, 10) == ["a", "b", "c", "lakeside"]
    assert await runs.due(pool, TONIGHT.at, 2) == ["a", "b"]


async def test_applying_anew_moves_a_cutoff_that_is_still_to_come(pool: Pool) -> None:
    earlier = Cutoff(TONIGHT.service_date, TONIGHT.at - timedelta(hours=1))
    revision = await districts.apply(
        pool, LAKESIDE, b"key", b"secret", earlier, earlier.at + timedelta(seconds=9), minute(0)
    )
    stored = await districts.find(pool, "lakeside")
    assert stored is not None
    assert (revision, stored.revision) == (2, 2)
    assert (stored.next_service_date, stored.next_cutoff_at) == (TONIGHT.service_date, earlier.at)
    assert await runs.due(pool, earlier.at + timedelta(seconds=9), 1) == ["lakeside"]


async def test_applying_anew_keeps_the_turn_of_a_cutoff_that_has_passed(pool: Pool) -> None:
    tomorrow = Cutoff(TONIGHT.service_date + DAY, TONIGHT.at + DAY)
    late = TONIGHT.at + timedelta(minutes=3)
    await runs.schedule(pool, "lakeside", TONIGHT, late, 2)
    await districts.apply(pool, LAKESIDE, b"key", b"secret", tomorrow, tomorrow.at, TONIGHT.at)
    stored = await districts.find(pool, "lakeside")
    assert stored is not None
    assert (stored.next_service_date, stored.next_cutoff_at) == (date(2026, 11, 20), TONIGHT.at)
    assert await runs.due(pool, late - timedelta(seconds=1), 1) == []
    assert await runs.due(pool, late, 1) == ["lakeside"]


async def test_every_revision_of_the_settings_is_kept_with_its_audit_row(pool: Pool) -> None:
    renamed = LAKESIDE.model_copy(update={"name": "Lakeside Schools"})
    await districts.apply(pool, renamed, b"key", b"secret", TONIGHT, TONIGHT.at, minute(5))
    assert await districts.settings_of(pool, "lakeside", 1) == LAKESIDE
    assert await districts.settings_of(pool, "lakeside", 2) == renamed
    audit = await pool.fetch("SELECT action, detail FROM audit ORDER BY id")
    assert [tuple(row) for row in audit] == [("apply", {"revision": 1}), ("apply", {"revision": 2})]

"""One run of one district, from its lease to its report."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from consumer.cutoff import Cutoff
from consumer.district import District
from consumer.errors import DistrictStopped, LeaseLost
from consumer.flush import adopting, conflicts
from consumer.flush.night import Night, read_district, trips_breaker
from consumer.flush.sending import SETTLINGS_AT_ONCE, Sending
from consumer.gradebook import Reason, RunReport
from consumer.rules import Tonight
from consumer.skyward import Skyward
from consumer.store import districts, runs, settling, skyward_state, undecided
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.runs import FlushRun, Lease
from consumer.store.skyward_state import SkywardDistrict

LEASE: Final = timedelta(seconds=30)
_RENEWAL: Final = LEASE / 3
# A grading period may open again, or move, which no event tells: as long as anything was due in
# the last year, Skyward's periods and categories are read each night.
_PERIODS_REOPEN: Final = timedelta(days=365)

# What a change of Skyward's sessions may let pass.
_BY_PERIOD: Final = frozenset({Reason.GRADING_PERIOD_CLOSED, Reason.GRADING_PERIOD_UNKNOWN})
_BY_CATEGORY: Final = frozenset({Reason.CATEGORY_INACTIVE, Reason.CATEGORY_NOT_DISTRICT_LEVEL})

Connects = Callable[[StoredDistrict, District], AbstractAsyncContextManager[Skyward]]


@dataclass(frozen=True, slots=True)
class Flusher:
    """What every run uses.

    ``connect`` readies a district's Skyward. ``await_intake`` waits, bounded, until the store
    holds everything that Kafka held when it was called, and says whether it does. ``now`` is
    the clock. ``counted`` is told what each settled batch adds. ``room`` is for those who settle.
    """

    pool: Pool
    holder: str
    connect: Connects
    await_intake: Callable[[timedelta], Awaitable[bool]]
    now: Callable[[], datetime]
    counted: Callable[[str, settling.Tally], None]
    room: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(SETTLINGS_AT_ONCE), init=False
    )

    @asynccontextmanager
    async def lease(self, district_id: str) -> AsyncIterator[Lease | None]:
        """The district's lease, renewed while it is held; None where another holds it.

        Whoever is inside is cancelled with ``LeaseLost`` when the lease goes. Who is cancelled
        while it takes or gives back the lease leaves none behind, which would have to expire.
        """
        taking = asyncio.create_task(runs.take_lease(self.pool, district_id, self.holder, LEASE))
        try:
            await _to_its_end(taking)
        except asyncio.CancelledError:
            taken = taking.done() and not taking.cancelled() and taking.exception() is None
            if taken and (lease := taking.result()) is not None:
                await runs.release_lease(self.pool, lease)
            raise
        lease = taking.result()
        if lease is None:
            yield None
            return
        inside = asyncio.current_task()
        assert inside is not None
        renewal = asyncio.create_task(self._renew(lease, inside))
        try:
            yield lease
        except asyncio.CancelledError:
            if renewal.done() and not renewal.cancelled() and inside.uncancel() == 0:
                raise LeaseLost(
                    f"the lease of district {district_id} could not be kept"
                ) from renewal.exception()
            raise
        finally:
            await _to_its_end(asyncio.create_task(self._give_back(lease, renewal)))

    async def _give_back(self, lease: Lease, renewal: "asyncio.Task[None]") -> None:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        await runs.release_lease(self.pool, lease)

    async def _renew(self, lease: Lease, inside: "asyncio.Task[object]") -> None:
        try:
            while True:
                await asyncio.sleep(_RENEWAL.total_seconds())
                # A database that hangs must not let this holder outlive its own lease.
                renewed = asyncio.create_task(runs.renew_lease(self.pool, lease, LEASE))
                try:
                    await asyncio.wait_for(asyncio.shield(renewed), _RENEWAL.total_seconds())
                finally:
                    renewed.cancel()
        except asyncio.CancelledError:
            raise
        except BaseException:
            # The lease is given back on another connection than the one that may hang.
            await self.pool.expire_connections()
            inside.cancel()
            raise

    async def flush(
        self,
        lease: Lease,
        stored: StoredDistrict,
        kind: str,
        cutoff: Cutoff,
        intake_wait: timedelta,
        *,
        window: timedelta | None = None,
        force: bool = False,
    ) -> RunReport:
        """Runs one district once; returns the report, which is stored as well.

        ``window``: how long it may go on from now; what it did not send by then is the next
        run's. Raises ``LeaseLost``; Skyward's troubles end in a report whose state is deferred.
        """
        # From now and not from the cutoff: what downtime delayed has its whole window.
        ends_at = self.now() + window if window is not None else None
        run = await runs.begin(self.pool, lease, kind, cutoff, stored.revision, self.now())
        district_id = lease.district_id
        district = stored.district
        if run.settings_revision != stored.revision:
            district = await districts.settings_of(self.pool, district_id, run.settings_revision)
        if stored.is_paused(self.now()) and not force:
            held = await undecided.left_undecided(self.pool, district_id, run.cutoff.at)
            paused = {Reason.DISTRICT_PAUSED.value: sum(held.values())} if held else {}
            return await runs.finish(
                self.pool, lease, run, self.now(), "district_paused", {}, paused
            )
        stopped: DistrictStopped | None = None
        try:
            await self._decide_and_send(lease, stored, district, run, intake_wait, ends_at)
        except DistrictStopped as error:
            stopped = error
        return await self._close(lease, run, stopped)

    async def _close(
        self, lease: Lease, run: FlushRun, stopped: DistrictStopped | None
    ) -> RunReport:
        left = await undecided.left_undecided(self.pool, run.district_id, run.cutoff.at)
        fallback = stopped.reason if stopped is not None else Reason.SKYWARD_UNAVAILABLE
        deferred: dict[str, int] = {}
        for reason, count in left.items():
            named = str(fallback if reason is None else reason)
            if reason is None and stopped is None:
                continue  # it came, or changed, while the run went on
            deferred[named] = deferred.get(named, 0) + count
        return await runs.finish(
            self.pool,
            lease,
            run,
            self.now(),
            stopped.reason if stopped is not None else None,
            deferred,
            {},
        )

    async def _decide_and_send(
        self,
        lease: Lease,
        stored: StoredDistrict,
        district: District,
        run: FlushRun,
        intake_wait: timedelta,
        ends_at: datetime | None,
    ) -> None:
        district_id, cutoff = district.district, run.cutoff
        caught_up = await self.await_intake(intake_wait)
        await undecided.wake(self.pool, district_id, cutoff.at)
        await undecided.wake_held(self.pool, district_id, cutoff.at)
        if run.settings_revision != stored.decided_revision:
            await undecided.mark_items(self.pool, district_id, cutoff.at)
        stopped_classes = await skyward_state.stopped_by_skyward(self.pool, district_id)
        if not (
            stopped_classes
            or lease.in_doubt
            or await undecided.has_undecided(
                self.pool, district_id, cutoff.at, due_since=cutoff.at - _PERIODS_REOPEN
            )
        ):
            return
        begun = self.now()
        async with self.connect(stored, district) as skyward:
            skyward.write_while(lease.term.is_over)
            now_read = await self._read_district(skyward, district_id, run, stopped_classes)
            if lease.in_doubt:
                adopted = await adopting.adopt(self.pool, skyward, district, lease, run, begun)
                self.counted(district_id, adopted)
            night = Night(
                self.pool,
                Tonight(district, cutoff.at, cutoff.service_date, caught_up),
                now_read,
                skyward,
            )
            await self._look_again_at_classes(night, run, stopped_classes)
            held = run.zeros_held
            if held is None:
                held = await trips_breaker(night)
                # While intake is behind zeros are held and not counted: the next attempt asks anew.
                if caught_up:
                    await runs.keep_zeros_verdict(self.pool, lease, run.run_id, held)
            night.hold_zeros(held)
            sending = Sending(
                self.pool,
                skyward,
                night,
                lease,
                run,
                self.now,
                lambda tally: self.counted(district_id, tally),
                ends_at,
                room=self.room,
                first=stored.decided_revision == 0,
                doubted=adopting.still_in_doubt(district, lease, begun),
            )
            try:
                await sending.send(conflicts.pages(night, skyward))
            finally:
                await skyward_state.keep_classes(
                    self.pool, district_id, night.classes_read, self.now()
                )

    async def _read_district(
        self,
        skyward: Skyward,
        district_id: str,
        run: FlushRun,
        stopped_classes: dict[str, frozenset[str]],
    ) -> SkywardDistrict:
        """Reads sessions and categories; what they stopped is decided again if they changed."""
        before = await skyward_state.find_district(self.pool, district_id)
        read = await read_district(skyward)
        if before is not None and before != read:
            await undecided.mark_items(self.pool, district_id, run.cutoff.at)
        elif forbidden := stopped_classes.get(Reason.FORBIDDEN):
            await undecided.mark_items(
                self.pool, district_id, run.cutoff.at, classes=sorted(forbidden)
            )
        if before != read:
            await skyward_state.keep_district(self.pool, district_id, read, self.now())
        return read

    async def _look_again_at_classes(
        self, night: Night, run: FlushRun, stopped_classes: dict[str, frozenset[str]]
    ) -> None:
        """Reads the classes whose categories or terms stopped a grade; marks those that changed."""
        watched = {
            class_id
            for reason, classes in stopped_classes.items()
            if reason in _BY_CATEGORY | _BY_PERIOD
            for class_id in classes
        }
        if not watched:
            return
        before = await skyward_state.find_classes(self.pool, run.district_id)
        await night.read_classes(watched)
        changed = [c for c in watched if before.get(c) != night.classes_read[c]]
        if changed:
            await undecided.mark_items(
                self.pool, run.district_id, run.cutoff.at, classes=sorted(changed)
            )


async def _to_its_end(task: "asyncio.Task[Any]") -> None:
    """Waits for ``task`` and raises its error; a cancellation meanwhile is raised when it ended."""
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # taken note of: the cancellation is raised
        raise
    task.result()

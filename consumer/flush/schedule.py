"""Which districts are due, and running them side by side: a query, never a timer.

So downtime is caught up, service date by service date. Retries of a run that Skyward's
unavailability stopped come with growing pauses until the run's window is over; a run that takes
longer than a window is ended, and the next one goes on.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from consumer.cutoff import Cutoff, jitter, next_cutoff
from consumer.flush.run import Flusher
from consumer.gradebook import Reason, RunReport
from consumer.store import districts, in_doubt, runs
from consumer.store.districts import StoredDistrict
from consumer.store.runs import Lease

_LOOKS_APART: Final = (0.05, 0.5)
"""Seconds between two looks at what is due, at least and at most."""

_FIRST_PAUSE: Final = timedelta(minutes=1)
_AFTER_FAILURE: Final = timedelta(seconds=2)
_LONGEST_PAUSE: Final = timedelta(minutes=15)
_PASSES: Final = frozenset({Reason.SKYWARD_UNAVAILABLE.value, Reason.THROTTLED.value})


@dataclass(frozen=True, slots=True)
class Pace:
    """How runs are spread: ``jitter`` after a cutoff, how many side by side, how long a window."""

    jitter: timedelta
    districts_at_once: int
    intake_wait: timedelta
    window: timedelta


def first_start(district_id: str, cutoff: Cutoff, spread: timedelta) -> datetime:
    """When the run of ``cutoff`` begins: within ``spread`` after it, always the same."""
    return cutoff.at + jitter(district_id, spread)


@dataclass
class Schedule:
    """Runs what is due; ``flushing`` is entered around each run, ``finished`` told its report."""

    flusher: Flusher
    pace: Pace
    flushing: Callable[[str], AbstractContextManager[None]]
    finished: Callable[[RunReport], None]
    failed: Callable[[str, Exception], None]
    _running: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    # A district that failed here is left alone for a while, and delays no other.
    _failures: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    _some_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def start_due(self) -> int:
        """Starts a run of each due district, as far as there is room; returns how many."""
        self._some_ended.clear()
        room = self.pace.districts_at_once - len(self._running)
        if room <= 0:
            return 0
        now = self.flusher.now()
        aside = [d for d, (_, until) in self._failures.items() if until > now]
        due = await runs.due(self.flusher.pool, now, room + len(self._running) + len(aside))
        fresh = [d for d in due if d not in self._running and d not in aside][:room]
        for district_id in fresh:
            self._running[district_id] = asyncio.create_task(self._run(district_id))
        return len(fresh)

    async def wait(self) -> None:
        """Until it is worth looking again: a run has ended, or time has passed."""
        least, most = _LOOKS_APART
        await asyncio.sleep(least)
        with suppress(TimeoutError):
            async with asyncio.timeout(most - least):
                await self._some_ended.wait()

    async def stop(self, within: float) -> bool:
        """Cancels what runs and waits: leases are released, and the runs can be gone on with.

        Returns whether all ended ``within`` these seconds.
        """
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if not running:
            return True
        _, late = await asyncio.wait(running, timeout=within)
        return not late

    async def _run(self, district_id: str) -> None:
        try:
            async with self.flusher.lease(district_id) as lease:
                if lease is None:
                    return
                stored = await districts.find(self.flusher.pool, district_id)
                cutoff = None if stored is None else await self._cutoff(lease, stored)
                if stored is None or cutoff is None:
                    return  # removed, or another replica was quicker
                again = bool(lease.in_doubt) and not lease.is_over(self.flusher.now())
                with self.flushing(district_id):
                    report = await self.flusher.flush(
                        lease,
                        stored,
                        "nightly",
                        cutoff,
                        self.pace.intake_wait,
                        window=self.pace.window,
                    )
                await self._schedule_next(stored, cutoff, report, again=again)
                self._failures.pop(district_id, None)
                self.finished(report)
        except Exception as error:  # noqa: BLE001 - the top of one district's run
            # Its rows and its run stand as they are: whoever comes next goes on from there.
            count = self._failures.get(district_id, (0, None))[0]
            until = self.flusher.now() + _pause(_AFTER_FAILURE, count)
            self._failures[district_id] = (count + 1, until)
            self.failed(district_id, error)
        finally:
            self._running.pop(district_id, None)
            self._some_ended.set()

    async def _cutoff(self, lease: Lease, stored: StoredDistrict) -> Cutoff | None:
        """Whose run is to be made: the next one's, or once more the last one's, where what was
        in doubt before it has arrived since. None where another run was quicker.
        """
        pool, district_id = self.flusher.pool, stored.district.district
        following = Cutoff(stored.next_service_date, stored.next_cutoff_at)
        now = self.flusher.now()
        if following.at <= now:
            return following
        if lease.in_doubt and (lease.is_over(now) or not lease.was_asked(now)):
            last = await runs.last_cutoff(pool, district_id)
            if last is not None:
                return last
        await self._schedule(district_id, following, again=bool(lease.in_doubt))
        return None

    async def _schedule_next(
        self, stored: StoredDistrict, cutoff: Cutoff, report: RunReport, *, again: bool
    ) -> None:
        """``again``: the last run is made once more when what may still arrive has arrived."""
        pool, now = self.flusher.pool, self.flusher.now()
        # The settings may have changed while it ran.
        latest = await districts.find(pool, stored.district.district) or stored
        passes = report.stopped_by in _PASSES
        pause = _pause(_FIRST_PAUSE, stored.attempts)
        if passes and now + pause < cutoff.at + self.pace.window:
            await runs.schedule(pool, report.district_id, cutoff, now + pause, stored.attempts + 1)
            return
        following = next_cutoff(latest.district, cutoff.at)
        while following.service_date <= cutoff.service_date:
            following = next_cutoff(latest.district, following.at)
        await self._schedule(report.district_id, following, again=again)

    async def _schedule(self, district_id: str, following: Cutoff, *, again: bool) -> None:
        start = first_start(district_id, following, self.pace.jitter)
        if again:
            start = min(start, self.flusher.now() + in_doubt.LATE)
        await runs.schedule(self.flusher.pool, district_id, following, start, 0)


def _pause(first: timedelta, attempts: int) -> timedelta:
    """Twice as long after each attempt; the exponent is bounded before a timedelta overflows."""
    return min(first * (1 << min(attempts, 16)), _LONGEST_PAUSE)

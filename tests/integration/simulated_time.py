"""Nights that the schedule runs by itself, on a clock that the test moves; the rest is real."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from consumer.cutoff import next_cutoff
from consumer.flush.run import Flusher
from consumer.flush.schedule import Pace, Schedule
from consumer.gradebook import RunReport
from consumer.store import districts, runs
from consumer.store.connection import UNAVAILABLE, Pool
from tests.history.evidence import Evening
from tests.integration.nights import Nights

PACE: Final = Pace(
    jitter=timedelta(0),
    districts_at_once=8,
    intake_wait=timedelta(seconds=1),
    window=timedelta(hours=6),
)


@dataclass
class SimulatedTime:
    """A daemon's schedule for one evening's district; ``reports`` are those of its runs.

    ``evenings`` say from where in Skyward's journal on each run wrote, ``deaths`` when one failed.
    ``watch`` is how the test itself reaches the store. A run that fails is a failure of the test,
    unless ``goes_on``: then it is in ``failures``, and a minute later it is due again.
    """

    nights: Nights
    pace: Pace = PACE
    flusher: Flusher | None = None
    watch: Pool | None = None
    goes_on: bool = False
    reports: list[RunReport] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    evenings: list[Evening] = field(default_factory=list)
    deaths: list[datetime] = field(default_factory=list)

    async def begin(self) -> None:
        """The district's next run is that of the first cutoff after this moment."""
        stored = await districts.find(self.nights.pool, "lakeside")
        assert stored is not None
        first = next_cutoff(stored.district, self.nights.now)
        await runs.schedule(self.nights.pool, "lakeside", first, first.at, 0)

    async def pass_to(self, until: datetime) -> list[RunReport]:
        """Time goes on to ``until`` and every run that is due by then is made; their reports."""
        schedule = Schedule(
            self.flusher or self.nights.flusher(),
            self.pace,
            lambda district: nullcontext(),
            self.reports.append,
            lambda district, error: self.failures.append(error),
        )
        made = len(self.reports)
        await self.nights.record()
        while (start := await self._next_start()) <= until:
            self.nights.now = max(self.nights.now, start)
            failed = len(self.failures)
            await self._run(schedule)
            if len(self.failures) > failed:
                assert self.goes_on, self.failures
                self.deaths.append(datetime.now(UTC))
                # Nobody waits for the lease that a lost connection left behind; and what the test
                # itself writes collides with nobody, whatever the database's default.
                async with (
                    self._watch.acquire() as direct,
                    direct.transaction(isolation="read_committed"),
                ):
                    await direct.execute("UPDATE lease SET expires_at = '-infinity'")
                self.nights.now += timedelta(minutes=1)
        self.nights.now = max(self.nights.now, until)
        self.nights.evening.now = self.nights.now
        return self.reports[made:]

    async def _run(self, schedule: Schedule) -> None:
        """One run of what is due, to its end."""
        ended = len(self.reports) + len(self.failures)
        cutoff = await self._watch.fetchval("SELECT next_cutoff_at FROM district")
        self.evenings.append(Evening(self.nights.standin.journal_position(), cutoff))
        try:
            while not await schedule.start_due():
                await asyncio.sleep(0.002)
        except UNAVAILABLE as error:
            self.failures.append(error)
        while len(self.reports) + len(self.failures) == ended:
            await asyncio.sleep(0.002)

    async def _next_start(self) -> datetime:
        found: datetime = await self._watch.fetchval("SELECT min(start_at) FROM district")
        return found

    @property
    def _watch(self) -> Pool:
        return self.watch or self.nights.pool

"""One night, run over and over, each time disturbed at another place: it must always end alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from consumer.gradebook import RunReport
from consumer.sandbox.oracle import Oracle, periods_by_class
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL
from consumer.store.connection import Pool, connect
from tests.history.clauses import Finding, Judgement, judge
from tests.history.evidence import gathered
from tests.history.published import read_published
from tests.integration.nights import Nights, nights_of
from tests.integration.simulated_time import SimulatedTime
from tests.proxy import Proxy

_GRADE = """
(assessment_id, class_id, student_id), version, score, state, kind, reason, sent_score,
sent_status, sent_origin, settled_version, pending_since, decide_from"""
_RUN = "service_date, kind, cutoff_at, state, posted, skipped, held, rejected, deferred, reasons"
_DISTRICT = "district_id, next_service_date, next_cutoff_at, start_at, attempts, decided_revision"


@dataclass
class Ending:
    """What a night left in Skyward and in the store.

    ``failures``: how many runs were broken off. ``repeated``: how many writes Skyward stored
    once more. ``attempts``: the reports of all its runs. ``findings``: what was not legal on the
    way there.
    """

    gradebook: list[dict[str, Any]]
    rows: dict[str, list[tuple[Any, ...]]]
    failures: int = field(compare=False)
    repeated: int = field(compare=False)
    attempts: list[RunReport] = field(compare=False)
    findings: list[Finding] = field(compare=False)


@dataclass
class DisturbedNight:
    """A night with Postgres behind ``proxy``; ``direct`` reaches it in any weather.

    ``renews_tokens``: the disturbance makes a run change its token.
    """

    nights: Nights
    database_url: str
    proxy: Proxy
    direct: Pool
    evening_at: datetime
    recorded: int
    renews_tokens: bool = False
    began: int = 0

    async def begin(self) -> SimulatedTime:
        """The evening before: everything recorded, nothing sent."""
        nights = self.nights
        await self.direct.execute("TRUNCATE grade, assessment, line_item, flush_run, sent, lease")
        del nights.evening.records[self.recorded :]
        nights.skyward.clear_faults()
        nights.skyward.empty_gradebook()
        nights.evening.now = nights.now = self.evening_at
        nights.published = 0
        time = SimulatedTime(nights, watch=self.direct, goes_on=True)
        await time.begin()
        await nights.record()
        self.began = nights.standin.journal_position()
        return time

    async def run(
        self,
        disturb: Callable[[], Awaitable[None]] | None = None,
        *,
        days: int = 1,
        linger: float = 0,
    ) -> Ending:
        """So many whole nights, gone on with until they are done, whatever ``disturb`` did.

        ``linger``: seconds until the journal is read.
        """
        time = await self.begin()
        if disturb is not None:
            await disturb()
        await time.pass_to(self.evening_at + timedelta(days=days))
        self.proxy.mend()
        await asyncio.sleep(linger)
        return await self.ending(time)

    async def ending(self, time: SimulatedTime) -> Ending:
        """What there is now, and the judgement of how it came there."""
        nights = self.nights
        stored = [w["sourcedId"] for w in nights.writes() if w["seq"] > self.began and w["stored"]]
        return Ending(
            gradebook=sorted(map(plainly, nights.skyward.gradebook()), key=str),
            rows=await rows_of(self.direct),
            failures=len(time.failures),
            repeated=len(stored) - len(set(stored)),
            attempts=time.reports,
            findings=list((await self._judged(time)).findings),
        )

    async def _judged(self, time: SimulatedTime) -> Judgement:
        nights, published = self.nights, self.nights.evening.records
        today = self.evening_at.astimezone(ZoneInfo(nights.zone)).date()
        roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
        oracle = Oracle(nights.settings, periods_by_class(roster))
        for one in published:
            oracle.fold(one)
        placed = [(one, (one.topic, 0, number)) for number, one in enumerate(published)]
        return judge(
            await gathered(
                nights.standin,
                self.database_url,
                list(read_published(placed)),
                after=self.began,
                expected={"lakeside": list(oracle.expected(time.evenings[-1].cutoff))},
                evenings={"lakeside": time.evenings},
                deaths=time.deaths,
                renews_tokens=self.renews_tokens,
            )
        )


async def rows_of(pool: Pool) -> dict[str, list[tuple[Any, ...]]]:
    """What the store says of a night, moments of the wall clock left out, by table."""
    return {
        table: [tuple(r) for r in await pool.fetch(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]
        for table, columns in (
            ("grade", _GRADE),
            ("line_item", "assessment_id, class_id, sourced_id, posted, refused"),
            ("flush_run", _RUN),
            ("district", _DISTRICT),
        )
    }


def plainly(line: dict[str, Any]) -> dict[str, Any]:
    """One object of the gradebook without the moment of its writing."""
    return {name: one for name, one in line.items() if name != "dateLastModified"}


@asynccontextmanager
async def disturbed_night(
    directory: Path, database_url: str, postgres: Postgres, *, patience: float = 60
) -> AsyncIterator[DisturbedNight]:
    """Two quizzes, one due and one not, 40 results, a dozen of them graded."""
    with Proxy(postgres.port) as proxy:
        async with (
            await connect(proxy.url(database_url), size=4) as pool,
            await connect(database_url, size=2) as direct,
            nights_of(directory, database_url, pool=pool, patience=patience) as nights,
        ):
            for number in range(2):
                nights.evening.assess("quiz", number=number, due_days=5 * number - 1)
                for student in range(6):
                    nights.evening.grade("quiz", student, "8", number=number)
            nights.evening.grade("quiz", 0, "8.5")
            yield DisturbedNight(
                nights, database_url, proxy, direct, nights.now, len(nights.evening.records)
            )

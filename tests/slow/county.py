"""Many districts beside each other in one store, each with a Skyward of its own in one stand-in."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from consumer.cutoff import Cutoff
from consumer.district import District, read_district
from consumer.flush.run import Flusher
from consumer.flush.schedule import Pace, Schedule
from consumer.gradebook import RunReport
from consumer.sandbox.roster import Roster, read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, district_settings
from consumer.sandbox.skyward import StandIn, StandInDistrict
from consumer.skyward import Network, Skyward
from consumer.store import districts
from consumer.store.connection import Pool, connect
from consumer.store.recording import record
from tests.evening import Evening
from tests.integration.nights import NOW, ZONE, batch_of

PACE: Final = Pace(
    jitter=timedelta(0),
    districts_at_once=16,
    intake_wait=timedelta(seconds=1),
    window=timedelta(hours=6),
)


@dataclass
class County:
    """``standing`` are the districts by name; ``reports`` and ``ended`` what came of their runs.

    ``everybody``: the one Skyward that all share, where each has none of its own.
    """

    pool: Pool
    network: Network
    standin: StandIn
    roster: Roster
    standing: dict[str, StandInDistrict] = field(default_factory=dict)
    now: datetime = NOW
    reports: list[RunReport] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)
    everybody: StandInDistrict | None = None

    async def found(self, names: Iterable[str], grades: int) -> None:
        """Districts with one quiz each, of which so many students have an 8."""
        for name in names:
            skyward = self.standing[name] = self.standin.add_district(name)
            settings = district_settings(
                self.roster,
                district_id=name,
                now=self.now,
                timezone=ZONE,
                cutoff="22:00",
                base_url=skyward.base_url,
                token_url=skyward.token_url,
            ) | {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
            cutoff = Cutoff(self.now.date(), self.now)
            await districts.apply(
                self.pool,
                read_district(settings).district,
                b"k",
                b"s",
                cutoff,
                cutoff.at,
                self.now,
            )
            evening = Evening(self.roster, name, self.now)
            evening.assess("quiz", due_days=5)
            for student in range(grades):
                evening.grade("quiz", student, "8")
            await record(self.pool, batch_of(evening), self.now)

    async def night(self) -> None:
        """Runs whatever is due until nothing is, or a minute has passed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.reports.clear()
        self.failures.clear()
        self.ended.clear()

        def finished(report: RunReport) -> None:
            self.reports.append(report)
            self.ended[report.district_id] = loop.time() - began

        schedule = Schedule(
            self.flusher(),
            PACE,
            lambda district: nullcontext(),
            finished,
            lambda district, error: self.failures.append((district, error)),
        )
        while len(self.ended) < len(self.standing) and loop.time() < began + 60:
            await schedule.start_due()
            await asyncio.sleep(0.05)
        assert await schedule.stop(10)

    def flusher(self) -> Flusher:
        return Flusher(
            pool=self.pool,
            holder="test",
            connect=self._connect,
            await_intake=_caught_up,
            now=lambda: self.now,
            counted=lambda district, tally: None,
        )

    async def again(self) -> None:
        """The same evening anew: nothing sent, everything due."""
        await self.pool.execute("TRUNCATE flush_run, sent, line_item, lease, skyward_district")
        await self.pool.execute(
            "UPDATE grade SET state = 'pending', kind = NULL, reason = NULL, sent_score = NULL,"
            " sent_status = NULL, sent_origin = NULL, sent_at = NULL, settled_version = NULL,"
            " pending_since = changed_at, decide_from = changed_at"
        )
        await self.pool.execute("UPDATE assessment SET decide_from = changed_at, wake_at = NULL")
        await self.pool.execute(
            "UPDATE district SET next_service_date = $1, next_cutoff_at = $2, start_at = $2,"
            " attempts = 0",
            self.now.date(),
            self.now,
        )
        for one in self.standing.values():
            one.empty_gradebook()

    def gradebooks(self) -> dict[str, list[str]]:
        """What each district's Skyward holds, without its own times and ids of the tenant."""
        return {
            name: sorted(
                str({k: v for k, v in line.items() if k != "dateLastModified"})
                for line in one.gradebook()
            )
            for name, one in self.standing.items()
        }

    @asynccontextmanager
    async def _connect(self, stored: Any, district: District) -> AsyncIterator[Skyward]:
        one = self.everybody or self.standing[district.district]
        async with Skyward.connect(
            district.skyward,
            one.client_id,
            one.client_secret,
            network=self.network,
            now=lambda: self.now,
            backoff=0.05,
        ) as skyward:
            yield skyward


async def _caught_up(wait: timedelta) -> bool:
    return True


@asynccontextmanager
async def county(
    directory: Path, database_url: str, *, patience: float = 60
) -> AsyncIterator[County]:
    today = NOW.astimezone(ZoneInfo(ZONE)).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    with StandIn(SCHOOL / "district", directory / "journal", today=today) as standin:
        async with (
            await connect(database_url, size=36) as pool,
            Network(
                allow_http=True,
                allowed_networks=[ip_network("127.0.0.0/8")],
                total_timeout=patience,
            ) as network,
        ):
            yield County(pool, network, standin, roster)

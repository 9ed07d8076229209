"""Nights of one district, run in this process and told the time: real store, real stand-in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from consumer import events
from consumer.cutoff import Cutoff
from consumer.district import District, read_district
from consumer.flush.run import Flusher
from consumer.gradebook import RunReport
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, district_settings
from consumer.sandbox.skyward import StandIn, StandInDistrict
from consumer.skyward import Network, Skyward
from consumer.store import districts
from consumer.store.connection import Pool, connect
from consumer.store.recording import Batch, Record, Recordable, record
from tests.evening import Evening

# Today, and always hours before the cutoff: what a night does may not depend on when it is tested.
NOW = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
ZONE = "America/Chicago"


def batch_of(evening: Evening, *, first: int = 0) -> Batch:
    """The evening's events from that number on, as intake would record them."""
    batch = Batch()
    for number, one in enumerate(evening.records[first:], start=first):
        key = one.key.encode()
        change = events.read(one.topic, key, one.value, (), one.timestamp_ms)
        at = Record(one.topic, 0, number, one.timestamp_ms, key, one.value, ())
        batch.changes.append(Recordable(change, at))
    return batch


@dataclass
class Nights:
    """One district, its evening's events, and runs of it at moments that the test names."""

    pool: Pool
    standin: StandIn
    skyward: StandInDistrict
    settings: dict[str, Any]
    evening: Evening
    network: Network
    now: datetime = NOW
    zone: str = ZONE
    published: int = 0
    caught_up: bool = True

    async def record(self) -> None:
        """Records what the evening holds that was not recorded yet."""
        if self.published == len(self.evening.records):
            return
        batch = batch_of(self.evening, first=self.published)
        self.published = len(self.evening.records)
        await record(self.pool, batch, self.now)

    async def apply(self, **changes: Any) -> None:
        self.settings |= changes
        district = read_district(self.settings).district
        later = Cutoff(self.now.date() + timedelta(days=30), self.now + timedelta(days=30))
        await districts.apply(self.pool, district, b"k", b"s", later, later.at, self.now)

    async def flush(self, days: int = 0) -> RunReport:
        """A run by hand ``days`` later than the one before, with the cutoff at that moment."""
        self.now += timedelta(days=days, minutes=1)
        await self.record()
        return await self.run("manual", self.cutoff())

    def cutoff(self) -> Cutoff:
        """The cutoff at this moment."""
        return Cutoff(self.now.astimezone(ZoneInfo(self.zone)).date(), self.now)

    def flusher(self, holder: str = "test") -> Flusher:
        return Flusher(
            pool=self.pool,
            holder=holder,
            connect=self._connect,
            await_intake=self._await_intake,
            now=lambda: self.now,
            counted=lambda district, tally: None,
        )

    async def run(self, kind: str, cutoff: Cutoff) -> RunReport:
        """One run of that cutoff; a nightly one goes on where the one before stopped."""
        flusher = self.flusher()
        stored = await districts.find(self.pool, "lakeside")
        assert stored is not None
        async with flusher.lease("lakeside") as lease:
            assert lease is not None
            return await flusher.flush(lease, stored, kind, cutoff, timedelta(seconds=1))

    async def _await_intake(self, wait: timedelta) -> bool:
        return self.caught_up

    @asynccontextmanager
    async def _connect(self, stored: Any, district: District) -> AsyncIterator[Skyward]:
        async with Skyward.connect(
            district.skyward,
            self.skyward.client_id,
            self.skyward.client_secret,
            network=self.network,
            now=lambda: self.now,
            backoff=0.01,
            delete=True,
        ) as skyward:
            yield skyward

    def period(self, number: int) -> str:
        """The first class's grading period: 1 has closed, 2 is open, 3 is to come."""
        term = min(self.evening.terms())
        return f"{term}-gp{number}"

    def operations(self, name: str) -> int:
        """How many requests of that name Skyward received."""
        return sum(1 for line in self.standin.journal_lines() if line["operation"] == name)

    async def rows(self) -> list[tuple[str, ...]]:
        """Every row that deciding may write, with the transaction that wrote it last."""
        found = []
        for table in ("grade", "assessment", "line_item"):
            rows = await self.pool.fetch(
                f"SELECT assessment_id, class_id, xmin::text FROM {table} ORDER BY 1, 2, 3"
            )
            found += [(table, *row) for row in rows]
        return found

    def writes(self) -> list[dict[str, Any]]:
        return [
            line
            for line in self.standin.journal_lines()
            if line["operation"].startswith(("put", "delete"))
        ]

    def scores(self) -> dict[str, str | None]:
        """What Skyward holds, by the student's number in the first class."""
        number = {s: i for i, s in enumerate(self.evening.students)}
        return {
            f"s-{number[line['student']]}": line["score"]
            for line in self.skyward.gradebook()
            if line.get("student") in number
        }

    def titles(self) -> set[str]:
        return {line["title"] for line in self.skyward.gradebook() if "title" in line}


@asynccontextmanager
async def nights_of(
    directory: Path,
    database_url: str,
    *,
    now: datetime = NOW,
    zone: str = ZONE,
    cutoff: str = "22:00",
    pool: Pool | None = None,
    patience: float = 60,
) -> AsyncIterator[Nights]:
    """The packaged school's district, applied, around ``now``, with a stand-in Skyward of its own.

    ``pool`` reaches the same database in another way; it is left open. ``patience`` is how many
    seconds Skyward's answers are waited for.
    """
    today = now.astimezone(ZoneInfo(zone)).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    standin = StandIn(
        SCHOOL / "district",
        directory / "j",
        today=today,
        settings={"timezone": zone},
        district="lakeside",
    )
    with standin:
        skyward = standin.district()
        settings = district_settings(
            roster,
            district_id="lakeside",
            now=now,
            timezone=zone,
            cutoff=cutoff,
            base_url=skyward.base_url,
            token_url=skyward.token_url,
        ) | {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
        evening = Evening(roster, "lakeside", now)
        async with (
            await connect(database_url, size=4) as own,
            Network(
                allow_http=True,
                allowed_networks=[ip_network("127.0.0.0/8")],
                total_timeout=patience,
            ) as network,
        ):
            built = Nights(
                pool or own, standin, skyward, settings, evening, network, now=now, zone=zone
            )
            await built.apply()
            yield built

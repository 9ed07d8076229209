"""The real daemon while Postgres is killed, fails over, is full, is far away or says nothing."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from consumer.flush.sending import WINDOW
from consumer.sandbox.kafka import Kafka
from consumer.sandbox.oracle import Oracle, compare, periods_by_class
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, school_day
from consumer.sandbox.skyward import StandIn
from tests.proxy import Proxy
from tests.slow.table import Row, Table
from tests.system.town import ZONE, Town, soon, until

MIDWAY = (400, 1_000, 1_600)
"""How many of the packaged school's 3,000 results Skyward holds when a fault begins."""


@dataclass
class Mortal:
    """A town on a Postgres of its own, which the daemon, or ``program``, reaches through ``proxy``.

    ``patience``: seconds after a fault in which results have to go on.
    """

    town: Town
    postgres: Postgres
    proxy: Proxy
    program: tuple[str, ...] = ()
    patience: float = 180

    async def night(
        self, table: type[Table], name: str, fault: Callable[[], Awaitable[None]]
    ) -> None:
        """A whole night with the fault thrice in its middle, judged at its end."""
        town, now = self.town, datetime.now(UTC)
        settings = town.settings()
        oracle = Oracle(settings, periods_by_class(town.roster))
        records = list(
            school_day(town.roster, SCHOOL / "oulad", district_id=town.district, now=now, seed=2)
        )
        for record in records:
            oracle.fold(record)
        await town.publish(records)
        applied = await asyncio.to_thread(town.apply, settings | {"cutoff": soon(20)})
        assert applied.returncode == 0, applied.stderr
        # So slow that no fault comes when all is done.
        town.skyward.configure(latency=0.01)
        recovered = 0.0
        with town.daemon(*self.program) as daemon:
            for place in MIDWAY:
                await until(lambda: self._results() >= place, 180)  # noqa: B023
                await fault()
                ended, held = time.monotonic(), self._results()
                await until(lambda: self._results() > held, self.patience)  # noqa: B023
                recovered = max(recovered, time.monotonic() - ended)
            town.skyward.configure(latency=0)
            await until(self._done, 240)
            assert daemon.poll() is None
        (report,) = await self._reports()
        cutoff = datetime.fromisoformat(report["cutoff_at"])
        differences = compare(
            oracle.expected(cutoff), town.skyward.gradebook_lines(), district_id=town.district
        )
        stored = [w["sourcedId"] for w in town.writes() if w["stored"]]
        repeated = len(stored) - len(set(stored))
        expected = [e for *_, e in oracle.expected(cutoff)]
        table.add(
            Row(
                name,
                len(MIDWAY),
                len(differences),
                report["results"]["posted"] - sum(1 for e in expected if e.stands),
                repeated,
                recovered,
                f"the real daemon; {len(expected):,} values against the answer key;"
                " a build that gives its night up is noticed",
            )
        )
        # A line item may be in flight with each batch, too.
        assert repeated <= 2 * WINDOW * len(MIDWAY)

    def _results(self) -> int:
        return int(self.town.skyward.counts()["results"])

    async def _reports(self) -> list[dict[str, Any]]:
        found = await asyncio.to_thread(self.town.answer, "runs", self.town.district)
        return list(found)

    async def _done(self) -> bool:
        await asyncio.sleep(1)
        return [report["state"] for report in await self._reports()] == ["done"]

    async def die(self) -> None:
        """Postgres is killed, and starts again two seconds later."""
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.sleep(2)
        await asyncio.to_thread(self.postgres.start)

    async def execute(self, statement: str) -> None:
        """Runs SQL past the proxy."""
        writable = {"default_transaction_read_only": "off"}
        connection = await asyncpg.connect(self.postgres.url(), server_settings=writable)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture
async def mortal(
    tmp_path: Path, services_directory: Path, kafka_broker: Kafka, topic_prefix: str
) -> AsyncIterator[Mortal]:
    today = datetime.now(ZONE).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    postgres = Postgres(services_directory / f"{topic_prefix}postgres", durable=False)
    await asyncio.to_thread(postgres.start)
    try:
        with (
            Proxy(postgres.port) as proxy,
            StandIn(
                SCHOOL / "district", tmp_path / "journal", today=today, district="lakeside"
            ) as standin,
        ):
            town = Town(
                tmp_path, proxy.url(postgres.url()), kafka_broker, topic_prefix, standin, roster
            )
            await town.found()
            migrated = await asyncio.to_thread(town.passback, "migrate")
            assert migrated.returncode == 0, migrated.stderr
            yield Mortal(town, postgres, proxy)
    finally:
        await asyncio.to_thread(postgres.stop, "immediate")


pytestmark = pytest.mark.timeout(900)


async def test_postgres_killed_and_restarted_in_mid_run(mortal: Mortal, table: type[Table]) -> None:
    await mortal.night(table, "Postgres killed and restarted in mid-run", mortal.die)


async def test_a_build_that_gives_its_night_up_with_postgres_is_noticed(
    mortal: Mortal, table: type[Table]
) -> None:
    mortal.program = (sys.executable, "-m", "tests.slow.broken_daemons", "gives_its_night_up")
    mortal.patience = 60
    with pytest.raises(AssertionError, match="not so within 60 s"):
        await mortal.night(table, "", mortal.die)
    assert mortal.town.skyward.counts()["results"] >= MIDWAY[0]


async def test_a_failover(mortal: Mortal, table: type[Table]) -> None:
    """Connections cut, then refused, then a server that is still read-only."""

    async def fault() -> None:
        mortal.proxy.cut()
        mortal.proxy.refuse()
        await asyncio.sleep(2)
        await mortal.execute("ALTER DATABASE postgres SET default_transaction_read_only TO on")
        mortal.proxy.accept()
        await asyncio.sleep(3)
        mortal.proxy.refuse()
        await mortal.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
        mortal.proxy.cut()
        mortal.proxy.accept()

    await mortal.night(table, "Postgres fails over: cut, refused, read-only, back", fault)


async def test_connections_that_a_failover_left_stranded(
    mortal: Mortal, table: type[Table]
) -> None:
    async def fault() -> None:
        mortal.proxy.strand()
        await asyncio.sleep(0)

    await mortal.night(table, "open connections to Postgres hang for ever, new ones work", fault)


async def test_a_network_that_holds_everything_back(mortal: Mortal, table: type[Table]) -> None:
    async def fault() -> None:
        mortal.proxy.hang()
        await asyncio.sleep(15)
        mortal.proxy.flow()

    await mortal.night(table, "the way to Postgres carries nothing for 15 s", fault)


async def test_a_slow_network(mortal: Mortal, table: type[Table]) -> None:
    async def fault() -> None:
        mortal.proxy.delay, mortal.proxy.rate = 0.05, 200_000
        await asyncio.sleep(10)
        mortal.proxy.mend()

    await mortal.night(table, "the way to Postgres at 200 kB/s and 100 ms there and back", fault)


async def test_no_connection_left(mortal: Mortal, table: type[Table]) -> None:
    """Others hold every connection that Postgres has, and the daemon's own were ended."""

    async def fault() -> None:
        taken: list[Any] = []
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name"
        try:
            for _ in range(2):
                with_room = True
                while with_room:
                    wanted = (asyncpg.connect(mortal.postgres.url()) for _ in range(16))
                    found = await asyncio.gather(*wanted, return_exceptions=True)
                    taken += [one for one in found if isinstance(one, asyncpg.Connection)]
                    refused = [one for one in found if isinstance(one, BaseException)]
                    with_room = not refused
                    assert all(isinstance(e, asyncpg.TooManyConnectionsError) for e in refused)
                await taken[0].execute(f"{ended} = 'skyward-passback'")
                await asyncio.sleep(0.2)
            await asyncio.sleep(5)
        finally:
            await asyncio.gather(*(one.close() for one in taken))

    await mortal.night(table, "every connection of Postgres is taken by others", fault)


async def test_a_full_disk(mortal: Mortal, table: type[Table]) -> None:
    await mortal.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device'
                USING ERRCODE = 'disk_full';
        END $$
        """
    )

    async def fault() -> None:
        await mortal.execute(
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON grade"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
        )
        await asyncio.sleep(4)
        await mortal.execute("DROP TRIGGER refuse ON grade")

    await mortal.night(table, "Postgres has no room to write (53100)", fault)

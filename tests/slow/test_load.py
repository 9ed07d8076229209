"""Loads at which a process that kept what it passes on would run out of memory, or of patience."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest

from consumer.flush.schedule import Schedule
from consumer.gradebook import RunReport
from consumer.sandbox.otus import Record
from consumer.sandbox.postgres import Postgres
from tests.history.clauses import results_each
from tests.integration.nights import NOW
from tests.proxy import Proxy
from tests.slow.county import PACE, county
from tests.slow.table import Row, Table
from tests.system.town import Town, until

MIB = 1024 * 1024


@dataclass
class Memory:
    """The resident memory of a process in MiB, four times a second."""

    seen: list[float] = field(default_factory=list)

    @property
    def peak(self) -> float:
        return max(self.seen, default=0.0)

    @property
    def growth(self) -> float:
        """How much higher the last third's peak is than that of the second."""
        third = max(len(self.seen) // 3, 1)
        return max(self.seen[-third:]) - max(self.seen[third : 2 * third] or [0.0])


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Looks at a process' memory four times a second."""
    memory, over = Memory(), threading.Event()

    def look() -> None:
        process = psutil.Process(pid)
        while not over.wait(0.25):
            try:
                memory.seen.append(process.memory_info().rss / MIB)
            except psutil.NoSuchProcess:
                return

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield memory
    finally:
        over.set()
        watch.join()


# With two cores and the stand-in's enforcement, 200,000 results are what fits ten minutes.
ITEMS_A_CLASS = 100
BOUND = 200
"""MiB: no run of a district may take more, however many wait."""

EVERYTHING_AT_ONCE = """
from consumer.store import undecided
assert undecided.ITEMS and undecided.GRADES
undecided.ITEMS = undecided.GRADES = 10_000_000
"""


def passback(town: Town, *arguments: str, broken: str = "") -> subprocess.Popen[bytes]:
    """A command in a process of its own, of a build that ``broken`` has changed."""
    program = f"{broken}\nfrom consumer.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=town.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


async def fill(town: Town, items: int) -> int:
    """So many assessments in each class, each student with a grade of each; returns the grades."""
    now = datetime.now(UTC) - timedelta(hours=1)
    classes = sorted(town.roster.classes)
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute(
            "INSERT INTO membership VALUES ('lakeside', 't-1', 1, true, $1, 0, 0)",
            now - timedelta(days=400),
        )
        await connection.execute(
            "INSERT INTO assessment (district_id, assessment_id, class_id, version, title, type,"
            " format, grading_scale, points_possible, include_in_final_grade, assigner_id,"
            " assigner_in_sis, assigned_at, due_at, status, class_sourced_id, school_sourced_id,"
            " assignees, changed_at, log_partition, log_offset, decide_from)"
            " SELECT 'lakeside', to_char(n, 'FMa-000000'), c.class_id, 1, 'Quiz ' || n, 'Quiz',"
            " 'simple', 'points', 10, true, 't-1', true, $5, $6, 'active', c.class_id, c.school,"
            " c.assignees::jsonb, $5, 0, 0, $5"
            " FROM unnest($1::text[], $2::text[], $3::text[]) AS c (class_id, school, assignees),"
            " generate_series(1, $4) n",
            classes,
            [town.roster.classes[c].school for c in classes],
            [json.dumps({s: s for s in town.roster.students_of(c)}) for c in classes],
            items,
            now,
            now + timedelta(days=5),
        )
        status = await connection.execute(
            "INSERT INTO grade (district_id, assessment_id, class_id, student_id, version, score,"
            " completion, submission, changed_at, log_partition, log_offset, pending_since,"
            " decide_from)"
            " SELECT district_id, assessment_id, class_id, s, 1, 8, 'graded', 'on_time', $1, 0, 0,"
            " $1, $1 FROM assessment, jsonb_object_keys(assignees) s",
            now,
        )
        await connection.execute("ANALYZE")
        return int(status.rsplit(" ", 1)[-1])
    finally:
        await connection.close()


@pytest.mark.timeout(1500)
async def test_hundreds_of_thousands_pending_in_one_district(
    town: Town, table: type[Table]
) -> None:
    assert town.passback("migrate").returncode == 0
    settings = town.settings(effective_date="2020-01-01", live_since="2020-01-01")
    settings["skyward"]["max_concurrency"] = 20
    applied = town.apply(settings)
    assert applied.returncode == 0, applied.stderr
    pending = await fill(town, ITEMS_A_CLASS)

    greedy = passback(town, "flush", "lakeside", broken=EVERYTHING_AT_ONCE)
    with watched(greedy.pid) as memory:
        while greedy.poll() is None and memory.peak < BOUND:
            await asyncio.sleep(0.25)
    greedy.kill()
    greedy.communicate()
    assert memory.peak >= BOUND
    await _expire_leases(town)

    began = time.monotonic()
    process = passback(town, "flush", "lakeside", "--json")
    with watched(process.pid) as memory:
        out, _ = await asyncio.to_thread(process.communicate)
    report = json.loads(out)
    assert (report["state"], report["results"]["posted"]) == ("done", pending)
    held = town.skyward.counts()["results"]
    table.add(
        Row(
            f"{pending:,} pending in one district (a million, scaled to ten minutes)",
            1,
            pending - held,
            max(held - pending, 0),
            sum(1 for _ in _results(town)) - held,
            time.monotonic() - began,
            f"{memory.peak:.0f} MiB at the most, {memory.growth:+.0f} MiB over the last third; a"
            f" build that reads everything at once passes {BOUND} MiB",
        )
    )
    assert memory.peak < BOUND
    assert memory.growth < 20


def _results(town: Town) -> Iterator[bytes]:
    """The journal's lines of results that were stored, one by one."""
    with town.standin.journal.open("rb") as lines:
        for line in lines:
            if b'"putResult"' in line and b'"stored":true' in line:
                yield line


async def _expire_leases(town: Town) -> None:
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute("UPDATE lease SET expires_at = '-infinity'")
    finally:
        await connection.close()


# -- ten thousand districts in one hour -----------------------------------------------------

DISTRICTS = 10_000
DEAD = 100
HOUR_LASTS = 240.0
"""Seconds in which the simulated hour passes."""

CLONED = """
WITH one AS (SELECT * FROM district WHERE district_id = 'district-00000'),
cloned AS (
    INSERT INTO district (district_id, revision, settings, sealed_key, sealed_secret,
        first_applied_at, applied_at, next_service_date, next_cutoff_at, start_at)
    SELECT n.id, 1, jsonb_set(jsonb_set(one.settings, '{district}', to_jsonb(n.id)),
            '{skyward,base_url}', CASE WHEN number % $4 = 1 THEN to_jsonb($5::text)
                ELSE one.settings #> '{skyward,base_url}' END),
        one.sealed_key, one.sealed_secret, one.first_applied_at, one.applied_at,
        one.next_service_date, $1::timestamptz + number * $2::interval,
        $1::timestamptz + number * $2::interval
    FROM one, generate_series(1, $3) number,
        LATERAL (SELECT to_char(number, 'FM"district-"00000') AS id) n
    RETURNING district_id, settings
), revisions AS (
    INSERT INTO settings_revision SELECT district_id, 1, settings, $1 FROM cloned
), members AS (
    INSERT INTO membership SELECT c.district_id, m.teacher_id, m.version, m.member,
        m.changed_at, 0, 0 FROM cloned c, membership m WHERE m.district_id = 'district-00000'
)
SELECT count(*) FROM cloned"""


@pytest.mark.timeout(1500)
async def test_ten_thousand_districts_due_in_one_hour(
    tmp_path: Path, database_url: str, table: type[Table]
) -> None:
    async with county(tmp_path, database_url) as many:
        await many.found(["district-00000"], grades=2)
        one = many.standing["district-00000"]
        apart = timedelta(hours=1) / DISTRICTS
        await many.pool.fetchval(
            CLONED, NOW, apart, DISTRICTS - 1, DISTRICTS // DEAD, "http://127.0.0.1:9/"
        )
        for name in ("assessment", "grade"):
            await many.pool.execute(
                f"INSERT INTO {name} SELECT (jsonb_populate_record(one,"
                " jsonb_build_object('district_id', d.district_id))).*"
                f" FROM {name} one, district d WHERE one.district_id = 'district-00000'"
                " AND d.district_id <> 'district-00000'"
            )
        await many.pool.execute("ANALYZE")
        loop = asyncio.get_running_loop()
        began = loop.time()
        started: list[str] = []
        waited: list[float] = []
        reports: dict[str, RunReport] = {}

        def now() -> datetime:
            return NOW + timedelta(hours=1) * ((loop.time() - began) / HOUR_LASTS)

        due_at = {f"district-{n:05}": NOW + n * apart for n in range(DISTRICTS)}

        @contextmanager
        def flushing(district_id: str) -> Iterator[None]:
            if district_id not in reports:
                started.append(district_id)
                waited.append((now() - due_at[district_id]).total_seconds())
            yield

        def finished(report: RunReport) -> None:
            reports.setdefault(report.district_id, report)

        flusher = replace(many.flusher(), now=now)
        failures: list[Exception] = []
        schedule = Schedule(
            flusher, PACE, flushing, finished, lambda district, error: failures.append(error)
        )
        many.everybody = one
        while len(reports) < DISTRICTS:
            await schedule.start_due()
            await asyncio.sleep(0.05)
        assert await schedule.stop(10)
        seconds = loop.time() - began
        assert failures == []
        late = [place - number for place, number in enumerate(map(_number, started))]
        deferred = [r.district_id for r in reports.values() if r.state != "done"]
        posted = sum(r.results["posted"] for r in reports.values())
        table.add(
            Row(
                f"{DISTRICTS:,} districts due in one hour, {DEAD} of them without a Skyward",
                1,
                2 * (DISTRICTS - DEAD) - one.counts()["results"],
                sum(n - 1 for n in results_each(one.gradebook()).values()),
                one.counts()["results"] - posted,
                None,
                f"the longest wait was {max(waited) / 60:.1f} of its minutes (an hour in"
                f" {HOUR_LASTS:.0f} s, all in {seconds:.0f} s); none was overtaken by more than"
                f" {max(late)}",
            )
        )
        assert len(deferred) == DEAD
        # First due, first begun: whoever overtook was let in beside it.
        assert max(late) <= 2 * PACE.districts_at_once


def _number(district_id: str) -> int:
    return int(district_id.removeprefix("district-"))


# -- a topic replayed -------------------------------------------------------------------------

EVENTS = 1_000_000
KEYS = 100_000

WITHOUT_BACK_PRESSURE = """
import asyncio
from consumer import intake
record, tasks = intake.Intake._record, set()
async def later(self, polled):
    tasks.add(asyncio.create_task(record(self, polled)))
intake.Intake._record = later
"""


def events() -> Iterator[Record]:
    """Ten versions of each key, one after the other, as upstream writes them."""
    now = datetime.now(UTC)
    at, stamp = now.isoformat(), int(now.timestamp() * 1000)
    for number in range(EVENTS):
        version, student = divmod(number, KEYS)
        key = f"lakeside/a-{student // 100}/c-1/s-{student % 100}"
        value = (
            f'{{"specversion":"1.0","id":"e-{number}","source":"/otus/gradebook",'
            f'"type":"com.otus.grade-changed.v1","subject":"{key}","time":"{at}",'
            f'"data":{{"district_id":"lakeside","assessment_id":"a-{student // 100}",'
            f'"class_id":"c-1","student_id":"s-{student % 100}","version":{version + 1},'
            f'"score":"{version}","completion":"graded","submission":"on_time"}}}}'
        )
        yield Record("grade-changed", key, value.encode(), stamp)


@pytest.mark.timeout(1500)
async def test_a_long_topic_read_and_replayed(
    town: Town, table: type[Table], postgres_server: Postgres
) -> None:
    assert town.passback("migrate").returncode == 0
    assert town.apply(town.settings()).returncode == 0
    await town.publish(events())
    direct = await asyncpg.connect(town.database_url)
    with Proxy(postgres_server.port) as proxy:
        town.database_url = proxy.url(town.database_url)

        # Reads far faster than Postgres takes it, and keeps what is not taken.
        proxy.rate = 500_000
        heedless = passback(town, "run", broken=WITHOUT_BACK_PRESSURE)
        with watched(heedless.pid) as unbounded:
            await until(lambda: unbounded.peak > BOUND or heedless.poll() is not None, 120)
        heedless.kill()
        heedless.communicate()
        assert unbounded.peak > BOUND

        with town.daemon() as daemon, watched(daemon.pid) as slowed:
            await asyncio.sleep(30)
        proxy.mend()
        began = time.monotonic()
        with town.daemon() as daemon, watched(daemon.pid) as reading:
            await until(lambda: _is_read(direct), 600)
        read_in = time.monotonic() - began
        (stored,) = await direct.fetch(STORED)
        assert (stored["rows"], stored["newest"]) == (KEYS, EVENTS // KEYS)

        await direct.execute("UPDATE intake_offset SET next_offset = 0")
        began = time.monotonic()
        with town.daemon() as daemon, watched(daemon.pid) as replaying:
            await until(lambda: _is_read(direct), 600)
        replayed_in = time.monotonic() - began
        (again,) = await direct.fetch(STORED)
    await direct.close()
    peaks = [slowed.peak, reading.peak, replaying.peak]
    table.add(
        Row(
            f"a topic of {EVENTS:,} events read, and replayed (ten million, scaled)",
            2,
            KEYS - again["rows"],
            int(stored != again),
            0,
            replayed_in,
            f"read in {read_in:.0f} s; {slowed.peak:.0f} MiB while Postgres took 500 kB/s,"
            f" {max(peaks):.0f} MiB at the most; without back-pressure {unbounded.peak:.0f} MiB"
            " and growing",
        )
    )
    assert max(peaks) < BOUND


STORED = """
SELECT count(*) AS rows, max(version) AS newest, sum(revision) AS revisions,
    bit_xor(hashtextextended(g::text, 0)) AS content FROM grade g"""


async def _is_read(connection: asyncpg.Connection) -> bool:
    await asyncio.sleep(0.5)
    return bool(await connection.fetchval("SELECT sum(next_offset) FROM intake_offset") == EVENTS)

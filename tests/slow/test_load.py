"""Loads at which a process that kept what it passes on would run out of memory, or of patience."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest

from consumer.cutoff import Cutoff
from consumer.flush.schedule import Schedule, first_start
from consumer.gradebook import RunReport
from consumer.sandbox.otus import Record, milliseconds
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.skyward import StandInDistrict
from consumer.settings import Settings
from consumer.store.connection import Pool
from tests.history.clauses import results_each
from tests.integration.nights import NOW
from tests.proxy import Proxy
from tests.slow.county import PACE, County, county
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


ITEMS_A_CLASS = 500
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


@pytest.mark.timeout(3600)
async def test_a_million_pending_in_one_district(town: Town, table: type[Table]) -> None:
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
            f"{pending:,} pending in one district",
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
MINUTES = 60
HOUR_LASTS = 300.0
"""Seconds in which the simulated hour passes."""

SPREAD = replace(
    PACE, jitter=timedelta(seconds=Settings.model_fields["cutoff_jitter_seconds"].default)
)

CLONED = """
WITH one AS (SELECT * FROM district WHERE district_id = 'district-00000'),
cloned AS (
    INSERT INTO district (district_id, revision, settings, sealed_key, sealed_secret,
        first_applied_at, applied_at, next_service_date, next_cutoff_at, start_at)
    SELECT n.district_id, 1, jsonb_set(jsonb_set(one.settings, '{district}',
            to_jsonb(n.district_id)), '{skyward,base_url}', CASE WHEN n.dead
                THEN to_jsonb($5::text) ELSE one.settings #> '{skyward,base_url}' END),
        one.sealed_key, one.sealed_secret, one.first_applied_at, one.applied_at,
        one.next_service_date, n.cutoff_at, n.start_at
    FROM one, unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::boolean[])
        AS n (district_id, cutoff_at, start_at, dead)
    RETURNING district_id, settings, first_applied_at
), revisions AS (
    INSERT INTO settings_revision SELECT district_id, 1, settings, first_applied_at FROM cloned
), members AS (
    INSERT INTO membership SELECT c.district_id, m.teacher_id, m.version, m.member,
        m.changed_at, 0, 0 FROM cloned c, membership m WHERE m.district_id = 'district-00000'
)
SELECT count(*) FROM cloned"""


@dataclass
class Hour:
    """An hour's runs as they begin and end: what was begun when, and how many went on at once.

    ``due_at``: when each district's run was to begin. ``seconds``: what all of it took.
    """

    due_at: dict[str, datetime]
    begun: dict[str, datetime] = field(default_factory=dict)
    posted: dict[str, int] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    seconds: float = 0.0
    at_once: int = 0
    most_at_once: int = 0

    @contextmanager
    def flushing(self, district_id: str, now: datetime) -> Iterator[None]:
        self.begun.setdefault(district_id, now)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            self.at_once -= 1

    def finished(self, report: RunReport) -> None:
        if report.state != "done":
            self.deferred.add(report.district_id)
        self.posted.setdefault(report.district_id, report.results["posted"])

    @property
    def overtaken(self) -> int:
        """By how many that were due later the unluckiest was overtaken."""
        in_order = sorted(self.due_at, key=lambda name: (self.due_at[name], name))
        due_as = {name: place for place, name in enumerate(in_order)}
        return max(place - due_as[name] for place, name in enumerate(self.begun))

    async def pass_by(self, many: County, lasts: float) -> None:
        """Runs whatever is due in an hour that lasts so many seconds, until all had their run."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        def now() -> datetime:
            return NOW + timedelta(hours=1) * ((loop.time() - began) / lasts)

        schedule = Schedule(
            replace(many.flusher(), now=now),
            SPREAD,
            lambda district: self.flushing(district, now()),
            self.finished,
            lambda district, error: self.failures.append(error),
        )
        while len(self.posted) < len(self.due_at):
            await schedule.start_due()
            await asyncio.sleep(0.05)
        assert await schedule.stop(10)
        self.seconds = loop.time() - began


@pytest.mark.timeout(1500)
async def test_ten_thousand_districts_due_in_one_hour(
    tmp_path: Path, database_url: str, table: type[Table]
) -> None:
    async with county(tmp_path, database_url) as many:
        one = many.everybody = await _founded(many)
        hour = Hour(await _cloned(many, DISTRICTS, DEAD))
        # Of those whose cutoff is one minute's, no second has more than a tenth.
        seconds_of_starts = Counter(int(at.timestamp()) for at in hour.due_at.values())
        assert max(seconds_of_starts.values()) <= DISTRICTS / MINUTES / 10
        with watched(os.getpid()) as memory:
            await hour.pass_by(many, HOUR_LASTS)
        assert hour.failures == []
        runs = await many.pool.fetchrow(RUNS)
        assert runs is not None
        waits = [(at - hour.due_at[name]).total_seconds() for name, at in hour.begun.items()]
        longest = max(waits) / 3600 * HOUR_LASTS
        held = one.counts()["results"]
        table.add(
            Row(
                f"{DISTRICTS:,} districts due in one hour, {DEAD} of them without a Skyward",
                1,
                2 * (DISTRICTS - DEAD) - held,
                sum(n - 1 for n in results_each(one.gradebook()).values()),
                held - sum(hour.posted.values()),
                None,
                f"the longest wait for one of {SPREAD.districts_at_once} places was {longest:.1f} s"
                f" (an hour in {HOUR_LASTS:.0f} s, all done in {hour.seconds:.0f} s); none was"
                f" overtaken by more than {hour.overtaken}, which a build that knows no order does"
                f" not keep; {memory.peak:.0f} MiB at the most, {memory.growth:+.0f} MiB over the"
                " last third",
            )
        )
        # One run each, and of the dead ones one that goes on.
        assert tuple(runs) == (DISTRICTS, DISTRICTS, DISTRICTS - DEAD, 2 * (DISTRICTS - DEAD))
        assert len(hour.deferred) == DEAD
        assert min(waits) >= 0
        assert hour.most_at_once == SPREAD.districts_at_once
        assert hour.overtaken <= OVERTAKEN
        assert hour.seconds < 2 * HOUR_LASTS
        assert memory.growth < 20


# First due, first begun: whoever overtook was let in beside it.
OVERTAKEN = 2 * SPREAD.districts_at_once


async def test_a_build_that_begins_districts_in_any_order_is_noticed(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.store.runs.due", _due_in_any_order)
    async with county(tmp_path, database_url) as many:
        many.everybody = await _founded(many)
        hour = Hour(await _cloned(many, 400, 4))
        # Far more a second than there is room for, so that many are due at once.
        await hour.pass_by(many, 2)
        assert hour.overtaken > OVERTAKEN


async def _due_in_any_order(pool: Pool, now: datetime, limit: int) -> list[str]:
    rows = await pool.fetch(
        "SELECT district_id FROM district WHERE start_at <= $1 ORDER BY md5(district_id) LIMIT $2",
        now,
        limit,
    )
    return [row["district_id"] for row in rows]


RUNS = """
SELECT count(*), count(DISTINCT district_id), count(*) FILTER (WHERE state = 'done'),
    sum(posted)::bigint
FROM flush_run WHERE kind = 'nightly'"""


async def _founded(many: County) -> StandInDistrict:
    """The one district that all others are like, and the Skyward that they share."""
    await many.found(["district-00000"], grades=2)
    return many.standing["district-00000"]


async def _cloned(many: County, number_of: int, dead_ones: int) -> dict[str, datetime]:
    """The county's one district so many times over, and when each is to begin.

    Cutoffs are at full minutes, of which each has as many districts as the next.
    """
    start_at: dict[str, datetime] = {"district-00000": NOW}
    cutoff_at: dict[str, datetime] = {}
    for number in range(1, number_of):
        name = f"district-{number:05}"
        cutoff_at[name] = NOW + timedelta(minutes=number % MINUTES)
        cutoff = Cutoff(NOW.date(), cutoff_at[name])
        start_at[name] = first_start(name, cutoff, SPREAD.jitter)
    dead = [number % (number_of // dead_ones) == 1 for number in range(1, number_of)]
    starts = [start_at[name] for name in cutoff_at]
    await many.pool.fetchval(
        CLONED, list(cutoff_at), list(cutoff_at.values()), starts, dead, "http://127.0.0.1:9/"
    )
    for name in ("assessment", "grade"):
        await many.pool.execute(
            f"INSERT INTO {name} SELECT (jsonb_populate_record(one,"
            " jsonb_build_object('district_id', d.district_id))).*"
            f" FROM {name} one, district d WHERE one.district_id = 'district-00000'"
            " AND d.district_id <> 'district-00000'"
        )
    await many.pool.execute("ANALYZE")
    return start_at


# -- a topic replayed -------------------------------------------------------------------------

EVENTS = 10_000_000
KEYS = 1_000_000

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
    at, stamp = now.isoformat(), milliseconds(now)
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


@pytest.mark.timeout(3600)
async def test_ten_million_events_read_and_replayed(
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
            await until(lambda: _is_read(direct), 1200)
        read_in = time.monotonic() - began
        (stored,) = await direct.fetch(STORED)
        assert (stored["rows"], stored["newest"]) == (KEYS, EVENTS // KEYS)

        await direct.execute("UPDATE intake_offset SET next_offset = 0")
        began = time.monotonic()
        with town.daemon() as daemon, watched(daemon.pid) as replaying:
            await until(lambda: _is_read(direct), 1200)
        replayed_in = time.monotonic() - began
        (again,) = await direct.fetch(STORED)
    await direct.close()
    peaks = [slowed.peak, reading.peak, replaying.peak]
    table.add(
        Row(
            f"a topic of {EVENTS:,} events read, and replayed",
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

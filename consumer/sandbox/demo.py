"""A whole district's day on this machine: real Kafka, real Postgres, the stand-in Skyward.

A school day of real submissions is published, the district is applied, the daemon runs
through one night, and what Skyward then holds is checked against an answer key that is worked
out from the published events alone, without the product's rules. Then a second flush must
send nothing, and one grade that did not pass is explained.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psutil
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from consumer.errors import PassbackError
from consumer.gradebook import REASONS, Kind, RunReport
from consumer.sandbox.kafka import Kafka
from consumer.sandbox.oracle import Expected, Oracle, compare, periods_by_class
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.publish import publish
from consumer.sandbox.roster import Roster, RosterError, read_roster, with_grading_periods
from consumer.sandbox.school_calendar import SchoolDayError
from consumer.sandbox.schoolday import SCHOOL, Record, district_settings, school_day
from consumer.sandbox.skyward import StandIn, StandInDistrict
from consumer.sandbox.submissions import SubmissionsError
from consumer.store import runs
from consumer.store.connection import Pool, connect

DISTRICT: Final = "lakeside"
ZONE: Final = "America/Chicago"
TOPICS: Final = ("assessment-changed", "grade-changed", "passback-group-changed")
_PARTITIONS: Final = 6
_UNTIL_CUTOFF: Final = timedelta(seconds=4)
_LONGEST_NIGHT: Final = 900.0
_WRITES: Final = frozenset({"PUT", "POST", "DELETE"})


DemoError = (RosterError, SubmissionsError, SchoolDayError)
"""What is wrong with the folders that were given, in one sentence."""


class Demo:
    """One run of the demo; everything it starts ends with it."""

    def __init__(self, oneroster: Path | None, submissions: Path | None, console: Console) -> None:
        self._roster_directory = oneroster or SCHOOL / "district"
        self._submissions = submissions or SCHOOL / "oulad"
        self._console = console
        self._began = time.monotonic()

    async def run(self) -> list[str]:
        """Runs it all; each line that it returns is something that was not as it must be.

        Raises ``PassbackError`` where a part of it cannot be started, and one of ``DemoError``.
        """
        with tempfile.TemporaryDirectory(prefix="passback-demo-") as name:
            directory = Path(name)
            async with self._services(directory) as (postgres, kafka):
                return await self._day(directory, postgres, kafka)

    @contextlib.asynccontextmanager
    async def _services(self, directory: Path) -> AsyncIterator[tuple[Postgres, Kafka]]:
        self._say("Starting a real Postgres, a real Kafka and the stand-in Skyward")
        postgres, kafka = Postgres(directory / "postgres"), Kafka(directory / "kafka")
        try:
            await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(kafka.start))
            yield postgres, kafka
        finally:
            await asyncio.gather(asyncio.to_thread(postgres.stop), asyncio.to_thread(kafka.stop))

    async def _day(self, directory: Path, postgres: Postgres, kafka: Kafka) -> list[str]:
        now = datetime.now(UTC)
        today = now.astimezone(ZoneInfo(ZONE)).date()
        roster = with_grading_periods(read_roster(self._roster_directory), today)
        standin = StandIn(
            self._roster_directory, directory / "journal.ndjson", today=today, district=DISTRICT
        )
        with standin:
            skyward = standin.district()
            environment = self._environment(directory, postgres, kafka)
            _cli(environment, "migrate")
            await kafka.create_topics(
                {f"otus.{topic}": _PARTITIONS for topic in TOPICS}, {"cleanup.policy": "compact"}
            )
            settings = self._settings(roster, skyward, now)
            oracle = Oracle(settings, periods_by_class(roster))
            published = await self._publish(kafka, roster, oracle, now)
            self._apply(directory, environment, settings, skyward)
            pool = await connect(postgres.url(), size=2)
            try:
                with _daemon(environment, directory) as daemon:
                    report, peak = await self._night(pool, daemon, published)
                    problems = self._check(oracle, report, skyward)
                    problems += self._flush_again(environment, standin)
            finally:
                await pool.close()
            self._show(report, published, peak, directory)
            self._explain(environment, oracle, report)
            for problem in problems[:20]:
                self._console.print(f"[red]WRONG[/] {problem}", highlight=False)
            return problems

    def _environment(self, directory: Path, postgres: Postgres, kafka: Kafka) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PASSBACK_")}
        return kept | {
            "PASSBACK_DATABASE_URL": postgres.url(),
            "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "PASSBACK_KAFKA_START": "earliest",
            "PASSBACK_SEALING_KEY_FILE": str(directory / "sealing.key"),
            "PASSBACK_HTTP_HOST": "127.0.0.1",
            "PASSBACK_HTTP_PORT": "0",
            "PASSBACK_ALLOW_HTTP": "true",
            "PASSBACK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "PASSBACK_CUTOFF_JITTER_SECONDS": "0",
        }

    def _settings(self, roster: Roster, skyward: StandInDistrict, now: datetime) -> dict[str, Any]:
        return district_settings(
            roster,
            district_id=DISTRICT,
            now=now,
            timezone=ZONE,
            cutoff="00:00",
            base_url=skyward.base_url,
            token_url=skyward.token_url,
            max_concurrency=8,
        )

    async def _publish(self, kafka: Kafka, roster: Roster, oracle: Oracle, now: datetime) -> int:
        def folded() -> Iterator[Record]:
            for record in school_day(
                roster, self._submissions, district_id=DISTRICT, now=now, seed=1
            ):
                oracle.fold(record)
                yield record

        with self._progress() as progress:
            task = progress.add_task("Publishing a school day to Kafka", total=None)
            return await publish(
                kafka.bootstrap_servers,
                "otus.",
                folded(),
                lambda done: progress.update(task, completed=done),
            )

    def _apply(
        self,
        directory: Path,
        environment: Mapping[str, str],
        settings: dict[str, Any],
        skyward: StandInDistrict,
    ) -> None:
        key = _cli(environment, "secrets", "new-key")
        for name, content in (
            ("sealing.key", key),
            ("skyward.key", skyward.client_id),
            ("skyward.secret", skyward.client_secret),
        ):
            file = directory / name
            file.touch(mode=0o600)
            file.write_text(content)
        # Tonight is a moment from now: a second is as good a cutoff as a minute.
        tonight = datetime.now(UTC) + _UNTIL_CUTOFF
        settings["cutoff"] = tonight.astimezone(ZoneInfo(ZONE)).strftime("%H:%M:%S")
        file = directory / "district.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        self._say(f"Applying the district; its cutoff is {settings['cutoff']} in {ZONE}")
        _cli(environment, "district", "apply", str(file))

    async def _night(
        self, pool: Pool, daemon: subprocess.Popen[bytes], published: int
    ) -> tuple[RunReport, int]:
        peak = 0
        with self._progress() as progress:
            recording = progress.add_task("Recording what Kafka holds", total=published)
            posting = progress.add_task("The night: deciding and posting", total=None, start=False)
            deadline = time.monotonic() + _LONGEST_NIGHT
            while time.monotonic() < deadline:
                if daemon.poll() is not None:
                    raise PassbackError("The daemon ended in the middle of the night; see its log.")
                with contextlib.suppress(psutil.NoSuchProcess):
                    peak = max(peak, psutil.Process(daemon.pid).memory_info().rss)
                read = await pool.fetchval(
                    "SELECT coalesce(sum(next_offset), 0) FROM intake_offset"
                )
                progress.update(recording, completed=int(read))
                found = await runs.reports(pool, DISTRICT)
                if found:
                    progress.start_task(posting)
                    decided = sum(found[0].results.values())
                    progress.update(posting, completed=decided)
                    if found[0].state != "running":
                        progress.update(posting, total=max(decided, 1))
                        return found[0], peak
                await asyncio.sleep(0.25)
        raise PassbackError("The night took longer than 15 minutes; see the daemon's log.")

    def _check(self, oracle: Oracle, report: RunReport, skyward: StandInDistrict) -> list[str]:
        self._say("Checking every value that Skyward holds against the published events")
        differences = compare(
            oracle.expected(report.cutoff_at), skyward.gradebook_lines(), district_id=DISTRICT
        )
        if report.state != "done":
            differences.append(f"the run ended {report.state} ({report.stopped_by})")
        return differences

    def _flush_again(self, environment: Mapping[str, str], standin: StandIn) -> list[str]:
        self._say("Flushing once more: nothing changed, so nothing may be sent")
        before = standin.journal_position()
        _cli(environment, "flush", DISTRICT, "--json")
        writes = [
            line
            for line in standin.journal_lines(after=before)
            if line["method"] in _WRITES and "token" not in line["path"]
        ]
        return [f"the second flush sent {len(writes)} writes"] if writes else []

    # -- what it shows ----------------------------------------------------------------------

    def _show(self, report: RunReport, published: int, peak: int, directory: Path) -> None:
        assert report.finished_at is not None
        table = Table(title="One night", min_width=60)
        table.add_column("what")
        table.add_column("count", justify="right")
        results = report.results
        rows = [
            ("events published", published),
            ("line items posted", report.line_items_posted),
            ("results posted", results["posted"]),
            ("  of these zeros from the clock", report.zeros_posted),
            ("results refused by Skyward", results["rejected"]),
            ("skipped", results["skipped"]),
        ]
        skips = sorted(report.reasons.items(), key=lambda item: -item[1])
        rows += [(f"  {code}", n) for code, n in skips if REASONS[code].kind is Kind.SKIP]
        rows.append(("held", results["held"]))
        rows += [(f"  {code}", n) for code, n in skips if REASONS[code].kind is Kind.HOLD]
        rows.append(("deferred", results["deferred"]))
        for what, count in rows:
            table.add_row(what, f"{count:,}")
        seconds = (report.finished_at - report.started_at).total_seconds()
        table.add_row("seconds from cutoff to report", f"{seconds:.1f}")
        table.add_row("daemon's largest resident size", f"{peak / 2**20:.0f} MiB")
        self._console.print(table)

    def _explain(self, environment: Mapping[str, str], oracle: Oracle, report: RunReport) -> None:
        wanted = _worth_explaining(oracle, report)
        if wanted is None:
            return
        assessment, class_id, student = wanted
        self._say("Why is this grade not in Skyward?")
        self._console.print(
            f"$ passback explain {DISTRICT} --assessment {assessment} --class {class_id}"
            f" --student {student}",
            highlight=False,
            soft_wrap=True,
        )
        answer = _cli(
            environment,
            *("explain", DISTRICT, "--assessment", assessment),
            *("--class", class_id, "--student", student),
        )
        self._console.out(answer, highlight=False)

    def _say(self, what: str) -> None:
        self._console.print(
            f"[dim]{time.monotonic() - self._began:6.1f} s[/] {what}", highlight=False
        )

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<36}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )


def _worth_explaining(oracle: Oracle, report: RunReport) -> tuple[str, str, str] | None:
    def told(expected: Expected) -> bool:
        return expected.reason == "score_not_whole"

    found = oracle.expected(report.cutoff_at)
    return next(((a, c, s) for a, c, s, expected in found if told(expected)), None)


def _cli(environment: Mapping[str, str], *arguments: str) -> str:
    """Runs one command as an operator would; raises ``PassbackError`` with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "consumer.cli", *arguments],
        env=dict(environment) | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PassbackError(
            f"'passback {' '.join(arguments)}' ended with status {done.returncode}:"
            f" {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


@contextlib.contextmanager
def _daemon(environment: Mapping[str, str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = directory / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer.cli", "run"],
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

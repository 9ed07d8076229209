"""A town for system tests: a district in the stand-in Skyward, the real daemon, the commands."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from prometheus_client.parser import text_string_to_metric_families

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.publish import publish
from consumer.sandbox.roster import Roster
from consumer.sandbox.schoolday import Record, district_settings
from consumer.sandbox.skyward import StandIn, StandInDistrict
from consumer.sealing import new_key

ZONE = ZoneInfo("America/Chicago")
TOPICS = ("assessment-changed", "grade-changed", "passback-group-changed")


@dataclass
class Town:
    """One district with everything around it; ``directory`` holds its files and logs."""

    directory: Path
    database_url: str
    kafka: Kafka
    prefix: str
    standin: StandIn
    roster: Roster
    district: str = "lakeside"
    extra: dict[str, str] = field(default_factory=dict)

    async def found(self) -> None:
        """Topics, keys and the credentials' files."""
        await self.kafka.create_topics(
            {self.prefix + topic: 3 for topic in TOPICS}, {"cleanup.policy": "compact"}
        )
        (self.directory / "sealing.key").write_text(new_key() + "\n")
        (self.directory / "skyward.key").write_text(self.skyward.client_id)
        (self.directory / "skyward.secret").write_text(self.skyward.client_secret)

    @property
    def skyward(self) -> StandInDistrict:
        return self.standin.district()

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PASSBACK_")}
        return (
            kept
            | {
                "COLUMNS": "100",
                "PASSBACK_DATABASE_URL": self.database_url,
                "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
                "PASSBACK_KAFKA_TOPIC_PREFIX": self.prefix,
                "PASSBACK_KAFKA_GROUP_ID": self.prefix + "group",
                "PASSBACK_KAFKA_START": "earliest",
                "PASSBACK_SEALING_KEY_FILE": str(self.directory / "sealing.key"),
                "PASSBACK_HTTP_HOST": "127.0.0.1",
                "PASSBACK_HTTP_PORT": "0",
                "PASSBACK_ALLOW_HTTP": "true",
                "PASSBACK_ALLOWED_NETWORKS": "127.0.0.0/8",
                "PASSBACK_CUTOFF_JITTER_SECONDS": "0",
            }
            | self.extra
        )

    def settings(self, cutoff: str = "23:59", **changes: Any) -> dict[str, Any]:
        """The district file; ``changes`` replace top-level entries."""
        settings = district_settings(
            self.roster,
            district_id=self.district,
            now=datetime.now(UTC),
            timezone=str(ZONE),
            cutoff=cutoff,
            base_url=self.skyward.base_url,
            token_url=self.skyward.token_url,
            max_concurrency=8,
        )
        return settings | changes

    def apply(self, settings: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        file = self.directory / "district.yaml"
        file.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
        return self.passback("district", "apply", str(file))

    def command(self) -> list[str]:
        """What begins a command line of ``passback``."""
        return [sys.executable, "-m", "consumer.cli"]

    def passback(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command, as an operator runs it."""
        return subprocess.run(
            [*self.command(), *arguments],
            env=dict(environment or self.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def answer(self, *arguments: str) -> Any:
        """What a reading command prints with --json."""
        done = self.passback(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def daemon(self, *program: str) -> Iterator[subprocess.Popen[bytes]]:
        """The daemon, or ``program``, in a process of its own; ended in order, ``daemon.log``."""
        with (self.directory / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                [*(program or self.command()), "run"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    async def publish(self, records: "list[Record] | Iterator[Record]") -> int:
        return await publish(self.kafka.bootstrap_servers, self.prefix, records)

    def log(self) -> list[dict[str, Any]]:
        """The daemon's log lines."""
        lines = (self.directory / "daemon.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def port(self) -> int:
        """The port of the daemon that was started last; raises before it listens."""
        return int([line for line in self.log() if line["event"] == "started"][-1]["port"])

    def probe(self, name: str, timeout: float = 5) -> tuple[int, list[str]]:
        """What /livez, /readyz or /startupz answers: its status and reasons."""
        connection = HTTPConnection("127.0.0.1", self.port(), timeout=timeout)
        try:
            connection.request("GET", f"/{name}")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["reasons"]
        finally:
            connection.close()

    def metrics(self) -> Callable[..., float | None]:
        """What the daemon shows now: a sample's value by its name, with its labels."""
        connection = HTTPConnection("127.0.0.1", self.port(), timeout=5)
        connection.request("GET", "/metrics")
        families = text_string_to_metric_families(connection.getresponse().read().decode())
        connection.close()
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        return lambda name, **labels: samples.get((name, frozenset(labels.items())))

    def writes(self, after: int = 0) -> list[dict[str, Any]]:
        """What was sent that writes, from the stand-in's journal."""
        return [
            line
            for line in self.standin.journal_lines(after=after)
            if line["operation"].startswith(("put", "delete"))
        ]


def soon(seconds: float = 3) -> str:
    """A cutoff so many seconds from now, as the district file says it."""
    return (datetime.now(ZONE) + timedelta(seconds=seconds)).strftime("%H:%M:%S")


async def until(
    question: Callable[[], Awaitable[bool] | bool], seconds: float = 60, pause: float = 0.1
) -> None:
    """Waits until it is so; fails where that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        found = question()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(pause)

"""One night of five districts on the real daemon, scraped by a real Prometheus.

``lakeside`` has a whole school day, of which Skyward refuses some and asks for pauses;
``hillside`` makes so many zeros that they are held; ``seaside`` has a wrong secret;
``riverside`` is paused; ``meadow``'s cutoff is still to come. Two events cannot be read.
"""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import asyncpg
import yaml

from consumer.sandbox.schoolday import SCHOOL, Record, school_day
from tests.evening import Evening
from tests.system.town import TOPICS, ZONE, Town, soon, until

ALERTS = Path(__file__).parents[2] / "helm/skyward-passback/files/alerts"
JOB = "skyward-passback"
SCRAPE_SECONDS = 1
# Grafana's own: four scrapes, so that a rate never lacks its second sample.
RATE_INTERVAL = "10s"


@dataclass
class Watched:
    """A Prometheus that holds the night, still running; times are Unix seconds."""

    url: str
    began: float
    ended: float

    def query(self, path: str, **arguments: str | float) -> Any:
        """The data of an answer of Prometheus' HTTP API; fails where it is an error."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=30) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def over_the_night(self, expr: str) -> list[dict[str, Any]]:
        """The series of a query, a point a second."""
        found = self.query(
            "query_range", query=expr, start=self.began, end=self.ended, step=SCRAPE_SECONDS
        )
        return list(found["result"])

    def at_its_end(self, expr: str) -> list[dict[str, Any]]:
        """The series of a query at the end of the night."""
        return list(self.query("query", query=expr, time=self.ended)["result"])


def filled_in(query: str) -> str:
    """The query as Grafana asks it, its variables filled in."""
    values = {"$__rate_interval": RATE_INTERVAL, "$job": ".+", "$district": "lakeside"}
    for name, value in values.items():
        query = query.replace(name, value)
    return query


@contextmanager
def watched_night(town: Town, prometheus: str) -> Iterator[Watched]:
    """Runs the night, which takes about two minutes, and leaves Prometheus up for questions."""
    town.extra["PASSBACK_HTTP_PORT"] = str(_free_port())
    with _scraping(town, prometheus) as url:
        began = time.time()
        with asyncio.Runner() as runner:
            ended = runner.run(_night(town))
        yield Watched(url, began, ended)


async def _night(town: Town) -> float:
    """Returns when it ended; what the daemon exported is stale soon after."""
    assert town.passback("migrate").returncode == 0
    with town.daemon():
        await until(lambda: any(line["event"] == "started" for line in town.log()))
        await asyncio.sleep(5)
        _apply(town)
        published = await _publish(town)
        await until(lambda: _consumed(town) == published)
        town.skyward.configure(latency=0.01)
        results = "PUT .*results"
        town.skyward.fault("status", status=422, match=results, skip=1000, times=40)
        town.skyward.fault("status", status=429, match=results, skip=900, times=4, retry_after="2")
        await _cut_off(town)
        await until(lambda: _ended(town, "lakeside") and _ended(town, "hillside"), seconds=240)
        await until(lambda: _ended(town, "seaside") and _ended(town, "riverside"), seconds=60)
        # The districts' gauges are read every 15 s.
        await asyncio.sleep(20)
        return time.time()


def _ended(town: Town, district: str) -> bool:
    found = town.answer("runs", district)
    return bool(found) and found[0]["finished_at"] is not None


def _consumed(town: Town) -> int:
    shown = town.metrics()
    topics = ({"topic": town.prefix + topic} for topic in TOPICS)
    return int(sum(shown("passback_events_consumed_total", **labels) or 0 for labels in topics))


async def _cut_off(town: Town) -> None:
    """Makes tonight five seconds from now, in each district whose events are stored."""
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute(
            "UPDATE district SET next_cutoff_at = soon, start_at = soon"
            " FROM (SELECT now() + interval '5 seconds' AS soon) AS s"
            " WHERE district_id <> 'meadow'"
        )
    finally:
        await connection.close()


async def _publish(town: Town) -> int:
    now = datetime.now(UTC)
    published = await town.publish(
        school_day(town.roster, SCHOOL / "oulad", district_id="lakeside", now=now, seed=1)
    )
    for district in ("hillside", "seaside", "riverside"):
        evening = Evening(town.roster, district, datetime.now(ZONE))
        evening.assess("quiz")
        evening.grade("quiz", 0, "8")
        published += await town.publish(evening.records)
    poison = [Record("grade-changed", f"lakeside/a-{n}/c-1/s-1", b"{", 0) for n in range(2)]
    return published + await town.publish(poison)


def _apply(town: Town) -> None:
    def applied(district: str, cutoff: str, **changes: Any) -> None:
        settings = town.settings(cutoff, district=district, name=district.capitalize(), **changes)
        done = town.apply(settings)
        assert done.returncode == 0, done.stderr

    # Less than an hour: the next one is then no further than a day and an hour from tonight.
    tonight = soon(40 * 60)
    long_ago = {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
    applied("lakeside", tonight)
    applied("hillside", tonight, zeros={"max_count": 1, "max_share": 0.01}, **long_ago)
    applied("riverside", tonight, **long_ago)
    assert town.passback("district", "pause", "riverside").returncode == 0
    applied("meadow", soon(3 * 3600))
    (town.directory / "wrong.secret").write_text("not this one")
    skyward = town.settings()["skyward"] | {"secret_file": "wrong.secret"}
    applied("seaside", tonight, skyward=skyward, **long_ago)


@contextmanager
def _scraping(town: Town, prometheus: str) -> Iterator[str]:
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in sorted(ALERTS.glob("*.yaml"))],
        "scrape_configs": [
            {
                "job_name": JOB,
                "static_configs": [{"targets": [f"127.0.0.1:{town.extra['PASSBACK_HTTP_PORT']}"]}],
            }
        ],
    }
    file = town.directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{_free_port()}"
    with (town.directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={file}",
                f"--storage.tsdb.path={town.directory / 'tsdb'}",
                f"--web.listen-address={address}",
                "--web.cors.origin=.*",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

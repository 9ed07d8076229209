"""A whole night by the real daemon: from events in Kafka to results that Skyward acknowledged.

The districts' cutoffs pass while their events are still unread, so that each run waits until
intake holds what Kafka held, and then sends it all. The clock runs from the start of the daemon
to the end of the last run.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from consumer import events
from consumer.sandbox.otus import ASSESSMENT, GRADE, GROUP, Record
from consumer.sandbox.publish import publish
from consumer.sealing import SealingKeys
from consumer.store.connection import connect
from tests.bench.frame import Bench, Figures
from tests.bench.nights import CLASSES, STUDENTS, apply
from tests.bench.reading import PARTITIONS
from tests.bench.stream import event
from tests.bench.stub_skyward import stub_skyward

_RESULTS: Final = 100_000
_DISTRICTS: Final = 20
_PATIENCE: Final = 300.0


async def measure(bench: Bench) -> Figures:
    """Results a second of a whole night, intake included."""
    share = bench.size(_RESULTS) // _DISTRICTS // STUDENTS * STUDENTS
    results = share * _DISTRICTS
    names = [f"night-{number:02d}" for number in range(_DISTRICTS)]
    prefix = "night."
    await bench.kafka.create_topics({prefix + topic: PARTITIONS for topic in events.TOPICS})
    await publish(bench.kafka.bootstrap_servers, prefix, _evening(names, share))
    with stub_skyward() as origin:
        async with bench.database() as url:
            environment = bench.daemon_environment(url, prefix, prefix) | {
                "PASSBACK_ALLOW_HTTP": "true",
                "PASSBACK_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            keys = SealingKeys.from_file(Path(environment["PASSBACK_SEALING_KEY_FILE"]))
            async with await connect(url, size=1) as pool:
                for name in names:
                    key, secret = (keys.seal(name, what, b"x") for what in ("key", "secret"))
                    await apply(pool, name, origin, key=key, secret=secret)
            seconds = await _passed(bench, url, environment, results)
    return Figures(absolute={"night_results_per_s": results / seconds, "night_s": seconds})


async def _passed(bench: Bench, url: str, environment: dict[str, str], results: int) -> float:
    log = bench.directory / "night.log"
    connection = await asyncpg.connect(url)
    began = time.perf_counter()
    with log.open("wb") as output:
        daemon = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "consumer.cli", "run"),
            env=environment,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        while True:
            row = await connection.fetchrow(_DONE)
            assert row is not None
            posted, unfinished = row
            seconds = time.perf_counter() - began
            if not unfinished:
                assert posted == results, f"{posted} of {results} were posted"
                return seconds
            assert daemon.returncode is None, log.read_text()[-2000:]
            assert seconds < _PATIENCE, f"{posted} of {results}: {log.read_text()[-2000:]}"
            await asyncio.sleep(0.1)
    finally:
        daemon.kill()
        await daemon.wait()
        await connection.close()


_DONE: Final = """
SELECT coalesce(sum(r.posted), 0)::bigint, count(*) FILTER (WHERE r.finished_at IS NULL)
FROM district d LEFT JOIN flush_run r USING (district_id)"""


def _evening(districts: list[str], results: int) -> Iterator[Record]:
    """Each district's group, assessments and grades, an hour old."""
    at = datetime.now(UTC) - timedelta(hours=1)
    roster = [{"student_id": f"s-{s}", "sourced_id": f"sourced-{s}"} for s in range(STUDENTS)]
    for district in districts:
        yield _event(GROUP, at, (district, "t"), {"teacher_id": "t", "member": True})
    for item in range(results // STUDENTS):
        for district in districts:
            class_id = f"c{item % CLASSES}"
            yield _event(
                ASSESSMENT,
                at,
                (district, f"a{item}", class_id),
                {
                    "assessment_id": f"a{item}",
                    "class_id": class_id,
                    "title": f"Quiz {item}",
                    "type": "Quiz",
                    "format": "simple",
                    "grading_scale": "points",
                    "points_possible": "10",
                    "include_in_final_grade": True,
                    "assigned_by": {"user_id": "t", "in_sis": True},
                    "assigned_at": (at - timedelta(days=5)).isoformat(),
                    "due_at": (at - timedelta(days=1)).isoformat(),
                    "status": "active",
                    "class_sourced_id": class_id,
                    "school_sourced_id": "school",
                    "assignees": roster,
                },
            )
            for student in range(STUDENTS):
                yield _event(
                    GRADE,
                    at,
                    (district, f"a{item}", class_id, f"s-{student}"),
                    {
                        "assessment_id": f"a{item}",
                        "class_id": class_id,
                        "student_id": f"s-{student}",
                        "score": str((item + student) % 11),
                        "completion": "graded",
                        "submission": "on_time",
                    },
                )


def _event(topic: str, at: datetime, key: tuple[str, ...], data: dict[str, Any]) -> Record:
    subject = "/".join(key)
    return event(topic, subject, subject, {"district_id": key[0], "version": 1} | data, at)

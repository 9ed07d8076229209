"""A process that flushes every district that is due, by the daemon's own schedule, and tells how.

Only Kafka is missing, which a run asks how far intake is.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Final

import uvloop
from prometheus_client import CollectorRegistry

from consumer.daemon import collect_garbage_seldom, pool_size
from consumer.district import District
from consumer.flush.run import Flusher
from consumer.flush.schedule import Pace, Schedule
from consumer.gradebook import RunReport
from consumer.metrics import Metrics
from consumer.settings import Settings
from consumer.skyward import Network, Skyward
from consumer.store.connection import Pool, connect
from consumer.store.districts import StoredDistrict
from tests.bench.processes import told

_WINDOW: Final = timedelta(hours=6)
_HELD: Final = """
SELECT count(*) FROM lease
WHERE starts_with(district_id, $1) AND expires_at > clock_timestamp()"""


@asynccontextmanager
async def _flusher(pool: Pool) -> AsyncIterator[Flusher]:
    metrics = Metrics(CollectorRegistry(), per_district=False)
    async with Network(allow_http=True, allowed_networks=[ip_network("127.0.0.0/8")]) as network:

        @asynccontextmanager
        async def connected(stored: StoredDistrict, district: District) -> AsyncIterator[Skyward]:
            async with Skyward.connect(
                district.skyward,
                "k",
                "s",
                network=network,
                observe=metrics.observe_request,
                now=lambda: datetime.now(UTC),
            ) as skyward:
                yield skyward

        async def caught_up(wait: timedelta) -> bool:
            return True

        yield Flusher(
            pool=pool,
            holder="bench",
            connect=connected,
            await_intake=caught_up,
            now=lambda: datetime.now(UTC),
            counted=lambda district, tally: None,
        )


async def flush(url: str, good: str, at_once: str = "") -> None:
    """Flushes what is due; ``good`` begins the ids of the districts that are waited for.

    ``at_once``: how many districts side by side, where that is not the default.
    """
    finished: dict[str, RunReport] = {}
    failures: list[str] = []
    side_by_side = int(at_once or Settings.model_fields["max_concurrent_districts"].default)
    pace = Pace(timedelta(0), side_by_side, timedelta(0), _WINDOW)
    async with await connect(url, size=pool_size(side_by_side)) as pool, _flusher(pool) as flusher:
        waited_for = await pool.fetchval(
            "SELECT count(*) FROM district WHERE starts_with(district_id, $1)", good
        )

        def done(report: RunReport) -> None:
            if report.district_id.startswith(good):
                finished[report.district_id] = report

        schedule = Schedule(
            flusher,
            pace,
            lambda district: nullcontext(),
            done,
            lambda district, error: failures.append(f"{district}: {error!r}"),
        )
        began = time.perf_counter(), time.process_time()
        while len(finished) < waited_for:
            assert not failures, failures
            await schedule.start_due()
            await schedule.wait()
        ended = time.perf_counter(), time.process_time()
        # Else stopping would cut off the last ones as they give their leases back.
        while await pool.fetchval(_HELD, good):
            await asyncio.sleep(0.01)
        await schedule.stop(10)
    assert all(report.state == "done" for report in finished.values()), finished
    posted = sum(report.results["posted"] for report in finished.values())
    print(json.dumps(told(posted, ended[0] - began[0], ended[1] - began[1])))


if __name__ == "__main__":
    collect_garbage_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(flush(*sys.argv[1:]))

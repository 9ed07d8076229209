"""Two processes of one group against one, with what the machine's cores did meanwhile.

The two share the cores with Postgres and Kafka, so the ratio says what this machine allows: no
more than ``cores / (us of all of them for one event)`` events a second, whoever reads them.
"""

import os
from statistics import median

from tests.bench.frame import Bench, Figures
from tests.bench.reading import Reading, district_database, published, read_by_ours

_RECORDS = 1_000_000
_ROUNDS = 3


async def measure(bench: Bench) -> Figures:
    """The median of alternating rounds; the clock starts once the group has assembled."""
    stream = await published(bench, "replicas.", bench.size(_RECORDS))
    rounds: list[dict[int, Reading]] = []
    for number in range(bench.rounds(_ROUNDS)):
        readings = {}
        for processes in (1, 2) if number % 2 else (2, 1):
            async with district_database(bench) as url:
                readings[processes] = await read_by_ours(bench, stream, url, processes)
        rounds.append(readings)
    absolute: dict[str, float] = {}
    for processes, name in ((1, "one_process"), (2, "two_processes")):
        some = [r[processes] for r in rounds]
        absolute[f"{name}_events_per_s"] = median(r.per_second for r in some)
        absolute[f"{name}_cpu_us_per_event"] = median(r.own_us for r in some)
        absolute[f"{name}_postgres_us_per_event"] = median(r.postgres_us for r in some)
        absolute[f"{name}_kafka_us_per_event"] = median(r.kafka_us for r in some)
        absolute[f"{name}_cores_busy"] = median(r.all_us * r.per_second / 1e6 for r in some)
        absolute[f"{name}_events_per_s_if_all_cores_were_busy"] = median(
            (os.cpu_count() or 1) * 1e6 / r.all_us for r in some
        )
    ratio = median(r[2].per_second / r[1].per_second for r in rounds)
    return Figures({"two_processes_vs_one": ratio}, absolute)

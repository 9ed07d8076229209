"""How many districts side by side: what each number costs and brings, where Skyward is far away.

Districts have the two connections that a district file has unless it says more, and each answer
takes 50 ms: so one district alone is idle most of the time, and so is a replica that runs few.
"""

from statistics import median
from typing import Final

from consumer.store.connection import connect
from tests.bench.frame import Bench, Figures
from tests.bench.nights import STUDENTS, apply, fill
from tests.bench.processes import Posted, posted_by
from tests.bench.stub_skyward import stub_skyward

_AT_ONCE: Final = (4, 8, 16, 32, 64)
_DISTRICTS: Final = 96
_RESULTS: Final = 4 * STUDENTS
_CONNECTIONS: Final = 2
_ROUNDS: Final = 1


async def measure(bench: Bench) -> Figures:
    """Results a second, the share of a core that ours takes, and its memory, for each number."""
    posted: dict[int, list[Posted]] = {number: [] for number in _AT_ONCE}
    with stub_skyward() as origin:
        for _ in range(bench.rounds(_ROUNDS)):
            for at_once in _AT_ONCE:
                async with bench.database() as url:
                    async with await connect(url, size=1) as pool:
                        for number in range(_DISTRICTS):
                            district_id = f"far-{number:02d}"
                            await apply(pool, district_id, origin, "far", connections=_CONNECTIONS)
                            await fill(pool, district_id, _RESULTS)
                        await pool.execute("VACUUM (ANALYZE) grade")
                    posted[at_once].append(await posted_by("flush_engine", url, "", str(at_once)))
                assert posted[at_once][-1].results == _DISTRICTS * _RESULTS
    absolute: dict[str, float] = {}
    for at_once, rounds in posted.items():
        name = f"districts_at_once_{at_once}"
        absolute[f"{name}_results_per_s"] = median(one.per_second for one in rounds)
        absolute[f"{name}_core_share"] = median(one.cpu / one.seconds for one in rounds)
        absolute[f"{name}_mib"] = max(one.mib for one in rounds)
    return Figures(absolute=absolute)

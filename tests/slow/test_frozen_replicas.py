"""A real daemon that stands still in mid-flush, another that makes its night, and the first awake.

Nothing is made shorter than it is: the second waits until the lease has run out, half a minute.
"""

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime

import asyncpg
import pytest

from tests.slow.table import Row, Table
from tests.system.replicas import PAPER, Replicas, first_night, replicas_of
from tests.system.town import Town, until

_SOME = 12
AWAKE = 3.0
"""Seconds in which one that woke up would do what it still means to do."""


async def holder(replicas: Replicas) -> int:
    """The replica that is flushing, by its number."""
    connection = await asyncpg.connect(replicas.town.database_url)
    try:
        held = await connection.fetchval(
            "SELECT holder FROM lease WHERE expires_at > clock_timestamp()"
        )
    finally:
        await connection.close()
    (number,) = [n for n, one in replicas.processes.items() if f"/{one.pid}/" in held]
    return number


def _quizzes(town: Town, after: int) -> int:
    """How many scores of the quizzes Skyward received since."""
    scores = [(line["effect"] or {}).get("score") for line in town.writes(after=after)]
    return sum(1 for score in scores if score not in (None, PAPER))


async def frozen_in_mid_flush(replicas: Replicas) -> float:
    """One round; returns after how many seconds the other replica had made the night."""
    town = replicas.town
    await replicas.correct()
    before = town.standin.journal_position()
    town.skyward.configure(latency=0.1)
    await replicas.night()
    await until(lambda: _quizzes(town, before) > _SOME, pause=0.02)
    frozen = replicas.processes[await holder(replicas)]
    os.kill(frozen.pid, signal.SIGSTOP)
    replicas.deaths.append(datetime.now(UTC))
    began = time.monotonic()
    try:
        town.skyward.configure(latency=0.01)
        await replicas.correct()
        await until(replicas.night_is_over, seconds=120)
        recovered = time.monotonic() - began
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    await asyncio.sleep(AWAKE)
    return recovered


@pytest.mark.timeout(600)
async def test_a_replica_frozen_in_mid_flush_writes_nothing_over_the_one_that_went_on(
    town: Town, table: type[Table]
) -> None:
    rounds = []
    async with replicas_of(town, seed=5) as replicas:
        await first_night(replicas, 2)
        for _ in range(3):
            rounds.append(await frozen_in_mid_flush(replicas))
            await replicas.whole_night()
            judgement = await replicas.judged()
    table.add(
        Row(
            "SIGSTOP of the replica that flushes, SIGCONT after the other made the night",
            len(rounds),
            judgement.lost,
            judgement.doubled,
            judgement.repeats,
            max(rounds),
            "builds that do not ask the lease, or settle without a fence, are found by the judge",
        )
    )


BROKEN = {
    "forgets_its_lease": {"no_write_after_the_lease", "versions_rise"},
    "settles_what_is_in_hand_without_a_fence": {"store_believes"},
    # To settle then is no breach by itself: it is the store that refuses it.
    "settles_what_is_in_hand": set[str](),
}
"""By build of ``broken_daemons``, the clauses that find it."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("build", BROKEN)
async def test_a_broken_build_that_stands_still_is_found_by_its_clauses(
    town: Town, build: str
) -> None:
    async with replicas_of(town, seed=6) as replicas:
        replicas.program = (sys.executable, "-m", "tests.slow.broken_daemons", build)
        await first_night(replicas, 2)
        await frozen_in_mid_flush(replicas)
        # Before the next night asks Skyward of what was in doubt, and learns the truth.
        found = await replicas.breaches() & set[str]().union(*BROKEN.values())
        await replicas.whole_night()
        found |= await replicas.breaches()
    print(f"{build}: found by {', '.join(sorted(found)) or 'nothing'}")
    assert found >= BROKEN[build]
    assert bool(found) is bool(BROKEN[build])

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
from tests.system.replicas import Replicas, replicas_of
from tests.system.town import Town, until

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


async def frozen_in_mid_flush(replicas: Replicas) -> float:
    """One round; returns after how many seconds the other replica had made the night."""
    town = replicas.town
    await replicas.correct()
    before = len(town.writes())
    town.skyward.configure(latency=0.1)
    await replicas.night()
    await until(lambda: len(town.writes()) > before + 20, pause=0.02)
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
    await replicas.whole_night()
    return recovered


@pytest.mark.timeout(600)
async def test_a_replica_frozen_in_mid_flush_writes_nothing_over_the_one_that_went_on(
    town: Town, table: type[Table]
) -> None:
    rounds = []
    async with replicas_of(town, seed=5) as replicas:
        for number in range(2):
            replicas.start(number)
        await replicas.correct()
        await replicas.whole_night()
        for _ in range(3):
            rounds.append(await frozen_in_mid_flush(replicas))
            judgement = await replicas.judged()
    table.add(
        Row(
            "SIGSTOP of the replica that flushes, SIGCONT after the other made the night",
            len(rounds),
            judgement.lost,
            judgement.doubled,
            judgement.repeats,
            max(rounds),
            "a build that does not ask its lease before it writes is found by the judge",
        )
    )


@pytest.mark.timeout(600)
async def test_a_build_that_does_not_ask_its_lease_before_it_writes_is_noticed(
    town: Town,
) -> None:
    async with replicas_of(town, seed=6) as replicas:
        replicas.program = (sys.executable, "-m", "tests.slow.broken_daemons", "forgets_its_lease")
        for number in range(2):
            replicas.start(number)
        await replicas.correct()
        await replicas.whole_night()
        await frozen_in_mid_flush(replicas)
        with pytest.raises(AssertionError, match="no_write_after_the_lease"):
            await replicas.judged()

"""Real daemons, alone and two side by side, killed thirty times each."""

import sys

import pytest

from tests.slow.table import Row, Table
from tests.system.replicas import kill_loop, replicas_of
from tests.system.town import Town


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("side_by_side", [1, 2])
async def test_replicas_killed_thirty_times(
    town: Town, table: type[Table], side_by_side: int
) -> None:
    async with replicas_of(town, seed=side_by_side) as replicas:
        killed = await kill_loop(replicas, rounds=30, side_by_side=side_by_side)
    assert killed.taken_back == 15
    who = "the only replica" if side_by_side == 1 else "one or both of two replicas"
    table.add(
        Row(
            f"SIGKILL of {who} at a random moment of intake or flush",
            killed.rounds,
            killed.lost,
            killed.doubled,
            killed.repeats,
            killed.recovered,
            "a build that asks Skyward nothing after a death is found by the judge",
        )
    )


@pytest.mark.timeout(1_800)
async def test_a_build_that_asks_nothing_after_a_death_is_noticed(town: Town) -> None:
    async with replicas_of(town, seed=3) as replicas:
        broken = (sys.executable, "-m", "tests.slow.broken_daemons", "asks_nothing_after_a_death")
        replicas.program = broken
        with pytest.raises(AssertionError, match=r"store_believes|final_value"):
            await kill_loop(replicas, rounds=30, side_by_side=1)

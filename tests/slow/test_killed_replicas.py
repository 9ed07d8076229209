"""Real daemons, alone and two side by side, killed thirty times each."""

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
    who = "the only replica" if side_by_side == 1 else "one or both of two replicas"
    table.add(
        Row(
            f"SIGKILL of {who} at a random moment of intake or flush",
            killed.rounds,
            0,  # Each round ends with a judgement, which fails at any.
            0,
            killed.repeats,
            killed.recovered,
            "26 broken histories are found by the judge, each by its clause",
        )
    )

"""Real daemons, alone and two side by side, killed thirty times each."""

import sys

import pytest

from tests.slow.table import Row, Table
from tests.system.replicas import first_night, kill_loop, kill_once, replicas_of
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
            "five broken builds, killed so, are each found by their clause",
        )
    )


BROKEN = {
    "asks_nothing_after_a_death": "store_believes",
    "settles_whatever_changed": "final_value",
    "sends_results_before_the_line_item": "line_item_first",
    "makes_result_ids_up": "one_result_each",
    "makes_line_item_ids_up": "own_district_only",
}
"""By build of ``broken_daemons``, the clause that finds it."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("build", BROKEN)
async def test_a_broken_build_that_is_killed_is_found_by_its_clause(town: Town, build: str) -> None:
    async with replicas_of(town, seed=3) as replicas:
        replicas.program = (sys.executable, "-m", "tests.slow.broken_daemons", build)
        await first_night(replicas, 1)
        found = set[str]()
        for round_ in range(30):
            await kill_once(replicas, takes_back=bool(round_ % 2))
            found = await replicas.breaches()
            if BROKEN[build] in found:
                break
    print(f"{build}: found after {round_ + 1} deaths by {', '.join(sorted(found))}")
    assert BROKEN[build] in found

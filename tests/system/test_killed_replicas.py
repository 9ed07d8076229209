"""Real daemons that are killed at random moments of intake and flush."""

from tests.system.replicas import kill_loop, replicas_of
from tests.system.town import Town


async def test_replicas_killed_at_random_moments_lose_and_double_nothing(town: Town) -> None:
    async with replicas_of(town, seed=1) as replicas:
        killed = await kill_loop(replicas, rounds=3, side_by_side=2)
    assert killed.rounds == 3

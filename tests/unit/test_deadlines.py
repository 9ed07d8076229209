"""One timer ends what takes too long, as asyncio's own timeout would."""

import asyncio

import pytest

from consumer.skyward.deadlines import Deadline, Deadlines

_SECONDS = 0.1


async def _take(deadlines: Deadlines, seconds: float) -> float:
    """Waits so long, or until it is ended; how long that was."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        with Deadline(deadlines):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return began - loop.time()
    return loop.time() - began


async def test_each_has_its_whole_time_whenever_it_began_and_whoever_ended_before() -> None:
    deadlines = Deadlines(_SECONDS)
    takes = []
    for number in range(40):
        # Every other one ends by itself, and with it perhaps the one that the timer was set for.
        takes.append(asyncio.create_task(_take(deadlines, 60 if number % 2 else _SECONDS / 4)))
        await asyncio.sleep(_SECONDS / 20)
    took = await asyncio.gather(*takes)
    assert all(0 < seconds < _SECONDS for seconds in took[::2]), took
    assert all(_SECONDS * 0.95 < -seconds < _SECONDS * 3 for seconds in took[1::2]), took


async def test_after_a_pause_in_which_nothing_was_under_way_the_next_is_ended_as_well() -> None:
    deadlines = Deadlines(_SECONDS)
    assert await _take(deadlines, 60) < 0
    await asyncio.sleep(_SECONDS * 1.5)
    assert await _take(deadlines, 0) >= 0
    await asyncio.sleep(_SECONDS * 1.5)
    assert await _take(deadlines, 60) < 0


async def test_a_cancellation_by_somebody_else_stays_one_even_when_the_time_is_over_too() -> None:
    deadlines = Deadlines(_SECONDS)
    waiting = asyncio.create_task(_take(deadlines, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    deadline = Deadline(deadlines)

    async def wait() -> None:
        with deadline:
            await asyncio.sleep(60)

    both = asyncio.create_task(wait())
    await asyncio.sleep(0)
    deadline.end()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert both.cancelling() == 1


async def test_what_it_ended_can_be_cancelled_and_timed_again_afterwards() -> None:
    deadlines = Deadlines(_SECONDS)

    async def twice() -> None:
        assert await _take(deadlines, 60) < 0
        assert await _take(deadlines, 60) < 0
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    await asyncio.create_task(twice())


async def test_an_error_of_its_own_passes_as_it_is() -> None:
    deadlines = Deadlines(_SECONDS)
    with pytest.raises(ValueError, match="its own"), Deadline(deadlines):
        raise ValueError("its own")
    assert await _take(deadlines, 0) >= 0

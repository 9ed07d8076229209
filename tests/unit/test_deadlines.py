"""One timer ends what takes too long, as asyncio's own timeout would."""

import asyncio

import pytest

from consumer.skyward.deadlines import Deadline, Deadlines

_SOON = 0.05


async def _take(deadlines: Deadlines, seconds: float) -> float:
    """Waits so long, or until it is ended; how long that was, below zero where it was ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        with Deadline(deadlines):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return began - loop.time()
    return loop.time() - began


async def test_each_has_its_whole_time_whenever_it_began_and_whoever_ended_before() -> None:
    deadlines = Deadlines(1.0)
    takes = []
    for number in range(20):
        # Every other one ends by itself, and with it perhaps the one that the timer was set for.
        takes.append(asyncio.create_task(_take(deadlines, 60 if number % 2 else 0.05)))
        await asyncio.sleep(0.03)
    took = await asyncio.gather(*takes)
    assert all(seconds > 0 for seconds in took[::2]), took
    assert all(0.99 <= -seconds < 30 for seconds in took[1::2]), took


async def test_after_a_pause_in_which_nothing_was_under_way_the_next_is_ended_as_well() -> None:
    deadlines = Deadlines(_SOON)
    assert await _take(deadlines, 60) < 0
    await asyncio.sleep(_SOON * 1.5)
    assert await _take(deadlines, 0) >= 0
    await asyncio.sleep(_SOON * 1.5)
    assert await _take(deadlines, 60) < 0


async def test_what_it_ended_can_be_timed_again_and_its_task_is_not_cancelled() -> None:
    deadlines = Deadlines(_SOON)
    assert await _take(deadlines, 60) < 0
    assert await _take(deadlines, 60) < 0
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_by_somebody_else_stays_one_even_when_the_time_is_over_too() -> None:
    deadlines = Deadlines(60)
    waiting = asyncio.create_task(_take(deadlines, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for cancelled_first in (True, False):
        deadline = Deadline(deadlines)
        both = asyncio.create_task(_wait_under(deadline))
        await asyncio.sleep(0)
        if cancelled_first:
            both.cancel()
        deadline.end()
        if not cancelled_first:
            both.cancel()
        with pytest.raises(asyncio.CancelledError):
            await both
        assert both.cancelling() == 1


async def test_ended_twice_before_it_could_end_it_is_ended_once() -> None:
    deadline = Deadline(Deadlines(60))
    waiting = asyncio.create_task(_wait_under(deadline))
    await asyncio.sleep(0)
    deadline.end()
    deadline.end()
    with pytest.raises(TimeoutError):
        await waiting
    assert waiting.cancelling() == 0


async def _wait_under(deadline: Deadline) -> None:
    with deadline:
        await asyncio.sleep(60)


async def test_what_begins_in_a_task_that_was_told_to_end_is_timed_all_the_same() -> None:
    deadlines = Deadlines(_SOON)

    async def told_to_end() -> float:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await _take(deadlines, 60)
        raise AssertionError

    task = asyncio.create_task(told_to_end())
    await asyncio.sleep(0)
    task.cancel()
    assert await task < 0


async def test_an_error_of_its_own_passes_and_so_does_an_answer_that_came_all_the_same() -> None:
    deadlines = Deadlines(_SOON)
    with pytest.raises(ValueError, match="at once"), Deadline(deadlines):
        raise ValueError("at once")

    async def answer(error: Exception | None) -> str:
        with Deadline(deadlines):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if error is not None:
                    raise error from None
                return "an answer"
        raise AssertionError

    assert await asyncio.create_task(answer(None)) == "an answer"
    with pytest.raises(ValueError, match="when it was ended"):
        await asyncio.create_task(answer(ValueError("when it was ended")))

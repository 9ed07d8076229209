"""The pace of one district, on a clock that jumps to whatever is next: no second is waited for."""

import asyncio
import random
import selectors
from collections.abc import Iterator
from statistics import mean
from typing import Any

import pytest

from consumer.skyward.limiter import Limiter


class _Jumping(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when all wait, and then at once."""

    def __init__(self) -> None:
        self._passed = 0.0
        selector = selectors.DefaultSelector()
        select = selector.select

        def jump(timeout: float | None = None) -> Any:
            self._passed += timeout or 0.0
            return select(0)

        selector.select = jump  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self._passed


@pytest.fixture
def jumping() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=_Jumping) as runner:
        yield runner


class _Server:
    """Bears ``capacity`` requests at once, each for about ``seconds``; all others wait in turn."""

    def __init__(self, capacity: int, seconds: float, *, random_times: bool = False) -> None:
        self.seconds = seconds
        self._places = asyncio.Semaphore(capacity)
        self._draw = random.Random(1)
        self._random_times = random_times

    async def answer(self) -> None:
        async with self._places:
            share = self._draw.expovariate(1) if self._random_times else 1.0
            await asyncio.sleep(self.seconds * share)


async def _ask(limiter: Limiter, server: _Server, requests: int) -> tuple[list[int], float]:
    """The limit after each of so many requests' answers, and the answers a second."""
    loop = asyncio.get_running_loop()
    began, left, limits = loop.time(), iter(range(requests)), list[int]()

    async def ask() -> None:
        for _ in left:
            await limiter.acquire()
            sent = loop.time()
            await server.answer()
            limiter.answered(loop.time() - sent)
            limiter.release()
            limits.append(limiter.limit)

    await asyncio.gather(*(ask() for _ in range(64)))
    return limits, requests / (loop.time() - began)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 2.0])
@pytest.mark.parametrize("random_times", [False, True])
@pytest.mark.parametrize("capacity", [8, 20])
def test_the_limit_settles_near_what_a_server_bears_and_keeps_it_busy(
    jumping: asyncio.Runner, capacity: int, seconds: float, *, random_times: bool
) -> None:
    async def settle() -> None:
        limiter = Limiter(64)
        server = _Server(capacity, seconds, random_times=random_times)
        await _ask(limiter, server, 3_000)
        limits, rate = await _ask(limiter, server, 3_000)
        assert max(limits) <= 3 * capacity
        assert capacity <= mean(limits) <= 2 * capacity
        assert rate >= 0.85 * capacity / seconds

    jumping.run(settle())


def test_a_server_that_bears_whatever_comes_is_asked_up_to_the_ceiling(
    jumping: asyncio.Runner,
) -> None:
    async def settle() -> None:
        limits, _ = await _ask(Limiter(20), _Server(64, 0.3, random_times=True), 3_000)
        assert min(limits[300:]) == 20

    jumping.run(settle())


def test_a_server_that_is_slower_for_good_is_asked_less_only_until_that_is_seen(
    jumping: asyncio.Runner,
) -> None:
    async def slow_down() -> None:
        limiter, server = Limiter(20), _Server(64, 0.2)
        await _ask(limiter, server, 500)
        assert limiter.limit == 20
        server.seconds = 1.0
        limits, _ = await _ask(limiter, server, 500)
        assert min(limits) == 10
        assert limits[-1] == 20

    jumping.run(slow_down())


def test_a_rise_of_latency_halves_the_limit_and_it_climbs_when_that_is_over(
    jumping: asyncio.Runner,
) -> None:
    async def rise() -> None:
        limiter, server = Limiter(16), _Server(64, 0.1)
        await _ask(limiter, server, 500)
        server.seconds = 0.5
        limits, _ = await _ask(limiter, server, 100)
        assert limits[-1] == 8
        server.seconds = 0.1
        limits, _ = await _ask(limiter, server, 300)
        assert min(limits) >= 4
        assert limits[-1] == 16

    jumping.run(rise())


def test_what_is_under_way_together_halves_the_limit_once(jumping: asyncio.Runner) -> None:
    async def strain() -> None:
        limiter, server = Limiter(16), _Server(64, 0.1)
        await _ask(limiter, server, 500)
        for _ in range(16):
            limiter.strained()
        assert limiter.limit == 8
        await asyncio.sleep(0.2)
        limiter.strained()
        assert limiter.limit == 4

    jumping.run(strain())


def test_two_at_once_are_never_too_many_for_their_latency(jumping: asyncio.Runner) -> None:
    async def slow_down() -> None:
        limiter, server = Limiter(2), _Server(1, 0.1)
        await _ask(limiter, server, 200)
        server.seconds = 3.0
        limits, _ = await _ask(limiter, server, 500)
        assert set(limits) == {2}

    jumping.run(slow_down())

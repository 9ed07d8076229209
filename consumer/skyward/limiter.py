"""How many requests of one district are under way: additive increase, halved on trouble.

Starts at two, because Skyward's limits are unknown. Where a Skyward answers no faster however many
ask, latency grows with what is under way: at twice the lowest that it ever was, half as many keep
it as busy. All times are the event loop's.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

_START: Final = 2
_SMOOTHING: Final = 0.1
_WINDOW: Final = 50
"""So many answers tell a latency: of fewer, the lowest ever is a matter of luck."""

_RISEN: Final = 2.0
_RISEN_SECONDS: Final = 0.25
_RELIEF: Final = 0.75
"""What is left of a latency at the most, where half as many requests helped."""


class Limiter:
    """Acquire before a request, release after it, and say how it went in between."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling: Final = ceiling
        self._limit = float(min(_START, ceiling))
        self._under_way = 0
        self._waiting: Final[deque[asyncio.Future[None]]] = deque()
        self._loop: Final = asyncio.get_running_loop()
        self._paused_until = 0.0
        self._opened: Final = asyncio.Event()
        self._latency = 0.0
        self._halved_at = 0.0
        # Answers of this window, and before them those to what was sent before the last halving.
        self._answers, self._seconds = 0, 0.0
        self._passed_over = 0
        # The lowest latency of a window; and that of the last one, where it led to a halving.
        self._floor = 0.0
        self._burdened: float | None = None

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return int(self._limit)

    async def acquire(self, *, first: bool = False) -> None:
        """Waits for a free place and for the end of a pause; ``first``: before all who wait."""
        if self._under_way < int(self._limit) and not self._waiting:
            self._under_way += 1
        else:
            turn = self._loop.create_future()
            if first:
                self._waiting.appendleft(turn)
            else:
                self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.release()
                raise
        if self._paused_until:
            await self._wait_out()

    def release(self) -> None:
        self._under_way -= 1
        self._wake()

    def answered(self, seconds: float) -> None:
        """An answer came that asks for no restraint, after so long."""
        self._latency += _SMOOTHING * (seconds - self._latency) if self._latency else seconds
        if self._passed_over:
            self._passed_over -= 1
        else:
            self._answers += 1
            self._seconds += seconds
            if self._answers == _WINDOW:
                self._judge(self._seconds / _WINDOW)
        # After a halving nothing is added until it is seen what it brought.
        if self._limit < self._ceiling and self._burdened is None:
            self._limit = min(self._limit + 1 / self._limit, self._ceiling)
            self._wake()

    def _judge(self, latency: float) -> None:
        """Halves where the window's latency has risen, unless a halving did not help before."""
        self._answers, self._seconds = 0, 0.0
        burdened, self._burdened = self._burdened, None
        if not self._floor or latency < self._floor:
            self._floor = latency
        elif latency > max(_RISEN * self._floor, self._floor + _RISEN_SECONDS):
            in_vain = burdened is not None and latency > _RELIEF * burdened
            if in_vain or self._limit < _START + 1:
                self._floor = latency  # not our requests make it slow: it is slower than it was
            else:
                self._halve()
                self._burdened = latency

    def strained(self) -> None:
        """The server is overburdened: halve, but once for all that was under way then."""
        if self._loop.time() >= self._halved_at + self._latency:
            self._halve()

    def _halve(self) -> None:
        self._limit = max(1.0, self._limit / 2)
        self._halved_at = self._loop.time()
        self._passed_over = self._under_way
        self._answers, self._seconds = 0, 0.0

    def pause(self, seconds: float) -> float:
        """Nothing of this district starts within the next seconds; returns what that adds."""
        now = self._loop.time()
        before = max(self._paused_until, now)
        self._paused_until = max(before, now + seconds)
        return self._paused_until - before

    def open(self) -> None:
        """Ends every pause for good: whoever waits is to learn that there is no more to do."""
        self._opened.set()

    async def _wait_out(self) -> None:
        try:
            while (left := self._paused_until - self._loop.time()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._opened.wait()
                        return
        except asyncio.CancelledError:
            self.release()
            raise

    def _wake(self) -> None:
        while self._waiting and self._under_way < int(self._limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)

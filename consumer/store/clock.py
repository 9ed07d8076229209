"""The time that runs go by: this machine's clock, held back by the database's.

A machine that is hours ahead would begin a night before its cutoff and make zeros of work that
is not due yet, and a zero cannot be recalled. So a night begins when both clocks say that it
does. Which of them is wrong only an operator finds out.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from consumer.store.connection import Pool
from consumer.store.runs import CLOCK

SKEW: Final = timedelta(seconds=5)
"""By so much two clocks that are kept by NTP never differ."""

CURE: Final = (
    "let NTP keep the clocks of this machine and of Postgres' host; until then a night begins when"
    " the later of the two shows its cutoff"
)


async def database_time(pool: Pool) -> datetime:
    """What the database's clock says: never earlier than what any replica's runs go by."""
    said: datetime = await pool.fetchval("SELECT clock_timestamp()", timeout=10)
    return said


class Clock:
    """``machine`` tells this machine's time; until it was compared, that is all there is."""

    def __init__(self, machine: Callable[[], datetime]) -> None:
        self._machine: Final = machine
        self._compared: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The earlier of the machine's time and the database's, by what that said last.

        So a clock that jumps ahead between two comparisons begins nothing either.
        """
        machine = self._machine()
        if self._compared is None:
            return machine
        said, then = self._compared
        return min(machine, said + timedelta(seconds=time.clock_gettime(CLOCK) - then))

    async def compare(self, pool: Pool) -> timedelta:
        """How far this machine is ahead of the database, or, below 0, behind it, at the least.

        What the question took may hide a difference, and never makes one.
        """
        before = self._machine()
        said = await database_time(pool)
        after, then = self._machine(), time.clock_gettime(CLOCK)
        self._compared = said, then
        if before > said:
            return before - said
        return min(after - said, timedelta(0))

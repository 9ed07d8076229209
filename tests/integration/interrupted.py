"""One night in a process of its own, ended at the n-th await: killed, or told to stop.

The process is forked, so that it ends as in a power cut: no cleanup runs, and what it had sent
is on its way. Every suspension of every task counts, also those between a request and its answer.
"""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from consumer.cutoff import Cutoff
from consumer.sandbox.otus import Record
from consumer.sandbox.roster import Roster, read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, district_settings
from consumer.sandbox.skyward import StandIn
from consumer.skyward import Network
from consumer.store import recording
from consumer.store.connection import connect
from tests.evening import Evening
from tests.history import evidence
from tests.history.evidence import History
from tests.history.published import read_published
from tests.integration.disturbed import plainly, rows_of
from tests.integration.nights import NOW, ZONE, Nights, batch_of

Way = Literal["kill", "stop", "freeze"]
T = TypeVar("T")

_BATCH = 7
_STOPPED = 7


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine that tells each time it is suspended."""

    def __init__(self, inner: Coroutine[Any, Any, Any], suspended: Callable[[], None]) -> None:
        self._inner = inner
        self._suspended = suspended

    def send(self, value: Any) -> Any:
        yielded = self._inner.send(value)
        self._suspended()
        return yielded

    def throw(self, *error: Any) -> Any:
        yielded = self._inner.throw(*error)
        self._suspended()
        return yielded

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("a task steps it")


@dataclass
class Counted:
    """Ends the process, or what runs in it, at the suspension number ``at``; counts from 1."""

    at: int
    way: Way
    seen: int = 0
    running: "asyncio.Task[Any] | None" = None

    def suspended(self) -> None:
        self.seen += 1
        if self.seen != self.at:
            return
        if self.way != "stop":
            os.kill(os.getpid(), signal.SIGKILL if self.way == "kill" else signal.SIGSTOP)
            return
        assert self.running is not None
        self.running.cancel()

    def task(
        self, loop: asyncio.AbstractEventLoop, inner: Coroutine[Any, Any, Any], **more: Any
    ) -> "asyncio.Task[Any]":
        return asyncio.Task(_Steps(inner, self.suspended), loop=loop, **more)


@dataclass
class Interrupted:
    """A district with one night behind it and one to come; the second is the one that is cut."""

    directory: Path
    database_url: str
    standin: StandIn
    roster: Roster
    settings: dict[str, Any]
    first: list[Record]
    second: list[Record]
    corrections: list[Record]
    taken_back: list[Record]
    deaths: list[datetime] = field(default_factory=list)
    begun: int = 0
    evenings: list[evidence.Evening] = field(default_factory=list)
    published: list[Record] = field(default_factory=list)

    # -- one round

    def until_the_second(self) -> None:
        """Skyward and the store as the first night left them."""
        self.standin.district().empty_gradebook()
        self.deaths.clear()
        self.begun = self.standin.journal_position()
        self.published = list(self.first)
        self.evenings = [evidence.Evening(self.begun, _cutoff(0).at)]
        self._run(self._first_night)
        self.evenings.append(evidence.Evening(self.standin.journal_position(), _cutoff(1).at))
        self.published += self.second

    def cut(self, at: int, way: Way, frozen: Callable[[], None] = lambda: None) -> bool:
        """The second night up to the suspension ``at``; False where it ended before that.

        ``frozen`` is called while the process stands still, which then goes on to its end.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            self._die(at, way)
        _, status = os.waitpid(child, os.WUNTRACED)
        self.deaths.append(datetime.now(UTC))
        if os.WIFSTOPPED(status):
            try:
                frozen()
            finally:
                os.kill(child, signal.SIGCONT)
                os.waitpid(child, 0)
            return True
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        code = os.WEXITSTATUS(status)
        assert code in (0, _STOPPED), (self.directory / "error").read_text()
        return code == _STOPPED

    def go_on(self, more: list[Record] | None = None) -> None:
        """The night again, as another process would, with ``more`` published meanwhile."""
        self.published += more or []
        self._run(self._night)

    def ending(self) -> tuple[Any, ...]:
        """What Skyward and the store hold now."""

        async def rows(nights: Nights) -> Any:
            return await rows_of(nights.pool)

        gradebook = map(plainly, self.standin.district().gradebook())
        return sorted(gradebook, key=str), self._run(rows)

    def history(self) -> History:
        """The history of this round; what must stand is told by `ending` instead."""
        placed = [(one, (one.topic, 0, n)) for n, one in enumerate(self.published)]

        async def gather() -> History:
            return await evidence.gathered(
                self.standin,
                self.database_url,
                list(read_published(placed)),
                after=self.begun,
                evenings={"lakeside": self.evenings},
                deaths=self.deaths,
            )

        return asyncio.run(gather())

    # -- inside

    def _die(self, at: int, way: Way) -> None:
        """In the child: never returns."""
        counted = Counted(at, way)
        code = 0
        try:
            with asyncio.Runner() as runner:
                runner.run(self._counted(counted))
        except asyncio.CancelledError:
            code = _STOPPED
        except BaseException:  # noqa: BLE001 - the parent raises it
            (self.directory / "error").write_text(traceback.format_exc())
            code = 1
        os._exit(code)

    async def _counted(self, counted: Counted) -> None:
        async with self._nights() as nights:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(counted.task)  # type: ignore[arg-type]  # of 3.11 alone
            counted.running = loop.create_task(self._night(nights))
            try:
                await counted.running
            finally:
                loop.set_task_factory(None)

    def _run(self, what: Callable[[Nights], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            async with self._nights() as nights:
                return await what(nights)

        return asyncio.run(run())

    @asynccontextmanager
    async def _nights(self) -> AsyncIterator[Nights]:
        evening = Evening(self.roster, "lakeside", NOW)
        async with (
            await connect(self.database_url, size=4) as pool,
            Network(allow_http=True, allowed_networks=[ip_network("127.0.0.0/8")]) as network,
        ):
            yield Nights(
                pool, self.standin, self.standin.district(), self.settings, evening, network
            )

    async def _first_night(self, nights: Nights) -> None:
        await nights.pool.execute(
            "TRUNCATE grade, assessment, line_item, flush_run, sent, lease, membership,"
            " intake_offset, district, settings_revision, skyward_district, skyward_class"
        )
        await nights.apply()
        await self._take_in(nights)
        nights.now = _cutoff(0).at
        await nights.run("nightly", _cutoff(0))

    async def _night(self, nights: Nights) -> None:
        """Intake from where the store stands, and the run of the second night."""
        await self._take_in(nights)
        await nights.pool.execute("UPDATE lease SET expires_at = '-infinity'")
        nights.now = _cutoff(1).at
        report = await nights.run("nightly", _cutoff(1))
        assert report.state == "done", report

    async def _take_in(self, nights: Nights) -> None:
        nights.evening.records = self.published
        topics = {one.topic for one in self.published}
        stored = await recording.stored_offsets(nights.pool, topics)
        begin = min((stored.get((topic, 0), 0) for topic in topics), default=0)
        changes = [
            one
            for one in batch_of(nights.evening, first=begin).changes
            if one.record.offset >= stored.get((one.record.topic, 0), 0)
        ]
        for first in range(0, len(changes), _BATCH):
            batch = batch_of(nights.evening, first=len(self.published))
            batch.changes = changes[first : first + _BATCH]
            batch.next_offsets = {(c.record.topic, 0): c.record.offset + 1 for c in batch.changes}
            await recording.record(nights.pool, batch, nights.now)


def _cutoff(night: int) -> Cutoff:
    at = NOW + timedelta(days=night, minutes=1)
    return Cutoff(at.astimezone(ZoneInfo(ZONE)).date(), at)


@contextmanager
def interrupted(directory: Path, database_url: str, **rules: Any) -> Iterator[Interrupted]:
    """Two quizzes, corrected and taken back, a rename, zeros, one that is new, and refusals."""
    today = NOW.astimezone(ZoneInfo(ZONE)).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    evening = Evening(roster, "lakeside", NOW)
    for number in range(2):
        evening.assess("quiz", number=number, due_days=5 * number - 1)
        for student in range(4):
            evening.grade("quiz", student, "8", number=number)
    evening.grade("quiz", 4, "8.5")
    first = len(evening.records)
    evening.now = NOW + timedelta(days=1)
    evening.assess("quiz", title="Renamed", due_days=-2)
    evening.assess("paper", number=1)
    evening.assess("paper", title="x" * 50, number=0)
    evening.grade("quiz", 0, "9")
    evening.grade("quiz", 1, "8", submission="excluded")
    evening.grade("quiz", 5, None, completion="turned_in")
    evening.remove("grade-changed", "quiz", "c-2", "s-3")
    for student in range(5):
        evening.grade("paper", student, f"{student + 1}", number=1)
    evening.now += timedelta(hours=2)
    evening.grade("quiz", 2, "7", number=1)
    evening.grade("paper", 5, "6", number=1)
    second = len(evening.records)
    evening.now = NOW + timedelta(days=1)
    for student in range(5):
        evening.grade("paper", student, "9", number=1)
    corrected = len(evening.records)
    take_back(evening)
    with StandIn(
        SCHOOL / "district",
        directory / "j",
        today=today,
        settings={"timezone": ZONE},
        district="lakeside",
    ) as standin:
        settings = district_settings(
            roster,
            district_id="lakeside",
            now=NOW,
            timezone=ZONE,
            cutoff="22:00",
            base_url=standin.base_url,
            token_url=standin.token_url,
        ) | {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
        settings["rules"] = {**settings.get("rules", {}), **rules}
        yield Interrupted(
            directory,
            database_url,
            standin,
            roster,
            settings,
            evening.records[:first],
            evening.records[first:second],
            evening.records[second:corrected],
            evening.records[corrected:],
        )


def take_back(evening: Evening) -> None:
    """What the second night said is unsaid: as it was before, or not to be posted any more."""
    evening.assess("quiz", title="Quiz", due_days=-2)
    evening.grade("quiz", 0, "8")
    evening.grade("quiz", 2, "8", number=1)
    evening.grade("paper", 0, None, completion="not_started", number=1)
    evening.grade("paper", 1, "2", submission="excluded", number=1)
    evening.grade("paper", 2, "8.5", number=1)
    evening.remove("grade-changed", "paper", "c-2", "s-3")
    # The last of the class handed nothing in, and is not assigned any more.
    evening.assess("paper", number=1, assignees=evening.assignees(1)[:-1])

"""Replicas of the real daemon that are killed and started again, and judged."""

import asyncio
import random
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from consumer.sandbox.oracle import Oracle, periods_by_class
from tests.evening import Evening
from tests.history.clauses import Judgement, judge, judged
from tests.history.evidence import History, gathered
from tests.history.published import read_topics
from tests.system.town import TOPICS, ZONE, Town, until

CLASSES = 4
PAPER = "7"
"""What everybody has in a paper."""
_SOME = 10


@dataclass(frozen=True)
class Said:
    """What Otus says at one moment: the quizzes' title, a score by class and student."""

    title: str
    scores: Mapping[tuple[int, int], str]


@dataclass
class Replicas:
    """Processes of one town by number, and the evening whose events they take in.

    ``program`` begins a command line in the place of ``passback``. ``killed_at`` is where Skyward's
    journal stood at the last death.
    """

    town: Town
    evening: Evening
    settings: dict[str, Any]
    chance: random.Random
    said: Said = Said("", {})
    published: int = 0
    papers: int = 0
    killed_at: int = 0
    deaths: list[datetime] = field(default_factory=list)
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    program: Sequence[str] = ()

    def start(self, number: int) -> None:
        """Its group instance is its own, so that nobody waits for a dead one's session."""
        environment = self.town.environment | {
            "PASSBACK_KAFKA_GROUP_INSTANCE_ID": f"replica-{number}"
        }
        with (self.town.directory / f"replica-{number}.log").open("ab") as log:
            self.processes[number] = subprocess.Popen(
                [*(self.program or self.town.command()), "run"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def kill(self, number: int) -> None:
        """SIGKILL; its lease runs out at once instead of after half a minute."""
        process = self.processes.pop(number)
        process.kill()
        process.wait()
        self.killed_at = self.town.standin.journal_position()
        self.deaths.append(datetime.now(UTC))
        await self._execute(
            "UPDATE lease SET expires_at = '-infinity' WHERE holder LIKE $1", f"%/{process.pid}/%"
        )

    def stop_all(self) -> None:
        for number in list(self.processes):
            process = self.processes.pop(number)
            process.kill()
            process.wait()

    async def correct(self, versions: int = 3) -> None:
        """Publishes a few versions of every grade, the assessments anew, and a paper besides."""
        for version in range(versions):
            self.said = Said(f"Quiz {self.published}", self._scores())
            self._say(self.said)
            await asyncio.sleep(0 if version else 0.05)
        self._assign()
        await self._publish()

    async def correct_again(self) -> None:
        """Publishes another version of every grade of the quizzes, and of nothing else."""
        self.said = replace(self.said, scores=self._scores())
        self._grade(self.said)
        await self._publish()

    def _assign(self) -> None:
        self.papers += 1
        name, number = f"paper-{self.papers}", self.papers % CLASSES
        self.evening.assess(name, number=number)
        for student in range(len(self.evening.assignees(number))):
            self.evening.grade(name, student, PAPER, number=number)

    async def say_again(self, said: "Said") -> None:
        """Everything is as it was then: what came since is taken back."""
        self.said = said
        self._say(said)
        await self._publish()

    def _say(self, said: "Said") -> None:
        self.evening.now = datetime.now(ZONE)
        for number in range(CLASSES):
            self.evening.assess("quiz", number=number, title=said.title)
        self._grade(said)

    def _scores(self) -> dict[tuple[int, int], str]:
        return {
            (number, student): str(self.chance.randrange(11))
            for number in range(CLASSES)
            for student in range(20)
        }

    def _grade(self, said: "Said") -> None:
        self.evening.now = datetime.now(ZONE)
        for (number, student), score in said.scores.items():
            self.evening.grade("quiz", student, score, number=number)

    async def _publish(self) -> None:
        fresh = self.evening.records[self.published :]
        self.published = len(self.evening.records)
        await self.town.publish(fresh)

    async def night(self) -> None:
        """The district is due, with the cutoff at this moment, as if a day had passed."""
        await self._execute(
            "UPDATE flush_run SET kind = 'manual' WHERE kind = 'nightly' AND state <> 'running'"
        )
        await self._execute(
            "UPDATE district SET next_service_date = $1, next_cutoff_at = now(), start_at = now()",
            datetime.now(ZONE).date(),
        )

    async def night_is_over(self) -> bool:
        connection = await asyncpg.connect(self.town.database_url)
        try:
            found = await connection.fetchval(
                "SELECT bool_and(start_at > now()) AND NOT EXISTS (SELECT FROM flush_run"
                " WHERE kind = 'nightly' AND state = 'running') FROM district"
            )
            return bool(found)
        finally:
            await connection.close()

    async def sends_again(self) -> bool:
        """Whether a few results are on their way since a process died, or none will be."""
        sent = self.town.writes(after=self.killed_at)
        return len(sent) > _SOME or await self.night_is_over()

    async def whole_night(self) -> None:
        await self.night()
        await until(self.night_is_over, seconds=90)

    async def judged(self) -> Judgement:
        """The judgement of all that happened so far; nothing may be on its way."""
        return judged(await self._history())

    async def breaches(self) -> set[str]:
        """The clauses that were broken so far."""
        return {one.clause for one in judge(await self._history()).findings}

    async def _history(self) -> History:
        oracle = Oracle(self.settings, periods_by_class(self.town.roster))
        for one in self.evening.records:
            oracle.fold(one)
        published = await read_topics(self.town.kafka.bootstrap_servers, self.town.prefix, TOPICS)
        district = self.town.district
        return await gathered(
            self.town.standin,
            self.town.database_url,
            published,
            expected={district: list(oracle.expected(datetime.now(UTC)))},
            deaths=self.deaths,
        )

    async def _execute(self, statement: str, *arguments: Any) -> None:
        connection = await asyncpg.connect(self.town.database_url)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def replicas_of(town: Town, seed: int) -> AsyncIterator[Replicas]:
    """None runs yet; the district is applied, and every answer of Skyward takes 30 ms."""
    assert town.passback("migrate").returncode == 0
    settings = town.settings(effective_date="2020-01-01", live_since="2020-01-01")
    assert town.apply(settings).returncode == 0
    town.skyward.configure(latency=0.03)
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    built = Replicas(town, evening, settings, random.Random(seed))
    try:
        yield built
    finally:
        built.stop_all()


@dataclass(frozen=True)
class Killed:
    """What a kill loop came to; ``recovered`` is in seconds, the longest of its rounds.

    ``taken_back``: after so many deaths all that had been on its way was said to be as before.
    """

    rounds: int
    taken_back: int
    lost: int
    doubled: int
    repeats: int
    recovered: float


async def kill_loop(replicas: Replicas, rounds: int, side_by_side: int) -> Killed:
    """Kills all of them in each round, at a random moment of intake or flush, and judges."""
    await first_night(replicas, side_by_side)
    recovered, taken_back = 0.0, 0
    for round_ in range(rounds):
        takes_back = bool(round_ % 2)
        recovered = max(recovered, await kill_once(replicas, takes_back=takes_back))
        taken_back += takes_back
        judgement = await replicas.judged()
    return Killed(
        rounds, taken_back, judgement.lost, judgement.doubled, judgement.repeats, recovered
    )


async def first_night(replicas: Replicas, side_by_side: int) -> None:
    """So many processes begin, and make a night on which nothing happens."""
    for number in range(side_by_side):
        replicas.start(number)
    await replicas.correct()
    await replicas.whole_night()


async def kill_once(replicas: Replicas, *, takes_back: bool) -> float:
    """Kills some at a random moment; returns after how many seconds the night had been made."""
    before = replicas.said
    publishing = asyncio.create_task(replicas.correct())
    if replicas.chance.random() < 0.7:
        await replicas.night()
    await asyncio.sleep(replicas.chance.uniform(0, 1.2))
    numbers = sorted(replicas.processes)
    victims = replicas.chance.sample(numbers, replicas.chance.randint(1, len(numbers)))
    for number in victims:
        await replicas.kill(number)
    if takes_back:
        await publishing
        await replicas.say_again(before)
    began = time.monotonic()
    for number in victims:
        replicas.start(number)
    await publishing
    if not takes_back:
        await until(replicas.sends_again, seconds=90, pause=0.02)
        await replicas.correct_again()
    await until(replicas.night_is_over, seconds=90)
    recovered = time.monotonic() - began
    await replicas.whole_night()
    return recovered

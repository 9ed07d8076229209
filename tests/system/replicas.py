"""Replicas of the real daemon that are killed and started again, and judged."""

import asyncio
import random
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from consumer.sandbox.oracle import Oracle, periods_by_class
from tests.evening import Evening
from tests.history.clauses import Judgement, judged
from tests.history.evidence import gathered
from tests.history.published import read_topics
from tests.system.town import TOPICS, ZONE, Town, until

CLASSES = 4


@dataclass(frozen=True)
class Said:
    """What Otus says at one moment: the quizzes' title, a score by class and student."""

    title: str
    scores: Mapping[tuple[int, int], str]


@dataclass
class Replicas:
    """Processes of one town by number, and the evening whose events they take in.

    ``program`` begins a command line in the place of ``passback``.
    """

    town: Town
    evening: Evening
    settings: dict[str, Any]
    chance: random.Random
    said: Said = Said("", {})
    published: int = 0
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
        """Publishes a few versions of every grade, and the assessments anew."""
        for version in range(versions):
            self.said = Said(
                f"Quiz {self.published}",
                {
                    (number, student): str(self.chance.randrange(11))
                    for number in range(CLASSES)
                    for student in range(20)
                },
            )
            self._say(self.said)
            await asyncio.sleep(0 if version else 0.05)
        await self._publish()

    async def say_again(self, said: "Said") -> None:
        """Everything is as it was then: what came since is taken back."""
        self.said = said
        self._say(said)
        await self._publish()

    def _say(self, said: "Said") -> None:
        self.evening.now = datetime.now(ZONE)
        for number in range(CLASSES):
            self.evening.assess("quiz", number=number, title=said.title)
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

    async def whole_night(self) -> None:
        await self.night()
        await until(self.night_is_over, seconds=90)

    async def judged(self) -> Judgement:
        """The judgement of all that happened so far; nothing may be on its way."""
        oracle = Oracle(self.settings, periods_by_class(self.town.roster))
        for one in self.evening.records:
            oracle.fold(one)
        published = await read_topics(self.town.kafka.bootstrap_servers, self.town.prefix, TOPICS)
        district = self.town.district
        return judged(
            await gathered(
                self.town.standin,
                self.town.database_url,
                published,
                expected={district: list(oracle.expected(datetime.now(UTC)))},
                deaths=self.deaths,
            )
        )

    async def _execute(self, statement: str, *arguments: Any) -> None:
        connection = await asyncpg.connect(self.town.database_url)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def replicas_of(town: Town, seed: int) -> AsyncIterator[Replicas]:
    """None runs yet; the district is applied, and every answer of Skyward takes 10 ms."""
    assert town.passback("migrate").returncode == 0
    settings = town.settings(effective_date="2020-01-01", live_since="2020-01-01")
    assert town.apply(settings).returncode == 0
    town.skyward.configure(latency=0.01)
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
    numbers = range(side_by_side)
    for number in numbers:
        replicas.start(number)
    await replicas.correct()
    await replicas.whole_night()
    recovered, taken_back = 0.0, 0
    for round_ in range(rounds):
        before = replicas.said
        publishing = asyncio.create_task(replicas.correct())
        if replicas.chance.random() < 0.7:
            await replicas.night()
        await asyncio.sleep(replicas.chance.uniform(0, 1.2))
        victims = replicas.chance.sample(list(numbers), replicas.chance.randint(1, side_by_side))
        for number in victims:
            await replicas.kill(number)
        if round_ % 2:
            await publishing
            await replicas.say_again(before)
            taken_back += 1
        began = time.monotonic()
        for number in victims:
            replicas.start(number)
        await publishing
        await until(replicas.night_is_over, seconds=90)
        recovered = max(recovered, time.monotonic() - began)
        await replicas.whole_night()
        judgement = await replicas.judged()
    return Killed(
        rounds, taken_back, judgement.lost, judgement.doubled, judgement.repeats, recovered
    )

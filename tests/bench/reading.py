"""One reading of the stream by processes of its own, watched through the offsets they store.

All readers store their offsets in the transaction of their rows, so what is watched is durable.
The clock starts after the first commit: nobody's start-up is in a rate.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil  # type: ignore[import-untyped, unused-ignore]
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from consumer import events
from consumer.sandbox.publish import publish
from consumer.store.connection import connect
from tests.bench.frame import Bench
from tests.bench.processes import highest_mib
from tests.bench.stream import DISTRICTS, district, grades, right_rows
from tests.bench.written import written
from tests.recordables import apply

PARTITIONS: Final = 8
_LOOK_EVERY: Final = 0.02
_PATIENCE: Final = 300.0


@dataclass(frozen=True)
class Reading:
    """One reading's figures: events a second, and of one event the rest.

    ``own_us``, ``postgres_us`` and ``kafka_us`` are microseconds of processor, ``wal`` bytes,
    ``dead`` row versions that vacuum has to remove, ``hot`` the share of the grades' updates that
    touched no index (None where none was updated); ``mib`` is the most that a reader held.
    """

    per_second: float
    own_us: float
    postgres_us: float
    kafka_us: float
    wal: float
    dead: float
    hot: float | None
    mib: float

    @property
    def all_us(self) -> float:
        return self.own_us + self.postgres_us + self.kafka_us


@dataclass(frozen=True)
class Stream:
    """A published stream of so many records below ``prefix``."""

    prefix: str
    records: int

    @property
    def topic(self) -> str:
        return self.prefix + events.GRADE_CHANGED


async def published(bench: Bench, prefix: str, records: int) -> Stream:
    """Publishes the stream, and makes the other topics, empty."""
    await bench.kafka.create_topics({prefix + topic: PARTITIONS for topic in events.TOPICS})
    await publish(bench.kafka.bootstrap_servers, prefix, grades(records))
    return Stream(prefix, records)


@asynccontextmanager
async def district_database(bench: Bench) -> AsyncIterator[str]:
    """A database in which the stream's districts were applied; none of them is ever due."""
    async with bench.database() as url:
        async with await connect(url, size=1) as pool:
            for number in range(DISTRICTS):
                await apply(pool, district(number))
            await pool.execute("UPDATE district SET start_at = 'infinity'")
        yield url


async def read_by_peer(bench: Bench, peer: str, stream: Stream, url: str) -> Reading:
    """Reads the whole stream by ``bare`` or ``faststream`` of intake_peers.py."""
    arguments = (peer, stream.topic, url, bench.kafka.bootstrap_servers)
    command = [sys.executable, "-m", "tests.bench.intake_peers", *arguments]
    return await _read(bench, stream, url, command, os.environ, processes=1)


async def read_by_ours(bench: Bench, stream: Stream, url: str, processes: int = 1) -> Reading:
    """Reads the whole stream by the real daemon, or by several of one group.

    A database that holds the stream already is told to forget how far it was read: a replay.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("TRUNCATE intake_offset")
    finally:
        await connection.close()
    group = f"{stream.prefix}{time.monotonic_ns()}"
    environment = bench.daemon_environment(url, stream.prefix, group)
    command = [sys.executable, "-m", "consumer.cli", "run"]
    return await _read(bench, stream, url, command, environment, processes, group)


async def _read(
    bench: Bench,
    stream: Stream,
    url: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    processes: int,
    group: str | None = None,
) -> Reading:
    log = bench.directory / "reader.log"
    connection = await asyncpg.connect(url)
    try:
        before = await written(connection)
        with _running(command, environment, processes, log) as readers:
            try:
                watched = await _watch(bench, connection, stream, readers, group)
            except AssertionError as error:
                error.add_note(log.read_text()[-2000:])
                raise
        grown = (await written(connection)).since(before)
        found = await connection.fetchrow(_ROWS)
    finally:
        await connection.close()
    assert found is not None
    assert tuple(found) == right_rows(stream.records), f"{command} left wrong rows: {found}"
    per_second, own, postgres, kafka, mib = watched
    return Reading(
        per_second,
        own,
        postgres,
        kafka,
        grown.wal / stream.records,
        grown.dead / stream.records,
        grown.hot / grown.updated if grown.updated else None,
        mib,
    )


_ROWS: Final = "SELECT count(*), min(version), max(version), sum(score)::bigint FROM grade"


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], processes: int, log: Path
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    with log.open("wb") as output, ExitStack() as ending:
        readers = []
        for _ in range(processes):
            reader = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            ending.callback(reader.wait)
            ending.callback(reader.kill)
            readers.append(reader)
        yield readers


async def _watch(
    bench: Bench,
    connection: asyncpg.Connection,
    stream: Stream,
    readers: Sequence["subprocess.Popen[bytes]"],
    group: str | None,
) -> tuple[float, float, float, float, float]:
    """Events a second, three processor times of one event in microseconds, MiB."""
    patience = time.perf_counter() + _PATIENCE
    if group is not None and len(readers) > 1:
        await _assembled(bench, group, len(readers), patience)
    begun, first, cpu = 0.0, 0, (0.0, 0.0, 0.0)
    while True:
        done = int(await connection.fetchval(_STORED, stream.topic))
        now = time.perf_counter()
        assert all(one.poll() is None for one in readers), "a reader ended"
        assert now < patience, f"{done} records after {_PATIENCE:.0f} s"
        if done and not begun:
            begun, first, cpu = now, done, _cpu(bench, readers)
        if done >= stream.records:
            break
        await asyncio.sleep(_LOOK_EVERY)
    counted = stream.records - first
    assert counted > stream.records / 2, f"the clock started after {first} records"
    own, postgres, kafka = (
        (b - a) / counted * 1e6 for a, b in zip(cpu, _cpu(bench, readers), strict=True)
    )
    mib = max(highest_mib(one.pid) for one in readers)
    return counted / (now - begun), own, postgres, kafka, mib


_STORED: Final = "SELECT coalesce(sum(next_offset), 0) FROM intake_offset WHERE topic = $1"


async def _assembled(bench: Bench, group: str, members: int, patience: float) -> None:
    """Waits until the group has so many members, each with partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka.bootstrap_servers)
    await admin.start()
    try:
        while True:
            try:
                (answer,) = await admin.describe_consumer_groups([group])
            except GroupCoordinatorNotAvailableError:  # nobody has asked for it before
                await asyncio.sleep(_LOOK_EVERY)
                continue
            (_, _, state, _, _, found, *_) = answer.groups[0]
            if state == "Stable" and len(found) == members:
                return
            assert time.perf_counter() < patience, f"{len(found)} members, {state}"
            await asyncio.sleep(_LOOK_EVERY)
    finally:
        await admin.close()


def _cpu(bench: Bench, readers: Sequence["subprocess.Popen[bytes]"]) -> tuple[float, float, float]:
    """Seconds of processor that the readers, Postgres and Kafka have used."""
    return (
        _seconds([psutil.Process(one.pid) for one in readers]),
        _seconds(psutil.Process(bench.postgres.pid).children()),
        _seconds([psutil.Process(bench.kafka.pid)]),
    )


def _seconds(processes: Sequence[Any]) -> float:
    times = [one.cpu_times() for one in processes]
    return float(sum(one.user + one.system for one in times))

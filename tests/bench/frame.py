"""What every part is given: real services that force to disk, databases and topics of its own."""

import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg
import psutil  # type: ignore[import-untyped, unused-ignore]

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.tcp import LOOPBACK
from consumer.sealing import new_key
from consumer.store.migrate import migrate

_TEMPLATE: Final = "bench_template"
_QUICK: Final = 10
_QUICK_ROUNDS: Final = 2


@dataclass(frozen=True)
class Figures:
    """What a part measured: ``ratios`` by their names in targets.py, ``absolute`` with units."""

    ratios: Mapping[str, float] = field(default_factory=dict)
    absolute: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """One run's services and a directory; ``quick`` asks for small sizes and few rounds."""

    directory: Path
    postgres: Postgres
    kafka: Kafka
    quick: bool

    def size(self, full: int) -> int:
        """How many of something: ``full``, or a tenth in a quick run."""
        return full // _QUICK if self.quick else full

    def rounds(self, full: int) -> int:
        """How many alternating rounds: ``full``, or two in a quick run."""
        return min(full, _QUICK_ROUNDS) if self.quick else full

    def ratio(self, ones: Sequence[float], others: Sequence[float]) -> float:
        """Of two sides' rates, round by round: the median ratio, so that what the machine does
        meanwhile it does to both. Of a quick run, whose few short rounds have no steady middle, the
        ratio of each side's best: what disturbs a round only slows it.
        """
        if self.quick:
            return max(ones) / max(others)
        return median(one / other for one, other in zip(ones, others, strict=True))

    def daemon_environment(self, url: str, topic_prefix: str, group: str) -> dict[str, str]:
        """The environment of a ``passback run`` of that group; any free port, cutoffs far away."""
        key_file = self.directory / "sealing.key"
        if not key_file.exists():
            key_file.write_text(new_key() + "\n")
        return os.environ | {
            "PASSBACK_DATABASE_URL": url,
            "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "PASSBACK_KAFKA_TOPIC_PREFIX": topic_prefix,
            "PASSBACK_KAFKA_GROUP_ID": group,
            "PASSBACK_KAFKA_START": "earliest",
            "PASSBACK_SEALING_KEY_FILE": str(key_file),
            "PASSBACK_HTTP_HOST": LOOPBACK,
            "PASSBACK_HTTP_PORT": "0",
        }

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of a migrated, empty database; dropped in the end, checkpointed before."""
        name = f"bench_{uuid.uuid4().hex}"
        admin = await asyncpg.connect(self.postgres.url())
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
            # Nobody's round pays for what the one before left to be written.
            await admin.execute("CHECKPOINT")
            try:
                yield self.postgres.url(name)
            finally:
                await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await admin.close()


@contextmanager
def services(*, quick: bool) -> Iterator[Bench]:
    """Starts Kafka and Postgres for one run, and removes what they wrote in the end."""
    directory = Path(tempfile.mkdtemp(prefix="passback-bench-"))
    try:
        with Postgres(directory / "postgres") as postgres, Kafka(directory / "kafka") as kafka:
            yield Bench(directory, postgres, kafka, quick)
    finally:
        shutil.rmtree(directory)


async def make_template(bench: Bench) -> None:
    """The migrated database that each round's own is cloned from."""
    admin = await asyncpg.connect(bench.postgres.url())
    try:
        await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
    finally:
        await admin.close()
    await migrate(bench.postgres.url(_TEMPLATE))


def raise_priority() -> bool:
    """Asks that the run, and all that it starts, be disturbed less; False where it may not."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    except PermissionError:
        return False
    return True


def machine(bench: Bench) -> str:
    """The machine and the services, in one line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores {model}, {memory:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}, PostgreSQL 18 with fsync on and Kafka 4.3.1 on"
        " loopback"
    )

"""The image that the environment names, and a town whose every command runs in it."""

import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL
from consumer.sandbox.skyward import StandIn
from tests.system.town import ZONE, Town

# What the chart's restricted pods have, and the host's network for the services on loopback.
RESTRICTED = (
    *("--read-only", "--user", "65532:65532", "--tmpfs", "/tmp:noexec,nosuid,size=16m"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "512m"),
)


def docker(*arguments: str) -> str:
    """What a docker command prints; fails with what it says on stderr."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class TownInTheImage(Town):
    """The same town; ``passback`` is the image's, and sees only the town's directory."""

    image: str = ""

    def __post_init__(self) -> None:
        # Pytest lets nobody else in, and the container's user is somebody else.
        self.directory.chmod(0o755)

    def command(self) -> list[str]:
        variables = [name for name in self.environment if name.startswith("PASSBACK_")]
        return [
            *("docker", "run", "--rm", "--network", "host", *RESTRICTED),
            *("--volume", f"{self.directory}:{self.directory}:ro"),
            *(argument for name in variables for argument in ("--env", name)),
            self.image,
        ]


@pytest.fixture(scope="session")
def image() -> str:
    """The image's name, as ``make image-test`` gives it."""
    return os.environ["PASSBACK_IMAGE"]


@pytest.fixture(scope="session")
def inspected(image: str) -> dict[str, Any]:
    """What docker says of the image."""
    (found,) = json.loads(docker("image", "inspect", image))
    assert isinstance(found, dict)
    return found


@pytest.fixture
async def empty_database_url(postgres_server: Postgres) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    name = f"empty_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgres_server.url())
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield postgres_server.url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def town(
    tmp_path: Path, empty_database_url: str, kafka_broker: Kafka, topic_prefix: str, image: str
) -> AsyncIterator[TownInTheImage]:
    """The packaged school in a stand-in Skyward; nothing is applied, and no daemon runs."""
    today = datetime.now(ZONE).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    with StandIn(
        SCHOOL / "district", tmp_path / "journal", today=today, district="lakeside"
    ) as standin:
        town = TownInTheImage(
            tmp_path, empty_database_url, kafka_broker, topic_prefix, standin, roster, image=image
        )
        await town.found()
        yield town

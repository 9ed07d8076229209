"""The real services every test may ask for: one Postgres and one Kafka for the whole session.

A test gets a database of its own, cloned from a migrated template, and a topic prefix of its own.
A service that cannot be started fails every test that asked for it; nothing is skipped.
"""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres

TEMPLATE = "passback_template"


@pytest.fixture(scope="session")
def services_directory() -> Iterator[Path]:
    """A short path for what the session's servers write, removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="passback-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server(services_directory: Path) -> Iterator[Postgres]:
    """The session's Postgres; it never forces anything to disk. Leave it running."""
    with Postgres(services_directory / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_broker(services_directory: Path) -> Iterator[Kafka]:
    """The session's Kafka; name topics with ``topic_prefix``. Leave it running."""
    with Kafka(services_directory / "kafka") as broker:
        yield broker


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """The name of a database with the newest schema and no rows, that nobody is connected to."""
    from consumer.store.migrate import migrate

    async def make() -> None:
        admin = await asyncpg.connect(postgres_server.url())
        try:
            await admin.execute(f"CREATE DATABASE {TEMPLATE}")
            await migrate(postgres_server.url(TEMPLATE))
        finally:
            await admin.close()

    with asyncio.Runner() as runner:
        runner.run(make())
    return TEMPLATE


@pytest.fixture
async def database_url(postgres_server: Postgres, migrated_template: str) -> AsyncIterator[str]:
    """The URL of a migrated database for this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgres_server.url())
    try:
        # Half the time of the default strategy, where nothing is forced to disk.
        await admin.execute(
            f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy"
        )
        try:
            yield postgres_server.url(name)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def topic_prefix() -> str:
    """What the names of this test's topics begin with; ends with a dot."""
    return f"test-{uuid.uuid4().hex}."

"""Migrations bring a database forward, once, whoever else migrates at the same moment."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from consumer.errors import ServiceUnavailable
from consumer.sandbox.postgres import Postgres
from consumer.store.migrate import (
    expect_current_schema,
    known_migrations,
    migrate,
    schema_version,
)

NAMES = [name for _, name, _ in known_migrations()]
NEWEST = known_migrations()[-1][0]


@pytest.fixture
async def empty_database(postgres_server: Postgres) -> AsyncIterator[str]:
    """The URL of a database that nobody migrated."""
    name = f"empty_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgres_server.url())
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield postgres_server.url(name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
async def connection(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the empty database."""
    opened = await asyncpg.connect(empty_database)
    yield opened
    await opened.close()


def test_the_migrations_are_numbered_without_a_gap_from_one() -> None:
    assert [version for version, _, _ in known_migrations()] == list(range(1, NEWEST + 1))


async def test_a_database_comes_from_nothing_to_the_newest_schema(
    empty_database: str, connection: asyncpg.Connection
) -> None:
    assert await schema_version(connection) == 0
    assert await migrate(empty_database) == NAMES
    assert await schema_version(connection) == NEWEST
    await expect_current_schema(connection)
    assert await connection.fetchval("SELECT count(*) FROM grade") == 0


async def test_migrating_twice_applies_nothing_the_second_time(empty_database: str) -> None:
    await migrate(empty_database)
    assert await migrate(empty_database) == []


async def test_of_two_that_migrate_at_once_one_applies_and_both_succeed(
    empty_database: str, connection: asyncpg.Connection
) -> None:
    applied = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert sorted(applied) == [[], [], [], NAMES]
    rows = await connection.fetch("SELECT name FROM schema_migration ORDER BY version")
    assert [row["name"] for row in rows] == NAMES


async def test_an_older_schema_says_to_migrate(connection: asyncpg.Connection) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        await expect_current_schema(connection)
    assert str(caught.value) == (
        f"The database schema is at version 0 and this build needs {NEWEST};"
        " run 'passback migrate' first."
    )


async def test_a_newer_schema_says_to_run_a_newer_build_and_is_left_alone(
    empty_database: str, connection: asyncpg.Connection
) -> None:
    await migrate(empty_database)
    await connection.execute(
        "INSERT INTO schema_migration (version, name) VALUES ($1, 'of_tomorrow')", NEWEST + 1
    )
    with pytest.raises(ServiceUnavailable) as caught:
        await expect_current_schema(connection)
    assert str(caught.value) == (
        f"The database schema is at version {NEWEST + 1}, newer than this build's {NEWEST};"
        " run a newer build."
    )
    assert await migrate(empty_database) == []


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database: str, connection: asyncpg.Connection
) -> None:
    # A table of somebody else's stands where one of ours is to be made.
    await connection.execute("CREATE TABLE intake_offset (whose text)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_database)
    assert await schema_version(connection) == 0
    assert await connection.fetchval("SELECT to_regclass('district')") is None
    await connection.execute("DROP TABLE intake_offset")
    assert await migrate(empty_database) == NAMES

"""Migrations: numbered SQL files, forward only, one at a time under an advisory lock."""

from importlib import resources
from typing import Final

import asyncpg

from consumer.errors import ServiceUnavailable
from consumer.store.connection import Connection

# One number for all replicas that migrate at once; it has no meaning of its own.
_LOCK: Final = 7_248_190_511

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)"""


def known_migrations() -> list[tuple[int, str, str]]:
    """(version, name, SQL) of every migration that this build carries, in order."""
    found = []
    for file in resources.files("consumer.migrations").iterdir():
        if file.name.endswith(".sql"):
            version, _, name = file.name.removesuffix(".sql").partition("_")
            found.append((int(version), name, file.read_text()))
    return sorted(found)


async def migrate(url: str) -> list[str]:
    """Brings the schema forward; returns the names of what was applied, none when up to date."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        current = await _version(connection)
        applied = []
        for version, name, sql in known_migrations():
            if version > current:
                async with connection.transaction():
                    await connection.execute(sql)
                    await connection.execute(
                        "INSERT INTO schema_migration (version, name) VALUES ($1, $2)",
                        version,
                        name,
                    )
                applied.append(name)
        return applied
    finally:
        await connection.close()


async def schema_version(connection: Connection) -> int:
    """The newest migration that the database has; 0 where it has none."""
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        return 0
    return await _version(connection)


async def expect_current_schema(connection: Connection) -> None:
    """Raises ``ServiceUnavailable`` where the schema is older or newer than this build."""
    wanted = known_migrations()[-1][0]
    found = await schema_version(connection)
    if found < wanted:
        raise ServiceUnavailable(
            f"The database schema is at version {found} and this build needs {wanted};"
            " run 'passback migrate' first."
        )
    if found > wanted:
        raise ServiceUnavailable(
            f"The database schema is at version {found}, newer than this build's {wanted};"
            " run a newer build."
        )


async def _version(connection: Connection) -> int:
    version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_migration")
    assert isinstance(version, int)
    return version

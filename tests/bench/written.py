"""What a database has written and read so far, by Postgres' own counters."""

import asyncio
from dataclasses import astuple, dataclass
from typing import Final

import asyncpg

_LOOK_EVERY: Final = 0.02


@dataclass(frozen=True)
class Written:
    """``wal`` in bytes, and rows: dead ones, of the grades those updated and updated HOT, and what
    scans gave, of tables and of indexes.
    """

    wal: float
    dead: float
    updated: float
    hot: float
    read: float

    def since(self, before: "Written") -> "Written":
        """What came after ``before``."""
        return Written(*(b - a for a, b in zip(astuple(before), astuple(self), strict=True)))


async def written(connection: asyncpg.Connection) -> Written:
    """All of it, once every other connection to the database has ended."""
    await reported(connection)
    row = await connection.fetchrow(_WRITTEN)
    assert row is not None
    return Written(*map(float, row))


async def reported(connection: asyncpg.Connection) -> None:
    """Waits for the others: what a backend counted is told when it ends."""
    while await connection.fetchval(_OTHERS):
        await asyncio.sleep(_LOOK_EVERY)


_WRITTEN: Final = """
SELECT pg_current_wal_insert_lsn() - '0/0' AS wal, sum(n_tup_upd + n_tup_del) AS dead,
    sum(n_tup_upd) FILTER (WHERE relname = 'grade') AS updated,
    sum(n_tup_hot_upd) FILTER (WHERE relname = 'grade') AS hot,
    sum(seq_tup_read) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes) AS read
FROM pg_stat_user_tables"""
_OTHERS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'"""

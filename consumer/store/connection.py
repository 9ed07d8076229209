"""The connection pool: how every statement reaches Postgres."""

import json
from typing import Any

import asyncpg

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


async def connect(url: str, *, size: int = 10) -> asyncpg.Pool:
    """A pool of at most ``size`` connections; raises what asyncpg raises.

    Statements are prepared per connection; through a transaction pooler, add
    ``?statement_cache_size=0`` to the URL.
    """
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        init=_init,
        command_timeout=60,
        server_settings={"application_name": "skyward-passback", "jit": "off"},
    )


async def _init(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )


UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What passes by itself, or when an operator has mended Postgres: try the same again."""

REFUSED: tuple[type[BaseException], ...] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.StatementTooComplexError,
)
"""What this very row causes, and would cause again."""


async def answers(pool: Pool) -> bool:
    """Whether Postgres answers now."""
    try:
        return bool(await pool.fetchval("SELECT true", timeout=5))
    except UNAVAILABLE:
        return False

"""The connection pool: how every statement reaches Postgres."""

import asyncio
import json
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

_PATIENCE: Final = 30.0
"""Seconds for a connection of the pool, and for giving one back."""


class Pool(asyncpg.Pool):
    """asyncpg's pool, which also says how many tasks wait for a connection of it now."""

    waiting = 0

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109
        # Every statement comes through here; asyncpg offers no count and no hook of its own.
        self.waiting += 1
        try:
            # Without an end, who asks a Postgres that hangs waits for ever: for a connection, or,
            # when it gives one back, for the answer to its cancelled statement.
            timeout = _PATIENCE if timeout is None else timeout
            return await super()._acquire(timeout)  # type: ignore[misc]
        finally:
            self.waiting -= 1


Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


async def connect(url: str, *, size: int = 10) -> Pool:
    """A pool of at most ``size`` connections; raises what asyncpg raises.

    Statements are prepared per connection; through a transaction pooler, add
    ``?statement_cache_size=0`` to the URL.
    """
    pool = Pool(
        url,
        min_size=1,
        max_size=size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300,
        loop=asyncio.get_running_loop(),
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        init=_init,
        reset=_nothing_to_reset,
        command_timeout=60,
        server_settings={"application_name": "skyward-passback", "jit": "off"},
    )
    await pool
    return pool


async def _nothing_to_reset(connection: Any) -> None:
    """asyncpg's own resets cost a round trip a statement; none of ours changes its session."""


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
    asyncpg.LockNotAvailableError,
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

UNREACHABLE: tuple[type[BaseException], ...] = (
    *UNAVAILABLE,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)
"""Why no connection could be made at all."""


def unreachable(url: str, error: BaseException) -> str:
    """One sentence for the operator whose ``url`` leads to no connection; holds no password."""
    parts = urlsplit(url)
    where = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        what = f"Postgres at {where} refuses this user or password"
    elif isinstance(error, asyncpg.InvalidCatalogNameError):
        what = f"Postgres at {where} has no database of this name"
    else:
        what = f"Postgres at {where} does not answer ({type(error).__name__})"
    return f"PASSBACK_DATABASE_URL: {what}; start it or correct the URL."


async def answers(pool: Pool) -> bool:
    """Whether Postgres answers now."""
    try:
        async with asyncio.timeout(5):
            return bool(await pool.fetchval("SELECT true"))
    except UNAVAILABLE:
        return False

"""The connection pool: how every statement reaches Postgres."""

import asyncio
import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

_PATIENCE: Final = 30.0
"""Seconds for a connection of the pool, and for giving one back."""

STANDS_STILL: Final = 10.0
"""Seconds that a transaction may wait for its client's next statement; then Postgres ends it."""
LASTS: Final = 120.0
"""Seconds that a transaction may last, where Postgres ends those (17 and later)."""

_LASTS_SINCE: Final = 17


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

    A process that stands still, or a machine that is gone, must not keep its row locks from the
    others: Postgres itself ends its transactions, after ``STANDS_STILL`` between two statements,
    and after ``LASTS`` between the messages of one.
    """
    settings = {
        "application_name": "skyward-passback",
        "jit": "off",
        "idle_in_transaction_session_timeout": f"{STANDS_STILL * 1000:.0f}",
        # Of a machine that is gone no packet says so.
        "tcp_keepalives_idle": "20",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    if await _version(url) >= _LASTS_SINCE:
        settings["transaction_timeout"] = f"{LASTS * 1000:.0f}"
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
        server_settings=settings,
    )
    await pool
    return pool


async def _nothing_to_reset(connection: Any) -> None:
    """asyncpg's own resets cost a round trip a statement; none of ours changes its session."""


async def _version(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return connection.get_server_version().major
    finally:
        await connection.close()


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
    asyncpg.UndefinedObjectError,
    asyncpg.InsufficientPrivilegeError,
)
"""Why no connection could be made at all, or none that is of any use."""

_UNKNOWN_SETTING: Final = re.compile(r'unrecognized configuration parameter "([\w.-]+)"')

FORBIDDEN: type[BaseException] = asyncpg.InsufficientPrivilegeError
"""A right that the role lacks."""

OWNER: Final = "make it the owner of the database and of its tables"
"""What helps a role that Postgres allows too little."""


def forbidden(error: BaseException) -> str:
    """What the role may not do: Postgres names the object in a ``FORBIDDEN``, and never a row."""
    said = str(error.args[0] if error.args else "")
    return f"does not let this role do its work ({said or 'permission denied'})"


def unreachable(url: str, error: BaseException) -> str:
    """One sentence for the operator whose ``url`` leads to no connection; holds no password."""
    parts = urlsplit(url)
    where = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    cure = "start it or correct the URL"
    match error:
        case asyncpg.InsufficientPrivilegeError():
            what, cure = forbidden(error), OWNER
        case asyncpg.InvalidAuthorizationSpecificationError():
            what = "refuses this user or password"
        case asyncpg.InvalidCatalogNameError():
            what = "has no database of this name"
        case asyncpg.TooManyConnectionsError():
            what = "has no connection left"
            cure = "raise max_connections, or lower PASSBACK_MAX_CONCURRENT_DISTRICTS"
        case asyncpg.ReadOnlySQLTransactionError():
            what, cure = "takes no writes", "name the primary, not a standby"
        case asyncpg.UndefinedObjectError() if found := _UNKNOWN_SETTING.search(str(error)):
            what, cure = f"does not know the setting {found[1]} of the URL", "take it out"
        case asyncpg.ClientConfigurationError():
            what, cure = "cannot be asked as the URL's settings say", "correct them"
        case FileNotFoundError():
            what, cure = "cannot be asked: a file that the URL names is missing", "correct the URL"
        case _:
            what = f"does not answer ({type(error).__name__})"
    return f"PASSBACK_DATABASE_URL: Postgres at {where} {what}; {cure}."


async def answers(pool: Pool) -> bool:
    """Whether Postgres answers now."""
    try:
        async with asyncio.timeout(5):
            return bool(await pool.fetchval("SELECT true"))
    except UNAVAILABLE:
        return False

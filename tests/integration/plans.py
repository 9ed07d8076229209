"""What Postgres would do for each statement that the store really sent.

Statements are taken from the driver as the product runs, with their arguments, so that a new one
is looked at without being named here.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from consumer.gradebook import ItemKey
from consumer.store import explaining, gauges, held_zeros, runs
from consumer.store.connection import Pool, connect
from tests.integration.nights import NOW, Nights, nights_of
from tests.settled import count_anew, settle

LARGE: Final = 2_000
"""A table with more rows is never read from end to end."""

_MARKS_ALL: Final = "UPDATE assessment SET decide_from = $2 WHERE district_id = $1"
"""A changed setting marks every item of its district, so that it reads them all."""

_DML: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


@dataclass
class Sent:
    """The statements that went through a pool, each with its first arguments."""

    arguments: dict[str, Sequence[Any]] = field(default_factory=dict)

    def keep(self, query: asyncpg.connection.LoggedQuery) -> None:
        # What the pool itself sends when a connection comes back is several at once.
        if query.query.lstrip().startswith(_DML) and ";" not in query.query:
            rows = query.args
            one = rows[0] if rows and isinstance(rows[0], tuple) else rows
            self.arguments.setdefault(query.query, one)


@asynccontextmanager
async def listened_to(url: str, size: int = 4) -> AsyncIterator[tuple[Pool, Sent]]:
    """The store's pool, all connections open, and what is sent through it."""
    sent = Sent()
    async with await connect(url, size=size) as pool:
        async with AsyncExitStack() as held:
            for _ in range(size):
                connection = await held.enter_async_context(pool.acquire())
                connection.add_query_logger(sent.keep)
        yield pool, sent


@asynccontextmanager
async def plans_of(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that plans as the store's do, and reads plans."""
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    try:
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(
                kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True)
class Large:
    """The large tables with their rows, and their indexes with the columns after the district.

    No partial ones are among these: they hold few rows, and are there to be read as a whole.
    """

    rows: Mapping[str, float]
    indexes: Mapping[str, frozenset[str]]


async def large_of(connection: asyncpg.Connection) -> Large:
    """By the planner's own statistics; a partition counts like a table."""
    tables = await connection.fetch(
        "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' AND reltuples > $1"
        " AND relnamespace = 'public'::regnamespace",
        LARGE,
    )
    rows = {row["relname"]: row["reltuples"] for row in tables}
    indexes = await connection.fetch(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition"
        " FROM pg_index WHERE indpred IS NULL AND indrelid = ANY($1::text[]::regclass[])",
        list(rows),
    )
    return Large(
        rows,
        {
            row["name"]: frozenset(_WORD.findall(row["definition"].partition("(")[2]))
            - {"district_id"}
            for row in indexes
        },
    )


_WORD: Final = re.compile(r"\w+")


async def faults(
    connection: asyncpg.Connection, sql: str, arguments: Sequence[Any], large: Large
) -> list[str]:
    """How ``sql`` would read or sort a large table whole, by its own plan or the generic one.

    The generic plan is the one that a prepared statement may come to after five executions.
    """
    own = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
    async with connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE one AS {sql}")
        nulls = f"({', '.join('NULL' for _ in arguments)})" if arguments else ""
        generic = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE one{nulls}")
        await connection.execute("DEALLOCATE one")
    return [
        f"{kind} plan {fault}"
        for kind, plan in (("own", own), ("generic", generic))
        for fault in _faults(plan[0]["Plan"], large)
    ]


def _faults(plan: Mapping[str, Any], large: Large) -> Iterator[str]:
    for node in _nodes(plan):
        kind, table = node["Node Type"], node.get("Relation Name", "")
        index = node.get("Index Name", "")
        if kind == "Seq Scan" and table in large.rows:
            yield f"reads {table} from end to end"
        if index in large.indexes:
            condition = set(_WORD.findall(node.get("Index Cond", "")))
            if "district_id" not in condition:
                yield f"reads {index} from end to end"
            elif not condition & large.indexes[index]:
                yield f"reads all of a district's {index}"
        if kind == "Sort":
            for below in {one.get("Relation Name", "") for one in _nodes(node)} & set(large.rows):
                if node["Plan Rows"] > large.rows[below] / 2:
                    yield f"sorts as many rows as {below} has"


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


async def a_day(nights: Nights, pool: Pool) -> None:
    """Intake, nights with zeros, holds and none to do among them, what operators ask after."""
    nights.evening.assess("quiz")
    nights.evening.assess("essay", due_days=3, number=1)
    for student in range(4):
        nights.evening.grade("quiz", student, "8")
        nights.evening.grade("essay", student, "7", number=1)
    await nights.flush()
    nights.evening.grade("quiz", 0, "9")
    nights.evening.grade("never-assessed", 0, "9")
    nights.evening.remove("grade-changed", "quiz", "c-1", "s-1")
    nights.evening.join("t-2")
    await nights.flush(days=4)
    nights.now += timedelta(days=1)
    await nights.run("nightly", nights.cutoff())
    report = await nights.flush(days=1)

    item = ItemKey("quiz", "c-1")
    await explaining.items_of(pool, "lakeside", "quiz", None)
    await explaining.grades_of(pool, "lakeside", item, "s-1")
    await explaining.sent_of(pool, "lakeside", item, "s-1")
    await held_zeros.find(pool, "lakeside")
    await runs.due(pool, nights.now, 10)
    await runs.reports(pool, "lakeside", report.service_date)
    await gauges.read(pool, nights.now)


@asynccontextmanager
async def a_day_sent(
    directory: Path, url: str, districts: dict[str, int]
) -> AsyncIterator[tuple[asyncpg.Connection, Sent]]:
    """What a day of lakeside's sends to a store in which districts have so many settled results."""
    async with listened_to(url) as (pool, sent):
        for district_id, results in districts.items():
            await settle(pool, district_id, results, NOW - timedelta(days=40))
        await count_anew(pool)
        sent.arguments.clear()
        async with nights_of(directory, url, pool=pool) as nights:
            await a_day(nights, pool)
        async with plans_of(url) as connection:
            yield connection, sent


async def found(connection: asyncpg.Connection, sent: Sent) -> list[str]:
    """Every fault of every statement that was sent, but for the one that marks all."""
    large = await large_of(connection)
    assert set(large.rows) >= {"grade", "assessment", "line_item", "sent_default"}
    return [
        f"{fault}: {' '.join(sql.split())[:200]}"
        for sql, arguments in sent.arguments.items()
        if _MARKS_ALL not in sql
        for fault in await faults(connection, sql, arguments, large)
    ]

"""The migrated tables can be distributed by district, as the database itself describes them."""

from collections.abc import AsyncIterator

import pytest

from consumer.store.connection import Pool, connect
from tests.distribution import KEY, REFERENCE, distributed_tables


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await connect(database_url, size=1) as opened:
        yield opened


async def faults(pool: Pool) -> list[str]:
    """What keeps a table from being distributed by the key, or from being a reference table."""
    return [
        f"{row['name']}: {fault}" for row in await pool.fetch(_FAULTS, KEY) for fault in row["of"]
    ]


_FAULTS = f"""
WITH table_of AS (
    SELECT oid, relname AS name FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND relname <> ALL ('{{{",".join(REFERENCE)}}}')
), unique_of AS (
    SELECT i.indrelid, i.indisprimary, i.indexrelid::regclass::text AS name, ARRAY(
        SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place
    ) AS columns
    FROM pg_index i WHERE i.indisunique
)
SELECT t.name, array_remove(ARRAY[
    CASE WHEN NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid
        AND a.attname = $1 AND a.attnotnull) THEN 'no district in every row' END,
    CASE WHEN NOT EXISTS (SELECT FROM unique_of u WHERE u.indrelid = t.oid AND u.indisprimary
        AND u.columns[1] = $1) THEN 'no primary key that begins with the district' END,
    (SELECT 'unique without the district: ' || min(u.name) FROM unique_of u
        WHERE u.indrelid = t.oid AND $1 <> ALL (u.columns)),
    (SELECT 'refers to another row: ' || min(conname) FROM pg_constraint
        WHERE conrelid = t.oid AND contype = 'f'),
    (SELECT 'has a trigger: ' || min(tgname) FROM pg_trigger
        WHERE tgrelid = t.oid AND NOT tgisinternal)
], NULL) AS of
FROM table_of t ORDER BY 1"""


async def test_every_table_has_its_district_in_each_unique_key_or_is_a_reference(
    pool: Pool,
) -> None:
    assert await faults(pool) == []
    tables = await pool.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p')"
    )
    assert {row["relname"] for row in tables} == distributed_tables() | REFERENCE


@pytest.mark.parametrize(
    ("ddl", "fault"),
    [
        ("CREATE TABLE broken (id bigint PRIMARY KEY)", "no district in every row"),
        ("CREATE TABLE broken (district_id text)", "no district in every row"),
        (
            "CREATE TABLE broken (district_id text NOT NULL, id bigint PRIMARY KEY)",
            "no primary key that begins with the district",
        ),
        (
            "CREATE TABLE broken (id int, district_id text, PRIMARY KEY (id, district_id))",
            "no primary key that begins with the district",
        ),
        (
            "CREATE TABLE broken (district_id text PRIMARY KEY, holder text UNIQUE)",
            "unique without the district: broken_holder_key",
        ),
        (
            (
                "CREATE TABLE broken (district_id text PRIMARY KEY, topic text, partition int,"
                " FOREIGN KEY (topic, partition) REFERENCES intake_offset)"
            ),
            "refers to another row: broken_topic_partition_fkey",
        ),
    ],
)
async def test_a_table_that_cannot_be_distributed_is_found(
    pool: Pool, ddl: str, fault: str
) -> None:
    await pool.execute(ddl)
    assert f"broken: {fault}" in await faults(pool)

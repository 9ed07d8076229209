"""No statement of a night, of intake or of an answer reads a large table from end to end.

A hundred thousand settled results stand for millions: with more rows reading a table whole only
gets dearer, and finding the same few by an index costs the same but for a level of the tree. So
what the planner takes here it takes there; ``make test-slow`` shows it with ten million.
"""

from pathlib import Path
from typing import Final

from tests.integration.plans import a_day_sent, faults, found, large_of

PENDING_PATH: Final = (
    "grade_undecided",
    "grade_held",
    "grade_stopped_by_skyward",
    "assessment_undecided",
    "assessment_wake",
    "assessment_due",
)

READS_ALL: Final = {
    "SELECT * FROM grade WHERE score = 3": "reads grade from end to end",
    "SELECT count(*) FROM sent": "reads sent_default from end to end",
    "UPDATE assessment SET title = '' WHERE title = ''": "reads assessment from end to end",
    "SELECT * FROM grade ORDER BY sent_at, student_id": "sorts as many rows as grade has",
    "SELECT student_id FROM grade ORDER BY district_id, assessment_id, class_id, student_id"
    " LIMIT 9": "reads grade_pkey from end to end",
    "SELECT count(*) FROM grade WHERE district_id = 'other-1' AND score = 99": (
        "reads all of a district's grade_pkey"
    ),
}
"""What such a statement would be, and what is said of it."""


async def test_no_statement_of_a_day_reads_a_large_table_from_end_to_end(
    tmp_path: Path, database_url: str
) -> None:
    districts = {"lakeside": 60_000} | {f"other-{n}": 10_000 for n in range(4)}
    async with a_day_sent(tmp_path, database_url, districts) as (connection, sent):
        assert await found(connection, sent) == []
        for table in ("grade", "assessment", "line_item", "sent", "flush_run", "lease", "district"):
            assert any(f" {table} " in sql for sql in sent.arguments), table
        for index in PENDING_PATH:
            async with connection.transaction():
                definition = await connection.fetchval(
                    "SELECT pg_get_indexdef($1::text::regclass)", index
                )
                await connection.execute(f"DROP INDEX {index}")
                without = await found(connection, sent)
                await connection.execute(definition)
            assert without != [], f"nothing is found without {index}"

        large = await large_of(connection)
        for sql, fault in READS_ALL.items():
            seen = await faults(connection, sql, (), large)
            assert {f"own plan {fault}", f"generic plan {fault}"} <= set(seen), (sql, seen)

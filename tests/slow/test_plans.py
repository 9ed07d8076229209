"""With ten million settled results in the store no statement of a day reads a table whole."""

from pathlib import Path

from tests.integration.plans import a_day_sent, found, large_of


async def test_no_statement_of_a_day_reads_any_of_ten_million_rows_from_end_to_end(
    tmp_path: Path, database_url: str
) -> None:
    districts = {"lakeside": 1_000_000} | {f"other-{n}": 1_000_000 for n in range(9)}
    async with a_day_sent(tmp_path, database_url, districts) as (connection, sent):
        assert (await large_of(connection)).rows["grade"] > 9_900_000
        assert await found(connection, sent) == []

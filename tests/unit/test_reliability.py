"""deploy/reliability.md names tests, and they exist."""

import re
from pathlib import Path

from tests.history.clauses import CLAUSES
from tests.slow.table import Table

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_slow_suite_writes() -> None:
    assert (ROOT / "deploy/reliability.md").read_text() == Table.read().text()


def test_every_test_that_the_table_names_is_there() -> None:
    named = re.findall(
        r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "deploy/reliability.md").read_text()
    )
    assert len(named) > 10
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / "integration" / file).read_text(), test


def test_every_clause_of_the_judge_has_a_broken_build_that_it_finds() -> None:
    page = (ROOT / "deploy/reliability.md").read_text()
    builds = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| `(\w+/test_\w+\.py)::(test_\w+)` \|$", page, re.MULTILINE
    )
    assert [clause for clause, _, _ in builds] == [clause.__name__ for clause in CLAUSES]
    for _, file, test in builds:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), test


def test_no_row_of_the_table_lost_or_doubled_anything() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| \d+ \| (\d+) \| (\d+) \|",
        (ROOT / "deploy/reliability.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 5
    assert set(rows) == {("0", "0")}

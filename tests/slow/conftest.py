"""What the slow suite shares: the table that its tests fill, and the town of the system tests."""

from collections.abc import Iterator

import pytest

from tests.slow.table import Table
from tests.system.conftest import town

__all__ = ["table", "town"]


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """Written at the end with the rows that this session's tests added."""
    built = Table.read()
    yield built
    built.write()

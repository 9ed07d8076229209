"""What the slow suite shares: the table that its tests fill, and the town of the system tests."""

import pytest

from tests.slow.table import Table
from tests.system.conftest import town

__all__ = ["table", "town"]


@pytest.fixture(scope="session")
def table() -> type[Table]:
    """Where a test adds its row."""
    return Table

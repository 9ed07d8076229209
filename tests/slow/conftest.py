"""The town of the system tests, for what takes longer than they may."""

from tests.system.conftest import town

__all__ = ["town"]

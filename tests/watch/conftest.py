"""The real Prometheus that these tests need: Debian's package, ``apt-get install prometheus``."""

import shutil

import pytest


def _found(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: apt-get install prometheus"
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    return _found("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    return _found("prometheus")

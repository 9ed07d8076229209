"""What integration tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.sealing import new_key
from tests.integration.nights import Nights, nights_of
from tests.integration.operators import Operator


@pytest.fixture
async def nights(tmp_path: Path, database_url: str) -> AsyncIterator[Nights]:
    async with nights_of(tmp_path, database_url) as built:
        yield built


@pytest.fixture
def operator(
    tmp_path: Path,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    (tmp_path / "sealing.key").write_text(new_key() + "\n")
    (tmp_path / "lakeside.key").write_text("the key\n")
    (tmp_path / "lakeside.secret").write_text("the secret\n")
    monkeypatch.setenv("PASSBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("PASSBACK_SEALING_KEY_FILE", str(tmp_path / "sealing.key"))
    return Operator(tmp_path, database_url, capsys)

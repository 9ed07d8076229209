"""Someone with a shell: the commands, run in this process on a real Postgres."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from consumer import daemon
from consumer.cli import main, session
from consumer.store.connection import Pool, connect

T = TypeVar("T")

NOW = datetime.now(UTC).replace(microsecond=0)
DISTRICT: dict[str, Any] = {
    "district": "lakeside",
    "name": "Lakeside Public Schools",
    "timezone": "America/Chicago",
    "cutoff": "22:00",
    "effective_date": (NOW - timedelta(days=60)).date().isoformat(),
    "live_since": (NOW - timedelta(days=60)).date().isoformat(),
    "skyward": {
        "base_url": "https://lakeside.skyward.example/",
        "token_url": "https://lakeside.skyward.example/oauth/token",
        "key_file": "lakeside.key",
        "secret_file": "lakeside.secret",
    },
    "categories": {"Quiz": "cat-test"},
    "group": ["t-100"],
}


@dataclass
class Operator:
    """Someone with a shell: a directory of files, a database, the commands."""

    directory: Path
    database_url: str
    capsys: pytest.CaptureFixture[str]
    told: str = ""
    said: str = ""

    def passback(self, *words: str) -> int:
        """Runs one command; ``said`` is its stdout and ``told`` its stderr."""
        self.capsys.readouterr()
        status = main(words)
        self.said, self.told = self.capsys.readouterr()
        assert "Traceback" not in self.told + self.said
        return status

    def answer(self, *words: str) -> Any:
        """What a reading command says as JSON."""
        assert self.passback(*words, "--json") == 0, self.told
        return json.loads(self.said)

    def write(self, name: str = "lakeside.yaml", **changes: Any) -> str:
        """A district file; ``changes`` replace top-level entries, None takes one out."""
        content = {k: v for k, v in (DISTRICT | changes).items() if v is not None}
        path = self.directory / name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    def apply(self, **changes: Any) -> None:
        assert self.passback("district", "apply", self.write(**changes)) == 0, self.told

    def store(self, work: Callable[[Pool], Awaitable[T]]) -> T:
        async def opened() -> T:
            pool = await connect(self.database_url, size=2)
            try:
                return await work(pool)
            finally:
                await pool.close()

        return asyncio.run(opened())


def shift_clock(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    """From here on the commands run on a machine whose clock is ``off`` ahead of the true one."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + off

    for module in (session, daemon):
        monkeypatch.setattr(module, "datetime", Shifted)

"""The stand-in's diary: one JSON line for every request, the evidence of every test."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

FLUSH_SECONDS = 0.05
"""The longest that a line stays in memory."""


class JournalLine(msgspec.Struct, kw_only=True, rename={"sourced_id": "sourcedId"}):
    """What one request was and became.

    seq: order of arrival, from 1, over all districts. stored_seq: order in which writes took
    effect; None when nothing was stored. received_at, answered_at: wall time in UTC. operation: as
    `putResult`. sourced_id: of the object in the path. authorization: `Bearer`, `Basic` or None.
    status: None when no answer was sent (hang, reset). effect: what the stored object now says,
    under OneRoster's names with bare sourcedIds as references (`line_item_effect`,
    `result_effect`; a score is its exact text); None for a deletion. token: the number of the
    bearer token in the order of granting, None without one that holds. fault: the kind of fault
    committed, or `unavailable` or `throttled`. refusal: the description that the answer carried.
    """

    seq: int
    tenant: str
    received_at: datetime
    answered_at: datetime | None = None
    method: str
    path: str
    operation: str | None = None
    sourced_id: str | None = None
    authorization: str | None = None
    token: int | None = None
    status: int | None = None
    stored: bool = False
    stored_seq: int | None = None
    effect: dict[str, Any] | None = None
    fault: str | None = None
    refusal: str | None = None


class Journal:
    """Appends lines to a file, at most FLUSH_SECONDS late.

    A journal that already has lines is continued: its last seq is read back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq, self.stored_seq = _last_numbers(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()
        self._timer: asyncio.TimerHandle | None = None

    def open_line(self, tenant: str, method: str, path: str) -> JournalLine:
        """A line for a request that has just arrived; nothing is written yet."""
        self.seq += 1
        return JournalLine(
            seq=self.seq, tenant=tenant, received_at=datetime.now(UTC), method=method, path=path
        )

    def next_stored(self) -> int:
        """The number of the write that takes effect now."""
        self.stored_seq += 1
        return self.stored_seq

    def write(self, line: JournalLine) -> None:
        """Takes a finished line; must be called in the event loop."""
        self._buffer += self._encoder.encode(line)
        self._buffer += b"\n"
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes every line taken so far to the file."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        remaining = memoryview(bytes(self._buffer))
        self._buffer.clear()
        while remaining:
            remaining = remaining[os.write(self._file, remaining) :]

    def close(self) -> None:
        self.flush()
        os.close(self._file)


class _Numbers(msgspec.Struct):
    seq: int
    stored_seq: int | None = None


def _last_numbers(path: Path) -> tuple[int, int]:
    """The highest seq and stored_seq; lines stand in the order of answering, so all are read."""
    seq = stored_seq = 0
    if path.exists():
        decoder = msgspec.json.Decoder(_Numbers)
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    numbers = decoder.decode(line)
                    seq = max(seq, numbers.seq)
                    stored_seq = max(stored_seq, numbers.stored_seq or 0)
    return seq, stored_seq

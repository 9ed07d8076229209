"""Events in quarantine: listed, shown, replayed, discarded.

A zero waits while an event of its grade or assessment stands here; the next run finds those
that wait no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from consumer.errors import EventUnreadable
from consumer.events import Change, QuarantineReason
from consumer.store.connection import Connection, Pool
from consumer.store.districts import write_audit
from consumer.store.recording import (
    Batch,
    Record,
    Recordable,
    known_districts,
    record_within,
)

_PAGE: Final = 500

Reads = Callable[["Quarantined"], Change]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One event as it came, and why it waits; ``district_id`` is '' where the key names none."""

    id: int
    district_id: str
    received_at: datetime
    reason: str
    detail: str
    subject: str | None
    record: Record


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay: how many were recorded, and which stay, with the reason today."""

    recorded: int
    stay: Mapping[int, str]


async def find_all(
    pool: Pool, district_id: str | None = None, limit: int = 1000
) -> list[Quarantined]:
    """The events in quarantine, oldest first; of one district, or all."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM quarantine WHERE ($1::text IS NULL OR district_id = $1)"
        " ORDER BY id LIMIT $2",
        district_id,
        limit,
    )
    return [_quarantined(row) for row in rows]


async def find(pool: Pool, ids: Sequence[int]) -> list[Quarantined]:
    """Those of ``ids`` that are there, oldest first."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM quarantine WHERE id = ANY($1) ORDER BY id", list(ids)
    )
    return [_quarantined(row) for row in rows]


async def count(pool: Pool) -> int:
    """How many events are in quarantine."""
    found = await pool.fetchval("SELECT count(*) FROM quarantine")
    assert isinstance(found, int)
    return found


async def count_of_unknown_district(pool: Pool, district_id: str) -> int:
    """How many events of the district came before it was applied."""
    found = await pool.fetchval(
        "SELECT count(*) FROM quarantine WHERE district_id = $1 AND reason = $2",
        district_id,
        QuarantineReason.UNKNOWN_DISTRICT,
    )
    assert isinstance(found, int)
    return found


async def replay(
    pool: Pool,
    read: Reads,
    ids: Sequence[int] | None,
    now: datetime,
    progress: Callable[[int], None],
) -> Replayed:
    """Records again what can be read now, in the order of the log; None: everything.

    ``read`` raises ``EventUnreadable``. An event that is older than what is stored changes
    nothing and leaves the quarantine all the same. ``progress`` is told how many were tried.
    """
    recorded, stay = 0, dict[int, str]()
    after: tuple[str, int, int] = ("", -1, -1)
    while True:
        rows = await pool.fetch(_IN_LOG_ORDER, None if ids is None else list(ids), *after, _PAGE)
        if not rows:
            return Replayed(recorded, stay)
        page = [_quarantined(row) for row in rows]
        last = page[-1].record
        after = (last.topic, last.partition, last.offset)
        async with pool.acquire() as connection, connection.transaction():
            done, left = await _replay_page(connection, read, page, now)
        recorded += done
        stay |= left
        progress(len(page))


async def _replay_page(
    connection: Connection, read: Reads, page: Sequence[Quarantined], now: datetime
) -> tuple[int, dict[int, str]]:
    changes: dict[int, Recordable] = {}
    stay: dict[int, str] = {}
    for one in page:
        try:
            change = read(one)
        except EventUnreadable as error:
            stay[one.id] = f"{error.reason}: {error.detail}"
            continue
        changes[one.id] = Recordable(change, one.record)
    applied = await known_districts(connection, {c.change.key[0] for c in changes.values()})
    for one in page:
        waits = changes.get(one.id)
        if waits is not None and waits.change.key[0] not in applied:
            stay[one.id] = (
                f"{QuarantineReason.UNKNOWN_DISTRICT}: no district of this id was applied"
            )
            del changes[one.id]
    # Whoever deletes a row is the one who records it: two replays at once do it once.
    gone = await connection.fetch(
        "DELETE FROM quarantine WHERE district_id = ANY($1) AND id = ANY($2) RETURNING id",
        sorted({one.district_id for one in page}),
        sorted(changes),
    )
    ours = {row["id"] for row in gone}
    # ``changes`` is in the log's order.
    await record_within(connection, Batch([c for i, c in changes.items() if i in ours]), now)
    for district_id in sorted({c.change.key[0] for i, c in changes.items() if i in ours}):
        count = sum(1 for i, c in changes.items() if i in ours and c.change.key[0] == district_id)
        await write_audit(connection, district_id, now, "quarantine_replay", {"events": count})
    return len(ours), stay


async def discard(pool: Pool, ids: Sequence[int], now: datetime) -> list[int]:
    """Deletes these events unread, with an audit row; nothing where one of them is not there.

    Returns the ids that are not there. An audit row, which stays, names a district only where
    one of that id was applied: an unreadable key may hold anything, a person's name too.
    """
    try:
        async with pool.acquire() as connection, connection.transaction():
            await _discard(connection, ids, now)
    except _NotThere as error:
        return error.ids
    return []


class _NotThere(Exception):
    """Takes back what was deleted beside events that are not there."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__(ids)
        self.ids = ids


async def _discard(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    # Whoever deletes a row is the one who discards it.
    rows = await connection.fetch(
        f"DELETE FROM quarantine WHERE id = ANY($1) RETURNING {_COLUMNS}", list(ids)
    )
    found = sorted((_quarantined(row) for row in rows), key=lambda one: one.id)
    if missing := sorted(set(ids) - {one.id for one in found}):
        raise _NotThere(missing)
    applied = await connection.fetch(
        "SELECT district_id FROM district WHERE district_id = ANY($1)",
        [one.district_id for one in found],
    )
    known = {row["district_id"] for row in applied}
    for one in found:
        record = one.record
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        district_id = one.district_id if one.district_id in known else ""
        await write_audit(
            connection, district_id, now, "quarantine_discard", {"id": one.id, **where}
        )


_COLUMNS: Final = """id, district_id, topic, partition, log_offset, received_at, reason, detail,
    subject, key, value, headers, (extract(epoch FROM recorded_at) * 1000)::bigint AS timestamp"""

_IN_LOG_ORDER: Final = f"""
SELECT {_COLUMNS} FROM quarantine
WHERE ($1::bigint[] IS NULL OR id = ANY($1)) AND (topic, partition, log_offset) > ($2, $3, $4)
ORDER BY topic, partition, log_offset LIMIT $5"""


def _quarantined(row: Any) -> Quarantined:
    headers = [(bytes.fromhex(n).decode(), bytes.fromhex(c)) for n, c in row["headers"].items()]
    return Quarantined(
        id=row["id"],
        district_id=row["district_id"],
        received_at=row["received_at"],
        reason=row["reason"],
        detail=row["detail"],
        subject=row["subject"],
        record=Record(
            topic=row["topic"],
            partition=row["partition"],
            offset=row["log_offset"],
            timestamp=row["timestamp"],
            key=row["key"],
            value=row["value"],
            headers=headers,
        ),
    )

"""Districts: their settings by revision, their sealed secrets, their next cutoff, the audit."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from consumer.cutoff import Cutoff
from consumer.district import District
from consumer.gradebook import Membership
from consumer.store.connection import Connection, Pool


@dataclass(frozen=True, slots=True)
class StoredDistrict:
    """One district as it stands: ``revision`` counts its settings, secrets included.

    ``start_at``: when the run of the next cutoff begins, or begins again, at the earliest.
    """

    district: District
    revision: int
    applied_at: datetime
    sealed_key: bytes
    sealed_secret: bytes
    paused_at: datetime | None
    paused_until: datetime | None
    pause_reason: str | None
    next_service_date: date
    next_cutoff_at: datetime
    start_at: datetime
    attempts: int
    decided_revision: int

    def is_paused(self, now: datetime) -> bool:
        """Whether it sends nothing at ``now``."""
        if self.paused_at is None:
            return False
        return self.paused_until is None or now < self.paused_until


_COLUMNS: Final = """d.settings, d.revision, d.applied_at, d.sealed_key, d.sealed_secret,
    d.paused_at, d.paused_until, d.pause_reason, d.next_service_date, d.next_cutoff_at,
    d.start_at, d.attempts, d.decided_revision"""


async def find(pool: Pool, district_id: str) -> StoredDistrict | None:
    """The district, or None where none of that id was applied."""
    row = await pool.fetchrow(
        f"SELECT {_COLUMNS} FROM district d WHERE d.district_id = $1", district_id
    )
    return None if row is None else _stored(row)


async def find_all(pool: Pool) -> list[StoredDistrict]:
    """Every district, by id."""
    rows = await pool.fetch(f"SELECT {_COLUMNS} FROM district d ORDER BY d.district_id")
    return [_stored(row) for row in rows]


async def settings_of(pool: Pool, district_id: str, revision: int) -> District:
    """The settings of one revision: a run keeps those it began with."""
    settings = await pool.fetchval(
        "SELECT settings FROM settings_revision WHERE district_id = $1 AND revision = $2",
        district_id,
        revision,
    )
    return District.model_validate(settings)


# An advisory lock that nothing else of ours takes.
_LOCK: Final = 7_248_190_513


@asynccontextmanager
async def turn_to_apply(pool: Pool) -> AsyncIterator[None]:
    """One applies at a time: replicas that start together each see what the one before wrote."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        yield


async def apply(
    pool: Pool,
    district: District,
    sealed_key: bytes,
    sealed_secret: bytes,
    next_run: Cutoff,
    start_at: datetime,
    now: datetime,
) -> int:
    """Writes a new settings revision with its audit row; returns the revision.

    A cutoff that has passed without a finished run keeps its turn; ``next_run`` counts from
    the next one on.
    """
    settings = district.model_dump(mode="json")
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            _APPLY,
            district.district,
            settings,
            sealed_key,
            sealed_secret,
            now,
            next_run.service_date,
            next_run.at,
            start_at,
        )
        assert row is not None  # an upsert returns its row
        await connection.execute(
            "INSERT INTO settings_revision (district_id, revision, settings, applied_at)"
            " VALUES ($1, $2, $3, $4)",
            district.district,
            row["revision"],
            settings,
            now,
        )
        await write_audit(
            connection, district.district, now, "apply", {"revision": row["revision"]}
        )
        revision = row["revision"]
        assert isinstance(revision, int)
        return revision


_APPLY: Final = """
INSERT INTO district AS d (district_id, revision, settings, sealed_key, sealed_secret,
    first_applied_at, applied_at, next_service_date, next_cutoff_at, start_at)
VALUES ($1, 1, $2, $3, $4, $5, $5, $6, $7, $8)
ON CONFLICT (district_id) DO UPDATE SET revision = d.revision + 1, settings = excluded.settings,
    sealed_key = excluded.sealed_key, sealed_secret = excluded.sealed_secret,
    applied_at = excluded.applied_at,
    next_service_date = CASE WHEN d.next_cutoff_at <= $5 THEN d.next_service_date
                             ELSE excluded.next_service_date END,
    start_at = CASE WHEN d.next_cutoff_at <= $5 THEN d.start_at ELSE excluded.start_at END,
    next_cutoff_at = CASE WHEN d.next_cutoff_at <= $5 THEN d.next_cutoff_at
                          ELSE excluded.next_cutoff_at END
RETURNING revision"""


async def last_service_date(pool: Pool, district_id: str) -> date | None:
    """The newest service date that has a nightly run: it will not get a second one."""
    found = await pool.fetchval(
        "SELECT max(service_date) FROM flush_run WHERE district_id = $1 AND kind = 'nightly'",
        district_id,
    )
    assert found is None or isinstance(found, date)
    return found


async def pause(
    pool: Pool, district_id: str, now: datetime, until: datetime | None, reason: str | None
) -> bool:
    """Pauses a district; False where there is none of that id."""
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchval(
            "UPDATE district SET paused_at = $2, paused_until = $3, pause_reason = $4"
            " WHERE district_id = $1 RETURNING true",
            district_id,
            now,
            until,
            reason,
        )
        if found:
            until_text = None if until is None else until.isoformat()
            await write_audit(
                connection, district_id, now, "pause", {"until": until_text, "reason": reason}
            )
        return bool(found)


async def resume(pool: Pool, district_id: str, now: datetime) -> bool:
    """Ends a pause; False where there is no district of that id."""
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchval(
            "UPDATE district SET paused_at = NULL, paused_until = NULL, pause_reason = NULL"
            " WHERE district_id = $1 RETURNING true",
            district_id,
        )
        if found:
            await write_audit(connection, district_id, now, "resume", {})
        return bool(found)


async def reseal(
    pool: Pool,
    district_id: str,
    before: tuple[bytes, bytes],
    after: tuple[bytes, bytes],
    now: datetime,
) -> None:
    """Replaces the sealed key and secret, unless they were applied anew meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE district SET sealed_key = $4, sealed_secret = $5"
            " WHERE district_id = $1 AND sealed_key = $2 AND sealed_secret = $3",
            district_id,
            *before,
            *after,
        )
        await write_audit(connection, district_id, now, "rotate", {})


async def pending_grades(pool: Pool, district_id: str) -> int:
    """How many grades wait."""
    found = await pool.fetchval(
        "SELECT count(*) FROM grade WHERE district_id = $1 AND state = 'pending'", district_id
    )
    assert isinstance(found, int)
    return found


# Deleted while events are recorded; what of them comes meanwhile goes with the rest.
_LARGE_TABLES: Final = ("sent", "grade")
_TABLES: Final = (
    "grade",
    "line_item",
    "assessment",
    "membership",
    "sent",
    "flush_run",
    "skyward_class",
    "skyward_district",
    "quarantine",
    "settings_revision",
    "lease",
    "district",
)


async def remove(pool: Pool, district_id: str, now: datetime, detail: Mapping[str, Any]) -> None:
    """Removes a district with all its rows and leaves an audit row that says so."""
    async with pool.acquire() as connection:
        for large in _LARGE_TABLES:
            await connection.execute(f"DELETE FROM {large} WHERE district_id = $1", district_id)
        async with connection.transaction():
            # Nothing is recorded until it is gone (``recording.known_districts``): it is then
            # unknown.
            await connection.execute("LOCK TABLE district IN EXCLUSIVE MODE")
            for table in _TABLES:
                await connection.execute(f"DELETE FROM {table} WHERE district_id = $1", district_id)
            await write_audit(connection, district_id, now, "remove", detail)


async def memberships(pool: Pool, district: District) -> dict[str, Membership]:
    """Who is, or was, in the teacher group: the events' word, else the district file's.

    One who joined again after leaving counts from the second join.
    """
    rows = await pool.fetch(
        "SELECT teacher_id, member, changed_at FROM membership"
        " WHERE district_id = $1 ORDER BY teacher_id, version",
        district.district,
    )
    found = {teacher: Membership(True, None) for teacher in district.group}
    for row in rows:
        before = found.get(row["teacher_id"])
        if not row["member"]:
            found[row["teacher_id"]] = Membership(False, None)
        elif before is None or not before.member:
            found[row["teacher_id"]] = Membership(True, row["changed_at"])
    return found


async def write_audit(
    connection: Connection, district_id: str, now: datetime, action: str, detail: Mapping[str, Any]
) -> None:
    """One audit row: what an operator did; ``detail`` holds no secret and no student."""
    await connection.execute(
        "INSERT INTO audit (district_id, at, action, detail) VALUES ($1, $2, $3, $4)",
        district_id,
        now,
        action,
        dict(detail),
    )


def _stored(row: Any) -> StoredDistrict:
    fields = dict(row)
    district = District.model_validate(fields.pop("settings"))
    return StoredDistrict(district=district, **fields)

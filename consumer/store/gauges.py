"""The numbers that are read on a timer, not counted as they happen."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from consumer.cutoff import longest_gap
from consumer.gradebook import REASONS, Reason
from consumer.store.connection import Pool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DistrictGauges:
    """One district's waiting grades, its last and next run, and what its runs go by.

    ``last_cutoff_at`` is the newest cutoff that has passed, None before the first;
    ``failing_since`` the first one since the last success whose run was given up, None where
    there is none, or the district is paused; the nights of a pause are not given up;
    ``longest_gap`` how far apart two may be;
    ``stopped_by`` the code of what stopped the newest run as a whole.
    """

    district_id: str
    pending: int
    pending_oldest: datetime | None
    held: Mapping[Reason, int]
    next_cutoff_at: datetime
    last_cutoff_at: datetime | None
    longest_gap: timedelta
    last_success: datetime | None
    failing_since: datetime | None
    stopped_by: str | None
    paused: bool
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class Gauges:
    """All districts, and how many events wait in quarantine."""

    districts: list[DistrictGauges]
    quarantined: int


TOGETHER: Final = 100
"""So many districts are looked at in a row; of thousands, all in a row would hold up what runs."""


async def in_turns(districts: Iterable[T]) -> AsyncIterator[T]:
    """One after the other; what else runs has its turn after every ``TOGETHER``."""
    for number, one in enumerate(districts):
        if number % TOGETHER == 0:
            await asyncio.sleep(0)
        yield one


async def read(pool: Pool, now: datetime) -> Gauges:
    """Reads them all; cheap where little waits."""
    waiting = {r["district_id"]: r for r in await pool.fetch(_WAITING)}
    held: dict[str, dict[Reason, int]] = {}
    for row in await pool.fetch(_HELD):
        held.setdefault(row["district_id"], {})[REASONS[row["reason"]]] = row["count"]
    found = []
    async for row in in_turns(await pool.fetch(_DISTRICTS, now)):
        district_id = row["district_id"]
        pending = waiting.get(district_id)
        holds = held.get(district_id, {})
        found.append(
            DistrictGauges(
                district_id,
                (pending["count"] if pending else 0) + sum(holds.values()),
                pending["oldest"] if pending else None,
                holds,
                row["next_cutoff_at"],
                row["next_cutoff_at"] if row["next_cutoff_at"] <= now else row["last_cutoff_at"],
                longest_gap(row["service_days"]),
                row["last_success"],
                None if row["paused"] else row["failing_since"],
                row["stopped_by"],
                row["paused"],
                row["applied_at"],
            )
        )
    return Gauges(found, await pool.fetchval("SELECT count(*) FROM quarantine"))


# Both over partial indexes: what is settled is not looked at.
_WAITING: Final = """
SELECT district_id, count(*) AS count, min(pending_since) AS oldest FROM grade
WHERE decide_from IS NOT NULL AND state = 'pending' AND kind IS DISTINCT FROM 'hold'
GROUP BY district_id"""

_HELD: Final = """
SELECT district_id, reason, count(*) AS count FROM grade WHERE kind = 'hold'
GROUP BY district_id, reason"""

# Each reads a few rows from the end of an index. A run that was gone on with keeps its place
# there, and has the highest epoch.
_DISTRICTS: Final = """
SELECT d.district_id, d.next_cutoff_at, d.applied_at, d.settings -> 'service_days' AS service_days,
    d.paused_at IS NOT NULL AND (d.paused_until IS NULL OR d.paused_until > $1) AS paused, (
        SELECT r.cutoff_at FROM flush_run r
        WHERE r.district_id = d.district_id AND r.kind = 'nightly'
        ORDER BY r.service_date DESC LIMIT 1
    ) AS last_cutoff_at, success.finished_at AS last_success, (
        SELECT min(r.cutoff_at) FROM flush_run r
        WHERE r.district_id = d.district_id AND r.run_id > coalesce(success.run_id, 0)
            AND r.kind = 'nightly' AND r.state = 'deferred' AND r.cutoff_at < d.next_cutoff_at
            AND r.stopped_by <> 'district_paused'
    ) AS failing_since, (
        SELECT newest.stopped_by FROM (
            SELECT * FROM flush_run r
            WHERE r.district_id = d.district_id ORDER BY r.run_id DESC LIMIT 5
        ) AS newest ORDER BY newest.epoch DESC LIMIT 1
    ) AS stopped_by
FROM district d LEFT JOIN LATERAL (
    SELECT r.run_id, r.finished_at FROM flush_run r
    WHERE r.district_id = d.district_id AND r.state = 'done'
    ORDER BY r.run_id DESC LIMIT 1
) AS success ON true
ORDER BY d.district_id"""

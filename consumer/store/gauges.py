"""The numbers that are read on a timer, not counted as they happen."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumer.gradebook import REASONS, Reason
from consumer.store.connection import Pool


@dataclass(frozen=True, slots=True)
class DistrictGauges:
    """One district's waiting grades, and its last and next run."""

    district_id: str
    pending: int
    pending_oldest: datetime | None
    held: Mapping[Reason, int]
    next_cutoff_at: datetime
    last_success: datetime | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """All districts, and how many events wait in quarantine."""

    districts: list[DistrictGauges]
    quarantined: int


async def read(pool: Pool) -> Gauges:
    """Reads them all; cheap where little waits."""
    waiting = {r["district_id"]: r for r in await pool.fetch(_WAITING)}
    held: dict[str, dict[Reason, int]] = {}
    for row in await pool.fetch(_HELD):
        held.setdefault(row["district_id"], {})[REASONS[row["reason"]]] = row["count"]
    found = []
    for row in await pool.fetch(_DISTRICTS):
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
                row["last_success"],
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

_DISTRICTS: Final = """
SELECT d.district_id, d.next_cutoff_at, (
    SELECT max(r.finished_at) FROM flush_run r
    WHERE r.district_id = d.district_id AND r.state = 'done' AND r.kind = 'nightly'
) AS last_success FROM district d ORDER BY d.district_id"""

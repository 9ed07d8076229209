"""The zeros that the breaker holds, and an operator's ruling on them."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from consumer.gradebook import ItemKey
from consumer.rules import ZeroRuling
from consumer.store.connection import Pool
from consumer.store.districts import write_audit


@dataclass(frozen=True, slots=True)
class HeldZeros:
    """An item's zeros that one night's breaker holds, beside how many it is assigned to."""

    service_date: date
    key: ItemKey
    assignees: int
    zeros: int


async def find(pool: Pool, district_id: str) -> list[HeldZeros]:
    """What waits for a ruling, by night and key."""
    rows = await pool.fetch(_HELD, district_id)
    return [
        HeldZeros(
            row["service_date"],
            ItemKey(row["assessment_id"], row["class_id"]),
            row["assignees"],
            row["zeros"],
        )
        for row in rows
    ]


# The night is that of the run during which the zero was held.
_HELD: Final = """
WITH held AS (
    SELECT g.assessment_id, g.class_id, count(*) AS zeros, max(g.decided_at) AS decided_at
    FROM grade g WHERE g.district_id = $1 AND g.kind = 'hold' AND g.reason = 'zeros_held'
        AND g.zero_ruling IS NULL
    GROUP BY 1, 2
)
SELECT coalesce(r.service_date, h.decided_at::date) AS service_date, h.assessment_id, h.class_id,
    h.zeros,
    (SELECT count(*) FROM assessment a, jsonb_object_keys(a.assignees)
     WHERE a.district_id = $1 AND a.assessment_id = h.assessment_id
         AND a.class_id = h.class_id) AS assignees
FROM held h
LEFT JOIN LATERAL (
    SELECT service_date FROM flush_run WHERE district_id = $1 AND started_at <= h.decided_at
    ORDER BY started_at DESC LIMIT 1
) r ON true
ORDER BY 1, 2, 3"""


async def rule(pool: Pool, district_id: str, ruling: ZeroRuling, now: datetime) -> int:
    """Rules on everything that is held, with an audit row; the next run decides them again."""
    async with pool.acquire() as connection, connection.transaction():
        # The revision rises, so that a run that has read them before settles nothing over it.
        status = await connection.execute(
            "UPDATE grade SET zero_ruling = $2, revision = revision + 1,"
            " decide_from = least(decide_from, $3) WHERE district_id = $1 AND kind = 'hold'"
            " AND reason = 'zeros_held' AND zero_ruling IS NULL",
            district_id,
            ruling.value,
            now,
        )
        count = int(status.rsplit(" ", 1)[-1])
        if count:
            await write_audit(connection, district_id, now, f"zeros_{ruling}", {"zeros": count})
    return count

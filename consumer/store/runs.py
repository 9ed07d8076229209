"""Runs and leases: who may flush a district, and what became of each night.

The lease's expiry is on the database's clock; its epoch rises with every new holder and
fences every write of a run. Skyward knows no epoch: there the holder's own clock ends it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from consumer.cutoff import Cutoff
from consumer.errors import LeaseLost
from consumer.gradebook import ItemKey, Kind, Reason, RunReport
from consumer.store.connection import Connection, Pool

# Counted on while a machine or a virtual one is suspended, where the system tells it.
CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_SOMEBODYS_WORK: Final = timedelta(hours=1)


@dataclass(slots=True)
class Term:
    """How long a holder may count on its lease without asking: from before it last asked on.

    So it ends no later than the database's, whatever this machine's clock says, and also for a
    process that stood still meanwhile.
    """

    ends_at: float

    @classmethod
    def beginning(cls, time_to_live: timedelta) -> "Term":
        """A term from now on."""
        return cls(time.clock_gettime(CLOCK) + time_to_live.total_seconds())

    def is_over(self) -> bool:
        return time.clock_gettime(CLOCK) >= self.ends_at


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to flush one district; ``epoch`` fences what its holder writes to the store.

    ``in_doubt``: items of which its last holder may have told Skyward what the store does not
    know. ``look_again_at``: Skyward was asked of them, and is to be asked once more then.
    """

    district_id: str
    holder: str
    epoch: int
    term: Term = field(default_factory=lambda: Term(0), compare=False)
    in_doubt: Sequence[ItemKey] = ()
    look_again_at: datetime | None = None

    def was_asked(self, now: datetime) -> bool:
        """Skyward was asked, and not so long ago that what it shows since is somebody's work."""
        return self.look_again_at is not None and now < self.look_again_at + _SOMEBODYS_WORK

    def is_over(self, now: datetime) -> bool:
        """Skyward was asked, and whatever was on its way then has arrived since."""
        return self.look_again_at is not None and now >= self.look_again_at


@dataclass(frozen=True, slots=True)
class FlushRun:
    """One run as it began; ``zeros_held`` is the breaker's verdict, None until it is asked."""

    district_id: str
    run_id: int
    kind: str
    cutoff: Cutoff
    started_at: datetime
    settings_revision: int
    zeros_held: bool | None


async def due(pool: Pool, now: datetime, limit: int) -> list[str]:
    """Districts whose cutoff has passed without a finished run and which nobody flushes."""
    rows = await pool.fetch(
        "SELECT d.district_id FROM district d LEFT JOIN lease l USING (district_id)"
        " WHERE d.start_at <= $1"
        " AND (l.district_id IS NULL OR l.expires_at < clock_timestamp())"
        " ORDER BY d.start_at, d.district_id LIMIT $2",
        now,
        limit,
        # It is asked all the time, and is the first to tell that Postgres hangs.
        timeout=10,
    )
    return [r["district_id"] for r in rows]


async def take_lease(
    pool: Pool, district_id: str, holder: str, time_to_live: timedelta
) -> Lease | None:
    """Takes the district's lease unless another holder's has not expired."""
    term = Term.beginning(time_to_live)
    columns = district_id, holder, time_to_live
    # Two statements: the condition of an upsert may ask no clock where there is one a shard.
    row = await pool.fetchrow(
        "UPDATE lease SET holder = $2, epoch = epoch + 1, expires_at = statement_timestamp() + $3"
        " WHERE district_id = $1 AND expires_at < statement_timestamp()"
        f" RETURNING {_TAKEN}",
        *columns,
    ) or await pool.fetchrow(
        "INSERT INTO lease (district_id, holder, epoch, expires_at)"
        " VALUES ($1, $2, 1, statement_timestamp() + $3)"
        f" ON CONFLICT (district_id) DO NOTHING RETURNING {_TAKEN}",
        *columns,
    )
    if row is None:
        return None
    in_doubt = tuple(ItemKey(*key) for key in row["in_doubt"])
    return Lease(district_id, holder, row["epoch"], term, in_doubt, row["look_again_at"])


_TAKEN: Final = "epoch, in_doubt, look_again_at"


async def renew_lease(pool: Pool, lease: Lease, time_to_live: timedelta) -> None:
    """Extends the lease; raises ``LeaseLost`` where another holder took it."""
    term = Term.beginning(time_to_live)
    renewed = await pool.fetchval(
        "UPDATE lease SET expires_at = statement_timestamp() + $4"
        " WHERE district_id = $1 AND holder = $2 AND epoch = $3 RETURNING true",
        lease.district_id,
        lease.holder,
        lease.epoch,
        time_to_live,
    )
    if not renewed:
        raise lease_lost(lease)
    lease.term.ends_at = term.ends_at


async def release_lease(pool: Pool, lease: Lease) -> None:
    """Gives the lease back; its epoch stays, so that the next one is higher."""
    await pool.execute(
        "UPDATE lease SET expires_at = '-infinity'"
        " WHERE district_id = $1 AND holder = $2 AND epoch = $3",
        lease.district_id,
        lease.holder,
        lease.epoch,
    )


async def expect_lease(connection: Connection, lease: Lease) -> None:
    """Within the caller's transaction: no write goes on under a lease that is gone."""
    held = await connection.fetchval(
        "SELECT true FROM lease WHERE district_id = $1 AND holder = $2 AND epoch = $3 FOR SHARE",
        lease.district_id,
        lease.holder,
        lease.epoch,
    )
    if not held:
        raise lease_lost(lease)


def lease_lost(lease: Lease) -> LeaseLost:
    """What a write raises that came too late."""
    return LeaseLost(f"the lease of district {lease.district_id} went to another replica")


async def begin(
    pool: Pool, lease: Lease, kind: str, cutoff: Cutoff, settings_revision: int, now: datetime
) -> FlushRun:
    """Begins a run, or goes on with the one that its service date already has.

    A run that is gone on with keeps the settings, the cutoff and the counts it began with.
    """
    async with pool.acquire() as connection, connection.transaction():
        await expect_lease(connection, lease)
        columns = (
            lease.district_id,
            cutoff.service_date,
            cutoff.at,
            now,
            settings_revision,
            lease.epoch,
        )
        if kind == "nightly":
            row = await connection.fetchrow(_BEGIN_NIGHTLY, *columns, _DEFERS)
        else:
            row = await connection.fetchrow(_BEGIN_MANUAL, *columns)
        assert row is not None  # both statements return their row
    return FlushRun(
        lease.district_id,
        row["run_id"],
        kind,
        Cutoff(cutoff.service_date, row["cutoff_at"]),
        row["started_at"],
        row["settings_revision"],
        row["zeros_held"],
    )


# What an earlier attempt deferred is counted anew by the next one.
_DEFERS: Final = [reason.value for reason in Reason if reason.kind is Kind.DEFER]
_INSERT_RUN: Final = """
INSERT INTO flush_run (district_id, service_date, kind, cutoff_at, started_at, state,
    settings_revision, epoch) VALUES ($1, $2, '{kind}', $3, $4, 'running', $5, $6)"""
_RUN_COLUMNS: Final = " RETURNING run_id, cutoff_at, started_at, settings_revision, zeros_held"
_BEGIN_MANUAL: Final = _INSERT_RUN.format(kind="manual") + _RUN_COLUMNS
_BEGIN_NIGHTLY: Final = (
    _INSERT_RUN.format(kind="nightly")
    + """
ON CONFLICT (district_id, service_date) WHERE kind = 'nightly' DO UPDATE SET
    state = 'running', finished_at = NULL, stopped_by = NULL, epoch = excluded.epoch,
    deferred = 0, reasons = flush_run.reasons - $7::text[]
"""
    + _RUN_COLUMNS
)


async def keep_zeros_verdict(pool: Pool, lease: Lease, run_id: int, held: bool) -> None:
    """Keeps the breaker's verdict, so that a run that is gone on with does not ask again."""
    async with pool.acquire() as connection, connection.transaction():
        await expect_lease(connection, lease)
        await connection.execute(
            "UPDATE flush_run SET zeros_held = $3 WHERE district_id = $1 AND run_id = $2",
            lease.district_id,
            run_id,
            held,
        )


async def finish(
    pool: Pool,
    lease: Lease,
    run: FlushRun,
    now: datetime,
    stopped_by: str | None,
    deferred: Mapping[str, int],
    held: Mapping[str, int],
) -> RunReport:
    """Closes the run: ``deferred`` where something stopped it, else done.

    ``deferred`` and ``held`` add what was left undecided, by reason.
    """
    async with pool.acquire() as connection, connection.transaction():
        await expect_lease(connection, lease)
        row = await connection.fetchrow(
            _FINISH,
            run.district_id,
            run.run_id,
            now,
            "done" if stopped_by is None else "deferred",
            stopped_by,
            sum(deferred.values()),
            sum(held.values()),
            {**held, **deferred},
        )
        if stopped_by is None:
            await connection.execute(
                "UPDATE district SET decided_revision = $2 WHERE district_id = $1",
                run.district_id,
                run.settings_revision,
            )
    return _report(row)


_FINISH: Final = """
UPDATE flush_run SET finished_at = $3, state = $4, stopped_by = $5, deferred = $6,
    held = held + $7,
    reasons = reasons || $8::jsonb
WHERE district_id = $1 AND run_id = $2
RETURNING *"""


async def schedule(
    pool: Pool, district_id: str, next_run: Cutoff, start_at: datetime, attempts: int
) -> None:
    """Says which cutoff's run is next and when it may begin; ``attempts`` of it were made."""
    await pool.execute(
        "UPDATE district SET next_service_date = $2, next_cutoff_at = $3, start_at = $4,"
        " attempts = $5 WHERE district_id = $1",
        district_id,
        next_run.service_date,
        next_run.at,
        start_at,
        attempts,
    )


async def last_cutoff(pool: Pool, district_id: str) -> Cutoff | None:
    """The cutoff of the newest nightly run, None before the first."""
    row = await pool.fetchrow(
        "SELECT service_date, cutoff_at FROM flush_run WHERE district_id = $1 AND kind = 'nightly'"
        " ORDER BY service_date DESC LIMIT 1",
        district_id,
    )
    return None if row is None else Cutoff(row["service_date"], row["cutoff_at"])


async def reports(
    pool: Pool, district_id: str, service_date: date | None = None, limit: int = 100
) -> list[RunReport]:
    """The district's runs, newest first."""
    rows = await pool.fetch(
        "SELECT * FROM flush_run WHERE district_id = $1"
        " AND ($2::date IS NULL OR service_date = $2) ORDER BY run_id DESC LIMIT $3",
        district_id,
        service_date,
        limit,
    )
    return [_report(row) for row in rows]


async def last_reports(pool: Pool, district_ids: Sequence[str]) -> dict[str, RunReport]:
    """The newest run of each district that has one."""
    rows = await pool.fetch(
        "SELECT DISTINCT ON (district_id) * FROM flush_run WHERE district_id = ANY($1)"
        " ORDER BY district_id, run_id DESC",
        list(district_ids),
    )
    return {row["district_id"]: _report(row) for row in rows}


def _report(row: Any) -> RunReport:
    return RunReport(
        district_id=row["district_id"],
        service_date=row["service_date"],
        kind=row["kind"],
        cutoff_at=row["cutoff_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        state=row["state"],
        line_items_posted=row["line_items_posted"],
        line_items_rejected=row["line_items_rejected"],
        titles_kept=row["titles_kept"],
        results={name: row[name] for name in ("posted", "rejected", "skipped", "held", "deferred")},
        zeros_posted=row["zeros_posted"],
        reasons=row["reasons"],
        stopped_by=row["stopped_by"],
    )

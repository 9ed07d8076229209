"""``flush``, ``report``, ``runs`` and ``cutoffs``: what was sent when, and what comes next."""

import asyncio
import math
from datetime import timedelta
from typing import Annotated, Final

import typer

from consumer import daemon
from consumer.cli.output import emit_json, local, show_table, waiting
from consumer.cli.reports import is_clean, report_shape, show_report, state_of
from consumer.cli.session import AsJson, DistrictId, day, now, session_of
from consumer.cli.sheet import write_csv
from consumer.cutoff import Cutoff
from consumer.cutoff import cutoffs as cutoffs_from
from consumer.errors import UsageError
from consumer.gradebook import RunReport
from consumer.store import runs as stored_runs
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict

_DAYS: Final = 14
_LONGEST_WAIT: Final = 3600


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    app.command()(flush)
    app.command()(report)
    app.command()(runs)
    app.command()(cutoffs)


def flush(
    ctx: typer.Context,
    district_id: DistrictId,
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            max=_LONGEST_WAIT,
            help="Seconds to wait until intake has read what Kafka holds now; else zeros are held.",
        ),
    ] = 60,
    force: Annotated[bool, typer.Option("--force", help="Send although it is paused.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run a district now, as a nightly run with its cutoff at this moment."""
    if not math.isfinite(wait):
        raise UsageError("--wait is a number of seconds.")
    session = session_of(ctx)
    settings = session.settings
    stored = session.with_district(district_id, _itself)
    with waiting(f"Flushing {district_id}"):
        done = asyncio.run(
            daemon.flush_once(settings, district_id, timedelta(seconds=wait), force=force)
        )
    _show(done, stored, as_json=as_json)
    return 0 if is_clean(done) else 1


def report(
    ctx: typer.Context,
    district_id: DistrictId,
    date: Annotated[
        str | None, typer.Option(metavar="DATE", help="The service date; the newest run if absent.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="A row a grade, as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one run: posted, rejected, skipped and held, by reason."""
    if csv and as_json:
        raise UsageError("Give --csv or --json, not both.")
    service_date = None if date is None else day(date)

    async def work(pool: Pool, stored: StoredDistrict) -> None:
        found = await stored_runs.reports(pool, district_id, service_date, limit=1)
        if not found:
            of = "" if service_date is None else f" of {service_date}"
            raise UsageError(
                f"District {district_id} has no run{of}; see 'passback runs {district_id}'."
            )
        if csv:
            await write_csv(pool, found[0])
        else:
            _show(found[0], stored, as_json=as_json)

    session_of(ctx).with_district(district_id, work)


def runs(
    ctx: typer.Context,
    district_id: DistrictId,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List a district's runs, newest first."""

    async def work(pool: Pool, stored: StoredDistrict) -> None:
        found = await stored_runs.reports(pool, district_id, limit=limit)
        if as_json:
            emit_json([report_shape(one) for one in found])
            return
        zone = stored.district.zone
        show_table(
            [
                "service date",
                "kind",
                "finished",
                "state",
                "posted#",
                "rejected#",
                "skipped#",
                "held#",
            ],
            [
                (
                    one.service_date,
                    one.kind,
                    local(one.finished_at, zone),
                    state_of(one),
                    *(one.results[name] for name in ("posted", "rejected", "skipped", "held")),
                )
                for one in found
            ],
            f"district {district_id} has had no run yet",
        )

    session_of(ctx).with_district(district_id, work)


def cutoffs(
    ctx: typer.Context,
    district_id: DistrictId,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="The first day; today if absent.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many calendar days.")] = _DAYS,
    as_json: AsJson = False,
) -> None:
    """List a district's service dates and their cutoffs, daylight saving included."""
    wanted = None if first is None else day(first)
    stored = session_of(ctx).with_district(district_id, _itself)
    zone = stored.district.zone
    begin = wanted or now().astimezone(zone).date()
    found: list[Cutoff] = list(cutoffs_from(stored.district, begin, days))
    if as_json:
        emit_json(
            [
                {
                    "service_date": one.service_date,
                    "cutoff_at": one.at,
                    "local": one.at.astimezone(zone).isoformat(),
                }
                for one in found
            ]
        )
        return
    show_table(
        ["service date", "cutoff in UTC", f"in {stored.district.timezone}"],
        [(one.service_date, f"{one.at:%Y-%m-%d %H:%M:%S}Z", local(one.at, zone)) for one in found],
        "no service date lies in these days",
    )


async def _itself(_: Pool, stored: StoredDistrict) -> StoredDistrict:
    return stored


def _show(one: RunReport, stored: StoredDistrict, *, as_json: bool) -> None:
    if as_json:
        emit_json(report_shape(one))
    else:
        show_report(one, stored.district.zone)

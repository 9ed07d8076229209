"""``district …``: onboarding, settings, pausing and removing."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from consumer import daemon
from consumer.cli.applying import Applied, apply_all, read_files
from consumer.cli.checks import Check, show_checks
from consumer.cli.output import emit_json, local, say, show_fields, show_table, waiting, warn
from consumer.cli.reports import report_shape, state_of
from consumer.cli.session import AsJson, DistrictId, Session, now, now_of_runs, session_of
from consumer.cli.setup_walk import SetupWalk
from consumer.errors import PassbackError, UsageError
from consumer.gradebook import RunReport
from consumer.store import districts, quarantined, runs
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict

app = typer.Typer(no_args_is_help=True, help="Districts: onboarding and settings.")

_DRAIN_WAIT: Final = timedelta(seconds=60)


@app.command()
def apply(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="District files, YAML, or directories of them."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and say what would change; write nothing.")
    ] = False,
) -> None:
    """Validate district files and apply them; the same file twice changes nothing."""
    session = session_of(ctx)
    settings = session.settings
    wanted = read_files(settings, files)
    keys = session.sealing_keys

    async def work(pool: Pool) -> list[tuple[Applied, int]]:
        done = await apply_all(pool, settings, keys, wanted, dry_run=dry_run)
        return [
            (one, await quarantined.count_of_unknown_district(pool, one.district.district))
            for one in done
        ]

    for one, waiting_events in session.with_store(work):
        say(_told(one, dry_run=dry_run))
        if one.warning is not None:
            warn(f"warning: {one.warning}")
        if waiting_events and not dry_run:
            say(
                f"  {waiting_events} events that came before wait in quarantine;"
                " 'passback quarantine replay' records them"
            )


def _told(one: Applied, *, dry_run: bool) -> str:
    name = one.district.district
    if one.next_cutoff is None:
        return f"{name}: unchanged, revision {one.revision}"
    done = "would be applied" if dry_run else f"applied, revision {one.revision}"
    cutoff = local(one.next_cutoff.at, one.district.zone)
    return f"{name}: {done} (changed: {', '.join(one.changed)}); next cutoff {cutoff}"


@app.command("list")
def list_districts(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List every district with its next cutoff and its last run."""

    async def work(pool: Pool) -> tuple[list[StoredDistrict], dict[str, RunReport]]:
        found = await districts.find_all(pool)
        return found, await runs.last_reports(pool, [one.district.district for one in found])

    found, last = session_of(ctx).with_store(work)
    at = now()
    if as_json:
        emit_json([_listed(one, last.get(one.district.district), at) for one in found])
        return
    rows = []
    for one in found:
        district, run = one.district, last.get(one.district.district)
        rows.append(
            (
                district.district,
                district.name,
                local(one.next_cutoff_at, district.zone),
                one.is_paused(at),
                "-" if run is None else f"{run.service_date} {state_of(run)}",
            )
        )
    show_table(
        ["district", "name", "next cutoff", "paused", "last run"],
        rows,
        "no district was applied; see 'passback district apply --help'",
    )


def _listed(one: StoredDistrict, last: RunReport | None, at: datetime) -> dict[str, Any]:
    cutoff = one.district.cutoff
    return {
        "district": one.district.district,
        "name": one.district.name,
        "timezone": one.district.timezone,
        "cutoff": cutoff.isoformat("auto" if cutoff.second else "minutes"),
        "next_cutoff_at": one.next_cutoff_at,
        "paused": one.is_paused(at),
        "last_run": None if last is None else report_shape(last),
    }


@app.command()
def show(ctx: typer.Context, district_id: DistrictId, as_json: AsJson = False) -> None:
    """Show a district's settings, without its secrets."""
    stored = session_of(ctx).with_district(district_id, _itself)
    settings = stored.district.model_dump(mode="json")
    if as_json:
        emit_json({**settings, "revision": stored.revision, "applied_at": stored.applied_at})
        return
    zone = stored.district.zone
    show_fields(
        [
            *_flat(settings, ""),
            ("revision", stored.revision),
            ("applied", local(stored.applied_at, zone)),
            ("next cutoff", local(stored.next_cutoff_at, zone)),
            ("paused", _pause_told(stored, zone)),
        ]
    )


def _flat(settings: dict[str, Any], prefix: str) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) or "-"))
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _pause_told(stored: StoredDistrict, zone: ZoneInfo) -> str:
    if not stored.is_paused(now()):
        return "no"
    until = "" if stored.paused_until is None else f" until {local(stored.paused_until, zone)}"
    because = "" if stored.pause_reason is None else f": {stored.pause_reason}"
    return f"since {local(stored.paused_at, zone)}{until}{because}"


@app.command()
def check(
    ctx: typer.Context,
    district_id: DistrictId,
    write_probe: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Post, read back and delete one test item in this class (Skyward's sourcedId).",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Walk the guide's setup process: each step pass or fail, with its cure."""
    session = session_of(ctx)
    settings, keys = session.settings, session.sealing_keys

    with waiting(f"Checking {district_id}") as step:

        async def work(pool: Pool, stored: StoredDistrict) -> list[Check]:
            async with daemon.network_of(settings) as network:
                walk = SetupWalk(
                    pool,
                    stored,
                    now(),
                    connect=daemon.connects(lambda: keys, network),
                    connect_to_delete=daemon.connects(lambda: keys, network, delete=True),
                    step=step,
                )
                return await walk.checks(write_probe)

        checks = session.with_district(district_id, work)
    return show_checks(checks, as_json=as_json)


@app.command()
def pause(
    ctx: typer.Context,
    district_id: DistrictId,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="When it ends by itself, such as 2026-12-01 or 2026-12-01T18:00."
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for whoever asks.")] = None,
) -> None:
    """Send nothing for a district until it is resumed; its grades keep waiting."""

    async def work(pool: Pool, stored: StoredDistrict) -> str:
        zone = stored.district.zone
        end = None if until is None else _instant(until, zone)
        at = await now_of_runs(pool)
        if end is not None and end <= at:
            raise UsageError(f"The pause would have ended already, on {local(end, zone)}.")
        await districts.pause(pool, district_id, at, end, reason)
        return "until it is resumed" if end is None else f"until {local(end, zone)}"

    until_when = session_of(ctx).with_district(district_id, work)
    say(f"{district_id}: paused {until_when}")


def _instant(text: str, zone: ZoneInfo) -> datetime:
    """A moment in the district's zone unless it names another; a bare date begins at midnight."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no moment such as 2026-12-01 or 2026-12-01T18:00.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


@app.command()
def resume(ctx: typer.Context, district_id: DistrictId) -> None:
    """End a pause."""

    async def work(pool: Pool, stored: StoredDistrict) -> bool:
        if stored.paused_at is None:
            return False
        return await districts.resume(pool, district_id, now())

    resumed = session_of(ctx).with_district(district_id, work)
    say(f"{district_id}: {'resumed' if resumed else 'was not paused'}")


@app.command()
def remove(
    ctx: typer.Context,
    district_id: DistrictId,
    drain: Annotated[
        bool, typer.Option("--drain", help="Send what may go first; refuse if anything stays.")
    ] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Give up what waits, unsent.")] = False,
) -> None:
    """Remove a district and all its rows; an audit row stays."""
    if drain and discard:
        raise UsageError("Give --drain or --discard, not both.")
    session = session_of(ctx)
    pending = session.with_district(district_id, _pending)
    if pending and drain:
        _flush(session, district_id)
        pending = session.with_district(district_id, _pending)
        if pending:
            raise PassbackError(
                f"District {district_id} still has {pending} pending grades, so it was not removed;"
                f" see 'passback report {district_id}', or give them up with --discard."
            )
    if pending and not discard:
        raise UsageError(
            f"District {district_id} has {pending} pending grades; send them first with --drain,"
            " or give them up with --discard."
        )

    async def work(pool: Pool, _: StoredDistrict) -> None:
        await districts.remove(pool, district_id, now(), {"pending_discarded": pending})

    session.with_district(district_id, work)
    say(f"{district_id}: removed" + (f", {pending} pending grades given up" if pending else ""))


def _flush(session: Session, district_id: str) -> None:
    with waiting(f"Sending what waits in {district_id}"):
        asyncio.run(daemon.flush_once(session.settings, district_id, _DRAIN_WAIT))


async def _pending(pool: Pool, stored: StoredDistrict) -> int:
    return await districts.pending_grades(pool, stored.district.district)


async def _itself(_: Pool, stored: StoredDistrict) -> StoredDistrict:
    return stored

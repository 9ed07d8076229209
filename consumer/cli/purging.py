"""``purge``: retention by hand."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Final

import typer

from consumer.cli.output import say, waiting
from consumer.cli.session import DistrictId, day, now_of_runs, session_of
from consumer.errors import UsageError
from consumer.store import retention
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.retention import Purged

_SHORTEST: Final = timedelta(days=30)
_DAYS: Final = re.compile(r"(\d{1,5})d?", re.ASCII)


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(purge)


def purge(
    ctx: typer.Context,
    district_id: DistrictId,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="DAYS",
            help="An age such as 400d, or a date; without it PASSBACK_RETENTION_DAYS.",
        ),
    ] = None,
) -> None:
    """Delete what is settled and old: grades, what was sent, runs, unreadable events.

    What waits is never deleted, nor what is younger than 30 days; an audit row stays. To delete
    all of a district, see 'passback district remove'.
    """
    session = session_of(ctx)

    async def work(pool: Pool, stored: StoredDistrict) -> tuple[Purged, datetime]:
        at = await now_of_runs(pool)
        before = at - timedelta(days=session.settings.retention_days)
        if older_than is not None:
            before = _before(older_than, stored, at)
        return await retention.purge(pool, district_id, before, at, history=True), before

    with waiting(f"Purging {district_id}"):
        purged, before = session.with_district(district_id, work)
    say(
        f"{district_id}: deleted what is from before {before:%Y-%m-%d}: {purged.grades} grades of"
        f" {purged.assessments} assessments, {purged.sent} records of what was sent,"
        f" {purged.runs} runs, {purged.quarantined} unreadable events"
    )


def _before(text: str, stored: StoredDistrict, at: datetime) -> datetime:
    match = _DAYS.fullmatch(text)
    if match:
        before = at - timedelta(days=int(match[1]))
    else:
        before = datetime.combine(day(text), datetime.min.time(), stored.district.zone)
    if before > at - _SHORTEST:
        raise UsageError(
            f"--older-than {text}: what is younger than {_SHORTEST.days} days may still be needed"
            " to know what Skyward holds; give 30d or more."
        )
    return before

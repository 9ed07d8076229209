"""``forecast``: tonight, before it happens."""

from datetime import timedelta
from typing import Final

import typer

from consumer import daemon
from consumer.cli.output import emit_json, waiting, warn
from consumer.cli.reports import report_shape, show_report
from consumer.cli.session import AsJson, DistrictId, now_of_runs, session_of
from consumer.flush.forecasting import Forecast
from consumer.flush.forecasting import forecast as walk
from consumer.intake import LogEnd, unrecorded
from consumer.settings import Settings
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(forecast)


def forecast(ctx: typer.Context, district_id: DistrictId, as_json: AsJson = False) -> int:
    """Say what tonight's run would post, skip and hold; writes nothing, only reads Skyward."""
    session = session_of(ctx)
    settings, keys = session.settings, session.sealing_keys

    async def work(pool: Pool, stored: StoredDistrict) -> tuple[Forecast, StoredDistrict, str]:
        async with daemon.network_of(settings) as network:
            connects = daemon.connects(lambda: keys, network)
            found = await walk(pool, connects, stored, await now_of_runs(pool))
        return found, stored, await _what_kafka_adds(settings, pool)

    with waiting(f"Looking ahead for {district_id}"):
        found, stored, unread = session.with_district(district_id, work)
    if as_json:
        emit_json(report_shape(found.report))
    else:
        show_report(found.report, stored.district.zone)
    if unread:
        warn(f"warning: {unread}")
    for teacher, items in found.joins.items():
        warn(
            f"warning: {teacher} joined the group in mid-period; {items} assessments from before"
            " would be new in Skyward and may duplicate what was typed there by hand."
        )
    return 0 if found.report.state == "done" else 1


async def _what_kafka_adds(settings: Settings, pool: Pool) -> str:
    """What a forecast cannot know: events that intake has not read yet; empty where none wait."""
    kafka = settings.kafka
    unread = None if kafka is None else await unrecorded(pool, LogEnd(kafka), _PATIENCE)
    if unread is None:
        return "Kafka does not answer, so what intake has yet to read is not known"
    if not unread:
        return ""
    return (
        f"intake has yet to read {unread} events of all districts; what they bring is not in this"
        " forecast"
    )


_PATIENCE: Final = timedelta(seconds=10)

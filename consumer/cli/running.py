"""``run``, ``migrate`` and ``check``: what the people who operate the daemon start with."""

import asyncio
import sys

import typer

from consumer import daemon, log
from consumer.cli.checking import check_everything
from consumer.cli.checks import show_checks
from consumer.cli.output import say, waiting
from consumer.cli.session import AsJson, session_of
from consumer.errors import ServiceUnavailable
from consumer.store.connection import UNREACHABLE, unreachable
from consumer.store.migrate import migrate as bring_forward


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    app.command()(run)
    app.command()(migrate)
    app.command()(check)


def run(ctx: typer.Context) -> int:
    """Run the daemon: intake, nightly flushes, HTTP; until SIGTERM or SIGINT."""
    settings = session_of(ctx).settings
    log.configure(settings.log_format, settings.log_level)
    daemon.collect_garbage_seldom()
    if sys.platform == "win32":
        return asyncio.run(daemon.run(settings))
    import uvloop  # noqa: PLC0415  only the daemon needs it, and Windows has none

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(daemon.run(settings))


def migrate(ctx: typer.Context) -> None:
    """Bring the database's schema forward; does nothing where it is up to date."""
    url = session_of(ctx).settings.database_url.get_secret_value()

    async def forward() -> list[str]:
        try:
            return await bring_forward(url)
        except UNREACHABLE as error:
            raise ServiceUnavailable(unreachable(url, error)) from None

    with waiting("Bringing the schema forward"):
        applied = asyncio.run(forward())
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("the schema is up to date")


def check(
    ctx: typer.Context,
    as_json: AsJson = False,
) -> int:
    """Check settings, database, schema, Kafka topics and group; each with its cure."""
    with waiting("Checking"):
        checks = asyncio.run(check_everything(session_of(ctx)))
    return show_checks(checks, as_json=as_json)

"""demo: a whole district's day on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from consumer.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    oneroster: Annotated[
        Path | None, typer.Option(help="A OneRoster CSV folder instead of the packaged district.")
    ] = None,
    submissions: Annotated[
        Path | None, typer.Option(help="An OULAD folder instead of the packaged slice.")
    ] = None,
) -> int:
    """Runs a district's day and night here: real Kafka, real Postgres, a stand-in Skyward."""
    try:
        from consumer.sandbox.demo import Demo, DemoError  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            f"The demo needs the sandbox extra ({error.name} is not installed); run 'make install'."
        ) from None
    console = Console()
    try:
        problems = asyncio.run(Demo(oneroster, submissions, console).run())
    except DemoError as error:
        raise UsageError(str(error)) from None
    if problems:
        console.print(f"[red]{len(problems)} differences[/]: Skyward is not as the rules say.")
        return 1
    console.print("[green]Skyward holds exactly what the rules say.[/]")
    return 0

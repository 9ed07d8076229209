"""The command's tree, and what becomes of a failure: one sentence on stderr, an exit status.

0 done; 1 done, and something is wrong; 2 wrong usage or invalid input; 3 a service of ours is
unavailable.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import Abort, TyperException

from consumer import __version__, log
from consumer.cli import (
    comparing,
    demo,
    district,
    events,
    explaining,
    flushing,
    forecasting,
    purging,
    quarantine,
    reasons,
    running,
    secrets,
    zeros,
)
from consumer.cli.output import warn
from consumer.cli.session import Session
from consumer.errors import PassbackError, ServiceUnavailable, UsageError
from consumer.store.connection import FORBIDDEN, OWNER, UNAVAILABLE, forbidden

DONE: Final = 0
WRONG: Final = 1
USAGE: Final = 2
UNAVAILABLE_SERVICE: Final = 3
_INTERRUPTED: Final = 130

app: Final = typer.Typer(
    name="passback",
    help="Posts Otus grades to Skyward gradebooks every night: right, once, and says why not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"passback {__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    ctx: typer.Context,
    env_file: Annotated[
        Path | None,
        typer.Option(help="A file of NAME=value lines; the environment wins over it."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    ctx.obj = Session(env_file)
    # What a command prints on stdout is its answer; the daemon sets up its own log.
    log.configure("console", "error", stream=sys.stderr)


for group in (
    running,
    flushing,
    forecasting,
    explaining,
    comparing,
    reasons,
    purging,
    demo,
    zeros,
):
    group.register(app)
app.add_typer(district.app, name="district")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(secrets.app, name="secrets")
app.add_typer(events.app, name="events")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status and never raises.

    Without ``arguments`` the whole process is the command.
    """
    if arguments is None:
        log.take_uncaught()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app(
            None if arguments is None else list(arguments),
            prog_name="passback",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has enough; Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Abort:
        return WRONG
    except Exception as error:  # noqa: BLE001  the top: an operator never sees a traceback
        return _told(error)
    return status if isinstance(status, int) else DONE


def _told(error: BaseException) -> int:
    if isinstance(error, BaseExceptionGroup):
        return _told(error.exceptions[0])
    if isinstance(error, TyperException):
        message = error.format_message()
        if message:
            warn_lines(f"{message.rstrip('.')}. See 'passback --help'.")
        return USAGE
    if isinstance(error, UsageError):
        warn_lines(str(error))
        return USAGE
    if isinstance(error, ServiceUnavailable):
        warn_lines(str(error))
        return UNAVAILABLE_SERVICE
    if isinstance(error, PassbackError):
        warn_lines(str(error))
        return WRONG
    name = type(error).__name__
    if isinstance(error, UNAVAILABLE):
        warn(f"Postgres stopped answering ({name}); see to it and run this again.")
        return UNAVAILABLE_SERVICE
    if isinstance(error, FORBIDDEN):
        warn(f"PASSBACK_DATABASE_URL: Postgres {forbidden(error)}; {OWNER}.")
        return UNAVAILABLE_SERVICE
    # Never the message: it may hold a row's values.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    sqlstate = getattr(error, "sqlstate", None)
    code = f", SQLSTATE {sqlstate}" if isinstance(sqlstate, str) else ""
    warn(
        f"passback failed inside itself ({name}{code} at {Path(frame.filename).name}:"
        f"{frame.lineno}); run it again, and report this line if it happens again."
    )
    return WRONG


def warn_lines(text: str) -> None:
    """Every line of a message, each safe for a terminal."""
    for line in text.splitlines():
        warn(line)

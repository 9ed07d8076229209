"""``quarantine …``: events that could not be read or applied."""

from contextlib import nullcontext
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress

from consumer.cli.output import emit_json, say, show_fields, show_table
from consumer.cli.session import AsJson, Session, now, session_of
from consumer.errors import UsageError
from consumer.events import ASSESSMENT_CHANGED, KEY_PARTS, Change, moment, read
from consumer.store import districts, quarantined
from consumer.store.connection import Pool
from consumer.store.quarantined import Quarantined, Replayed

app = typer.Typer(no_args_is_help=True, help="Events that could not be read.")

_LARGEST: Final = 2**63 - 1
Id = Annotated[
    int, typer.Argument(metavar="ID", min=1, max=_LARGEST, help="As 'quarantine list' shows.")
]


@app.command("list")
def list_events(
    ctx: typer.Context,
    district: Annotated[str | None, typer.Option(help="Only this district's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List the events in quarantine, oldest first."""

    async def work(pool: Pool) -> list[Quarantined]:
        return await quarantined.find_all(pool, district, limit)

    found = session_of(ctx).with_store(work)
    if as_json:
        emit_json([_listed(one) for one in found])
        return
    show_table(
        ["id#", "topic", "partition#", "offset#", "received", "reason", "detail"],
        [
            (
                one.id,
                one.record.topic,
                one.record.partition,
                one.record.offset,
                f"{one.received_at:%Y-%m-%d %H:%M}Z",
                one.reason,
                one.detail,
            )
            for one in found
        ],
        "the quarantine is empty",
    )


@app.command()
def show(
    ctx: typer.Context,
    event: Id,
    payload: Annotated[
        bool, typer.Option("--payload", help="Print its bytes too; they may tell of students.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one event: where it came from and what is wrong with it."""

    async def work(pool: Pool) -> tuple[Quarantined, bool]:
        found = await quarantined.find(pool, [event])
        if not found:
            raise UsageError(f"No event {event} is in quarantine; see 'passback quarantine list'.")
        return found[0], await districts.find(pool, found[0].district_id) is not None

    one, is_applied = session_of(ctx).with_store(work)
    shape = _shown(one, is_applied=is_applied, payload=payload)
    if as_json:
        emit_json(shape)
    else:
        show_fields(
            (name, ", ".join(value) if isinstance(value, list) else value)
            for name, value in shape.items()
        )


def _listed(one: Quarantined) -> dict[str, Any]:
    return {
        "id": one.id,
        "topic": one.record.topic,
        "partition": one.record.partition,
        "offset": one.record.offset,
        "received_at": one.received_at,
        "reason": one.reason,
        "detail": one.detail,
    }


def _shown(one: Quarantined, *, is_applied: bool, payload: bool) -> dict[str, Any]:
    # A key that is not as it should be may hold anything, where the district stands too: what
    # it says is shown where a district of ours stands there, and with the payload.
    record = one.record
    shape = {
        **_listed(one),
        "recorded_at": moment(record.timestamp),
        "district": one.district_id if is_applied else None,
        "subject": _subject(one) if is_applied else None,
        "key_bytes": None if record.key is None else len(record.key),
        "value_bytes": None if record.value is None else len(record.value),
        "headers": sorted(name for name, _ in record.headers),
    }
    if payload:
        for name, content in (("key", record.key), ("value", record.value)):
            shape[name] = None if content is None else content.decode(errors="backslashreplace")
    return shape


def _subject(one: Quarantined) -> str | None:
    """The key without its student or teacher; None where it is no key of this topic."""
    parts = (one.subject or "").split("/")
    whose = next((topic for topic in KEY_PARTS if one.record.topic.endswith(topic)), None)
    if whose is None or len(parts) != KEY_PARTS[whose]:
        return None
    if whose != ASSESSMENT_CHANGED:
        parts[-1] = "..."
    return "/".join(parts)


@app.command()
def replay(
    ctx: typer.Context,
    events: Annotated[
        list[int] | None,
        typer.Argument(metavar="[ID]...", min=1, max=_LARGEST, help="All, where none is given."),
    ] = None,
) -> int:
    """Read events again and record what can be read now; the rest stays."""
    session = session_of(ctx)
    prefix = session.settings.kafka_topic_prefix
    ids = sorted(set(events)) if events else None

    def read_again(one: Quarantined) -> Change:
        record = one.record
        topic = record.topic.removeprefix(prefix)
        return read(topic, record.key, record.value, record.headers, record.timestamp)

    done = _replay(session, ids, read_again)
    say(f"{done.recorded} recorded, {len(done.stay)} stay in quarantine")
    for event, why in list(done.stay.items())[:20]:
        say(f"  {event}: {why}")
    return 1 if done.stay else 0


def _replay(session: Session, ids: list[int] | None, read_again: quarantined.Reads) -> Replayed:
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True)

    async def work(pool: Pool) -> Replayed:
        if ids is not None:
            found = {one.id for one in await quarantined.find(pool, ids)}
            _expect_all(sorted(set(ids) - found))
        total = len(ids) if ids is not None else await quarantined.count(pool)
        task = bar.add_task("Replaying", total=total)
        return await quarantined.replay(
            pool, read_again, ids, now(), lambda tried: bar.advance(task, tried)
        )

    with bar if console.is_terminal else nullcontext():
        return session.with_store(work)


@app.command()
def discard(
    ctx: typer.Context,
    events: Annotated[
        list[int],
        typer.Argument(metavar="ID...", min=1, max=_LARGEST, help="As 'quarantine list' shows."),
    ],
) -> None:
    """Give events up unread; an audit row stays."""

    async def work(pool: Pool) -> list[int]:
        return await quarantined.discard(pool, sorted(set(events)), now())

    _expect_all(session_of(ctx).with_store(work))
    say(f"{len(set(events))} discarded")


def _expect_all(missing: list[int]) -> None:
    if missing:
        ids = ", ".join(map(str, missing))
        raise UsageError(
            f"No event {ids} is in quarantine, so nothing was done; see 'passback quarantine list'."
        )

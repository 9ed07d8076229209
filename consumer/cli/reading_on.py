"""``events read-on``: reading goes on although Kafka no longer holds what was to be read next.

Offsets never go back by themselves, and intake never passes over what is gone: whether upstream
published it again is for somebody to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from consumer.cli.output import emit_json, show_table
from consumer.cli.session import AsJson, session_of
from consumer.intake import LogEnd
from consumer.store.connection import Pool
from consumer.store.recording import move_offsets, stored_offsets


@dataclass(frozen=True, slots=True)
class ReadOn:
    """A partition whose next record is gone, and the first one that Kafka holds."""

    topic: str
    partition: int
    stood_at: int
    reads_from: int


def read_on(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read on from what Kafka holds, where what was to be read next is gone; moves nothing else."""
    session = session_of(ctx)
    kafka = session.settings.require_kafka()

    async def work(pool: Pool) -> list[ReadOn]:
        log_end = LogEnd(kafka)
        # First what is stored: what Kafka held then it holds now, or it lies before its beginning.
        gone = await gone_from(log_end, await stored_offsets(pool, log_end.topics))
        if dry_run:
            return gone
        wanted = {(one.topic, one.partition): (one.stood_at, one.reads_from) for one in gone}
        moved = await move_offsets(pool, wanted)
        return [one for one in gone if (one.topic, one.partition) in moved]

    found = session.with_store(work)
    if as_json:
        emit_json(found)
        return
    show_table(
        ["topic", "partition#", "stood at#", "reads from#"],
        [(one.topic, one.partition, one.stood_at, one.reads_from) for one in found],
        "Kafka holds all that is to be read next; nothing was moved",
    )


async def gone_from(log_end: LogEnd, stored: Mapping[tuple[str, int], int]) -> list[ReadOn]:
    """Where Kafka does not hold what is to be read next; ``stored`` are the next offsets."""
    ends, begins = await log_end.read(), await log_end.beginnings()
    return [
        ReadOn(topic, partition, offset, begins[topic, partition])
        for (topic, partition), offset in sorted(stored.items())
        if (topic, partition) in ends
        and not begins[topic, partition] <= offset <= ends[topic, partition]
    ]

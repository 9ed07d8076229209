"""``zeros``: what the breaker holds, and what an operator decides about it."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from consumer import daemon
from consumer.cli.output import emit_json, say, show_table, waiting
from consumer.cli.reports import is_clean, show_report
from consumer.cli.session import AsJson, DistrictId, now_of_runs, session_of
from consumer.rules import ZeroRuling
from consumer.store import held_zeros
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.held_zeros import HeldZeros

_WAIT: Final = timedelta(seconds=60)


def register(app: typer.Typer) -> None:
    """Adds the group to the tree: ``zeros D`` lists, the other words act."""
    group = typer.Typer(
        cls=_OrList,
        no_args_is_help=True,
        help="What the breaker holds: 'zeros D' lists it, the other commands rule on it.",
    )
    group.command("list")(list_held)
    group.command()(release)
    group.command()(discard)
    app.add_typer(group, name="zeros")


class _OrList(TyperGroup):
    """``zeros D`` is ``zeros list D``; a district that is called as a command needs the latter."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((a for a in args if not a.startswith("-")), None)
        if first is not None and first not in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)


def list_held(ctx: typer.Context, district_id: DistrictId, as_json: AsJson = False) -> None:
    """List the zeros that the breaker holds, by night and assessment."""

    async def work(pool: Pool, _: StoredDistrict) -> list[HeldZeros]:
        return await held_zeros.find(pool, district_id)

    found = session_of(ctx).with_district(district_id, work)
    if as_json:
        emit_json(
            [
                {
                    "service_date": one.service_date,
                    "assessment": one.key.assessment_id,
                    "class": one.key.class_id,
                    "assignees": one.assignees,
                    "zeros": one.zeros,
                }
                for one in found
            ]
        )
        return
    show_table(
        ["service date", "assessment", "class", "assignees#", "zeros#"],
        [(one.service_date, *one.key, one.assignees, one.zeros) for one in found],
        f"the breaker holds no zeros in {district_id}",
    )


def release(
    ctx: typer.Context,
    district_id: DistrictId,
    at_once: Annotated[
        bool, typer.Option("--now", help="Send them at once, not with the next run.")
    ] = False,
) -> int:
    """Let the held zeros go."""
    session = session_of(ctx)

    async def work(pool: Pool, stored: StoredDistrict) -> tuple[int, StoredDistrict]:
        at = await now_of_runs(pool)
        return await held_zeros.rule(pool, district_id, ZeroRuling.RELEASED, at), stored

    count, stored = session.with_district(district_id, work)
    if not count:
        say(f"{district_id}: the breaker holds no zeros")
        return 0
    say(f"{district_id}: {count} zeros released" + ("" if at_once else "; the next run sends them"))
    if not at_once:
        return 0
    with waiting(f"Flushing {district_id}"):
        done = asyncio.run(daemon.flush_once(session.settings, district_id, _WAIT))
    show_report(done, stored.district.zone)
    return 0 if is_clean(done) else 1


def discard(ctx: typer.Context, district_id: DistrictId) -> None:
    """Give the held zeros up: they never go."""

    async def work(pool: Pool, _: StoredDistrict) -> int:
        at = await now_of_runs(pool)
        return await held_zeros.rule(pool, district_id, ZeroRuling.DISCARDED, at)

    count = session_of(ctx).with_district(district_id, work)
    if count:
        say(f"{district_id}: {count} zeros discarded; the next run skips them (zero_not_allowed)")
    else:
        say(f"{district_id}: the breaker holds no zeros")

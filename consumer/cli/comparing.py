"""``diff``: what Skyward holds against what we believe it holds."""

from collections import Counter
from decimal import Decimal
from typing import Annotated, Final

import typer

from consumer import daemon
from consumer.cli.output import emit_json, number, say, show_table, waiting
from consumer.cli.session import AsJson, DistrictId, session_of
from consumer.errors import DistrictStopped, PassbackError, UsageError
from consumer.flush.comparing import Compared, Difference, DifferenceKind, Value, differences
from consumer.store import believed
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict

_WRONG: Final = 1


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(diff)


def diff(
    ctx: typer.Context,
    district_id: DistrictId,
    class_id: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="One class, by its Otus id.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Compare what Skyward holds with what was posted; only reads, and may take minutes.

    missing: it was posted and is gone. altered: somebody changed it in Skyward. orphaned: it is
    in Skyward, and we do not know of it. moved: a teacher chose another category, which is hers.
    """
    session = session_of(ctx)
    settings, keys = session.settings, session.sealing_keys
    compared = Compared()

    async def work(pool: Pool, stored: StoredDistrict) -> list[Difference]:
        if class_id is not None and not await believed.knows_class(pool, district_id, class_id):
            raise UsageError(f"No event of district {district_id} named a class {class_id!r}.")
        async with daemon.network_of(settings) as network:
            connects = daemon.connects(lambda: keys, network)
            async with connects(stored, stored.district) as skyward:
                walk = differences(pool, skyward, district_id, class_id, compared)
                return [found async for found in walk]

    with waiting(f"Comparing {district_id} with its Skyward"):
        try:
            found = session.with_district(district_id, work)
        except DistrictStopped as stopped:
            raise PassbackError(
                f"Skyward of {district_id} could not be read to the end: {stopped.detail}."
                " Nothing was compared; try again, or run 'passback district check'."
            ) from None
    if as_json:
        emit_json([_shape(one) for one in found])
    else:
        _show(found, compared)
    return _WRONG if any(one.kind is not DifferenceKind.MOVED for one in found) else 0


def _shape(one: Difference) -> dict[str, object]:
    return {
        "class": one.key.class_id,
        "assessment": one.key.assessment_id,
        "student": one.student_id,
        "kind": one.kind,
        "ours": _plain(one.ours),
        "theirs": _plain(one.theirs),
    }


def _plain(value: Value | None) -> object:
    return number(value) if isinstance(value, Decimal) else value


def _show(found: list[Difference], compared: Compared) -> None:
    seen = (
        f"{compared.line_items} line items and {compared.results} results"
        f" in {compared.classes} classes were compared"
    )
    if not found:
        say(f"Skyward holds what was posted: {seen}.")
        return
    show_table(["class", "assessment", "student", "kind", "ours", "theirs"], map(_row, found), "")
    kinds = Counter(one.kind for one in found)
    say("")
    say(f"{seen}: " + ", ".join(f"{kinds[kind]} {kind}" for kind in DifferenceKind) + ".")


def _row(one: Difference) -> list[object]:
    ours, theirs = _plain(one.ours), _plain(one.theirs)
    return [one.key.class_id, one.key.assessment_id, one.student_id, one.kind, ours, theirs]

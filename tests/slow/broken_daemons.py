"""The real daemon with one safeguard taken out, by its name; what it breaks must be noticed."""

import asyncio
import sys
from collections.abc import Hashable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from consumer import rules
from consumer.cli import main
from consumer.errors import LeaseLost
from consumer.flush import adopting, line_items, schedule, sending
from consumer.flush.sending import Sending
from consumer.skyward import Skyward
from consumer.store import settling
from consumer.store.settling import SettledGrade, Tally


def asks_nothing_after_a_death() -> None:
    """What a dead run had sent and not settled stays unknown."""

    async def adopt(*_: Any) -> Tally:
        return Tally()

    adopting.adopt = adopt  # type: ignore[assignment]


def forgets_its_lease() -> None:
    """A write goes out although the lease may be another's by now."""
    Skyward.write_while = lambda *_: None  # type: ignore[method-assign]


def settles_whatever_changed() -> None:
    """A value that changed while the one before it was on its way counts as posted."""
    _replaced(
        ("g.revision = s.revision", "true"),
        ("g.revision <> s.revision", "false"),
        ("a.revision = s.revision", "true"),
    )


def sends_results_before_the_line_item() -> None:
    """The line item is on its way, and nobody waits until it was acknowledged."""
    kept = line_items.LineItems.acknowledge
    on_their_way = set[asyncio.Task[Any]]()

    async def acknowledge(self: line_items.LineItems, portion: Any, *, again: bool = False) -> Any:
        task = asyncio.create_task(kept(self, portion, again=again))
        on_their_way.add(task)
        await asyncio.sleep(0)
        return line_items.Acknowledgement(self._body(portion).line_item.sourced_id)

    line_items.LineItems.acknowledge = acknowledge  # type: ignore[method-assign]


def makes_result_ids_up() -> None:
    """A result has an id that is new until it was settled; a settled one keeps it.

    Who asks Skyward after a death finds such a one by its student, so nothing is asked either.
    """
    asks_nothing_after_a_death()
    sending.result_id = _made_up()  # type: ignore[attr-defined]
    settled = Sending._settled_outcome

    def keeps(self: Sending, portion: Any, one: Any, outcome: Any, posting: Any) -> SettledGrade:
        found = settled(self, portion, one, outcome, posting)
        return replace(found, allocated_id=posting.result.sourced_id)

    Sending._settled_outcome = keeps  # type: ignore[method-assign]


def makes_line_item_ids_up() -> None:
    """A line item has an id that is new until it was settled; a settled one keeps it."""
    line_items.line_item_id = _made_up()  # type: ignore[attr-defined]


def _made_up() -> Any:
    made: dict[Hashable, str] = {}
    return lambda district, key: made.setdefault((district, key), str(uuid4()))


def settles_what_is_in_hand() -> None:
    """Where its lease went, a run still settles what was answered; the store is to refuse it.

    As if it had stood still after it read back what it sent, which would tell it as well.
    """
    kept = Sending.send

    async def send(self: Sending, pages: Any) -> None:
        try:
            await kept(self, pages)
        except (LeaseLost, asyncio.CancelledError):
            self._verified += self._grades
            self._grades = []
            await asyncio.shield(asyncio.create_task(self._settle()))
            raise

    Sending.send = send  # type: ignore[method-assign]


def settles_what_is_in_hand_without_a_fence() -> None:
    """The same, and the store asks for no epoch."""
    settles_what_is_in_hand()
    _replaced(
        ("AND holder = $4 AND epoch = $5", "AND $4::text IS NOT NULL AND $5::bigint IS NOT NULL")
    )


def sends_what_stands_already() -> None:
    """A value goes again although it is the one that was acknowledged."""
    rules._is_same = lambda *_: False


def gives_its_night_up() -> None:
    """A run that failed is made again a day later."""
    schedule._pause = lambda *_: timedelta(days=1)


def _replaced(*pairs: tuple[str, str]) -> None:
    """In the statement that settles; each is to be found there."""
    for old, new in pairs:
        assert old in settling._SETTLE, old
        settling._SETTLE = settling._SETTLE.replace(old, new)  # type: ignore[misc]


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]()
    main()

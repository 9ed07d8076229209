"""The real daemon with one safeguard taken out, by its name; what it breaks must be noticed."""

import sys
from typing import Any

from consumer.cli import main
from consumer.flush import adopting
from consumer.skyward import Skyward
from consumer.store.settling import Tally


def asks_nothing_after_a_death() -> None:
    """What a dead run had sent and not settled stays unknown."""

    async def adopt(*_: Any) -> Tally:
        return Tally()

    adopting.adopt = adopt  # type: ignore[assignment]


def forgets_its_lease() -> None:
    """A write goes out although the lease may be another's by now."""
    Skyward.write_while = lambda *_: None  # type: ignore[method-assign]


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]()
    main()

"""Runs the named parts (all when none is named) and prints one table.

bench.json holds this run; the tables of deploy/performance.md and README.md keep what other runs
measured. With ``--quick`` sizes are small, nothing of these is written, and a ratio that fell to
half of the one in recorded.json ends it with status 1; ``--record`` writes recorded.json instead.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.bench import at_once, flush, growth, intake, night, page, replicas, startup
from tests.bench.frame import Bench, Figures, machine, make_template, raise_priority, services
from tests.bench.targets import TARGETS, fallen

PARTS: Final[Mapping[str, Callable[[Bench], Coroutine[Any, Any, Figures]]]] = {
    "startup": startup.measure,
    "intake": intake.measure,
    "replicas": replicas.measure,
    "flush": flush.measure,
    "many": flush.measure_many,
    "at_once": at_once.measure,
    "night": night.measure,
    "idle": flush.measure_idle,
    "memory": flush.measure_memory,
    "neighbours": flush.measure_neighbours,
    "growth": growth.measure,
}
"""In the order in which they run."""

QUICK: Final = ("intake", "flush", "many", "idle", "neighbours", "growth")
"""What `make test` measures; other parts by name: make bench-quick PARTS=memory."""

_WRITTEN: Final = Path("bench.json")
_PAGE: Final = Path("deploy/performance.md")
_README: Final = Path("README.md")
_RECORDED: Final = Path(__file__).parent / "recorded.json"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    names = asked.parts or (QUICK if asked.quick else list(PARTS))
    if not raise_priority():
        print("bench: this user may not raise its priority; others on this machine disturb more")
    with services(quick=asked.quick) as bench, asyncio.Runner() as runner:
        runner.run(make_template(bench))
        ratios: dict[str, float] = {}
        absolute: dict[str, float | str] = {"machine": machine(bench)}
        for name in names:
            began = time.monotonic()
            figures = runner.run(PARTS[name](bench))
            ratios |= figures.ratios
            absolute |= figures.absolute
            print(f"bench: {name} took {time.monotonic() - began:.0f} s", flush=True)
    _show(ratios, absolute)
    if not asked.quick:
        _WRITTEN.write_text(json.dumps(as_written(ratios, absolute), indent=2) + "\n")
        _PAGE.write_text(page.whole(_PAGE.read_text(), ratios, absolute))
        _README.write_text(page.short(_README.read_text(), ratios))
        return 0
    recorded = json.loads(_RECORDED.read_text())
    if asked.record:
        rounded = {name: float(f"{value:.3g}") for name, value in ratios.items()}
        _RECORDED.write_text(json.dumps(recorded | rounded, indent=2, sort_keys=True) + "\n")
        return 0
    for sentence in (complaints := fallen(ratios, recorded)):
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if complaints else 0


def as_written(
    ratios: Mapping[str, float], absolute: Mapping[str, float | str]
) -> dict[str, object]:
    """What bench.json holds: every ratio (null where its part did not run) and ``absolute``."""
    return {name: ratios.get(name) for name in TARGETS} | {"absolute": dict(absolute)}


def _show(ratios: Mapping[str, float], absolute: Mapping[str, float | str]) -> None:
    table = Table("ratio", "measured", "target", "", "what")
    for name, target in TARGETS.items():
        if name in ratios:
            reached = "reached" if target.reached(ratios[name]) else "missed"
            table.add_row(name, f"{ratios[name]:.2f}", str(target), reached, target.what)
    table.add_section()
    for name, value in absolute.items():
        if isinstance(value, float | int):
            table.add_row(name, f"{value:,.1f}")
    console = Console(width=110)
    console.print(absolute["machine"])
    console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The tables of deploy/performance.md and README.md: what a run measured, beside what others did.

A row that this run did not measure stays as it was, so parts can be measured one by one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tests.bench.targets import TARGETS

_BEGIN: Final = "<!-- bench: {} -->"
_END: Final = "<!-- bench ends -->"
_ROW: Final = re.compile(r"^\| `(\w+)` \|.*$", re.MULTILINE)

_RATIOS: Final = "| ratio | target | measured | | what |\n|---|---|---|---|---|"
_SHORT: Final = "| ratio | target | measured | what |\n|---|---|---|---|"
_ABSOLUTE: Final = "| figure | value |\n|---|---|"


def whole(page: str, ratios: Mapping[str, float], absolute: Mapping[str, float | str]) -> str:
    """deploy/performance.md with what was measured now; raises ValueError where a mark lacks."""
    measured = {name: _ratio_row(name, value) for name, value in ratios.items()}
    figures = {
        name: f"| `{name}` | {_figure(value)} |"
        for name, value in absolute.items()
        if not isinstance(value, str)
    }
    page = _between(page, "machine", str(absolute["machine"]))
    page = _between(page, "ratios", _rows(page, "ratios", measured, _RATIOS, TARGETS))
    kept = _names(page, "absolute")
    order = [*kept, *(name for name in figures if name not in kept)]
    return _between(page, "absolute", _rows(page, "absolute", figures, _ABSOLUTE, order))


def short(page: str, ratios: Mapping[str, float]) -> str:
    """README.md with what was measured now; raises ValueError where a mark lacks."""
    measured = {
        name: f"| `{name}` | {TARGETS[name]} | {value:.2f} | {TARGETS[name].what} |"
        for name, value in ratios.items()
    }
    return _between(page, "ratios", _rows(page, "ratios", measured, _SHORT, TARGETS))


def _ratio_row(name: str, value: float) -> str:
    target = TARGETS[name]
    reached = "reached" if target.reached(value) else "missed"
    return f"| `{name}` | {target} | {value:.2f} | {reached} | {target.what} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _rows(
    page: str, section: str, measured: Mapping[str, str], head: str, order: Iterable[str]
) -> str:
    kept = {row[1]: row[0] for row in _ROW.finditer(_section(page, section)[1])}
    rows = {**kept, **measured}
    return "\n".join([head, *(rows[name] for name in order if name in rows)])


def _names(page: str, section: str) -> list[str]:
    return _ROW.findall(_section(page, section)[1])


def _between(page: str, section: str, text: str) -> str:
    before, _, after = _section(page, section)
    return f"{before}\n\n{text}\n\n{after}"


def _section(page: str, section: str) -> tuple[str, str, str]:
    begin = page.index(mark := _BEGIN.format(section)) + len(mark)
    end = page.index(_END, begin)
    return page[:begin], page[begin:end], page[end:]

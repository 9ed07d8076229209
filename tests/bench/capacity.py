"""What so many districts need, worked out from measured figures: rows, bytes, processors, pods.

``python -m tests.bench.capacity`` writes the tables of deploy/performance.md and deploy/README.md
anew from the figures and assumptions that stand in deploy/performance.md.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.daemon import pool_size
from consumer.settings import Settings

PAGE: Final = Path("deploy/performance.md")
GUIDE: Final = Path("deploy/README.md")
SIZES: Final = (1_000, 10_000, 100_000)
"""Districts, in deploy/performance.md."""

_FIGURE: Final = re.compile(r"^\| `(\w+)` \| ([\d,.]+) \|", re.MULTILINE)
_DAY: Final = 86_400


@dataclass(frozen=True)
class Need:
    """What ``districts`` of the assumed size need; seconds are of one processor."""

    districts: int
    results: float
    requests: float
    events: float
    rows: float
    stored: float
    wal: float
    busiest_events_per_s: float
    in_flight: float
    daemon_seconds: float
    postgres_seconds: float
    daemon_cores: float
    postgres_cores: float
    pods: int
    connections: int
    partitions: int


def figures(page: str) -> dict[str, float]:
    """Every figure of the section, by name, measured or assumed."""
    _, section, _ = _between(page, "figures")
    return {name: float(value.replace(",", "")) for name, value in _FIGURE.findall(section)}


def need(districts: int, of: Mapping[str, float], least_pods: int = 2) -> Need:
    """The arithmetic; docs in deploy/performance.md say it in words."""
    results = districts * of["students"] * of["grades"]
    events = results * of["events"]
    window = of["window_h"] * 3_600
    rows = results * of["nights"]
    busiest = events * of["busiest_hour"] / 3_600
    # The busiest hour of intake and the window of the nights do not fall together.
    daemon_cores = max(results * of["flush_us"] / 1e6 / window, busiest * of["intake_us"] / 1e6)
    postgres_cores = max(
        results * of["flush_postgres_us"] / 1e6 / window,
        busiest * of["intake_postgres_us"] / 1e6,
    )
    pods = max(least_pods, math.ceil(daemon_cores / of["busy"]))
    return Need(
        districts=districts,
        results=results,
        requests=results * (1 + 1 / of["results_of_an_item"]),
        events=events,
        rows=rows,
        stored=rows * of["stored_bytes"],
        wal=events * of["intake_wal_bytes"] + results * of["flush_wal_bytes"],
        busiest_events_per_s=busiest,
        in_flight=results / window * of["answer_ms"] / 1e3,
        daemon_seconds=(events * of["intake_us"] + results * of["flush_us"]) / 1e6,
        postgres_seconds=(events * of["intake_postgres_us"] + results * of["flush_postgres_us"])
        / 1e6,
        daemon_cores=daemon_cores,
        postgres_cores=postgres_cores,
        pods=pods,
        connections=pods * pool_size(Settings.model_fields["max_concurrent_districts"].default),
        partitions=12 * math.ceil(pods / 12),
    )


def page_with_needs(page: str) -> str:
    """deploy/performance.md with its table of needs worked out from the figures in it."""
    needs = [need(districts, figures(page)) for districts in SIZES]
    rows = [
        ("districts", [f"{one.districts:,}" for one in needs]),
        ("results a night", [_count(one.results) for one in needs]),
        ("requests to Skyward a night", [_count(one.requests) for one in needs]),
        ("of them in flight at once", [f"{one.in_flight:,.0f}" for one in needs]),
        ("events a day", [_count(one.events) for one in needs]),
        (
            "events a second in the busiest hour",
            [_count(one.busiest_events_per_s) for one in needs],
        ),
        ("grades kept", [_count(one.rows) for one in needs]),
        ("in Postgres, with indexes and history", [_bytes(one.stored) for one in needs]),
        ("WAL a day", [_bytes(one.wal) for one in needs]),
        ("processor a day, the daemon's", [_hours(one.daemon_seconds) for one in needs]),
        ("processor a day, Postgres'", [_hours(one.postgres_seconds) for one in needs]),
        ("cores at the busiest, the daemon's", [f"{one.daemon_cores:.1f}" for one in needs]),
        ("cores at the busiest, Postgres'", [f"{one.postgres_cores:.1f}" for one in needs]),
        ("pods of one core", [f"{one.pods:,}" for one in needs]),
        ("connections at the most", [f"{one.connections:,}" for one in needs]),
        ("partitions of a topic", [f"{one.partitions:,}" for one in needs]),
    ]
    (name, head), *rest = rows
    lines = [f"| {name} | {' | '.join(head)} |", f"|---|{'---:|' * len(head)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rest]
    return _put(page, "needs", "\n".join(lines))


def guide_with_needs(guide: str, page: str) -> str:
    """deploy/README.md with what the chart's three examples are made for."""
    of = figures(page)
    lines = [
        (
            "| districts | replicas | processor of one, busiest | memory of one | in Postgres"
            " | Postgres' processor, busiest | WAL a day | partitions | connections |"
        ),
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for districts, replicas in _EXAMPLES:
        one = need(districts, of, replicas)
        lines.append(
            f"| {districts:,} | {one.pods} | {_cores(one.daemon_cores / one.pods)}"
            f" | {of['memory_mib']:,.0f} MiB | {_bytes(one.stored)} | {_cores(one.postgres_cores)}"
            f" | {_bytes(one.wal)} | {one.partitions} | {one.connections} |"
        )
    return _put(guide, "capacity", "\n".join(lines))


_EXAMPLES: Final = ((1, 1), (100, 2), (10_000, 6))
"""Districts and replicas of helm/skyward-passback/examples."""


def _count(value: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if value >= size:
            return f"{value / size:,.3g} {unit}"
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if value >= size:
            return (
                f"{value / size:,.2g} {unit}"
                if value < 100 * size
                else f"{value / size:,.0f} {unit}"
            )
    return f"{value / 1e6:,.0f} MB"


def _hours(seconds: float) -> str:
    return f"{seconds / 3_600:,.1f} h" if seconds >= 3_600 else f"{seconds / 60:,.0f} min"


def _cores(value: float) -> str:
    return f"{value:.1f} cores" if value >= 0.1 else f"{value * 1e3:.1f} millicores"


def _put(page: str, section: str, table: str) -> str:
    before, _, after = _between(page, section)
    return f"{before}\n\n{table}\n\n{after}"


def _between(page: str, section: str) -> tuple[str, str, str]:
    """Before, within and after the marks of a section; ValueError where there are none."""
    begin = page.index(mark := f"<!-- capacity: {section} -->") + len(mark)
    end = page.index("<!-- capacity ends -->", begin)
    return page[:begin], page[begin:end], page[end:]


if __name__ == "__main__":
    PAGE.write_text(page_with_needs(PAGE.read_text()))
    GUIDE.write_text(guide_with_needs(GUIDE.read_text(), PAGE.read_text()))

"""Every ratio of bench.json with what it is to reach, and the check against recorded ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Target:
    """Where a ratio is to lie; ``more_is_better`` says which way is good."""

    bound: float
    more_is_better: bool
    what: str

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.more_is_better else value <= self.bound

    def halved(self, value: float, recorded: float) -> bool:
        """Whether ``value`` is half as good as ``recorded``, or worse."""
        return value <= recorded / 2 if self.more_is_better else value > 2 * recorded

    def __str__(self) -> str:
        return f"{'>=' if self.more_is_better else '<='} {self.bound:g}"


TARGETS: Final[Mapping[str, Target]] = {
    "intake_vs_bare": Target(0.8, True, "events/s, to getmany + msgspec + COPY and upsert"),
    "intake_vs_faststream": Target(1.8, True, "events/s, to FastStream's batch handler"),
    "intake_mib": Target(100, False, "MiB RSS at most, first intake and replay"),
    "flush_vs_bare": Target(0.6, True, "results/s, to a bare loop on the aiohttp transport"),
    "flush_vs_aiohttp": Target(0.5, True, "results/s, to aiohttp's claim -> PUT -> settle"),
    "flush_many_vs_one": Target(1.0, True, "results/s of many districts, to one"),
    "memory_mib_1m": Target(200, False, "MiB RSS at most, a night of a million pending"),
    "growth_10m_vs_100k": Target(1.2, False, "time a result, 10 M settled rows to 100 k"),
    "growth_rows_read": Target(1.2, False, "rows Postgres reads a result, 10 M settled to 100 k"),
    "neighbours": Target(1.1, False, "the others' end with a bad district, to without"),
    "replay_vs_intake": Target(1.5, True, "events/s when nothing changes, to first intake"),
    "idle_rows_touched": Target(0, False, "rows written in a night with nothing to do"),
    "two_processes_vs_one": Target(1.7, True, "events/s of two processes (where cores allow)"),
}
"""In the order of the table."""


def fallen(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """A sentence for each ratio that is at most half as good as the recorded one."""
    return [
        f"{name} is {value:.2f}, and {recorded[name]:.2f} was recorded"
        for name, value in ratios.items()
        if name in recorded and TARGETS[name].halved(value, recorded[name])
    ]

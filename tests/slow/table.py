"""The table of deploy/reliability.md: a row a fault, kept from run to run, written by its test."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

FILE = Path(__file__).parents[2] / "deploy" / "reliability.md"

_HEAD = """\
# Reliability: each fault, and what it cost

Written by `make test-slow`, which ends each fault with a judgement of everything that Skyward
received; a row is written anew by its own test. *Lost* and *doubled* count values over all rounds
and must be 0. *Repeated* counts writes that Skyward took once more after an outcome that was
unknown, which changes nothing. *Recovered* is the longest of all rounds, from the end of the fault.
"""
_COLUMNS = "| fault | rounds | lost | doubled | repeated | recovered | how it was seen |"


@dataclass(frozen=True)
class Row:
    """``recovered`` is in seconds; None where the fault has no end to count from."""

    fault: str
    rounds: int
    lost: int
    doubled: int
    repeated: int
    recovered: float | None
    seen: str

    def line(self) -> str:
        recovered = "" if self.recovered is None else f"{self.recovered:.1f} s"
        cells = [self.fault, self.rounds, self.lost, self.doubled, self.repeated, recovered]
        return "| " + " | ".join(str(cell) for cell in [*cells, self.seen]) + " |"


@dataclass
class Table:
    """The file's lines by fault, in the order of the faults' names."""

    lines: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Self:
        found = FILE.read_text().splitlines() if FILE.exists() else []
        rows = [line for line in found if re.match(r"\| (?!fault |---)", line)]
        return cls({line.split("|")[1].strip(): line for line in rows})

    def add(self, row: Row) -> None:
        """Keeps the row; fails where something was lost or doubled."""
        self.lines[row.fault] = row.line()
        assert (row.lost, row.doubled) == (0, 0), row

    def write(self) -> None:
        rule = "|" + "---|" * len(fields(Row))
        rows = [self.lines[fault] for fault in sorted(self.lines)]
        FILE.write_text("\n".join([_HEAD, _COLUMNS, rule, *rows]) + "\n")

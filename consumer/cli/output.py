"""What commands print: JSON that follows the contract, and tables of at most 100 columns.

Titles and ids come from outside. What a terminal would obey, what turns the order of the text
around it, and what nobody could see are shown by their numbers instead.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH: Final = 100

# Letters and marks that are drawn as nothing; all else that is not seen is not printable either.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7e]")
_JSON: Final = msgspec.json.Encoder(decimal_format="number")


def escaped(text: str) -> str:
    """``text`` in one line as a terminal and a spreadsheet may show it."""
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(c if c.isprintable() and not _UNSEEN.match(c) else _as_escape(c) for c in text)


def _as_escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def emit_json(value: object) -> None:
    """One JSON document: instants are RFC 3339 in UTC, decimals exact numbers, all ASCII."""
    text = msgspec.json.format(_JSON.encode(value), indent=2).decode()
    sys.stdout.write(_NOT_ASCII.sub(_as_json_escape, text) + "\n")


def _as_json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def number(value: Decimal | None) -> int | Decimal | None:
    """A score as people write it: 8.00 is 8."""
    if value is None:
        return None
    if value == value.to_integral_value():
        return int(value)
    return Decimal(format(value.normalize(), "f"))


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(escaped(text) + "\n")


def warn(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(escaped(text) + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table; a column whose name ends with ``#`` is aligned right. ``empty`` where no rows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        right = name.endswith("#")
        table.add_column(name.rstrip("#"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(one)) for one in row))
    if table.row_count:
        _print(table)
    else:
        say(empty)


def show_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and what they are, one a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, Text(_cell(value)))
    _print(grid)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escaped(str(value))


def local(at: datetime | None, zone: ZoneInfo) -> str:
    """An instant as people in ``zone`` read it."""
    return "-" if at is None else at.astimezone(zone).strftime("%a %Y-%m-%d %H:%M:%S %Z")


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Says on stderr, where that is a terminal, what takes a while; yields how to say more."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None
        return
    with console.status(Text(escaped(what))) as status:
        yield lambda step: status.update(Text(escaped(f"{what}: {step}")))


def _print(table: Table) -> None:
    console = Console(markup=False, highlight=False, emoji=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    with console.capture() as drawn:
        console.print(table)
    # Without the blanks that fill a table's lines, what is copied from it is what it says.
    sys.stdout.write("".join(line.rstrip() + "\n" for line in drawn.get().splitlines()))

"""``report --csv``: a row a grade, safe to open in a spreadsheet."""

import csv
import re
import sys
from typing import Final

from consumer.cli.output import escaped
from consumer.gradebook import RunReport
from consumer.store.connection import Pool
from consumer.store.explaining import RunGrade, grades_of_run

COLUMNS: Final = (
    "service_date",
    "assessment",
    "class",
    "student",
    "title",
    "outcome",
    "reason",
    "detail",
    "score",
    "origin",
    "at",
)

# In all the widths that spreadsheets read, also behind what an import may strip: spaces, quotes.
_BEGINS: Final = "[\\s'\"]*[=+@\uff1d\uff0b\uff0d\uff20\u2212-]"
_FORMULA: Final = re.compile(_BEGINS)
# Where a comma is the decimal sign, cells are split at semicolons, whatever the quotes say.
_FORMULA_BEHIND: Final = re.compile(f";(?={_BEGINS})")


async def write_csv(pool: Pool, report: RunReport) -> None:
    """Writes the grades that the run decided or sent to stdout, in key order."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    async for page in grades_of_run(pool, report):
        writer.writerows(_row(report, one) for one in page)


def safe_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula, and no terminal for a command."""
    text = "" if value is None else _FORMULA_BEHIND.sub(";'", escaped(str(value)))
    return f"'{text}" if _FORMULA.match(text) else text


def _row(report: RunReport, one: RunGrade) -> list[str]:
    return [
        safe_cell(value)
        for value in (
            report.service_date.isoformat(),
            *one.key,
            one.title,
            one.outcome,
            one.reason,
            one.detail,
            one.score,
            one.origin,
            one.at.isoformat(),
        )
    ]

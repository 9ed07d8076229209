"""Names and ids that mean harm, through intake and every command that shows them."""

import csv
import io
import re

import pytest

from consumer.gradebook import Kind, Reason
from tests.integration.operators import Operator
from tests.integration.test_cli import grade, quiz, ran, recorded, settled, unreadable

TITLE = "=HYPERLINK(A1)\x1b[2J\u202e\u200b\U000e0041 \u2066x"
STUDENT = "=cmd|' /C calc'!A0\u202e"
COMMANDS = (
    *(("report",), ("report", "--csv"), ("runs",), ("forecast",), ("zeros",), ("cutoffs",)),
    *(("explain", "--assessment", "a-1"), ("explain", "--assessment", "a-1", "--student", STUDENT)),
    *(("district", "show"), ("explain", "--assessment", f"none{TITLE.replace(chr(27), '')}")),
)
_SEEN = re.compile(
    r"[^\x1b\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\U000e0041]*"
)


@pytest.fixture
def hostile(operator: Operator) -> Operator:
    operator.apply(name="Lakeside \u202e\u200bSchools \U000e0041")
    changes = quiz(title=TITLE), grade(STUDENT), grade("s-2", "8.5")
    recorded(
        operator,
        *changes,
        wait=(unreadable(7, f"lakeside/a-1/c-7/{STUDENT}".encode(), TITLE.encode()),),
    )
    ran(
        operator,
        settled(STUDENT, Kind.POST, score=8),
        settled("s-2", Kind.SKIP, Reason.SCORE_NOT_WHOLE),
    )
    return operator


@pytest.mark.parametrize("as_json", [False, True])
def test_no_command_lets_them_reach_the_terminal(hostile: Operator, as_json: bool) -> None:
    others = (
        ("district", "list"),
        ("quarantine", "list"),
        ("quarantine", "show", "1", "--payload"),
    )
    shown = []
    for command in COMMANDS:
        at = 2 if command[0] == "district" else 1
        words = (*command[:at], "lakeside", *command[at:])
        shown.append((*words, "--json") if as_json and "--csv" not in words else words)
    for words in (*shown, *((*one, "--json") if as_json else one for one in others)):
        hostile.passback(*words)
        assert _SEEN.fullmatch(hostile.said + hostile.told), words
        assert hostile.said + hostile.told


def test_a_spreadsheet_opens_a_report_without_a_formula(hostile: Operator) -> None:
    assert hostile.passback("report", "lakeside", "--csv") == 0
    rows = list(csv.reader(io.StringIO(hostile.said)))
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(rows[0])}
    cells = [cell for row in rows for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert any("calc" in cell for cell in cells)
    assert [cell for cell in cells if re.match(r"\s*[=+@\t\r-]", cell)] == []
    assert all(cell.isprintable() for cell in cells)

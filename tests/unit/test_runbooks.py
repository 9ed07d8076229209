"""Runbooks and the guide: a runbook for each alert, and commands that exist as they are written."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from consumer.cli.app import app
from tests.unit.test_alerts import RULES
from tests.unit.test_dashboards import PANELS

FOLDER = Path(__file__).parents[2] / "deploy/runbooks"
RUNBOOKS = sorted(file for file in FOLDER.glob("*.md") if file.stem != "README")
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PANEL = re.compile(r'(Overview|District|Internals), "([^"]+)"')


def _commands() -> set[str]:
    """Every passback command, in blocks and in running text."""
    found = set()
    for file in (FOLDER.parent / "README.md", *FOLDER.glob("*.md")):
        text = file.read_text()
        lines = [line for block in _BLOCK.findall(text) for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))
        for line in lines:
            if match := re.search(r"(?:^|-- )passback (.*)", line):
                found.add(match[1].partition(" > ")[0])
    return found


COMMANDS = sorted(_commands())


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert [file.stem for file in RUNBOOKS] == sorted(RULES)
    index = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(RULES)


@pytest.mark.parametrize("file", RUNBOOKS, ids=lambda f: f.stem)
def test_a_runbook_has_its_four_parts_and_a_command_to_diagnose_with(file: Path) -> None:
    text = file.read_text()
    severity = RULES[file.stem]["labels"]["severity"].capitalize()
    assert text.startswith(f"# {file.stem}\n\n{severity}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Meaning",
        "Impact",
        "Diagnosis",
        "Mitigation",
    ]
    diagnosis = text.partition("## Diagnosis")[2].partition("## Mitigation")[0]
    assert "passback " in diagnosis
    for other in re.findall(r"\]\((\w+\.md)\)", text):
        assert (FOLDER / other).exists(), other


@pytest.mark.parametrize("file", RUNBOOKS, ids=lambda f: f.stem)
def test_a_panel_that_a_runbook_names_is_there(file: Path) -> None:
    for board, title in _PANEL.findall(file.read_text()):
        assert f"{board.lower()}/{title}" in PANELS


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists_and_takes_these_arguments(command: str) -> None:
    arguments = shlex.split(command)
    found: Any = typer.main.get_command(app)
    names: list[str] = []
    while isinstance(found, TyperGroup):
        context = found.make_context("passback", ["--help"], resilient_parsing=True)
        name, found, arguments = found.resolve_command(context, arguments)
        assert found is not None, command
        names.append(str(name))
    # Parses and runs nothing; an option that is unknown or an argument too many fails.
    with found.make_context(names[-1], arguments):
        pass
    told = CliRunner().invoke(app, [*names, "--help"])
    assert told.exit_code == 0, told.output

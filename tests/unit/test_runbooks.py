"""Runbooks and the guide: a runbook for each alert, and commands that exist as they are written."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

from consumer.cli.app import app
from tests.unit.test_alerts import RULES
from tests.unit.test_dashboards import PANELS

FOLDER = Path(__file__).parents[2] / "deploy/runbooks"
RUNBOOKS = sorted(file for file in FOLDER.glob("*.md") if file.stem != "README")
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_KUBECTL = sorted(
    {
        line
        for file in (FOLDER.parent / "README.md", *FOLDER.glob("*.md"))
        for block in _BLOCK.findall(file.read_text())
        for line in block.splitlines()
        if "kubectl " in line
    }
)
_GOLDEN = FOLDER.parents[1] / "tests/chart/golden"
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


def test_a_kubectl_command_finds_the_pods_whatever_the_release_is_called() -> None:
    """A release named passback makes deployment/passback-skyward-passback, or a StatefulSet."""
    assert len(_KUBECTL) > 5
    for line in _KUBECTL:
        assert not re.search(r"\b(deploy|deployment|statefulset|pods?)/", line), line


@pytest.mark.parametrize("example", sorted(_GOLDEN.glob("*.yaml")), ids=lambda f: f.stem)
def test_a_kubectl_command_names_labels_and_containers_that_the_chart_makes(example: Path) -> None:
    (workload,) = [
        one
        for one in yaml.safe_load_all(example.read_text())
        if one["kind"] in ("Deployment", "StatefulSet")
    ]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    spec = workload["spec"]["template"]["spec"]
    # Of the two init containers each is there where the values ask for it.
    containers = {one["name"] for one in spec["containers"]} | {"migrate", "districts"}
    assert {one["name"] for one in spec["initContainers"]} <= containers
    for line in _KUBECTL:
        for selector in re.findall(r"(?:-l|--selector) (\S+)", line):
            for pair in selector.split(","):
                name, _, value = pair.partition("=")
                assert labels.get(name) == value, line
        for container in re.findall(r"(?:-c|--container) (\S+)", line):
            assert container in containers, line


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

"""deploy/security.md: every claim names a test; every test, file and command it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy/security.md").read_text()
NAMED = sorted(set(re.findall(r"(tests/[a-z_/]+\.py)::(test_\w+)", PAGE)))


@cache
def _tests_in(file: str) -> frozenset[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in nodes if isinstance(node, functions))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert test in _tests_in(file)


def test_every_claim_names_where_it_is_enforced_and_what_shows_it() -> None:
    table = PAGE.split("| claim |")[1].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) > 15
    for claim, where, shown in rows:
        assert "::test_" in shown, claim
        for path in re.findall(r"`((?:consumer|helm)/[^`]+)`", where):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`passback ([a-z -]+?)`", PAGE))))
def test_a_command_that_the_page_names_exists(command: str) -> None:
    words = [word for word in command.split() if not word.startswith("-")]
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


def test_the_settings_that_the_page_names_exist() -> None:
    from consumer.settings import Settings, variable

    known = {variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"PASSBACK_[A-Z_]+", PAGE)) <= known

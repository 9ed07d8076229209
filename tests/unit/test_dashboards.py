"""Dashboards: the JSON is what the code says, and every panel can be read and asked."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.dashboards.__main__ import BOARDS, as_json
from tests.unit.queries import unknown

FOLDER = Path(__file__).parents[2] / "helm/skyward-passback/files/dashboards"
_RANGE = re.compile(r"\[([^\]]+)\]")


def shown(name: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


PANELS = {
    f"{name}/{panel['title']}": panel
    for name in BOARDS
    for panel in shown(name)["panels"]
    if panel["type"] != "row"
}


@pytest.mark.parametrize("name", BOARDS)
def test_the_json_is_what_the_code_says(name: str) -> None:
    told = "run: make dashboards"
    assert (FOLDER / f"{name}.json").read_text() == as_json(name), told


def test_there_are_three_dashboards_and_each_has_its_own_address() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(BOARDS)
    assert len(BOARDS) == 3
    addresses = {shown(name)["uid"] for name in BOARDS}
    assert addresses == {f"skyward-passback-{name}" for name in BOARDS}
    assert all(len(address) <= 40 for address in addresses)


@pytest.mark.parametrize("name", BOARDS)
def test_the_data_source_is_a_variable_and_panels_do_not_overlap(name: str) -> None:
    board = shown(name)
    variables = [one["name"] for one in board["templating"]["list"]]
    assert variables[:2] == ["datasource", "job"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "table":
        columns = [
            one for one in panel["fieldConfig"]["overrides"] if one["properties"][0]["id"] == "unit"
        ]
        assert len(columns) == len(panel["targets"])


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())
def test_a_query_asks_the_chosen_source_for_what_the_daemon_exports(panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    for target in panel["targets"]:
        query = target["expr"]
        assert target["datasource"]["uid"] == "${datasource}"
        assert 'job=~"$job"' in query
        # A rate is over what Grafana finds fit; a total is a day's.
        assert set(_RANGE.findall(query)) <= {"$__rate_interval", "1d"}
        asked = query.replace("$__rate_interval", "5m").replace("$job", ".+")
        assert unknown(asked) == []


def test_a_counter_is_only_asked_for_its_growth() -> None:
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            for counter in re.finditer(r"(\w+\(|\w+ )?(passback_\w+_total)\b", target["expr"]):
                assert (counter[1] or "").rstrip("(") in ("rate", "increase"), (title, counter[0])

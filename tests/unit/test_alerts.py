"""Alerts: each asks for what exists, says what to do, and is tested to fire, not fire, resolve.

What they do in time is tested by promtool: ``make watch``.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.queries import unknown

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "helm/skyward-passback/files/alerts").glob("*.yaml"))
RUNBOOKS = "https://example.com/skyward-passback/runbooks"


def _rules() -> dict[str, dict[str, Any]]:
    found = {}
    for file in FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            assert group["name"] == f"skyward-passback.{file.stem}"
            for rule in group["rules"]:
                assert rule["labels"] == {"severity": file.stem}
                found[rule["alert"]] = rule
    return found


RULES = _rules()


def _tests() -> dict[str, list[tuple[str, bool]]]:
    """For each alert, at which moments it is expected to fire or not, test by test."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for file in sorted((ROOT / "tests/watch/alerts").glob("*.yaml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                told = found.setdefault(check["alertname"], [])
                told.append((test["name"], bool(check["exp_alerts"])))
    return found


def test_a_query_for_what_nobody_exports_is_found_out() -> None:
    query = 'sum(rate(passback_grade_posted_total[5m])) / max(passback_zeros_held{reason="x"})'
    assert unknown(query) == [
        "passback_zeros_held has no label reason",
        "no metric passback_grade_posted_total",
    ]


def test_there_are_six_pages_and_eight_tickets() -> None:
    severities = [rule["labels"]["severity"] for rule in RULES.values()]
    assert (severities.count("page"), severities.count("ticket")) == (6, 8)


@pytest.mark.parametrize("name", RULES)
def test_an_alert_asks_only_for_what_the_daemon_exports(name: str) -> None:
    assert unknown(RULES[name]["expr"]) == []


@pytest.mark.parametrize("name", RULES)
def test_an_alert_says_what_happened_and_where_its_runbook_is(name: str) -> None:
    annotations = RULES[name]["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["summary"].endswith((".", ")."))
    assert annotations["runbook_url"] == f"{RUNBOOKS}/{name}.md"


@pytest.mark.parametrize("name", RULES)
def test_promtool_sees_an_alert_silent_then_firing_then_resolved(name: str) -> None:
    by_test: dict[str, str] = {}
    for test, fires in _tests()[name]:
        by_test[test] = by_test.get(test, "") + ("!" if fires else ".")
    assert any(story.lstrip(".").startswith("!.") and story[0] == "." for story in by_test.values())

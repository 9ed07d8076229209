"""The reference of reasons, the rules, and the labels of the metrics are one closed set."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from consumer.cli.reasons import markdown
from consumer.gradebook import Reason
from consumer.metrics import Metrics
from consumer.rules import RULES

PAGE = Path(__file__).parents[2] / "deploy" / "reasons.md"


def test_the_page_is_what_the_tables_say_now() -> None:
    assert PAGE.read_text() == "\n".join(markdown()) + "\n", "run 'make reasons'"


def test_the_page_has_every_reason_once_under_its_kind() -> None:
    _, *kinds = re.split(r"^## (?=skip|hold|reject|defer)", PAGE.read_text(), flags=re.MULTILINE)
    found = {
        kind.split("\n")[0]: re.findall(r"^\| `(\w+)` \|", kind, re.MULTILINE) for kind in kinds
    }
    expected: dict[str, list[str]] = {}
    for reason in Reason:
        expected.setdefault(reason.kind, []).append(reason)
    assert found == expected


def test_every_label_of_the_metrics_is_on_the_page_and_every_reason_is_a_label() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, per_district=True)
    metrics.add_district("lakeside")
    text = generate_latest(registry).decode()
    shown = set(re.findall(r'passback_grades_\w+\{[^}]*reason="(\w+)"', text))
    # What is deferred is no grade that was settled: it stays pending.
    assert shown == {r.value for r in Reason if r.kind.value in ("skip", "hold", "reject")}
    assert shown <= set(re.findall(r"`(\w+)`", PAGE.read_text()))


def test_every_rule_has_a_reason_of_its_own() -> None:
    codes = [rule.code for rule in RULES]
    assert len(codes) == len(set(codes))

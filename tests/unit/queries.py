"""What a PromQL query asks for, by a parser of PromQL: the metrics and labels it names."""

from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser
from prometheus_client import CollectorRegistry

from consumer.metrics import Metrics

# What every scrape adds, and the daemon's own registry does not know.
SCRAPED = {"job", "instance"}


@dataclass(frozen=True)
class Selected:
    """One selector of a query: its metric, the labels it matches on and what they must be."""

    metric: str
    matchers: dict[str, str]


def selectors(query: str) -> Iterator[Selected]:
    """Every metric selector of the query; raises ``ValueError`` where it is no PromQL."""
    pending = [promql_parser.parse(query)]
    while pending:
        node = pending.pop()
        match node:
            case promql_parser.VectorSelector():
                matchers = {m.name: m.value for m in node.matchers.matchers}
                assert node.name is not None, "a selector without a metric's name"
                yield Selected(node.name, matchers)
            case promql_parser.MatrixSelector():
                pending.append(node.vector_selector)
            case promql_parser.BinaryExpr():
                pending += [node.lhs, node.rhs]
            case promql_parser.Call():
                pending += node.args
            case promql_parser.AggregateExpr():
                pending.append(node.expr)
            case promql_parser.ParenExpr() | promql_parser.SubqueryExpr():
                pending.append(node.expr)
            case promql_parser.UnaryExpr():
                pending.append(node.expr)
            case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
                pass
            case _:
                raise AssertionError(f"a kind of PromQL that is not followed: {type(node)}")


def exported() -> dict[str, set[str]]:
    """The labels of each sample that a daemon with one district exports."""
    metrics = Metrics(CollectorRegistry(), per_district=True)
    metrics.add_district("lakeside")
    metrics.set_lag("grade-changed", 0, 0, None)
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def unknown(query: str) -> list[str]:
    """What the query names and no daemon exports."""
    known = exported()
    wrong = []
    for selected in selectors(query):
        if selected.metric not in known:
            wrong.append(f"no metric {selected.metric}")
            continue
        labels = selected.matchers.keys() - known[selected.metric] - SCRAPED
        wrong += [f"{selected.metric} has no label {label}" for label in sorted(labels)]
    return wrong

"""The chart as real Helm renders it, and the golden manifests.

``python -m tests.chart.rendering`` writes the manifests of every example anew, and the table of
values in the chart's README.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from tests.chart.readme import written

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "skyward-passback"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
GOLDEN = Path(__file__).parent / "golden"

Manifest = dict[str, Any]
Values = dict[str, Any]

# The least that renders: Kafka, and a Secret that is there.
LEAST: Values = {
    "kafka": {"bootstrapServers": ["kafka:9092"]},
    "credentials": {"existingSecret": {"name": "passback"}},
}


def read_values(file: Path) -> Values:
    """A values file as Helm reads it."""
    found: Values = helm.values_from_yaml(file.read_text())
    return found


def render(values: Mapping[str, Any], release: str = "passback") -> dict[str, str]:
    """Each template's text; raises ``helm.HelmError`` as ``helm template`` fails."""
    with helm.Chart.load(CHART) as chart:
        found: dict[str, str] = chart.render(dict(values), name=release, namespace="grades")
        return found


def manifests(values: Mapping[str, Any], release: str = "passback") -> list[Manifest]:
    """Every object that ``values`` make, by template's name."""
    return [
        one
        for path, text in sorted(render(values, release).items())
        if not path.endswith(".txt")
        for one in yaml.safe_load_all(text)
        if one
    ]


def only(values: Mapping[str, Any], kind: str) -> Manifest:
    """The one object of ``kind``."""
    (found,) = [one for one in manifests(values) if one["kind"] == kind]
    return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """``below`` with ``above`` over it, as Helm lays one file over another: null takes out."""
    both = deepcopy(dict(below))
    for key, value in above.items():
        if value is None:
            both.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(both.get(key), Mapping):
            both[key] = merged(both[key], value)
        else:
            both[key] = deepcopy(value)
    return both


def at(path: str, value: Any) -> Values:
    """``{"a": {"b": value}}`` for ``a.b``."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def pod_specs(objects: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's spec with the name of what makes it."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        elif one["kind"] in ("Deployment", "StatefulSet"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def golden(example: Path) -> str:
    """An example's manifests in one text, without what other files hold word for word."""
    objects = manifests(read_values(example))
    for one in objects:
        if one["kind"] == "PrometheusRule":
            one["spec"] = "as in files/alerts"
        if one["metadata"]["name"].startswith("passback-skyward-passback-") and any(
            name.endswith(".json") for name in one.get("data", {})
        ):
            one["data"] = "as in files/dashboards"
    return yaml.safe_dump_all(objects, sort_keys=False, width=100)


def main() -> None:
    """Writes the golden manifests, and the README's table."""
    readme = CHART / "README.md"
    readme.write_text(written(readme.read_text(), (CHART / "values.yaml").read_text()))
    for example in EXAMPLES:
        (GOLDEN / example.name).write_text(golden(example))


if __name__ == "__main__":
    main()

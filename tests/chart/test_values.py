"""values.yaml, its schema, the templates and the README say the same."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import available_timezones

import helm_python as helm
import pytest
from pydantic import ValidationError

from consumer.district import District
from consumer.district import Skyward as SkywardSettings
from consumer.settings import Settings, variable
from tests.chart.readme import documented, written
from tests.chart.rendering import CHART, LEAST, Values, at, manifests, merged, render

TEXT = (CHART / "values.yaml").read_text()
DEFAULTS: Values = helm.values_from_yaml(TEXT)
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = {
    file.relative_to(CHART).as_posix(): file.read_text()
    for file in sorted((CHART / "templates").rglob("*"))
    if file.is_file()
}

# A map that is the operator's own is one value, whatever it holds by default.
WHOLE = {"dashboards.labels", "credentials.externalSecret.remote.databaseUrl"}


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, Mapping) and value and here not in WHOLE:
            yield from leaves(value, here)
        else:
            yield here, value


LEAVES = dict(leaves(DEFAULTS))


def test_every_value_has_its_meaning_above_it() -> None:
    told = {path for path, _, _ in documented(TEXT)}
    ways = ("networkPolicy.skyward.except.ipv4", "networkPolicy.skyward.except.ipv6")
    missing = [path for path in LEAVES if path not in told and path not in ways]
    assert missing == []
    assert "networkPolicy.skyward.except" in told
    assert len(TEXT.splitlines()) < 400


def test_the_readme_has_the_table_of_these_values() -> None:
    readme = (CHART / "README.md").read_text()
    assert readme == written(readme, TEXT), "run make manifests"
    assert all(f"| `{path}` |" in readme for path, _, _ in documented(TEXT))


def test_names_are_camel_case() -> None:
    names = {name for path in LEAVES for name in path.split(".")}
    labels = {"grafana_dashboard"}
    assert [n for n in names - labels if not re.fullmatch(r"[a-z][a-zA-Z0-9]*", n)] == []


# -- templates ---------------------------------------------------------------------------------


def used() -> set[str]:
    text = re.sub(r"\{\{-? ?/\*.*?\*/ ?-?\}\}", "", "\n".join(TEMPLATES.values()), flags=re.DOTALL)
    return {path.rstrip(".") for path in re.findall(r"\.Values\.([A-Za-z0-9_.]+)", text)}


def test_every_value_that_a_template_uses_is_declared() -> None:
    declared = set(LEAVES)
    for path in LEAVES:
        parts = path.split(".")
        declared |= {".".join(parts[:i]) for i in range(1, len(parts))}
    assert used() - declared == set()
    assert len(used()) > 80


_METRIC = {"type": "External", "external": {"metric": {"name": "lag"}}}
_INLINE = {
    "production": False,
    "credentials": {
        "existingSecret": {"name": ""},
        "inline": {"databaseUrl": "postgresql://a@b/c", "sealingKey": "k", "kafkaPassword": "p"},
    },
}
_SASL = {
    "kafka": {
        "securityProtocol": "SASL_SSL",
        "sasl": {"mechanism": "PLAIN", "username": "passback"},
    }
}
_TLS = {"kafka": {"securityProtocol": "SSL"}}
_EXTERNAL = {
    "credentials": {
        "existingSecret": {"name": ""},
        "externalSecret": {
            "enabled": True,
            "store": {"name": "vault"},
            "remote": {
                "databaseUrl": {"key": "a"},
                "sealingKey": {"key": "b"},
                "kafkaPassword": {"key": "c"},
            },
        },
    }
}
_DISTRICTS = {
    "districts": {
        "enabled": True,
        "configMaps": ["some"],
        "credentials": {"existingSecret": "theirs"},
    }
}
_DISTRICTS_EXTERNAL = merged(
    _DISTRICTS,
    at(
        "districts.credentials",
        {
            "existingSecret": "",
            "externalSecret": {"enabled": True, "store": {"name": "v"}, "remoteKey": "d"},
        },
    ),
)
_FILE: dict[str, Any] = {
    "district": "lakeside",
    "name": "Lakeside",
    "timezone": "America/Chicago",
    "cutoff": "22:00",
    "effective_date": "2026-08-24",
    "skyward": {
        "base_url": "https://lakeside.example/",
        "token_url": "https://lakeside.example/token",
        "key_file": "lakeside.key",
        "secret_file": "lakeside.secret",
    },
    "categories": {"Quiz": "cat-test"},
}

_SKYWARD = {name: value for name, value in _FILE["skyward"].items() if not name.endswith("_file")}

# Another value than the default, where "another" is not plain, and what has to be true before.
OTHER: dict[str, Any] = {
    "production": False,
    "image.tag": "9.9.9",
    "image.digest": "sha256:" + "a" * 64,
    "image.pullPolicy": "Always",
    "image.pullSecrets": [{"name": "registry"}],
    "workload.kind": "StatefulSet",
    "kafka.bootstrapServers": ["other:9092"],
    "kafka.start": "latest",
    "kafka.securityProtocol": "SSL",
    "kafka.sasl.mechanism": "SCRAM-SHA-512",
    "daemon.logLevel": "debug",
    "daemon.logFormat": "console",
    "daemon.allowedNetworks": ["10.1.0.0/16"],
    "daemon.tracesTo": "http://collector:4318",
    "credentials.externalSecret.store.kind": "SecretStore",
    "credentials.externalSecret.refreshInterval": "5m",
    "credentials.inline.databaseUrl": "postgresql://other@b/c",
    "districts.credentials.externalSecret.store.kind": "SecretStore",
    "districts.credentials.externalSecret.refreshInterval": "5m",
    "districts.credentials.inline": {"lakeside.key": "k"},
    "districts.files": {"lakeside": _FILE},
    "districts.configMaps": ["others"],
    "districts.secrets": ["others"],
    "resources.requests.cpu": "2",
    "resources.memory": "3Gi",
    "autoscaling.horizontal.metrics": [_METRIC, _METRIC],
    "podMonitor.interval": "15s",
    "podMonitor.scrapeTimeout": "5s",
    "prometheusRule.runbooksUrl": "https://other.example/runbooks",
    "networkPolicy.skyward.except.ipv4": ["10.0.0.0/8"],
    "networkPolicy.skyward.except.ipv6": ["fc00::/7"],
    "networkPolicy.kafka.ports": [9092, 9093],
    "networkPolicy.skyward.ports": [8443],
    "topologySpread.whenUnsatisfiable": "DoNotSchedule",
    "extraEnv": [{"name": "MORE", "value": "1"}],
    "extraObjects": ["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}"],
    "tolerations": [{"key": "night"}],
    "affinity": {"nodeAffinity": {}},
    "networkPolicy.extraEgress": [{"ports": [{"port": 1}]}],
}
for _peers in ("metricsFrom", "dns.to", "postgres.to", "kafka.to"):
    OTHER[f"networkPolicy.{_peers}"] = [{"podSelector": {"matchLabels": {"a": "b"}}}]
for _name in ("databaseUrl", "sealingKey", "kafkaPassword"):
    OTHER[f"credentials.externalSecret.remote.{_name}"] = {"key": "other", "property": "p"}

NEEDS: dict[str, Values] = {
    "daemon.allowHttp": {"production": False},
    "kafka.sasl": _SASL,
    "kafka.ca": merged(_TLS, at("kafka.ca.secret", "ca")),
    "kafka.ca.configMap": _TLS,
    "kafka.ca.secret": _TLS,
    "credentials.existingSecret.keys": _SASL,
    "credentials.externalSecret": merged(_EXTERNAL, _SASL),
    "credentials.inline": merged(_INLINE, _SASL),
    "districts.files": _DISTRICTS,
    "districts.configMaps": _DISTRICTS,
    "districts.secrets": _DISTRICTS,
    "districts.credentials": _DISTRICTS,
    "districts.credentials.externalSecret": _DISTRICTS_EXTERNAL,
    "districts.credentials.inline": merged(
        _DISTRICTS,
        {
            "production": False,
            **at("districts.credentials", {"existingSecret": "", "inline": {"other.key": "k"}}),
        },
    ),
    "autoscaling.keda": at("autoscaling.keda.enabled", True),
    "autoscaling.horizontal": at("autoscaling.horizontal", {"enabled": True, "metrics": [_METRIC]}),
    "podMonitor": at("podMonitor.enabled", True),
    "prometheusRule": at("prometheusRule", {"enabled": True, "runbooksUrl": "https://a.example"}),
    "dashboards": at("dashboards.enabled", True),
}
# What is switched on needs the rest of what it switches on.
SWITCHES: dict[str, tuple[Values, Values]] = {
    "credentials.externalSecret.enabled": ({}, merged(_EXTERNAL, _SASL)),
    "districts.enabled": ({}, _DISTRICTS),
    "districts.credentials.externalSecret.enabled": (_DISTRICTS, _DISTRICTS_EXTERNAL),
    "autoscaling.horizontal.enabled": (
        {},
        at("autoscaling.horizontal", {"enabled": True, "metrics": [_METRIC]}),
    ),
    "prometheusRule.enabled": (
        {},
        at("prometheusRule", {"enabled": True, "runbooksUrl": "https://a.example"}),
    ),
}


def _needed(path: str) -> Values:
    if path.endswith(".enabled"):
        return {}
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        found = NEEDS.get(".".join(parts[:length]))
        if found is not None:
            return found
    return {}


def _another(path: str, default: Any) -> Any:
    if path in OTHER:
        return OTHER[path]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, str):
        return default + "other" if default else "other"
    if isinstance(default, Mapping):
        return {"other": "1"}
    return [{"name": "other", "mountPath": "/other", "emptyDir": {}}]


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_changes_what_is_rendered(path: str) -> None:
    """A value that no template uses, or uses where nobody sees it, is a defect."""
    if path in SWITCHES:
        before, after = (merged(LEAST, one) for one in SWITCHES[path])
    else:
        before = merged(LEAST, _needed(path))
        after = merged(before, at(path, _another(path, LEAVES[path])))
    assert render(before) != render(after)


# -- the schema --------------------------------------------------------------------------------


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        assert isinstance(found, dict)
        return found
    return schema


def test_the_schema_names_every_value_and_no_other() -> None:
    def compare(values: Mapping[str, Any], schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        assert set(schema["properties"]) - {"global"} == set(values), path
        for key, value in values.items():
            here = f"{path}.{key}" if path else key
            inner = _resolved(schema["properties"][key])
            if isinstance(value, Mapping) and value and here not in WHOLE:
                compare(value, inner, here)

    compare(DEFAULTS, SCHEMA, "")


def test_a_district_in_the_values_has_the_settings_of_a_district_file() -> None:
    """Keys come from files, so key_env and secret_env are not among them."""
    district = SCHEMA["$defs"]["district"]
    assert set(district["properties"]) == set(District.model_fields)
    assert set(district["properties"]["skyward"]["properties"]) == set(
        SkywardSettings.model_fields
    ) | {"key_file", "secret_file"}
    for name in ("rules", "zeros"):
        model = District.model_fields[name].annotation
        assert model is not None
        fields = getattr(model, "model_fields")  # noqa: B009 - typed as any type
        assert set(district["properties"][name]["properties"]) == set(fields)


def test_a_district_in_the_values_may_be_called_as_a_file_of_a_config_map_may() -> None:
    """An id is the districts' own, and opaque: Kubernetes' keys are the only bound."""
    taken = re.compile(SCHEMA["$defs"]["district"]["properties"]["district"]["pattern"])
    for name in ("lakeside", "Lakeside_ISD", "0b5e-77", "d.1-", "A"):
        assert taken.search(name), name
        District.model_validate(_FILE | {"district": name, "skyward": _SKYWARD})
    assert [name for name in ("..a", "a b", "-a", "a/b", "", "a" * 250) if taken.search(name)] == []


def test_every_zone_with_a_place_is_taken_and_a_cutoff_as_a_district_file_takes_it() -> None:
    district = SCHEMA["$defs"]["district"]["properties"]
    zone = re.compile(district["timezone"]["pattern"])
    places = {name for name in available_timezones() if "/" in name} | {"UTC"}
    assert [name for name in places if not zone.search(name)] == []
    cutoff = re.compile(district["cutoff"]["pattern"])
    times = [f"{h:02}:{m:02}" for h in range(26) for m in (0, 7, 59, 60)] + ["22:00:30", "9:00"]
    for one in times:
        try:
            District.model_validate(_FILE | {"cutoff": one, "skyward": _SKYWARD})
        except ValidationError:
            assert not cutoff.search(one), one
        else:
            assert cutoff.search(one), one


def test_each_setting_of_the_process_can_be_set() -> None:
    objects = manifests(merged(LEAST, merged(_SASL, at("workload.kind", "StatefulSet"))))
    objects += manifests(
        merged(
            LEAST,
            {
                **merged(_TLS, at("kafka.ca.secret", "ca")),
                "production": False,
                "daemon": {
                    "allowHttp": True,
                    "allowedNetworks": ["10.0.0.0/8"],
                    "tracesTo": "http://collector:4318",
                },
            },
        )
    )
    objects += manifests(merged(LEAST, at("kafka.start", "earliest")))
    set_here = {
        variable["name"].removesuffix("_FILE")
        for one in objects
        if one["kind"] in ("Deployment", "StatefulSet")
        for variable in one["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    wanted = {variable(name).removesuffix("_FILE") for name in Settings.model_fields}
    # It listens on every address: the pod's own.
    assert wanted - set_here == {"PASSBACK_HTTP_HOST"}
    assert set_here - wanted == {"OTEL_EXPORTER_OTLP_ENDPOINT"}

"""What the chart makes: lint, Kubernetes' schemas, the restricted standard, golden manifests."""

from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import (
    CHART,
    EXAMPLES,
    GOLDEN,
    LEAST,
    golden,
    manifests,
    merged,
    pod_specs,
    read_values,
)

NAMES = [example.name for example in EXAMPLES]
WARNING = 2


def _lowest() -> str:
    declared = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    return str(declared).removeprefix(">=").removesuffix(".0-0")


OLDEST, NEWEST = _lowest(), kubernetes_validate.latest_version()

# Of other people's controllers; Kubernetes' schemas know nothing of them.
CUSTOM = {
    "external-secrets.io/v1",
    "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1",
}
EVERYTHING = merged(
    LEAST,
    {
        "workload": {"kind": "StatefulSet"},
        "autoscaling": {
            "horizontal": {
                "enabled": True,
                "metrics": [
                    {
                        "type": "External",
                        "external": {
                            "metric": {"name": "lag"},
                            "target": {"type": "AverageValue", "averageValue": "20000"},
                        },
                    }
                ],
            }
        },
        "podMonitor": {"enabled": True},
        "dashboards": {"enabled": True},
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": '{{ include "passback.fullname" . }}-more'},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text",
        ],
        "tolerations": [{"key": "night", "operator": "Exists"}],
        "image": {"pullSecrets": [{"name": "registry"}]},
    },
)


def _values() -> list[tuple[str, dict[str, Any]]]:
    return [*((one.name, read_values(one)) for one in EXAMPLES), ("everything", EVERYTHING)]


@pytest.mark.parametrize(("name", "values"), [("defaults", {}), *_values()])
def test_lint_finds_nothing(name: str, values: dict[str, Any]) -> None:
    for version in (OLDEST, NEWEST):
        report = helm.lint(CHART, values, strict=True, kube_version=f"v{version}.0")
        found = [one for one in report["messages"] if one["severity"] >= WARNING]
        assert not found + report["errors"]


@pytest.mark.parametrize(("name", "values"), _values())
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object(name: str, values: dict[str, Any], version: str) -> None:
    seen = []
    for one in manifests(values):
        if one["apiVersion"] in CUSTOM:
            continue
        kubernetes_validate.validate(one, version, strict=True)
        seen.append(one["kind"])
    assert {"NetworkPolicy", "PodDisruptionBudget", "Pod", "ServiceAccount"} <= set(seen)


DIGITS: dict[str, Any] = {
    "kafka": {
        "securityProtocol": "SASL_SSL",
        "sasl": {"mechanism": "PLAIN", "username": "7"},
        "ca": {"secret": "8", "key": "9"},
    },
    "credentials": {
        "existingSecret": {
            "name": "1",
            "keys": {"databaseUrl": "2", "sealingKey": "3", "kafkaPassword": "4"},
        }
    },
    "districts": {
        "enabled": True,
        "configMaps": ["5"],
        "secrets": ["6"],
        "credentials": {"existingSecret": "7"},
    },
    "serviceAccount": {"name": "10"},
    "priorityClassName": "11",
    "autoscaling": {"keda": {"enabled": True}},
}
_VAULT: dict[str, Any] = {
    "enabled": True,
    "store": {"name": "1"},
}
DIGITS_FROM_A_STORE: dict[str, Any] = merged(
    DIGITS,
    {
        "kafka": {"ca": {"secret": "", "configMap": "8"}},
        "credentials": {
            "existingSecret": {"name": ""},
            "externalSecret": _VAULT
            | {
                "remote": {
                    "databaseUrl": {"key": "2"},
                    "sealingKey": {"key": "3"},
                    "kafkaPassword": {"key": "4"},
                }
            },
        },
        "districts": {
            "credentials": {
                "existingSecret": "",
                "externalSecret": _VAULT | {"remoteKey": "a: b # c"},
            }
        },
    },
)


def _numbers(node: Any, path: str = "") -> list[str]:
    """Where a whole number stands that no field of these objects would take one for."""
    if isinstance(node, dict):
        return [found for key, one in node.items() for found in _numbers(one, f"{path}.{key}")]
    if isinstance(node, list):
        return [found for one in node for found in _numbers(one, path)]
    field = path.rpartition(".")[2]
    named = {"name", "key", "secretName", "serviceAccountName", "priorityClassName"}
    return [path] if field in named and not isinstance(node, str) else []


@pytest.mark.parametrize("values", [DIGITS, DIGITS_FROM_A_STORE], ids=["secrets", "stores"])
def test_a_name_of_digits_stays_text(values: dict[str, Any]) -> None:
    """YAML reads an unquoted 1 as a number, and Kubernetes refuses that for a name."""
    objects = manifests(merged(LEAST, values), release="2026")
    assert {"Secret", "ConfigMap"} & {one["kind"] for one in objects} == set()
    for one in objects:
        assert _numbers(one) == []
        if one["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(one, OLDEST, strict=True)
        if one["kind"] == "ExternalSecret" and "dataFrom" in one["spec"]:
            assert one["spec"]["dataFrom"] == [{"extract": {"key": "a: b # c"}}]


def test_every_kind_is_known_to_kubernetes_or_to_a_controller_that_is_named() -> None:
    used = {one["apiVersion"] for _, values in _values() for one in manifests(values)}
    assert used - CUSTOM == {
        *("v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1"),
    }
    assert used >= CUSTOM


# -- the restricted Pod Security Standard ------------------------------------------------------

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}


def not_restricted(spec: dict[str, Any]) -> list[str]:
    """What of a pod the standard forbids (Kubernetes' documentation, Pod Security Standards)."""
    pod = spec.get("securityContext", {})
    wrong = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    wrong += [
        f"volume {volume['name']}"
        for volume in spec.get("volumes", [])
        if not (volume.keys() - {"name"}) <= VOLUMES
    ]
    for container in spec["containers"] + spec.get("initContainers", []):
        own = {**pod, **container.get("securityContext", {})}
        added = set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}
        checks = {
            "privileged": own.get("privileged", False),
            "escalation": own.get("allowPrivilegeEscalation") is not False,
            "root": own.get("runAsNonRoot") is not True or own.get("runAsUser") == 0,
            "capabilities": own.get("capabilities", {}).get("drop") != ["ALL"] or added,
            "seccomp": own.get("seccompProfile", {}).get("type")
            not in ("RuntimeDefault", "Localhost"),
            "proc": own.get("procMount", "Default") != "Default",
            "ports": any("hostPort" in port for port in container.get("ports", [])),
        }
        wrong += [f"{container['name']}: {what}" for what, found in checks.items() if found]
    return wrong


@pytest.mark.parametrize(("name", "values"), _values())
def test_every_pod_meets_the_restricted_standard_and_more(
    name: str, values: dict[str, Any]
) -> None:
    specs = list(pod_specs(manifests(values)))
    assert len(specs) == 2
    for _, spec in specs:
        assert not_restricted(spec) == []
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsUser"] == 65532
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            limits, requests = container["resources"]["limits"], container["resources"]["requests"]
            assert limits["memory"] == requests["memory"]
            assert "cpu" not in limits
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounted


@pytest.mark.parametrize(
    "harm",
    [
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        lambda spec: spec["securityContext"].update(runAsUser=0),
        lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"),
        lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda spec: spec["containers"][0]["ports"][0].update(hostPort=8080),
    ],
)
def test_the_check_of_the_standard_sees_what_is_forbidden(harm: Any) -> None:
    spec = dict(pod_specs(manifests(LEAST)))["passback-skyward-passback"]
    assert not_restricted(spec) == []
    harm(spec)
    assert not_restricted(spec)


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_the_manifests_are_the_golden_ones(example: Path) -> None:
    expected = (GOLDEN / example.name).read_text()
    assert golden(example) == expected, "run make manifests, and look at the difference"


def test_no_golden_manifest_is_left_over() -> None:
    assert sorted(file.name for file in GOLDEN.iterdir()) == NAMES

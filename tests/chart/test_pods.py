"""What the pods do: stopping, starting, probing, reading files; held against the daemon itself."""

import re
from pathlib import Path
from typing import Any

import certifi
import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from consumer import __version__, daemon
from consumer.cli.app import app
from consumer.district import read_district
from consumer.events import TOPICS
from consumer.metrics import Metrics
from consumer.settings import load
from tests.chart.rendering import CHART, EXAMPLES, LEAST, ROOT, at, manifests, merged, only, render
from tests.chart.rendering import read_values as example_values

ONE, TEN_THOUSAND = (
    CHART / "examples/one-district.yaml",
    CHART / "examples/ten-thousand-districts.yaml",
)
HUNDRED = CHART / "examples/hundred-districts.yaml"


def workload(values: dict[str, Any]) -> dict[str, Any]:
    (found,) = [one for one in manifests(values) if one["kind"] in ("Deployment", "StatefulSet")]
    spec = found["spec"]
    assert isinstance(spec, dict)
    return spec


def pod(values: dict[str, Any]) -> dict[str, Any]:
    spec = workload(values)["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def test_the_chart_is_of_the_version_that_it_runs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["apiVersion"] == "v2"
    assert chart["appVersion"] == chart["version"] == __version__
    assert f"skyward-passback:{__version__}" in chart["annotations"]["artifacthub.io/images"]
    (container,) = pod(LEAST)["containers"]
    assert container["image"] == f"skyward-passback:{__version__}"


# -- stopping and starting ---------------------------------------------------------------------


def test_a_pod_is_given_longer_than_the_daemon_takes_to_stop() -> None:
    guard = (CHART / "templates/validate.yaml").read_text()
    (drain,) = re.findall(r"\$drain := (\d+)", guard)
    assert int(drain) == daemon.DRAIN_SECONDS
    for example in EXAMPLES:
        assert pod(example_values(example))["terminationGracePeriodSeconds"] > daemon.DRAIN_SECONDS


def test_a_deployment_brings_the_new_pod_before_it_stops_the_old_one() -> None:
    strategy = workload(LEAST)["strategy"]
    assert strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert "PASSBACK_KAFKA_GROUP_INSTANCE_ID" not in environment(pod(LEAST)["containers"][0])


def test_a_stateful_set_makes_each_pod_a_static_member_by_its_own_name() -> None:
    values = merged(LEAST, at("workload.kind", "StatefulSet"))
    (container,) = pod(values)["containers"]
    (member,) = [v for v in container["env"] if v["name"] == "PASSBACK_KAFKA_GROUP_INSTANCE_ID"]
    assert member["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    service = only(values, "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert workload(values)["serviceName"] == service["metadata"]["name"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_pods_spread_and_evictions_select_the_daemons_pods_alone(example: Path) -> None:
    values = example_values(example)
    labels = workload(values)["template"]["metadata"]["labels"]
    selector = workload(values)["selector"]["matchLabels"]
    assert selector.items() <= labels.items()
    budget = only(values, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == selector
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["maxUnavailable"] == 1
    check = only(values, "Pod")["metadata"]["labels"]
    assert not selector.items() <= check.items()
    spread = pod(values)["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert all(one["labelSelector"]["matchLabels"] == selector for one in spread)


def test_the_probes_ask_what_the_daemon_answers() -> None:
    (container,) = pod(LEAST)["containers"]
    asked = {
        container[f"{name}Probe"]["httpGet"]["path"]: container[f"{name}Probe"]["httpGet"]["port"]
        for name in ("startup", "liveness", "readiness")
    }
    assert asked == {"/startupz": "http", "/livez": "http", "/readyz": "http"}
    (port,) = container["ports"]
    assert port["name"] == "http"
    assert environment(container)["PASSBACK_HTTP_PORT"] == str(port["containerPort"])


def test_the_guide_says_when_a_blocked_pod_is_restarted() -> None:
    (container,) = pod(LEAST)["containers"]
    probe = container["livenessProbe"]
    told = (ROOT / "deploy/README.md").read_text()
    assert f"after {probe['failureThreshold']} unanswered probes, a minute with" in told
    assert probe["failureThreshold"] * probe["periodSeconds"] == 60


def test_the_guide_plans_as_many_connections_as_the_pods_open() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    each = daemon.pool_size(values["daemon"]["maxConcurrentDistricts"])
    assert daemon.pool_size(1000) == each
    spec = workload(LEAST)
    together = each * (spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"])
    for page in (ROOT / "deploy/README.md", CHART / "README.md"):
        told = " ".join(page.read_text().split())
        assert f"up to {each} connections" in told
        assert f"need {together}" in told


def test_a_changed_district_or_inline_secret_is_a_new_pod() -> None:
    def annotations(values: dict[str, Any]) -> dict[str, str]:
        found = workload(values)["template"]["metadata"]["annotations"]
        assert isinstance(found, dict)
        return found

    values = example_values(ONE)
    later = merged(values, at("districts.files.lakeside.cutoff", "21:30"))
    assert annotations(values)["checksum/districts"] != annotations(later)["checksum/districts"]
    inline = {
        "production": False,
        "credentials": {
            "existingSecret": {"name": ""},
            "inline": {"databaseUrl": "postgresql://a@b/c", "sealingKey": "k"},
        },
    }
    other = merged(inline, at("credentials.inline.sealingKey", "l"))
    assert (
        annotations(merged(LEAST, inline))["checksum/credentials"]
        != annotations(merged(LEAST, other))["checksum/credentials"]
    )


# -- what the process reads --------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_the_process_takes_the_environment_of_every_container(
    example: Path, tmp_path: Path
) -> None:
    values = example_values(example)
    spec = pod(values)
    containers = [
        *spec["containers"],
        *spec["initContainers"],
        *only(values, "Pod")["spec"]["containers"],
    ]
    for name, content in (
        ("database-url", "postgresql://passback@postgres/passback"),
        ("sealing.key", "a key"),
        ("kafka-password", "a password"),
    ):
        (tmp_path / name).write_text(content)
    mounted = {"/etc/passback/credentials": tmp_path, "/etc/passback/kafka-ca": tmp_path}
    (tmp_path / "ca.crt").write_text(Path(certifi.where()).read_text())
    for container in containers:
        found = environment(container)
        if "PASSBACK_KAFKA_GROUP_INSTANCE_ID" in found:
            found["PASSBACK_KAFKA_GROUP_INSTANCE_ID"] = "passback-0"
        for prefix, directory in mounted.items():
            found = {k: v.replace(prefix, str(directory)) for k, v in found.items()}
        settings = load(environ=found)
        assert settings.kafka_bootstrap_servers == tuple(values["kafka"]["bootstrapServers"])
        assert settings.max_concurrent_districts == values.get("daemon", {}).get(
            "maxConcurrentDistricts", 16
        )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_every_file_that_a_variable_names_is_mounted_and_no_secret_is_a_variable(
    example: Path,
) -> None:
    spec = pod(example_values(example))
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for container in spec["containers"] + spec["initContainers"]:
        mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
        for name, value in environment(container).items():
            if not name.endswith("_FILE"):
                assert "postgresql://" not in value
                continue
            directory, file = value.rsplit("/", 1)
            volume = mounts[directory]
            items = (volume.get("secret") or volume["configMap"])["items"]
            assert file in [item["path"] for item in items], name


def test_the_districts_of_the_values_are_valid_district_files() -> None:
    config = only(example_values(ONE), "ConfigMap")
    for name, text in config["data"].items():
        found = read_district(yaml.safe_load(text))
        assert name == f"{found.district.district}.yaml"
        assert found.district.cutoff.isoformat() == "22:00:00"
    spec = pod(example_values(ONE))
    apply = spec["initContainers"][-1]
    assert apply["args"] == ["district", "apply", "/etc/passback/districts"]
    (volume,) = [one for one in spec["volumes"] if one["name"] == "districts"]
    assert volume["projected"]["sources"] == [
        {"configMap": {"name": config["metadata"]["name"]}},
        {"secret": {"name": "passback-lakeside"}},
    ]


def test_every_command_of_a_container_exists() -> None:
    for example in EXAMPLES:
        values = example_values(example)
        spec = pod(values)
        check = only(values, "Pod")["spec"]
        for container in spec["initContainers"] + spec["containers"] + check["containers"]:
            words = [word for word in container["args"] if not word.startswith("/")]
            assert knows(*words), words


def knows(*words: str) -> bool:
    """Whether ``passback`` has the command."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)
    return command is not None


# -- autoscaling, network, monitoring ----------------------------------------------------------


def test_keda_watches_the_lag_of_every_topic_and_never_scales_to_nothing() -> None:
    values = example_values(TEN_THOUSAND)
    spec = only(values, "ScaledObject")["spec"]
    assert spec["minReplicaCount"] >= 1
    assert spec["scaleTargetRef"]["kind"] == "StatefulSet"
    assert "replicas" not in workload(values)
    metadata = [trigger["metadata"] for trigger in spec["triggers"]]
    assert {one["topic"] for one in metadata} == {f"otus.{name}" for name in TOPICS}
    assert {one["consumerGroup"] for one in metadata} == {"skyward-passback"}
    assert {one["excludePersistentLag"] for one in metadata} == {"true"}
    assert {(one["sasl"], one["tls"]) for one in metadata} == {("scram_sha512", "enable")}
    assert all(isinstance(v, str) for one in metadata for v in one.values())
    authentication = only(values, "TriggerAuthentication")["spec"]
    named = {one["parameter"] for one in authentication["env"] + authentication["secretTargetRef"]}
    assert named == {"username", "password", "ca"}
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600


def test_keda_is_given_an_authentication_only_where_there_is_something_to_authenticate_with() -> (
    None
):
    """One without content is refused by the cluster, and with it the whole release."""
    keda = at("autoscaling.keda.enabled", value=True)
    tls = merged(LEAST, merged(keda, at("kafka.securityProtocol", "SSL")))
    (scaled,) = [one for one in manifests(tls) if one["apiVersion"].startswith("keda.sh")]
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["tls"] == "enable"
        assert "authenticationRef" not in trigger
    known = merged(tls, at("kafka.ca.configMap", "ca"))
    assert only(known, "TriggerAuthentication")["spec"] == {
        "configMapTargetRef": [{"parameter": "ca", "name": "ca", "key": "ca.crt"}]
    }
    triggers = only(known, "ScaledObject")["spec"]["triggers"]
    name = only(known, "TriggerAuthentication")["metadata"]["name"]
    assert {one["authenticationRef"]["name"] for one in triggers} == {name}


def test_the_page_for_no_replica_is_for_those_of_this_release() -> None:
    """Another installation that the same Prometheus scrapes must not answer for this one."""
    values = example_values(HUNDRED)

    def down(values: dict[str, Any]) -> str:
        (found,) = [
            rule["expr"]
            for one in manifests(values)
            if one["kind"] == "PrometheusRule"
            for group in one["spec"]["groups"]
            for rule in group["rules"]
            if rule["alert"] == "PassbackDown"
        ]
        assert isinstance(found, str)
        return found

    # Prometheus Operator names a job by the PodMonitor's namespace and name.
    monitor = only(values, "PodMonitor")["metadata"]["name"]
    assert down(values) == f'absent(passback_build_info{{job="grades/{monitor}"}})'
    own = merged(values, at("podMonitor.enabled", value=False))
    assert down(own) == "absent(passback_build_info)"


def test_nothing_goes_out_to_private_networks_but_what_is_named() -> None:
    values = merged(LEAST, at("daemon.allowedNetworks", ["10.9.0.0/16"]))
    spec = only(values, "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = spec["ingress"]
    assert ingress == {"ports": [{"port": 8080}]}
    by_ports = {tuple(p["port"] for p in rule["ports"]): rule for rule in spec["egress"]}
    assert set(by_ports) == {(53, 53), (5432,), (9092,), (443,)}
    skyward = [peer["ipBlock"] for peer in by_ports[443,]["to"]]
    assert skyward[0]["cidr"] == "0.0.0.0/0"
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(
        skyward[0]["except"]
    )
    assert skyward[2] == {"cidr": "10.9.0.0/16"}
    pods = spec["podSelector"]["matchLabels"].items()
    check = only(values, "Pod")["metadata"]["labels"].items()
    assert pods <= check
    assert pods <= workload(values)["template"]["metadata"]["labels"].items()


def test_the_alerts_and_dashboards_are_those_of_the_files() -> None:
    objects = manifests(example_values(HUNDRED))
    rules = {
        one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "PrometheusRule"
    }
    alerts = sorted((CHART / "files/alerts").glob("*.yaml"))
    assert alerts
    for file in alerts:
        text = file.read_text().replace(
            "https://example.com/skyward-passback/runbooks",
            "https://wiki.otus.example/passback/runbooks",
        )
        text = text.replace(
            "absent(passback_build_info)",
            """'absent(passback_build_info{job="grades/passback-skyward-passback"})'""",
        )
        assert rules.pop(f"passback-skyward-passback-{file.stem}") == yaml.safe_load(text)
    assert rules == {}
    maps = {
        name: text
        for one in objects
        if one["kind"] == "ConfigMap" and one["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in one["data"].items()
    }
    dashboards = sorted((CHART / "files/dashboards").glob("*.json"))
    assert dashboards
    for file in dashboards:
        assert maps.pop(file.name).strip() == file.read_text().strip()
    assert maps == {}


def test_the_pod_monitor_scrapes_the_daemons_port() -> None:
    values = example_values(HUNDRED)
    spec = only(values, "PodMonitor")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    assert spec["sampleLimit"] == 20_000
    assert spec["selector"]["matchLabels"] == workload(values)["selector"]["matchLabels"]


@pytest.mark.parametrize(("example", "districts"), [(HUNDRED, 100), (TEN_THOUSAND, 10_000)])
def test_a_scrape_of_so_many_districts_stays_within_its_limit(
    example: Path, districts: int
) -> None:
    values = example_values(example)
    registry = CollectorRegistry()
    metrics = Metrics(
        registry,
        per_district=values.get("daemon", {}).get("districtMetrics", True),
        topic_prefix="otus.",
    )
    metrics.keep_districts([f"district-{number}" for number in range(districts)])
    for topic in TOPICS:
        for partition in range(64):
            metrics.set_lag(topic, partition, 0, None)
    samples = sum(len(family.samples) for family in registry.collect())
    limit = only(values, "PodMonitor")["spec"]["sampleLimit"]
    assert samples < limit


# -- what is told ------------------------------------------------------------------------------


def _told() -> dict[str, str]:
    texts = {"README.md": (CHART / "README.md").read_text()}
    for example in EXAMPLES:
        texts[f"NOTES of {example.stem}"] = render(example_values(example))[
            "skyward-passback/templates/NOTES.txt"
        ]
    return texts


@pytest.mark.parametrize("text", _told().values(), ids=_told().keys())
def test_every_command_and_path_that_is_told_exists(text: str) -> None:
    commands = {
        tuple(found.split())
        for found in re.findall(r"(?:^ *|-- |`)passback ([a-z-]+(?: [a-z-]+)?)", text, re.MULTILINE)
    }
    assert commands
    for words in commands:
        assert knows(*words), words
    for path in re.findall(r"(?:helm/skyward-passback|deploy)/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:files|examples)/[\w./-]+)`", text):
        assert (CHART / path).exists(), path


def test_the_notes_tell_that_the_network_policy_keeps_the_traces_in() -> None:
    def notes(values: dict[str, Any]) -> str:
        return render(merged(LEAST, values))["skyward-passback/templates/NOTES.txt"]

    traced = at("daemon.tracesTo", "http://collector.observability:4318")
    assert "http://collector.observability:4318" in notes(traced)
    assert "networkPolicy.extraEgress" in notes(traced)
    opened = at("networkPolicy.extraEgress", [{"ports": [{"port": 4318}]}])
    for silent in ({}, merged(traced, opened), merged(traced, at("networkPolicy.enabled", False))):
        assert "extraEgress" not in notes(silent)


def test_the_notes_say_what_to_do_after_a_change_that_the_chart_cannot_see() -> None:
    one = _told()["NOTES of one-district"]
    assert "After a change of Secret passback, which the chart cannot see" in one
    assert "district apply /etc/passback/districts" in one
    # A vault's new password comes into the Secret by itself, and into no process.
    hundred = _told()["NOTES of hundred-districts"]
    assert "After a change of Secret passback-skyward-passback-credentials, which" in hundred
    assert "district apply /etc/passback/districts" in hundred
    ten_thousand = _told()["NOTES of ten-thousand-districts"]
    assert "rollout restart statefulset/" in ten_thousand
    assert "/etc/passback/districts" not in ten_thousand


def test_the_notes_say_where_lag_cutoff_and_dashboards_are_seen() -> None:
    notes = _told()["NOTES of hundred-districts"]
    assert "passback_consumer_lag_records" in notes
    assert "passback district list" in notes
    assert "passback-skyward-passback-" in notes.split("dashboards")[1]

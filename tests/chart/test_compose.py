"""The machine of compose.yaml, as real Docker Compose reads it, and the Dockerfile."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer import __version__
from consumer.district import read_district
from consumer.events import TOPICS
from consumer.settings import load
from tests.chart.rendering import CHART, ROOT

DEPLOY = ROOT / "deploy"
ONCE = {"topics", "keys", "migrate", "districts"}


def _tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    done = _tool("docker-compose", "--file", "deploy/compose.yaml", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    found = json.loads(done.stdout)["services"]
    assert isinstance(found, dict)
    return found


def test_every_part_of_the_machine_is_there(services: dict[str, Any]) -> None:
    running = {"kafka", "postgres", "skyward", "passback", "prometheus", "grafana"}
    assert set(services) == running | ONCE


def test_every_image_is_of_one_version_and_what_runs_says_whether_it_is_well(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?", service["image"]), name
        assert ("healthcheck" in service) == (name not in ONCE), name
        if name in ONCE:
            assert service["restart"] == "no"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
    ours = {one["image"] for one in services.values() if "passback" in one["image"]}
    assert ours == {f"skyward-passback:{__version__}"}


def test_what_waits_for_another_waits_until_it_is_well_or_done(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            done = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how["condition"] == done, (name, other)


def test_what_is_ours_has_the_rights_of_the_charts_pods(services: dict[str, Any]) -> None:
    for name in ("passback", "migrate", "districts", "skyward"):
        service = services[name]
        assert service["read_only"] is True
        assert service["user"] == "65532:65532"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert services["passback"]["stop_grace_period"] == "1m30s"


def test_the_process_takes_its_environment(services: dict[str, Any]) -> None:
    for name in ("passback", "migrate", "districts"):
        settings = load(environ=services[name]["environment"])
        assert settings.allow_http
        assert settings.require_kafka().bootstrap_servers == ("kafka:9092",)


def test_every_file_that_is_mounted_is_there(services: dict[str, Any]) -> None:
    bound = [
        Path(volume["source"])
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert CHART / "files" / "alerts" in bound
    assert CHART / "files" / "dashboards" in bound
    assert [path for path in bound if not path.exists()] == []


def test_the_district_of_the_machine_is_a_district_of_the_stand_in(
    services: dict[str, Any],
) -> None:
    file = DEPLOY / "compose" / "districts" / "lakeside.yaml"
    found = read_district(yaml.safe_load(file.read_text()))
    arguments = dict(one.removeprefix("--").split("=") for one in services["skyward"]["command"])
    assert found.district.district == arguments["district"]
    assert found.district.skyward.base_url == (
        f"http://skyward:{arguments['port']}/{arguments['district']}/"
    )
    for source in (found.key, found.secret):
        assert source.file is not None
        # The stand-in's own, for a district that is given none.
        expected = f"{arguments['district']}-{source.file.rpartition('.')[2]}"
        assert (file.parent / source.file).read_text().strip() == expected
    own = "/opt/passback/own/"
    assert arguments["roster"].startswith(own)
    assert (ROOT / arguments["roster"].removeprefix(own) / "users.csv").is_file()


def test_the_topics_are_those_that_are_read(services: dict[str, Any]) -> None:
    script = services["topics"]["command"][0]
    assert all(f" {topic}" in script for topic in TOPICS)
    assert "cleanup.policy=compact" in script


def test_prometheus_and_grafana_find_what_they_show(services: dict[str, Any]) -> None:
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["passback:8080"]}]
    assert job["job_name"] == "skyward-passback"
    mounted = {
        volume["target"]: Path(volume["source"])
        for name in ("prometheus", "grafana")
        for volume in services[name]["volumes"]
        if volume["type"] == "bind"
    }
    (rules,) = scraped["rule_files"]
    assert list(mounted[rules.rpartition("/")[0]].glob("*.yaml"))
    grafana = DEPLOY / "compose" / "grafana"
    (source,) = yaml.safe_load((grafana / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((grafana / "dashboards.yaml").read_text())["providers"]
    assert (mounted[provider["options"]["path"]] / "overview.json").is_file()


# -- the Dockerfile ----------------------------------------------------------------------------


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = _tool("hadolint", "--failure-threshold", "info", "deploy/Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_image_is_built_without_a_network_and_runs_without_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert not lines[0].startswith("# syntax")
    assert all("--no-index" in line for line in "\n".join(lines).split("\nRUN ")[1:])
    assert 'ENTRYPOINT ["passback"]' in lines
    assert "USER 65532:65532" in lines


def test_the_builder_is_given_the_lock_and_what_make_image_lays_alone() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert lines == ["*", "!deploy/requirements.txt", "!build/image"]
    copied = re.findall(r"^COPY (?!--from)(\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    given = tuple(line.removeprefix("!") for line in lines[1:])
    assert copied
    assert all(path.startswith(given) for path in copied)

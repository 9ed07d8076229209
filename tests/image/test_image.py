"""The image in a real container engine: what it is made of, and one night in it."""

import asyncio
import json
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from typing import Any

import yaml

from consumer import __version__
from consumer.daemon import DRAIN_SECONDS
from consumer.sandbox.oracle import Oracle, compare, periods_by_class
from consumer.sandbox.schoolday import SCHOOL, school_day
from tests.image.conftest import RESTRICTED, TownInTheImage, docker
from tests.image.pod import Pod
from tests.system.town import soon, until

_LARGEST = 200_000_000
_SLOWEST_START = 2.0


def test_it_is_small_and_labelled_and_its_user_is_numeric(inspected: dict[str, Any]) -> None:
    config = inspected["Config"]
    labels = config["Labels"]
    assert inspected["Size"] < _LARGEST
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["passback"]
    assert config["Cmd"] == ["run"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert len(labels["org.opencontainers.image.revision"]) >= 7


def test_its_bill_of_materials_names_every_package_that_is_installed(image: str) -> None:
    listing = (
        "import importlib.metadata as m, json, pathlib;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions("
        "path=[str(p) for p in pathlib.Path('/opt/passback').glob('lib/*/site-packages')])}))"
    )
    python = ("run", "--rm", *RESTRICTED, "--entrypoint", "python", image)
    installed = json.loads(docker(*python, "-c", listing))
    bill = json.loads(
        docker(
            *("run", "--rm", *RESTRICTED, "--entrypoint", "cat", image),
            "/usr/share/sbom/skyward-passback.cdx.json",
        )
    )
    named = {one["name"].lower(): one["version"] for one in bill["components"]}
    assert len(installed) > 30
    missing = {n: v for n, v in installed.items() if _named(named, n) != v}
    assert missing == {}


def _named(bill: dict[str, str], name: str) -> str | None:
    return bill.get(name.lower()) or bill.get(name.lower().replace("_", "-").replace(".", "-"))


async def test_the_charts_pod_runs_one_night(town: TownInTheImage) -> None:
    """Its init containers migrate and apply the district; then `helm test`, and the daemon."""
    now = datetime.now(UTC)
    settings = town.settings()
    oracle = Oracle(settings, periods_by_class(town.roster))
    day = list(
        school_day(town.roster, SCHOOL / "oulad", district_id=town.district, now=now, seed=3)
    )
    for record in day:
        oracle.fold(record)
    await town.publish(day)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pod = _pod(town, settings | {"cutoff": soon(8)}, port)
    migrated, applied = pod.initialise()
    assert "applied first_night" in migrated, migrated
    assert "lakeside: applied, revision 1" in applied
    assert "FAIL" not in pod.test()

    began = time.monotonic()
    with pod.running(town.directory / "daemon.log") as daemon:
        await until(lambda: _answers(port, "livez"), seconds=30, pause=0.02)
        started = time.monotonic() - began
        await until(lambda: _finished(town) is not None, seconds=120)
        assert _answers(port, "readyz")
        began = time.monotonic()
        daemon.terminate()
        status = await asyncio.to_thread(daemon.wait, 60)
        stopped = time.monotonic() - began
    report = _finished(town)
    assert report is not None
    assert report["results"]["posted"] > 1_000
    cutoff = datetime.fromisoformat(report["cutoff_at"])
    expected = oracle.expected(cutoff)
    assert compare(expected, town.skyward.gradebook_lines(), district_id=town.district) == []
    print(f"container to /livez {started:.2f} s; SIGTERM to exit {stopped:.2f} s; {report}")
    assert status == 0
    assert started < _SLOWEST_START
    assert stopped < DRAIN_SECONDS
    assert pod.initialise()[1].startswith("lakeside: unchanged")


def _pod(town: TownInTheImage, settings: dict[str, Any], port: int) -> Pod:
    """One small pod, as in the example of one district, with the town's services."""
    skyward = {"key_file": "lakeside.key", "secret_file": "lakeside.secret"}
    values = {
        "production": False,
        "resources": {"memory": "256Mi"},
        "kafka": {
            "bootstrapServers": [town.kafka.bootstrap_servers],
            "topicPrefix": town.prefix,
            "groupId": town.prefix + "group",
            "start": "earliest",
        },
        "daemon": {
            "httpPort": port,
            "allowHttp": True,
            "allowedNetworks": ["127.0.0.0/8"],
            "cutoffJitterSeconds": 0,
        },
        "credentials": {"existingSecret": {"name": "passback"}},
        "districts": {
            "enabled": True,
            # The schema of the values takes https only, so the file comes by a ConfigMap.
            "configMaps": ["theirs"],
            "credentials": {"existingSecret": "passback-lakeside"},
        },
    }
    pod = Pod(
        town.directory,
        town.image,
        values,
        secrets={
            "passback": {
                "database-url": town.database_url,
                "sealing.key": (town.directory / "sealing.key").read_text(),
            },
            "passback-lakeside": {
                "lakeside.key": town.skyward.client_id,
                "lakeside.secret": town.skyward.client_secret,
            },
        },
    )
    file = settings | {"skyward": settings["skyward"] | skyward}
    pod.maps["theirs"] = {"lakeside.yaml": yaml.safe_dump(file)}
    return pod


def _answers(port: int, probe: str) -> bool:
    url = f"http://127.0.0.1:{port}/{probe}"
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _finished(town: TownInTheImage) -> dict[str, Any] | None:
    found = town.answer("runs", town.district)
    done = [run for run in found if run["state"] == "done"]
    return done[0] if done else None


def test_a_root_that_cannot_be_written_is_what_the_test_has(image: str) -> None:
    python = ("docker", "run", "--rm", *RESTRICTED, "--entrypoint", "python", image, "-c")
    done = subprocess.run(
        [*python, "import os; print(os.getuid(), os.getgid()); open('/opt/x', 'w')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["65532", "65532"]
    assert "Read-only file system" in done.stderr

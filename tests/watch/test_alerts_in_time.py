"""Debian's promtool replays each alert's series: it fires, does not fire, and resolves."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "alerts"
ALERTS = Path(__file__).parents[2] / "helm/skyward-passback/files/alerts"


@pytest.mark.parametrize("file", sorted(ALERTS.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_rules_are_rules(promtool: str, file: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(HERE.glob("*.yaml")), ids=lambda f: f.stem)
def test_each_alert_fires_does_not_fire_and_resolves(promtool: str, file: Path) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", file.name],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

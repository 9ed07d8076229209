"""The quick benchmark, as `make bench-quick` runs it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_no_ratio_to_a_ceiling_or_a_peer_fell_by_half() -> None:
    assert importlib.util.find_spec("faststream"), "make test and make bench install the peers"
    command = [sys.executable, "-m", "tests.bench", "--quick"]
    run = subprocess.run(
        command, check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.returncode == 0, run.stdout

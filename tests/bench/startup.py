"""Start-up: from ``passback run`` until /readyz answers 200, on a migrated database."""

import asyncio
import subprocess
import sys
import time
from http.client import HTTPConnection
from statistics import median

from consumer.sandbox.tcp import LOOPBACK, free_port
from tests.bench.frame import Bench, Figures

_TOPICS = ("assessment-changed", "grade-changed", "passback-group-changed")


async def measure(bench: Bench) -> Figures:
    """The median of a few starts, each in a group of its own."""
    prefix = "startup."
    await bench.kafka.create_topics({prefix + topic: 8 for topic in _TOPICS})
    seconds = []
    for number in range(bench.rounds(5)):
        async with bench.database() as url:
            environment = bench.daemon_environment(url, prefix, f"{prefix}{number}")
            environment["PASSBACK_HTTP_PORT"] = str(port := free_port())
            seconds.append(await asyncio.to_thread(_start, environment, port))
    return Figures(absolute={"startup_s": median(seconds)})


def _start(environment: dict[str, str], port: int) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "consumer.cli", "run"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as daemon:
        try:
            while not _is_ready(port):
                assert daemon.poll() is None, "the daemon ended before it was ready"
                assert time.perf_counter() - began < 60, "not ready after a minute"
                time.sleep(0.01)
            return time.perf_counter() - began
        finally:
            daemon.terminate()


def _is_ready(port: int) -> bool:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()

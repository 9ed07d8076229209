"""What a process that posts results tells of itself, and one that is run for it."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Posted:
    """So many ``results`` in so many ``seconds``, ``cpu`` of them of this process's processor."""

    results: int
    seconds: float
    cpu: float
    mib: float

    @property
    def per_second(self) -> float:
        return self.results / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the process's processor a result."""
        return self.cpu / self.results * 1e6


def told(results: int, seconds: float, cpu: float) -> dict[str, float]:
    """What a process prints in the end; the memory is the most that it ever held, in MiB."""
    return {"results": results, "seconds": seconds, "cpu": cpu, "mib": highest_mib(os.getpid())}


def highest_mib(pid: int) -> float:
    """The most memory that a process ever held, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"/proc/{pid}/status has no VmHWM")


async def posted_by(module: str, *arguments: str) -> Posted:
    """Runs ``python -m tests.bench.MODULE`` and reads what it tells."""
    command = (sys.executable, "-m", f"tests.bench.{module}", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{module} ended with status {process.returncode}"
    return Posted(**json.loads(output.splitlines()[-1]))

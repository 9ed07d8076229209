"""Tracing costs nothing where it is off, and says what to do where it cannot be on."""

import socket
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from consumer import tracing
from consumer.errors import UsageError


def test_opentelemetry_is_not_even_imported_where_nobody_asked_for_it() -> None:
    asked = "import sys, consumer.cli; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_an_installation_without_opentelemetry_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match=r"install skyward-passback\[tracing\]"):
        async with tracing.started("1.0", lambda: datetime.now(UTC)):
            pass


async def test_a_collector_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", where)
        async with tracing.started("1.0", lambda: datetime.now(UTC)) as traces:
            with traces.flushing("lakeside"):
                for _ in range(2_000):
                    traces.request("put_result", "200", 0.01)
            began = time.monotonic()
        assert time.monotonic() - began < 8

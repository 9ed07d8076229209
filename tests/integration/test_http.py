"""The daemon's HTTP, asked over a real socket."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from consumer.errors import ServiceUnavailable
from consumer.http import HttpServer
from consumer.metrics import Metrics


class Probed:
    """A server whose probes' reasons a test may set."""

    def __init__(self, **limits: Any) -> None:
        self.live: list[str] = []
        self.ready: list[str] = []
        self.started: list[str] = []
        self.metrics = Metrics(CollectorRegistry(), per_district=True)
        self.server = HttpServer(
            "127.0.0.1",
            0,
            self.metrics.registry,
            live=lambda: self.live,
            ready=lambda: self.ready,
            started=lambda: self.started,
            **limits,
        )

    async def open(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(sent)
        return reader, writer

    async def status(self, path: str = "/livez") -> bytes:
        """The status line of one answer, on a connection of its own."""
        reader, writer = await self.open(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(3):
            line = await reader.readline()
        writer.close()
        return line.strip()


@pytest.fixture
async def probed() -> AsyncIterator[Probed]:
    probed = Probed()
    async with probed.server:
        yield probed


@pytest.fixture
async def client(probed: Probed) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{probed.server.port}") as session:
        yield session


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_a_probe_is_well_without_reasons(path: str, client: aiohttp.ClientSession) -> None:
    async with client.get(path) as answer:
        assert answer.status == 200
        assert await answer.json() == {"status": "ok", "reasons": []}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_a_probe_with_reasons_is_unavailable_and_says_why(
    path: str, probed: Probed, client: aiohttp.ClientSession
) -> None:
    getattr(probed, path.strip("/").removesuffix("z").replace("startup", "started")).append("why")
    async with client.get(path) as answer:
        assert answer.status == 503
        assert (await answer.json())["reasons"] == ["why"]
    others = {"/livez", "/readyz", "/startupz"} - {path}
    for other in others:
        async with client.get(other) as answer:
            assert answer.status == 200


async def test_metrics_are_prometheus_text(probed: Probed, client: aiohttp.ClientSession) -> None:
    probed.metrics.rebalanced(4)
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = await answer.text()
    assert "passback_assigned_partitions 4.0" in text
    assert "# EOF" not in text


async def test_metrics_are_openmetrics_where_asked_for(client: aiohttp.ClientSession) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    async with client.get("/metrics", headers={"Accept": accept}) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


@pytest.mark.parametrize("accept", ["", "*/*", "application/openmetrics-text; version=abc", "\xff"])
async def test_metrics_answer_whatever_is_accepted(
    accept: str, client: aiohttp.ClientSession
) -> None:
    async with client.get("/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/admin", "/livez/x", "/%2e%2e/etc/passwd"])
async def test_anything_else_is_not_found(path: str, client: aiohttp.ClientSession) -> None:
    async with client.get(path) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"])
async def test_other_methods_are_not_allowed(method: str, client: aiohttp.ClientSession) -> None:
    async with client.request(method, "/metrics") as answer:
        assert answer.status == 405


async def test_an_overlong_request_line_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.get("/livez?" + "x" * 5000) as answer:
        assert answer.status == 400


async def test_nothing_is_logged_about_requests(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", logger="aiohttp"):
        async with client.get("/livez?student=Ada") as answer:
            assert answer.status == 200
    assert "Ada" not in caplog.text


async def test_a_taken_port_is_one_clear_sentence(probed: Probed) -> None:
    taken = probed.server.port
    second = HttpServer(
        "127.0.0.1",
        taken,
        CollectorRegistry(),
        live=list,
        ready=list,
        started=list,
    )
    with pytest.raises(ServiceUnavailable, match=f"cannot listen on 127.0.0.1:{taken}"):
        await second.start()
    await second.stop()


async def test_after_the_stop_nobody_listens(probed: Probed) -> None:
    port = probed.server.port
    await probed.server.stop()
    await probed.server.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
        pass


async def test_an_idle_connection_does_not_hold_up_the_stop(probed: Probed) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", probed.server.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
    await writer.drain()
    async with asyncio.timeout(3):
        await probed.server.stop()
    writer.close()


# -- whoever reaches the port means it no good ----------------------------------------------


async def _ends(reader: asyncio.StreamReader) -> float:
    """Seconds until the server ends the connection, whatever it says before."""
    began = time.monotonic()
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    "head",
    [b"", b"GET", b"GET /livez HTTP/1.1\r\n", b"POST /livez HTTP/1.1\r\nContent-Length: 9\r\n\r\n"],
)
async def test_a_request_that_trickles_in_is_ended(head: bytes) -> None:
    """Each byte is in time, and the whole never comes."""
    probed = Probed(longest=0.6)
    async with probed.server:
        reader, writer = await probed.open(head)

        async def trickle() -> None:
            with suppress(ConnectionError):
                while True:
                    writer.write(b"X")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert await _ends(reader) < 5
        trickling.cancel()
        writer.close()


class _Large:
    """Ten megabytes of metrics, which take a while to write out; counts how often."""

    def __init__(self) -> None:
        self.collected = 0

    def collect(self) -> Iterator[Metric]:
        self.collected += 1
        time.sleep(0.2)
        family = GaugeMetricFamily("large", "help", labels=["text"])
        family.add_metric(["x" * 10_000_000], 1)
        yield family


async def test_an_answer_that_nobody_takes_is_ended() -> None:
    probed = Probed(longest=1)
    probed.metrics.registry.register(_Large())
    async with probed.server:
        reader, writer = await probed.open(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1.5)
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(10_000_000)
        writer.close()


async def test_a_probe_is_answered_however_many_connections_wait() -> None:
    probed = Probed(most=20)
    async with probed.server:
        opened = [await probed.open(b"GET /livez HTTP/1.1\r\n") for _ in range(100)]
        assert await probed.status() == b"HTTP/1.1 200 OK"
        ended = [await asyncio.wait_for(reader.read(), 3) for reader, _ in opened[:80]]
        assert ended == [b""] * 80
        for _, writer in opened:
            writer.close()


async def test_metrics_are_written_out_once_for_all_who_ask_meanwhile(probed: Probed) -> None:
    """A hundred scrapes at once neither fill the threads that look up names, nor the memory."""
    large = _Large()
    probed.metrics.registry.register(large)
    large.collected = 0
    answers = await asyncio.gather(*(probed.status("/metrics") for _ in range(30)))
    assert set(answers) == {b"HTTP/1.1 200 OK"}
    assert large.collected <= 2


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
        b"\x00" * 5000,
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"y" * 100_000,
        b"GET /" + b"x" * 100_000,
        b"GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT internal:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"[
            :-2
        ],
    ],
)
async def test_what_is_no_request_ends_its_connection_and_fills_no_log(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    probed = Probed(longest=1)
    async with probed.server:
        with caplog.at_level(logging.INFO):
            reader, writer = await probed.open(sent)
            assert await _ends(reader) < 5
            writer.close()
            assert await probed.status() == b"HTTP/1.1 200 OK"
    assert caplog.records == []


async def test_requests_in_a_row_on_one_connection_get_one_answer(probed: Probed) -> None:
    reader, writer = await probed.open(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    with suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.count(b"HTTP/1.1") == 1
    writer.close()


async def test_an_answer_does_not_say_what_serves_it(client: aiohttp.ClientSession) -> None:
    for path in ("/livez", "/metrics", "/nothing"):
        async with client.get(path) as answer:
            assert "Server" not in answer.headers
            assert answer.headers["Connection"] == "close"


async def test_an_error_of_our_own_is_logged_and_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probed = Probed()
    probed.live = None  # type: ignore[assignment]  # list(None) raises
    async with probed.server:
        reader, writer = await probed.open(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"TypeError" not in answer
    assert [record.levelname for record in caplog.records] == ["ERROR"]

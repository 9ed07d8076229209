"""The daemon's HTTP, asked over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from consumer.errors import ServiceUnavailable
from consumer.http import HttpServer
from consumer.metrics import Metrics


class Probed:
    """A server whose probes' reasons a test may set."""

    def __init__(self) -> None:
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
        )


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

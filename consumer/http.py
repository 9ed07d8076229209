"""The daemon's HTTP: metrics for Prometheus, and three probes that the event loop answers itself.

A probe's reasons are asked anew for each request and must not wait for anything: they say
what the process knows of itself, none where all is well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from consumer.errors import ServiceUnavailable

Reasons = Callable[[], Sequence[str]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LARGEST_BODY: Final = 1024
_LONGEST_LINE: Final = 2048
_SECONDS: Final = 5.0
# Longer than between two scrapes.
_KEEPALIVE_SECONDS: Final = 75.0


class HttpServer:
    """Serves GET /metrics, /livez, /readyz and /startupz; everything else is 404 or 405.

    Each of ``live``, ``ready`` and ``started`` gives the reasons why not: 503 while there are
    any, else 200. Port 0 chooses a free one; ``port`` says which, once started.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        live: Reasons,
        ready: Reasons,
        started: Reasons,
    ) -> None:
        self._host: Final = host
        self._wanted_port: Final = port
        self._registry: Final = registry
        self._probes: Final = {"/livez": live, "/readyz": ready, "/startupz": started}
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; the wanted one while nothing is."""
        return int(self._runner.addresses[0][1]) if self._runner else self._wanted_port

    async def start(self) -> None:
        """Listens; raises ``ServiceUnavailable`` where the address cannot be had."""
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_get("/metrics", self._metrics, allow_head=False)
        for path, reasons in self._probes.items():
            application.router.add_get(path, _probe(reasons), allow_head=False)
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            # Also ends a connection on which no whole request ever comes.
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_SECONDS,
            shutdown_timeout=_SECONDS,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._wanted_port, backlog=64).start()
        except OSError as error:
            await runner.cleanup()
            raise ServiceUnavailable(
                f"the daemon's HTTP cannot listen on {self._host}:{self._wanted_port}:"
                f" {error.strerror}; free the port or set PASSBACK_HTTP_PORT"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        """Stops listening and lets answers in hand finish; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):
            # A version that is no version: then what everybody reads.
            encode, content_type = choose_encoder("")
        # With a thousand districts this takes a while, and nothing else should wait for it.
        body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={"Content-Type": content_type})


def _probe(reasons: Reasons) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        found = list(reasons())
        body = {"status": "unavailable" if found else "ok", "reasons": found}
        return web.json_response(
            body, status=503 if found else 200, headers={"Cache-Control": "no-store"}
        )

    return answer

"""The daemon's HTTP: metrics for Prometheus, and three probes that the event loop answers itself.

A probe's reasons are asked anew for each request and must not wait for anything: they say
what the process knows of itself, none where all is well.

Anybody in the network may reach the port. So a connection is for one request and ends after
``longest`` seconds, whatever is still to come or to go; where there are too many, the oldest
ends for the newest, so that a probe is answered; and what is no request is not worth a log line.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from consumer.errors import ServiceUnavailable

Reasons = Callable[[], Sequence[str]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LARGEST_BODY: Final = 1024
_LONGEST_LINE: Final = 2048
_SECONDS: Final = 5.0

_LOGGER: Final = logging.getLogger(__name__)
_LOGGER.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
)


class HttpServer:
    """Serves GET /metrics, /livez, /readyz and /startupz; everything else is 404 or 405.

    Each of ``live``, ``ready`` and ``started`` gives the reasons why not: 503 while there are
    any, else 200. Port 0 chooses a free one; ``port`` says which, once started. A connection
    lasts ``longest`` seconds, and ``most`` of them are open at once.
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
        longest: float = 30.0,
        most: int = 64,
    ) -> None:
        self._host: Final = host
        self._wanted_port: Final = port
        self._registry: Final = registry
        self._probes: Final = {"/livez": live, "/readyz": ready, "/startupz": started}
        self._longest: Final = longest
        self._most: Final = most
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._encodings: Final[dict[str, asyncio.Task[bytes]]] = {}

    @property
    def port(self) -> int:
        """The port that is listened on; the wanted one while nothing is."""
        if self._listening is None:
            return self._wanted_port
        return int(self._listening.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listens; raises ``ServiceUnavailable`` where the address cannot be had."""
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_get("/metrics", self._metrics, allow_head=False)
        for path, reasons in self._probes.items():
            application.router.add_get(path, _probe(reasons), allow_head=False)
        application.on_response_prepare.append(_end_after)
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            logger=_LOGGER,
            lingering_time=_SECONDS,
            shutdown_timeout=_SECONDS,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        await runner.setup()
        connections: OrderedDict[_Connection, None] = OrderedDict()
        loop = asyncio.get_running_loop()

        def accept() -> _Connection:
            assert runner.server is not None  # it is set up
            return _Connection(runner.server(), connections, self._longest, self._most)

        try:
            self._listening = await loop.create_server(
                accept, self._host, self._wanted_port, backlog=64
            )
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
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
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
        # With a thousand districts this takes a while, and nothing else should wait for it; once
        # for all who ask meanwhile, for the threads are those that look up Skyward's names.
        task = self._encodings.get(content_type)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(encode, self._registry))
            self._encodings[content_type] = task
            task.add_done_callback(lambda _: self._encodings.pop(content_type, None))
        body = await asyncio.shield(task)
        return web.Response(body=body, headers={"Content-Type": content_type})


class _Connection(asyncio.Protocol):
    """aiohttp's protocol with an end: ``connections`` are those that are open, oldest first."""

    def __init__(
        self,
        inner: web.RequestHandler,
        connections: "OrderedDict[_Connection, None]",
        longest: float,
        most: int,
    ) -> None:
        self._inner: Final = inner
        self._connections: Final = connections
        self._longest: Final = longest
        self._most: Final = most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(self._longest, self._transport.abort)
        self._inner.connection_made(transport)
        self._connections[self] = None
        if len(self._connections) > self._most:
            oldest, _ = self._connections.popitem(last=False)
            oldest._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._end.cancel()
        self._connections.pop(self, None)
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


async def _end_after(_: web.Request, response: web.StreamResponse) -> None:
    response.force_close()
    response.headers["Connection"] = "close"
    response.headers.pop("Server", None)


def _probe(reasons: Reasons) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        found = list(reasons())
        body = {"status": "unavailable" if found else "ok", "reasons": found}
        return web.json_response(
            body, status=503 if found else 200, headers={"Cache-Control": "no-store"}
        )

    return answer

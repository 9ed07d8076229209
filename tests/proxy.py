"""A TCP proxy between a client and a server of ours, and what may go wrong on that way.

It runs in a thread of its own, so that a test may block, or be busy, while bytes flow.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from consumer.sandbox.tcp import LOOPBACK, free_port

_RESET = struct.pack("ii", 1, 0)
_CHUNK = 64 * 1024
T = TypeVar("T")

Way = Literal["request", "answer"]


@dataclass
class _Cut:
    way: Way
    pattern: bytes
    skip: int


class Proxy:
    """Forwards a port of its own to ``port``; use it as a context manager.

    ``delay``: seconds that each chunk of bytes waits, either way. ``rate``: bytes a second that all
    connections have together, either way; None: as fast as it goes. Both may be changed while bytes
    flow.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.rate: float | None = None
        self.cuts_made = 0
        self.most_connections = 0
        self._target = port
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._narrow = {way: asyncio.Lock() for way in ("request", "answer")}
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts: list[_Cut] = []
        self._stranded: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._ask(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, url: str) -> str:
        """The same address through the proxy."""
        parts = urlsplit(url)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return urlunsplit(parts._replace(netloc=f"{user}{LOOPBACK}:{self._port}"))

    # -- what goes wrong --------------------------------------------------------------------

    def cut(self) -> None:
        """Resets every connection; new ones are taken."""
        self._call(self._cut_all)

    def cut_at(self, way: Way, pattern: bytes, *, skip: int = 0) -> None:
        """Resets the connection on which ``pattern`` goes by, once, after ``skip`` that pass.

        A request does not arrive then; an answer's request did, was served, and is not answered.
        """
        self._call(lambda: self._cuts.append(_Cut(way, pattern, skip)))

    def mend(self) -> None:
        """Forgets the cuts that were not made, flows, takes connections, delays nothing."""
        self.delay, self.rate = 0.0, None
        self._call(self._cuts.clear)
        self.flow()
        self.accept()

    def strand(self) -> None:
        """Carries nothing more on the connections that are open, and tells neither side.

        So a failover leaves them that takes an address away. New ones are carried.
        """
        self._call(lambda: self._stranded.update(self._open))

    def hang(self) -> None:
        """Holds all bytes back, on new connections too; nobody learns that nothing arrives."""
        self._call(self._flows.clear)

    def flow(self) -> None:
        """Ends ``hang``: what was held back goes on."""
        self._call(self._flows.set)

    def refuse(self) -> None:
        """Takes no more connections, as a server that is down; those that are open stay."""
        self._ask(self._close())

    def accept(self) -> None:
        """Takes connections."""
        self._ask(self._listen())

    # -- in the thread ----------------------------------------------------------------------

    def _call(self, step: Callable[[], object]) -> None:
        done = threading.Event()

        def stepped() -> None:
            step()
            done.set()

        self._loop.call_soon_threadsafe(stepped)
        done.wait(10)

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, LOOPBACK, self._port)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _end(self) -> None:
        self._cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut_all(self) -> None:
        for pair in list(self._open):
            self._cut_one(pair)

    def _cut_one(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        for writer in pair:
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        pair = None
        try:
            answers, server = await asyncio.open_connection(LOOPBACK, self._target, limit=_CHUNK)
            pair = (client, server)
            self._open.add(pair)
            self.most_connections = max(self.most_connections, len(self._open))
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry("request", reader, server, pair))
                ways.create_task(self._carry("answer", answers, client, pair))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            if pair is not None:
                self._open.discard(pair)
                self._stranded.discard(pair)
            client.close()
            self._tasks.discard(task)

    async def _carry(
        self,
        way: Way,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        try:
            while chunk := await reader.read(self._most()):
                await self._flows.wait()
                if pair in self._stranded:
                    continue
                if self._is_cut(way, chunk):
                    self._cut_one(pair)
                    return
                await asyncio.sleep(self.delay)
                if self.rate is not None:
                    async with self._narrow[way]:
                        await asyncio.sleep(len(chunk) / self.rate)
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()

    def _most(self) -> int:
        # Small pieces where the rate is low, so that it is low all the time.
        return _CHUNK if self.rate is None else max(1024, min(_CHUNK, int(self.rate / 20)))

    def _is_cut(self, way: Way, chunk: bytes) -> bool:
        for cut in self._cuts:
            if cut.way == way and cut.pattern in chunk:
                if cut.skip:
                    cut.skip -= 1
                    continue
                self._cuts.remove(cut)
                self.cuts_made += 1
                return True
        return False

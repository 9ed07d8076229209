"""A bare Skyward in a process of its own: it answers as fast as it can and checks nothing.

The stand-in Skyward enforces Skyward's rules, which costs more than what is to be measured. This
one remembers the last bodies only, so that a result can be read back. The first segment of the
path chooses how it behaves: ``/ok``, ``/throttling`` (three of four writes are answered 429),
``/dead`` (nothing is ever answered), ``/far`` (each answer comes 50 ms later).
"""

import asyncio
import json
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import ClassVar, Final, cast

import uvloop

from tests.bench.nights import CLASSES

FAR_SECONDS: Final = 0.05
_REMEMBERED: Final = 8192
_HEAD: Final = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_TOKEN: Final = json.dumps({"access_token": "t", "expires_in": 3600}).encode()
_DAYS: Final = {"startDate": "2020-01-01", "endDate": "2030-12-31"}
_TERM: Final = {"sourcedId": "term", "type": "term", "status": "active", **_DAYS}
_PERIOD: Final = {
    "sourcedId": "gp",
    "type": "gradingPeriod",
    "status": "active",
    "parent": {"sourcedId": "term"},
    **_DAYS,
}
_CATEGORIES: Final = {"categories": [{"sourcedId": "quiz", "title": "Quiz", "status": "active"}]}
_LISTS: Final = {
    b"academicSessions": json.dumps({"academicSessions": [_TERM, _PERIOD]}).encode(),
    b"gradingPeriods": json.dumps({"gradingPeriods": [_PERIOD]}).encode(),
    b"categories": json.dumps(_CATEGORIES).encode(),
    b"classes": json.dumps(
        {
            "classes": [
                {"sourcedId": f"c{n}", "status": "active", "terms": [{"sourcedId": "term"}]}
                for n in range(CLASSES)
            ]
        }
    ).encode(),
}
_ONE_CLASS: Final = json.dumps(
    {"class": {"sourcedId": "c", "status": "active", "terms": [{"sourcedId": "term"}]}}
).encode()


class _Server(asyncio.Protocol):
    """One connection; requests come one after the other, bodies with a Content-Length."""

    held: ClassVar[OrderedDict[bytes, bytes]] = OrderedDict()
    writes: ClassVar = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = end + 4 + length
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            method, path, _ = head.split(b" ", 2)
            if path.startswith(b"/dead"):
                continue
            status, answer = self._answer(method, path, body)
            whole_answer = _HEAD % (status, len(answer)) + answer
            if path.startswith(b"/far"):
                asyncio.get_running_loop().call_later(
                    FAR_SECONDS, self._transport.write, whole_answer
                )
            else:
                self._transport.write(whole_answer)

    def _answer(self, method: bytes, path: bytes, body: bytes) -> tuple[bytes, bytes]:
        if method == b"PUT":
            _Server.writes += 1
            if path.startswith(b"/throttling") and _Server.writes % 4:
                return b"429 Too Many Requests", b""
            self.held[path] = body
            self.held.move_to_end(path)
            if len(self.held) > _REMEMBERED:
                self.held.popitem(last=False)
            return b"201 Created", b""
        if method == b"POST":
            return b"200 OK", _TOKEN
        if path in self.held:
            return b"200 OK", self.held[path]
        last = path.partition(b"?")[0].rsplit(b"/", 2)
        if last[2] in _LISTS:
            return b"200 OK", _LISTS[last[2]]
        if last[1] == b"classes":
            return b"200 OK", _ONE_CLASS
        return b"404 Not Found", b""


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The end of its input is the end of whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def stub_skyward() -> Iterator[str]:
    """Runs one; gives its origin, ``http://127.0.0.1:PORT``."""
    command = [sys.executable, "-m", __spec__.name]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    uvloop.run(_serve())

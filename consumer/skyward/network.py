"""The process's way out: one set of connections for all districts, over aiohttp.

``httpx.Request`` goes straight to aiohttp's connections: httpx's own client and pool cost ten times
what the request costs. What would be worked out anew for each request, its headers and its URL as
aiohttp takes them, comes with it. No cookie, proxy, redirect or environment variable is honoured.
"""

import asyncio
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from consumer.errors import DistrictStopped, LeaseLost
from consumer.gradebook import Reason
from consumer.skyward.addresses import REFUSED, AllowedAddresses, NetworkRange
from consumer.skyward.deadlines import Deadline, Deadlines

_KEEP_ALIVE: Final = 30.0
_DNS_TTL: Final = 60
_LOOKUPS: Final = 64
"""How many names are looked up at once: more than districts are flushed side by side."""

# zlib's numbers for a gzip header, a zlib header, and none.
_WINDOWS: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}


class Reply(NamedTuple):
    """An answer as it came; ``body`` is cut at the bound where it is ``oversized``."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    oversized: bool

    def header(self, name: str) -> str:
        """All lines of that name, with commas between them; nothing where there is none."""
        return _joined(self.headers, name)


def _joined(headers: CIMultiDictProxy[str], name: str) -> str:
    return ", ".join(headers.getall(name, ()))


class Unanswered(Exception):
    """No answer came. ``code`` is the metric's; ``sent`` if the request may have arrived."""

    def __init__(self, code: str, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.sent = sent


class Network:
    """Connections, TLS and allowed addresses of this process; close it after the last run.

    Must be built inside the event loop. Timeouts are in seconds: ``connect_timeout`` for one
    connection with its TLS handshake, ``total_timeout`` for a whole request.
    """

    def __init__(
        self,
        *,
        allowed_networks: Iterable[NetworkRange] = (),
        allow_http: bool = False,
        connect_timeout: float = 10.0,
        total_timeout: float = 60.0,
    ) -> None:
        self.allow_http: Final = allow_http
        self._addresses: Final = AllowedAddresses(allowed_networks)
        self._timeout: Final = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._deadlines: Final = Deadlines(total_timeout)
        self._resolver: Final = _Resolver()
        self._transports: Final[dict[tuple[str | None, int], Transport]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()
        self._transports.clear()

    def transport(self, ca_file: str | None) -> "Transport":
        """The shared transport; a district's own ``ca_file`` gets one that trusts it as well.

        A file that was written anew since gets another.
        """
        key = (ca_file, _written_at(ca_file))
        if key not in self._transports:
            trusted = _trusted(ca_file)
            connector = aiohttp.TCPConnector(
                ssl=trusted,
                limit=0,  # each district has its own limit; a shared one would join their fates
                keepalive_timeout=_KEEP_ALIVE,
                ttl_dns_cache=_DNS_TTL,
                resolver=self._resolver,
                socket_factory=self._addresses.socket,
            )
            session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
            self._transports[key] = Transport(session, self._timeout, self._deadlines)
        return self._transports[key]


class _Resolver(AbstractResolver):
    """Each name is looked up in a thread of its own, ``_LOOKUPS`` of them at once.

    A lookup cannot be ended: a few districts whose DNS does not answer would take all threads
    of the event loop, and with them every other district's. Nor does the process wait for one.
    """

    def __init__(self) -> None:
        self._room: Final = asyncio.Semaphore(_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()

        def ended(found: list[Any], error: Exception | None) -> None:
            self._room.release()
            if answer.done():
                return  # nobody waits any more
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def ask() -> None:
            found: list[Any] = []
            error: Exception | None = None
            try:
                found = socket.getaddrinfo(
                    host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
                )
            except (OSError, UnicodeError) as failed:
                error = failed
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended, found, error)

        threading.Thread(target=ask, name="dns", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await answer
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class Headers(NamedTuple):
    """The headers of many requests, as httpx and as aiohttp take them."""

    httpx: httpx.Headers
    aiohttp: CIMultiDict[str]

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Headers":
        return cls(httpx.Headers(headers), CIMultiDict(headers))


class _Fenced(aiohttp.BytesPayload):
    """A body that is written only while the lease lasts.

    Between ``write_with_length`` and the socket, the headers' too, aiohttp waits for nothing;
    before it, it waits for the name, the connection, its TLS and the event loop.
    """

    def __init__(self, content: bytes, lease_is_over: Callable[[], bool]) -> None:
        super().__init__(content)
        self._lease_is_over: Final = lease_is_over

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self._lease_is_over():
            raise LeaseLost("the lease ended before a write to Skyward began; it was not made")
        await super().write_with_length(writer, content_length)


_ELSEWHERE: Final = httpx.ByteStream(b"")
"""A request's body lies in its extensions, as aiohttp takes it."""


def request_of(
    method: str,
    url: httpx.URL,
    target: URL,
    headers: Headers,
    content: bytes | None,
    lease_is_over: Callable[[], bool] | None = None,
) -> httpx.Request:
    """A request for ``Transport``; ``target`` is ``url`` as aiohttp takes it, or lies below it.

    With ``lease_is_over``, which is asked when the connection stands, not a byte goes where it
    says so, and ``Transport.ask`` raises ``LeaseLost``.
    """
    body = content or None if lease_is_over is None else _Fenced(content or b"", lease_is_over)
    return httpx.Request(
        method,
        url,
        headers=headers.httpx,
        stream=_ELSEWHERE,
        extensions={"aiohttp": (target, headers.aiohttp, body)},
    )


class Transport:
    """Connections to many Skywards that trust the same certificates."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        timeout: aiohttp.ClientTimeout,
        deadlines: Deadlines,
    ) -> None:
        self._session: Final = session
        self._timeout: Final = timeout
        self._deadlines: Final = deadlines

    async def aclose(self) -> None:
        await self._session.close()

    async def ask(self, request: httpx.Request, bound: int) -> Reply:
        """The whole answer to a request of ``request_of``, of which ``bound`` bytes are kept at
        most; raises ``Unanswered``.
        """
        target, headers, content = request.extensions["aiohttp"]
        try:
            with Deadline(self._deadlines):
                response = await self._session.request(
                    request.method,
                    target,
                    headers=headers,
                    data=content,
                    allow_redirects=False,
                    auto_decompress=False,
                    timeout=self._timeout,
                )
                return await _read(response, bound)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            if isinstance(error.__cause__, LeaseLost):
                raise error.__cause__ from None
            raise _unanswered(error, self._deadlines.seconds) from None


async def _read(response: aiohttp.ClientResponse, bound: int) -> Reply:
    content = response.content
    kept: list[bytes] = []
    length = 0
    try:
        while not content.at_eof() and length <= bound:
            kept.append(await content.readany())
            length += len(kept[-1])
    finally:
        # After the last byte the connection is back in the pool already.
        whole = content.at_eof()
        if not whole:
            response.close()
    body = b"".join(kept)
    if "content-encoding" in response.headers:
        coding = _joined(response.headers, "content-encoding")
        body = _decompressed(body, coding.strip().lower(), bound)
    oversized = not whole or len(body) > bound
    return Reply(response.status, response.headers, body[:bound], oversized)


def _decompressed(body: bytes, coding: str, bound: int) -> bytes:
    """We ask for no compression, but a proxy in between may compress all the same.

    At most ``bound`` bytes and one are made of it, however far it would swell. What is
    compressed in another way, or twice, stays as it came, and is then no JSON.
    """
    for window in _WINDOWS.get(coding, ()):
        with suppress(zlib.error):
            return zlib.decompressobj(window).decompress(body, bound + 1)
    return body


def _unanswered(error: Exception, total: float) -> Unanswered:
    if isinstance(error, aiohttp.ClientSSLError):
        detail = "the TLS handshake with Skyward failed; check the certificate and ca_file"
        return Unanswered("tls", detail, sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        if REFUSED in str(error.os_error):
            detail = (
                "the address of Skyward is private or reserved; "
                "correct base_url and token_url, or allow its network"
            )
            return Unanswered("refused_address", detail, sent=False)
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            detail = "the name of Skyward's host was not found; correct base_url and token_url"
            return Unanswered("connect", detail, sent=False)
        return Unanswered("connect", "Skyward could not be reached", sent=False)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Unanswered("timeout", "Skyward could not be reached in time", sent=False)
    if isinstance(error, TimeoutError):
        return Unanswered("timeout", f"Skyward did not answer within {total:g} s", sent=True)
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):
        detail = "the address of Skyward is no valid URL; correct base_url and token_url"
        return Unanswered("refused_address", detail, sent=False)
    return Unanswered("reset", "the connection to Skyward was lost", sent=True)


def _written_at(ca_file: str | None) -> int:
    try:
        return 0 if ca_file is None else Path(ca_file).stat().st_mtime_ns
    except OSError:
        return 0  # reading it will say why


def _trusted(ca_file: str | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    # Python would write every connection's keys to a file that the environment names.
    context.keylog_filename = None  # type: ignore[assignment]
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError):
            raise DistrictStopped(
                Reason.SKYWARD_UNAVAILABLE,
                f"ca_file {ca_file} cannot be read as PEM certificates; correct the file",
            ) from None
    return context

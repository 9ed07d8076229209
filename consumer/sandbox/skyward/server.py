"""The stand-in's HTTP: each request is journaled, throttled, harmed if told so, and answered."""

import asyncio
import socket
import struct
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import msgspec
from aiohttp import web

from consumer.sandbox.roster import Roster, read_roster
from consumer.sandbox.skyward.answers import (
    LOGIN_PAGE,
    bare_answer,
    html_answer,
    json_answer,
    refusal_answer,
    with_wrong_types,
)
from consumer.sandbox.skyward.behaviour import (
    ErrorShape,
    Fault,
    PathStyle,
    Settings,
    Version,
)
from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.journal import Journal, JournalLine
from consumer.sandbox.skyward.objects import Objects
from consumer.sandbox.skyward.operations import Route, route
from consumer.sandbox.skyward.reads import read
from consumer.sandbox.skyward.refusal import Refusal, forbidden
from consumer.sandbox.skyward.tokens import TokenDesk, TokenError
from consumer.sandbox.skyward.writes import write

_TOKEN_PATHS = {"/oauth/token", "/token"}
_RESET = struct.pack("ii", 1, 0)
_VERSION_SEGMENT: dict[Version, str] = {"1.1": "v1p1", "1.2": "v1p2"}


class _DroppedError(Exception):
    """The connection was cut: no answer goes out."""


class Skyward:
    """All districts of one stand-in, served from one process."""

    def __init__(self, roster: Path, journal: Journal, settings: Settings) -> None:
        self.journal = journal
        self.districts: dict[str, District] = {}
        self._default_roster = roster
        self._default_settings = settings
        self._rosters: dict[Path, Roster] = {}

    def add_district(
        self,
        name: str,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        roster: Path | None = None,
        settings: Settings | None = None,
    ) -> District:
        """A new tenant, or the old one of that name begun anew.

        Without credentials they are `{name}-key` and `{name}-secret`; without roster or settings,
        those of the stand-in's start. RosterError when the folder cannot be read.
        """
        folder = roster or self._default_roster
        if folder not in self._rosters:
            self._rosters[folder] = read_roster(folder)
        desk = TokenDesk(client_id or f"{name}-key", client_secret or f"{name}-secret")
        district = District(name, self._rosters[folder], desk, settings or self._default_settings)
        self.districts[name] = district
        return district

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request for `/{tenant}/...` and writes its line in the journal."""
        whole_path, _, query = request.raw_path.partition("?")
        tenant, _, path = whole_path[1:].partition("/")
        path = "/" + path
        line = self.journal.open_line(tenant, request.method, path)
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            line.authorization = authorization.partition(" ")[0]
        district = self.districts.get(tenant)
        if district is None:
            return self._sent(line, bare_answer(404))
        call = _Call(district, request, path, query, line)
        district.throttle.enter()
        try:
            answer = await self._answer(call)
        except _DroppedError:
            district.answers[line.operation or "none", None] += 1
            return bare_answer(500)
        except BaseException:
            self.journal.write(line)
            raise
        finally:
            district.throttle.leave()
        district.answers[line.operation or "none", answer.status] += 1
        return self._sent(line, answer)

    def _sent(self, line: JournalLine, answer: web.Response) -> web.Response:
        line.status = answer.status
        line.answered_at = datetime.now(UTC)
        self.journal.write(line)
        return answer

    async def _answer(self, call: "_Call") -> web.Response:
        """The answer, with the fault that is planned for the request, if any."""
        settings = call.district.settings
        call.body = await call.request.read()
        if settings.latency:
            await asyncio.sleep(settings.latency)
        try:
            call.admit()
        except Refusal as refusal:
            return call.refused(refusal)
        fault = call.district.faults.next_for(call.request.method, call.path)
        if fault is None:
            return self._serve(call, store=True)
        call.line.fault = fault.kind
        match fault.kind:
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "hang":
                self.journal.write(call.line)
                await _wait_for_hang_up(call.request)
                raise _DroppedError
            case "reset_before":
                self._reset(call)
            case "status":
                headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                told = Refusal(fault.status, _minor(fault.status), fault.description, headers)
                return call.refused(told, fault.shape)
            case "redirect":
                return bare_answer(307, {"Location": fault.location})
            case "login_page":
                return html_answer(200, LOGIN_PAGE)
            case _:
                pass
        answer = self._serve(call, store=fault.kind != "swallow")
        match fault.kind:
            case "delay_answer":
                await asyncio.sleep(fault.seconds)
            case "reset_after":
                self._reset(call)
            case "wrong_types" | "malformed":
                return _spoiled(answer, fault)
            case _:
                pass
        return answer

    def _reset(self, call: "_Call") -> None:
        """Cuts the connection with a TCP reset, after the line is in the journal."""
        self.journal.write(call.line)
        transport = call.request.transport
        if transport is not None:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        raise _DroppedError

    def _serve(self, call: "_Call", *, store: bool) -> web.Response:
        try:
            if call.line.operation == "token":
                return self._token(call)
            return self._oneroster(call, store=store)
        except Refusal as refusal:
            return call.refused(refusal)

    def _token(self, call: "_Call") -> web.Response:
        if call.request.method != "POST":
            return bare_answer(405, {"Allow": "POST"})
        desk = call.district.desk
        authorization = call.request.headers.get("Authorization")
        try:
            granted = desk.grant(authorization, call.body, call.district.settings)
        except TokenError as error:
            call.line.refusal = error.description
            content = {"error": error.code, "error_description": error.description}
            headers = {"WWW-Authenticate": 'Basic realm="skyward"'} if error.status == 401 else {}
            return json_answer(error.status, content, headers)
        return json_answer(200, granted, {"Cache-Control": "no-store"})

    def _oneroster(self, call: "_Call", *, store: bool) -> web.Response:
        district, request, found = call.district, call.request, call.route
        if not isinstance(found, Route):
            raise _nothing_there(call)
        token = district.desk.token(request.headers.get("Authorization"))
        if token is None:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise Refusal(401, "unauthorisedrequest", "no token, or not a valid one", headers)
        call.line.token = token.number
        operation = found.operation
        if not operation.allowed(token.scopes, found.version, district.settings):
            raise forbidden(f"the token has no scope for {operation.name}")
        host = request.headers.get("Host", "127.0.0.1")
        objects = _objects(found.version, found.style, f"http://{host}/{district.name}")
        if request.method == "GET":
            url = f"http://{host}/{district.name}{call.path}"
            return read(district, found, call.query, url, objects)
        written = write(district, found, call.body, objects, time.time(), store=store)
        if store:
            call.line.stored = True
            call.line.stored_seq = self.journal.next_stored()
            call.line.effect = written.effect
        return written.answer


class _Call:
    """One request on its way through."""

    __slots__ = ("body", "district", "line", "path", "query", "request", "route")

    def __init__(
        self,
        district: District,
        request: web.BaseRequest,
        path: str,
        query: str,
        line: JournalLine,
    ) -> None:
        self.district = district
        self.request = request
        self.path = path
        self.query = query
        self.line = line
        self.body = b""
        self.route: Route | str | None = None
        if path in _TOKEN_PATHS:
            line.operation = "token"
            return
        self.route = found = route(request.method, path, district.settings)
        if isinstance(found, Route):
            line.operation = found.operation.name
            line.sourced_id = found.ids[0] if found.ids else None

    def admit(self) -> None:
        """Raises a Refusal while the district, or its token endpoint, serves nobody or is busy."""
        settings, line = self.district.settings, self.line
        is_token = line.operation == "token"
        if settings.unavailable or (is_token and settings.token_unavailable):
            line.fault = "unavailable"
            raise Refusal(503, "server_busy", "Skyward is not available")
        try:
            self.district.throttle.check(settings)
        except Refusal:
            line.fault = "throttled"
            raise

    def refused(self, refusal: Refusal, shape: ErrorShape | None = None) -> web.Response:
        self.line.refusal = refusal.description
        version: Version = "1.1" if "/v1p1" in self.path else "1.2"
        return refusal_answer(refusal, version, self.district.settings, shape)


@lru_cache(maxsize=1024)
def _objects(version: Version, style: PathStyle, base: str) -> Objects:
    segment = _VERSION_SEGMENT[version]
    if style == "flat":
        root = f"{base}/ims/oneroster/{segment}"
        return Objects(version, root, root)
    root = f"{base}/ims/oneroster"
    return Objects(version, f"{root}/rostering/{segment}", f"{root}/gradebook/{segment}")


def _nothing_there(call: _Call) -> Refusal:
    method = call.request.method
    if call.route == "method":
        return Refusal(405, "unsupportedoperation", f"{method} is not served here")
    return Refusal(404, "unknownobject", f"nothing is served at {call.path}")


def _minor(status: int) -> str:
    known = {401: "unauthorisedrequest", 403: "forbidden", 404: "unknownobject"}
    if status in (429, 503):
        return "server_busy"
    return known.get(status, "invaliddata" if status < 500 else "internal_server_error")


def _spoiled(answer: web.Response, fault: Fault) -> web.Response:
    body = answer.body
    if not isinstance(body, bytes) or not body:
        return answer
    if fault.kind == "malformed":
        spoiled = web.Response(status=answer.status, body=body[: len(body) // 2])
        spoiled.headers["Content-Type"] = "application/json"
        return spoiled
    return json_answer(answer.status, with_wrong_types(msgspec.json.decode(body)))


async def _wait_for_hang_up(request: web.BaseRequest) -> None:
    while True:
        await asyncio.sleep(0.05)
        if request.transport is None or request.transport.is_closing():
            return

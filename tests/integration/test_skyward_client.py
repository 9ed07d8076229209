"""The client against a real HTTP server that answers as each test says, and the stand-in."""

import asyncio
import base64
import gzip
import json
import shutil
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from msgspec import structs
from multidict import CIMultiDict

from consumer.district import Skyward as Settings
from consumer.errors import DistrictStopped
from consumer.gradebook import Kind, LineItem, Reason, Result, Scope, ScoreStatus
from consumer.sandbox.skyward import StandIn
from consumer.skyward import Network, Skyward
from consumer.skyward.addresses import AllowedAddresses

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
CHICAGO = ZoneInfo("America/Chicago")
RESULT = Result(
    "r-1", "li-1", "s-1", Decimal("8.5"), ScoreStatus.FULLY_GRADED, NOW.astimezone(CHICAGO), NOW
)
ITEM = LineItem(
    sourced_id="li-1",
    title="Quiz",
    assign_date=NOW.astimezone(CHICAGO),
    due_date=NOW.astimezone(CHICAGO),
    class_sourced_id="c-1",
    school_sourced_id="sch-1",
    category_sourced_id="cat-1",
    grading_period_sourced_id="gp-1",
    result_value_max=Decimal(10),
    modified_at=NOW,
)

Answerer = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """What it was asked, and how it answers; tokens are numbered."""

    answer: Answerer
    url: str = ""
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    token_requests: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    token_status: int = 200
    token_body: dict[str, Any] = field(default_factory=lambda: {"expires_in": 3600})
    token_delay: float = 0.0

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        authorization = request.headers.get("Authorization", "")
        if request.path == "/token":
            self.token_requests.append((authorization, parse_qs(body.decode())))
            await asyncio.sleep(self.token_delay)
            token = {"access_token": f"token-{len(self.token_requests)}"} | self.token_body
            return web.json_response(token, status=self.token_status)
        self.asked.append((request.method, request.raw_path, body))
        self.authorizations.append(authorization)
        return await self.answer(request, body)


def always(status: int, body: object = b"", **headers: str) -> Answerer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=raw, headers=named)

    return answer


def in_turn(*answers: Answerer) -> Answerer:
    """One answer after the other, the last for ever."""
    left = list(answers)

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request, received)

    return answer


async def reset(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


@asynccontextmanager
async def serving(answer: Answerer) -> AsyncIterator[Server]:
    server = Server(answer)
    runner = web.ServerRunner(web.Server(server.serve), shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass
class Connected:
    skyward: Skyward
    observed: list[tuple[str, str]]


@asynccontextmanager
async def connected(
    server: Server, *, total_timeout: float = 5.0, delete: bool = False, **settings: Any
) -> AsyncIterator[Connected]:
    given: dict[str, Any] = {"base_url": server.url, "token_url": f"{server.url}/token"}
    observed: list[tuple[str, str]] = []
    network = Network(allowed_networks=LOOPBACK, allow_http=True, total_timeout=total_timeout)
    async with (
        network,
        Skyward.connect(
            Settings.model_validate(given | settings),
            "key",
            "hush:hush",
            network=network,
            observe=lambda operation, code, seconds: observed.append((operation, code)),
            now=lambda: NOW,
            delete=delete,
            backoff=0.001,
        ) as skyward,
    ):
        yield Connected(skyward, observed)


# --- tokens -------------------------------------------------------------------------------


async def test_the_client_names_itself_by_basic_or_in_the_form() -> None:
    async with serving(always(201)) as server:
        async with connected(server) as run:
            assert (await run.skyward.put_result(RESULT)).kind is Kind.POST
        async with connected(server, client_auth="body", product="sms2", delete=True) as run:
            assert (await run.skyward.put_result(RESULT)).kind is Kind.POST
    (basic, form), (none, in_form) = server.token_requests
    assert basic == "Basic " + base64.b64encode(b"key:hush:hush").decode()
    assert set(form) == {"grant_type", "scope"}
    assert form["scope"][0].count("/v1p2/scope/") == 3
    assert none == ""
    assert (in_form["client_id"], in_form["client_secret"]) == (["key"], ["hush:hush"])
    assert in_form["scope"][0].endswith("/v1p1/scope/gradebook.delete")
    assert server.authorizations == ["Bearer token-1", "Bearer token-2"]


async def test_many_at_once_ask_for_one_token() -> None:
    async with serving(always(201)) as server, connected(server, max_concurrency=8) as run:
        server.token_delay = 0.05
        await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(20)))
    assert len(server.token_requests) == 1


async def test_a_token_is_renewed_before_it_expires() -> None:
    async with serving(always(201)) as server, connected(server) as run:
        server.token_body = {"expires_in": 1}
        await run.skyward.put_result(RESULT)
        await run.skyward.put_result(RESULT)
        assert len(server.token_requests) == 1
        await asyncio.sleep(0.92)
        await run.skyward.put_result(RESULT)
    assert server.authorizations[-1] == "Bearer token-2"


async def test_a_401_gets_one_new_token_and_the_request_goes_again() -> None:
    async with (
        serving(in_turn(always(201), always(401), always(201))) as server,
        connected(server) as run,
    ):
        await run.skyward.put_result(RESULT)
        assert (await run.skyward.put_result(RESULT)).kind is Kind.POST
    assert server.authorizations == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


async def test_a_second_401_stops_the_district() -> None:
    async with serving(always(401)) as server, connected(server, max_concurrency=4) as run:
        outcomes = await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(10)))
        for outcome in [*outcomes, await run.skyward.put_line_item(ITEM)]:
            assert (outcome.reason, outcome.scope) == (Reason.CREDENTIALS_REFUSED, Scope.DISTRICT)
        with pytest.raises(DistrictStopped):
            await run.skyward.read_categories()
    assert len(server.asked) <= 4


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {}, Reason.CREDENTIALS_REFUSED),
        (400, {"error": "invalid_client"}, Reason.CREDENTIALS_REFUSED),
        (400, {"error": "invalid_scope"}, Reason.LICENCE_MISSING),
        (503, {}, Reason.SKYWARD_UNAVAILABLE),
        (404, {}, Reason.SKYWARD_UNAVAILABLE),
        (302, {}, Reason.SKYWARD_UNAVAILABLE),
        (200, {"access_token": "a\nb"}, Reason.SKYWARD_UNAVAILABLE),
    ],
)
async def test_without_a_token_the_district_stops(
    status: int, body: dict[str, Any], reason: Reason
) -> None:
    async with serving(always(201)) as server, connected(server) as run:
        server.token_status, server.token_body = status, body
        with pytest.raises(DistrictStopped) as stopped:
            await run.skyward.read_categories()
        assert stopped.value.reason == reason
        outcome = await run.skyward.put_result(RESULT)
        assert (outcome.reason, outcome.scope) == (reason, Scope.DISTRICT)
        assert "hush" not in outcome.detail
    assert not server.asked
    assert len(server.token_requests) == (3 if status == 503 else 1)


# --- writes -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("form", ["standard", "lean"])
async def test_a_body_arrives_under_its_percent_encoded_id(version: str, form: str) -> None:
    odd = "a b/ü?#%41+&=:@..", ".."
    async with (
        serving(always(204)) as server,
        connected(server, oneroster_version=version, wire_form=form) as run,
    ):
        for sourced_id in odd:
            await run.skyward.put_result(structs.replace(RESULT, sourced_id=sourced_id))
            await run.skyward.put_line_item(structs.replace(ITEM, sourced_id=sourced_id))
            await run.skyward.delete_result(sourced_id)
    segment = "v1p1" if version == "1.1" else "v1p2"
    encoded = "a%20b%2F%C3%BC%3F%23%2541%2B%26%3D%3A%40.."
    assert [(method, path) for method, path, _ in server.asked] == [
        (method, f"/ims/oneroster/{segment}/{collection}/{one}")
        for one in (encoded, "%2E%2E")
        for method, collection in [("PUT", "results"), ("PUT", "lineItems"), ("DELETE", "results")]
    ]
    first = json.loads(server.asked[0][2])["result"]
    assert (first["sourcedId"], first["score"]) == (odd[0], 8.5)
    assert ("status" in first) == (form == "standard")
    assert json.loads(server.asked[1][2])["lineItem"]["resultValueMax"] == 10


async def test_an_allocated_id_is_kept() -> None:
    pair = {"suppliedSourcedId": "r-1", "allocatedSourcedId": "SKY-77"}
    async with (
        serving(always(201, {"sourcedIdPairs": [pair]})) as server,
        connected(server) as run,
    ):
        assert (await run.skyward.put_result(RESULT)).allocated_id == "SKY-77"


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_throttled_write_waits_as_told_and_goes_again(form: str) -> None:
    async def throttle(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        at = datetime.now(UTC) + timedelta(seconds=1)
        said = "0.3" if form == "seconds" else f"{at:%a, %d %b %Y %H:%M:%S GMT}"
        return web.Response(status=429, headers={"Retry-After": said})

    loop = asyncio.get_running_loop()
    async with serving(in_turn(throttle, always(201))) as server, connected(server) as run:
        started = loop.time()
        assert (await run.skyward.put_result(RESULT)).kind is Kind.POST
        assert loop.time() - started >= (0.3 if form == "seconds" else 0.9)
    assert [code for name, code in run.observed if name == "put_result"] == ["429", "201"]


async def test_a_retry_after_holds_all_requests_of_the_district() -> None:
    loop = asyncio.get_running_loop()
    arrived: list[float] = []

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        arrived.append(loop.time())
        if len(arrived) == 1:
            return web.Response(status=429, headers={"Retry-After": "0.3"})
        return web.Response(status=201)

    async with serving(answer) as server, connected(server, max_concurrency=1) as run:
        await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(4)))
    assert min(arrived[1:]) - arrived[0] >= 0.29
    assert len(arrived) == 5


async def test_endless_throttling_defers_and_then_stops_the_district() -> None:
    async with serving(always(429)) as server, connected(server) as run:
        first = await run.skyward.put_result(RESULT)
        assert (first.reason, first.scope, first.unknown) == (Reason.THROTTLED, Scope.ITEM, False)
        assert len(server.asked) == 5
        rest = [await run.skyward.put_result(of_line_item(n)) for n in range(3)]
        assert [o.scope for o in rest] == [Scope.ITEM, Scope.DISTRICT, Scope.DISTRICT]
        assert len(server.asked) == 15


async def test_a_reset_after_the_write_is_sent_again() -> None:
    async with (
        serving(in_turn(reset, always(503), always(201))) as server,
        connected(server) as run,
    ):
        assert (await run.skyward.put_result(RESULT)).kind is Kind.POST
    assert len(server.asked) == 3
    assert len({body for _, _, body in server.asked}) == 1


async def test_an_answer_that_never_comes_leaves_the_outcome_unknown() -> None:
    async with serving(hang) as server, connected(server, total_timeout=0.1) as run:
        outcome = await run.skyward.put_result(RESULT)
    assert (outcome.kind, outcome.reason) == (Kind.DEFER, Reason.SKYWARD_UNAVAILABLE)
    assert (outcome.unknown, outcome.status, outcome.scope) == (True, None, Scope.ITEM)
    assert len(server.asked) == 3
    assert [code for _, code in run.observed] == ["200", "timeout", "timeout", "timeout"]


def of_line_item(number: int) -> Result:
    return structs.replace(RESULT, line_item_sourced_id=f"line-item-{number}")


async def test_failing_over_three_line_items_in_a_row_stops_the_district_at_once() -> None:
    async with serving(always(500)) as server, connected(server) as run:
        outcomes = [await run.skyward.put_result(of_line_item(n)) for n in range(5)]
    assert [o.scope for o in outcomes] == [Scope.ITEM] * 2 + [Scope.DISTRICT] * 3
    assert [o.unknown for o in outcomes] == [True] * 3 + [False] * 2
    assert len(server.asked) == 9


async def test_failing_over_one_line_item_again_and_again_is_not_the_districts_fault() -> None:
    async with serving(always(500)) as server, connected(server) as run:
        outcomes = [await run.skyward.put_result(RESULT) for _ in range(7)]
    assert {o.scope for o in outcomes} == {Scope.ITEM}


async def test_a_refusal_among_failures_shows_that_skyward_lives() -> None:
    failing = [always(500)] * 12
    async with (
        serving(in_turn(*failing, always(400), *failing, always(201))) as server,
        connected(server) as run,
    ):
        outcomes = [await run.skyward.put_result(RESULT) for _ in range(10)]
    assert {o.scope for o in outcomes} == {Scope.ITEM}
    assert outcomes[4].reason is Reason.REFUSED_BY_SKYWARD


async def test_an_unreachable_server_is_no_unknown_outcome() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with serving(always(201)) as server:
        unreachable = f"http://127.0.0.1:{port}"
        async with connected(server, base_url=unreachable) as run:
            outcome = await run.skyward.put_result(RESULT)
    assert ("put_result", "connect") in run.observed
    assert (outcome.reason, outcome.unknown) == (Reason.SKYWARD_UNAVAILABLE, False)


async def test_web_pages_and_failures_in_a_200_are_not_taken_for_success() -> None:
    page = always(200, b"<html><title>Sign in</title></html>")
    failure = always(
        200, {"imsx_codeMajor": "failure", "imsx_description": "grading period is closed"}
    )
    async with serving(page) as server, connected(server) as run:
        outcome = await run.skyward.put_result(RESULT)
        assert (outcome.reason, len(server.asked)) == (Reason.SKYWARD_UNAVAILABLE, 3)
        server.answer = failure
        outcome = await run.skyward.put_line_item(ITEM)
        assert (outcome.reason, len(server.asked)) == (Reason.REFUSED_GRADING_PERIOD, 4)


async def test_an_endless_answer_is_cut() -> None:
    async def endless(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        for _ in range(300):
            await response.write(b" " * 10_000)
        return response

    async with serving(endless) as server, connected(server) as run:
        assert (await run.skyward.put_result(RESULT)).kind is Kind.POST


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_answer_that_was_compressed_on_the_way_is_read(coding: str) -> None:
    pages = {"categories": [{"sourcedId": f"cat-{n}", "status": "active"} for n in range(500)]}
    raw = json.dumps(pages).encode()
    body = gzip.compress(raw) if coding == "gzip" else zlib.compress(raw)
    headers = {"Content_Encoding": coding, "Content_Type": "application/json"}
    async with serving(always(200, body, **headers)) as server, connected(server) as run:
        assert len(await run.skyward.read_categories()) == 500


@pytest.mark.parametrize(
    ("coding", "nested"), [("gzip", 1), ("deflate", 1), ("gzip, gzip", 2), ("br", 1), ("x" * 99, 1)]
)
async def test_an_answer_that_swells_when_it_is_decompressed_is_cut(
    coding: str, nested: int
) -> None:
    """120 MB of blanks arrive as 120 kB; a few districts' answers would end the process."""
    press = zlib.compressobj(9, wbits=15 if coding == "deflate" else 31)
    body = b"".join(press.compress(b" " * 1_000_000) for _ in range(120)) + press.flush()
    for _ in range(nested - 1):
        body = gzip.compress(body)
    async with (
        serving(always(200, body, Content_Encoding=coding)) as server,
        connected(server, total_timeout=20) as run,
    ):
        await run.skyward.granted_scopes()
        tracemalloc.start()
        try:
            with pytest.raises(DistrictStopped):
                await run.skyward.read_categories()
            outcome = await run.skyward.put_result(RESULT)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert outcome.reason is Reason.SKYWARD_UNAVAILABLE
    assert peak < 50_000_000


# --- where requests may go ----------------------------------------------------------------


async def test_a_redirect_is_never_followed_and_stops_the_district() -> None:
    async with (
        serving(always(201)) as elsewhere,
        serving(always(307, Location=f"{elsewhere.url}/x")) as server,
        connected(server) as run,
    ):
        outcome = await run.skyward.put_result(RESULT)
    assert (outcome.scope, outcome.status) == (Scope.DISTRICT, 307)
    assert not elsewhere.asked
    assert not elsewhere.token_requests
    assert len(server.asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_refused_when_connecting(host: str) -> None:
    async with serving(always(201)) as server:
        port = server.url.rpartition(":")[2]
        settings = Settings.model_validate(
            {"base_url": f"http://{host}:{port}", "token_url": f"http://{host}:{port}/token"}
        )
        observed: list[tuple[str, str]] = []
        async with (
            Network(allow_http=True) as network,
            Skyward.connect(
                settings,
                "key",
                "secret",
                network=network,
                now=lambda: NOW,
                observe=lambda operation, code, seconds: observed.append((operation, code)),
            ) as skyward,
        ):
            outcome = await skyward.put_result(RESULT)
    assert (outcome.reason, outcome.scope) == (Reason.SKYWARD_UNAVAILABLE, Scope.DISTRICT)
    assert not server.token_requests
    assert observed == [("token", "refused_address")]


def test_only_public_addresses_are_allowed_unless_named() -> None:
    addresses = AllowedAddresses([ip_network("10.1.0.0/16")])
    public = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "10.1.2.3"]
    refused = ["10.2.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.1.1", "0.0.0.0"]
    refused += ["224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::1", "::"]
    refused += ["fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:10.2.0.1", "64:ff9b::7f00:1"]
    refused += ["2002:7f00:1::", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1"]
    # Whatever the ipaddress of this Python calls global: Oracle's metadata, relays, site-local
    # addresses, documentation, all that IANA gave to nobody.
    refused += ["192.0.0.192", "192.88.99.1", "198.18.0.1", "fec0::1", "3fff::1", "2001:db8::1"]
    refused += ["2001:0:1::1", "4000::1", "5f00::1", "100::1", "fe80::1%eth0", "::ffff:0.0.0.0"]
    assert [a for a in public if not addresses.allows(ip_address(a))] == []
    assert [a for a in refused if addresses.allows(ip_address(a))] == []


async def test_plain_http_is_refused_unless_allowed() -> None:
    settings = Settings.model_validate(
        {"base_url": "http://d.example", "token_url": "https://d.example/token"}
    )
    async with Network() as network:
        with pytest.raises(DistrictStopped, match="base_url is plain http"):
            async with Skyward.connect(settings, "k", "s", network=network, now=lambda: NOW):
                raise AssertionError


@pytest.mark.parametrize("host", ["[v1.x]", "a\\b"])
async def test_a_host_that_no_client_takes_stops_the_district(host: str) -> None:
    """A file with it would be refused; this one was applied by an older build."""
    for urls in (
        (f"https://{host}/", "https://d.example/"),
        ("https://d.example/", f"https://{host}"),
    ):
        settings = Settings.model_validate(
            {"base_url": "https://d.example/", "token_url": "https://d.example/"}
        ).model_copy(update=dict(zip(("base_url", "token_url"), urls, strict=True)))
        async with Network() as network:
            with pytest.raises(DistrictStopped, match="no valid URL"):
                async with Skyward.connect(settings, "k", "s", network=network, now=lambda: NOW):
                    raise AssertionError


async def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    async with serving(always(201)) as server:
        for name in ("ca.pem", "missing.pem"):
            with pytest.raises(DistrictStopped, match=name):
                async with connected(server, ca_file=str(tmp_path / name)):
                    raise AssertionError


async def test_tls_that_is_not_answered_stops_the_district() -> None:
    async with serving(always(201)) as server:
        secure = replace(server, url=server.url.replace("http:", "https:"))
        async with connected(secure) as run:
            outcome = await run.skyward.put_result(RESULT)
    assert outcome.scope is Scope.DISTRICT
    assert run.observed == [("token", "tls")]


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(always(201)) as server, connected(server) as run:
        assert (await run.skyward.put_result(RESULT)).kind is Kind.POST


async def test_no_cookie_is_kept() -> None:
    seen: list[str | None] = []

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        seen.append(request.headers.get("Cookie"))
        return web.Response(status=201, headers={"Set-Cookie": "who=me"})

    async with serving(answer) as server, connected(server) as run:
        await run.skyward.put_result(RESULT)
        await run.skyward.put_result(RESULT)
    assert seen == [None, None]


# --- reads --------------------------------------------------------------------------------


def paged(rows: int, *, cap: int, header: str = "") -> Answerer:
    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        end = min(offset + min(limit, cap), rows)
        headers = CIMultiDict[str]()
        if header == "total":
            headers["X-Total-Count"] = str(rows)
        if header == "totals":
            # Two that disagree say nothing.
            headers.add("X-Total-Count", str(end))
            headers.add("X-Total-Count", str(rows))
        if header.startswith("link"):
            links = ['<https://elsewhere.invalid/?offset=0>; rel="first"']
            if end < rows:
                links.append('<https://elsewhere.invalid/?offset=9>; rel="next"')
            for link in links if header == "links" else [", ".join(links)]:
                headers.add("Link", link)
        found = [{"sourcedId": f"k-{i}"} for i in range(offset, end)]
        return web.json_response({"categories": found}, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("rows", "cap", "header", "pages"),
    [
        (25, 100, "", 3),
        (20, 100, "", 3),
        (0, 100, "", 1),
        (25, 4, "total", 7),
        (20, 100, "total", 2),
        (25, 100, "totals", 3),
        (25, 4, "link", 7),
        (25, 4, "links", 7),
    ],
)
async def test_pages_are_read_to_the_end(rows: int, cap: int, header: str, pages: int) -> None:
    async with (
        serving(paged(rows, cap=cap, header=header)) as server,
        connected(server, page_size=10) as run,
    ):
        assert await run.skyward.read_categories() == {f"k-{i}" for i in range(rows)}
    assert len(server.asked) == pages


async def test_a_server_that_repeats_a_page_for_ever_is_left() -> None:
    same = {"categories": [{"sourcedId": f"k-{i}"} for i in range(10)]}
    async with serving(always(200, same)) as server, connected(server, page_size=10) as run:
        with pytest.raises(DistrictStopped, match="repeats"):
            await run.skyward.read_categories()
    assert len(server.asked) == 2


async def test_a_list_that_never_ends_is_left_before_it_fills_the_memory() -> None:
    """No page repeats, and more are always promised."""
    sent = 0

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        nonlocal sent
        sent += 1
        rows = [{"sourcedId": f"c-{sent}-{i}"} for i in range(20_000)]
        return web.json_response({"categories": rows}, headers={"X-Total-Count": "99999999"})

    async with serving(answer) as server, connected(server) as run:
        with pytest.raises(DistrictStopped, match="more than 200000 rows"):
            await run.skyward.read_categories()
    assert sent == 11


async def test_sessions_are_read_with_those_above_them() -> None:
    def session(sourced_id: str, kind: str, parent: str | None) -> dict[str, Any]:
        above = {} if parent is None else {"parent": {"sourcedId": parent}}
        dates = {"startDate": "2026-08-15", "endDate": "2026-12-18"}
        return {"sourcedId": sourced_id, "type": kind} | dates | above

    terms = [session("t-1", "term", None)]
    periods = [session("gp-1", "gradingPeriod", "t-1")]

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        if request.path.endswith("/terms"):
            return web.json_response({"terms": terms})
        if request.path.endswith("/gradingPeriods"):
            return web.json_response({"academicSessions": periods})
        return web.Response(status=404, body=b"<html>")

    async with serving(answer) as server, connected(server) as run:
        found = {s.sourced_id: s.parent for s in await run.skyward.read_sessions()}
    assert found == {"t-1": None, "gp-1": "t-1"}


async def test_what_is_not_there_is_none_and_what_fails_stops_the_district() -> None:
    async with serving(always(404)) as server, connected(server) as run:
        skyward = run.skyward
        assert await skyward.read_line_item("li") is None
        assert await skyward.read_result("r") is None
        assert await skyward.read_class("c") is None
        assert await skyward.read_students("c") is None
        assert await skyward.read_class_categories("c") is None
        assert [r async for r in skyward.read_results_of("c", "li")] == []
        for status, reason in [
            (403, Reason.LICENCE_MISSING),
            (500, Reason.SKYWARD_UNAVAILABLE),
            (400, Reason.SKYWARD_UNAVAILABLE),
            (200, Reason.SKYWARD_UNAVAILABLE),
        ]:
            server.answer = always(status)
            with pytest.raises(DistrictStopped) as stopped:
                await skyward.read_categories()
            assert stopped.value.reason == reason
        server.answer = always(405)
        assert await skyward.read_class_categories("c") is None


async def test_results_are_filtered_again_and_exact() -> None:
    rows = [
        {
            "sourcedId": f"r-{i}",
            "student": {"sourcedId": f"s-{i}"},
            "lineItem": {"sourcedId": "li-1" if i < 2 else "other"},
            "score": 8.1,
        }
        for i in range(3)
    ]
    async with serving(always(200, {"results": rows})) as server, connected(server) as run:
        found = [row async for row in run.skyward.read_results_of("c", "li-1")]
    assert [(row.student_sourced_id, row.score) for row in found] == [
        ("s-0", Decimal("8.1")),
        ("s-1", Decimal("8.1")),
    ]


# --- pace ---------------------------------------------------------------------------------


async def test_the_pace_rises_to_the_ceiling_and_halves_when_throttled() -> None:
    at_once = peak = 0
    first_peak = 0

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        nonlocal at_once, peak, first_peak
        at_once += 1
        peak = max(peak, at_once)
        if len(server.asked) <= 4:
            first_peak = max(first_peak, at_once)
        await asyncio.sleep(0.002)
        at_once -= 1
        return web.Response(status=201)

    async with serving(answer) as server, connected(server, max_concurrency=6) as run:
        await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(120)))
        assert first_peak <= 3
        assert peak == 6
        assert run.skyward.concurrency == 6
        server.answer = in_turn(always(429), always(201))
        await run.skyward.put_result(RESULT)
        assert run.skyward.concurrency == 3


async def test_connections_are_used_again_and_no_more_are_opened_than_requests_at_once() -> None:
    connections = set[object]()

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        connections.add(request.transport)
        return web.Response(status=201)

    async with serving(answer) as server, connected(server, max_concurrency=6) as run:
        await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(200)))
        assert run.skyward.concurrency == 6
        assert 2 <= len(connections) <= 6


async def test_the_pace_halves_when_answers_take_longer() -> None:
    seconds = 0.002

    async def answer(request: web.BaseRequest, received: bytes) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(status=201)

    async with serving(answer) as server, connected(server, max_concurrency=12) as run:
        await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(150)))
        assert run.skyward.concurrency == 12
        seconds = 0.3
        await asyncio.gather(*(run.skyward.put_result(RESULT) for _ in range(70)))
        assert run.skyward.concurrency == 6


async def test_a_cancelled_request_gives_its_place_back() -> None:
    async with serving(hang) as server, connected(server, max_concurrency=1) as run:
        writes = [asyncio.create_task(run.skyward.put_result(RESULT)) for _ in range(3)]
        await asyncio.sleep(0.1)
        for write in writes:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
        server.answer = always(201)
        async with asyncio.timeout(2):
            assert (await run.skyward.put_result(RESULT)).kind is Kind.POST


# --- the stand-in Skyward -----------------------------------------------------------------

SCHOOL = Path(str(files("consumer.sandbox"))) / "school" / "district"
PERIODS = """\
gp-fall,active,2026-08-01T06:00:00.000Z,Fall,gradingPeriod,2026-08-15,2026-10-30,session-full,2027
gp-winter,active,2026-08-01T06:00:00.000Z,Winter,gradingPeriod,2026-10-31,2027-01-15,session-full,2027
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    roster = tmp_path_factory.mktemp("roster") / "school"
    shutil.copytree(SCHOOL, roster)
    sessions = roster / "academicSessions.csv"
    kept = [line for line in sessions.read_text().splitlines() if ",gradingPeriod," not in line]
    sessions.write_text("\n".join(kept) + "\n" + PERIODS)
    with StandIn(roster, roster.parent / "journal", today=NOW.date()) as started:
        yield started


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("form", ["standard", "lean"])
async def test_the_stand_in_takes_every_version_and_form(
    stand_in: StandIn, version: str, form: str
) -> None:
    strict = {"references": form, "wire": form} if form == "standard" else {}
    district = stand_in.add_district(f"d-{version}-{form}", settings=strict)
    given: dict[str, Any] = {
        "base_url": district.base_url,
        "token_url": district.token_url,
        "oneroster_version": version,
        "path_style": "split",
        "wire_form": form,
        "page_size": 7,
    }
    network = Network(allowed_networks=LOOPBACK, allow_http=True)
    async with (
        network,
        Skyward.connect(
            Settings.model_validate(given),
            district.client_id,
            district.client_secret,
            network=network,
            now=lambda: NOW,
            delete=True,
            backoff=0.001,
        ) as skyward,
    ):
        periods = {s.sourced_id: s for s in await skyward.read_sessions()}
        assert periods["gp-winter"].parent == "session-full"
        assert periods["session-full"].type == "term"
        assert "cat-test" in await skyward.read_categories()
        classes = await skyward.read_classes()
        class_id = next(iter(classes))
        found = await skyward.read_class(class_id)
        assert found is not None
        assert found.term_ids == classes[class_id] == ("session-full",)
        # 1.1 has no list of a class's categories.
        of_class = await skyward.read_class_categories(class_id)
        assert (of_class is None) == (version == "1.1")
        students = sorted(await skyward.read_students(class_id) or ())

        item = structs.replace(
            ITEM,
            class_sourced_id=class_id,
            school_sourced_id="org-1",
            category_sourced_id="cat-test",
            grading_period_sourced_id="gp-winter",
        )
        result = structs.replace(RESULT, student_sourced_id=students[0])
        assert (await skyward.put_result(result)).reason is Reason.LINE_ITEM_FAILED
        assert (await skyward.put_line_item(item)).kind is Kind.POST
        for number, student in enumerate(students):
            one = structs.replace(result, sourced_id=f"r-{number}", student_sourced_id=student)
            assert (await skyward.put_result(one)).kind is Kind.POST
        exempt = structs.replace(
            result, sourced_id="r-0", score=None, score_status=ScoreStatus.EXEMPT
        )
        assert (await skyward.put_result(exempt)).kind is Kind.POST

        held = await skyward.read_line_item("li-1")
        assert held is not None
        assert (held.title, held.category_sourced_id) == ("Quiz", "cat-test")
        scores = {
            row.student_sourced_id: row.score
            async for row in skyward.read_results_of(class_id, "li-1")
        }
        assert sorted(scores) == students
        assert scores[students[1]] == Decimal("8.5")

        stranger = structs.replace(result, sourced_id="r-x", student_sourced_id="nobody")
        early = ITEM.due_date - timedelta(days=60)
        for write, reason in [
            (skyward.put_result(stranger), Reason.STUDENT_UNKNOWN),
            (
                skyward.put_line_item(
                    structs.replace(item, sourced_id="2", class_sourced_id="nowhere")
                ),
                Reason.CLASS_UNKNOWN,
            ),
            (
                skyward.put_line_item(
                    structs.replace(item, sourced_id="2", category_sourced_id="none")
                ),
                Reason.CATEGORY_REFUSED,
            ),
            (
                skyward.put_line_item(
                    structs.replace(item, sourced_id="2", assign_date=early, due_date=early)
                ),
                Reason.REFUSED_GRADING_PERIOD,
            ),
            (
                skyward.put_line_item(structs.replace(item, sourced_id="2", assign_date=early)),
                Reason.REFUSED_GRADING_PERIOD,
            ),
        ]:
            assert (await write).reason is reason
        assert (await skyward.delete_result("r-1")).kind is Kind.POST
        assert (await skyward.delete_line_item("li-1")).kind is Kind.POST
        assert await skyward.read_line_item("li-1") is None


async def test_the_stand_ins_faults_do_no_lasting_harm(stand_in: StandIn) -> None:
    district = stand_in.add_district("faulty")
    given = {"base_url": district.base_url, "token_url": district.token_url, "max_concurrency": 4}
    network = Network(allowed_networks=LOOPBACK, allow_http=True, total_timeout=0.5)
    async with (
        network,
        Skyward.connect(
            Settings.model_validate(given),
            district.client_id,
            district.client_secret,
            network=network,
            now=lambda: NOW,
            backoff=0.001,
        ) as skyward,
    ):
        class_id = next(iter(await skyward.read_classes()))
        item = structs.replace(
            ITEM,
            class_sourced_id=class_id,
            school_sourced_id="org-1",
            category_sourced_id="cat-test",
            grading_period_sourced_id="gp-winter",
        )
        for fault in ("reset_before", "reset_after", "hang", "login_page", "malformed"):
            district.fault(fault, match="PUT .*/lineItems/")
            assert (await skyward.put_line_item(item)).kind is Kind.POST
        district.expire_tokens()
        assert (await skyward.put_line_item(item)).kind is Kind.POST
        for shape, style in [("nested", "spaces"), ("failure_in_200", "upper")]:
            district.configure(error_shape=shape, minor_code_style=style)
            refused = await skyward.put_line_item(structs.replace(item, category_sourced_id="none"))
            assert refused.reason is Reason.CATEGORY_REFUSED
        district.configure(error_shape="standard", licensed=False)
        refused = await skyward.put_line_item(item)
        assert (refused.reason, refused.scope) == (Reason.FORBIDDEN, Scope.CLASS)
        district.configure(licensed=True, allocates_ids=True, put_body="pair")
        allocated = await skyward.put_line_item(structs.replace(item, sourced_id="li-9"))
        assert allocated.allocated_id not in (None, "li-9")
    assert district.counts()["line_items"] == 2

"""TLS and addresses of Skyward: whom the client believes, on real handshakes."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumer.district import Skyward as Settings
from consumer.gradebook import Kind, Outcome, Scope
from consumer.skyward import Network, Skyward
from tests.integration.test_skyward_client import NOW, RESULT

ROOT = Path(__file__).parents[2]
LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))
_DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority in a directory; its own certificate is ``ca_file``."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {directory.name}")])
        self.ca_file = directory / "ca.pem"
        certificate = _signed(self._name, self._name, self._key, self._key, ca=True)
        self.ca_file.write_bytes(_pem(certificate))

    def server(
        self,
        *names: str,
        ends: datetime | None = None,
        begins: datetime | None = None,
        self_signed: bool = False,
    ) -> ssl.SSLContext:
        """What a server of these names shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        issuer, signer = (subject, key) if self_signed else (self._name, self._key)
        signed = _signed(subject, issuer, key, signer, names=names, begins=begins, ends=ends)
        chain = self._directory / f"{x509.random_serial_number()}.pem"
        chain.write_bytes(
            _pem(signed)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    names: Sequence[str] = (),
    begins: datetime | None = None,
    ends: datetime | None = None,
) -> x509.Certificate:
    today = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or today - 10 * _DAY)
        .not_valid_after(ends or today + 10 * _DAY)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if names:
        alternatives = [_alternative(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class Server:
    """Grants a token, takes every PUT; ``seen`` is what got through to it."""

    port: int = 0
    seen: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        if request.path == "/token":
            return web.json_response({"access_token": "token", "expires_in": 3600})
        return web.Response(status=201)


@asynccontextmanager
async def serving(
    context: ssl.SSLContext | None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    server = Server()
    runner = web.ServerRunner(web.Server(server.answer), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


async def put(
    network: Network, base_url: str, token_url: str | None = None, **settings: Any
) -> tuple[Outcome, list[str]]:
    """One PUT; what became of it, and the codes of the requests that it took."""
    codes: list[str] = []
    given = {"base_url": base_url, "token_url": token_url or f"{base_url}/token"}
    async with Skyward.connect(
        Settings.model_validate(given | settings),
        "key",
        "secret",
        network=network,
        now=lambda: NOW,
        observe=lambda operation, code, seconds: codes.append(code),
        backoff=0.001,
    ) as skyward:
        return await skyward.put_result(RESULT), codes


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "district")


async def test_a_districts_own_authority_is_believed(authority: Authority) -> None:
    async with (
        serving(authority.server("localhost", "127.0.0.1")) as server,
        Network(allowed_networks=LOOPBACK) as network,
    ):
        for host in ("localhost", "127.0.0.1"):
            outcome, codes = await put(
                network, f"https://{host}:{server.port}", ca_file=str(authority.ca_file)
            )
            assert (outcome.kind, codes) == (Kind.POST, ["200", "201"])


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda ca: ca.server("localhost", self_signed=True), id="self-signed"),
        pytest.param(lambda ca: ca.server("other.example"), id="another host's"),
        pytest.param(lambda ca: ca.server("*.localhost"), id="a name below"),
        pytest.param(lambda ca: ca.server("127.0.0.1"), id="the address, not the name"),
        pytest.param(lambda ca: ca.server("localhost", ends=NOW - 300 * _DAY,
                                          begins=NOW - 400 * _DAY), id="expired"),
        pytest.param(lambda ca: ca.server("localhost", begins=datetime.now(UTC) + _DAY),
                     id="not valid yet"),
    ],
)  # fmt: skip
async def test_a_certificate_that_is_wrong_gets_neither_secret_nor_token(
    authority: Authority, shown: Callable[[Authority], ssl.SSLContext]
) -> None:
    async with (
        serving(shown(authority)) as server,
        Network(allowed_networks=LOOPBACK) as network,
    ):
        outcome, codes = await put(
            network, f"https://localhost:{server.port}", ca_file=str(authority.ca_file)
        )
    assert (outcome.scope, codes) == (Scope.DISTRICT, ["tls"])
    assert "certificate" in outcome.detail
    assert server.seen == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_before_1_2_is_not_spoken(authority: Authority) -> None:
    context = authority.server("localhost")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(context) as server, Network(allowed_networks=LOOPBACK) as network:
        url = f"https://localhost:{server.port}"
        outcome, _ = await put(network, url, ca_file=str(authority.ca_file))
    assert (outcome.kind, outcome.scope) == (Kind.DEFER, Scope.DISTRICT)
    assert server.seen == []


async def test_one_districts_authority_is_not_believed_for_another(
    authority: Authority, tmp_path: Path
) -> None:
    """Nor is the connection that the first district left open."""
    other = Authority(tmp_path / "other")
    async with (
        serving(authority.server("localhost")) as server,
        Network(allowed_networks=LOOPBACK) as network,
    ):
        url = f"https://localhost:{server.port}"
        first, _ = await put(network, url, ca_file=str(authority.ca_file))
        seen = list(server.seen)
        for ca_file in (None, str(other.ca_file)):
            outcome, codes = await put(network, url, ca_file=ca_file)
            assert (outcome.scope, codes) == (Scope.DISTRICT, ["tls"])
    assert first.kind is Kind.POST
    assert (
        server.seen
        == seen
        == ["POST /token", f"PUT /ims/oneroster/v1p2/results/{RESULT.sourced_id}"]
    )


Answers = list[list[str]]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What the name rebind.example resolves to, an answer a question; the last stays."""
    answers: Answers = []
    real = socket.getaddrinfo

    def ask(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *rest, **more)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    return answers


async def test_dns_that_changes_its_answer_gets_no_token(dns: Answers) -> None:
    """The name was fine when the token was fetched; then it names the machine next door."""
    dns += [["127.0.0.1"], ["127.0.0.2"]]
    async with (
        serving(None) as skyward,
        serving(None, "127.0.0.2") as internal,
        Network(allowed_networks=LOOPBACK, allow_http=True) as network,
    ):
        outcome, codes = await put(
            network,
            f"http://rebind.example:{internal.port}",
            f"http://rebind.example:{skyward.port}/token",
        )
    assert (outcome.scope, codes) == (Scope.DISTRICT, ["200", "refused_address"])
    assert skyward.seen == ["POST /token"]
    assert internal.seen == []


async def test_of_several_addresses_only_those_allowed_are_reached(dns: Answers) -> None:
    dns += [["127.0.0.2", "127.0.0.1", "169.254.169.254"]]
    async with (
        serving(None, "127.0.0.2") as internal,
        serving(None, "127.0.0.1", internal.port) as skyward,
        Network(allowed_networks=LOOPBACK, allow_http=True) as network,
    ):
        outcome, _ = await put(network, f"http://rebind.example:{skyward.port}")
    assert outcome.kind is Kind.POST
    assert len(skyward.seen) == 2
    assert internal.seen == []


async def test_slow_dns_of_many_districts_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = socket.getaddrinfo

    def ask(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if str(host).startswith("slow-"):
            time.sleep(8)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    async with (
        serving(None) as skyward,
        Network(allowed_networks=LOOPBACK, allow_http=True) as network,
    ):
        slow = [asyncio.create_task(put(network, f"http://slow-{n}.example")) for n in range(20)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        outcome, _ = await put(network, f"http://localhost:{skyward.port}")
        assert time.monotonic() - began < 5
        assert outcome.kind is Kind.POST
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


def test_the_process_does_not_wait_for_a_lookup_that_hangs() -> None:
    program = """
import asyncio, socket, time
from consumer.skyward import Network
from tests.integration.test_tls import put
socket.getaddrinfo = lambda *given, **more: time.sleep(30)
async def main():
    async with Network() as network:
        asking = asyncio.create_task(put(network, "https://d.example"))
        await asyncio.sleep(0.2)
        asking.cancel()
asyncio.run(main())
print("ended")
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=20, check=False
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")


async def test_a_renewed_authority_counts_from_the_next_run_on(
    authority: Authority, tmp_path: Path
) -> None:
    renewed = Authority(tmp_path / "renewed")
    async with Network(allowed_networks=LOOPBACK) as network:
        for server_context in (authority.server("localhost"), renewed.server("localhost")):
            async with serving(server_context) as server:
                url = f"https://localhost:{server.port}"
                outcome, _ = await put(network, url, ca_file=str(authority.ca_file))
                assert outcome.kind is Kind.POST
            authority.ca_file.write_bytes(renewed.ca_file.read_bytes())


async def test_the_keys_of_a_connection_are_written_nowhere(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own contexts write them to the file that this variable names."""
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    async with (
        serving(authority.server("localhost")) as server,
        Network(allowed_networks=LOOPBACK) as network,
    ):
        url = f"https://localhost:{server.port}"
        outcome, _ = await put(network, url, ca_file=str(authority.ca_file))
    assert outcome.kind is Kind.POST
    assert "SECRET" not in (keys.read_text() if keys.exists() else "")

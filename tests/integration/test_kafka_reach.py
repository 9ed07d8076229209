"""Why Kafka is not reached: each cause has its own sentence, on real sockets and a real broker."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consumer.errors import ServiceUnavailable
from consumer.intake import LogEnd
from consumer.sandbox.kafka import Kafka
from consumer.settings import KafkaSettings, load
from tests.integration.test_tls import Authority

SASL = {
    "PASSBACK_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "PASSBACK_KAFKA_SASL_USERNAME": "passback",
    "PASSBACK_KAFKA_SASL_PASSWORD": "not this one",
}


def kafka(servers: str, protocol: str = "PLAINTEXT", **more: str) -> KafkaSettings:
    environ = {
        "PASSBACK_DATABASE_URL": "postgresql://passback@127.0.0.1/passback",
        "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": servers,
        "PASSBACK_KAFKA_SECURITY_PROTOCOL": protocol,
        **more,
    }
    return load(environ=environ).require_kafka()


async def told(settings: KafkaSettings) -> str:
    with pytest.raises(ServiceUnavailable) as caught:
        async with asyncio.timeout(30):
            await LogEnd(settings).read()
    return str(caught.value)


@asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Something that lets everybody connect and says nothing."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_broker_that_is_away_is_to_be_started() -> None:
    assert await told(kafka("127.0.0.1:1")) == (
        "Kafka at 127.0.0.1:1 does not answer (KafkaConnectionError);"
        " start it or correct PASSBACK_KAFKA_BOOTSTRAP_SERVERS."
    )


async def test_a_name_that_is_not_known_is_named() -> None:
    said = await told(kafka("kafka.invalid:9092"))
    assert "is not known to DNS (kafka.invalid); correct PASSBACK_KAFKA_BOOTSTRAP_SERVERS" in said


async def test_tls_to_a_broker_that_speaks_none(kafka_broker: Kafka) -> None:
    said = await told(kafka(kafka_broker.bootstrap_servers, "SSL"))
    assert "does not speak TLS with us; correct PASSBACK_KAFKA_SECURITY_PROTOCOL" in said


async def test_a_login_that_is_refused_is_no_broker_that_is_away(kafka_broker: Kafka) -> None:
    said = await told(kafka(kafka_broker.bootstrap_servers, "SASL_PLAINTEXT", **SASL))
    assert "lets us connect and not log in; correct PASSBACK_KAFKA_SASL_USERNAME" in said
    assert "not this one" not in said


async def test_what_is_no_kafka_or_wants_tls() -> None:
    async with listening(None) as port:
        said = await told(kafka(f"127.0.0.1:{port}"))
    assert "lets us connect and then does not answer as Kafka: it may want TLS or a login" in said


async def test_a_certificate_that_is_not_believed_says_why(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    for shown, why in (
        (theirs.server("127.0.0.1"), "unable to get local issuer certificate"),
        (ours.server("other.example"), "IP address mismatch"),
    ):
        async with listening(shown) as port:
            ca = {"PASSBACK_KAFKA_SSL_CA_FILE": str(ours.ca_file)}
            said = await told(kafka(f"127.0.0.1:{port}", "SSL", **ca))
        assert "shows a certificate that is not believed" in said
        assert why in said
        assert "correct PASSBACK_KAFKA_SSL_CA_FILE" in said


async def test_one_server_that_says_something_tells_more_than_one_that_is_away() -> None:
    said = await told(kafka("127.0.0.1:1,kafka.invalid:9092"))
    assert "is not known to DNS (kafka.invalid)" in said


async def test_one_server_that_lets_us_connect_tells_more_than_one_that_is_away(
    kafka_broker: Kafka,
) -> None:
    servers = f"127.0.0.1:1,{kafka_broker.bootstrap_servers}"
    said = await told(kafka(servers, "SASL_PLAINTEXT", **SASL))
    assert "lets us connect and not log in" in said

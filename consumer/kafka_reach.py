"""Why Kafka could not be reached, in one sentence that names what to correct.

The client tells one and the same error for a name that is not known, a certificate that is not
believed, a password that is refused and a broker that is away. So each server is asked once more,
without the client: for its address, its port, its TLS. What passes all of that fails at the login.
"""

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from consumer.settings import KafkaSettings

_PATIENCE: Final = 5.0
"""Seconds for one server; all are asked at once."""

_AGAIN: Final = "start it or correct PASSBACK_KAFKA_BOOTSTRAP_SERVERS"
_LOGIN: Final = (
    "correct PASSBACK_KAFKA_SASL_USERNAME, PASSBACK_KAFKA_SASL_PASSWORD,"
    " PASSBACK_KAFKA_SASL_MECHANISM or PASSBACK_KAFKA_SECURITY_PROTOCOL"
)


_Obstacle = tuple[str, str]
"""What Kafka does instead of answering, and what helps."""


async def why_unreached(kafka: KafkaSettings, error: BaseException) -> str:
    """The sentence for ``error``, which starting a client of ``kafka`` raised."""
    servers = ",".join(kafka.bootstrap_servers)
    silent = (f"does not answer ({type(error).__name__})", _AGAIN)
    asked = (_obstacle(kafka, server, silent) for server in kafka.bootstrap_servers)
    found = await asyncio.gather(*asked)
    if None not in found:
        # Of several, one that says something tells more than one that is away.
        what, cure = next((one for one in found if one not in (None, silent)), None) or silent
    elif kafka.sasl_password is not None:
        what, cure = "lets us connect and not log in", _LOGIN
    else:
        what = "lets us connect and then does not answer as Kafka: it may want TLS or a login"
        cure = "correct PASSBACK_KAFKA_SECURITY_PROTOCOL or the port"
    return f"Kafka at {servers} {what}; {cure}."


async def _obstacle(kafka: KafkaSettings, server: str, silent: _Obstacle) -> _Obstacle | None:
    """What stands between us and the server, None where it lets us connect."""
    parts = urlsplit(f"//{server}")
    context = kafka.connection().get("ssl_context")
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 9092, ssl=context
            )
    except socket.gaierror:
        return f"is not known to DNS ({parts.hostname})", "correct PASSBACK_KAFKA_BOOTSTRAP_SERVERS"
    except ssl.SSLCertVerificationError as error:
        return (
            f"shows a certificate that is not believed ({error.verify_message.rstrip('.')})",
            "correct PASSBACK_KAFKA_SSL_CA_FILE, or have the certificate renewed",
        )
    except (ssl.SSLError, ConnectionResetError):
        if context is None:
            return silent
        return "does not speak TLS with us", "correct PASSBACK_KAFKA_SECURITY_PROTOCOL or the port"
    except (OSError, TimeoutError):
        return silent
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await writer.wait_closed()
    return None

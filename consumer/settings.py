"""The process's settings: environment, files and one env-file become one frozen value.

The only reader of the environment. Every variable is ``PASSBACK_`` and a field's name in
capitals; each may also be given as ``<VARIABLE>_FILE``, the path of a file that holds the
value (a trailing line break is not part of it). The environment wins over the env-file, an
empty value counts as absent, and all problems are reported together, never with a value.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.district import SecretSource
from consumer.errors import UsageError

PREFIX: Final = "PASSBACK_"

Network = IPv4Network | IPv6Network
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Start = Literal["earliest", "latest"]

_SASL: Final = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
_KAFKA_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/@,]+)(:(?P<port>\d{1,5}))?")


def _database_url(value: SecretStr) -> SecretStr:
    try:
        url = urlsplit(value.get_secret_value())
        valid = url.scheme in ("postgresql", "postgres") and (url.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("is no URL such as postgresql://user:password@host:5432/database")
    return value


def _words(value: object) -> object:
    return tuple(re.split(r"[\s,]+", value.strip(" ,\n"))) if isinstance(value, str) else value


def _servers(value: tuple[str, ...]) -> tuple[str, ...]:
    for server in value:
        match = _HOST.fullmatch(server)
        if match is None or not 0 < int(match["port"] or 9092) < 65536:
            raise ValueError("is no list of servers such as kafka-1:9092,kafka-2:9092")
    return value


def _networks(value: object) -> object:
    words = _words(value)
    if not isinstance(words, tuple):
        return words
    try:
        return tuple(ip_network(word) if isinstance(word, str) else word for word in words)
    except ValueError:
        raise ValueError(
            "is no list of networks such as 10.1.0.0/16,fd00::/8 (no address bits after the mask)"
        ) from None


def _kafka_name(value: str) -> str:
    if not _KAFKA_NAME.fullmatch(value):
        raise ValueError("may hold letters, digits, dots, dashes and underscores, at most 200")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


KafkaName = Annotated[str, AfterValidator(_kafka_name)]


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """What a Kafka client of ours is made from.

    ``start`` is where a new group begins, None where the operator has not said;
    ``topic_prefix`` stands before each of ``events.TOPICS``.
    """

    bootstrap_servers: tuple[str, ...]
    group_id: str
    group_instance_id: str | None
    start: Start | None
    topic_prefix: str
    security_protocol: SecurityProtocol
    sasl_mechanism: SaslMechanism | None
    sasl_username: str | None
    sasl_password: SecretStr | None = field(repr=False)
    ssl_ca_file: Path | None

    def connection(self) -> dict[str, Any]:
        """The keyword arguments with which any aiokafka client reaches the cluster."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol in ("SSL", "SASL_SSL"):
            arguments["ssl_context"] = ssl.create_default_context(cafile=self.ssl_ca_file)
        if self.sasl_password is not None:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password.get_secret_value()
        return arguments


class Settings(BaseSettings):
    """The settings as read by ``load``; each description is what the operator is told."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        description="Postgres, as postgresql://user:password@host:5432/database"
    )
    kafka_bootstrap_servers: Annotated[
        tuple[str, ...] | None, BeforeValidator(_words), AfterValidator(lambda v: v and _servers(v))
    ] = Field(default=None, description="Kafka's brokers, as host:port,host:port")
    kafka_group_id: KafkaName = Field(
        default="skyward-passback", description="the consumer group; the same for all replicas"
    )
    kafka_group_instance_id: KafkaName | None = Field(
        default=None, description="static membership: unique and stable for each replica"
    )
    kafka_security_protocol: Annotated[SecurityProtocol, BeforeValidator(_upper)] = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Annotated[SaslMechanism | None, BeforeValidator(_upper)] = Field(
        default=None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = Field(default=None, description="the SASL user")
    kafka_sasl_password: SecretStr | None = Field(
        default=None, description="the SASL password; give it as a file"
    )
    kafka_ssl_ca_file: Path | None = Field(
        default=None, description="the authorities that Kafka's certificate is checked against, PEM"
    )
    kafka_start: Annotated[Start | None, BeforeValidator(_lower)] = Field(
        default=None,
        description="where a new group begins on its first start: earliest or latest",
    )
    kafka_topic_prefix: KafkaName = Field(
        default="otus.", description="what the topics' names begin with"
    )
    http_host: str = Field(default="0.0.0.0", description="where the daemon's HTTP listens")
    http_port: int = Field(
        default=8080, ge=0, le=65535, description="the port of the daemon's HTTP; 0 chooses one"
    )
    sealing_key_file: Path | None = Field(
        default=None, description="the file of the keys that seal the districts' secrets"
    )
    log_format: Annotated[Literal["json", "console"], BeforeValidator(_lower)] = Field(
        default="json", description="json or console"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)
    ] = Field(default="info", description="debug, info, warning, error or critical")
    max_concurrent_districts: int = Field(
        default=16, ge=1, le=1000, description="how many districts one replica flushes at once"
    )
    allowed_networks: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = Field(
        default=(), description="private networks that a base URL may resolve to, as CIDRs"
    )
    allow_http: bool = Field(
        default=False, description="whether base URLs may be plain http; for tests"
    )
    cutoff_jitter_seconds: float = Field(
        default=30, ge=0, le=50, description="over how long the districts of one cutoff are spread"
    )
    intake_wait_seconds: float = Field(
        default=300, ge=0, le=3600, description="how long a run waits for intake at its cutoff"
    )
    run_window_seconds: float = Field(
        default=6 * 3600,
        gt=0,
        le=86_400,
        description="how long a run may take, and how long after its cutoff one that Skyward's"
        " absence stopped is tried again",
    )
    retention_days: int = Field(
        default=400,
        ge=30,
        le=36_500,
        description="after how many days what is settled is deleted; 400 is a school year and more",
    )
    district_metrics: bool = Field(
        default=True, description="whether metrics carry the district as a label"
    )
    tracing: bool = Field(
        default=False,
        description="whether each run is a trace, sent where OTEL_EXPORTER_OTLP_ENDPOINT says",
    )

    _variables: "_Variables" = PrivateAttr()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # ``load`` reads the environment through a source of its own, which knows ``_FILE``.
        return (init_settings,)

    @field_validator("kafka_ssl_ca_file")
    @classmethod
    def _is_certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except ssl.SSLError:
                raise ValueError("names a file without a PEM certificate") from None
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
        return path

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        protocol = self.kafka_security_protocol
        wrong = []
        for name in _SASL:
            if protocol.startswith("SASL") and getattr(self, name) is None:
                wrong.append(f"{variable(name)}: is required with {protocol}")
            if not protocol.startswith("SASL") and getattr(self, name) is not None:
                wrong.append(f"{variable(name)}: would not be used with {protocol}")
        if self.kafka_ssl_ca_file is not None and not protocol.endswith("SSL"):
            wrong.append(f"{variable('kafka_ssl_ca_file')}: would not be used with {protocol}")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    @property
    def kafka(self) -> KafkaSettings | None:
        """Kafka's part; None where no servers are named."""
        if self.kafka_bootstrap_servers is None:
            return None
        return KafkaSettings(
            bootstrap_servers=self.kafka_bootstrap_servers,
            group_id=self.kafka_group_id,
            group_instance_id=self.kafka_group_instance_id,
            start=self.kafka_start,
            topic_prefix=self.kafka_topic_prefix,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password,
            ssl_ca_file=self.kafka_ssl_ca_file,
        )

    def require_kafka(self) -> KafkaSettings:
        """Kafka's part; raises ``UsageError`` naming the variable where it is missing."""
        kafka = self.kafka
        if kafka is None:
            raise UsageError(_missing("kafka_bootstrap_servers"))
        return kafka

    def require_sealing_key(self) -> Path:
        """The sealing key file; raises ``UsageError`` naming the variable where it is missing."""
        if self.sealing_key_file is None:
            raise UsageError(_missing("sealing_key_file"))
        return self.sealing_key_file

    def secret(self, source: SecretSource, beside: Path) -> SecretStr:
        """A district's key or secret, from where its file says.

        ``beside`` is the directory that relative paths are relative to. Line breaks at the
        end are not part of it. Raises ``UsageError``, which names the source.
        """
        if source.env is not None:
            name, content = f"the variable {source.env}", self._variables.get(source.env)
            if not content:
                raise UsageError(f"{name} is not set; it is to hold a district's key or secret")
        else:
            path = beside / (source.file or "")
            name = f"the file {path}"
            try:
                content = path.read_text().rstrip("\r\n")
            except OSError as error:
                raise UsageError(f"{name} cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise UsageError(f"{name} holds no text") from None
            if not content:
                raise UsageError(f"{name} is empty; it is to hold a district's key or secret")
        return SecretStr(content)


class _Variables(PydanticBaseSettingsSource):
    """Raw values from an environment and an env-file, plain or through ``_FILE``."""

    def __init__(self, environ: Mapping[str, str], env_file: Path | None) -> None:
        super().__init__(Settings)
        self.problems: dict[str, str] = {}
        self._layers = (environ, self._read_env_file(env_file) if env_file else {})

    def get(self, name: str) -> str | None:
        """The plain value of any variable."""
        return next((layer[name] for layer in self._layers if layer.get(name)), None)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        name = variable(field_name)
        for layer in self._layers:
            value, path = layer.get(name), layer.get(f"{name}_FILE")
            if value and path:
                self.problems[name] = f"is given twice; drop it or {name}_FILE"
            if value:
                return value, field_name, False
            if path:
                return self._read_value(name, Path(path)), field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in Settings.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}

    def _read_value(self, name: str, path: Path) -> str | None:
        try:
            content = path.read_text().rstrip("\r\n")
        except OSError as error:
            self.problems[name] = f"cannot be read from {path}: {error.strerror}"
        except UnicodeDecodeError:
            self.problems[name] = f"cannot be read from {path}: it holds no text"
        else:
            if content:
                return content
            self.problems[name] = f"cannot be read from {path}: the file is empty"
        return None

    def _read_env_file(self, path: Path) -> Mapping[str, str]:
        found: dict[str, str] = {}
        try:
            # No interpolation: a password may hold ${ and means it.
            bindings = list(parse_stream(StringIO(path.read_text())))
        except OSError as error:
            self.problems["--env-file"] = f"{path} cannot be read: {error.strerror}"
            return found
        except UnicodeDecodeError:
            self.problems["--env-file"] = f"{path} holds no text"
            return found
        for binding in bindings:
            if binding.error or (binding.key is not None and binding.value is None):
                self.problems["--env-file"] = (
                    f"{path} line {binding.original.line} is not NAME=value"
                )
            elif binding.key is not None and binding.value is not None:
                found[binding.key] = binding.value
        return found


def load(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings; ``environ`` is the process's own where None.

    Only the database is required here: commands ask for the rest with ``require_…``. Raises one
    ``UsageError`` with a line ``VARIABLE: what is wrong`` for every problem.
    """
    source = _Variables(os.environ if environ is None else environ, env_file)
    raw, problems = source(), source.problems
    try:
        settings = Settings(**raw)
    except ValidationError as error:
        for name, what in _problems(error):
            problems.setdefault(name, what)
    if problems:
        raise UsageError("\n".join(f"{name}: {what}" for name, what in problems.items()))
    settings._variables = source
    return settings


def variable(field_name: str) -> str:
    """The environment variable of a field of ``Settings``."""
    return PREFIX + field_name.upper()


def _problems(error: ValidationError) -> list[tuple[str, str]]:
    found = []
    for one in error.errors(include_input=False, include_url=False):
        message = one["msg"].removeprefix("Value error, ")
        if not one["loc"]:
            pairs = (line.split(": ", 1) for line in message.split("\n"))
            found += [(name, what) for name, what in pairs]
        elif one["type"] == "missing":
            found.append(_required(str(one["loc"][0])))
        else:
            found.append((variable(str(one["loc"][0])), message[0].lower() + message[1:]))
    return found


def _required(field_name: str) -> tuple[str, str]:
    name = variable(field_name)
    meaning = Settings.model_fields[field_name].description
    return name, f"is required; set it or {name}_FILE to {meaning}"


def _missing(field_name: str) -> str:
    return ": ".join(_required(field_name))

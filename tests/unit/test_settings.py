"""Settings: one frozen value, or one error that names every variable that is wrong."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer import events
from consumer.district import SecretSource
from consumer.errors import UsageError
from consumer.settings import Settings, load, variable

URL = "postgresql://passback:hunter2@db.example:5432/passback"
MINIMUM = {"PASSBACK_DATABASE_URL": URL}


def problems(environ: dict[str, str], env_file: Path | None = None) -> list[str]:
    with pytest.raises(UsageError) as raised:
        load(env_file, environ)
    return str(raised.value).splitlines()


def test_only_the_database_is_required() -> None:
    settings = load(environ=MINIMUM)
    assert settings.database_url.get_secret_value() == URL
    assert settings.kafka is None


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load(environ={**MINIMUM, "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": "k:9092"})
    kafka = settings.require_kafka()
    assert (kafka.group_id, kafka.topic_prefix) == ("skyward-passback", "otus.")
    assert (kafka.start, kafka.group_instance_id) == (None, None)
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8080)
    assert (settings.log_format, settings.log_level) == ("json", "info")
    assert (settings.allowed_networks, settings.allow_http) == ((), False)
    assert settings.max_concurrent_districts == 16
    assert settings.cutoff_jitter_seconds == 30
    assert settings.intake_wait_seconds == 300
    assert settings.run_window_seconds == 6 * 3600
    assert settings.retention_days == 400
    assert settings.district_metrics is True


def test_all_problems_are_reported_together() -> None:
    found = problems(
        {
            "PASSBACK_HTTP_PORT": "eighty",
            "PASSBACK_ALLOWED_NETWORKS": "10.0.0.1/8",
            "PASSBACK_KAFKA_START": "middle",
            "PASSBACK_CUTOFF_JITTER_SECONDS": "51",
            "PASSBACK_SEALING_KEY_FILE_FILE": "/nowhere/at/all",
        }
    )
    assert sorted(line.split(": ")[0] for line in found) == [
        "PASSBACK_ALLOWED_NETWORKS",
        "PASSBACK_CUTOFF_JITTER_SECONDS",
        "PASSBACK_DATABASE_URL",
        "PASSBACK_HTTP_PORT",
        "PASSBACK_KAFKA_START",
        "PASSBACK_SEALING_KEY_FILE",
    ]
    assert all(len(line.split(": ", 1)[1]) > 10 for line in found)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_variable_may_be_given_as_a_file(name: str, tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("no certificate")
    content = {
        "database_url": URL,
        "kafka_bootstrap_servers": "kafka-1:9092",
        "kafka_security_protocol": "SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_ssl_ca_file": str(certificates),
        "kafka_start": "latest",
        "http_port": "0",
        "log_format": "console",
        "log_level": "error",
        "max_concurrent_districts": "3",
        "allowed_networks": "10.0.0.0/8",
        "allow_http": "true",
        "cutoff_jitter_seconds": "1",
        "intake_wait_seconds": "2",
        "run_window_seconds": "3",
        "retention_days": "90",
        "district_metrics": "false",
    }.get(name, "word")
    file = tmp_path / "value"
    file.write_text(content + "\n")
    by_file = _outcome({f"{variable(name)}_FILE": str(file)})
    assert by_file == _outcome({variable(name): content})
    assert by_file != _outcome({})


def _outcome(environ: dict[str, str]) -> object:
    base = {} if "PASSBACK_DATABASE_URL_FILE" in environ else MINIMUM
    if "PASSBACK_DATABASE_URL" in environ or not environ:
        base = {}
    try:
        return load(environ={**base, **environ}).model_dump()
    except UsageError as error:
        return str(error)


def test_a_variable_and_its_file_at_once_are_refused(tmp_path: Path) -> None:
    found = problems({**MINIMUM, "PASSBACK_DATABASE_URL_FILE": str(tmp_path)})
    assert found == ["PASSBACK_DATABASE_URL: is given twice; drop it or PASSBACK_DATABASE_URL_FILE"]


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, why in (
        ("absent", "No such file"),
        ("empty", "the file is empty"),
        ("binary", "no text"),
    ):
        (line,) = problems({"PASSBACK_DATABASE_URL_FILE": str(tmp_path / name)})
        assert line.startswith("PASSBACK_DATABASE_URL: cannot be read")
        assert why in line


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        "# comment\n\nexport PASSBACK_HTTP_PORT=9000\nPASSBACK_LOG_LEVEL='debug'\n"
        "PASSBACK_KAFKA_GROUP_ID=from-the-file\nSOMETHING_ELSE=1\n"
    )
    settings = load(env_file, {**MINIMUM, "PASSBACK_KAFKA_GROUP_ID": "from-outside"})
    assert (settings.http_port, settings.log_level) == (9000, "debug")
    assert settings.kafka_group_id == "from-outside"


def test_a_password_with_dollars_in_the_env_file_means_what_it_says(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("PASSBACK_DATABASE_URL='postgresql://u:a${HOME}b@h/d'\n")
    assert load(env_file, {}).database_url.get_secret_value() == "postgresql://u:a${HOME}b@h/d"


def test_a_variable_in_the_env_file_is_overridden_by_a_file_outside(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(URL)
    (tmp_path / ".env").write_text("PASSBACK_DATABASE_URL=postgresql://other/other\n")
    settings = load(tmp_path / ".env", {"PASSBACK_DATABASE_URL_FILE": str(tmp_path / "url")})
    assert settings.database_url.get_secret_value() == URL


def test_a_line_of_the_env_file_that_is_no_assignment_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PASSBACK_HTTP_PORT=1\nnonsense here\n")
    (line,) = problems(MINIMUM, tmp_path / ".env")
    assert line == f"--env-file: {tmp_path / '.env'} line 2 is not NAME=value"


def test_a_missing_env_file_is_a_problem(tmp_path: Path) -> None:
    (line,) = problems(MINIMUM, tmp_path / "absent")
    assert line.startswith("--env-file: ")


def test_an_empty_value_counts_as_absent() -> None:
    assert load(environ={**MINIMUM, "PASSBACK_HTTP_PORT": ""}).http_port == 8080


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    environ = {
        **MINIMUM,
        "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": "k:9092",
        "PASSBACK_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
        "PASSBACK_KAFKA_SASL_MECHANISM": "scram-sha-512",
        "PASSBACK_KAFKA_SASL_USERNAME": "passback",
        "PASSBACK_KAFKA_SASL_PASSWORD": "swordfish",
    }
    settings = load(environ=environ)
    shown = f"{settings!r} {settings} {settings.kafka!r} {settings.model_dump_json()}"
    assert "hunter2" not in shown
    assert "swordfish" not in shown
    connection = settings.require_kafka().connection()
    assert connection["sasl_plain_password"] == "swordfish"
    assert connection["sasl_mechanism"] == "SCRAM-SHA-512"
    assert connection["security_protocol"] == "SASL_PLAINTEXT"


def test_no_wrong_value_is_ever_shown() -> None:
    wrong = "canary-7731"
    text = "\n".join(
        problems(
            {
                variable(name): wrong
                for name, field in Settings.model_fields.items()
                if field.annotation is not str
            }
        )
    )
    assert wrong not in text


@pytest.mark.parametrize("url", ["mysql://h/d", "h:5432/d", "postgresql://h:port/d"])
def test_a_database_url_of_another_kind_is_refused(url: str) -> None:
    (line,) = problems({"PASSBACK_DATABASE_URL": url})
    assert line.startswith("PASSBACK_DATABASE_URL: is no URL such as postgresql://")


def test_servers_are_a_list_of_host_and_port() -> None:
    servers = "kafka-1:9092, kafka-2:9093,[::1]:9094"
    settings = load(environ={**MINIMUM, "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": servers})
    assert settings.require_kafka().bootstrap_servers == (
        "kafka-1:9092",
        "kafka-2:9093",
        "[::1]:9094",
    )
    for wrong in ("kafka:0", "kafka:99999", "http://kafka:9092", "a:b:c"):
        assert problems({**MINIMUM, "PASSBACK_KAFKA_BOOTSTRAP_SERVERS": wrong})


def test_sasl_needs_all_its_parts_and_no_part_is_silently_unused() -> None:
    found = problems({**MINIMUM, "PASSBACK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})
    assert [line.split(": ")[0] for line in found] == [
        "PASSBACK_KAFKA_SASL_MECHANISM",
        "PASSBACK_KAFKA_SASL_USERNAME",
        "PASSBACK_KAFKA_SASL_PASSWORD",
    ]
    (line,) = problems({**MINIMUM, "PASSBACK_KAFKA_SASL_PASSWORD": "x"})
    assert line == "PASSBACK_KAFKA_SASL_PASSWORD: would not be used with PLAINTEXT"


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("hello")
    for name in ("ca", "absent"):
        (line,) = problems(
            {
                **MINIMUM,
                "PASSBACK_KAFKA_SECURITY_PROTOCOL": "SSL",
                "PASSBACK_KAFKA_SSL_CA_FILE": str(tmp_path / name),
            }
        )
        assert line.startswith("PASSBACK_KAFKA_SSL_CA_FILE: ")


def test_networks_are_cidrs() -> None:
    settings = load(
        environ={**MINIMUM, "PASSBACK_ALLOWED_NETWORKS": "127.0.0.0/8, fd00::/8 10.2.0.7"}
    )
    assert settings.allowed_networks == (
        ip_network("127.0.0.0/8"),
        ip_network("fd00::/8"),
        ip_network("10.2.0.7/32"),
    )


def test_what_a_command_needs_is_asked_for_by_its_variable() -> None:
    settings = load(environ=MINIMUM)
    with pytest.raises(UsageError, match=r"^PASSBACK_KAFKA_BOOTSTRAP_SERVERS: is required"):
        settings.require_kafka()
    with pytest.raises(UsageError, match=r"^PASSBACK_SEALING_KEY_FILE: is required"):
        settings.require_sealing_key()


def test_a_prefix_leaves_room_for_every_topic() -> None:
    longest = max(len(topic) for topic in events.TOPICS)
    assert 200 + longest <= 249
    assert problems({**MINIMUM, "PASSBACK_KAFKA_TOPIC_PREFIX": "o" * 201})


def test_a_districts_secret_comes_from_a_file_beside_its_yaml(tmp_path: Path) -> None:
    (tmp_path / "lakeside.key").write_text("the key\n")
    settings = load(environ=MINIMUM)
    source = SecretSource(file="lakeside.key", env=None)
    assert settings.secret(source, tmp_path) == SecretStr("the key")
    with pytest.raises(UsageError, match="cannot be read"):
        settings.secret(SecretSource(file="absent", env=None), tmp_path)


def test_a_districts_secret_comes_from_a_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LAKESIDE_SECRET=from the file\n")
    settings = load(tmp_path / ".env", {**MINIMUM, "LAKESIDE_KEY": "from outside"})
    assert settings.secret(SecretSource(None, "LAKESIDE_KEY"), tmp_path) == SecretStr(
        "from outside"
    )
    assert settings.secret(SecretSource(None, "LAKESIDE_SECRET"), tmp_path) == SecretStr(
        "from the file"
    )
    with pytest.raises(UsageError, match="the variable OTHER is not set"):
        settings.secret(SecretSource(None, "OTHER"), tmp_path)

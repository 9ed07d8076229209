"""What a new operator meets: a role without rights, a URL with a setting that is none."""

import json
import uuid
from urllib.parse import urlsplit

import pytest

from tests.integration.operators import Operator


@pytest.mark.parametrize("words", [("migrate",), ("district", "list"), ("run",)])
def test_a_role_without_rights_is_status_3_and_is_told_which(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    weak = _as_weak_role(operator)
    if words == ("migrate",):
        # Since Postgres 15 a role that owns nothing makes no table.
        weak = weak.rpartition("/")[0] + "/postgres"
    monkeypatch.setenv("PASSBACK_DATABASE_URL", weak)
    monkeypatch.setenv("PASSBACK_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert operator.passback(*words) == 3
    assert "permission denied for " in operator.told
    assert "owner" in operator.told
    assert "a password" not in operator.told


def test_the_check_goes_on_past_a_role_without_rights(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSBACK_DATABASE_URL", _as_weak_role(operator))
    assert operator.passback("check", "--json") == 1
    checks = {one["check"]: one for one in json.loads(operator.said)}
    assert checks["database"]["passes"]
    assert "permission denied for table schema_migration" in checks["schema"]["because"]
    assert "owner" in checks["schema"]["cure"]
    assert "kafka" in checks


def test_a_postgres_without_a_connection_left_is_told_with_what_helps(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _as_weak_role(operator)
    role = str(urlsplit(url).username)
    operator.store(lambda pool: pool.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0"))
    monkeypatch.setenv("PASSBACK_DATABASE_URL", url)
    assert operator.passback("district", "list") == 3
    assert "has no connection left; raise max_connections" in operator.told


def _as_weak_role(operator: Operator) -> str:
    """The URL of a role that may connect and no more."""
    role = f"weak_{uuid.uuid4().hex}"
    operator.store(lambda pool: pool.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'a password'"))
    return (
        urlsplit(operator.database_url)
        ._replace(
            netloc=f"{role}:a%20password@" + operator.database_url.rpartition("@")[2].split("/")[0]
        )
        .geturl()
    )


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("connect_timeout=10", "does not know the setting connect_timeout of the URL; take it out"),
        ("sslmode=sometimes", "cannot be asked as the URL's settings say"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "a file that the URL names is missing"),
        ("default_transaction_read_only=on", "takes no writes"),
    ],
)
def test_a_setting_of_the_url_that_is_none_is_named(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, setting: str, told: str
) -> None:
    url = operator.database_url.rpartition("/")[0] + "/postgres"
    monkeypatch.setenv("PASSBACK_DATABASE_URL", f"{url}?{setting}")
    assert operator.passback("migrate") == 3
    assert operator.told.startswith("PASSBACK_DATABASE_URL: ")
    assert told in " ".join(operator.told.split())

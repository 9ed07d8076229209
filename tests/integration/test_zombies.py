"""A process that stands still until its lease is another's, and wakes, begins no write any more."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from consumer.flush import run
from consumer.skyward import Skyward
from consumer.store import connection
from tests.history.clauses import Finding, judge
from tests.integration.interrupted import Interrupted, interrupted

LEASE = timedelta(seconds=0.6)


@pytest.fixture
def night(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Interrupted]:
    monkeypatch.setattr(run, "LEASE", LEASE)
    monkeypatch.setattr(run, "_RENEWAL", LEASE / 3)
    monkeypatch.setattr(connection, "STANDS_STILL", LEASE.total_seconds())
    monkeypatch.setattr(connection, "LASTS", 2 * LEASE.total_seconds())
    with interrupted(tmp_path, database_url) as built:
        yield built


def breaches(night: Interrupted, at: int) -> list[Finding]:
    """What was not legal of a night that stood still at this await while another made it."""

    def another() -> None:
        time.sleep(1.1 * LEASE.total_seconds())
        night.go_on(night.corrections)

    night.until_the_second()
    assert night.cut(at, "freeze", another)
    return list(judge(night.history()).findings)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("at", [96, 114, 138])
def test_a_zombie_begins_no_write(night: Interrupted, at: int) -> None:
    found = breaches(night, at)
    late = [one for one in found if one.clause == "no_write_after_the_lease"]
    # What it had handed to its HTTP client before it stood still may still go out.
    assert len(late) <= night.settings["skyward"]["max_concurrency"]
    on_their_way = {_object(one) for one in late}
    assert [str(one) for one in found if _object(one) not in on_their_way] == []


def _object(finding: Finding) -> str:
    return finding.says.partition(" ")[0].rstrip(":")


@pytest.mark.timeout(60)
def test_a_build_that_does_not_ask_its_lease_before_it_writes_is_noticed(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Skyward, "write_while", lambda self, lease_is_over: None)
    assert len(breaches(night, 114)) > night.settings["skyward"]["max_concurrency"]

"""A process that stands still until its lease is another's, and wakes, begins no write any more."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import BytesPayload

from consumer.errors import LeaseLost
from consumer.flush import run
from consumer.skyward import Skyward, network
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


STANDS_AT = range(106, 136)
"""At some of these awaits it stands still between its question whether the lease lasts and the
socket; at which, a busy machine changes from night to night.
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("at", STANDS_AT[::3])
def test_a_zombie_begins_no_write(night: Interrupted, at: int) -> None:
    assert breaches(night, at) == []


@pytest.mark.timeout(180)
def test_a_build_that_does_not_ask_its_lease_before_it_writes_is_noticed(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Skyward, "write_while", lambda self, lease_is_over: None)
    # More than were under way: it began writes.
    under_way = night.settings["skyward"]["max_concurrency"]
    assert any(
        sum(one.clause == "no_write_after_the_lease" for one in breaches(night, at)) > under_way
        for at in STANDS_AT
    )


@pytest.mark.timeout(180)
def test_a_build_that_asks_its_lease_before_its_connection_stands_is_noticed(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Skyward._send

    async def asks_early(self: Skyward, name: str, method: str, *more: Any) -> Any:
        if method != "GET" and self._lease_is_over():
            raise LeaseLost("it was over")
        return await kept(self, name, method, *more)

    monkeypatch.setattr(network._Fenced, "write_with_length", BytesPayload.write_with_length)
    monkeypatch.setattr(Skyward, "_send", asks_early)
    # An old value stands over a newer one, and nobody knows.
    wanted = {"no_write_after_the_lease", "versions_rise", "store_believes"}
    for at in STANDS_AT:
        wanted -= {one.clause for one in breaches(night, at)}
        if not wanted:
            return
    pytest.fail(f"nobody noticed: {wanted}")

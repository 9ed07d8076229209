"""Postgres goes away, or says no, in the middle of a night: the night ends as if it had not.

A commit whose answer is lost is what a failover leaves: it stands, and nobody was told.
"""

import re
import struct
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from consumer.flush import adopting, sending
from consumer.sandbox.postgres import Postgres
from consumer.store import settling
from consumer.store.connection import Pool
from consumer.store.runs import Lease
from consumer.store.settling import SettledGrade, SettledItem, SettledLineItem, Tally
from tests.integration.disturbed import DisturbedNight, Ending, disturbed_night
from tests.proxy import Way


@pytest.fixture
async def night(
    tmp_path: Path, database_url: str, postgres_server: Postgres
) -> AsyncIterator[DisturbedNight]:
    async with disturbed_night(tmp_path, database_url, postgres_server) as built:
        yield built


# A settling commits with its statement. What is prepared goes by a number; its arguments tell.
_ARGUMENTS = max(int(number) for number in re.findall(r"\$(\d+)", settling._SETTLE))
_FIRST = b"lakeside"
SETTLING: dict[Way, bytes] = {
    "request": struct.pack("!HI", _ARGUMENTS, len(_FIRST)) + _FIRST,
    # One row of one value, which is true, and no more was asked for.
    "answer": struct.pack("!HIB", 1, 1, True) + b"s\0\0\0\4",
}


async def cut_at_each(night: DisturbedNight, way: Way, statement: bytes) -> list[Ending]:
    """The night's endings, cut off once at the first, once at the second such statement, …"""
    endings: list[Ending] = []

    async def cut() -> None:
        night.proxy.cut_at(way, statement, skip=len(endings))

    while True:
        cuts = night.proxy.cuts_made
        ending = await night.run(cut)
        if night.proxy.cuts_made == cuts:
            return endings
        endings.append(ending)


@pytest.mark.parametrize("way", ["request", "answer"])
async def test_a_night_that_loses_postgres_at_any_of_its_commits_ends_as_if_it_had_not(
    night: DisturbedNight, way: Way
) -> None:
    undisturbed = await night.run()
    settlings = await cut_at_each(night, way, SETTLING[way])
    assert len(settlings) >= 2
    endings = settlings + await cut_at_each(night, way, b"COMMIT")
    assert len(endings) >= 5
    assert [one for one in endings if one != undisturbed] == []
    assert all(one.failures == 1 for one in endings)
    assert [one.findings for one in endings if one.findings] == []
    assert max(one.repeated for one in endings) <= sending.WINDOW


async def asks_nothing(*_: Any) -> Tally:
    return Tally()


async def test_a_build_that_settles_in_two_statements_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_two(
        pool: Pool,
        lease: Lease,
        run_id: int,
        grades: Sequence[SettledGrade],
        line_items: Sequence[SettledLineItem],
        items: Sequence[SettledItem],
        now: datetime,
    ) -> Tally:
        await settling.settle(pool, lease, run_id, (), line_items, items, now)
        return await settling.settle(pool, lease, run_id, grades, (), (), now)

    undisturbed = await night.run()
    monkeypatch.setattr(sending, "settle", in_two)
    # Grades go with their item then, however the answers come in: settled before it, as a whole
    # window of them may be, they would hide what this build does wrong.
    monkeypatch.setattr(sending, "_TOGETHER", sending.WINDOW)
    # Else what Skyward shows is taken in before the night goes on.
    monkeypatch.setattr(adopting, "adopt", asks_nothing)
    endings = await cut_at_each(night, "answer", SETTLING["answer"])
    assert [one for one in endings if one != undisturbed] != []


async def test_a_build_that_makes_up_a_new_id_each_time_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = await night.run()
    made = iter(range(10_000))
    monkeypatch.setattr(sending, "result_id", lambda district, key: f"r-{next(made)}")
    # Else what was on its way is found again by its student.
    monkeypatch.setattr(adopting, "adopt", asks_nothing)
    endings = await cut_at_each(night, "request", SETTLING["request"])
    assert max(len(one.gradebook) for one in endings) > len(undisturbed.gradebook)
    assert "one_result_each" in {found.clause for one in endings for found in one.findings}


# What a statement of ours may be answered with although nothing is wrong with it.
PASSING = {
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "55P03": "lock timeout",
    "57014": "statement cancelled",
    "57P01": "Postgres is shut down",
    "25006": "read-only: it was failed over from",
    "58030": "the disk cannot be read",
}
WRITTEN = ("grade", "line_item", "sent", "assessment", "flush_run", "district", "lease")


async def test_a_night_in_which_postgres_refuses_a_write_ends_as_if_it_had_not(
    night: DisturbedNight,
) -> None:
    undisturbed = await night.run()
    for sqlstate, table, call in [
        *(("53100", table, call) for table in WRITTEN for call in (1, 2)),
        *((sqlstate, "sent", 1) for sqlstate in PASSING),
    ]:
        ending = await night.run(lambda: refuse(night, sqlstate, table, call))  # noqa: B023
        refused = await night.direct.fetchval("SELECT last_value >= $1 FROM writes", call)
        await night.direct.execute(f"DROP TRIGGER refuse ON {table}")
        assert ending == undisturbed, (PASSING[sqlstate], table, call)
        assert ending.findings == [], (PASSING[sqlstate], table, call)
        assert ending.failures == (1 if refused else 0), (PASSING[sqlstate], table, call)


async def refuse(night: DisturbedNight, sqlstate: str, table: str, call: int) -> None:
    """From now on the ``call``-th write of ``table`` is answered with ``sqlstate``."""
    await night.direct.execute(
        f"""
        DROP SEQUENCE IF EXISTS writes;
        CREATE SEQUENCE writes;
        CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            -- A sequence does not go back with the statement that is refused.
            IF nextval('writes') = {call} THEN
                RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse();
        """
    )

"""Real daemons on machines whose clocks are hours off Postgres': one night, made once, in time."""

import asyncio
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime

import asyncpg

from tests.evening import Evening
from tests.slow.table import Row, Table
from tests.system.town import ZONE, Town, soon, until

GRADED = 12


async def night_of(town: Town, *off: str) -> tuple[datetime, float]:
    """A night of daemons that are ``off``; its cutoff, and in how many seconds it was made."""
    assert town.passback("migrate").returncode == 0
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    evening.assess("quiz", due_days=5)
    for student in range(GRADED):
        evening.grade("quiz", student, "8")
    await town.publish(evening.records)
    # Long enough for all of them to have begun before it.
    settings = town.settings(soon(15), effective_date="2020-01-01", live_since="2020-01-01")
    assert town.apply(settings).returncode == 0
    (shown,) = town.answer("district", "list")
    cutoff = datetime.fromisoformat(shown["next_cutoff_at"])
    program = (sys.executable, "-m", "tests.slow.skewed_daemon")
    with ExitStack() as machines:
        for one in off:
            machines.enter_context(town.daemon(*program, *one.split()))
        await until(lambda: len(told(town)) == len(off))
        assert datetime.now(UTC) < cutoff
        await until(lambda: any(line["event"] == "run_finished" for line in town.log()))
        made = datetime.now(UTC)
        await asyncio.sleep(3)  # another would make it once more
    return cutoff, (made - cutoff).total_seconds()


def told(town: Town) -> dict[float, str]:
    """What operators were told of the clocks: hours, and what to do."""
    lines = [line for line in town.log() if line["event"] == "clocks_differ"]
    return {round(one["seconds"] / 3600, 2): one["because"] for one in lines}


async def test_machines_that_are_hours_off_make_the_night_once_and_not_before_its_cutoff(
    town: Town, table: type[Table]
) -> None:
    cutoff, recovered = await night_of(town, "3", "-3")
    assert told(town).keys() == {3, -3}
    assert all("NTP" in cure for cure in told(town).values())
    writes = town.writes()
    assert min(datetime.fromisoformat(line["received_at"]) for line in writes) >= cutoff
    written = Counter(line["sourcedId"] for line in writes)
    connection = await asyncpg.connect(town.database_url)
    try:
        epoch = await connection.fetchval("SELECT epoch FROM lease")
    finally:
        await connection.close()
    assert epoch == 1
    stands = sum(1 for one in town.skyward.gradebook() if one.get("score") == "8")
    table.add(
        Row(
            "two machines whose clocks are three hours ahead of Postgres' and behind it",
            1,
            GRADED - stands,
            written.total() - len(written),
            0,
            recovered,
            "operators are told; a build that goes by the machine's clock alone begins too early",
        )
    )


async def test_a_build_that_goes_by_the_machines_clock_alone_is_noticed(town: Town) -> None:
    cutoff, _ = await night_of(town, "3 alone")
    assert datetime.fromisoformat(town.writes()[0]["received_at"]) < cutoff

"""One night, end to end: real Kafka, real Postgres, the real daemon, real submissions."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg

from consumer.sandbox.oracle import Oracle, compare, periods_by_class
from consumer.sandbox.schoolday import SCHOOL, Record, school_day
from tests.evening import Evening
from tests.system.town import ZONE, Town, soon, until

# Results sent and not yet settled when a process dies, in each of the rounds.
_WINDOW = 64


def test_the_demo_ends_with_exactly_what_the_rules_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consumer.cli", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skyward holds exactly what the rules say." in done.stdout
    assert "score_not_whole" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


async def test_a_night_killed_in_its_middle_ends_in_the_same_state(town: Town) -> None:
    now = datetime.now(UTC)
    settings = town.settings()
    oracle = Oracle(settings, periods_by_class(town.roster))
    assert town.passback("migrate").returncode == 0
    await town.publish(_folded(town, oracle, now))
    settings["cutoff"] = soon(4)
    applied = town.apply(settings)
    assert applied.returncode == 0, applied.stderr
    town.skyward.configure(latency=0.004)
    # A killed replica's lease lasts half a minute; the next one waits it out.
    rounds = sorted(random.Random(1).sample(range(200, 3_000), 3))
    for results in rounds:
        with town.daemon() as daemon:
            await until(_holds(town, results))
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        await _expire_lease(town)
    town.skyward.configure(latency=0)
    with town.daemon():
        await until(lambda: _finished(town) is not None, seconds=90)
    report = _finished(town)
    assert report is not None
    assert report["state"] == "done"

    cutoff = datetime.fromisoformat(report["cutoff_at"])
    differences = compare(
        oracle.expected(cutoff), town.skyward.gradebook_lines(), district_id=town.district
    )
    assert differences == []
    expected = [e for *_, e in oracle.expected(cutoff)]
    assert report["results"]["posted"] == sum(1 for e in expected if e.stands)
    assert report["results"]["skipped"] + report["results"]["held"] == sum(
        1 for e in expected if not e.stands
    )
    repeated = len(town.writes()) - len({line["sourcedId"] for line in town.writes()})
    assert repeated <= len(rounds) * _WINDOW * 2


def _folded(town: Town, oracle: Oracle, now: datetime) -> Iterator[Record]:
    for record in school_day(
        town.roster, SCHOOL / "oulad", district_id=town.district, now=now, seed=2
    ):
        oracle.fold(record)
        yield record


def _holds(town: Town, results: int) -> Callable[[], bool]:
    return lambda: bool(town.skyward.counts()["results"] >= results)


def _finished(town: Town) -> dict[str, Any] | None:
    found = town.answer("runs", town.district)
    done = [run for run in found if run["state"] == "done"]
    return done[0] if done else None


async def _expire_lease(town: Town) -> None:
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute("UPDATE lease SET expires_at = '-infinity'")
    finally:
        await connection.close()


async def test_an_evening_at_each_boundary_of_the_guide(town: Town) -> None:
    """49 and 50 characters, 8.0 and 8.5, a zero, an Excluded one, a closed period."""
    now = datetime.now(ZONE)
    evening = Evening(town.roster, town.district, now)
    evening.assess("forty-nine", title="x" * 49)
    evening.assess("fifty", title="x" * 50)
    evening.assess("closed", assigned_days=-100, due_days=-80)
    evening.grade("forty-nine", 0, "8.0")
    evening.grade("forty-nine", 1, "8.5")
    evening.grade("forty-nine", 2, "9", submission="excluded")
    evening.grade("forty-nine", 3, None, completion="in_progress", submission=None)
    evening.grade("forty-nine", 5, None, completion="turned_in")
    evening.grade("fifty", 0, "7")
    evening.grade("closed", 0, "6")
    assert town.passback("migrate").returncode == 0
    applied = town.apply(
        town.settings(soon(3), effective_date="2020-01-01", live_since="2020-01-01")
    )
    assert applied.returncode == 0, applied.stderr
    await town.publish(evening.records)
    with town.daemon():
        await until(lambda: _finished(town) is not None)
        again = town.standin.journal_position()
        second = town.passback("flush", town.district, "--json")
    assert second.returncode == 0, second.stderr
    assert town.writes(after=again) == []

    held = {
        (line["student"], line["score"], line["scoreStatus"])
        for line in town.skyward.gradebook()
        if "student" in line
    }
    student = evening.students
    assert held == {
        (student[0], "8", "fully graded"),
        *((one, "0", "fully graded") for i, one in enumerate(student) if i not in (0, 1, 2, 5)),
    }
    titles = {line["title"] for line in town.skyward.gradebook() if "title" in line}
    assert titles == {"x" * 49}
    why = {
        (a, i): _reason(town, evening, a, i)
        for a, i in [("forty-nine", n) for n in (1, 2, 5)] + [("fifty", 0), ("closed", 0)]
    }
    assert why == {
        ("forty-nine", 1): "score_not_whole",
        ("forty-nine", 2): "excluded",
        ("forty-nine", 5): "not_graded",
        ("fifty", 0): "name_too_long",
        ("closed", 0): "grading_period_closed",
    }


async def test_skyward_away_at_the_cutoff_loses_nothing(town: Town) -> None:
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    evening.assess("quiz", title="Quiz")
    for n in range(len(evening.students)):
        evening.grade("quiz", n, "8")
    assert town.passback("migrate").returncode == 0
    assert town.apply(town.settings(effective_date="2020-01-01")).returncode == 0
    await town.publish(evening.records)
    town.skyward.configure(unavailable=True)
    with town.daemon():
        deferred = town.passback("flush", town.district, "--json")
        assert deferred.returncode == 1, deferred.stderr
        assert '"state": "deferred"' in deferred.stdout
        assert "skyward_unavailable" in deferred.stdout
        town.skyward.configure(unavailable=False)
        report = town.answer("flush", town.district)
    assert report["results"]["posted"] == len(evening.students)
    assert town.skyward.counts()["results"] == len(evening.students)


def _reason(town: Town, evening: Evening, assessment: str, student: int) -> str:
    answer = town.answer(
        *("explain", town.district, "--assessment", assessment),
        *("--class", "c-1", "--student", f"s-{student}"),
    )
    return str(answer["decision"]["reason"])

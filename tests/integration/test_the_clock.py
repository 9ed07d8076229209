"""Whole nights by the clock: daylight saving, odd zones, downtime, long runs, skew."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.nights import Nights, nights_of
from tests.integration.simulated_time import PACE, SimulatedTime

CHICAGO_NOON = datetime(2026, 11, 20, 18, tzinfo=UTC)


@pytest.fixture
async def november(tmp_path: Path, database_url: str) -> AsyncIterator[Nights]:
    """A district in Chicago at noon on Friday 20 November 2026; its cutoff is at 22:00."""
    async with nights_of(tmp_path, database_url, now=CHICAGO_NOON) as built:
        yield built


async def test_a_run_longer_than_its_window_ends_and_the_next_night_sends_the_rest(
    november: Nights,
) -> None:
    await november.apply(skyward=november.settings["skyward"] | {"max_concurrency": 1})
    students = len(november.evening.students)
    november.evening.assess("quiz", due_days=5)
    for student in range(students):
        november.evening.grade("quiz", student, "8")
    november.skyward.configure(latency=0.04)
    loop = asyncio.get_running_loop()
    began = loop.time()
    # The window passes while about half of them are sent.
    quick = PACE.window.total_seconds() / (0.04 * students / 2)

    def now() -> datetime:
        return november.now + timedelta(seconds=(loop.time() - began) * quick)

    time = SimulatedTime(november, flusher=replace(november.flusher(), now=now))
    await time.begin()
    (first,) = await time.pass_to(CHICAGO_NOON + timedelta(hours=11))
    sent = first.results["posted"]
    assert (first.state, first.stopped_by) == ("deferred", "window_over")
    assert 0 < sent < students
    assert first.reasons == {"window_over": students - sent}

    time.flusher = None
    (second,) = await time.pass_to(CHICAGO_NOON + timedelta(hours=40))
    assert second.service_date - first.service_date == timedelta(days=1)
    assert (second.state, second.results["posted"]) == ("done", students - sent)
    assert november.scores() == {f"s-{n}": "8" for n in range(students)}
    assert november.operations("putResult") == students

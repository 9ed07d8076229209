"""A night that ends at any of its awaits, and is run again, ends as if nothing had happened."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from consumer.store import recording
from consumer.store.connection import Pool
from consumer.store.recording import Batch, Recorded, store_offsets
from tests.history.clauses import judge, judged
from tests.integration.interrupted import Interrupted, Way, interrupted

EVERY = 53
"""Of the awaits of a night, each so manieth; the slow suite takes them all."""


@pytest.fixture
def night(tmp_path: Path, database_url: str) -> Iterator[Interrupted]:
    with interrupted(tmp_path, database_url) as built:
        yield built


def whole(night: Interrupted) -> tuple[object, ...]:
    """The ending that all others must equal."""
    night.until_the_second()
    night.go_on()
    return night.ending()


def cut_at_each(night: Interrupted, way: Way, every: int, first: int = 1) -> tuple[int, int]:
    """Cuts the night again and again; returns at how many points, and how many repeats came."""
    undisturbed = whole(night)
    points = repeats = 0
    while True:
        night.until_the_second()
        at = first + points * every
        if not night.cut(at, way):
            return points, repeats
        night.go_on()
        assert night.ending() == undisturbed, (way, at)
        repeats += judged(night.history()).repeats
        points += 1


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_night_that_ends_at_any_await_ends_as_if_it_had_not(night: Interrupted, way: Way) -> None:
    points, repeats = cut_at_each(night, way, EVERY)
    print(f"{way}: {points} points of about {points * EVERY}, {repeats} repeats")
    assert points >= 4


def test_a_build_that_stores_offsets_before_rows_is_noticed(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = recording.record

    async def offsets_first(pool: Pool, batch: Batch, now: datetime) -> Recorded:
        await store_offsets(pool, batch.next_offsets)
        return await kept(pool, batch, now)

    monkeypatch.setattr(recording, "record", offsets_first)
    assert "offsets_behind_rows" in clauses_broken(night, range(1, 12, 2))


def clauses_broken(night: Interrupted, points: Iterable[int]) -> set[str]:
    """Which clauses a build breaks that is killed at these points."""
    found: set[str] = set()
    for at in points:
        night.until_the_second()
        if not night.cut(at, "kill"):
            break
        night.go_on()
        found |= {one.clause for one in judge(night.history()).findings}
        if found:
            break
    return found

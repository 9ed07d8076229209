"""A night that ends at any of its awaits, and is run again, ends as if nothing had happened."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

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


@dataclass
class Cut:
    """What nights came to that were cut at so many points; counted over all of them."""

    points: int = 0
    lost: int = 0
    doubled: int = 0
    repeats: int = 0


def whole(night: Interrupted) -> tuple[Any, ...]:
    """The ending that all others must equal."""
    night.until_the_second()
    night.go_on()
    return night.ending()


def cut_at_each(night: Interrupted, way: Way, every: int, first: int = 1) -> Cut:
    """Cuts the night again and again, up to its end."""
    undisturbed = whole(night)
    cut = Cut()
    while True:
        night.until_the_second()
        at = first + cut.points * every
        if not night.cut(at, way):
            return cut
        night.go_on()
        ending = night.ending()
        cut.lost += sum(1 for one in undisturbed[0] if one not in ending[0])
        assert ending == undisturbed, (way, at)
        judgement = judged(night.history())
        cut.doubled += judgement.doubled
        cut.repeats += judgement.repeats
        cut.points += 1


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_night_that_ends_at_any_await_ends_as_if_it_had_not(night: Interrupted, way: Way) -> None:
    cut = cut_at_each(night, way, EVERY)
    print(f"{way}: {cut.points} points of about {cut.points * EVERY}, {cut.repeats} repeats")
    assert cut.points >= 3


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

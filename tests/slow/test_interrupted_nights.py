"""A night that ends at each of its awaits, one after the other, in both ways."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer import rules
from consumer.flush import run, sending
from consumer.gradebook import Kind, Outcome
from consumer.rules import Tonight
from consumer.skyward import Skyward
from consumer.store import recording
from consumer.store.recording import Batch, Recorded
from tests.integration.interrupted import Interrupted, Way, interrupted
from tests.integration.test_in_doubt import after_deaths
from tests.integration.test_interrupted_nights import clauses_broken, cut_at_each
from tests.slow.table import Row, Table


@pytest.fixture
def night(tmp_path: Path, database_url: str) -> Iterator[Interrupted]:
    with interrupted(tmp_path, database_url) as built:
        yield built


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_night_that_ends_at_each_await(night: Interrupted, table: type[Table], way: Way) -> None:
    cut = cut_at_each(night, way, every=1)
    how = "SIGKILL" if way == "kill" else "told to stop"
    table.add(
        Row(
            f"intake and flush end at each of their awaits: {how}",
            cut.points,
            cut.lost,
            cut.doubled,
            cut.repeats,
            None,
            "builds that store offsets first, settle first, or make up ids end otherwise",
        )
    )
    assert cut.points > 150


@pytest.mark.timeout(1_800)
def test_what_is_taken_back_after_a_death_at_each_await(
    night: Interrupted, table: type[Table]
) -> None:
    found = dict(after_deaths(night, range(1, 1_000)))
    assert len(found) > 150
    clauses = Counter(one.clause for some in found.values() for one in some)
    table.add(
        Row(
            "SIGKILL at an await, and all that was on its way is taken back",
            len(found),
            clauses.total(),
            clauses["one_result_each"] + clauses["nothing_twice"],
            0,
            None,
            "a build that asks Skyward nothing afterwards leaves values of which nobody knows",
        )
    )


def test_a_build_that_settles_before_it_sends_is_noticed(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Skyward.put_result

    async def settle_first(self: sending.Sending, portion: Any, posting: Any) -> Outcome:
        outcome = Outcome(Kind.POST, status=201)
        self._park_or_settle(portion, posting.decided, outcome, posting)
        await self._settle()
        return await kept(self._skyward, posting.result)

    monkeypatch.setattr(sending.Sending, "_put_result", settle_first)
    assert "store_believes" in clauses_broken(night, range(100, 220, 10))


def ignores_its_cutoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed within a day after it goes, too."""

    def later(district: Any, cutoff_at: datetime, *more: Any) -> Tonight:
        return Tonight(district, cutoff_at + timedelta(days=1), *more)

    monkeypatch.setattr(run, "Tonight", later)


def sends_what_stands_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value goes again although it is the one that was acknowledged."""
    monkeypatch.setattr(rules, "_is_same", lambda *_: False)


def numbers_versions_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the place in the log, which a replay from a topic that was compacted would change."""
    kept = recording.record

    async def renumbered(pool: Any, batch: Batch, now: datetime) -> Recorded:
        changes = []
        for one in batch.changes:
            data = one.change.data
            if data is not None:
                data = msgspec.structs.replace(data, version=one.record.offset)
            change = msgspec.structs.replace(one.change, data=data)
            changes.append(msgspec.structs.replace(one, change=change))
        batch.changes = changes
        return await kept(pool, batch, now)

    monkeypatch.setattr(recording, "record", renumbered)


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "nothing_later_than_its_night": ignores_its_cutoff,
    "nothing_twice": sends_what_stands_already,
    "store_invents_nothing": numbers_versions_itself,
}


@pytest.mark.parametrize("clause", BROKEN)
def test_a_broken_build_is_found_by_its_clause(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch, clause: str
) -> None:
    BROKEN[clause](monkeypatch)
    assert clause in clauses_broken(night, range(100, 220, 10))

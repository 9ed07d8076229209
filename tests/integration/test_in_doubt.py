"""What was on its way to Skyward when a run ended, and is taken back before the next one.

The run that goes on must know what Skyward holds of it: else a value stands there of which the
store knows nothing, and which nobody corrects or reports.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.flush import adopting
from consumer.gradebook import GradeKey, result_id
from consumer.store import in_doubt
from consumer.store.settling import Tally
from tests.history.clauses import Finding, judge
from tests.integration.interrupted import Interrupted, interrupted
from tests.integration.nights import Nights

POINTS = range(90, 1_000, 18)
"""From where the first is on its way to the night's end."""
RESULT = result_id("lakeside", GradeKey("quiz", "c-1", "s-0"))


@pytest.fixture
def night(tmp_path: Path, database_url: str) -> Iterator[Interrupted]:
    with interrupted(tmp_path, database_url) as built:
        yield built


def after_deaths(night: Interrupted, points: Iterable[int]) -> Iterator[tuple[int, list[Finding]]]:
    """What was not legal of nights that died there, after all of it had been taken back."""
    for at in points:
        night.until_the_second()
        if not night.cut(at, "kill"):
            return
        night.go_on(night.taken_back)
        yield at, list(judge(night.history()).findings)


@pytest.mark.timeout(60)
def test_what_is_taken_back_after_a_death_is_known_to_stand_in_skyward(night: Interrupted) -> None:
    found = dict(after_deaths(night, POINTS))
    assert len(found) >= 4
    assert not any(found.values()), found


@pytest.mark.timeout(60)
def test_a_build_that_asks_nothing_after_a_death_is_noticed(
    night: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> Tally:
        return Tally()

    monkeypatch.setattr(adopting, "adopt", nothing)
    found = (finding.clause for _, some in after_deaths(night, POINTS) for finding in some)
    assert "store_believes" in found


# -- an answer that never came ------------------------------------------------------------------


async def answers_lost(nights: Nights, **settings: Any) -> None:
    """8 was posted; then 9 is stored, and no answer of Skyward says so."""
    await nights.apply(**settings)
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.evening.grade("quiz", 0, "9")
    nights.skyward.fault("reset_after", match="PUT .*/results/", times=None)
    report = await nights.flush(days=1)
    assert (report.state, nights.scores()) == ("deferred", {"s-0": "9"})
    nights.skyward.clear_faults()


async def test_a_score_whose_answer_was_lost_gives_way_to_the_one_that_stood_before(
    nights: Nights,
) -> None:
    await answers_lost(nights)
    nights.evening.grade("quiz", 0, "8")
    report = await nights.flush(days=1)
    assert (report.results["posted"], nights.scores()) == (1, {"s-0": "8"})


async def test_a_score_whose_answer_was_lost_and_which_is_taken_back_is_reported(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "9")
    nights.skyward.fault("reset_after", match="PUT .*/results/", times=None)
    await nights.flush()
    nights.skyward.clear_faults()
    nights.evening.grade("quiz", 0, "9", submission="excluded")
    report = await nights.flush(days=1)
    # It was posted, which nobody knew, and stands there although it should not.
    assert (report.results["posted"], report.reasons) == (1, {"diverged": 1})
    sent = await nights.pool.fetchrow("SELECT sent_score, sent_origin FROM grade")
    assert sent is not None
    assert (str(sent[0]), sent[1]) == ("9", "teacher")


async def test_a_teachers_score_that_is_kept_is_not_taken_for_ours(nights: Nights) -> None:
    rules = nights.settings["rules"] | {"changed_in_skyward": "hold"}
    await answers_lost(nights, rules=rules)
    nights.skyward.act("changeScore", result=RESULT, score="5")
    nights.evening.grade("quiz", 0, "10")
    report = await nights.flush(days=1)
    assert (report.reasons, nights.scores()) == ({"changed_in_skyward": 1}, {"s-0": "5"})


async def test_our_score_whose_answer_was_lost_is_not_taken_for_a_teachers(nights: Nights) -> None:
    rules = nights.settings["rules"] | {"changed_in_skyward": "hold"}
    await answers_lost(nights, rules=rules)
    report = await nights.flush(days=1)
    assert (report.results["posted"], nights.scores()) == (1, {"s-0": "9"})
    nights.evening.grade("quiz", 0, "10")
    assert (await nights.flush(days=1)).results["posted"] == 1
    assert nights.scores() == {"s-0": "10"}


async def test_a_withdrawal_whose_answer_was_lost_is_made_good_when_the_grade_comes_back(
    nights: Nights,
) -> None:
    await nights.apply(
        rules=nights.settings["rules"] | {"after_posting": {"excluded": "delete"}},
    )
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.evening.grade("quiz", 0, "8", submission="excluded")
    nights.skyward.fault("reset_after", match="DELETE .*/results/", times=1)
    nights.skyward.fault("status", match="DELETE .*/results/", status=503, times=None)
    await nights.flush(days=1)
    assert nights.scores() == {}
    nights.skyward.clear_faults()
    nights.evening.grade("quiz", 0, "8")
    report = await nights.flush(days=1)
    assert (report.results["posted"], nights.scores()) == (1, {"s-0": "8"})


async def test_a_page_costs_one_statement_however_many_results_it_has_and_a_calm_end_one(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[int] = []
    remember = in_doubt.remember

    async def counted(pool: Any, lease: Any, keys: Any, *more: Any) -> None:
        remembered.append(len(keys))
        await remember(pool, lease, keys, *more)

    monkeypatch.setattr(in_doubt, "remember", counted)
    for name in ("essay", "quiz"):
        nights.evening.assess(name, due_days=5)
        for student in range(6):
            nights.evening.grade(name, student, "8")
    assert (await nights.flush()).results["posted"] == 12
    assert remembered == [2, 0]
    await nights.flush(days=1)
    assert remembered == [2, 0]


async def test_a_skyward_that_shows_no_results_is_asked_twice_and_stops_nothing(
    nights: Nights,
) -> None:
    await answers_lost(nights)
    nights.skyward.fault("status", match="GET .*/results", status=403, times=None)
    report = await nights.flush(days=1)
    assert (report.state, report.results["posted"], nights.scores()) == ("done", 1, {"s-0": "9"})
    assert await nights.pool.fetchval("SELECT in_doubt FROM lease") == [["quiz", "c-1"]]
    assert (await nights.flush(days=1)).state == "done"
    assert await nights.pool.fetchval("SELECT in_doubt FROM lease") == []

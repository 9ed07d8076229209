"""The judge on real nights: it passes what the product does, and finds what it is told to do."""

import pytest

from consumer.flush import sending
from consumer.sandbox.oracle import Oracle, periods_by_class
from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL
from tests.history.clauses import Judgement, judge
from tests.history.evidence import Evening, gathered
from tests.history.published import read_published
from tests.integration.nights import Nights


async def judgement(nights: Nights, url: str, evenings: list[Evening]) -> Judgement:
    placed = [(one, (one.topic, 0, n)) for n, one in enumerate(nights.evening.records)]
    today = nights.now.date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    oracle = Oracle(nights.settings, periods_by_class(roster))
    for one in nights.evening.records:
        oracle.fold(one)
    return judge(
        await gathered(
            nights.standin,
            url,
            list(read_published(placed)),
            expected={"lakeside": list(oracle.expected(nights.now))},
            evenings={"lakeside": evenings},
        )
    )


async def two_nights(nights: Nights, url: str) -> Judgement:
    """Six scores and the others' zeros; a minute later two of them corrected."""
    for student in range(6):
        nights.evening.grade("quiz", student, f"{student + 1}")
    nights.evening.assess("quiz")
    await nights.flush()
    evenings = [Evening(0, nights.now)]
    nights.evening.grade("quiz", 1, "9")
    nights.evening.grade("quiz", 2, "8")
    before = nights.standin.journal_position()
    await nights.flush()
    evenings.append(Evening(before, nights.now))
    return await judgement(nights, url, evenings)


async def test_the_judge_passes_two_nights(nights: Nights, database_url: str) -> None:
    found = await two_nights(nights, database_url)
    assert found.findings == []
    assert found.repeats == 0


async def test_the_judge_finds_ids_that_are_made_up(
    nights: Nights, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(range(10_000))
    monkeypatch.setattr(sending, "result_id", lambda district, key: f"r-{next(made)}")
    found = await two_nights(nights, database_url)
    assert {"final_value", "own_district_only"} <= {one.clause for one in found.findings}

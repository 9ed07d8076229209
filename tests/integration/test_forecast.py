"""A forecast is the report of the run that then happens, and leaves nothing behind."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumer.cli.explanation import Explanation, Verdict, explain_all
from consumer.cutoff import Cutoff
from consumer.flush.forecasting import Forecast, forecast
from consumer.gradebook import NO_EVENT, GradeKey, Kind, Reason, State, result_id
from consumer.store import districts, runs
from tests.integration.nights import Nights
from tests.integration.operators import Operator, shift_clock

_TABLES = ("grade", "assessment", "line_item", "flush_run", "skyward_district", "skyward_class")


async def _tonight(nights: Nights, *, late: timedelta = timedelta(0)) -> Forecast:
    """The forecast of a run whose cutoff is in a minute, and which begins so much ``late``."""
    await nights.record()
    at = nights.now + timedelta(minutes=1)
    stored = await districts.find(nights.pool, "lakeside")
    assert stored is not None
    cutoff = Cutoff(at.astimezone(stored.district.zone).date(), at)
    await runs.schedule(nights.pool, "lakeside", cutoff, at + late, 0)
    stored = await districts.find(nights.pool, "lakeside")
    assert stored is not None
    before, wrote = await _everything(nights), len(nights.writes())
    found = await forecast(nights.pool, nights._connect, stored, nights.now)
    assert await _everything(nights) == before
    assert len(nights.writes()) == wrote
    return found


async def _everything(nights: Nights) -> list[Any]:
    return [await nights.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in _TABLES]


async def _expect_what_happens(nights: Nights) -> Forecast:
    told = await _tonight(nights)
    done = await nights.flush()
    assert told.report.kind == "forecast"
    assert told.report.cutoff_at == done.cutoff_at
    assert dict(told.report.results) == dict(done.results)
    assert dict(told.report.reasons) == dict(done.reasons)
    assert told.report.zeros_posted == done.zeros_posted
    assert told.report.line_items_posted == done.line_items_posted
    assert told.report.titles_kept == done.titles_kept
    return told


async def test_a_forecast_is_what_the_run_then_does(nights: Nights) -> None:
    evening = nights.evening
    evening.assess("a-1")
    evening.grade("a-1", 0, "8")
    evening.grade("a-1", 1, "8.5")
    evening.grade("a-1", 2, None, completion="in_progress", submission=None)
    evening.assess("a-2", due_days=3)
    evening.grade("a-2", 1, None, completion="turned_in")
    evening.grade("a-3", 1, "7")
    first = await _expect_what_happens(nights)
    assert first.report.results["posted"] > 1
    assert first.report.zeros_posted > 0
    assert first.joins == {}
    evening.grade("a-1", 0, "9")
    evening.grade("a-1", 1, "8.5")
    again = await _expect_what_happens(nights)
    assert again.report.results["posted"] == 1
    quiet = await _expect_what_happens(nights)
    assert sum(quiet.report.results.values()) == 0


async def _explained(nights: Nights, *assessments: str) -> dict[GradeKey, Explanation]:
    """What ``explain`` says of every grade of these assessments."""
    stored = await districts.find(nights.pool, "lakeside")
    assert stored is not None
    found: dict[GradeKey, Explanation] = {}
    for name in assessments:
        told = await explain_all(nights.pool, stored, name, None, None)
        found |= {one.key: one for one in told}
    return found


def _failing(one: Explanation) -> Verdict | None:
    """The first rule that fails by today's verdicts; each of them must be known."""
    assert all(v.passes is not None for v in one.verdicts)
    return next((v for v in one.verdicts if not v.passes), None)


async def test_explain_says_before_the_run_what_the_forecast_counts_and_the_report_then_says(
    nights: Nights,
) -> None:
    evening = nights.evening
    evening.assess("sent")
    evening.grade("sent", 0, "8")
    evening.grade("sent", 1, "7")
    await nights.flush()
    evening.grade("sent", 0, "8", submission="excluded")
    evening.grade("sent", 1, "9")
    evening.assess("rich")
    evening.grade("rich", 0, "8")
    evening.grade("rich", 1, "8.5")
    evening.grade("rich", 2, None, completion="in_progress", submission=None)
    evening.grade("rich", 3, "8", submission="excluded")
    evening.grade("rich", 4, "8", submission="excused")
    evening.grade("rich", 5, None, completion="turned_in")
    evening.assess("ahead", due_days=3)
    evening.grade("ahead", 0, "8")
    evening.grade("ahead", 1, None, completion="in_progress", submission=None)
    stopped: dict[str, dict[str, Any]] = {
        "long": {"title": "x" * 50},
        "unmapped": {"type": "Kahoot"},
        "stranger": {"assigned_by": {"user_id": "t-9", "in_sis": True}},
        "closed": {"assigned_days": -70, "due_days": -50},
        "outside": {"due_days": 300},
        "standards": {"grading_scale": "standards"},
    }
    for name, changes in stopped.items():
        evening.assess(name, **changes)
        evening.grade(name, 0, "8")
    evening.grade("unknown", 0, "8")
    everything = ("sent", "rich", "ahead", *stopped, "unknown")

    told = await _tonight(nights)
    before = await _explained(nights, *everything)
    done = await nights.flush()
    after = await _explained(nights, *everything)

    assert dict(told.report.reasons) == dict(done.reasons)
    assert len(done.reasons) >= 12
    assert Counter(one.reason for one in after.values() if one.reason) == done.reasons
    taken_back = GradeKey("sent", "c-1", "s-0")
    foretold: Counter[Reason] = Counter()
    for key, one in after.items():
        failing = _failing(before[key])
        if one.kind is None:
            # Nobody handed anything in and nothing is due: there is nothing to decide.
            assert one.grade == NO_EVENT
            assert failing is not None
        elif key == taken_back:
            assert one.reason is Reason.DIVERGED
            assert failing is not None
            assert (one.detail or "").startswith(f"{failing.because}; ")
        elif failing is None:
            assert (one.kind, one.reason, one.state) == (Kind.POST, None, State.POSTED)
            assert one.held is not None
        else:
            foretold[failing.rule.code] += 1
            assert (one.reason, one.detail) == (failing.rule.code, failing.because)
            assert one.held is None
    assert foretold == {r: n for r, n in told.report.reasons.items() if r != Reason.DIVERGED}
    posted = [
        one for key, one in after.items() if one.kind is Kind.POST and before[key].held != one.held
    ]
    assert len(posted) == told.report.results["posted"] == done.results["posted"]


async def test_what_the_clock_brings_is_in_the_forecast(nights: Nights) -> None:
    nights.evening.assess("a-1", due_days=1)
    await nights.flush()
    assert nights.scores() == {}
    nights.now += timedelta(days=2)
    found = await _expect_what_happens(nights)
    assert found.report.zeros_posted == len(nights.evening.students)


async def test_changed_settings_are_in_the_forecast(nights: Nights) -> None:
    nights.evening.assess("a-1", type="Kahoot", due_days=3)
    nights.evening.grade("a-1", 0, "8")
    nights.evening.assess("a-2", due_days=3)
    nights.evening.grade("a-2", 0, "8.5")
    first = await nights.flush()
    assert first.reasons == {"category_unmapped": 1, "score_not_whole": 1}
    await nights.apply(categories=nights.settings["categories"] | {"Kahoot": "cat-test"})
    # A manual run leaves the revision to the nightly one; both look at everything.
    found = await _expect_what_happens(nights)
    assert found.report.results["posted"] == 1
    # The same reason as before is no news.
    assert found.report.reasons == {}


async def test_a_score_changed_in_skyward_is_held_in_the_forecast(nights: Nights) -> None:
    await nights.apply(rules=nights.settings["rules"] | {"changed_in_skyward": "hold"})
    nights.evening.assess("a-1", due_days=3)
    nights.evening.grade("a-1", 0, "8")
    nights.evening.grade("a-1", 1, "7")
    await nights.flush()
    result = result_id("lakeside", GradeKey("a-1", "c-1", "s-0"))
    nights.skyward.act("changeScore", result=result, score="5")
    nights.evening.grade("a-1", 0, "9")
    nights.evening.grade("a-1", 1, "9")
    found = await _expect_what_happens(nights)
    assert found.report.reasons == {"changed_in_skyward": 1}
    assert found.report.results["posted"] == 1


async def test_a_join_in_mid_period_warns_of_what_may_stand_twice(
    nights: Nights,
) -> None:
    nights.evening.assess("a-1", assigned_by={"user_id": "t-2", "in_sis": True})
    nights.evening.grade("a-1", 0, "8")
    nights.evening.join("t-2")
    found = await _tonight(nights)
    assert found.joins == {"t-2": 1}


async def test_a_paused_district_posts_nothing_tonight(nights: Nights) -> None:
    nights.evening.assess("a-1")
    nights.evening.grade("a-1", 0, "8")
    await districts.pause(nights.pool, "lakeside", nights.now, None, None)
    found = await _tonight(nights)
    assert found.report.stopped_by == "district_paused"
    assert found.report.results["posted"] == 0


async def test_a_pause_that_is_over_by_tonight_stops_nothing_tonight(nights: Nights) -> None:
    nights.evening.assess("a-1")
    nights.evening.grade("a-1", 0, "8")
    until = nights.now + timedelta(seconds=30)
    await districts.pause(nights.pool, "lakeside", nights.now, until, None)
    found = await _expect_what_happens(nights)
    assert found.report.stopped_by is None
    assert found.report.results["posted"] > 0


async def test_a_pause_that_is_over_before_the_run_is_tried_again_stops_nothing(
    nights: Nights,
) -> None:
    nights.evening.assess("a-1")
    nights.evening.grade("a-1", 0, "8")
    until = nights.now + timedelta(minutes=14)
    await districts.pause(nights.pool, "lakeside", nights.now, until, None)
    found = await _tonight(nights, late=timedelta(minutes=15))
    assert found.report.stopped_by is None
    assert found.report.results["posted"] > 0


def test_a_machine_that_is_hours_ahead_does_not_forecast_past_the_end_of_a_pause(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    operator.apply()
    operator.store(lambda pool: runs.schedule(pool, "lakeside", Cutoff(at.date(), at), at, 0))
    until = (at + timedelta(minutes=30)).isoformat()
    assert operator.passback("district", "pause", "lakeside", "--until", until) == 0
    shift_clock(monkeypatch, timedelta(hours=3))
    assert operator.passback("forecast", "lakeside", "--json") == 1
    assert json.loads(operator.said)["reasons"] == {"district_paused": 0}


async def test_a_skyward_that_is_away_is_a_forecast_that_says_so(
    nights: Nights,
) -> None:
    nights.evening.assess("a-1")
    nights.evening.grade("a-1", 0, "8")
    await nights.apply(
        skyward=nights.settings["skyward"] | {"token_url": "http://127.0.0.1:1/token"}
    )
    found = await _tonight(nights)
    assert found.report.state == "deferred"
    assert found.report.stopped_by is not None

"""What the real daemon's metrics say of its nights."""

from datetime import datetime
from typing import Any

import asyncpg

from consumer.sandbox.schoolday import Record
from tests.evening import Evening
from tests.system.town import ZONE, Town, soon, until


async def _once_more(town: Town) -> None:
    """Makes the district due for one more night, as if a day had passed."""
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute(
            "UPDATE district SET start_at = now(), next_cutoff_at = now(),"
            " next_service_date = next_service_date + 1"
        )
    finally:
        await connection.close()


def _counters(town: Town) -> dict[str, Any]:
    shown = town.metrics()
    here = {"district": town.district}
    return {
        "teacher": shown("passback_grades_posted_total", **here, origin="teacher"),
        "clock": shown("passback_grades_posted_total", **here, origin="clock"),
        "not whole": shown("passback_grades_skipped_total", **here, reason="score_not_whole"),
        "items": shown("passback_line_items_posted_total", **here),
    }


async def test_a_grade_is_counted_once_per_decision_that_changed(town: Town) -> None:
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    evening.assess("quiz")
    evening.grade("quiz", 0, "8")
    evening.grade("quiz", 1, "8.5")
    assert town.passback("migrate").returncode == 0
    assert town.apply(town.settings(soon(3), effective_date="2020-01-01")).returncode == 0
    poison = Record("grade-changed", "elsewhere/quiz/c-1/s-9", b"{", 0)
    await town.publish([*evening.records, poison])

    def runs(result: str = "done") -> float | None:
        labels = {"district": town.district, "result": result}
        return town.metrics()("passback_flush_runs_total", **labels)

    with town.daemon():
        await until(lambda: any(line["event"] == "started" for line in town.log()))
        await until(lambda: runs() == 1)
        zeros = len(evening.students) - 2
        first = _counters(town)
        assert first == {"teacher": 1, "clock": zeros, "not whole": 1, "items": 1}

        await _once_more(town)
        await until(lambda: runs() == 2)
        assert _counters(town) == first

        more = Evening(town.roster, town.district, datetime.now(ZONE))
        more.assess("test")
        more.grade("test", 0, "9")
        await town.publish(more.records)
        by_hand = town.answer("flush", town.district)
        assert by_hand["results"]["posted"] > 0
        assert _counters(town) == first
        assert runs() == 2

        await until(lambda: _lags(town) == [0, 0, 0])
        await until(lambda: town.metrics()("passback_pool_waiting") == 0)
        _expect_the_rest(town)

        # Quarantine and the districts are looked at every 15 s.
        removed = town.passback("district", "remove", town.district, "--discard")
        assert removed.returncode == 0, removed.stderr
        await until(lambda: town.metrics()("passback_quarantined_events") == 1)
        labels = {"district": town.district}
        assert town.metrics()("passback_pending_grades", **labels) is None
        assert town.metrics()("passback_flush_runs_total", **labels, result="done") is None


def _lags(town: Town) -> list[float | None]:
    shown, topic = town.metrics(), town.prefix + "grade-changed"
    return [shown("passback_consumer_lag_records", topic=topic, partition=one) for one in "012"]


def _expect_the_rest(town: Town) -> None:
    shown = town.metrics()
    here = {"district": town.district}
    for topic in ("grade-changed", "assessment-changed"):
        labels = {"topic": town.prefix + topic}
        assert (shown("passback_events_consumed_total", **labels) or 0) > 0
    assert shown("passback_events_quarantined_total", reason="not_json") == 1
    assert shown("passback_assigned_partitions") == 9
    assert shown("passback_rebalances_total") == 1
    for partition in "012":
        labels = {"topic": town.prefix + "grade-changed", "partition": partition}
        assert shown("passback_consumer_behind_since_timestamp_seconds", **labels) == 0
    now = datetime.now(ZONE).timestamp()
    for name in ("last_poll", "last_event"):
        assert now - 30 < (shown(f"passback_{name}_timestamp_seconds") or 0) <= now
    last_cutoff = shown("passback_flush_last_cutoff_timestamp_seconds", **here) or 0
    assert (
        now - 120
        < last_cutoff
        < (shown("passback_flush_last_success_timestamp_seconds", **here) or 0)
    )
    applied = shown("passback_district_settings_applied_timestamp_seconds", **here) or 0
    assert now - 120 < applied < now
    assert shown("passback_skyward_token_expiry_timestamp_seconds", **here) == 0
    assert shown("passback_skyward_circuit_open", **here, reason="credentials_refused") == 0
    assert shown("passback_district_paused", **here) == 0
    assert (shown("passback_pool_size") or 0) >= 1
    assert (shown("passback_skyward_requests_total", operation="token", code="200") or 0) >= 1

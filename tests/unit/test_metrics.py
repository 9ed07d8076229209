"""Metrics: the names of the contract, every known series at 0, and nobody's name in a label."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import consumer.skyward.client
import consumer.skyward.network
from consumer import __version__
from consumer.gradebook import Kind, Origin, Reason, RunReport
from consumer.metrics import OPERATIONS, UNANSWERED, FlushResult, Metrics
from consumer.oneroster import Operation

NIGHT = datetime(2026, 9, 2, 3, tzinfo=UTC)

# Contract, section 8.
CONTRACT = {
    "passback_grades_posted_total": {"district", "origin"},
    "passback_grades_rejected_total": {"district", "reason"},
    "passback_grades_skipped_total": {"district", "reason"},
    "passback_grades_held": {"district", "reason"},
    "passback_line_items_posted_total": {"district"},
    "passback_pending_grades": {"district"},
    "passback_pending_oldest_timestamp_seconds": {"district"},
    "passback_flush_runs_total": {"district", "result"},
    "passback_flush_last_success_timestamp_seconds": {"district"},
    "passback_flush_next_cutoff_timestamp_seconds": {"district"},
    "passback_flush_in_progress": {"district"},
    "passback_flush_duration_seconds_count": set(),
    "passback_events_consumed_total": {"topic"},
    "passback_events_recorded_total": {"topic"},
    "passback_events_quarantined_total": {"reason"},
    "passback_events_stale_total": {"topic"},
    "passback_consumer_lag_records": {"topic", "partition"},
    "passback_assigned_partitions": set(),
    "passback_skyward_requests_total": {"operation", "code"},
    "passback_skyward_request_duration_seconds_count": {"operation"},
    "passback_build_info": {"version"},
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), per_district=True)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"passback_{name}", labels)


def openmetrics(metrics: Metrics) -> str:
    text: bytes = generate_latest(metrics.registry)  # type: ignore[no-untyped-call]
    return text.decode()


def report(seconds: float = 60) -> RunReport:
    return RunReport(
        district_id="lakeside",
        service_date=NIGHT.date(),
        kind="nightly",
        cutoff_at=NIGHT,
        started_at=NIGHT,
        finished_at=NIGHT + timedelta(seconds=seconds),
        state="done",
    )


def test_every_metric_of_the_contract_has_its_name_and_labels(metrics: Metrics) -> None:
    metrics.add_district("lakeside")
    metrics.set_lag("grade-changed", 0, 7, NIGHT)
    metrics.observe_request("put_result", "200", 0.1)
    found = {
        sample.name: set(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert {name: found.get(name) for name in CONTRACT} == CONTRACT


def test_every_metric_has_help_and_is_valid_openmetrics(metrics: Metrics) -> None:
    metrics.add_district("lakeside")
    families = list(text_string_to_metric_families(openmetrics(metrics)))  # type: ignore[no-untyped-call]
    assert families
    for family in families:
        assert family.name.startswith(("passback_", "process_"))
        assert family.documentation.endswith(".")


def test_a_district_begins_with_every_series_at_zero(metrics: Metrics) -> None:
    metrics.add_district("lakeside")
    by_kind = {
        Kind.REJECT: "grades_rejected_total",
        Kind.SKIP: "grades_skipped_total",
        Kind.HOLD: "grades_held",
    }
    for reason in Reason:
        if reason.kind in by_kind:
            name = by_kind[reason.kind]
            assert value(metrics, name, district="lakeside", reason=reason) == 0
    for origin in Origin:
        assert value(metrics, "grades_posted_total", district="lakeside", origin=origin) == 0
    for result in ("done", "deferred"):
        assert value(metrics, "flush_runs_total", district="lakeside", result=result) == 0
    for topic in ("assessment-changed", "grade-changed", "passback-group-changed"):
        assert value(metrics, "events_consumed_total", topic=f"otus.{topic}") == 0


def test_a_district_that_leaves_takes_its_series_along(metrics: Metrics) -> None:
    metrics.keep_districts(["lakeside", "hillside"])
    metrics.count_posted("lakeside", Origin.CLOCK)
    metrics.keep_districts(["hillside", "seaside"])
    shown = {
        sample.labels["district"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if "district" in sample.labels
    }
    assert shown == {"hillside", "seaside"}


def test_what_is_counted_is_shown(metrics: Metrics) -> None:
    metrics.count_posted("lakeside", Origin.TEACHER, 3)
    metrics.count_rejected("lakeside", Reason.LOCKED, 2)
    metrics.count_skipped("lakeside", Reason.EXCLUDED)
    metrics.count_line_items_posted("lakeside", 4)
    labels = {"district": "lakeside"}
    assert value(metrics, "grades_posted_total", **labels, origin="teacher") == 3
    assert value(metrics, "grades_rejected_total", **labels, reason="locked") == 2
    assert value(metrics, "grades_skipped_total", **labels, reason="excluded") == 1
    assert value(metrics, "line_items_posted_total", **labels) == 4


def test_what_is_no_longer_held_goes_back_to_zero(metrics: Metrics) -> None:
    metrics.set_held("lakeside", {Reason.NOT_DUE_YET: 5})
    metrics.set_held("lakeside", {Reason.ZEROS_HELD: 1})
    assert value(metrics, "grades_held", district="lakeside", reason="not_due_yet") == 0
    assert value(metrics, "grades_held", district="lakeside", reason="zeros_held") == 1


def test_a_run_is_counted_when_it_ends(metrics: Metrics) -> None:
    labels = {"district": "lakeside"}
    with metrics.flushing("lakeside"):
        assert value(metrics, "flush_in_progress", **labels) == 1
    assert value(metrics, "flush_in_progress", **labels) == 0
    metrics.flush_ended(report(), FlushResult.DEFERRED)
    assert value(metrics, "flush_last_success_timestamp_seconds", **labels) == 0
    metrics.flush_ended(report(), FlushResult.DONE)
    assert value(metrics, "flush_runs_total", **labels, result="done") == 1
    ended = (NIGHT + timedelta(seconds=60)).timestamp()
    assert value(metrics, "flush_last_success_timestamp_seconds", **labels) == ended
    assert value(metrics, "flush_duration_seconds_sum") == 120


def test_what_stopped_a_run_shows_until_one_gets_through(metrics: Metrics) -> None:
    labels = {"district": "lakeside", "reason": "credentials_refused"}
    stopped = replace(report(), state="deferred", stopped_by="credentials_refused")
    metrics.flush_ended(stopped, FlushResult.DEFERRED)
    assert value(metrics, "skyward_circuit_open", **labels) == 1
    assert value(metrics, "skyward_circuit_open", **labels | {"reason": "throttled"}) == 0
    metrics.flush_ended(report(), FlushResult.DONE)
    assert value(metrics, "skyward_circuit_open", **labels) == 0


def test_a_token_is_shown_for_as_long_as_its_run_goes_on(metrics: Metrics) -> None:
    name = "skyward_token_expiry_timestamp_seconds"
    with metrics.flushing("lakeside"):
        metrics.token_fetched("lakeside", NIGHT)
        assert value(metrics, name, district="lakeside") == NIGHT.timestamp()
    assert value(metrics, name, district="lakeside") == 0


def test_each_request_is_counted_and_timed_under_its_own_code(metrics: Metrics) -> None:
    for code in ("201", "429", "201", "999", "999"):
        metrics.observe_request("put_result", code, 0.1)
    counts = {
        code: value(metrics, "skyward_requests_total", operation="put_result", code=code)
        for code in ("201", "429", "9xx")
    }
    assert counts == {"201": 2, "429": 1, "9xx": 2}
    assert value(metrics, "skyward_request_duration_seconds_count", operation="put_result") == 5


def test_no_server_can_make_series_without_end(metrics: Metrics) -> None:
    for code in range(100, 1000):
        metrics.observe_request("put_result", str(code), 0.1)
    codes = {
        sample.labels["code"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "passback_skyward_requests_total"
    }
    assert {"200", "429", "5xx", "9xx"} <= codes
    assert len(codes) < 90


def test_each_thing_that_skyward_is_asked_has_its_series_from_the_start(metrics: Metrics) -> None:
    source = Path(consumer.skyward.client.__file__).read_text()
    reads = set(re.findall(r'"(get_[a-z_]+)"', source))
    writes = {str(one) for one in Operation if one is not Operation.READ}
    assert {"token", *reads, *writes} == set(OPERATIONS)
    for operation in OPERATIONS:
        for code in ("200", "401", "429", "503", "timeout"):
            found = value(metrics, "skyward_requests_total", operation=operation, code=code)
            assert found == 0, (operation, code)
    network = Path(consumer.skyward.network.__file__).read_text()
    told = set(re.findall(r'Unanswered\(\s*"([a-z_]+)"', network))
    assert told | {"cancelled"} == set(UNANSWERED)


def test_the_process_tells_its_memory_and_when_it_started(metrics: Metrics) -> None:
    for name in ("process_resident_memory_bytes", "process_start_time_seconds"):
        assert (metrics.registry.get_sample_value(name) or 0) > 0


def test_a_district_removed_during_its_run_stays_away(metrics: Metrics) -> None:
    with metrics.flushing("lakeside"):
        metrics.remove_district("lakeside")
    assert value(metrics, "flush_in_progress", district="lakeside") is None


def test_a_batch_is_counted_by_topic_and_reason(metrics: Metrics) -> None:
    metrics.count_batch(
        consumed={"grade-changed": 10},
        recorded={"grade-changed": 7},
        stale={"grade-changed": 2},
        quarantined={"not_json": 1},
        seconds=0.2,
        oldest_age=1.5,
        at=NIGHT,
    )
    topic = {"topic": "otus.grade-changed"}
    assert value(metrics, "events_consumed_total", **topic) == 10
    assert value(metrics, "events_recorded_total", **topic) == 7
    assert value(metrics, "events_stale_total", **topic) == 2
    assert value(metrics, "events_quarantined_total", reason="not_json") == 1
    assert value(metrics, "event_age_seconds_sum") == 1.5
    assert value(metrics, "last_event_timestamp_seconds") == NIGHT.timestamp()


def test_the_lag_of_a_partition_that_left_is_gone(metrics: Metrics) -> None:
    metrics.set_lag("grade-changed", 3, 9, NIGHT)
    labels = {"topic": "otus.grade-changed", "partition": "3"}
    since = "consumer_behind_since_timestamp_seconds"
    assert value(metrics, "consumer_lag_records", **labels) == 9
    assert value(metrics, since, **labels) == NIGHT.timestamp()
    metrics.set_lag("grade-changed", 3, 0, None)
    assert value(metrics, since, **labels) == 0
    metrics.rebalanced(2)
    assert value(metrics, "consumer_lag_records", **labels) is None
    assert value(metrics, since, **labels) is None
    assert value(metrics, "assigned_partitions") == 2
    assert value(metrics, "rebalances_total") == 1
    metrics.left_group()
    assert value(metrics, "assigned_partitions") == 0
    assert value(metrics, "rebalances_total") == 1


def test_without_districts_counters_add_up_and_gauges_fold() -> None:
    metrics = Metrics(CollectorRegistry(), per_district=False)
    assert value(metrics, "grades_posted_total", district="", origin="clock") == 0
    early, late = NIGHT, NIGHT + timedelta(days=1)
    for district, at, pending in (("lakeside", late, 2), ("hillside", early, 3)):
        metrics.count_posted(district, Origin.CLOCK, 2)
        metrics.set_pending(district, pending, at)
        metrics.set_next_cutoff(district, at)
        metrics.set_held(district, {Reason.NOT_DUE_YET: 1})
    metrics.set_pending("seaside", 0, None)
    metrics.set_paused("seaside", paused=True)
    metrics.set_failing_since("hillside", early)
    since = value(metrics, "flush_failing_since_timestamp_seconds", district="")
    assert since == early.timestamp()
    assert value(metrics, "grades_posted_total", district="", origin="clock") == 4
    assert value(metrics, "pending_grades", district="") == 5
    oldest = value(metrics, "pending_oldest_timestamp_seconds", district="")
    assert oldest == early.timestamp()
    assert value(metrics, "grades_held", district="", reason="not_due_yet") == 2
    metrics.remove_district("hillside")
    next_cutoff = value(metrics, "flush_next_cutoff_timestamp_seconds", district="")
    assert next_cutoff == late.timestamp()
    assert "lakeside" not in openmetrics(metrics)


def test_several_stand_side_by_side() -> None:
    one, other = (Metrics(CollectorRegistry(), per_district=True) for _ in range(2))
    one.rebalanced(1)
    assert value(other, "rebalances_total") == 0
    assert value(other, "build_info", version=__version__) == 1

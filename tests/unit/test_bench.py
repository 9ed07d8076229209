"""What the benchmark writes, and what it complains of."""

from tests.bench.__main__ import as_written
from tests.bench.targets import TARGETS, fallen


def test_bench_json_has_these_keys_whatever_was_measured() -> None:
    written = as_written({"intake_vs_bare": 0.9}, {"machine": "two cores", "bare_per_s": 1.0})
    assert set(written) == {
        "intake_vs_bare",
        "intake_vs_faststream",
        "flush_vs_bare",
        "flush_vs_aiohttp",
        "flush_many_vs_one",
        "memory_mib_1m",
        "growth_10m_vs_100k",
        "neighbours",
        "replay_vs_intake",
        "idle_rows_touched",
        "two_processes_vs_one",
        "absolute",
    }
    assert (written["intake_vs_bare"], written["flush_vs_bare"]) == (0.9, None)
    assert written["absolute"] == {"machine": "two cores", "bare_per_s": 1.0}


def test_a_ratio_that_fell_to_half_of_the_recorded_one_is_named() -> None:
    recorded = {"intake_vs_bare": 0.9, "neighbours": 1.0}
    assert fallen({"intake_vs_bare": 0.46, "neighbours": 1.9}, recorded) == []
    assert fallen({"intake_vs_bare": 0.45, "neighbours": 2.1}, recorded) == [
        "intake_vs_bare is 0.45, and 0.90 was recorded",
        "neighbours is 2.10, and 1.00 was recorded",
    ]
    assert fallen({"replay_vs_intake": 0.1}, recorded) == []


def test_a_row_more_than_none_counts_where_none_was_recorded() -> None:
    assert fallen({"idle_rows_touched": 0}, {"idle_rows_touched": 0}) == []
    assert len(fallen({"idle_rows_touched": 2}, {"idle_rows_touched": 0})) == 1


def test_targets_say_when_they_are_reached() -> None:
    assert TARGETS["intake_vs_bare"].reached(0.8)
    assert not TARGETS["intake_vs_bare"].reached(0.79)
    assert TARGETS["memory_mib_1m"].reached(200)
    assert not TARGETS["memory_mib_1m"].reached(201)

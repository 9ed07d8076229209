"""What the benchmark writes, and what it complains of."""

from pathlib import Path

import pytest

from tests.bench import page
from tests.bench.__main__ import as_written
from tests.bench.targets import TARGETS, fallen

_ROOT = Path(__file__).parents[2]


def test_bench_json_has_these_keys_whatever_was_measured() -> None:
    written = as_written({"intake_vs_bare": 0.9}, {"machine": "two cores", "bare_per_s": 1.0})
    assert set(written) == {
        "intake_vs_bare",
        "intake_vs_faststream",
        "intake_mib",
        "flush_vs_bare",
        "flush_vs_aiohttp",
        "flush_many_vs_one",
        "memory_mib_1m",
        "growth_10m_vs_100k",
        "growth_rows_read",
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


_MACHINE = {"machine": "two cores"}
_EMPTY = "".join(
    f"Before {name}.\n<!-- bench: {name} -->\n<!-- bench ends -->\n"
    for name in ("machine", "ratios", "absolute")
)


def test_a_part_measured_alone_leaves_the_rows_of_the_others() -> None:
    first = page.whole(_EMPTY, {"intake_vs_faststream": 1.9}, {**_MACHINE, "bare_per_s": 12_345.6})
    second = page.whole(first, {"memory_mib_1m": 150}, {**_MACHINE, "startup_s": 1.234})
    rows = [line for line in second.splitlines() if line.startswith("| `")]
    assert [row.rpartition(" | ")[0] for row in rows] == [
        "| `intake_vs_faststream` | >= 1.8 | 1.90 | reached",
        "| `memory_mib_1m` | <= 200 | 150.00 | reached",
        "| `bare_per_s`",
        "| `startup_s`",
    ]
    assert "| `bare_per_s` | 12,346 |" in rows
    assert "| `startup_s` | 1.23 |" in rows


def test_what_is_measured_again_is_replaced_and_the_prose_stays() -> None:
    first = page.whole(_EMPTY, {"intake_vs_bare": 0.9}, {"machine": "one core"})
    second = page.whole(first, {"intake_vs_bare": 0.7}, _MACHINE)
    assert "| 0.70 | missed |" in second
    assert "0.90" not in second
    assert "two cores" in second
    assert "one core" not in second
    assert [line for line in second.splitlines() if line.startswith("Before")] == [
        "Before machine.",
        "Before ratios.",
        "Before absolute.",
    ]


def test_a_page_without_its_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        page.whole("Nothing here.", {"intake_vs_bare": 0.9}, _MACHINE)


def test_the_readme_shows_the_ratios_of_the_page() -> None:
    def ratios(name: str) -> dict[str, list[str]]:
        rows = [line.split(" | ") for line in (_ROOT / name).read_text().splitlines()]
        return {row[0]: row[1:3] for row in rows if row[0].strip("| `") in TARGETS}

    assert ratios("README.md") == ratios("deploy/performance.md")

"""The pages' capacity follows from the figures that stand beside it."""

from pathlib import Path

import pytest

from tests.bench.capacity import GUIDE, PAGE, figures, guide_with_needs, need, page_with_needs

ROOT = Path(__file__).parents[2]


def test_the_pages_tables_are_worked_out_from_the_figures_beside_them() -> None:
    page, guide = (ROOT / PAGE).read_text(), (ROOT / GUIDE).read_text()
    assert page_with_needs(page) == page, "run python -m tests.bench.capacity"
    assert guide_with_needs(guide, page) == guide, "run python -m tests.bench.capacity"


def test_twice_the_districts_need_twice_of_everything_that_is_counted() -> None:
    of = figures((ROOT / PAGE).read_text())
    one, two = need(10_000, of), need(20_000, of)
    for what in ("results", "requests", "events", "rows", "stored", "wal", "daemon_seconds"):
        assert getattr(two, what) == pytest.approx(2 * getattr(one, what)), what


def test_a_need_is_what_its_figures_say() -> None:
    of = {
        "students": 4_000,
        "grades": 2,
        "events": 1.5,
        "nights": 200,
        "results_of_an_item": 25,
        "window_h": 2,
        "busiest_hour": 0.25,
        "answer_ms": 50,
        "busy": 0.5,
        "intake_us": 10,
        "intake_postgres_us": 20,
        "intake_wal_bytes": 400,
        "flush_us": 200,
        "flush_postgres_us": 100,
        "flush_wal_bytes": 600,
        "stored_bytes": 500,
    }
    found = need(1_000, of)
    assert (found.results, found.requests, found.events) == (8e6, 8.32e6, 12e6)
    assert (found.rows, found.stored, found.wal) == (1.6e9, 8e11, 9.6e9)
    assert found.busiest_events_per_s == pytest.approx(833.3, abs=0.1)
    assert found.in_flight == pytest.approx(55.6, abs=0.1)
    assert (found.daemon_seconds, found.postgres_seconds) == (1_720, 1_040)
    assert found.daemon_cores == pytest.approx(0.222, abs=0.001)
    assert found.postgres_cores == pytest.approx(0.111, abs=0.001)
    assert (found.pods, found.connections, found.partitions) == (2, 72, 12)
    assert need(100_000, of).pods == 45

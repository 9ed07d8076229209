"""Probes: what is asked of the process alone, at each boundary."""

import pytest

from consumer.health import ANSWER_LATE, LOOP_LATE, POLL_LATE, SCHEDULE_LATE, Health

NOW = 10_000.0


def well(**changes: object) -> Health:
    health = Health(ticked=NOW, scheduled=NOW, polled=NOW, assigned=3, answer_age=0)
    health.joined_once = True
    for name, value in changes.items():
        assert hasattr(health, name)
        setattr(health, name, value)
    return health


def test_what_moves_is_live_and_ready_and_started() -> None:
    health = well()
    assert health.not_live(NOW) == health.not_ready() == health.not_started() == []


@pytest.mark.parametrize(
    ("part", "limit", "says"),
    [
        ("ticked", LOOP_LATE, "event loop"),
        ("polled", POLL_LATE, "intake is stuck"),
        ("scheduled", SCHEDULE_LATE, "schedule is stuck"),
    ],
)
def test_a_part_that_stands_still_is_named_once_its_limit_is_over(
    part: str, limit: float, says: str
) -> None:
    assert well(**{part: NOW - limit}).not_live(NOW) == []
    (reason,) = well(**{part: NOW - limit - 1}).not_live(NOW)
    assert says in reason


@pytest.mark.parametrize(
    "away",
    [
        {"postgres_answers": False},
        {"reading_paused": True},
        {"waits_for_kafka": True, "assigned": None, "polled": None, "answer_age": None},
        {"answer_age": 7 * 86_400.0},
        {"assigned": None, "polled": None},
    ],
)
def test_a_service_that_is_away_makes_unready_and_never_dead(away: dict[str, object]) -> None:
    health = well(**away)
    assert len(health.not_ready()) == 1
    assert health.not_live(NOW) == []


def test_kafka_may_be_silent_for_a_moment() -> None:
    assert well(answer_age=ANSWER_LATE).not_ready() == []
    assert well(answer_age=ANSWER_LATE + 1).not_ready() != []


def test_it_has_started_once_it_joined_or_proved_settings_wait_for_kafka() -> None:
    assert well(joined_once=False).not_started() != []
    assert well(joined_once=False, waits_for_kafka=True).not_started() == []
    assert well(assigned=None).not_started() == []


def test_one_that_stops_is_alive_while_it_does() -> None:
    stopping = well(stopping=True, polled=NOW - 1000, scheduled=NOW - 1000)
    assert stopping.not_live(NOW) == []
    assert stopping.not_ready() == ["it is stopping"]

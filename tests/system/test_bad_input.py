"""Wrong input and missing services: one clear sentence, the right status, nothing lost."""

import signal
from datetime import datetime

import yaml

from consumer.sandbox.schoolday import Record
from tests.evening import Evening
from tests.system.town import ZONE, Town, until

_NOWHERE = "127.0.0.1:1"


def _is_one_clear_sentence(text: str) -> bool:
    lines = text.strip().splitlines()
    return len(lines) == 1 and lines[0].endswith(".") and "Traceback" not in text


async def test_an_unreachable_postgres_is_one_sentence_and_status_3(town: Town) -> None:
    environment = town.environment | {"PASSBACK_DATABASE_URL": f"postgresql://x:y@{_NOWHERE}/z"}
    for command in (
        ("run",),
        ("migrate",),
        ("district", "list"),
        ("flush", town.district),
        ("explain", town.district, "--assessment", "a"),
    ):
        done = town.passback(*command, environment=environment)
        assert done.returncode == 3, (command, done.stderr)
        assert _is_one_clear_sentence(done.stderr), (command, done.stderr)
        assert "y@" not in done.stderr


async def test_an_unreachable_kafka_is_one_sentence_and_status_3(town: Town) -> None:
    assert town.passback("migrate").returncode == 0
    environment = town.environment | {"PASSBACK_KAFKA_BOOTSTRAP_SERVERS": _NOWHERE}
    done = town.passback("run", environment=environment)
    assert done.returncode == 3, done.stderr
    assert _is_one_clear_sentence(done.stderr), done.stderr


async def test_a_schema_that_is_missing_names_the_command_that_makes_it(
    town: Town, postgres_server: object
) -> None:
    assert isinstance(town.database_url, str)
    empty = town.database_url.rsplit("/", 1)[0] + "/postgres"
    done = town.passback("run", environment=town.environment | {"PASSBACK_DATABASE_URL": empty})
    assert done.returncode == 3
    assert "passback migrate" in done.stderr


async def test_a_first_start_that_nobody_decided_on_is_refused(town: Town) -> None:
    environment = {k: v for k, v in town.environment.items() if k != "PASSBACK_KAFKA_START"}
    done = town.passback("run", environment=environment)
    assert done.returncode == 2, done.stderr
    assert "PASSBACK_KAFKA_START" in done.stderr


async def test_a_district_file_with_five_mistakes_is_told_all_five(town: Town) -> None:
    settings = town.settings()
    settings["timezone"] = "Chicago"
    settings["cutoff"] = "25:00"
    settings["colour"] = "blue"
    settings["zeros"]["max_share"] = 7
    settings["skyward"]["base_url"] = "lakeside"
    file = town.directory / "wrong.yaml"
    file.write_text(yaml.safe_dump(settings))
    done = town.passback("district", "apply", str(file))
    assert done.returncode == 2
    for path in ("timezone", "cutoff", "colour", "zeros.max_share", "skyward.base_url"):
        assert path in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert town.answer("district", "list") == []


async def test_an_unknown_district_is_status_2(town: Town) -> None:
    for command in (("report",), ("runs",), ("flush",), ("cutoffs",), ("district", "show")):
        done = town.passback(*command, "nowhere")
        assert done.returncode == 2, (command, done.stderr)
        assert "nowhere" in done.stderr


async def test_an_unreadable_event_waits_in_quarantine_and_nothing_else_does(town: Town) -> None:
    assert town.apply(town.settings()).returncode == 0
    now = int(datetime.now(ZONE).timestamp() * 1000)
    key = f"{town.district}/t-9"
    await town.publish(
        [
            Record("grade-changed", f"{town.district}/a/c/s", b"\xff\x00 poison", now),
            Record(
                "passback-group-changed",
                key,
                (
                    b'{"specversion":"1.0","id":"1","source":"/x","time":"2026-01-01T00:00:00Z",'
                    b'"type":"com.otus.passback-group-changed.v1","subject":"'
                    + key.encode()
                    + b'",'
                    b'"data":{"district_id":"' + town.district.encode() + b'","teacher_id":"t-9",'
                    b'"version":1,"member":true}}'
                ),
                now,
            ),
        ]
    )
    with town.daemon() as daemon:
        await until(lambda: len(town.answer("quarantine", "list")) == 1)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    (waiting,) = town.answer("quarantine", "list")
    assert waiting["reason"] == "not_json"
    assert waiting["topic"] == town.prefix + "grade-changed"
    assert "Traceback" not in (town.directory / "daemon.log").read_text()


async def test_a_forecast_says_what_intake_has_yet_to_read(town: Town) -> None:
    assert town.passback("migrate").returncode == 0
    assert town.apply(town.settings()).returncode == 0
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    evening.assess("quiz")
    await town.publish(evening.records)
    told = town.passback("forecast", town.district)
    assert told.returncode == 0, told.stderr
    assert "intake has yet to read 2 events" in told.stderr
    with town.daemon():
        await until(lambda: town.passback("forecast", town.district).stderr == "")
    away = town.environment | {"PASSBACK_KAFKA_BOOTSTRAP_SERVERS": _NOWHERE}
    told = town.passback("forecast", town.district, environment=away)
    assert told.returncode == 0, told.stderr
    assert "Kafka does not answer" in told.stderr

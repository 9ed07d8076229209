"""Logs: JSON lines of allowed keys, and no value that could be somebody's."""

import gc
import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from consumer.errors import LeaseLost
from consumer.gradebook import Reason
from consumer.log import UnknownKeyError, configure, get_logger, hash_students, student_hash

ROOT = Path(__file__).parents[2]
CANARY = "Ada Lovelace 97.5 ada@example.org"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What was logged, one object a line; logging is put back as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def read() -> list[dict[str, Any]]:
        captured = capsys.readouterr()
        assert captured.err == ""
        return [json.loads(line) for line in captured.out.splitlines()]

    configure("json", "info")
    yield read
    structlog.reset_defaults()
    hash_students(None)
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level


def test_a_line_is_json_with_level_and_utc_time(lines: Lines) -> None:
    get_logger().info("run_finished", district="lakeside", posted=3)
    (line,) = lines()
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() == UTC.utcoffset(None)
    assert line == {"event": "run_finished", "level": "info", "district": "lakeside", "posted": 3}


def test_a_key_that_is_not_allowed_is_left_out_and_counted(lines: Lines) -> None:
    get_logger().info("posted", title=CANARY, score=97, district="lakeside")
    (line,) = lines()
    assert "title" not in line
    assert "score" not in line
    assert line["left_out"] == 2


def test_a_key_that_is_not_allowed_raises_in_tests(lines: Lines) -> None:
    configure("json", "info", strict=True)
    with pytest.raises(UnknownKeyError, match="title"):
        get_logger().info("posted", title="x")
    assert lines() == []


def test_a_value_cannot_end_its_line_or_turn_it(lines: Lines) -> None:
    hostile = 'x"}\n{"event":"all is well"}\x1b[2J\u202e\u200b'
    get_logger().info("purged", district=hostile)
    (line,) = lines()
    assert line["district"] == hostile


def test_a_student_is_a_keyed_hash_or_nothing(lines: Lines) -> None:
    get_logger().info("grade_not_posted", district="lakeside", student="student-1")
    hash_students(b"key")
    get_logger().info("grade_not_posted", district="lakeside", student="student-1")
    get_logger().info("grade_not_posted", student="student-1")
    without_key, hashed, without_district = lines()
    assert "student" not in without_key
    assert "student" not in without_district
    assert without_key["left_out"] == without_district["left_out"] == 1
    assert hashed["student"] == student_hash(b"key", "lakeside", "student-1")
    assert re.fullmatch("[0-9a-f]{16}", hashed["student"])


def test_a_hash_tells_nothing_to_whoever_lacks_the_key() -> None:
    """Student ids are few, so that each could be tried; and no two districts share a hash."""
    tried = {
        student_hash(key, district, "student-1")
        for key in (b"key", b"other")
        for district in ("lakeside", "hillside")
    }
    assert len(tried) == 4
    assert student_hash(b"key", "lakeside", "student-2") not in tried


def test_values_are_plain_and_an_object_is_only_its_type(lines: Lines) -> None:
    get_logger().info(
        "run_finished",
        service_date=date(2026, 9, 1),
        cutoff_at=datetime(2026, 9, 2, 3, tzinfo=UTC),
        seconds=Decimal("1.5"),
        reason=Reason.LOCKED,
        reasons={Reason.LOCKED: 2, CANARY: 1, "score_invalid": CANARY},
        topics=("a", "b"),
        state=object(),
        error=ValueError(CANARY),
        host="x" * 10_000,
    )
    (line,) = lines()
    assert line["service_date"] == "2026-09-01"
    assert line["cutoff_at"] == "2026-09-02T03:00:00+00:00"
    assert line["seconds"] == "1.5"
    assert line["reason"] == "locked"
    assert line["reasons"] == {"locked": 2}
    assert line["topics"] == ["a", "b"]
    assert line["state"] == "object"
    assert line["error"] == "ValueError"
    assert len(line["host"]) == 300


class _RefusedError(Exception):
    sqlstate = "23505"
    constraint_name = "grade_pkey"
    detail = f"Key (student_id)=({CANARY}) already exists."


def test_an_exception_is_its_class_its_place_and_what_postgres_names(lines: Lines) -> None:
    try:
        raise _RefusedError(CANARY)
    except _RefusedError:
        get_logger().exception("postgres_unavailable")
    (line,) = lines()
    assert CANARY not in json.dumps(line)
    assert line["error"] == "_RefusedError"
    assert (line["sqlstate"], line["constraint"]) == ("23505", "grade_pkey")
    assert line["where"].startswith("test_log.py:")


def test_a_group_of_exceptions_names_the_classes_in_it(lines: Lines) -> None:
    group = ExceptionGroup(CANARY, [ValueError(CANARY), OSError(CANARY)])
    get_logger().error("stopped", exc_info=group)
    (line,) = lines()
    assert line["error"] == "ExceptionGroup[OSError, ValueError]"
    assert CANARY not in json.dumps(line)


def test_an_error_of_ours_says_why(lines: Lines) -> None:
    get_logger().warning("lease_lost", exc_info=LeaseLost("the lease went to another replica"))
    (line,) = lines()
    assert line["because"] == "the lease went to another replica"


@pytest.mark.parametrize("library", ["httpx", "httpcore.http11", "aiokafka.consumer", "asyncio"])
def test_a_library_is_silent_below_warning(library: str, lines: Lines) -> None:
    logging.getLogger(library).info("HTTP Request: PUT %s", f"https://x/results/{CANARY}")
    assert lines() == []


def test_a_library_keeps_its_template_and_loses_its_arguments(lines: Lines) -> None:
    logging.getLogger("aiokafka.cluster").warning("Topic %s is not available", CANARY)
    (line,) = lines()
    assert line["event"] == "Topic %s is not available"
    assert (line["logger"], line["level"]) == ("aiokafka.cluster", "warning")
    assert CANARY not in json.dumps(line)


def test_a_library_that_fills_in_its_message_itself_is_not_quoted(lines: Lines) -> None:
    logger = logging.getLogger("asyncio")
    composed = "Task exception was never retrieved: " + CANARY
    logger.error(composed, exc_info=ValueError(CANARY))
    logger.error("%s", CANARY)
    first, second = lines()
    assert first["event"] == second["event"] == "a library's message"
    assert first["error"] == "ValueError"
    assert CANARY not in json.dumps([first, second])


def test_the_level_holds_for_us_and_for_libraries(lines: Lines) -> None:
    configure("json", "error")
    get_logger().warning("lease_lost")
    logging.getLogger("aiokafka").warning("Topic %s", "x")
    assert lines() == []


def test_debug_of_ours_does_not_open_the_libraries(lines: Lines) -> None:
    configure("json", "debug")
    get_logger().debug("started")
    logging.getLogger("httpx").debug("GET %s", CANARY)
    assert [line["event"] for line in lines()] == ["started"]


class _Full(io.StringIO):
    """A disk that is full, or a pipe whose reader is gone."""

    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_that_cannot_be_written_is_not_told_in_full_elsewhere(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("json", "info", stream=_Full())
    logging.getLogger("aiokafka").error("Topic %s is away", CANARY, exc_info=ValueError(CANARY))
    told = capsys.readouterr()
    assert "Lovelace" not in told.out + told.err
    assert told.err == "a log line could not be written (OSError)\n"


def _rise() -> None:
    raise ValueError(CANARY)


class _FailsWhenForgotten:
    def __del__(self) -> None:
        _rise()


def _in_a_thread() -> None:
    thread = threading.Thread(target=_rise)
    thread.start()
    thread.join()


def _when_forgotten() -> None:
    _FailsWhenForgotten()
    gc.collect()


def _at_the_top() -> None:
    try:
        _rise()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)


# pytest puts hooks of its own in place of Python's; under it ours are called as Python would.
@pytest.mark.parametrize("fails", [_in_a_thread, _when_forgotten, _at_the_top])
def test_what_nobody_caught_is_logged_without_its_message(fails: Callable[[], None]) -> None:
    program = (
        "from consumer.log import configure, take_uncaught; configure('json', 'info');"
        "take_uncaught();"
        f"from tests.unit import test_log; test_log.{fails.__name__}()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr == ""
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["level"], line["event"], line["error"]) == ("error", "uncaught", "ValueError")
    assert line["where"].endswith(" _rise")
    assert "Lovelace" not in done.stdout


def test_a_value_on_the_console_cannot_write_a_line_of_its_own(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("console", "info")
    get_logger().info("posted", because="away\n2026-11-23 [info] all is well\x1b[2J\u202e")
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 1
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown


def test_the_console_shows_the_same_keys(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "info")
    get_logger().info("posted", district="lakeside", title=CANARY)
    shown = capsys.readouterr().out
    assert "lakeside" in shown
    assert CANARY not in shown

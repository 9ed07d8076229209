"""Logs: JSON lines on stdout from an allow-list of keys; nobody's name, score or id.

What is not in ``KEYS`` is left out and counted under ``left_out``; of a student only
``student_hash`` appears, whatever is given. An exception is its class, where it rose and, from
Postgres, SQLSTATE and constraint: never its message, whose values we do not know. Only our own
errors, which hold no values by their contract, say why. Libraries are heard from WARNING on,
with the template of their message and not its arguments. What nobody caught, in a thread or
while something is forgotten, comes here too: Python itself would print its message.
"""

import hashlib
import hmac
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from consumer.errors import PassbackError

KEYS: Final = frozenset(
    {
        *("at", "level", "event", "logger", "where", "left_out", "version"),
        *("error", "because", "reason", "sqlstate", "constraint"),
        *("district", "districts", "revision", "student", "lease_epoch", "replica"),
        *("service_date", "kind", "state", "cutoff_at", "next_cutoff_at", "started_at"),
        *("finished_at", "seconds", "attempt", "retry_at", "until"),
        *(
            "line_items_posted",
            "line_items_rejected",
            "titles_kept",
            "posted",
            "rejected",
            "skipped",
            "held",
        ),
        *("deferred", "zeros_posted", "zeros_held", "reasons", "pending", "origin"),
        *("topic", "topics", "partition", "partitions", "offset", "lag", "group", "start"),
        *("consumed", "recorded", "stale", "quarantined", "quarantine_reason"),
        *("assessments", "grades", "sent", "runs"),
        *("operation", "code", "signal", "host", "port", "migration", "migrations", "count"),
    }
)
"""Every key that a log line may have."""

_WORD: Final = re.compile(r"[a-z_]{1,64}")
_PLACEHOLDER: Final = re.compile(r"%(\([^)]*\))?[-#0 +]*[\d*]*(\.\d+)?[a-zA-Z]")
_LONGEST: Final = 300
_OURS: Final = str(Path(__file__).parent)


class UnknownKeyError(ValueError):
    """A log line used a key outside ``KEYS``; only raised in tests."""


def configure(
    format: Literal["json", "console"],
    level: str,
    *,
    strict: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Sets up all logging of the process; ``strict`` raises ``UnknownKeyError``, for tests.

    ``level`` is debug, info, warning, error or critical; ``stream`` is stdout where None.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = structlog.processors.JSONRenderer(serializer=json.dumps)
    if format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(),
            timestamp_key="at",
            repr_native_str=True,  # a value cannot begin a line of its own
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _reduce_exception,
            _AllowList(strict),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Libraries()]
    # A library that sets its own level, or that logs URLs at INFO, is silenced all the same.
    root.setLevel(max(number, logging.WARNING))
    for name in ("httpx", "httpcore", "aiokafka", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(True)


def take_uncaught() -> None:
    """From now on what nobody catches in this process is logged, and not printed by Python."""
    sys.excepthook = lambda kind, error, trace: _log_uncaught(error)
    threading.excepthook = lambda what: _log_uncaught(what.exc_value)
    sys.unraisablehook = lambda what: _log_uncaught(what.exc_value)


def _log_uncaught(error: BaseException | None) -> None:
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        get_logger().error("uncaught", exc_info=error)


def get_logger() -> FilteringBoundLogger:
    """The logger: ``info("flush ended", district=…)``; the event is a fixed text."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def hash_students(key: bytes | None) -> None:
    """From now on students are hashed with ``key``; without one they are left out of the logs."""
    global _student_key  # noqa: PLW0603  the logs are the process's, and so is their key
    _student_key = key


_student_key: bytes | None = None


def student_hash(key: bytes, district_id: str, student_id: str) -> str:
    """A student in the logs: a keyed hash of 16 hex digits, another one in each district.

    Student ids are few enough to try them all: without the key, which is made from the sealing
    keys of this installation, a hash would be the id itself.
    """
    subject = f"{district_id}/{student_id}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, subject, hashlib.sha256).hex()[:16]


def _reduce_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    event.pop("stack_info", None)
    if isinstance(error, BaseException):
        event.update(_told(error))
    return event


def _told(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = {"error": _class_of(error)}
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        frame = next((f for f in reversed(frames) if f.filename.startswith(_OURS)), frames[-1])
        told["where"] = f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
    if isinstance(error, PassbackError):
        told["because"] = str(error)
    # asyncpg's errors, told by their attributes: its home is the store.
    for key, attribute in (("sqlstate", "sqlstate"), ("constraint", "constraint_name")):
        value = getattr(error, attribute, None)
        if isinstance(value, str):
            told[key] = value
    return told


def _class_of(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        inner = sorted({_class_of(one) for one in error.exceptions})
        return f"{type(error).__name__}[{', '.join(inner)}]"
    return type(error).__name__


class _AllowList:
    """Leaves out what is not allowed, and makes of values only what is plain."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        unknown = sorted(event.keys() - KEYS)
        if unknown and self._strict:
            raise UnknownKeyError(f"log keys outside log.KEYS: {', '.join(unknown)}")
        kept = {key: _plain(event[key]) for key in event if key in KEYS}
        if "student" in event:
            if _student_key is not None and "district" in event:
                who = str(event["district"]), str(event["student"])
                kept["student"] = student_hash(_student_key, *who)
            else:
                del kept["student"]
                unknown.append("student")
        if unknown:
            kept["left_out"] = len(unknown)
        return kept


def _plain(value: object) -> object:
    plain: object
    match value:
        case Enum():
            plain = _plain(value.value)
        case None | bool() | int() | float():
            plain = value
        case str():
            plain = value[:_LONGEST]
        case datetime() | date():
            plain = value.isoformat()
        case Decimal():
            plain = str(value)
        case Mapping():
            # Counts by a word of a closed set; nothing else has a mapping's keys to show.
            plain = {
                str(key): number
                for key, number in value.items()
                if _WORD.fullmatch(str(key)) and isinstance(number, int | float)
            }
        case list() | tuple() | set() | frozenset():
            plain = [_plain(one) for one in value]
        case BaseException():
            plain = _class_of(value)
        case _:
            plain = type(value).__name__
    return plain


class _Libraries(logging.Handler):
    """What libraries log through the standard library, reduced to what cannot hold a value."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger().log(
                record.levelno,
                _template(record),
                logger=record.name,
                where=f"{record.module}.py:{record.lineno} {record.funcName}",
                exc_info=record.exc_info,
            )
        except (OSError, ValueError) as error:
            # The stream is full or closed. A library that logs inside its own error handling
            # must not fail over that: it would never get to answering. And ``handleError``
            # would print what is not to be logged.
            with suppress(OSError, ValueError):
                sys.stderr.write(f"a log line could not be written ({type(error).__name__})\n")


def _template(record: logging.LogRecord) -> str:
    # Without arguments the text may have been put together with values before it came here.
    if record.args and isinstance(record.msg, str):
        text = record.msg.splitlines()[0] if record.msg else ""
        if re.search(r"[A-Za-z]{3}", _PLACEHOLDER.sub("", text)):
            return text
    return "a library's message"

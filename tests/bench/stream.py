"""A stream of grades as a busy evening brings it: a tenth comes twice, a tenth late and older."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from consumer.sandbox.otus import GRADE, STRUCTURED, Record, otus_id

DISTRICTS: Final = 20
_STUDENTS: Final = 25
_LATE_BY: Final = 4_000
"""Keys that come between a version and the one that is repeated, or that it overtook."""
_EVENING: Final = datetime(2026, 11, 20, 18, tzinfo=UTC)


def district(number: int) -> str:
    return f"district-{number % DISTRICTS:02d}"


def right_rows(records: int) -> tuple[int, int, int, int]:
    """What ``grades`` of so many records leaves: rows, lowest and highest version, all points."""
    keys = sum(1 for number in range(records) if number % 10 not in _AGAIN)
    return keys, 2, 2, sum(_points(key, 2) for key in range(keys))


_AGAIN: Final = (4, 9)


def grades(records: int) -> Iterator[Record]:
    """That many records of about 450 bytes; every key's newest version is 2."""
    fresh = 0
    for number in range(records):
        if number % 10 in _AGAIN:
            # The same record again, or the version before it.
            version = 2 if number % 10 == 4 else 1
            yield _grade(max(fresh - _LATE_BY, 0), version)
        else:
            yield _grade(fresh, 2)
            fresh += 1


def _grade(key: int, version: int) -> Record:
    item, student = divmod(key, _STUDENTS)
    parts = (
        district(item),
        otus_id("assessment", str(item)),
        otus_id("class", str(item // 7)),
        otus_id("student", f"{item // 7}/{student}"),
    )
    name = "/".join(parts)
    at = _EVENING + timedelta(milliseconds=20 * key + version)
    data = {
        "district_id": parts[0],
        "assessment_id": parts[1],
        "class_id": parts[2],
        "student_id": parts[3],
        "version": version,
        "score": str(_points(key, version)),
        "completion": "graded",
        "submission": "late" if key % 9 == 0 else "on_time",
    }
    return event(GRADE, name, f"{name}@{version}", data, at)


def event(topic: str, key: str, name: str, data: Mapping[str, Any], at: datetime) -> Record:
    """A structured event with the id ``name`` about the subject ``key``, changed ``at``."""
    value = {
        "specversion": "1.0",
        "id": name,
        "source": "/otus/gradebook",
        "type": f"com.otus.{topic}.v1",
        "subject": key,
        "time": at.isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": data,
    }
    timestamp = round(at.timestamp() * 1000)
    return Record(topic, key, msgspec.json.encode(value), timestamp, STRUCTURED)


def _points(key: int, version: int) -> int:
    return (key * 7 + version) % 20

"""Otus as a publisher: records in either CloudEvents mode, and chance made of ids and a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from datetime import timezone as fixed_offset
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

GROUP: Final = "passback-group-changed"
ASSESSMENT: Final = "assessment-changed"
GRADE: Final = "grade-changed"


class Record(NamedTuple):
    """One Kafka record. ``topic`` is the suffix without prefix; no value is a tombstone."""

    topic: str
    key: str
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


def otus_id(kind: str, sourced_id: str) -> str:
    """The id in Otus of what OneRoster calls ``sourced_id``; ``kind`` such as ``student``."""
    return f"{kind}-{blake2b(sourced_id.encode(), digest_size=6).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Otus:
    """Otus as it publishes for one district up to ``now``; ``zone`` is the district's."""

    district: str
    now: datetime
    seed: int
    zone: ZoneInfo

    def event(
        self, topic: str, key: str, name: str, data: Mapping[str, Any], at: datetime
    ) -> Record:
        """An event with the id ``name`` about the subject ``key``, changed ``at``."""
        return self.enveloped(topic, key, name, msgspec.json.encode(data), at)

    def enveloped(
        self, topic: str, key: str, name: str, data: bytes, at: datetime, mode: int | None = None
    ) -> Record:
        """As `event`, of JSON. ``mode`` 9 is binary, 8 is structured without its content type."""
        if mode is None:
            mode = self.draw("mode", key) % 10
        moment = self.moment(at, key)
        # Published lately although some of it changed weeks ago: a broker may keep a week only.
        timestamp = max(milliseconds(at), milliseconds(self.now) - 72_000_000)
        kind = f"com.otus.{topic}.v1"
        if mode == 9:
            headers = (
                ("content-type", b"application/json"),
                ("ce_specversion", b"1.0"),
                ("ce_id", name.encode()),
                ("ce_source", b"/otus/gradebook"),
                ("ce_type", kind.encode()),
                ("ce_subject", key.encode()),
                ("ce_time", moment.encode()),
            )
            return Record(topic, key, data, timestamp, headers)
        value = (
            f'{{"specversion":"1.0","id":"{name}","source":"/otus/gradebook","type":"{kind}",'
            f'"subject":"{key}","time":"{moment}","datacontenttype":"application/json","data":'
        ).encode()
        return Record(topic, key, value + data + b"}", timestamp, () if mode == 8 else STRUCTURED)

    def moment(self, at: datetime, *ids: str) -> str:
        """RFC 3339 in UTC, in the district's zone or in another one, with or without fractions."""
        chosen = self.draw("zone", *ids) % 8
        if chosen < 4:
            text = at.astimezone(UTC).isoformat(timespec="milliseconds" if chosen else "seconds")
            return text.replace("+00:00", "Z")
        if chosen < 6:
            return at.astimezone(self.zone).isoformat(timespec="seconds")
        return at.astimezone(_EAST if chosen == 6 else _INDIA).isoformat(timespec="seconds")

    def tombstone(self, topic: str, key: str, at: datetime) -> Record:
        """A null value: the subject is gone."""
        return Record(topic, key, None, milliseconds(at))

    def draw(self, what: str, *ids: str) -> int:
        """A large number that only ``what``, the ids and the seed decide."""
        name = f"{self.seed}/{what}/{'/'.join(ids)}"
        return int.from_bytes(blake2b(name.encode(), digest_size=6).digest())

    def chance(self, what: str, *ids: str) -> float:
        """As `draw`, from 0 up to 1."""
        return self.draw(what, *ids) / (1 << 48)


_EAST: Final = fixed_offset(timedelta(hours=-5))
_INDIA: Final = fixed_offset(timedelta(hours=5, minutes=30))
STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)


def instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The moment in UTC when clocks in ``zone`` show ``at``."""
    return datetime.combine(day, at, zone).astimezone(UTC)


def milliseconds(at: datetime) -> int:
    """Milliseconds since the epoch."""
    return int(at.timestamp() * 1000)

"""What must hold for any bytes at all: one function a target, which raises where it does not."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from yarl import URL

from consumer.cli.yaml_file import YamlRefused, parse
from consumer.cutoff import next_cutoff
from consumer.district import District, DistrictFileInvalid, read_district
from consumer.errors import EventUnreadable
from consumer.events import TOPICS, QuarantineReason, read
from consumer.gradebook import Kind
from consumer.oneroster import (
    Operation,
    Page,
    Paths,
    read_answer,
    read_categories,
    read_class,
    read_classes,
    read_line_item,
    read_line_items,
    read_result,
    read_results,
    read_sessions,
    read_users,
)
from consumer.sandbox.otus import milliseconds

SEEDS: Final = Path(__file__).parent / "seeds"

_AT: Final = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
_OPERATIONS: Final = tuple(Operation)
_READERS: Final = (
    *(read_sessions, read_categories, read_classes, read_class, read_line_item),
    *(read_line_items, read_results, read_result, read_users),
)
# A detail is in our words: a path of fields, a number of ours, a day, nothing of the value.
_TOLD: Final = re.compile(r"[\x20-\x7e]{1,300}")


def events(data: bytes) -> None:
    """``topic LF key LF header: value LF … LF LF value``; no blank line: a tombstone."""
    head, blank, value = data.partition(b"\n\n")
    topic, key, *lines = [*head.split(b"\n"), b"", b""][: max(2, head.count(b"\n") + 1)]
    name = topic.decode(errors="replace")
    if name not in TOPICS:
        return
    pairs = [line.partition(b":") for line in lines]
    headers = [(n.decode(errors="replace"), v.strip()) for n, _, v in pairs]
    try:
        change = read(name, key, value if blank else None, headers, milliseconds(_AT))
    except EventUnreadable as error:
        assert error.reason in set(QuarantineReason)
        assert _TOLD.fullmatch(error.detail), error.detail
        return
    assert "/".join(change.key) == change.subject == key.decode()
    assert change.changed_at.tzinfo is UTC
    assert datetime(1900, 1, 1, tzinfo=UTC) <= change.changed_at < datetime(9000, 1, 2, tzinfo=UTC)
    if change.data is not None:
        for leaf in _leaves(msgspec.structs.asdict(change.data)):
            _expect_storable(leaf)


def _leaves(value: object) -> list[object]:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]


def _expect_storable(leaf: object) -> None:
    """Postgres takes it: text in UTF-8 without NUL, numbers and instants within its bounds."""
    if isinstance(leaf, str):
        assert "\x00" not in leaf
        leaf.encode()
    elif isinstance(leaf, Decimal):
        assert leaf.is_finite()
        assert len(format(leaf, "f")) < 100
    elif isinstance(leaf, datetime):
        assert leaf.tzinfo is UTC
        assert 1899 <= leaf.year <= 9000
    elif isinstance(leaf, int):
        assert -(2**63) <= leaf < 2**63


def answers(data: bytes) -> None:
    """``operation number, status as two bytes, retry-after LF date LF body``."""
    if len(data) < 3:
        return
    operation = _OPERATIONS[data[0] % len(_OPERATIONS)]
    status = int.from_bytes(data[1:3], "big") % 900 + 100
    retry_after, _, rest = data[3:].partition(b"\n")
    date, _, body = rest.partition(b"\n")
    headers = {"retry-after": retry_after.decode("latin-1"), "date": date.decode("latin-1")}
    answer = read_answer(
        operation, status, headers, body, now=_AT, sourced_id="mine", category="cat-1"
    )
    found = answer.outcome
    assert found.kind in (Kind.POST, Kind.REJECT, Kind.DEFER)
    assert (found.reason is None) == (found.kind is Kind.POST)
    assert found.reason is None or found.reason.kind is found.kind
    assert found.kind is Kind.POST or _TOLD.fullmatch(found.detail), found.detail
    assert answer.retry_after is None or 0 <= answer.retry_after <= 300
    if found.allocated_id is not None:
        assert found.allocated_id.isprintable()
        _expect_storable(found.allocated_id)
        _expect_url(Paths("https://d.example/", "1.2", "flat").result(found.allocated_id))


def reading(data: bytes) -> None:
    """``reader number, body``."""
    if not data:
        return
    found = _READERS[data[0] % len(_READERS)](data[1:])
    rows: list[Any] = list(found.rows) if isinstance(found, Page) else [found]
    for row in rows:
        for leaf in row if isinstance(row, tuple) else [row]:
            for one in leaf if isinstance(leaf, tuple) else [leaf]:
                if isinstance(one, Decimal):
                    assert one.is_finite()
                    assert len(format(one, "f")) < 200
    for name in ("sourced_id", "class_sourced_id", "student_sourced_id"):
        identifier = getattr(rows[0], name, None) if rows else None
        if identifier is not None:
            assert 0 < len(identifier) <= 255
            assert identifier.isprintable()
            _expect_url(Paths("https://d.example/", "1.1", "flat").class_(identifier))


def _expect_url(url: str) -> None:
    """It leads into the collection that it was made for, and no further."""
    parsed = URL(url, encoded=True)
    assert parsed.host == "d.example"
    assert parsed.raw_path == url.removeprefix("https://d.example")
    assert len(parsed.raw_parts) == 6, parsed.raw_parts
    assert parsed.raw_parts[-1] not in (".", "..")


def district_file(data: bytes) -> None:
    """A district file: valid, and then of use to a run; or refused with each mistake's path."""
    try:
        content, twice = parse(data)
    except YamlRefused as error:
        assert str(error).isprintable()
        return
    assert all(path and what for path, what in twice)
    try:
        found = read_district(content)
    except DistrictFileInvalid as error:
        assert error.problems
        assert all(path and what for path, what in error.problems)
        return
    district = found.district
    stored = msgspec.json.encode(district.model_dump(mode="json"))
    assert b"\\u0000" not in stored
    assert District.model_validate(msgspec.json.decode(stored)) == district
    cutoff = next_cutoff(district, _AT)
    assert cutoff.at > _AT
    skyward = district.skyward
    paths = Paths(skyward.base_url, skyward.oneroster_version, skyward.path_style)
    # As the client of Skyward makes its requests of them.
    assert URL(paths.origin).host
    assert httpx.URL(paths.origin).host
    for url in (skyward.base_url, skyward.token_url):
        assert URL(str(httpx.Request("GET", url).url), encoded=True).host


TARGETS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "events": events,
    "answers": answers,
    "reading": reading,
    "district_file": district_file,
}


def seeds(target: str) -> list[bytes]:
    """The seeds of one target, by name."""
    return [path.read_bytes() for path in sorted((SEEDS / target).iterdir())]

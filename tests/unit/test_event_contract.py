"""The contract that upstream publishes by: its files are in step, and old events stay good.

``contract_v1`` is frozen: the schemas and some events of the first release. Nothing in it changes.
"""

import json
import operator
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from consumer import __version__
from consumer.cli import main
from consumer.event_schemas import asyncapi, data_schemas
from consumer.events import TOPICS, QuarantineReason, read
from consumer.sandbox.otus import milliseconds

ROOT: Final = Path(__file__).parents[2]
PUBLISHED: Final = ROOT / "deploy" / "events"
FROZEN: Final = Path(__file__).parent / "contract_v1"
NOW: Final = datetime(2026, 12, 1, tzinfo=UTC)


def _schema(directory: Path, topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / f"{topic}.schema.json").read_text())
    return found


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _data(line: Mapping[str, Any]) -> Any:
    return line["value"] if "ce_type" in line.get("headers", {}) else line["value"]["data"]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_published_schema_is_the_one_that_reads(topic: str) -> None:
    assert _schema(PUBLISHED, topic) == data_schemas()[topic], "run 'make events'"
    Draft202012Validator.check_schema(_schema(PUBLISHED, topic))


def test_the_published_asyncapi_document_is_the_one_of_this_build() -> None:
    published = json.loads((PUBLISHED / "asyncapi.json").read_text())
    assert published == asyncapi("otus.", __version__), "run 'make events'"


def test_every_example_passes_the_check_and_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "check", str(PUBLISHED / "examples.jsonl")]) == 0
    assert "8 events read, 0 of them" in capsys.readouterr().out
    shown = set()
    for line in _lines(PUBLISHED / "examples.jsonl"):
        topic = line["topic"].removeprefix("otus.")
        shown.add((topic, line["value"] is None))
        if line["value"] is not None:
            Draft202012Validator(data_schemas()[topic]).validate(_data(line))
    assert shown == {(topic, gone) for topic in TOPICS for gone in (False, True)}


def test_the_page_for_upstream_names_every_reason_and_every_topic() -> None:
    page = (PUBLISHED / "README.md").read_text()
    told = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert told == {r.value for r in QuarantineReason} | {f"otus.{topic}" for topic in TOPICS}


@pytest.mark.parametrize("line", _lines(FROZEN / "events.jsonl"), ids=lambda line: line["key"])
def test_an_event_of_the_first_release_is_read(line: Mapping[str, Any]) -> None:
    value = None if line["value"] is None else json.dumps(line["value"]).encode()
    headers = [(name, text.encode()) for name, text in line.get("headers", {}).items()]
    topic = line["topic"].removeprefix("otus.")
    change = read(topic, line["key"].encode(), value, headers, milliseconds(NOW))
    assert "/".join(change.key) == change.subject == line["key"]
    assert (change.data is None) == (line["value"] is None)


@pytest.mark.parametrize("topic", TOPICS)
def test_nothing_that_the_first_release_allowed_is_refused_today(topic: str) -> None:
    assert list(_narrowed(_schema(FROZEN, topic), data_schemas()[topic])) == []


def _narrowed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What ``before`` allowed and ``after`` does not, by path; both are schemas of objects."""
    yield from _narrower(_resolved(before, before), _resolved(after, after), "$")


def _resolved(node: Any, whole: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _resolved(whole["$defs"][node["$ref"].rsplit("/", 1)[-1]], whole)
        return {name: _resolved(one, whole) for name, one in node.items() if name != "$defs"}
    return [_resolved(one, whole) for one in node] if isinstance(node, list) else node


_SAY_NOTHING: Final = frozenset({"title", "description", "default", "$id", "$schema"})
_BOUNDS: Final = {
    **dict.fromkeys(("maxLength", "maximum", "maxItems"), operator.lt),
    **dict.fromkeys(("minLength", "minimum", "minItems"), operator.gt),
}


def _narrower(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[str]:
    for word, now in after.items():
        was: Any = before.get(word)
        if word in _SAY_NOTHING or now == was:
            continue
        if word == "properties":
            for name in was or {}:
                if name in now:
                    yield from _narrower(was[name], now[name], f"{path}.{name}")
                else:
                    yield f"{path}.{name}: no field any more"
        elif word == "required":
            yield from (f"{path}.{name}: required now" for name in set(now) - set(was or ()))
        elif word == "enum" and was is not None:
            yield from (f"{path}: no word {gone!r} any more" for gone in set(was) - set(now))
        elif word == "items":
            yield from _narrower(was or {}, now, f"{path}[]")
        elif word == "anyOf" and isinstance(was, list):
            kept = (any(not list(_narrower(one, other, path)) for other in now) for one in was)
            if not all(kept):
                yield f"{path}: one of its kinds is gone"
        elif word not in _BOUNDS or was is None or _BOUNDS[word](now, was):
            yield f"{path}: {word} {now!r} was {was!r}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"required": ["a", "b"]}, "$.b: required now"),
        ({"properties": {"a": {"type": "string", "maxLength": 5}}}, "$.b: no field any more"),
        ({"properties": {"a": {"type": "integer"}, "b": {}}}, "$.a: type 'integer' was 'string'"),
        ({"properties": {"a": {"type": "string", "maxLength": 4}, "b": {}}}, "$.a: maxLength 4"),
        ({"properties": {"a": {"type": "string", "pattern": "x"}, "b": {}}}, "$.a: pattern"),
        ({"properties": {"a": {"type": "string"}, "b": {"enum": ["on"]}}}, "$.b: enum"),
    ],
)
def test_each_way_to_break_upstream_is_seen(change: dict[str, Any], told: str) -> None:
    before: dict[str, Any] = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string", "maxLength": 5}, "b": {}},
    }
    assert any(one.startswith(told) for one in _narrowed(before, before | change))
    assert list(_narrowed(before, before)) == []


def test_a_word_that_goes_from_a_closed_list_is_seen() -> None:
    before = {"properties": {"a": {"enum": ["on", "off"]}}}
    after = {"properties": {"a": {"enum": ["on", "away"]}}}
    assert list(_narrowed(before, after)) == ["$.a: no word 'off' any more"]


def test_a_field_that_may_be_null_no_more_is_seen() -> None:
    before = {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    after = {"properties": {"a": {"anyOf": [{"type": "string", "description": "a score"}]}}}
    assert list(_narrowed(before, after)) == ["$.a: one of its kinds is gone"]

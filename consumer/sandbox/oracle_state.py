"""What stands in Skyward held against what must stand."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from sys import intern
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

_IDS: Final = uuid5(NAMESPACE_URL, "https://passback.otus/ids")


class Expected(NamedTuple):
    """What must be true of one grade after the night.

    ``score`` is decimal text or None (nothing stands, or it is exempt); ``reason`` is empty for
    what stands and for what waits for a later night. ``origin`` is "teacher", "clock" or "".
    The rest says to which class, student and title the score belongs in Skyward.
    """

    score: str | None
    score_status: str | None
    reason: str
    origin: str = ""
    class_sourced_id: str = ""
    student_sourced_id: str = ""
    title: str = ""

    @property
    def stands(self) -> bool:
        """Whether Skyward must hold a result."""
        return self.score_status is not None


@lru_cache(maxsize=1024)
def plain(score: Decimal) -> str:
    return f"{score.normalize():f}"


def line_item_id(district_id: str, assessment: str, class_id: str) -> UUID:
    """The sourcedId that the line item must have."""
    return uuid5(_IDS, f"lineItem/{district_id}/{assessment}/{class_id}")


def result_id(district_id: str, assessment: str, class_id: str, student: str) -> UUID:
    """The sourcedId that the result must have."""
    return uuid5(_IDS, f"result/{district_id}/{assessment}/{class_id}/{student}")


def compare(
    expected: Iterable[tuple[str, str, str, Expected]],
    state_dump: Iterable[str | bytes],
    *,
    district_id: str,
) -> list[str]:
    """Every difference between what must stand and what stands, one sentence each; best is none.

    ``state_dump`` is NDJSON, a line each line item or result; references are sourcedIds, bare or
    as ``{"sourcedId": ...}``. What is marked ``tobedeleted`` counts as gone.
    """
    items: dict[bytes, tuple[str, str]] = {}
    results: dict[bytes, tuple[str, ...]] = {}
    differences: list[str] = []
    for line in state_dump:
        if not line.strip():
            continue
        entry = _entry(json.loads(line, parse_float=Decimal))
        if entry.get("status") == "tobedeleted":
            continue
        ours = _uuid(entry.get("sourcedId"))
        if ours is None:
            differences.append(f"Skyward holds {entry.get('sourcedId')!r}, which is no id of ours.")
        elif "student" in entry:
            facts = (
                _score(entry.get("score")),
                str(entry.get("scoreStatus")),
                intern(_reference(entry["student"])),
                intern(_reference(entry.get("lineItem"))),
            )
            results[ours] = facts
        else:
            items[ours] = (str(entry.get("title")), _reference(entry.get("class")))
    wanted_items: set[bytes] = set()
    item_at: tuple[str, str] | None = None
    item = UUID(int=0)
    for assessment, class_id, student, one in expected:
        named = f"assessment {assessment}, class {class_id}, student {student}"
        if item_at != (assessment, class_id):
            item_at, item = (
                (assessment, class_id),
                line_item_id(district_id, assessment, class_id),
            )
        held = results.pop(result_id(district_id, assessment, class_id, student).bytes, None)
        if not one.stands:
            if held is not None:
                because = one.reason or "it waits for a later night"
                differences.append(f"{named}: {held[0]} stands, but nothing should ({because}).")
            continue
        if held is None:
            differences.append(f"{named}: nothing stands, but {one.score} should ({one.origin}).")
            wanted_items.add(item.bytes)
            continue
        wanted = (one.score or "", one.score_status or "", one.student_sourced_id, str(item))
        for what, has, should in zip(_FACTS, held, wanted, strict=True):
            if has != should:
                differences.append(f"{named}: {what} is {has!r}, but should be {should!r}.")
        if item.bytes not in wanted_items:
            wanted_items.add(item.bytes)
            differences += _item_differences(items.get(item.bytes), one, named)
    for sourced_id in results:
        differences.append(f"result {UUID(bytes=sourced_id)} stands, but nothing asks for it.")
    for sourced_id in items.keys() - wanted_items:
        differences.append(f"line item {UUID(bytes=sourced_id)} stands without any result.")
    return differences


_FACTS: Final = ("score", "scoreStatus", "student", "lineItem")


def _item_differences(held: tuple[str, str] | None, one: Expected, named: str) -> Iterator[str]:
    if held is None:
        yield f"{named}: a result stands, but its line item does not."
        return
    for what, has, should in zip(
        ("title", "class"), held, (one.title, one.class_sourced_id), strict=True
    ):
        if has != should:
            yield f"{named}: the line item's {what} is {has!r}, but should be {should!r}."


def _entry(line: Any) -> dict[str, Any]:
    """The entity of a dump line, with or without OneRoster's envelope."""
    for envelope in ("result", "lineItem"):
        inner = line.get(envelope)
        if isinstance(inner, dict) and "student" not in line:
            return inner
    return dict(line)


def _reference(value: Any) -> str:
    return str(value.get("sourcedId")) if isinstance(value, dict) else str(value)


def _score(value: Any) -> str:
    if value is None or value == "":
        return ""
    try:
        return plain(Decimal(str(value)))
    except InvalidOperation:
        return str(value)


def _uuid(value: Any) -> bytes | None:
    try:
        return UUID(value).bytes
    except (ValueError, AttributeError, TypeError):
        return None

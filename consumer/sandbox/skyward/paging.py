"""Pages of a collection: limit and offset, simple filters, X-Total-Count and Link."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from consumer.sandbox.skyward.refusal import Refusal, invalid

DEFAULT_LIMIT = 100
_CLAUSE = re.compile(r"\s*([A-Za-z.]+)\s*(!=|=)\s*'((?:[^']|'')*)'\s*")
_PARAMETERS = {"limit", "offset", "filter", "sort", "orderBy", "fields"}

Getter = Callable[[Any], str | None]


class Page(NamedTuple):
    """The rows of one page and the headers that go with it; fields: those asked for, () for all."""

    rows: Sequence[Any]
    headers: dict[str, str]
    fields: tuple[str, ...]


def page(
    rows: Sequence[Any], query: str, url: str, limit_cap: int, filters: dict[str, Getter]
) -> Page:
    """The page of `rows` (by sourcedId) that the query string asks for.

    filters: field -> how to read it from a row; `field='value'` and `!=`, joined by AND, are
    understood. Refusals (400) for anything else. A limit over `limit_cap` counts as the cap.
    """
    asked = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    for name in asked.keys() - _PARAMETERS:
        raise invalid(f"parameter {name} is unknown")
    limit = min(_whole("limit", asked.get("limit"), DEFAULT_LIMIT, 1), limit_cap)
    offset = _whole("offset", asked.get("offset"), 0, 0)
    if asked.get("sort", "sourcedId") != "sourcedId":
        raise Refusal(400, "invalid_sort_field", f"cannot sort by {asked['sort']}")
    if asked.get("filter"):
        rows = _filtered(rows, asked["filter"], filters)
    if asked.get("orderBy", "asc").lower() == "desc":
        rows = rows[::-1]
    fields = tuple(one.strip() for one in asked.get("fields", "").split(",") if one.strip())
    return Page(
        rows[offset : offset + limit], _headers(len(rows), limit, offset, asked, url), fields
    )


def _whole(name: str, text: str | None, default: int, least: int) -> int:
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise invalid(f"{name} {text} is no whole number from {least} up")
    return int(text)


def _filtered(rows: Sequence[Any], expression: str, filters: dict[str, Getter]) -> list[Any]:
    kept = list(rows)
    for clause in re.split(r"\s+AND\s+(?=[A-Za-z.]+\s*!?=)", expression):
        match = _CLAUSE.fullmatch(clause)
        if match is None or match[1] not in filters:
            raise Refusal(400, "invalid_filter_field", f"filter {clause} is not understood")
        getter, equal, value = filters[match[1]], match[2] == "=", match[3].replace("''", "'")
        kept = [row for row in kept if (getter(row) == value) is equal]
    return kept


def _headers(
    total: int, limit: int, offset: int, asked: dict[str, str], url: str
) -> dict[str, str]:
    last = (total - 1) // limit * limit if total else 0
    places = {"first": 0, "last": last}
    if offset + limit < total:
        places["next"] = offset + limit
    if offset > 0:
        places["prev"] = max(0, offset - limit)
    links = (
        f'<{url}?{urlencode({**asked, "limit": limit, "offset": place})}>; rel="{relation}"'
        for relation, place in places.items()
    )
    return {"X-Total-Count": str(total), "Link": ", ".join(links)}

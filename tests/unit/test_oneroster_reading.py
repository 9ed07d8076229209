"""What was read: tolerant of rows, exact in numbers."""

import json
import tracemalloc
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.gradebook import AcademicSession
from consumer.oneroster import (
    read_categories,
    read_class,
    read_classes,
    read_line_item,
    read_result,
    read_results,
    read_sessions,
    read_users,
)

READERS = (read_sessions, read_categories, read_classes, read_results, read_users)


def body(**rows: object) -> bytes:
    return json.dumps(rows).encode()


def test_an_ill_typed_row_is_dropped_and_counted() -> None:
    good = {
        "sourcedId": "gp-1",
        "status": "active",
        "type": "gradingPeriod",
        "startDate": "2026-08-15",
        "endDate": "2026-10-30T00:00:00.000Z",
        "parent": {"sourcedId": "s-1"},
    }
    rows = [good, {**good, "startDate": "soon"}, {**good, "sourcedId": None}, 7, None]
    page = read_sessions(body(gradingPeriods=rows))
    assert page is not None
    assert page.rows == [
        AcademicSession("gp-1", "gradingPeriod", True, date(2026, 8, 15), date(2026, 10, 30), "s-1")
    ]
    assert (page.seen, page.dropped) == (5, 4)


def test_a_body_that_is_no_list_of_its_kind_is_none() -> None:
    for read in READERS:
        for broken in (b"", b"<html>", b"{}", b"7", b'{"results":{}}'):
            assert read(broken) is None


def test_a_score_is_read_exactly() -> None:
    rows = b'{"results":[%s]}' % b",".join(
        b'{"sourcedId":"r","student":{"sourcedId":"s"},"score":%s}' % score
        for score in (b"8.1", b"8", b'"8.50"', b"null", b"true", b'"NaN"', b"1e99999")
    )
    page = read_results(rows)
    assert page is not None
    assert [row.score for row in page.rows] == [
        Decimal("8.1"),
        Decimal(8),
        Decimal("8.50"),
        None,
        None,
        None,
        None,
    ]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=0, max_value=10**9))
def test_a_number_round_trips_exactly(score: Decimal) -> None:
    raw = b'{"result":{"sourcedId":"r","student":{"sourcedId":"s"},"score":%b}}'
    read = read_result(raw % str(score).encode() if "E" not in str(score) else raw % b"0")
    assert read is not None
    assert read.score == (score if "E" not in str(score) else 0)


def test_what_a_line_item_does_not_say_is_none() -> None:
    bare = read_line_item(body(lineItem={"sourcedId": "li"}))
    assert bare is not None
    assert bare[1:] == (None, None, None, None, None, True)
    full = read_line_item(
        body(
            lineItem={
                "sourcedId": "li",
                "title": "Quiz",
                "class": {"sourcedId": "c"},
                "category": {"sourcedId": "k"},
                "dueDate": "2026-11-20T23:59:00-06:00",
                "resultValueMax": 10.5,
                "status": "tobedeleted",
            }
        )
    )
    assert full == ("li", "Quiz", "c", "k", date(2026, 11, 20), Decimal("10.5"), False)


def test_a_class_has_its_terms_and_students_are_only_ids() -> None:
    row = {"sourcedId": "c", "terms": [{"sourcedId": "t1"}, "t2", 5.5, {"href": "x"}]}
    single = read_class(body(**{"class": row}))
    assert single is not None
    assert single.term_ids == ("t1", "t2")
    users = [{"sourcedId": "u1"}, {"sourcedId": "u2", "status": "tobedeleted"}]
    page = read_users(body(users=users))
    assert page is not None
    assert page.rows == ["u1"]


@given(st.binary(max_size=200))
def test_no_body_makes_a_reader_fail(raw: bytes) -> None:
    for read in READERS:
        read(raw)
    for single in (read_class, read_line_item, read_result):
        single(raw)


@pytest.mark.parametrize("value", [b"{}", b"[]", b'{"a":1}', b"1.1", b"1", b'""'])
def test_a_page_that_would_be_huge_as_objects_is_not_read(value: bytes) -> None:
    """16 MiB of empty objects are 16 MiB; as objects of Python they would be 400."""
    page = b"[" + b",".join([value] * (16 * 1024 * 1024 // (len(value) + 1))) + b"]"
    tracemalloc.start()
    try:
        assert read_users(page) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_page_of_the_largest_size_is_read() -> None:
    row: dict[str, object] = {"sourcedId": "s-1", "title": "x" * 200, "class": {"sourcedId": "c"}}
    row |= {f"metadata{n}": "n" for n in range(40)}
    page = json.dumps({"results": [row] * 10_000}).encode()
    read = read_results(page)
    assert read is not None
    assert read.seen == 10_000

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
    Category,
    HeldResult,
    SchoolClass,
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


TERM = {"sourcedId": "t-1", "startDate": "2026-08-15", "endDate": "2026-12-18"}


@pytest.mark.parametrize("name", ["academicSessions", "gradingPeriods", "terms"])
def test_sessions_are_read_under_each_name_that_servers_list_them_by(name: str) -> None:
    page = read_sessions(body(**{name: [{**TERM, "type": "term"}]}))
    assert page is not None
    assert [row.sourced_id for row in page.rows] == ["t-1"]


def test_a_session_without_a_type_is_of_the_kind_that_was_asked_for_or_dropped() -> None:
    rows = body(terms=[TERM])
    asked, unasked = read_sessions(rows, kind="term"), read_sessions(rows)
    assert asked is not None
    assert unasked is not None
    assert [row.type for row in asked.rows] == ["term"]
    assert (unasked.rows, unasked.dropped) == ([], 1)


def test_what_follows_an_ill_typed_row_is_read() -> None:
    page = read_users(body(students=[7, {"sourcedId": "u1"}]))
    assert page is not None
    assert (page.rows, page.dropped) == (["u1"], 1)


def test_categories_are_read_with_their_title_and_whether_they_are_active() -> None:
    page = read_categories(
        body(
            categories=[
                {"sourcedId": "k1", "title": "Tests", "status": "active"},
                {"sourcedId": "k2", "status": "tobedeleted"},
                {"title": "nameless"},
            ]
        )
    )
    assert page is not None
    assert page.rows == [Category("k1", "Tests", True), Category("k2", "", False)]


def test_a_class_without_terms_has_none_and_says_its_school() -> None:
    page = read_classes(
        body(classes=[{"sourcedId": "c1", "school": {"sourcedId": "s1"}}, {"sourcedId": "c2"}])
    )
    assert page is not None
    assert page.rows == [SchoolClass("c1", (), True, "s1"), SchoolClass("c2", (), True, None)]
    gone = read_class(body(sourcedId="c3", status="tobedeleted"))
    assert gone == SchoolClass("c3", (), False, None)


def test_an_entity_without_its_envelope_is_read_as_well() -> None:
    read = read_line_item(b"\xef\xbb\xbf" + body(sourcedId="li", title="Quiz"))
    assert read is not None
    assert (read.sourced_id, read.title) == ("li", "Quiz")


def test_line_items_are_read_a_page_at_a_time() -> None:
    page = read_line_items(body(lineItems=[{"sourcedId": "li-1"}, {"sourcedId": "li-2"}]))
    assert page is not None
    assert [row.sourced_id for row in page.rows] == ["li-1", "li-2"]


def test_a_result_is_read_with_all_that_it_says() -> None:
    row = {
        "sourcedId": "r",
        "lineItem": {"sourcedId": "li"},
        "student": {"sourcedId": "s"},
        "score": 8,
        "scoreStatus": "fully graded",
        "status": "tobedeleted",
    }
    assert read_result(body(result=row)) == HeldResult(
        "r", "li", "s", Decimal(8), "fully graded", False
    )
    bare = read_result(body(result={"sourcedId": "r", "student": "s", "scoreStatus": 7}))
    assert bare == HeldResult("r", None, "s", None, None, True)


@pytest.mark.parametrize(
    ("held", "score", "exempt", "shows"),
    [
        (("8", "fully graded", True), "8", False, True),
        (("8.0", None, True), "8", False, True),
        (("7", "fully graded", True), "8", False, False),
        (("8", "fully graded", False), "8", False, False),
        (("8", " Exempt ", True), "8", False, False),
        ((None, "exempt", True), None, True, True),
        (("0", "exempt", True), None, True, True),
        ((None, None, True), None, True, False),
        ((None, "exempt", False), None, True, False),
    ],
)
def test_a_result_stands_as_it_was_sent_by_its_score_or_by_being_exempt(
    held: tuple[str | None, str | None, bool], score: str | None, exempt: bool, shows: bool
) -> None:
    number, status, active = held
    one = HeldResult("r", "li", "s", None if number is None else Decimal(number), status, active)
    assert one.shows(None if score is None else Decimal(score), exempt) is shows


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (17, "17"),
        (-1, "-1"),
        (10**40 - 1, "9" * 40),
        (10**40, None),
        (True, None),
        (1.5, None),
        ("", None),
        ("x", "x"),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        ("a\nb", None),
    ],
)
def test_an_id_is_a_printable_text_of_at_most_255_or_a_whole_number(
    written: object, read: str | None
) -> None:
    page = read_users(json.dumps([{"sourcedId": written}]).encode())
    assert page is not None
    assert page.rows == ([] if read is None else [read])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'"8,5"', None),
        (b'" 8.5 "', Decimal("8.5")),
        (b"9" * 40, Decimal("9" * 40)),
        (b"9" * 41, None),
        (b"1e40", Decimal("1e40")),
        (b"1e41", None),
        (b"1e-40", Decimal("1e-40")),
    ],
)
def test_a_number_has_at_most_40_digits_before_and_behind_the_point(
    written: bytes, read: Decimal | None
) -> None:
    found = read_result(b'{"sourcedId":"r","student":"s","score":%b}' % written)
    assert found is not None
    assert found.score == read


@pytest.mark.parametrize("value", [b"{}", b"[]"])
def test_an_object_in_a_list_counts_as_one_value_for_itself(value: bytes) -> None:
    page = b"[" + b",".join([value] * 600_000) + b"]"
    assert read_users(page) is None


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

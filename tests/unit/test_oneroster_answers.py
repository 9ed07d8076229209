"""What an answer means: every row of the table, and never a crash or a leaked name."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.gradebook import Kind, Outcome, Reason, Scope
from consumer.oneroster import Operation, read_answer

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
LINE_ITEM, RESULT = Operation.PUT_LINE_ITEM, Operation.PUT_RESULT


def outcome(
    operation: Operation, status: int, body: object = b"", headers: dict[str, str] | None = None
) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = read_answer(
        operation, status, headers or {}, raw, now=NOW, sourced_id="mine", category="cat-9"
    )
    return answer.outcome


def said(description: str, minor: str = "invaliddata") -> dict[str, Any]:
    return {
        "imsx_codeMajor": "failure",
        "imsx_severity": "error",
        "imsx_description": description,
        "imsx_CodeMinor": {
            "imsx_codeMinorField": [
                {"imsx_codeMinorFieldName": "TargetEndSystem", "imsx_codeMinorFieldValue": minor}
            ]
        },
    }


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (204, b""),
        (201, b"  "),
        (201, b"Created"),
        (200, b"null"),
        (200, {}),
        (200, {"result": {"sourcedId": "mine", "score": 8.5}}),
        (200, {"sourcedIdPairs": []}),
        (200, {"imsx_codeMajor": "success", "imsx_severity": "status"}),
    ],
)
def test_every_form_of_success_is_posted(status: int, body: object) -> None:
    assert outcome(RESULT, status, body) == Outcome(Kind.POST, status=status)


@pytest.mark.parametrize(
    "body",
    [
        {"sourcedIdPairs": [{"suppliedSourcedId": "mine", "allocatedSourcedId": "theirs"}]},
        {"sourcedIdPairs": {"suppliedSourcedId": "mine", "allocatedSourcedId": "theirs"}},
        {"suppliedSourcedId": "mine", "allocatedSourcedId": "theirs"},
        {"result": {"sourcedId": "theirs"}},
    ],
)
def test_an_id_that_the_server_chose_is_kept(body: object) -> None:
    assert outcome(RESULT, 201, body).allocated_id == "theirs"


@pytest.mark.parametrize(
    ("operation", "description", "reason"),
    [
        (LINE_ITEM, "The grading period is closed", Reason.REFUSED_GRADING_PERIOD),
        (LINE_ITEM, "dueDate lies in closed gradingPeriod", Reason.REFUSED_GRADING_PERIOD),
        (LINE_ITEM, "The due date is outside the open term", Reason.REFUSED_GRADING_PERIOD),
        (LINE_ITEM, "Class 7: Term 2 has been closed", Reason.REFUSED_GRADING_PERIOD),
        (RESULT, "Grading period P1 is locked", Reason.REFUSED_GRADING_PERIOD),
        (LINE_ITEM, "category is not active in this grading period", Reason.CATEGORY_REFUSED),
        (LINE_ITEM, "lineItem.category: unknown", Reason.CATEGORY_REFUSED),
        (LINE_ITEM, "Class does not exist", Reason.CLASS_UNKNOWN),
        (LINE_ITEM, "Section 55 not found", Reason.CLASS_UNKNOWN),
        (RESULT, "Student is not enrolled in class", Reason.STUDENT_UNKNOWN),
        (RESULT, "user not found", Reason.STUDENT_UNKNOWN),
        (RESULT, "line item not found", Reason.LINE_ITEM_FAILED),
        (RESULT, "score exceeds resultValueMax of the line item", Reason.REFUSED_BY_SKYWARD),
        (LINE_ITEM, "title is too long", Reason.REFUSED_BY_SKYWARD),
        (LINE_ITEM, "assignDate is malformed", Reason.REFUSED_BY_SKYWARD),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 422, 500])
def test_a_refusal_names_what_is_refused(
    operation: Operation, description: str, reason: Reason, status: int
) -> None:
    for body in (
        said(description),
        {"imsx_StatusInfo": said(description)},
        {
            "statusInfoSet": [
                {
                    "imsx_codeMajor": "failure",
                    "imsx_codeMinor": "Invalid_Data",
                    "imsx_description": description,
                }
            ]
        },
    ):
        found = outcome(operation, status, body)
        assert (found.reason, found.kind) == (reason, reason.kind)
        assert not found.unknown


def test_a_refusal_of_another_shape_is_understood_as_well() -> None:
    problem = {"title": "Validation failed", "errors": {"lineItem.category": ["is not valid"]}}
    assert outcome(LINE_ITEM, 400, problem).reason is Reason.CATEGORY_REFUSED
    assert outcome(LINE_ITEM, 400, b"Class unknown").reason is Reason.CLASS_UNKNOWN
    assert outcome(LINE_ITEM, 400, b"<html>").reason is Reason.REFUSED_BY_SKYWARD
    assert outcome(LINE_ITEM, 422).reason is Reason.REFUSED_BY_SKYWARD


@pytest.mark.parametrize(
    ("minor", "reason"),
    [
        ("unauthorisedrequest", Reason.CREDENTIALS_REFUSED),
        ("Unauthorized Request", Reason.CREDENTIALS_REFUSED),
        ("forbidden", Reason.FORBIDDEN),
        ("server_busy", Reason.THROTTLED),
        ("server busy", Reason.THROTTLED),
        ("internal_server_error", Reason.SKYWARD_UNAVAILABLE),
        ("invalid data", Reason.REFUSED_BY_SKYWARD),
        ("unknown object", Reason.LINE_ITEM_FAILED),
    ],
)
def test_a_200_that_holds_a_failure_is_read_by_its_minor_code(minor: str, reason: Reason) -> None:
    assert outcome(RESULT, 200, said("", minor)).reason is reason


def test_the_statuses_without_words_follow_the_table() -> None:
    expected = {
        401: (Reason.CREDENTIALS_REFUSED, Scope.DISTRICT),
        403: (Reason.FORBIDDEN, Scope.CLASS),
        405: (Reason.FORBIDDEN, Scope.CLASS),
        409: (Reason.LOCKED, Scope.ITEM),
        412: (Reason.LOCKED, Scope.ITEM),
        429: (Reason.THROTTLED, Scope.ITEM),
        302: (Reason.SKYWARD_UNAVAILABLE, Scope.DISTRICT),
        500: (Reason.SKYWARD_UNAVAILABLE, Scope.ITEM),
        503: (Reason.SKYWARD_UNAVAILABLE, Scope.ITEM),
    }
    for status, (reason, scope) in expected.items():
        found = outcome(RESULT, status)
        assert (found.reason, found.scope, found.status) == (reason, scope, status)
        assert found.unknown == (status >= 500)


def test_a_404_is_the_class_of_a_line_item_and_the_line_item_of_a_result() -> None:
    assert outcome(LINE_ITEM, 404).reason is Reason.CLASS_UNKNOWN
    assert outcome(RESULT, 404).reason is Reason.LINE_ITEM_FAILED
    student = said("Student with sourcedId 5 not found for lineItem 3", "unknownobject")
    assert outcome(RESULT, 404, student).reason is Reason.STUDENT_UNKNOWN
    assert outcome(RESULT, 404, b"lineItem not found").reason is Reason.LINE_ITEM_FAILED
    assert outcome(Operation.DELETE_RESULT, 404).kind is Kind.POST


@pytest.mark.parametrize("status", [200, 201, 404, 503])
def test_a_web_page_is_no_answer_of_oneroster(status: int) -> None:
    found = outcome(LINE_ITEM, status, b"\xef\xbb\xbf\r\n<!DOCTYPE html><title>Sign in</title>")
    assert found.reason is Reason.SKYWARD_UNAVAILABLE
    assert found.kind is Kind.DEFER


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "86400"}, 300),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after": "Mon, 23 Nov 2026 22:00:09 GMT"}, 9),
        (
            {
                "retry-after": "Mon, 23 Nov 2026 22:00:09 GMT",
                "date": "Mon, 23 Nov 2026 22:00:04 GMT",
            },
            5,
        ),
        ({"retry-after": "Mon, 23 Nov 2020 22:00:09 GMT"}, 0),
        ({"retry-after": "Mon, 23 Nov 2099 22:00:09 GMT"}, 300),
    ],
)
def test_retry_after_is_read_in_both_forms_and_capped(
    headers: dict[str, str], seconds: float | None
) -> None:
    answer = read_answer(RESULT, 429, headers, b"", now=NOW)
    assert answer.retry_after == seconds


DELETE, READ = Operation.DELETE_RESULT, Operation.READ
REDIRECT = "Skyward answered with a redirect to another address; check base_url"
RIGHT = "Skyward refused the right to do this; check the licence and the scopes"
LOGIN = "Skyward answered with a web page, perhaps a login; check base_url"
WRONG_PATH = "Skyward answered 404 with a web page; check base_url and path_style"
CLOSED = "Skyward holds the grading period of these dates closed"
NO_STUDENT = "Skyward does not know the student in this class"
NO_LINE_ITEM = "Skyward does not know the line item any more"
NO_CLASS = "Skyward does not know the class"
PAGE = b"\r\n <!DOCTYPE html>"


@pytest.mark.parametrize(
    ("operation", "status", "body", "detail"),
    [
        (RESULT, 300, b"", REDIRECT),
        (RESULT, 399, b"", REDIRECT),
        (RESULT, 401, b"", "Skyward refused the access token of this district"),
        (RESULT, 429, b"", "Skyward asked to slow down"),
        (RESULT, 403, b"", RIGHT),
        (RESULT, 501, b"", RIGHT),
        (RESULT, 408, b"", "Skyward answered 408"),
        (RESULT, 425, b"", "Skyward answered 425"),
        (RESULT, 500, b"", "Skyward answered 500"),
        (RESULT, 502, b"", "Skyward answered 502"),
        (RESULT, 400, said("", "linkfailure"), "Skyward answered 400"),
        (RESULT, 200, said("", "linkfailure"), "Skyward answered 200 with a failure"),
        (RESULT, 200, b"X<html>", "Skyward answered with something that is not JSON"),
        (RESULT, 200, PAGE, LOGIN),
        (READ, 200, PAGE, LOGIN),
        (RESULT, 404, PAGE, WRONG_PATH),
        (RESULT, 410, PAGE, WRONG_PATH),
        (LINE_ITEM, 400, said("no such category"), "Skyward refused the category cat-9"),
        (LINE_ITEM, 200, said("no such category"), "Skyward refused the category cat-9"),
        (LINE_ITEM, 400, said("the academic session is closed"), CLOSED),
        (LINE_ITEM, 400, said("grading_period_id"), CLOSED),
        (LINE_ITEM, 400, said("term closed 2026-10-30"), f"{CLOSED} (2026-10-30)"),
        (LINE_ITEM, 400, said("term closed 2026-13-45"), CLOSED),
        (RESULT, 400, said("user not found"), NO_STUDENT),
        (RESULT, 400, said("line item not found"), NO_LINE_ITEM),
        (RESULT, 410, b"", NO_LINE_ITEM),
        (RESULT, 404, said("class not found"), NO_CLASS),
        (LINE_ITEM, 400, said("class not found"), NO_CLASS),
        (LINE_ITEM, 410, b"", NO_CLASS),
        (LINE_ITEM, 409, b"", "Skyward holds the record locked"),
        (LINE_ITEM, 412, b"", "Skyward holds the record locked"),
        (LINE_ITEM, 423, b"", "Skyward holds the record locked"),
        (LINE_ITEM, 404, said("school not found"), "Skyward refused it (404)"),
        (LINE_ITEM, 400, said("class is spelled badly"), "Skyward refused it (400)"),
        (RESULT, 400, said("record not found"), "Skyward refused it (400)"),
        (READ, 404, b"", "Skyward refused it (404)"),
    ],
)
def test_an_operator_reads_what_skyward_answered_and_what_to_check(
    operation: Operation, status: int, body: object, detail: str
) -> None:
    found = outcome(operation, status, body)
    assert (found.detail, found.status) == (detail, status)


def test_a_category_that_was_not_named_is_not_named_in_the_refusal() -> None:
    raw = json.dumps(said("no such category")).encode()
    answer = read_answer(LINE_ITEM, 400, {}, raw, now=NOW)
    assert answer.outcome.detail == "Skyward refused the category"


def test_a_read_that_holds_json_and_a_204_that_holds_anything_are_posted() -> None:
    assert outcome(READ, 200, {"results": []}) == Outcome(Kind.POST, status=200)
    assert outcome(RESULT, 204, b"not JSON") == Outcome(Kind.POST, status=204)


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_already_counts_as_deleted(status: int) -> None:
    assert outcome(DELETE, status) == Outcome(Kind.POST, status=status)


def test_a_web_page_at_404_leaves_nothing_open_and_one_at_200_does() -> None:
    assert not outcome(RESULT, 404, PAGE).unknown
    assert outcome(RESULT, 200, PAGE).unknown
    assert outcome(RESULT, 200, PAGE).scope is Scope.ITEM


@pytest.mark.parametrize(
    ("status", "minor", "reason"),
    [
        (400, "forbidden", Reason.FORBIDDEN),
        (422, "forbidden", Reason.FORBIDDEN),
        # A server that failed may say anything; only that it looked and said no still counts.
        (500, "forbidden", Reason.SKYWARD_UNAVAILABLE),
        (503, "forbidden", Reason.SKYWARD_UNAVAILABLE),
        (500, "invaliddata", Reason.REFUSED_BY_SKYWARD),
        (409, "forbidden", Reason.LOCKED),
        (423, "forbidden", Reason.LOCKED),
    ],
)
def test_a_minor_code_explains_a_vague_status_and_never_a_plain_one(
    status: int, minor: str, reason: Reason
) -> None:
    assert outcome(LINE_ITEM, status, said("", minor)).reason is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"success": False, "message": "Class unknown"}, Reason.CLASS_UNKNOWN),
        ({"success": True, "message": "Class unknown"}, None),
        ({"errors": ["Class unknown"]}, Reason.CLASS_UNKNOWN),
        ({"errors": []}, None),
        ({"errors": {"x": {"whatever": "Class unknown"}}}, Reason.CLASS_UNKNOWN),
        ({"errors": [{"codeMinor": "forbidden"}]}, Reason.FORBIDDEN),
        ({"imsx_codeMajor": "unsupported"}, Reason.FORBIDDEN),
        (
            {"imsx_codeMajor": "failure", "imsx_description": "no such category"},
            Reason.CATEGORY_REFUSED,
        ),
        # What the entity itself says of failures is a teacher's word, not the server's.
        ({"lineItem": {"sourcedId": "mine", "imsx_codeMajor": "failure"}}, None),
    ],
)
def test_a_200_is_a_failure_only_where_the_server_says_so(
    body: object, reason: Reason | None
) -> None:
    assert outcome(LINE_ITEM, 200, body).reason is reason


def test_only_keys_that_hold_a_message_are_searched_for_one() -> None:
    refused = {"imsx_codeMinor": "invaliddata", "hint": "no such category"}
    assert outcome(LINE_ITEM, 400, refused).reason is Reason.REFUSED_BY_SKYWARD
    described = {**refused, "imsx_description": "malformed"}
    assert outcome(LINE_ITEM, 400, described).reason is Reason.REFUSED_BY_SKYWARD


def test_a_plain_text_that_is_no_utf_8_is_read_all_the_same() -> None:
    assert outcome(LINE_ITEM, 400, b"Class \xff unknown").reason is Reason.CLASS_UNKNOWN


@pytest.mark.parametrize(
    ("depth", "reason"), [(10, Reason.CLASS_UNKNOWN), (11, Reason.REFUSED_BY_SKYWARD)]
)
@pytest.mark.parametrize("wrap", [lambda inner: {"x": inner}, lambda inner: [inner]])
def test_a_message_is_found_twelve_levels_down_and_no_further(
    wrap: Any, depth: int, reason: Reason
) -> None:
    inner: Any = {"message": "Class unknown"}
    for _ in range(depth):
        inner = wrap(inner)
    body = {"deep": inner, "imsx_codeMinor": "invaliddata"}
    assert outcome(LINE_ITEM, 400, body).reason is reason


@pytest.mark.parametrize(
    ("width", "reason"), [(1_500, Reason.CLASS_UNKNOWN), (3_000, Reason.REFUSED_BY_SKYWARD)]
)
def test_a_message_is_found_among_two_thousand_values_and_no_more(
    width: int, reason: Reason
) -> None:
    body = {"message": "Class unknown", "wide": [0] * width, "imsx_codeMinor": "invaliddata"}
    assert outcome(LINE_ITEM, 400, body).reason is reason


@pytest.mark.parametrize(
    ("allocated", "kept"),
    [
        ("t", "t"),
        ("t" * 255, "t" * 255),
        ("t" * 256, None),
        ("", None),
        ("a\nb", None),
        ("mine", None),
        (7, None),
    ],
)
def test_an_allocated_id_is_kept_where_it_is_another_and_can_be_written(
    allocated: object, kept: str | None
) -> None:
    pair = {"suppliedSourcedId": "mine", "allocatedSourcedId": allocated}
    found = outcome(RESULT, 201, {"sourcedIdPair": pair})
    assert found == Outcome(Kind.POST, status=201, allocated_id=kept)


@pytest.mark.parametrize(
    ("said_at", "seconds"),
    [
        ("Mon, 23 Nov 2026 16:00:09 -0600", 9),
        ("Mon, 23 Nov 2026 22:00:09 -0000", 9),
    ],
)
def test_a_date_to_wait_for_is_read_in_its_own_zone(said_at: str, seconds: float) -> None:
    for status, body in ((503, b""), (200, json.dumps(said("", "serverbusy")).encode())):
        answer = read_answer(RESULT, status, {"retry-after": said_at}, body, now=NOW)
        assert answer.retry_after == seconds


def test_a_detail_holds_no_word_of_skywards_but_a_day() -> None:
    name = "Zaphod Beeblebrox"
    for status in (200, 400, 401, 403, 404, 409, 422, 429, 500):
        for words in (
            f"{name}: grading period closed on 2026-10-30",
            f"student {name} not found",
            f"category of {name} inactive",
        ):
            for operation in (LINE_ITEM, RESULT):
                assert "Zaphod" not in outcome(operation, status, said(words)).detail
    closed = outcome(LINE_ITEM, 400, said(f"{name}: grading period closed on 2026-10-30"))
    assert "2026-10-30" in closed.detail
    assert "cat-9" in outcome(LINE_ITEM, 400, said("category inactive")).detail


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["imsx_codeMajor", "imsx_StatusInfo", "imsx_CodeMinor", "errors", "lineItem"]
                + ["sourcedIdPairs", "result", "imsx_codeMinorField", "statusInfoSet", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(Operation),
    st.integers(min_value=-1, max_value=999),
    st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=40)),
    st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
)
@example(RESULT, 200, {}, b"[" * 100_000)
@example(RESULT, 400, {}, b'{"a":1e99999999999999999999}')
@example(RESULT, 429, {"retry-after": "Mon, 99 Nov 99999 22:00:09 +9999"}, b"")
def test_any_answer_at_all_has_an_outcome(
    operation: Operation, status: int, headers: dict[str, str], body: bytes
) -> None:
    answer = read_answer(operation, status, headers, body, now=NOW, sourced_id="mine")
    found = answer.outcome
    assert found.kind in (Kind.POST, Kind.REJECT, Kind.DEFER)
    assert (found.reason is None) == (found.kind is Kind.POST)
    assert found.reason is None or found.reason.kind is found.kind
    assert answer.retry_after is None or 0 <= answer.retry_after <= 300

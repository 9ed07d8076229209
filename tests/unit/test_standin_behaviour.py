"""The stand-in's plan of faults, its limits, its pages, and its answers' shapes."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from consumer.sandbox.skyward.answers import refusal_answer, with_wrong_types
from consumer.sandbox.skyward.behaviour import Fault, FaultPlan, Settings
from consumer.sandbox.skyward.operations import Route, route
from consumer.sandbox.skyward.paging import page
from consumer.sandbox.skyward.refusal import Refusal
from consumer.sandbox.skyward.throttle import Throttle

LETTERS = list("abcdefghij")
FILTERS = {"sourcedId": lambda row: row, "kind": lambda row: "vowel" if row in "aei" else "other"}


def plan(**fault: Any) -> FaultPlan:
    faults = FaultPlan()
    faults.add(Fault(**fault))
    return faults


def test_a_fault_hits_only_what_matches_and_only_so_often() -> None:
    faults = plan(kind="status", match="^PUT .*results", skip=1, times=2)
    assert faults.next_for("GET", "/results/1") is None
    hits = [faults.next_for("PUT", f"/results/{number}") is not None for number in range(5)]
    assert hits == [False, True, True, False, False]
    assert faults.outstanding() == []


def test_a_fault_without_times_never_ends() -> None:
    faults = plan(kind="hang", times=None)
    assert all(faults.next_for("GET", "/") for _ in range(10))


def test_faults_are_committed_in_the_order_they_were_given() -> None:
    faults = plan(kind="hang")
    faults.add(Fault(kind="swallow"))
    kinds = [fault.kind for _ in range(2) if (fault := faults.next_for("GET", "/"))]
    assert kinds == ["hang", "swallow"]


@pytest.mark.parametrize("wrong", [{"kind": "earthquake"}, {"kind": "hang", "match": "("}])
def test_a_fault_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Fault)


def test_an_unknown_setting_or_zone_is_refused() -> None:
    for wrong in ({"speed": 1}, {"timezone": "Mars/Olympus"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Settings)


def test_more_requests_at_once_than_allowed_are_turned_away() -> None:
    throttle, settings = Throttle(), Settings(max_concurrent=1, retry_after=7)
    throttle.enter()
    throttle.check(settings)
    throttle.enter()
    with pytest.raises(Refusal) as caught:
        throttle.check(settings)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "7"})
    throttle.leave()
    throttle.check(settings)
    assert throttle.peak == 2


def test_more_requests_a_second_than_allowed_are_turned_away_with_a_date_if_set() -> None:
    throttle = Throttle()
    settings = Settings(requests_per_second=2, retry_after_form="date")
    throttle.check(settings)
    throttle.check(settings)
    with pytest.raises(Refusal) as caught:
        throttle.check(settings)
    assert caught.value.headers["Retry-After"].endswith("GMT")


def test_a_page_tells_the_total_and_its_neighbours() -> None:
    found = page(LETTERS, "limit=3&offset=3", "http://s/x", 1000, FILTERS)
    assert list(found.rows) == ["d", "e", "f"]
    assert found.headers["X-Total-Count"] == "10"
    assert '<http://s/x?limit=3&offset=6>; rel="next"' in found.headers["Link"]
    assert '<http://s/x?limit=3&offset=0>; rel="prev"' in found.headers["Link"]
    assert '<http://s/x?limit=3&offset=9>; rel="last"' in found.headers["Link"]


def test_a_limit_over_the_cap_counts_as_the_cap() -> None:
    assert len(page(LETTERS, "limit=5000", "u", 4, FILTERS).rows) == 4


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "colour=red"])
def test_a_parameter_that_cannot_be_is_refused(query: str) -> None:
    with pytest.raises(Refusal):
        page(LETTERS, query, "u", 10, FILTERS)


def test_simple_filters_are_understood_and_others_refused() -> None:
    vowels = page(LETTERS, "filter=kind%3D'vowel'%20AND%20sourcedId!%3D'e'", "u", 10, FILTERS)
    assert list(vowels.rows) == ["a", "i"]
    with pytest.raises(Refusal) as caught:
        page(LETTERS, "filter=kind~'vowel'", "u", 10, FILTERS)
    assert caught.value.minor == "invalid_filter_field"


@pytest.mark.parametrize(
    ("path", "version", "style", "operation"),
    [
        ("/ims/oneroster/v1p1/gradingPeriods", "1.1", "flat", "getAllGradingPeriods"),
        ("/ims/oneroster/v1p2/lineItems/a%2Fb", "1.2", "flat", "getLineItem"),
        ("/ims/oneroster/rostering/v1p2/classes/c", "1.2", "split", "getClass"),
        (
            "/ims/oneroster/gradebook/v1p2/classes/c/lineItems/l/results",
            "1.2",
            "split",
            "getResultsForLineItemForClass",
        ),
    ],
)
def test_paths_of_both_versions_and_styles_are_understood(
    path: str, version: str, style: str, operation: str
) -> None:
    found = route("GET", path, Settings())
    assert isinstance(found, Route)
    assert (found.version, found.style, found.operation.name) == (version, style, operation)


@pytest.mark.parametrize(
    "path",
    [
        "/ims/oneroster/rostering/v1p2/lineItems",
        "/ims/oneroster/gradebook/v1p2/orgs",
        "/ims/oneroster/gradebook/v1p1/lineItems",
        "/ims/oneroster/v1p1/classes/c/categories",
        "/ims/oneroster/v1p3/orgs",
        "/ims/oneroster/v1p2",
        "/",
    ],
)
def test_paths_that_no_version_has_are_not_served(path: str) -> None:
    assert route("GET", path, Settings()) is None


def test_a_known_path_with_another_method_is_told_apart() -> None:
    assert route("POST", "/ims/oneroster/v1p2/lineItems", Settings()) == "method"


def test_a_server_of_one_version_and_style_serves_no_other() -> None:
    settings = Settings(versions=("1.1",), path_styles=("flat",))
    assert route("GET", "/ims/oneroster/v1p2/orgs", settings) is None
    assert route("GET", "/ims/oneroster/v1p1/orgs", settings) is not None


def content_of(answer: web.Response) -> Any:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def test_a_refusal_has_the_shape_of_its_version() -> None:
    refusal = Refusal(422, "invaliddata", "no")
    flat = content_of(refusal_answer(refusal, "1.1", Settings()))["statusInfoSet"][0]
    assert flat["imsx_codeMinor"] == "invaliddata"
    whole = content_of(refusal_answer(refusal, "1.2", Settings()))
    minor = whole["imsx_CodeMinor"]["imsx_codeMinorField"][0]["imsx_codeMinorFieldValue"]
    assert (whole["imsx_codeMajor"], whole["imsx_description"], minor) == (
        "failure",
        "no",
        "invaliddata",
    )


def test_a_refusal_takes_the_shapes_of_real_servers() -> None:
    refusal = Refusal(422, "invaliddata", "no")
    nested = refusal_answer(refusal, "1.2", Settings(error_shape="nested"))
    assert content_of(nested)["imsx_StatusInfo"]["imsx_severity"] == "error"
    assert refusal_answer(refusal, "1.2", Settings(error_shape="empty")).body is None
    html = refusal_answer(refusal, "1.2", Settings(error_shape="html"))
    assert (html.status, html.content_type) == (422, "text/html")
    hidden = refusal_answer(refusal, "1.2", Settings(error_shape="failure_in_200"))
    assert (hidden.status, content_of(hidden)["imsx_codeMajor"]) == (200, "failure")


def test_minor_codes_are_spelled_as_set() -> None:
    refusal = Refusal(422, "invaliddata", "no")
    for style, spelled in (
        ("underscores", "invalid_data"),
        ("spaces", "invalid data"),
        ("upper", "INVALIDDATA"),
    ):
        settings = msgspec.convert({"minor_code_style": style}, Settings)
        info = content_of(refusal_answer(refusal, "1.1", settings))["statusInfoSet"][0]
        assert info["imsx_codeMinor"] == spelled


def test_wrong_types_spare_no_value() -> None:
    assert with_wrong_types({"users": [{"sourcedId": "ab", "grades": 3}]}) == {
        "users": {"0": [2, "3"]}
    }

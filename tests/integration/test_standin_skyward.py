"""The stand-in Skyward as a process of its own, over HTTP: what a client and a test may rely on."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

import consumer.sandbox
from consumer.sandbox.roster import read_roster
from consumer.sandbox.skyward import StandIn, StandInDistrict, StandInError

SCHOOL = Path(consumer.sandbox.__file__).parent / "school" / "district"
ROSTER = read_roster(SCHOOL)
CLASS = "class-000"
STUDENTS = ROSTER.students_of(CLASS)
TODAY = date(2026, 11, 23)
OPEN = "session-full-gp2"
FLAT_1_1 = "ims/oneroster/v1p1/"
FLAT_1_2 = "ims/oneroster/v1p2/"
GRADEBOOK_1_2 = "ims/oneroster/gradebook/v1p2/"
ROSTERING_1_2 = "ims/oneroster/rostering/v1p2/"
SCOPE_1_2 = "https://purl.imsglobal.org/spec/or/v1p2/scope/"


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    journal = tmp_path_factory.mktemp("standin") / "journal.ndjson"
    with StandIn(SCHOOL, journal, today=TODAY) as running:
        yield running


@pytest.fixture
def district(standin: StandIn, request: pytest.FixtureRequest) -> StandInDistrict:
    """A fresh district for this test alone."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return standin.add_district(name)


def authorized(district: StandInDistrict, scope: str = "") -> httpx.Client:
    answer = ask_token(district, scope=scope)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=district.base_url, headers=headers, timeout=5)


@pytest.fixture
def client(district: StandInDistrict) -> Iterator[httpx.Client]:
    with authorized(district) as opened:
        yield opened


def ask_token(
    district: StandInDistrict, secret: str | None = None, scope: str = ""
) -> httpx.Response:
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    auth = (district.client_id, secret or district.client_secret)
    return httpx.post(district.token_url, data=form, auth=auth)


def line_item(**changes: Any) -> dict[str, Any]:
    return {
        "lineItem": {
            "title": "Unit 3 Quiz",
            "assignDate": "2026-11-16T09:00:00-06:00",
            "dueDate": "2026-11-20T23:59:00-06:00",
            "class": {"sourcedId": CLASS},
            "category": {"sourcedId": "cat-test"},
            "gradingPeriod": {"sourcedId": OPEN},
            "resultValueMin": 0,
            "resultValueMax": 10,
            "school": {"sourcedId": "org-1"},
        }
        | changes
    }


def result(item: str = "item", student: str = STUDENTS[0], score: float = 8) -> dict[str, Any]:
    return {
        "result": {
            "lineItem": {"sourcedId": item},
            "student": {"sourcedId": student},
            "scoreStatus": "fully graded",
            "score": score,
            "scoreDate": "2026-11-20",
        }
    }


def put(client: httpx.Client, path: str, content: Any, base: str = FLAT_1_2) -> httpx.Response:
    return client.put(base + path, json=content)


def put_both(client: httpx.Client) -> None:
    assert put(client, "lineItems/item", line_item()).status_code == 201
    assert put(client, "results/r", result()).status_code == 201


def description(answer: httpx.Response) -> str:
    return str(answer.json()["imsx_description"])


def held(district: StandInDistrict) -> dict[str, dict[str, Any]]:
    return {row["sourcedId"]: row for row in district.gradebook()}


def last_line(standin: StandIn, district: StandInDistrict) -> dict[str, Any]:
    return [line for line in standin.journal_lines() if line["tenant"] == district.name][-1]


def test_a_token_is_given_for_basic_and_for_body_credentials(district: StandInDistrict) -> None:
    basic = ask_token(district, scope=f"{SCOPE_1_2}gradebook.createput")
    assert basic.json()["scope"] == f"{SCOPE_1_2}gradebook.createput"
    form = {
        "grant_type": "client_credentials",
        "client_id": district.client_id,
        "client_secret": district.client_secret,
    }
    assert httpx.post(district.token_url, data=form).json()["expires_in"] == 3600
    short = district.token_url.replace("/oauth/token", "/token")
    assert httpx.post(short, data=form).status_code == 200
    district.configure(client_auth=["basic"])
    assert httpx.post(district.token_url, data=form).json()["error"] == "invalid_client"


def test_a_wrong_secret_and_an_unknown_scope_get_no_token(district: StandInDistrict) -> None:
    assert ask_token(district, "wrong").status_code == 401
    assert ask_token(district, scope="everything").json()["error"] == "invalid_scope"


def test_a_regenerated_secret_ends_the_old_one_and_its_tokens(district: StandInDistrict) -> None:
    with authorized(district) as client:
        fresh = district.regenerate_secret()
        assert client.get(FLAT_1_2 + "orgs").status_code == 401
    assert ask_token(district).status_code == 401
    assert ask_token(district, fresh).status_code == 200


def test_a_token_expires(district: StandInDistrict) -> None:
    district.configure(token_expires_in=0.2)
    with authorized(district) as client:
        assert client.get(FLAT_1_2 + "orgs").status_code == 200
        time.sleep(0.25)
        assert client.get(FLAT_1_2 + "orgs").status_code == 401


def test_a_token_of_one_district_opens_no_other(standin: StandIn, client: httpx.Client) -> None:
    other = standin.add_district("other")
    assert client.get(other.base_url + FLAT_1_2 + "orgs").status_code == 401


def test_each_kind_of_operation_needs_its_scope(district: StandInDistrict) -> None:
    reading = f"{SCOPE_1_2}roster-core.readonly {SCOPE_1_2}gradebook.readonly"
    with authorized(district, reading) as client:
        assert client.get(FLAT_1_2 + "lineItems").status_code == 200
        assert put(client, "lineItems/item", line_item()).status_code == 403
        assert client.get(FLAT_1_1 + "orgs").status_code == 403
    with authorized(district, f"{reading} {SCOPE_1_2}gradebook.createput") as client:
        assert put(client, "lineItems/item", line_item()).status_code == 201
        assert client.delete(FLAT_1_2 + "lineItems/item").status_code == 403


def test_the_standard_asks_more_than_core_for_the_students_of_a_class(
    district: StandInDistrict,
) -> None:
    with authorized(district, f"{SCOPE_1_2}roster-core.readonly") as client:
        assert client.get(f"{FLAT_1_2}classes/{CLASS}/students").status_code == 200
        district.configure(scopes="standard")
        assert client.get(f"{FLAT_1_2}classes/{CLASS}/students").status_code == 403


@pytest.mark.parametrize(
    ("path", "collection"),
    [
        ("orgs", "orgs"),
        ("schools", "orgs"),
        ("academicSessions", "academicSessions"),
        ("gradingPeriods", "academicSessions"),
        ("terms", "academicSessions"),
        ("courses", "courses"),
        ("classes", "classes"),
        ("users", "users"),
        ("students", "users"),
        ("teachers", "users"),
        ("enrollments", "enrollments"),
        ("categories", "categories"),
        (f"classes/{CLASS}/students", "users"),
        (f"classes/{CLASS}/teachers", "users"),
        ("terms/session-full/gradingPeriods", "academicSessions"),
    ],
)
def test_the_roster_reads_in_both_versions(
    client: httpx.Client, path: str, collection: str
) -> None:
    for base in (FLAT_1_1, FLAT_1_2):
        rows = client.get(base + path).json()[collection]
        ids = [row["sourcedId"] for row in rows]
        assert ids
        assert ids == sorted(ids)
        if "/" not in path:
            single = client.get(f"{base}{path}/{ids[0]}").json()
            assert list(single.values()) == [rows[0]]


def test_split_paths_serve_each_service_under_its_own(client: httpx.Client) -> None:
    students = client.get(f"{ROSTERING_1_2}classes/{CLASS}/students").json()["users"]
    assert {row["sourcedId"] for row in students} == set(STUDENTS)
    assert put(client, "lineItems/item", line_item(), GRADEBOOK_1_2).status_code == 201
    stored = client.get(GRADEBOOK_1_2 + "lineItems/item").json()["lineItem"]
    assert "/rostering/v1p2/classes/" in stored["class"]["href"]
    assert client.get(ROSTERING_1_2 + "lineItems/item").status_code == 404


def test_pages_cover_everything_once(district: StandInDistrict, client: httpx.Client) -> None:
    district.configure(page_limit=100)
    seen: list[str] = []
    url: str | None = (
        district.base_url + FLAT_1_2 + "enrollments?limit=1000&filter=role%3D'student'"
    )
    while url:
        answer = client.get(url)
        seen += [row["sourcedId"] for row in answer.json()["enrollments"]]
        assert len(answer.json()["enrollments"]) <= 100
        url = answer.links["next"]["url"] if "next" in answer.links else None
    students = {e.sourced_id for e in ROSTER.enrollments.values() if e.role == "student"}
    assert len(seen) == int(answer.headers["X-Total-Count"]) == len(students)
    assert set(seen) == students


def test_active_grading_periods_can_be_filtered(client: httpx.Client) -> None:
    query = {"filter": "type='gradingPeriod' AND status='active'"}
    answer = client.get(FLAT_1_1 + "academicSessions", params=query)
    titles = [row["title"] for row in answer.json()["academicSessions"]]
    assert titles == ["Grading Period 1", "Grading Period 2", "Grading Period 3"]


@pytest.mark.parametrize("base", [FLAT_1_1, FLAT_1_2, GRADEBOOK_1_2])
def test_a_line_item_and_its_result_are_put_read_and_deleted(
    client: httpx.Client, base: str
) -> None:
    school = {} if base == FLAT_1_1 else {"school": {"sourcedId": "org-1"}}
    content = line_item()
    del content["lineItem"]["school"]
    content["lineItem"] |= school
    assert put(client, "lineItems/item", content, base).status_code == 201
    assert put(client, "lineItems/item", content, base).status_code == 200
    made = put(client, "results/r", result(score=8.5), base).json()["result"]
    assert made["score"] == 8.5
    for path in ("results", f"classes/{CLASS}/results", f"classes/{CLASS}/lineItems/item/results"):
        assert client.get(base + path).json()["results"] == [made]
    items = client.get(f"{base}classes/{CLASS}/lineItems").json()["lineItems"]
    assert [item["sourcedId"] for item in items] == ["item"]
    assert client.delete(base + "results/r").status_code == 204
    assert client.get(base + "results/r").status_code == 404
    assert client.delete(base + "lineItems/item").status_code == 204
    assert client.delete(base + "lineItems/item").status_code == 404


@pytest.mark.parametrize("status", [404, 405, 501])
def test_class_categories_can_be_missing(
    district: StandInDistrict, client: httpx.Client, status: int
) -> None:
    path = f"{GRADEBOOK_1_2}classes/{CLASS}/categories"
    assert len(client.get(path).json()["categories"]) == 4
    district.configure(class_categories_status=status)
    assert client.get(path).status_code == status


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({"class": {"sourcedId": "nowhere"}}, 404, "class nowhere"),
        ({"school": {"sourcedId": "nowhere"}}, 404, "school nowhere"),
        ({"category": {"sourcedId": "nowhere"}}, 422, "category nowhere"),
        ({"gradingPeriod": {"sourcedId": "nowhere"}}, 404, "gradingPeriod nowhere"),
        ({"dueDate": "2026-10-01T12:00:00Z"}, 422, "2026-10-01"),
        ({"assignDate": "2026-10-01T12:00:00Z"}, 422, "2026-10-01"),
        ({"assignDate": "2026-07-01T12:00:00Z"}, 422, "straddles"),
        ({"dueDate": "2027-02-01T12:00:00Z"}, 422, "outside"),
        ({"title": "x" * 50}, 422, "title"),
        ({"title": 5}, 400, "title"),
        ({"sourcedId": "another"}, 400, "another"),
    ],
)
def test_a_refused_line_item_names_what_is_wrong_and_stores_nothing(
    district: StandInDistrict,
    client: httpx.Client,
    changes: dict[str, Any],
    status: int,
    named: str,
) -> None:
    answer = put(client, "lineItems/item", line_item(**changes))
    assert (answer.status_code, named in description(answer)) == (status, True)
    assert held(district) == {}


def test_a_refusal_of_version_1_1_is_a_status_info_set(client: httpx.Client) -> None:
    answer = put(client, "results/r", result("nowhere"), FLAT_1_1)
    assert answer.status_code == 404
    assert answer.json()["statusInfoSet"][0]["imsx_codeMinor"] == "unknownobject"


def test_a_result_of_a_student_of_another_class_is_refused(client: httpx.Client) -> None:
    put(client, "lineItems/item", line_item())
    stranger = next(
        student
        for class_id in ROSTER.classes
        for student in ROSTER.students_of(class_id)
        if student not in STUDENTS
    )
    answer = put(client, "results/r", result(student=stranger))
    assert answer.status_code == 422
    assert stranger in description(answer)


def test_without_the_licence_everything_reads_and_nothing_writes(
    district: StandInDistrict, client: httpx.Client
) -> None:
    put_both(client)
    district.configure(licensed=False)
    assert client.get(FLAT_1_2 + "results").status_code == 200
    assert put(client, "results/r", result()).status_code == 403
    assert client.delete(FLAT_1_2 + "results/r").status_code == 403


def test_rule_10_shows_when_the_score_is_read_back(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(use_grade_when_posting="percent")
    put_both(client)
    assert client.get(FLAT_1_2 + "results/r").json()["result"]["score"] == 80


def test_a_put_answers_what_the_settings_say(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(put_status=204)
    assert put(client, "lineItems/a", line_item()).content == b""
    district.configure(put_status=200, put_body="nothing")
    answer = put(client, "lineItems/b", line_item())
    assert (answer.status_code, answer.content) == (200, b"")
    district.configure(put_body="pair")
    pair = put(client, "lineItems/c", line_item()).json()["sourcedIdPairs"]
    assert pair == [{"suppliedSourcedId": "c", "allocatedSourcedId": "c"}]


def test_a_server_that_allocates_ids_knows_its_own_and_takes_both(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(allocates_ids=True)
    pair = put(client, "lineItems/item", line_item()).json()["sourcedIdPairs"][0]
    allocated = pair["allocatedSourcedId"]
    assert allocated != "item"
    assert client.get(f"{FLAT_1_2}lineItems/{allocated}").status_code == 200
    assert client.get(f"{FLAT_1_2}lineItems/item").status_code == 404
    for name in ("item", allocated):
        again = put(client, f"lineItems/{name}", line_item(sourcedId=name))
        assert again.json()["sourcedIdPairs"][0]["allocatedSourcedId"] == allocated
        assert put(client, f"results/{name}-r", result(name)).status_code == 201
    assert district.counts()["line_items"] == 1


def test_merge_keeps_and_replace_forgets_what_is_left_out(
    district: StandInDistrict, client: httpx.Client
) -> None:
    put(client, "lineItems/item", line_item(description="Bring a pen"))
    district.configure(put="merge")
    kept = put(client, "lineItems/item", {"lineItem": {"title": "Other"}}).json()["lineItem"]
    assert (kept["title"], kept["description"]) == ("Other", "Bring a pen")
    district.configure(put="replace")
    assert "description" not in put(client, "lineItems/item", line_item()).json()["lineItem"]


def test_too_many_requests_a_second_get_429_with_retry_after(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(requests_per_second=3, retry_after=2)
    answers = [client.get(FLAT_1_2 + "orgs") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["Retry-After"] == "2"


async def test_too_many_requests_at_once_get_429(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(max_concurrent=2, latency=0.2)
    async with httpx.AsyncClient(base_url=district.base_url, headers=client.headers) as opened:
        answers = await asyncio.gather(*(opened.get(FLAT_1_2 + "orgs") for _ in range(6)))
    assert 429 in {answer.status_code for answer in answers}
    assert district.counts()["peak_concurrency"] > 2


def test_a_fault_of_a_status_hits_what_matches(
    district: StandInDistrict, client: httpx.Client
) -> None:
    put(client, "lineItems/item", line_item())
    district.fault("status", match="^PUT .*/results/", status=500, shape="html")
    assert client.get(FLAT_1_2 + "results").status_code == 200
    failed = put(client, "results/r", result())
    assert failed.status_code == 500
    assert failed.headers["Content-Type"].startswith("text/html")
    assert put(client, "results/r", result()).status_code == 201
    assert district.faults() == []


@pytest.mark.parametrize(("kind", "stored"), [("reset_before", False), ("reset_after", True)])
def test_a_reset_comes_before_or_after_the_write(
    standin: StandIn, district: StandInDistrict, client: httpx.Client, kind: str, stored: bool
) -> None:
    put(client, "lineItems/item", line_item())
    district.fault(kind)
    with pytest.raises(httpx.TransportError):
        put(client, "results/r", result())
    assert ("r" in held(district)) is stored
    line = last_line(standin, district)
    assert (line["status"], line["stored"], line["fault"]) == (None, stored, kind)


def test_a_swallowed_write_answers_success_and_stores_nothing(
    standin: StandIn, district: StandInDistrict, client: httpx.Client
) -> None:
    district.fault("swallow")
    assert put(client, "lineItems/item", line_item()).status_code == 201
    assert held(district) == {}
    line = last_line(standin, district)
    assert (line["status"], line["stored"], line["fault"]) == (201, False, "swallow")


def test_a_hang_never_answers_and_stores_nothing(
    standin: StandIn, district: StandInDistrict, client: httpx.Client
) -> None:
    district.fault("hang")
    with pytest.raises(httpx.ReadTimeout):
        client.put(FLAT_1_2 + "lineItems/item", json=line_item(), timeout=0.2)
    assert held(district) == {}
    assert last_line(standin, district)["fault"] == "hang"
    assert client.get(FLAT_1_2 + "lineItems").status_code == 200


def test_an_answer_that_comes_too_late_leaves_the_write_done(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.fault("delay_answer", seconds=0.5)
    with pytest.raises(httpx.ReadTimeout):
        client.put(FLAT_1_2 + "lineItems/item", json=line_item(), timeout=0.1)
    assert "item" in held(district)


def test_a_delayed_write_is_done_although_the_client_hung_up(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.fault("delay", seconds=0.2)
    with pytest.raises(httpx.ReadTimeout):
        client.put(FLAT_1_2 + "lineItems/item", json=line_item(), timeout=0.05)
    assert held(district) == {}
    time.sleep(0.3)
    assert "item" in held(district)


def test_a_redirect_a_login_page_and_wrong_json_look_like_themselves(
    district: StandInDistrict, client: httpx.Client
) -> None:
    for kind in ("redirect", "login_page", "wrong_types", "malformed"):
        district.fault(kind, location="http://elsewhere.invalid/lineItems")
    moved = client.get(FLAT_1_2 + "orgs")
    assert (moved.status_code, moved.headers["Location"]) == (
        307,
        "http://elsewhere.invalid/lineItems",
    )
    login = client.get(FLAT_1_2 + "orgs")
    assert login.status_code == 200
    assert "password" in login.text
    assert isinstance(client.get(FLAT_1_2 + "orgs").json()["orgs"], dict)
    with pytest.raises(json.JSONDecodeError):
        client.get(FLAT_1_2 + "orgs").json()


def test_the_token_endpoint_can_be_down_alone_and_everything_together(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(token_unavailable=True)
    assert ask_token(district).status_code == 503
    assert client.get(FLAT_1_2 + "orgs").status_code == 200
    district.configure(unavailable=True)
    assert client.get(FLAT_1_2 + "orgs").status_code == 503


def test_one_class_can_be_forbidden_and_another_locked(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.configure(forbidden_classes={CLASS}, locked_classes={"class-001": 412})
    assert put(client, "lineItems/a", line_item()).status_code == 403
    locked = line_item(**{"class": {"sourcedId": "class-001"}})
    assert put(client, "lineItems/b", locked).status_code == 412
    free = line_item(**{"class": {"sourcedId": "class-002"}})
    assert put(client, "lineItems/c", free).status_code == 201


def test_the_teacher_moves_changes_and_deletes_by_hand(
    standin: StandIn, district: StandInDistrict, client: httpx.Client
) -> None:
    put_both(client)
    district.act("moveLineItem", line_item="item", category="cat-homework")
    district.act("changeScore", result="r", score="9.50")
    item = client.get(FLAT_1_2 + "lineItems/item").json()["lineItem"]
    assert item["category"]["sourcedId"] == "cat-homework"
    assert '"score":9.50' in client.get(FLAT_1_2 + "results/r").text
    assert last_line(standin, district)["operation"] == "getResult"
    district.act("deleteLineItem", line_item="item")
    assert held(district) == {}
    line = last_line(standin, district)
    assert (line["method"], line["operation"], line["effect"]) == (
        "ACT",
        "deleteLineItem",
        {"line_item": "item"},
    )


def test_the_office_closes_reopens_and_moves_a_period(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.act("closePeriod", period=OPEN)
    assert put(client, "lineItems/item", line_item()).status_code == 422
    district.act("reopenPeriod", period=OPEN)
    assert put(client, "lineItems/item", line_item()).status_code == 201
    district.act("movePeriod", period=OPEN, start=date(2026, 10, 13), end=date(2026, 11, 22))
    assert "closed" in description(put(client, "lineItems/item", line_item()))


def test_a_category_switched_off_leaves_the_list_of_its_class_alone(
    district: StandInDistrict, client: httpx.Client
) -> None:
    district.act("setCategory", class_id=CLASS, category="cat-test", active=False)
    assert put(client, "lineItems/item", line_item()).status_code == 422
    for class_id, count in ((CLASS, 3), ("class-001", 4)):
        path = f"{FLAT_1_2}classes/{class_id}/categories"
        assert len(client.get(path).json()["categories"]) == count


def test_classes_and_students_go_away_and_students_come_back(
    district: StandInDistrict, client: httpx.Client
) -> None:
    put(client, "lineItems/item", line_item())
    district.act("removeStudent", student=STUDENTS[0], class_id=CLASS)
    assert put(client, "results/r", result()).status_code == 422
    district.act("enrollStudent", student=STUDENTS[0], class_id=CLASS)
    assert put(client, "results/r", result()).status_code == 201
    district.act("removeClass", class_id=CLASS)
    assert client.get(f"{FLAT_1_2}classes/{CLASS}").status_code == 404
    assert put(client, "results/r", result()).status_code == 404


def test_the_journal_says_what_was_stored_with_the_exact_score(
    standin: StandIn, district: StandInDistrict, client: httpx.Client
) -> None:
    before = standin.journal_position()
    put(client, "lineItems/item", line_item())
    body = json.dumps(result()).replace('"score": 8', '"score": 8.50')
    client.put(FLAT_1_2 + "results/r", content=body.encode())
    put(client, "results/bad", result("nowhere"))
    item, good, bad = standin.journal_lines(after=before)
    assert (item["operation"], item["sourcedId"], item["status"]) == ("putLineItem", "item", 201)
    assert item["effect"]["category"] == "cat-test"
    assert item["effect"]["dueDate"] == "2026-11-20T23:59:00-06:00"
    assert good["effect"] == {
        "sourcedId": "r",
        "lineItem": "item",
        "class": CLASS,
        "student": STUDENTS[0],
        "score": "8.50",
        "scoreStatus": "fully graded",
        "scoreDate": "2026-11-20",
        "status": "active",
    }
    assert good["stored_seq"] == item["stored_seq"] + 1
    assert (bad["stored"], bad["effect"], bad["status"]) == (False, None, 404)
    assert "nowhere" in bad["refusal"]
    assert item["seq"] < good["seq"] < bad["seq"]
    assert item["received_at"] <= item["answered_at"]
    assert good["authorization"] == "Bearer"


def test_the_dump_holds_everything_and_can_be_emptied(
    district: StandInDistrict, client: httpx.Client
) -> None:
    put_both(client)
    assert [row["kind"] for row in district.gradebook()] == ["lineItem", "result"]
    assert held(district)["r"]["score"] == "8"
    district.empty_gradebook()
    assert list(district.gradebook()) == []


def test_districts_hold_gradebooks_and_settings_of_their_own(standin: StandIn) -> None:
    first, second = (standin.add_district(f"own-{number}") for number in (1, 2))
    first.configure(licensed=False)
    with authorized(first) as here, authorized(second) as there:
        assert put(here, "lineItems/item", line_item()).status_code == 403
        assert put(there, "lineItems/item", line_item()).status_code == 201
    assert (first.counts()["line_items"], second.counts()["line_items"]) == (0, 1)


def test_fifty_districts_are_cheap(standin: StandIn) -> None:
    before = memory_mib(standin.pid)
    for number in range(50):
        standin.add_district(f"one-of-fifty-{number}")
    assert memory_mib(standin.pid) - before < 50


def memory_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def test_a_control_call_that_is_wrong_is_explained(
    standin: StandIn, district: StandInDistrict
) -> None:
    with pytest.raises(StandInError, match="speed"):
        district.configure(speed=5)
    with pytest.raises(StandInError, match="earthquake"):
        district.fault("earthquake")
    with pytest.raises(StandInError, match="line_item nothing is unknown"):
        district.act("deleteLineItem", line_item="nothing")
    with pytest.raises(StandInError, match="hosts no district nowhere"):
        standin.district("nowhere")


def test_one_started_anew_continues_the_journal_and_one_killed_does_not_answer(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    with StandIn(SCHOOL, journal, today=TODAY) as first:
        httpx.get(first.base_url + FLAT_1_2 + "orgs")
    again = StandIn(SCHOOL, journal, port=first.port, today=TODAY).start()
    try:
        httpx.get(again.base_url + FLAT_1_2 + "orgs")
        assert [line["seq"] for line in again.journal_lines()] == [1, 2]
    finally:
        again.kill()
    with pytest.raises(StandInError, match="does not answer"):
        again.journal_position()


def test_it_ends_with_the_process_that_started_it_however_that_ends(tmp_path: Path) -> None:
    starter = (
        "import os, sys, pathlib\n"
        "from consumer.sandbox.skyward import StandIn\n"
        "standin = StandIn(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])).start()\n"
        "print(standin.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", starter, str(SCHOOL), str(tmp_path / "journal")]
    pid = subprocess.run(command, capture_output=True, check=False).stdout.decode().strip()
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: str) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_folder_that_is_no_roster_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(StandInError, match="did not start"):
        StandIn(tmp_path, tmp_path / "journal").start()

"""The commands on a real Postgres: their exit statuses, their JSON, what they leave behind."""

import csv
import io
import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.cutoff import Cutoff
from consumer.events import (
    AssessmentChanged,
    Assignee,
    Assigner,
    Change,
    Data,
    GradeChanged,
    moment,
)
from consumer.gradebook import (
    AcademicSession,
    AssessmentStatus,
    Completion,
    GradeKey,
    ItemKey,
    Kind,
    Origin,
    Reason,
    ScoreStatus,
    Sent,
    line_item_id,
)
from consumer.sandbox.otus import milliseconds
from consumer.sealing import SealingKeys, new_key
from consumer.store import districts, runs, settling, skyward_state
from consumer.store.connection import Pool
from consumer.store.recording import Batch, Record, Recordable, Unreadable, record
from consumer.store.settling import SettledGrade, SettledLineItem
from consumer.store.skyward_state import SkywardClass, SkywardDistrict
from tests.integration.operators import DISTRICT, NOW, Operator, shift_clock
from tests.recordables import microseconds

ASSIGNED, DUE = NOW - timedelta(days=3), NOW - timedelta(hours=30)


# -- what Otus said, and what a run made of it ----------------------------------------------


def quiz(**changes: Any) -> Recordable:
    """A quiz in class c-7 of two students, assigned and due before now."""
    fields: dict[str, Any] = {
        "district_id": "lakeside",
        "assessment_id": "a-1",
        "class_id": "c-7",
        "version": 1,
        "title": "Unit 3 Quiz",
        "type": "Quiz",
        "format": "simple",
        "grading_scale": "points",
        "include_in_final_grade": True,
        "assigned_by": Assigner("t-100", True),
        "assigned_at": ASSIGNED,
        "status": AssessmentStatus.ACTIVE,
        "class_sourced_id": "sky-class-7",
        "school_sourced_id": "sky-school-1",
        "assignees": [Assignee("s-1", "sky-stu-1"), Assignee("s-2", "sky-stu-2")],
        "points_possible": Decimal(10),
        "due_at": DUE,
    }
    data = AssessmentChanged(**(fields | changes))
    key = (data.district_id, data.assessment_id, data.class_id)
    return _recordable("assessment-changed", key, data, ASSIGNED)


def grade(student: str = "s-1", score: str | None = "8", version: int = 1) -> Recordable:
    completion = Completion.NOT_STARTED if score is None else Completion.GRADED
    value = None if score is None else Decimal(score)
    data = GradeChanged("lakeside", "a-1", "c-7", student, version, completion, value)
    key = ("lakeside", "a-1", "c-7", student)
    return _recordable("grade-changed", key, data, DUE)


def _recordable(topic: str, key: tuple[str, ...], data: Data, changed_at: datetime) -> Recordable:
    subject, at = "/".join(key), milliseconds(NOW)
    record = Record(f"otus.{topic}", 0, 1, at, subject.encode(), b"{}", ())
    return Recordable(Change(topic, subject, key, data, microseconds(changed_at)), record)


def unreadable(offset: int, key: bytes, value: bytes, reason: str = "not_json") -> Unreadable:
    record = Record("otus.grade-changed", 0, offset, milliseconds(NOW), key, value, ())
    return Unreadable(record, reason, "the value is not valid JSON")


def recorded(operator: Operator, *changes: Recordable, wait: tuple[Unreadable, ...] = ()) -> None:
    batch = Batch(list(changes), list(wait))
    operator.store(lambda pool: record(pool, batch, NOW))


def settled(
    student: str, kind: Kind, reason: Reason | None = None, score: int | None = None
) -> SettledGrade:
    value = None if score is None else Decimal(score)
    sent = Sent(value, ScoreStatus.FULLY_GRADED, Origin.TEACHER) if kind is Kind.POST else None
    return SettledGrade(
        key=GradeKey("a-1", "c-7", student),
        revision=1,
        version=1,
        kind=kind,
        reason=reason,
        detail="",
        counts=True,
        pending_since=DUE,
        sent=sent,
        attempted=kind in (Kind.POST, Kind.REJECT),
        score=value,
        score_status="fully graded",
        origin=Origin.TEACHER,
    )


def ran(operator: Operator, *grades: SettledGrade, stopped_by: str | None = None) -> None:
    """A nightly run that settled these, and read Skyward."""

    async def work(pool: Pool) -> None:
        lease = await runs.take_lease(pool, "lakeside", "test", timedelta(minutes=1))
        assert lease is not None
        cutoff = Cutoff(date(2026, 11, 20), NOW - timedelta(minutes=1))
        begun = await runs.begin(pool, lease, "nightly", cutoff, 1, NOW - timedelta(seconds=30))
        item = ItemKey("a-1", "c-7")
        line_item = SettledLineItem(
            item, line_item_id("lakeside", item), Kind.POST, None, "", {"title": "Q"}, "Quiz", None
        )
        await settling.settle(pool, lease, begun.run_id, grades, [line_item], [], NOW)
        await runs.finish(pool, lease, begun, NOW, stopped_by, {}, {})
        await runs.release_lease(pool, lease)
        period = AcademicSession(
            "gp-1",
            "gradingPeriod",
            True,
            (NOW - timedelta(days=40)).date(),
            (NOW + timedelta(days=40)).date(),
            None,
        )
        read = SkywardDistrict({"gp-1": period}, frozenset({"cat-test"}))
        await skyward_state.keep_district(pool, "lakeside", read, NOW)
        one = SkywardClass((), frozenset({"cat-test"}))
        await skyward_state.keep_classes(pool, "lakeside", {"sky-class-7": one}, NOW)

    operator.store(work)


# -- districts ------------------------------------------------------------------------------


def test_applying_the_same_file_twice_changes_nothing(operator: Operator) -> None:
    operator.apply(live_since=None)
    before = operator.answer("district", "show", "lakeside")
    assert before["revision"] == 1
    operator.apply(live_since=None)
    assert "unchanged" in operator.said
    assert operator.answer("district", "show", "lakeside") == before


def test_a_changed_secret_is_a_new_revision_and_is_never_printed(operator: Operator) -> None:
    operator.apply()
    (operator.directory / "lakeside.secret").write_text("another secret")
    operator.apply()
    assert "skyward.secret" in operator.said
    shown = operator.answer("district", "show", "lakeside")
    assert shown["revision"] == 2
    assert "secret" not in json.dumps(shown)


def test_every_mistake_of_every_file_is_told_and_nothing_is_applied(operator: Operator) -> None:
    good = operator.write("good.yaml", district="hillside")
    bad = operator.write(
        "bad.yaml",
        timezone="Chicago",
        colour="blue",
        skyward=DISTRICT["skyward"] | {"key_file": "none", "base_url": "lakeside"},
    )
    with Path(bad).open("a") as file:
        file.write("name: twice\n")
    assert operator.passback("district", "apply", good, bad) == 2
    for path in ("timezone", "colour", "skyward.base_url", "skyward.key_file", "name: is given"):
        assert f"bad.yaml: {path}" in operator.told
    assert operator.answer("district", "list") == []


def test_plain_http_is_a_mistake_of_the_file_unless_it_is_allowed(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {"base_url": "http://lakeside.example/", "token_url": "HTTP://lakeside.example/token"}
    file = operator.write(skyward=DISTRICT["skyward"] | plain, colour="blue")
    assert operator.passback("district", "apply", file) == 2
    for path in ("skyward.base_url: is plain http", "skyward.token_url: is plain http", "colour"):
        assert path in operator.told
    monkeypatch.setenv("PASSBACK_ALLOW_HTTP", "true")
    operator.apply(skyward=DISTRICT["skyward"] | plain)


@pytest.mark.parametrize("content", ["", "[", "- a", "\x00", "a: &a [*a]", "district: {{}: 1}"])
def test_a_file_that_is_no_district_is_status_2(operator: Operator, content: str) -> None:
    file = operator.directory / "wrong.yaml"
    file.write_text(content)
    assert operator.passback("district", "apply", str(file)) == 2
    assert "wrong.yaml: " in operator.told


def test_the_same_district_in_two_files_is_a_mistake(operator: Operator) -> None:
    one, other = operator.write("one.yaml"), operator.write("other.yaml")
    assert operator.passback("district", "apply", one, other) == 2
    assert "one.yaml" in operator.told


def test_a_dry_run_says_what_would_change_and_writes_nothing(operator: Operator) -> None:
    file = operator.write()
    assert operator.passback("district", "apply", file, "--dry-run") == 0
    assert "would be applied" in operator.said
    assert operator.answer("district", "list") == []


def test_the_next_cutoff_skips_a_night_that_had_its_run(operator: Operator) -> None:
    operator.apply()
    (listed,) = operator.answer("district", "list")
    first = operator.answer("cutoffs", "lakeside", "--days", "3")
    tonight = next(c for c in first if c["cutoff_at"] == listed["next_cutoff_at"])

    async def ran_early(pool: Pool) -> None:
        lease = await runs.take_lease(pool, "lakeside", "test", timedelta(seconds=1))
        assert lease is not None
        night = Cutoff(date.fromisoformat(tonight["service_date"]), NOW)
        begun = await runs.begin(pool, lease, "nightly", night, 1, NOW)
        await runs.finish(pool, lease, begun, NOW, None, {}, {})

    operator.store(ran_early)
    operator.apply(cutoff="22:30")
    (moved,) = operator.answer("district", "list")
    assert moved["next_cutoff_at"] > listed["next_cutoff_at"]
    assert moved["last_run"]["state"] == "done"


def test_a_paused_district_says_so_until_it_is_resumed(operator: Operator) -> None:
    operator.apply()
    assert operator.passback("district", "pause", "lakeside", "--reason", "audit\x1b[2J") == 0
    assert operator.answer("district", "list")[0]["paused"] is True
    assert operator.passback("district", "show", "lakeside") == 0
    assert "audit\\x1b[2J" in operator.said
    assert operator.passback("district", "resume", "lakeside") == 0
    assert operator.answer("district", "list")[0]["paused"] is False
    assert operator.passback("district", "pause", "lakeside", "--until", "2001-01-01") == 2


def test_a_machine_that_is_ahead_pauses_until_what_is_still_to_come(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.apply()
    shift_clock(monkeypatch, timedelta(hours=3))
    until = (NOW + timedelta(hours=1)).isoformat()
    assert operator.passback("district", "pause", "lakeside", "--until", until) == 0


def test_a_district_with_pending_grades_is_removed_only_when_told_so(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(), grade())
    assert operator.passback("district", "remove", "lakeside") == 2
    assert "--drain" in operator.told
    assert operator.passback("district", "remove", "lakeside", "--discard") == 0
    assert operator.answer("district", "list") == []

    async def audited(pool: Pool) -> list[str]:
        rows = await pool.fetch("SELECT action FROM audit WHERE district_id = 'lakeside'")
        return [row["action"] for row in rows]

    assert "remove" in operator.store(audited)


def test_rotating_seals_everything_with_the_first_key(operator: Operator) -> None:
    operator.apply()
    key_file = operator.directory / "sealing.key"
    key_file.write_text(new_key() + "\n" + key_file.read_text())
    assert operator.passback("secrets", "rotate") == 0
    key_file.write_text(key_file.read_text().splitlines()[0] + "\n")
    keys = SealingKeys.from_file(key_file)
    stored = operator.store(lambda pool: districts.find(pool, "lakeside"))
    assert stored is not None
    assert keys.open("lakeside", "secret", stored.sealed_secret) == b"the secret"
    operator.apply()
    assert "unchanged" in operator.said


def test_cutoffs_show_daylight_saving(operator: Operator) -> None:
    operator.apply(cutoff="02:30")
    found = operator.answer("cutoffs", "lakeside", "--from", "2027-03-13", "--days", "3")
    assert found == [
        {
            "service_date": "2027-03-13",
            "cutoff_at": "2027-03-13T08:30:00Z",
            "local": "2027-03-13T02:30:00-06:00",
        },
        {
            "service_date": "2027-03-14",
            "cutoff_at": "2027-03-14T08:00:00Z",
            "local": "2027-03-14T03:00:00-05:00",
        },
        {
            "service_date": "2027-03-15",
            "cutoff_at": "2027-03-15T07:30:00Z",
            "local": "2027-03-15T02:30:00-05:00",
        },
    ]
    assert operator.passback("cutoffs", "lakeside", "--from", "yesterday") == 2


def test_an_unknown_district_is_status_2_everywhere(operator: Operator) -> None:
    for words in (
        *(("runs",), ("report",), ("cutoffs",), ("zeros",), ("zeros", "release")),
        *(("zeros", "discard"), ("district", "show"), ("district", "pause")),
        *(("district", "resume"), ("district", "remove"), ("flush",)),
    ):
        assert operator.passback(*words, "nowhere") == 2, words
        assert "nowhere" in operator.told
    assert operator.passback("explain", "nowhere", "--assessment", "a-1") == 2


# -- explain --------------------------------------------------------------------------------


def _failing(explained: Any) -> list[str]:
    return [one["code"] for one in explained["rules"] if one["passes"] is False]


def test_before_the_first_run_a_grade_is_pending_and_skyward_not_known(
    operator: Operator,
) -> None:
    operator.apply()
    recorded(operator, quiz(), grade())
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-1")
    assert told["state"] == "pending"
    assert told["decision"] == {"kind": None, "reason": None, "detail": None}
    unknown = {one["code"] for one in told["rules"] if one["passes"] is None}
    assert unknown == {
        "category_not_district_level",
        "category_inactive",
        "grading_period_unknown",
        "grading_period_closed",
    }
    assert _failing(told) == []
    assert told["sent"] == []
    assert told["line_item_sourced_id"] == line_item_id("lakeside", ItemKey("a-1", "c-7"))


def test_a_score_that_is_not_whole_names_its_rule_and_what_would_help(
    operator: Operator,
) -> None:
    operator.apply()
    recorded(operator, quiz(), grade(score="8.5"))
    ran(operator, settled("s-1", Kind.SKIP, Reason.SCORE_NOT_WHOLE))
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-1")
    assert told["state"] == "skipped"
    assert told["decision"]["reason"] == "score_not_whole"
    assert _failing(told) == ["score_not_whole"]
    assert all(one["passes"] is not None for one in told["rules"])
    assert "whole" in told["retry_when"]
    assert operator.passback("explain", "lakeside", "--assessment", "a-1", "--student", "s-1") == 0
    assert operator.said.startswith("It is not in Skyward: the score is no whole number.\n")
    assert "FAIL  score_not_whole (rule 2): the score is no whole number" in operator.said
    assert len(operator.said.splitlines()) <= 24, "it fits a terminal's screen"
    folded = " ".join(operator.said.split())
    assert all(one["code"] in folded for one in told["rules"]), "each rule has its verdict"


def test_a_posted_grade_tells_what_was_sent_and_what_skyward_answered(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(), grade())
    ran(operator, settled("s-1", Kind.POST, score=8))
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-1")
    assert told["state"] == "posted"
    (sent,) = told["sent"]
    assert sent.pop("at").endswith("Z")
    assert sent == {"score": 8, "origin": "teacher", "outcome": "posted", "reason": None}
    operator.passback("explain", "lakeside", "--assessment", "a-1", "--student", "s-1")
    assert operator.said.startswith("It is in Skyward: 8, as the teacher graded it.\n")


def test_what_stands_in_skyward_is_told_although_what_otus_says_now_does_not_go(
    operator: Operator,
) -> None:
    operator.apply()
    recorded(operator, quiz(), grade())
    ran(operator, settled("s-1", Kind.POST, score=8))
    recorded(operator, grade(score="8.5", version=2))
    operator.passback("explain", "lakeside", "--assessment", "a-1", "--student", "s-1")
    assert operator.said.startswith(
        "In Skyward stands 8, as the teacher graded it, and no more:"
        " the score is no whole number.\n"
    )


def test_an_assignee_without_any_event_is_explained_too(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(due_at=NOW + timedelta(days=9)))
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-2")
    assert (told["state"], told["decision"]["kind"]) == ("pending", None)
    assert _failing(told) == ["not_due_yet"]


def test_several_matches_are_a_list(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(), grade(), grade("s-9"))
    told = operator.answer("explain", "lakeside", "--assessment", "a-1")
    assert [one["student"] for one in told] == ["s-1", "s-2", "s-9"]
    assert _failing(told[2]) == ["student_not_assigned"]
    assert operator.passback("explain", "lakeside", "--assessment", "a-1") == 0
    assert "s-1, s-2 " in operator.said, "those who share their lot share a row"


def test_a_grade_whose_assessment_never_came_waits_for_it(operator: Operator) -> None:
    operator.apply()
    recorded(operator, grade())
    told = operator.answer("explain", "lakeside", "--assessment", "a-1")
    assert _failing(told) == ["assessment_unknown"]


def test_an_id_of_which_nothing_came_is_status_2(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz())
    explain = ("explain", "lakeside", "--assessment")
    assert operator.passback(*explain, "a-2") == 2
    assert operator.passback(*explain, "a-1", "--class", "c-8") == 2
    assert operator.passback(*explain, "a-1", "--student", "s-7") == 2
    assert operator.passback(*explain, "a\x00") == 2


def test_an_event_in_quarantine_holds_the_zero_and_explain_says_so(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(), wait=(unreadable(7, b"lakeside/a-1/c-7/s-2", b"{"),))
    ran(operator)
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-2")
    assert _failing(told) == ["event_quarantined"]


# -- runs -----------------------------------------------------------------------------------


def test_a_report_has_the_shape_of_the_contract(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(), grade(), grade("s-2", "8.5"))
    ran(
        operator,
        settled("s-1", Kind.POST, score=8),
        settled("s-2", Kind.SKIP, Reason.SCORE_NOT_WHOLE),
        stopped_by="skyward_unavailable",
    )
    told = operator.answer("report", "lakeside")
    assert list(told) == [
        *("district", "service_date", "kind", "cutoff_at", "started_at", "finished_at"),
        *("state", "line_items", "results", "zeros_posted", "reasons"),
    ]
    assert told["service_date"] == "2026-11-20"
    assert told["state"] == "deferred"
    assert told["line_items"] == {"posted": 1, "rejected": 0}
    assert told["results"] == {
        "posted": 1,
        "rejected": 0,
        "skipped": 1,
        "held": 0,
        "deferred": 0,
    }
    assert told["reasons"] == {"score_not_whole": 1, "skyward_unavailable": 0}
    assert operator.answer("runs", "lakeside") == [told]
    assert operator.answer("report", "lakeside", "--date", "2026-11-20") == told
    assert operator.passback("report", "lakeside", "--date", "2026-11-19") == 2
    assert operator.passback("report", "lakeside") == 0
    assert operator.passback("runs", "lakeside") == 0


def test_the_csv_has_a_row_a_grade_and_no_formula(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(title="=HYPERLINK(A1)"), grade(), grade("s-2", "8.5"))
    ran(
        operator,
        settled("s-1", Kind.POST, score=8),
        settled("s-2", Kind.SKIP, Reason.SCORE_NOT_WHOLE),
    )
    assert operator.passback("report", "lakeside", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(operator.said)))
    assert [(r["student"], r["outcome"], r["reason"], r["score"]) for r in rows] == [
        ("s-1", "posted", "", "8"),
        ("s-2", "skipped", "score_not_whole", "8.5"),
    ]
    assert {r["title"] for r in rows} == {"'=HYPERLINK(A1)"}
    assert operator.passback("report", "lakeside", "--csv", "--json") == 2


# -- zeros ----------------------------------------------------------------------------------


async def _rulings(pool: Pool) -> list[tuple[str, bool]]:
    rows = await pool.fetch(
        "SELECT zero_ruling, decide_from IS NOT NULL AS again FROM grade ORDER BY student_id"
    )
    return [(row["zero_ruling"], row["again"]) for row in rows]


@pytest.mark.parametrize(("word", "ruling"), [("release", "released"), ("discard", "discarded")])
def test_held_zeros_wait_for_an_operator(operator: Operator, word: str, ruling: str) -> None:
    operator.apply()
    recorded(operator, quiz(), grade("s-1", None), grade("s-2", None))
    ran(
        operator,
        settled("s-1", Kind.HOLD, Reason.ZEROS_HELD),
        settled("s-2", Kind.HOLD, Reason.ZEROS_HELD),
    )
    assert operator.answer("zeros", "lakeside") == [
        {
            "service_date": "2026-11-20",
            "assessment": "a-1",
            "class": "c-7",
            "assignees": 2,
            "zeros": 2,
        }
    ]
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-1")
    assert _failing(told) == ["zeros_held"]
    assert operator.passback("zeros", word, "lakeside") == 0
    assert operator.store(_rulings) == [(ruling, True), (ruling, True)]
    assert operator.answer("zeros", "lakeside") == []


def test_zeros_that_a_machine_which_is_ahead_releases_go_with_the_next_run(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.apply()
    recorded(operator, quiz(), grade("s-1", None))
    ran(operator, settled("s-1", Kind.HOLD, Reason.ZEROS_HELD))
    shift_clock(monkeypatch, timedelta(hours=3))
    assert operator.passback("zeros", "release", "lakeside") == 0
    assert operator.store(lambda pool: pool.fetchval(_DECIDED_FROM_NOW))


_DECIDED_FROM_NOW = "SELECT bool_and(decide_from <= clock_timestamp()) FROM grade"


# -- quarantine -----------------------------------------------------------------------------


GROUP_EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/otus/gradebook",
    "type": "com.otus.grade-changed.v1",
    "time": (NOW - timedelta(hours=1)).isoformat(),
    "data": {
        "district_id": "lakeside",
        "assessment_id": "a-1",
        "class_id": "c-7",
        "student_id": "s-2",
        "version": 4,
        "completion": "graded",
        "score": "9",
    },
}


def test_the_quarantine_shows_no_student_unless_asked_for_the_payload(operator: Operator) -> None:
    recorded(operator, wait=(unreadable(7, b"lakeside/a-1/c-7/s-secret", b'"Anna"'),))
    (listed,) = operator.answer("quarantine", "list")
    assert list(listed) == [
        *("id", "topic", "partition", "offset", "received_at", "reason", "detail")
    ]
    event = str(listed["id"])
    shown = operator.answer("quarantine", "show", event)
    assert datetime.fromisoformat(shown["recorded_at"]) == moment(milliseconds(NOW))
    assert operator.passback("quarantine", "show", event) == 0
    assert "s-secret" not in operator.said
    assert "Anna" not in operator.said
    assert operator.answer("quarantine", "show", event, "--payload")["value"] == '"Anna"'
    assert operator.passback("quarantine", "show", "999") == 2


@pytest.mark.parametrize(
    ("topic", "key", "district", "subject"),
    [
        ("grade-changed", "lakeside/a-1/c-7/s-2", "lakeside", "lakeside/a-1/c-7/..."),
        ("assessment-changed", "lakeside/a-1/c-7", "lakeside", "lakeside/a-1/c-7"),
        ("passback-group-changed", "lakeside/t-1", "lakeside", "lakeside/..."),
        ("grade-changed", "lakeside/Anna/c-7", "lakeside", None),
        ("grade-changed", "Anna/a-1/c-7/lakeside", None, None),
    ],
)
def test_the_quarantine_shows_of_a_key_what_is_an_id_and_nobodys(
    operator: Operator, topic: str, key: str, district: str | None, subject: str | None
) -> None:
    operator.apply()
    waits = unreadable(7, key.encode(), b"{")
    there = replace(waits.record, topic=f"otus.{topic}")
    recorded(operator, wait=(replace(waits, record=there),))
    (listed,) = operator.answer("quarantine", "list")
    shown = operator.answer("quarantine", "show", str(listed["id"]))
    assert (shown["district"], shown["subject"]) == (district, subject)
    payload = operator.answer("quarantine", "show", str(listed["id"]), "--payload")
    assert payload["key"] == key


def test_an_event_of_a_district_that_came_later_is_replayed(operator: Operator) -> None:
    value = json.dumps(GROUP_EVENT).encode()
    waits = unreadable(7, b"lakeside/a-1/c-7/s-2", value, "unknown_district")
    poison = unreadable(8, b"lakeside/a-1/c-7/s-1", b"{")
    recorded(operator, wait=(waits, poison))
    operator.apply()
    assert "1 events that came before wait in quarantine" in operator.said
    recorded(operator, quiz())
    assert operator.passback("quarantine", "replay") == 1
    assert "1 recorded, 1 stay" in operator.said
    (left,) = operator.answer("quarantine", "list")
    assert left["offset"] == 8
    told = operator.answer("explain", "lakeside", "--assessment", "a-1", "--student", "s-2")
    assert _failing(told) == []
    assert operator.passback("quarantine", "replay", "999") == 2


def test_discarding_is_all_or_nothing(operator: Operator) -> None:
    recorded(operator, wait=(unreadable(7, b"lakeside/a-1/c-7/s-2", b"{"),))
    (waiting,) = operator.answer("quarantine", "list")
    assert operator.passback("quarantine", "discard", str(waiting["id"]), "999") == 2
    assert operator.answer("quarantine", "list") == [waiting]
    assert operator.passback("quarantine", "discard", str(waiting["id"])) == 0
    assert operator.answer("quarantine", "list") == []


def test_the_audit_of_a_discard_names_a_district_and_nobody_else(operator: Operator) -> None:
    operator.apply()
    recorded(operator, wait=(unreadable(7, b"Anna Smith/a-1/c-7/lakeside", b"{"),))
    recorded(operator, wait=(unreadable(8, b"lakeside/a-1/c-7/s-2", b"{"),))
    ids = [str(one["id"]) for one in operator.answer("quarantine", "list")]
    assert operator.passback("quarantine", "discard", *ids) == 0

    async def audited(pool: Pool) -> list[tuple[str, int]]:
        rows = await pool.fetch(
            "SELECT * FROM audit WHERE action = 'quarantine_discard' ORDER BY id"
        )
        return [(row["district_id"], row["detail"]["offset"]) for row in rows]

    assert operator.store(audited) == [("", 7), ("lakeside", 8)]


# -- the process ----------------------------------------------------------------------------


def test_migrating_twice_does_nothing_the_second_time(operator: Operator) -> None:
    assert operator.passback("migrate") == 0
    assert "up to date" in operator.said


def test_an_unreachable_database_is_status_3_and_names_host_and_port(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSBACK_DATABASE_URL", "postgresql://x:password@127.0.0.1:1/y")
    for words in (("migrate",), ("district", "list"), ("explain", "d", "--assessment", "a")):
        assert operator.passback(*words) == 3
        assert operator.told.startswith("PASSBACK_DATABASE_URL: Postgres at 127.0.0.1:1 ")
        assert "password" not in operator.told.replace("PASSBACK", "")
    assert operator.passback("check", "--json") == 1
    failing = [one for one in json.loads(operator.said) if not one["passes"]]
    assert failing[0]["check"] == "database"
    assert failing[0]["cure"]


def test_a_schema_that_is_not_there_is_status_3_and_names_the_cure(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = operator.database_url.rsplit("/", 1)[0] + "/postgres"
    monkeypatch.setenv("PASSBACK_DATABASE_URL", empty)
    assert operator.passback("district", "list") == 3
    assert "passback migrate" in operator.told


def test_settings_come_from_an_env_file_too(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PASSBACK_DATABASE_URL")
    assert operator.passback("district", "list") == 2
    assert "PASSBACK_DATABASE_URL" in operator.told
    file = operator.directory / "env"
    file.write_text(f"PASSBACK_DATABASE_URL={operator.database_url}\n")
    assert operator.passback("--env-file", str(file), "district", "list") == 0


# -- purge ------------------------------------------------------------------------------------


def test_purge_deletes_what_is_old_and_says_how_much(operator: Operator) -> None:
    operator.apply()
    recorded(operator, quiz(), grade())
    assert operator.passback("purge", "lakeside", "--older-than", "400d") == 0
    assert "0 grades of 0 assessments" in operator.said


@pytest.mark.parametrize("age", ["29d", "0", "2100-01-01", "soon", "-5", "٤٠٠"])
def test_purge_refuses_an_age_that_is_none_or_too_young(operator: Operator, age: str) -> None:
    operator.apply()
    assert operator.passback("purge", "lakeside", f"--older-than={age}") == 2
    assert operator.told.count("\n") == 1


def test_purge_on_a_machine_that_is_ahead_deletes_nothing_that_is_young_in_truth(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.apply()
    shift_clock(monkeypatch, timedelta(days=100))
    tomorrow = NOW.date() + timedelta(days=1)
    assert operator.passback("purge", "lakeside", f"--older-than={tomorrow}") == 2
    assert "give 30d or more" in operator.told


def test_purge_refuses_a_district_that_nobody_applied(operator: Operator) -> None:
    assert operator.passback("purge", "nowhere") == 2

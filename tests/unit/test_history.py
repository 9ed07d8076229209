"""The judge itself: histories that it must pass, and broken ones that it must not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from consumer.sandbox.oracle import Expected, line_item_id, result_id
from tests.history.clauses import CLAUSES, judge, judged
from tests.history.evidence import Evening, History, Store
from tests.history.published import Published

EVENING = datetime(2026, 11, 24, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)
_ITEM = ("north", "quiz", "c-1")
_S3 = (*_ITEM, "s-3")
_TOPIC = "otus.grade-changed"


def published(offset: int, student: str, version: int, score: str, hours: float = -1) -> Published:
    data = {"score": score, "submission": "on_time"}
    at = EVENING + timedelta(hours=hours)
    return Published("grade-changed", (*_ITEM, student), (_TOPIC, 0, offset), version, at, data)


def assessed(district: str, offset: int) -> Published:
    data = {
        "due_at": (EVENING - timedelta(days=1)).isoformat(),
        "assignees": [{"student_id": f"s-{n}", "sourced_id": f"st-{n}"} for n in range(4)],
    }
    place = ("otus.assessment-changed", 0, offset)
    return Published("assessment-changed", (district, "quiz", "c-1"), place, 7, EVENING, data)


def line(
    seq: int, sourced_id: str, effect: Mapping[str, Any] | None, **more: Any
) -> dict[str, Any]:
    """A request that arrived ``seq`` seconds after the evening and was answered at once."""
    at = (EVENING + seq * SECOND).isoformat()
    stored = more.get("stored", True)
    return {
        "seq": seq,
        "tenant": "north",
        "received_at": at,
        "answered_at": at,
        "method": "PUT",
        "operation": "putResult" if effect and "student" in effect else "putLineItem",
        "sourcedId": sourced_id,
        "token": 1,
        "status": 201,
        "stored": stored,
        "stored_seq": seq if stored else None,
        "effect": effect and {"sourcedId": sourced_id, **effect},
        "fault": None,
    } | more


def item_line(seq: int, **more: Any) -> dict[str, Any]:
    effect = {"title": "Quiz", "class": "class-1"}
    return line(seq, str(line_item_id(*_ITEM)), effect, **more)


def result_line(seq: int, student: str, score: str, **more: Any) -> dict[str, Any]:
    effect = {
        "lineItem": str(line_item_id(*_ITEM)),
        "student": student.replace("s", "st"),
        "score": score,
        "scoreStatus": "fully graded",
    }
    return line(seq, str(result_id(*_ITEM, student)), effect, **more)


def sent(version: int | None, score: str) -> dict[str, Any]:
    return {
        "version": version,
        "sent_at": EVENING,
        "sent_score": Decimal(score),
        "sent_status": "fully graded",
    }


def legal() -> History:
    """Two nights: a correction, a zero, one answer that was lost, and one process that died."""
    journal = [
        item_line(1),
        result_line(2, "s-0", "8"),
        result_line(3, "s-1", "9", status=None, answered_at=None),
        result_line(4, "s-1", "9"),
        # Here the process died; the next one had neither of these settled.
        item_line(14, token=2),
        result_line(15, "s-1", "9", token=2),
        result_line(16, "s-2", "0", token=2),
        # A night later.
        result_line(30, "s-0", "6", token=3),
    ]
    newest = {one["sourcedId"]: one for one in journal}
    where = ("class-1", "st-{}", "Quiz")
    values = {"s-0": ("6", 3), "s-1": ("9", 4), "s-2": ("0", None)}
    return History(
        published=[
            assessed("north", 0),
            assessed("south", 1),
            published(0, "s-0", 1, "8", hours=-2),
            published(1, "s-0", 3, "6", hours=3),
            published(2, "s-0", 2, "7", hours=2),
            published(3, "s-1", 4, "9"),
            published(4, "s-3", 5, "8.5"),
        ],
        journal=journal,
        held={"north": [one["effect"] for one in newest.values()]},
        store=Store(
            grades={
                **{(*_ITEM, s): sent(version, score) for s, (score, version) in values.items()},
                _S3: {"version": 5, "sent_at": None},
            },
            assessments={_ITEM: 7, ("south", "quiz", "c-1"): 7},
            line_items={_ITEM: {"title": "Quiz", "class": "class-1"}},
            offsets={(_TOPIC, 0): 5, ("otus.assessment-changed", 0): 2},
        ),
        expected={
            "north": [
                *(
                    (
                        "quiz",
                        "c-1",
                        s,
                        Expected(score, "fully graded", "", "teacher", where[0], f"st-{n}", "Quiz"),
                    )
                    for n, (s, (score, _)) in enumerate(values.items())
                ),
                ("quiz", "c-1", "s-3", Expected(None, None, "score_not_whole")),
            ]
        },
        evenings={"north": [Evening(0, EVENING), Evening(20, EVENING + timedelta(days=1))]},
        deaths=[EVENING + 10 * SECOND],
    )


def with_line(seq: int, **changes: Any) -> Callable[[History], History]:
    """The same history, but for one line of the journal."""

    def break_it(history: History) -> History:
        journal = [one | changes if one["seq"] == seq else one for one in history.journal]
        return replace(history, journal=journal)

    return break_it


def with_lines(*more: dict[str, Any]) -> Callable[[History], History]:
    return lambda history: replace(history, journal=[*history.journal, *more])


def without_line(seq: int) -> Callable[[History], History]:
    return lambda h: replace(h, journal=[one for one in h.journal if one["seq"] != seq])


def holding(student: str, **changes: Any) -> Callable[[History], History]:
    """Skyward holds something else of one student."""

    def break_it(history: History) -> History:
        wanted = str(result_id(*_ITEM, student))
        held = [
            one | changes if one["sourcedId"] == wanted else one for one in history.held["north"]
        ]
        return replace(history, held={"north": held})

    return break_it


def storing(**changes: Any) -> Callable[[History], History]:
    return lambda history: replace(history, store=replace(history.store, **changes))


def a_second_result(history: History) -> History:
    twin = next(one for one in history.held["north"] if "student" in one)
    held = [*history.held["north"], twin | {"sourcedId": "another"}]
    return replace(history, held={"north": held})


UNREADABLE = Published("grade-changed", ("?",), (_TOPIC, 0, 4), None, None, None, False)

BROKEN: dict[str, tuple[str, Callable[[History], History]]] = {
    "a value is lost": ("final_value", lambda h: replace(h, held={"north": h.held["north"][:-1]})),
    "another value stands": ("final_value", holding("s-0", score="8")),
    "what should not go stands": (
        "final_value",
        lambda h: replace(h, expected={"north": h.expected["north"][1:]}),
    ),
    "one student has two results": ("one_result_each", a_second_result),
    "the store believes another score": ("store_believes", holding("s-1", score="5")),
    "the store does not know what stands": (
        "store_believes",
        lambda h: storing(grades={k: v for k, v in h.store.grades.items() if k[3] != "s-2"})(h),
    ),
    "the store believes what does not stand": (
        "store_believes",
        lambda h: storing(grades={**h.store.grades, _S3: sent(5, "8")})(h),
    ),
    "the store knows no line item": ("store_believes", storing(line_items={})),
    "an older value comes later": (
        "versions_rise",
        with_lines(result_line(31, "s-0", "8", token=3)),
    ),
    "a zero of the clock comes over a score": (
        "versions_rise",
        with_lines(result_line(31, "s-1", "0", token=3)),
    ),
    "a value that nobody published": (
        "versions_rise",
        with_lines(result_line(31, "s-3", "4", token=3)),
    ),
    "a value goes a night early": (
        "nothing_later_than_its_night",
        lambda h: replace(h, evenings={"north": [Evening(0, EVENING)]}),
    ),
    "a zero goes before it is due": (
        "nothing_later_than_its_night",
        lambda h: replace(h, evenings={"north": [Evening(0, EVENING - timedelta(days=2))]}),
    ),
    "a zombie writes": ("no_write_after_the_lease", with_lines(result_line(17, "s-3", "8.5"))),
    "a result goes before its line item": ("line_item_first", without_line(1)),
    "the line item was not acknowledged": (
        "line_item_first",
        with_line(1, status=503, stored=False, stored_seq=None, effect=None),
    ),
    "a result overtakes its line item's answer": (
        "line_item_first",
        with_line(1, answered_at=(EVENING + 5 * SECOND).isoformat()),
    ),
    "an acknowledged value goes again": (
        "nothing_twice",
        with_lines(result_line(31, "s-0", "6", token=3)),
    ),
    "no process died": ("nothing_twice", lambda h: replace(h, deaths=[])),
    "more was forgotten than may be": ("nothing_twice", lambda h: replace(h, window=0)),
    "an id of nobody": ("own_district_only", with_lines(line(31, "made-up", None, token=3))),
    "another district's": ("own_district_only", with_line(2, tenant="south")),
    "an offset is ahead of its row": (
        "offsets_behind_rows",
        lambda h: storing(grades={**h.store.grades, _S3: {"version": 4, "sent_at": None}})(h),
    ),
    "an offset is ahead of a row that is not there": (
        "offsets_behind_rows",
        storing(assessments={_ITEM: 7}),
    ),
    "an unreadable one was read past": (
        "offsets_behind_rows",
        lambda h: replace(h, published=[*h.published, UNREADABLE]),
    ),
    "a version that nobody published": (
        "store_invents_nothing",
        lambda h: storing(assessments={**h.store.assessments, _ITEM: 8})(h),
    ),
}


def test_a_legal_history_is_passed_and_its_repeats_are_counted() -> None:
    # The lost answer, and the line item and the result that the death made forgotten.
    assert judged(legal()).repeats == 3


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_history_is_found_by_its_clause(name: str) -> None:
    clause, break_it = BROKEN[name]
    found = judge(break_it(legal())).findings
    assert clause in {one.clause for one in found}, found


def test_each_clause_has_a_history_that_breaks_it() -> None:
    assert {clause for clause, _ in BROKEN.values()} == {clause.__name__ for clause in CLAUSES}


def test_findings_fail_a_test_with_their_sentences() -> None:
    with pytest.raises(AssertionError, match="nothing_twice: north/quiz/c-1/s-1"):
        judged(replace(legal(), deaths=[]))


LEGAL: dict[str, Callable[[History], History]] = {
    "what changed meanwhile goes with a version that was in time": with_lines(
        result_line(17, "s-3", "8.5", token=2)
    ),
    "a teacher in Skyward brings it back": lambda h: replace(
        h,
        journal=[
            *h.journal,
            line(
                31, "", {"sourced_id": str(result_id(*_ITEM, "s-0"))}, method="ACT", operation="x"
            ),
            result_line(32, "s-0", "6", token=3),
        ],
    ),
    "a write that Skyward answered with 503": with_lines(
        line(31, str(result_id(*_ITEM, "s-0")), None, status=503, stored=False, token=3)
    ),
    "what is read later is not in the store yet": lambda h: replace(
        h, published=[*h.published, published(5, "s-3", 9, "9")]
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_legal_is_passed(name: str) -> None:
    history = LEGAL[name](legal())
    assert [one for one in judge(history).findings if one.clause != "final_value"] == []

"""Bytes from Kafka: what is read, exactly, and that nothing else ever gets further."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import EventUnreadable
from consumer.events import (
    ASSESSMENT_CHANGED,
    GRADE_CHANGED,
    GROUP_CHANGED,
    TOPICS,
    AssessmentChanged,
    Assignee,
    Assigner,
    Change,
    GradeChanged,
    GroupChanged,
    QuarantineReason,
    moment,
    normalised_title,
    read,
)
from consumer.gradebook import AssessmentStatus, Completion, Submission
from consumer.sandbox.otus import milliseconds

RECORDED: Final = datetime(2026, 11, 20, 18, tzinfo=UTC)
TIMESTAMP: Final = milliseconds(RECORDED)
"""The timestamp of every record here; events say that they are an hour old."""

DATA: Final[dict[str, dict[str, Any]]] = {
    ASSESSMENT_CHANGED: {
        "district_id": "lakeside",
        "assessment_id": "a-1",
        "class_id": "c-7",
        "version": 3,
        "title": "Unit 3 Quiz",
        "type": "Quiz",
        "format": "simple",
        "grading_scale": "points",
        "points_possible": "10",
        "include_in_final_grade": True,
        "assigned_by": {"user_id": "t-100", "in_sis": True},
        "assigned_at": "2026-11-16T09:00:00-06:00",
        "due_at": "2026-11-20T23:59:00-06:00",
        "status": "active",
        "class_sourced_id": "sky-class-7",
        "school_sourced_id": "sky-school-1",
        "assignees": [
            {"student_id": "s-1", "sourced_id": "sky-stu-1"},
            {"student_id": "s-2", "sourced_id": "sky-stu-2"},
        ],
    },
    GRADE_CHANGED: {
        "district_id": "lakeside",
        "assessment_id": "a-1",
        "class_id": "c-7",
        "student_id": "s-1",
        "version": 2,
        "score": "8",
        "completion": "graded",
        "submission": "on_time",
    },
    GROUP_CHANGED: {
        "district_id": "lakeside",
        "teacher_id": "t-100",
        "version": 1,
        "member": True,
    },
}
KEYS: Final = {
    ASSESSMENT_CHANGED: "lakeside/a-1/c-7",
    GRADE_CHANGED: "lakeside/a-1/c-7/s-1",
    GROUP_CHANGED: "lakeside/t-100",
}
NULLABLE: Final = {"points_possible", "due_at", "score", "submission"}

Headers = Sequence[tuple[str, bytes | None]]


def envelope(topic: str, data: object, **changes: object) -> dict[str, object]:
    """A CloudEvent in structured mode; an attribute given as ``...`` is left out."""
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/otus/gradebook",
        "type": f"com.otus.{topic}.v1",
        "subject": KEYS[topic],
        "time": "2026-11-20T17:00:00Z",
        "datacontenttype": "application/json",
        "data": data,
        **changes,
    }
    return {name: value for name, value in event.items() if value is not ...}


def changed(topic: str, **changes: object) -> dict[str, object]:
    """A topic's data with other fields; one given as ``...`` is left out."""
    return {n: v for n, v in {**DATA[topic], **changes}.items() if v is not ...}


def binary(topic: str, **changes: bytes | None) -> Headers:
    """The headers of binary mode; one given as None is left out."""
    headers: dict[str, bytes | None] = {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/otus/gradebook",
        "ce_type": f"com.otus.{topic}.v1".encode(),
        "ce_subject": KEYS[topic].encode(),
        "ce_time": b"2026-11-20T17:00:00Z",
        **changes,
    }
    return [(name, value) for name, value in headers.items() if value is not None]


def read_bytes(
    topic: str,
    value: bytes | None,
    headers: Headers | None = None,
    key: bytes | None = b"",
    timestamp: int = TIMESTAMP,
) -> Change:
    return read(topic, KEYS[topic].encode() if key == b"" else key, value, headers or [], timestamp)


def read_event(topic: str, data: object = None, **envelope_changes: object) -> Change:
    event = envelope(topic, DATA[topic] if data is None else data, **envelope_changes)
    return read_bytes(topic, json.dumps(event).encode())


def refusal(
    topic: str, value: bytes | None, headers: Headers | None = None, key: bytes | None = b""
) -> tuple[str, str]:
    """The reason and the detail of what cannot be read."""
    with pytest.raises(EventUnreadable) as caught:
        read_bytes(topic, value, headers, key)
    assert caught.value.reason in set(QuarantineReason)
    return caught.value.reason, caught.value.detail


def refusal_of(topic: str, data: object, **envelope_changes: object) -> tuple[str, str]:
    return refusal(topic, json.dumps(envelope(topic, data, **envelope_changes)).encode())


def grade_of(score: str) -> GradeChanged:
    """The grade whose score stands in the JSON text exactly as given."""
    value = json.dumps(envelope(GRADE_CHANGED, changed(GRADE_CHANGED, score="@"))).replace(
        '"@"', score
    )
    data = read_bytes(GRADE_CHANGED, value.encode()).data
    assert isinstance(data, GradeChanged)
    return data


# -- what is read ---------------------------------------------------------------------------


def test_an_assessment_is_read_whole() -> None:
    change = read_event(ASSESSMENT_CHANGED)
    assert (change.topic, change.key) == (ASSESSMENT_CHANGED, ("lakeside", "a-1", "c-7"))
    assert change.changed_at == datetime(2026, 11, 20, 17, tzinfo=UTC)
    assert change.data == AssessmentChanged(
        district_id="lakeside",
        assessment_id="a-1",
        class_id="c-7",
        version=3,
        title="Unit 3 Quiz",
        type="Quiz",
        format="simple",
        grading_scale="points",
        points_possible=Decimal(10),
        include_in_final_grade=True,
        assigned_by=Assigner("t-100", True),
        assigned_at=datetime(2026, 11, 16, 15, tzinfo=UTC),
        due_at=datetime(2026, 11, 21, 5, 59, tzinfo=UTC),
        status=AssessmentStatus.ACTIVE,
        class_sourced_id="sky-class-7",
        school_sourced_id="sky-school-1",
        assignees=[Assignee("s-1", "sky-stu-1"), Assignee("s-2", "sky-stu-2")],
    )


def test_a_grade_is_read_whole() -> None:
    change = read_event(GRADE_CHANGED)
    assert change.key == ("lakeside", "a-1", "c-7", "s-1")
    assert change.data == GradeChanged(
        district_id="lakeside",
        assessment_id="a-1",
        class_id="c-7",
        student_id="s-1",
        version=2,
        score=Decimal(8),
        completion=Completion.GRADED,
        submission=Submission.ON_TIME,
    )


def test_a_place_in_the_group_is_read_whole() -> None:
    change = read_event(GROUP_CHANGED)
    assert change.key == ("lakeside", "t-100")
    assert change.data == GroupChanged("lakeside", "t-100", 1, True)


@pytest.mark.parametrize("topic", TOPICS)
def test_both_modes_say_the_same(topic: str) -> None:
    structured = json.dumps(envelope(topic, DATA[topic])).encode()
    sign = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    plain = json.dumps(DATA[topic]).encode()
    assert (
        read_bytes(topic, structured)
        == read_bytes(topic, structured, sign)
        == read_bytes(topic, structured, [("traceparent", b"00-0af7-b7ad-01")])
        == read_bytes(topic, plain, binary(topic))
        == read_bytes(topic, plain, binary(topic, **{"content-type": None}))
        == read_bytes(topic, plain, [(n.upper(), v) for n, v in binary(topic)])
    )


def test_the_content_type_decides_and_its_case_does_not_matter() -> None:
    structured = json.dumps(envelope(GROUP_CHANGED, DATA[GROUP_CHANGED])).encode()
    headers = binary(GROUP_CHANGED, **{"content-type": b"Application/CloudEvents+JSON"})
    assert read_bytes(GROUP_CHANGED, structured, headers).data is not None


@pytest.mark.parametrize("topic", TOPICS)
def test_a_header_without_a_value_says_nothing(topic: str) -> None:
    structured = json.dumps(envelope(topic, DATA[topic])).encode()
    plain = json.dumps(DATA[topic]).encode()
    nothing = [(name, None) for name, _ in binary(topic)]
    read_of_all: list[tuple[bytes, Headers]] = [
        (structured, nothing),
        (structured, [*nothing, ("content-type", b"application/cloudevents+json")]),
        (plain, [*nothing, *binary(topic)]),
        (plain, [*binary(topic), *nothing]),
        (plain, [*binary(topic, **{"content-type": None}), ("content-type", None)]),
    ]
    for value, headers in read_of_all:
        assert read_bytes(topic, value, headers).data == read_bytes(topic, structured).data
    headers = [*binary(topic, ce_time=None), ("ce_time", None)]
    assert refusal(topic, plain, headers)[1] == "the header ce_time is missing"


@pytest.mark.parametrize("topic", TOPICS)
def test_the_subject_may_be_left_out(topic: str) -> None:
    assert read_event(topic, subject=...) == read_event(topic)
    plain = json.dumps(DATA[topic]).encode()
    assert read_bytes(topic, plain, binary(topic, ce_subject=None)) == read_event(topic)


@pytest.mark.parametrize("topic", TOPICS)
def test_unknown_extra_fields_are_accepted(topic: str) -> None:
    extra = {"x": None, "weight": {"deep": [1, {"y": "\x00"}]}}
    assert read_event(
        topic, {**DATA[topic], **extra}, traceparent="00-1", x={"y": 1}
    ) == read_event(topic)


@pytest.mark.parametrize("topic", TOPICS)
def test_an_absent_nullable_field_is_null(topic: str) -> None:
    for field in NULLABLE & DATA[topic].keys():
        absent = read_event(topic, changed(topic, **{field: ...}))
        assert absent == read_event(topic, changed(topic, **{field: None}))
        assert getattr(absent.data, field) is None


def test_format_and_type_may_be_any_word() -> None:
    data = read_event(ASSESSMENT_CHANGED, changed(ASSESSMENT_CHANGED, type="Übung", format="")).data
    assert isinstance(data, AssessmentChanged)
    assert (data.type, data.format) == ("Übung", "")


@pytest.mark.parametrize("completion", ["not_started", "in_progress", "turned_in", "graded"])
@pytest.mark.parametrize("submission", ["on_time", "late", "missing", "excused", "excluded", None])
def test_each_word_of_a_grade_is_known(completion: str, submission: str | None) -> None:
    data = read_event(
        GRADE_CHANGED, changed(GRADE_CHANGED, completion=completion, submission=submission)
    ).data
    assert isinstance(data, GradeChanged)
    assert (data.completion, data.submission) == (completion, submission)


def test_each_word_of_an_assessment_is_known() -> None:
    for status in ("active", "unassigned", "deleted"):
        for scale in ("points", "standards"):
            read_event(
                ASSESSMENT_CHANGED, changed(ASSESSMENT_CHANGED, status=status, grading_scale=scale)
            )


def test_an_assessment_may_have_no_assignees() -> None:
    data = read_event(ASSESSMENT_CHANGED, changed(ASSESSMENT_CHANGED, assignees=[])).data
    assert isinstance(data, AssessmentChanged)
    assert data.assignees == []


@pytest.mark.parametrize("topic", TOPICS)
def test_a_tombstone_is_its_key_at_the_records_time(topic: str) -> None:
    change = read_bytes(topic, None)
    key = tuple(KEYS[topic].split("/"))
    assert change == Change(topic, KEYS[topic], key, None, TIMESTAMP * 1000)
    assert change.changed_at == RECORDED
    assert read_bytes(topic, None, binary(topic)) == change


@pytest.mark.parametrize("version", [0, -1, 2**63 - 1, -(2**63)])
def test_a_version_has_64_bits(version: int) -> None:
    data = read_event(GRADE_CHANGED, changed(GRADE_CHANGED, version=version)).data
    assert data is not None
    assert data.version == version


# -- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "score"),
    [
        ("8", "8"),
        ('"8"', "8"),
        ("8.0", "8.0"),
        ('"8.5"', "8.5"),
        ("8.0000000000000000001", "8.0000000000000000001"),
        ('"8.0000000000000000001"', "8.0000000000000000001"),
        ("0.1", "0.1"),
        ("100000000000000000001", "100000000000000000001"),
        ("1e1", "1E+1"),
        ("-1", "-1"),
        ("0", "0"),
        ("1e30", "1E+30"),
        ("1e-30", "1E-30"),
    ],
)
def test_a_number_is_exact_however_it_is_written(written: str, score: str) -> None:
    assert grade_of(written).score == Decimal(score)
    assert str(grade_of(written).score) == score


@pytest.mark.parametrize(
    "written",
    [
        *('"NaN"', '"nan"', '"sNaN"', '"Infinity"', '"-Infinity"', '"inf"'),
        *("1e31", "1e-31", "1e5000", "1e99999999999999999999", "9" * 5000, "0." + "1" * 5000),
        *('"1e31"', '"1e999999999999999999999"', '"-1e31"', '"1e-99999999999999999999"'),
        *('""', '"eight"', '"8,5"', '"8 5"', '"0x8"', '"8%"', "true", "[]", "{}", "[8]"),
        *('"8_5"', '"٨"', '"\\u0668"', '"8\\u005f5"'),
    ],
)
def test_what_is_no_finite_number_of_a_gradebook_is_ill_typed(written: str) -> None:
    for topic, field in ((GRADE_CHANGED, "score"), (ASSESSMENT_CHANGED, "points_possible")):
        event = envelope(topic, changed(topic, **{field: "@"}))
        value = json.dumps(event).replace('"@"', written).encode()
        reason, detail = refusal(topic, value)
        assert reason == "invalid_data"
        assert field in detail


def test_a_word_in_a_field_that_is_not_ours_is_no_number_of_ours() -> None:
    data = changed(GRADE_CHANGED, score="8") | {"rubric": {"score": "A_1"}}
    read_grade = read_bytes(GRADE_CHANGED, json.dumps(envelope(GRADE_CHANGED, data)).encode()).data
    assert isinstance(read_grade, GradeChanged)
    assert read_grade.score == Decimal(8)


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "08", "+8", "8.", ".8", "8e"])
def test_what_is_no_number_of_json_is_not_json(written: str) -> None:
    event = json.dumps(envelope(GRADE_CHANGED, changed(GRADE_CHANGED, score="@")))
    assert refusal(GRADE_CHANGED, event.replace('"@"', written).encode())[0] == "not_json"


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=20
    )
)
def test_any_decimal_comes_out_as_it_went_in(number: Decimal) -> None:
    written = format(number, "f")
    assert grade_of(written).score == grade_of(f'"{written}"').score == number


# -- times ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "changed_at"),
    [
        ("2026-11-20T17:00:00Z", datetime(2026, 11, 20, 17, tzinfo=UTC)),
        ("2026-11-20T17:00:00.120Z", datetime(2026, 11, 20, 17, 0, 0, 120_000, tzinfo=UTC)),
        ("2026-11-20T11:00:00-06:00", datetime(2026, 11, 20, 17, tzinfo=UTC)),
        ("2026-11-20T22:30:00+05:30", datetime(2026, 11, 20, 17, tzinfo=UTC)),
        ("1999-01-01T00:00:00Z", datetime(1999, 1, 1, tzinfo=UTC)),
        ("2026-11-20T18:05:00Z", RECORDED + timedelta(minutes=5)),
        ("2026-11-20T18:05:00.000001Z", RECORDED),
        ("2026-11-21T18:00:00Z", RECORDED),
        ("8999-12-31T23:00:00Z", RECORDED),
    ],
)
def test_a_time_counts_unless_it_is_five_minutes_ahead_of_the_record(
    time: str, changed_at: datetime
) -> None:
    assert read_event(GROUP_CHANGED, time=time).changed_at == changed_at
    plain = json.dumps(DATA[GROUP_CHANGED]).encode()
    headers = binary(GROUP_CHANGED, ce_time=time.encode())
    assert read_bytes(GROUP_CHANGED, plain, headers).changed_at == changed_at


_LAST_MS: Final = milliseconds(datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    ("timestamp", "counts_as"),
    [
        (0, 0),
        (1, 1),
        (1_795_197_600_123, 1_795_197_600_123),
        (_LAST_MS, _LAST_MS),
        # Kafka's own word for none, and what no clock says.
        *((-1, 0), (-(2**63), 0)),
        *((_LAST_MS + 1, _LAST_MS), (2**63 - 1, _LAST_MS)),
    ],
)
def test_a_records_timestamp_counts_to_the_millisecond_within_our_years(
    timestamp: int, counts_as: int
) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=counts_as)
    assert moment(timestamp) == at
    gone = read_bytes(GRADE_CHANGED, None, timestamp=timestamp)
    assert (gone.changed_us, gone.changed_at) == (counts_as * 1000, at)
    # The latest that a time may say, which is within the five minutes, and what is beyond them.
    for ahead, told in ((timedelta(minutes=5), 300), (timedelta(minutes=5, microseconds=1), 0)):
        if at + ahead < datetime(9000, 1, 1, tzinfo=UTC):
            time = (at + ahead).isoformat()
            value = json.dumps(envelope(GRADE_CHANGED, DATA[GRADE_CHANGED], time=time)).encode()
            change = read_bytes(GRADE_CHANGED, value, timestamp=timestamp)
            assert change.changed_at == at + timedelta(seconds=told)


WRONG_TIMES: Final = [
    "2026-11-20T17:00:00",  # without a zone
    "2026-11-20",
    "2026-13-20T17:00:00Z",
    "2026-11-20T25:00:00Z",
    "17:00",
    "now",
    "",
    1_795_194_000,
    True,
    None,
    [],
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
]


@pytest.mark.parametrize("time", WRONG_TIMES)
def test_a_time_that_is_no_instant_of_ours_is_ill_typed(time: object) -> None:
    reason, detail = refusal_of(GROUP_CHANGED, DATA[GROUP_CHANGED], time=time)
    assert reason == "invalid_data"
    assert "time" in detail
    for field in ("assigned_at", "due_at"):
        if field == "due_at" and time is None:
            continue
        reason, detail = refusal_of(
            ASSESSMENT_CHANGED, changed(ASSESSMENT_CHANGED, **{field: time})
        )
        assert reason == "invalid_data"
        assert field in detail


def test_the_time_is_required_in_both_modes() -> None:
    assert refusal_of(GROUP_CHANGED, DATA[GROUP_CHANGED], time=...)[0] == "invalid_data"
    plain = json.dumps(DATA[GROUP_CHANGED]).encode()
    reason, detail = refusal(GROUP_CHANGED, plain, binary(GROUP_CHANGED, ce_time=None))
    assert reason == "not_cloudevent"
    assert detail == "the header ce_time is missing"
    for time in (b"2026-11-20T17:00:00", b"now", b'"', b"\xff", b"\x00", b'2026-11-20T17:00:00Z"'):
        headers = binary(GROUP_CHANGED, ce_time=time)
        assert refusal(GROUP_CHANGED, plain, headers)[0] in ("invalid_data", "not_json")


# -- titles ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "normalised"),
    [
        ("Unit 3 Quiz", "Unit 3 Quiz"),
        ("  Unit 3 Quiz\n", "Unit 3 Quiz"),
        ("Unit \t\r\n 3", "Unit 3"),
        ("Unit\x003", "Unit 3"),
        ("\x00\x1f\x7f\x85\x9f", ""),
        ("Unit\N{NO-BREAK SPACE}\N{EM SPACE}3", "Unit 3"),
        ("Unit\N{LINE SEPARATOR}3", "Unit 3"),
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("\N{ANGSTROM SIGN}", "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}"),
        ("\N{LATIN SMALL LIGATURE FI}", "\N{LATIN SMALL LIGATURE FI}"),
        ("a\N{ZERO WIDTH SPACE}b", "a\N{ZERO WIDTH SPACE}b"),
        ("", ""),
        ("   ", ""),
        ("=1+1", "=1+1"),
        ("\N{PENCIL}", "\N{PENCIL}"),
    ],
)
def test_a_title_is_nfc_trimmed_and_its_blanks_are_one_space(title: str, normalised: str) -> None:
    data = read_event(ASSESSMENT_CHANGED, changed(ASSESSMENT_CHANGED, title=title)).data
    assert isinstance(data, AssessmentChanged)
    assert data.title == normalised == normalised_title(title)


@given(st.text(st.characters() | st.sampled_from("e\u0301\u0315\u2000\u2028 \t\x00\u1fef")))
def test_the_order_of_the_steps_makes_no_difference_to_a_title(title: str) -> None:
    composed = unicodedata.normalize("NFC", title)
    assert normalised_title(title) == re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", composed).strip()


@pytest.mark.parametrize("marks", ["\u0315\u0300", "\u0301", "\u1fef\u0327\u0323", " \u0315\u0300"])
def test_no_title_takes_long(marks: str) -> None:
    """A million marks in the wrong order took minutes to be sorted, of every replica's intake."""
    began = process_time()
    title = normalised_title("a" + marks * (1_000_000 // len(marks.encode())))
    assert process_time() - began < 0.5
    assert 50 <= len(title) <= 1000


@given(st.text())
def test_a_normalised_title_stays_as_it_is(title: str) -> None:
    once = normalised_title(title)
    assert normalised_title(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
    assert "  " not in once
    assert not any(unicodedata.category(c) == "Cc" for c in once)


# -- what is missing or ill-typed -----------------------------------------------------------

REQUIRED: Final = [
    (topic, field) for topic in TOPICS for field in DATA[topic] if field not in NULLABLE
]
IDS: Final = {
    *("district_id", "assessment_id", "class_id", "student_id", "teacher_id"),
    *("class_sourced_id", "school_sourced_id"),
}
WRONG_IDS: Final[list[object]] = [
    None,
    7,
    True,
    [],
    {},
    "",
    "a/b",
    "a\x00",
    "a\n",
    "a\x7f",
    "a\x9f",
    "x" * 256,
]
WRONG_FLAGS: Final[list[object]] = [None, 0, 1, "true", "yes", [], {}]
WRONG: Final[Mapping[str, list[object]]] = {
    **dict.fromkeys(IDS, WRONG_IDS),
    "version": [None, "3", 1.5, True, [], 2**63, -(2**63) - 1, 10**400],
    "title": [None, 7, True, [], {}],
    "type": [None, 7, [], "Qu\x00iz", "Quiz\n", "x" * 256],
    "format": [None, 7, [], "sim\x1fple", "x" * 256],
    "grading_scale": [None, 7, "", "letters", "Points"],
    "include_in_final_grade": WRONG_FLAGS,
    "member": WRONG_FLAGS,
    "assigned_by": [
        *(None, "t-100", []),
        *({"user_id": "t-100"}, {"in_sis": True}),
        *({"user_id": "t/1", "in_sis": True}, {"user_id": "t-1", "in_sis": "yes"}),
    ],
    "assigned_at": [],
    "status": [None, 7, "", "archived", "Active"],
    "assignees": [
        *(None, {}, "s-1", [None], ["s-1"], [[]]),
        *([{"student_id": "s-1"}], [{"sourced_id": "x"}], [{"student_id": 1, "sourced_id": "x"}]),
        *([{"student_id": "s/1", "sourced_id": "x"}], [{"student_id": "s", "sourced_id": ""}]),
    ],
    "completion": [None, 7, "", "done", "Graded"],
    "score": [True, [], {}, "eight"],
    "submission": [7, "", "missed", []],
    "points_possible": [True, [], "ten"],
    "due_at": [7, "tomorrow", []],
}


@pytest.mark.parametrize(("topic", "field"), REQUIRED)
def test_a_missing_field_is_named(topic: str, field: str) -> None:
    reason, detail = refusal_of(topic, changed(topic, **{field: ...}))
    assert reason == "invalid_data"
    assert field in detail


@pytest.mark.parametrize(
    ("topic", "field", "value"),
    [(topic, field, value) for topic in TOPICS for field in DATA[topic] for value in WRONG[field]],
)
def test_an_ill_typed_field_is_named(topic: str, field: str, value: object) -> None:
    reason, detail = refusal_of(topic, changed(topic, **{field: value}))
    assert reason == "invalid_data"
    assert field in detail


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("data", [..., None, [], "x", 7, {}])
def test_data_that_is_no_object_with_the_fields_is_ill_typed(topic: str, data: object) -> None:
    assert refusal_of(topic, data)[0] == "invalid_data"


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *[(name, ...) for name in ("id", "source", "type", "time")],
        *[(name, 7) for name in ("id", "source", "type", "time", "subject")],
        *[(name, "") for name in ("id", "source")],
        *[("specversion", "0.3"), ("specversion", "1.0.1"), ("specversion", "")],
    ],
)
def test_an_ill_typed_attribute_is_named(topic: str, attribute: str, value: object) -> None:
    reason, detail = refusal_of(topic, DATA[topic], **{attribute: value})
    assert reason == "invalid_data"
    assert attribute in detail


@pytest.mark.parametrize("topic", TOPICS)
def test_an_unknown_type_is_not_read(topic: str) -> None:
    plain = json.dumps(DATA[topic]).encode()
    others = [t for t in TOPICS if t != topic]
    for type_ in (
        f"com.otus.{topic}.v2",
        f"com.otus.{topic}",
        "",
        *(f"com.otus.{t}.v1" for t in others),
    ):
        assert refusal_of(topic, DATA[topic], type=type_)[0] == "unknown_type"
        if type_:
            headers = binary(topic, ce_type=type_.encode())
            assert refusal(topic, plain, headers)[0] == "unknown_type"


def test_without_either_sign_it_is_no_cloudevent() -> None:
    for topic in TOPICS:
        plain = json.dumps(DATA[topic]).encode()
        for value in (plain, b"{}", b"[]", b"7", b'"x"', b"null", b'{"specversion": 1}'):
            assert refusal(topic, value)[0] == "not_cloudevent"


@pytest.mark.parametrize("missing", ["ce_id", "ce_source", "ce_type", "ce_time"])
def test_a_missing_header_of_binary_mode_is_named(missing: str) -> None:
    plain = json.dumps(DATA[GRADE_CHANGED]).encode()
    for absent in (None, b""):
        headers = binary(GRADE_CHANGED, **{missing: absent})
        assert refusal(GRADE_CHANGED, plain, headers) == (
            "not_cloudevent",
            f"the header {missing} is missing",
        )


def test_another_version_of_cloudevents_is_none() -> None:
    plain = json.dumps(DATA[GRADE_CHANGED]).encode()
    for version in (b"0.3", b"", b"\xff"):
        headers = binary(GRADE_CHANGED, ce_specversion=version)
        assert refusal(GRADE_CHANGED, plain, headers)[0] == "not_cloudevent"


def test_headers_that_are_no_text_are_refused() -> None:
    plain = json.dumps(DATA[GRADE_CHANGED]).encode()
    for name in ("ce_type", "ce_subject"):
        refusal(GRADE_CHANGED, plain, binary(GRADE_CHANGED, **{name: b"\xff\xfe"}))


# -- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", TOPICS)
def test_the_key_the_subject_and_the_data_agree(topic: str) -> None:
    value = json.dumps(envelope(topic, DATA[topic])).encode()
    silent = json.dumps(envelope(topic, DATA[topic], subject=...)).encode()
    other = KEYS[topic] + "x"
    assert refusal(topic, value, key=other.encode())[0] == "key_disagrees"
    assert refusal(topic, silent, key=other.encode())[0] == "key_disagrees"
    for subject in (other, "", KEYS[topic].partition("/")[2], KEYS[topic].upper()):
        assert refusal_of(topic, DATA[topic], subject=subject)[0] == "key_disagrees"
        headers = binary(topic, ce_subject=subject.encode())
        plain = json.dumps(DATA[topic]).encode()
        assert refusal(topic, plain, headers)[0] == "key_disagrees"


@pytest.mark.parametrize(("topic", "field"), [(t, f) for t, f in REQUIRED if f in IDS])
def test_data_of_another_subject_disagrees(topic: str, field: str) -> None:
    if field.endswith("sourced_id"):
        assert read_event(topic, changed(topic, **{field: "other"})).data is not None
    else:
        assert refusal_of(topic, changed(topic, **{field: "other"}))[0] == "key_disagrees"


@pytest.mark.parametrize("topic", TOPICS)
def test_a_key_that_is_no_ids_disagrees_for_tombstones_too(topic: str) -> None:
    good = KEYS[topic].encode()
    head, _, tail = good.partition(b"/")
    value = json.dumps(envelope(topic, DATA[topic])).encode()
    wrong = [
        *(None, b"/", head, good + b"/", b"/" + good, good + b"/x", head + b"//" + tail),
        *(good + b"\x00", good + b"\n", b"\x7f" + good, good + b"\xff", good + b"x" * 256),
        good.rpartition(b"/")[0] + b"/" + b"x" * 256,
        # A lone surrogate, as some libraries write it.
        good + b"\xed\xa0\x80",
    ]
    for key in wrong:
        for record in (value, None):
            assert refusal(topic, record, key=key)[0] == "key_disagrees"


def test_an_empty_key_disagrees() -> None:
    with pytest.raises(EventUnreadable) as caught:
        read(GROUP_CHANGED, b"", None, [], TIMESTAMP)
    assert caught.value.reason == "key_disagrees"


def test_ids_of_255_characters_are_read_and_a_key_that_no_index_holds_is_not() -> None:
    name = "x" * 255
    data = changed(GROUP_CHANGED, teacher_id=name)
    value = json.dumps(envelope(GROUP_CHANGED, data, subject=f"lakeside/{name}")).encode()
    assert read_bytes(GROUP_CHANGED, value, key=f"lakeside/{name}".encode()).key[1] == name
    wide = "/".join(["\N{PENCIL}" * 255] * 4).encode()
    assert refusal(GRADE_CHANGED, None, key=wide)[0] == "invalid_data"


def test_ids_are_opaque() -> None:
    for name in ("T 100", "\N{PENCIL}", "..", "%2F", "t\\1", "'; --", "=1+1", "null"):
        data = changed(GROUP_CHANGED, teacher_id=name)
        value = json.dumps(envelope(GROUP_CHANGED, data, subject=f"lakeside/{name}")).encode()
        assert read_bytes(GROUP_CHANGED, value, key=f"lakeside/{name}".encode()).key[1] == name


# -- poison ---------------------------------------------------------------------------------

WHOLE: Final = json.dumps(envelope(ASSESSMENT_CHANGED, DATA[ASSESSMENT_CHANGED])).encode()
SURROGATE: Final = WHOLE.replace(b"Unit 3", b"\\ud800")
DEPTH: Final = 200_000


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"\x00", b"\xff\xfe", b"<xml/>", b"{", b"nul", b"\xef\xbb\xbf" + WHOLE),
        *(WHOLE[:-1], WHOLE + b"}", WHOLE.decode().encode("utf-16")),
        *(WHOLE.replace(b"Unit 3", b"\xff"), WHOLE.replace(b"Unit 3", b"\xc3"), SURROGATE),
        WHOLE.replace(b"Unit 3", b"\xed\xa0\x80"),
        WHOLE.replace(b"Unit 3", b"\x00"),
        WHOLE.replace(b"Unit 3", b"\\x00"),
    ],
)
def test_what_is_no_json_is_refused_as_such(value: bytes) -> None:
    assert refusal(ASSESSMENT_CHANGED, value) == ("not_json", "the value is not valid JSON")


@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused_wherever_it_stands(opens: bytes, closes: bytes) -> None:
    deep = opens * DEPTH + b"1" + closes * DEPTH
    for value in (
        deep,
        opens * DEPTH,
        WHOLE.replace(b'"Unit 3 Quiz"', deep),
        WHOLE.replace(b'"data": {', b'"data": {"extra": ' + deep + b","),
        WHOLE.replace(b'"specversion"', b'"extra": ' + deep + b', "specversion"'),
        WHOLE.replace(b'"specversion": "1.0"', b'"specversion": ' + deep),
    ):
        assert refusal(ASSESSMENT_CHANGED, value)[0] in (
            "not_json",
            "invalid_data",
            "not_cloudevent",
        )


def test_of_two_fields_of_one_name_none_makes_it_unreadable() -> None:
    value = WHOLE.replace(b'"version": 3', b'"version": 1, "version": 4')
    data = read_bytes(ASSESSMENT_CHANGED, value).data
    assert data is not None
    assert data.version == 4


LOVELACE: Final = "Ada Lovelace"
WORDS: Final = [
    LOVELACE,
    f"{LOVELACE} - at $.x",
    f"{LOVELACE}\n",
    f"{LOVELACE}' - at `$.{LOVELACE}`\n{LOVELACE}",
    f"\n{LOVELACE}",
]


def detail(
    topic: str, value: bytes | None, headers: Headers | None = None, key: bytes | None = b""
) -> str:
    """Why it cannot be read; empty where it can."""
    try:
        read_bytes(topic, value, headers, key)
    except EventUnreadable as error:
        return error.detail
    return ""


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("topic", TOPICS)
def test_the_detail_names_the_path_and_never_the_value(topic: str, word: str) -> None:
    values: list[object] = [word, [word], {word: word}, [{word: word}], [{"student_id": [word]}]]
    said = [detail(topic, WHOLE, key=f"{KEYS[topic]}{word}".encode())]
    for value in values:
        for field in DATA[topic]:
            event = envelope(topic, changed(topic, **{field: value}))
            said.append(detail(topic, json.dumps(event).encode()))
        whole = envelope(topic, DATA[topic])
        said += [detail(topic, json.dumps({**whole, name: value}).encode()) for name in whole]
    for name, _ in binary(topic):
        said.append(detail(topic, WHOLE, binary(topic, **{name: word.encode()})))
    assert len(set(said)) > 5
    assert not [text for text in said if LOVELACE in text]


def test_an_unknown_word_is_named_by_its_path() -> None:
    for word in ("done", "done - at $.x", "do\nne"):
        reason, detail = refusal_of(GRADE_CHANGED, changed(GRADE_CHANGED, completion=word))
        assert reason == "invalid_data"
        assert detail == "an unknown word - at `$.completion`"


# -- anything at all ------------------------------------------------------------------------

MARK: Final = "QUETZALCOATL"
anything: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text().map(lambda text: MARK + text)
    | st.sampled_from(["2026-11-20T17:00:00Z", "1e400", "NaN", "graded", "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.just("student_id"), inner, max_size=3)
    ),
    max_leaves=6,
)
topics = st.sampled_from(TOPICS)


def survives(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers, at: int = TIMESTAMP
) -> Change | None:
    """It is read, or it is unreadable for a reason of the closed set; nothing else happens."""
    try:
        change = read(topic, key, value, headers, at)
    except EventUnreadable as error:
        refused = error
    else:
        assert change.changed_at.tzinfo is UTC
        assert "/".join(change.key) == change.subject == (key or b"").decode()
        return change
    assert refused.reason in set(QuarantineReason)
    assert refused.detail
    assert MARK not in refused.detail
    return None


names = st.sampled_from([n for n, _ in binary(GRADE_CHANGED)]) | st.text(max_size=5)


@given(
    topics,
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(st.tuples(names, st.binary())),
)
def test_arbitrary_bytes_are_unreadable_and_never_an_error(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    survives(topic, key, value, headers)


@settings(max_examples=200)
@given(topics, st.data())
def test_arbitrary_json_in_any_place_is_unreadable_and_never_an_error(
    topic: str, source: st.DataObject
) -> None:
    fields = st.sampled_from(sorted(DATA[topic]))
    data = {**DATA[topic], **source.draw(st.dictionaries(fields, anything, max_size=2))}
    whole = envelope(topic, data)
    attributes = st.sampled_from(sorted(whole))
    event = {**whole, **source.draw(st.dictionaries(attributes, anything, max_size=1))}
    structured = json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")
    plain = json.dumps(data).encode()
    survives(topic, KEYS[topic].encode(), structured, [])
    survives(topic, KEYS[topic].encode(), plain, binary(topic))


@settings(max_examples=200)
@given(topics, st.data())
def test_a_damaged_event_is_unreadable_and_never_an_error(
    topic: str, source: st.DataObject
) -> None:
    whole = json.dumps(envelope(topic, DATA[topic])).encode()
    first = source.draw(st.integers(0, len(whole)))
    last = source.draw(st.integers(first, min(first + 8, len(whole))))
    damaged = whole[:first] + source.draw(st.binary(max_size=8)) + whole[last:]
    survives(topic, KEYS[topic].encode(), damaged, [])


@given(
    topics,
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_any_time_is_read_as_an_instant_that_is_not_ahead_of_the_record(
    topic: str, time: str, recorded_at: datetime
) -> None:
    value = json.dumps(envelope(topic, DATA[topic], time=time)).encode()
    change = survives(topic, KEYS[topic].encode(), value, [], milliseconds(recorded_at))
    assert change is None or change.changed_at <= recorded_at + timedelta(minutes=5)

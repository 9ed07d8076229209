"""What commands print: safe for terminals, spreadsheets and programs that read JSON."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.cli.guidance import GUIDANCE
from consumer.cli.output import emit_json, escaped, number, show_table
from consumer.cli.sheet import safe_cell
from consumer.event_schemas import asyncapi, data_schemas
from consumer.events import TOPICS
from consumer.gradebook import Reason

EVENT = {
    "topic": "otus.passback-group-changed",
    "key": "lakeside/t-100",
    "value": {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/otus/gradebook",
        "type": "com.otus.passback-group-changed.v1",
        "subject": "lakeside/t-100",
        "time": "2026-11-02T13:00:00Z",
        "data": {"district_id": "lakeside", "teacher_id": "t-100", "version": 1, "member": True},
    },
}


def test_control_and_bidirectional_characters_never_reach_a_terminal() -> None:
    assert escaped("a\x1b[31mb\u202ec\u2066d\n\x9b") == "a\\x1b[31mb\\u202ec\\u2066d\\x0a\\x9b"
    assert escaped("Ñandú 学 🎓") == "Ñandú 学 🎓"


@pytest.mark.parametrize(
    "hidden",
    ["\u00ad", "\u034f", "\u061c", "\u115f", "\u180e", "\u200b", "\u200d", "\u2060", "\u2064"]
    + ["\u206a", "\u3164", "\ue000", "\ufe0f", "\ufff9", "\uffa0", "\U000e0041", "\U0001d173"],
)
def test_what_cannot_be_seen_is_shown(hidden: str) -> None:
    """Two titles that look alike are told apart, and no text hides within another."""
    shown = escaped(f"Qu{hidden}iz")
    assert shown.isascii()
    assert shown.encode().decode("unicode_escape") == f"Qu{hidden}iz"


@pytest.mark.parametrize("code", ["\x1b[2J", "\x1b]0;mine\x07", "\x9b31m", "\r\n", "\x08", "\x85"])
def test_no_terminal_obeys_a_table(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["title"], [(f"Quiz{code}",)], "")
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert out.replace("\n", "").isprintable()


def test_json_is_ascii_and_keeps_decimals_exact(capsys: pytest.CaptureFixture[str]) -> None:
    value = Decimal("8.10000000000000000000001")
    emit_json({"title": "学\u202e🎓\x7f", "score": value, "at": datetime(2026, 11, 23, tzinfo=UTC)})
    out = capsys.readouterr().out
    assert out.isascii()
    assert "8.10000000000000000000001" in out
    read = json.loads(out)
    assert read["title"] == "学\u202e🎓\x7f"
    assert read["at"] == "2026-11-23T00:00:00Z"


def test_a_whole_score_is_written_without_its_zeros() -> None:
    assert number(Decimal("8.00")) == 8
    assert str(number(Decimal("8.50"))) == "8.5"
    assert number(Decimal("1E+2")) == 100
    assert number(None) is None


def test_tables_fit_100_columns_and_end_without_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["id", "what#"], [("x" * 300, "y " * 100)], "")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(
    "first", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\u2212"]
)
@pytest.mark.parametrize("before", ["", " ", "  ", "'", '"'])
def test_no_cell_of_a_csv_is_taken_for_a_formula(before: str, first: str) -> None:
    text = f"{before}{first}cmd|' /C calc'!A0"
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "before", ["\t", "\r", "\n", "\x00", "\ufeff", "\u200b", "\u202e", "\u00ad"]
)
def test_a_formula_behind_what_cannot_be_seen_is_none_either(before: str) -> None:
    cell = safe_cell(f"{before}=1+1")
    assert cell.isprintable()
    assert cell.startswith("\\")


def test_no_part_of_a_cell_is_a_formula_where_semicolons_separate() -> None:
    """As they do in half of the world's spreadsheets, which see no quotes in a cell's middle."""
    assert safe_cell("Quiz; =1+1;  '@x;\uff1d2") == "Quiz;' =1+1;'  '@x;'\uff1d2"
    assert safe_cell("Units; 3 = 3; fine") == "Units; 3 = 3; fine"


def test_a_cell_is_one_line_that_no_terminal_obeys() -> None:
    assert safe_cell("Quiz\n=1+1\x1b[2J\u202e") == "Quiz\\x0a=1+1\\x1b[2J\\u202e"


def test_an_ordinary_cell_stays_as_it_is() -> None:
    assert safe_cell("Quiz = 3") == "Quiz = 3"
    assert safe_cell(Decimal("8.5")) == "8.5"
    assert safe_cell(None) == ""


def test_every_reason_says_what_it_means_and_what_to_do() -> None:
    assert set(GUIDANCE) == set(Reason)
    for told in GUIDANCE.values():
        assert told.meaning.endswith(".")
        assert told.do.endswith(".")
        assert not told.passes_when.endswith(".")


def test_reasons_lists_the_closed_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reasons", "--json"]) == 0
    assert [one["code"] for one in json.loads(capsys.readouterr().out)] == list(Reason)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        [],
        *(["run"], ["migrate"], ["check"], ["flush"], ["report"], ["runs"], ["cutoffs"]),
        *(["explain"], ["reasons"], ["zeros"], ["zeros", "release"], ["zeros", "discard"]),
        *(["district", one] for one in ("apply", "list", "show", "pause", "resume", "remove")),
        *(["quarantine", one] for one in ("list", "show", "replay", "discard")),
        *(["secrets", one] for one in ("new-key", "rotate")),
        *(["events", one] for one in ("schema", "check", "read-on")),
    ):
        assert main([*words, "--help"]) == 0, words
        assert "Usage: passback" in capsys.readouterr().out


def test_wrong_usage_is_one_sentence_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nonsense"], ["explain"], ["cutoffs", "d", "--days", "0"], ["runs", "--what"]):
        assert main(words) == 2, words
        told = capsys.readouterr()
        assert told.out == ""
        assert len(told.err.strip().splitlines()) == 1
        assert told.err.strip().endswith(".")


def test_a_new_key_is_one_line_that_the_key_file_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["secrets", "new-key"]) == 0
    assert len(capsys.readouterr().out.strip()) == 44


def test_events_that_follow_the_contract_are_found_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(EVENT) + "\n\n" + json.dumps(EVENT | {"value": None}) + "\n")
    assert main(["events", "check", str(file)]) == 0
    assert "2 events read, 0" in capsys.readouterr().out


def test_events_that_do_not_are_told_by_line_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = json.loads(json.dumps(EVENT))
    wrong["value"]["data"]["version"] = "one"
    file = tmp_path / "events.jsonl"
    lines = [EVENT, wrong, EVENT | {"topic": "otus.lunch-changed"}, EVENT | {"key": "lakeside/t-2"}]
    file.write_text("\n".join(map(json.dumps, lines)) + "\nno json\n")
    assert main(["events", "check", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["line"], one["reason"]) for one in found] == [
        (2, "invalid_data"),
        (3, "unknown_topic"),
        (4, "key_disagrees"),
        (5, "not_a_record"),
    ]


def test_an_events_file_that_is_not_there_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "check", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_pipeline_that_wrote_no_event_or_the_wrong_topic_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n\n")
    assert main(["events", "check", str(file)]) == 2
    assert f"{file} holds no event" in capsys.readouterr().err
    without_prefix = EVENT | {"topic": "passback-group-changed"}
    file.write_text(json.dumps(without_prefix) + "\n")
    assert main(["events", "check", str(file), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["reason"] == "unknown_topic"


def test_the_schemas_cover_every_topic_and_speak_no_python(tmp_path: Path) -> None:
    assert main(["events", "schema", str(tmp_path)]) == 0
    for topic in TOPICS:
        schema = json.loads((tmp_path / f"{topic}.schema.json").read_text())
        assert schema == json.loads(json.dumps(data_schemas()[topic]))
        assert "district_id" in schema["required"]
        assert "\\Z" not in json.dumps(schema)
    document = json.loads((tmp_path / "asyncapi.json").read_text())
    assert document["asyncapi"].startswith("3.")
    assert document["channels"]["grade-changed"]["address"] == "otus.grade-changed"


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi("otus.", "1")

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [r for one in node.values() for r in references(one)]
        return [r for one in node for r in references(one)] if isinstance(node, list) else []

    for reference in references(document):
        node: object = document
        for part in reference.removeprefix("#/").split("/"):
            assert isinstance(node, dict)
            node = node[part]

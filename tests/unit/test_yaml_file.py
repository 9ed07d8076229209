"""District files as YAML: what settings need is read, and nothing else costs time or memory."""

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.cli.yaml_file import LARGEST, YamlRefused, parse, read_yaml
from consumer.district import DistrictFileInvalid, read_district

LAUGHS = "\n".join(f"a{i}: &a{i} {{}}" for i in [0]) + "".join(
    f"\na{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)
)
MERGES = "a0: &a0 {x: y}" + "".join(
    f"\na{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 10)
)


def refused(text: str) -> str:
    with pytest.raises(YamlRefused) as raised:
        parse(text.encode("utf-8", "surrogatepass"))
    message = str(raised.value)
    assert message.isprintable()
    return message


def test_what_settings_need_is_read() -> None:
    text = "a: 1\nb: [x, yes, null, 1.5, '22:00']\nc: &c {d: e}\nf: *c\nday: 2026-08-24\n"
    shared = {"d": "e"}
    listed = ["x", True, None, 1.5, "22:00"]
    content = {"a": 1, "b": listed, "c": shared, "f": shared, "day": "2026-08-24"}
    assert parse(text.encode()) == (content, [])
    assert parse(b"") == (None, [])


@pytest.mark.parametrize("bomb", [LAUGHS, MERGES, LAUGHS + "\n? *a9\n: key"])
def test_aliases_that_multiply_are_refused_before_they_are_written_out(bomb: str) -> None:
    began = time.process_time()
    assert "aliases are written out" in refused(bomb)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a\n  ? *a\n  : x"])
def test_an_alias_of_itself_is_refused(text: str) -> None:
    assert "alias of itself in line 1" in refused(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_is_bounded(opening: str) -> None:
    began = time.process_time()
    assert "nested more than 20 deep in line 2" in refused("# a comment\n" + opening * 20_000)
    assert time.process_time() - began < 2


def test_the_number_of_values_is_bounded() -> None:
    began = time.process_time()
    assert "more than 50000 values" in refused("- \n" * (LARGEST // 3))
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [ls]", "!!python/name:os.system x", "!x y", "!!binary eA==",
     "!!bool maybe", "!!int ''", "!!set {a}", "!!omap [a: b]", "! x"],
)  # fmt: skip
def test_no_tag_is_followed(tag: str) -> None:
    assert refused(f"a: 1\nb: {tag}") == "holds a tag, which no setting needs in line 2"


@pytest.mark.parametrize("text", [r'"a\0b"', r'"\x1b[31m"', r'"\x7f"', r'"\ud800"', r'"\r"'])
def test_no_control_character_comes_in_by_an_escape(text: str) -> None:
    assert refused(f"a: {text}") == "holds a control character in line 1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "is no YAML: "),
        ("a: 1\n---\nb: 2", "is no YAML: "),
        ("{[a]: b}", "is no YAML: "),
        ("a: \x00", "is no YAML: it holds the character 0x0000"),
        (r'a: "\UFFFFFFFF"', "holds a value that nothing can hold in line 1"),
        ("a: " + "9" * 5000, "holds a value that nothing can hold"),
        ("a: \ud800", "is no text in UTF-8"),
        ("a: " + "1:" * 400_000 + "1", "holds a value of more than 10000 characters in line 1"),
        ("#" * (LARGEST + 1), "is larger than 1000000 bytes"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, why: str) -> None:
    assert refused(text).startswith(why)


def test_a_file_without_an_end_is_read_no_further_than_the_bound(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as end:
            try:
                while True:
                    end.write(b"# more\n" * 10_000)
            except BrokenPipeError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(YamlRefused, match="larger"):
        read_yaml(pipe)
    writer.join(10)
    assert not writer.is_alive()


def test_a_key_that_is_given_twice_is_named_with_its_lines() -> None:
    assert parse(b"a:\n  b: 1\n  b: 2\na: 3\n")[1] == [
        ("a.b", "is given twice, in lines 2 and 3"),
        ("a", "is given twice, in lines 1 and 4"),
    ]


def test_an_empty_key_has_a_path_too() -> None:
    assert parse(b"? \n? \n:")[1] == [('""', "is given twice, in lines 1 and 2")]


_PIECES = st.sampled_from(
    ["district", "skyward", "zeros", "a", "<<", ": ", "- ", "[", "]", "{", "}", ", ", "\n", "\n  "]
    + ["&a ", "*a", "&b ", "*b", "? ", "!!int ", "!x ", "|\n", ">-\n", "'", '"', "#", "%", "---\n"]
    + ["1", "1_0", "0x", "1:2", ".inf", "2026-02-30", "~", "yes", "=", "\\", "\t", "é", "\u2028"]
)


@given(st.lists(_PIECES, max_size=60).map("".join).map(str.encode) | st.binary(max_size=200))
def test_any_bytes_are_values_or_refused(raw: bytes) -> None:
    try:
        content, _ = parse(raw)
    except YamlRefused as error:
        assert str(error)  # noqa: PT017  that it may be raised is the claim
        return
    with pytest.raises(DistrictFileInvalid):
        read_district(content)

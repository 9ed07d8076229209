"""Writes the table of values into the chart's README from the comments in values.yaml.

A comment ``# -- …`` above a
key, with the comment lines that follow it, is that key's meaning; a key whose comment lacks the
dashes is a heading of keys below it.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import yaml

_BEGIN: Final = "<!-- values -->\n"
_END: Final = "<!-- /values -->\n"


def documented(text: str) -> Iterator[tuple[str, Any, str]]:
    """Each key with a comment of its own: dotted path, default, meaning."""
    lines = text.splitlines()

    def below(node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Any, str]]:
        for key, value in node.value:
            here = f"{path}.{key.value}" if path else str(key.value)
            meaning = _meaning(lines, key.start_mark.line)
            if meaning is not None:
                yield here, yaml.safe_load(yaml.serialize(value)), meaning
            if isinstance(value, yaml.MappingNode):
                yield from below(value, here)

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from below(root, "")


def _meaning(lines: list[str], key_line: int) -> str | None:
    above: list[str] = []
    for line in reversed(lines[:key_line]):
        if not line.lstrip().startswith("#"):
            break
        above.insert(0, line.lstrip().removeprefix("#").strip())
        if above[0].startswith("-- "):
            return " ".join(above).removeprefix("-- ")
    return None


def table(text: str) -> str:
    """The values as a Markdown table."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for path, default, meaning in documented(text):
        shown = json.dumps(default, ensure_ascii=False)
        rows.append(f"| `{path}` | `{shown}` | {meaning.replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def written(readme: str, values: str) -> str:
    """The README with the table of these values in its place."""
    head, rest = readme.split(_BEGIN)
    _, tail = rest.split(_END)
    return head + _BEGIN + table(values) + _END + tail

"""A YAML file as plain values, within bounds: whatever stands in it is read soon, or refused.

Of YAML only what settings need: mappings, lists, text, numbers, yes and no, and anchors with
their aliases. A tag, which could ask for an object, is refused, and a day stays text.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

LARGEST: Final = 1_000_000
"""Bytes of one file."""

MOST_VALUES: Final = 50_000
"""Values of one file, those behind an alias counted each time that it is named."""

LONGEST: Final = 10_000
"""Characters of one value."""

DEEPEST: Final = 20

Mistake = tuple[str, str]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class YamlRefused(ValueError):
    """The file cannot be read; the message says why, as the rest of a sentence about it."""


def read_yaml(file: Path) -> tuple[Any, list[Mistake]]:
    """The content, and a (path, what) for each key that is given twice; raises ``YamlRefused``."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
    except OSError as error:
        raise YamlRefused(f"cannot be read: {error.strerror}") from None
    return parse(raw)


def parse(raw: bytes) -> tuple[Any, list[Mistake]]:
    """The same for the bytes of a file."""
    if len(raw) > LARGEST:
        raise YamlRefused(f"is larger than {LARGEST} bytes, and so no file of settings")
    try:
        loader = _Loader(raw.decode())
    except UnicodeDecodeError:
        raise YamlRefused("is no text in UTF-8") from None
    except yaml.reader.ReaderError as error:
        raise YamlRefused(f"is no YAML: it holds the character {error.character:#06x}") from None
    node = None
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        _expect_bounded(node)
        return loader.construct_document(node), list(_given_twice(node, ""))
    except yaml.MarkedYAMLError as error:
        raise YamlRefused(f"is no YAML: {error.problem}{_line(error.problem_mark)}") from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, YamlRefused):
            raise
        # An escape that is no character, or a number of thousands of digits.
        where = _line(loader.get_mark()) if node is None else ""
        raise YamlRefused(f"holds a value that nothing can hold{where}") from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Counts while it composes, for what follows could already be too much."""

    # A day that is none is a mistake with a path, not the end of the file.
    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = _line(event.start_mark)
        self._values += 1
        if self._values > MOST_VALUES:
            raise YamlRefused(f"holds more than {MOST_VALUES} values, and so no settings")
        if self._depth >= DEEPEST:
            raise YamlRefused(f"is nested more than {DEEPEST} deep{line}")
        if getattr(event, "tag", None) is not None:
            raise YamlRefused(f"holds a tag, which no setting needs{line}")
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > LONGEST:
                # Read as a number to the base of 60, a megabyte takes more than a minute.
                raise YamlRefused(f"holds a value of more than {LONGEST} characters{line}")
            if _CONTROL.search(event.value):
                raise YamlRefused(f"holds a control character{line}")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _line(mark: Any) -> str:
    return "" if mark is None else f" in line {mark.line + 1}"


def _expect_bounded(root: yaml.Node) -> None:
    """An alias is one node, named many times: what they come to written out is counted."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise YamlRefused(f"holds an alias of itself{_line(node.start_mark)}")
        if known:
            return known
        sizes[id(node)] = None
        total = 1 + sum(size(child) for child in _children(node))
        if total > MOST_VALUES:
            raise YamlRefused(
                f"holds more than {MOST_VALUES} values when its aliases are written out"
                f"{_line(node.start_mark)}"
            )
        sizes[id(node)] = total
        return total

    size(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _given_twice(node: yaml.Node, path: str) -> Iterator[Mistake]:
    """The paths of keys that YAML would silently let win over an earlier one."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = (str(key.value) or '""') if isinstance(key, yaml.ScalarNode) else "?"
            here = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in lines:
                yield here, f"is given twice, in lines {lines[name]} and {line}"
            lines[name] = line
            yield from _given_twice(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _given_twice(value, f"{path}.{index}")

"""``events …``: the contract that upstream teams publish by, a check of it, and reading on."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from consumer import __version__
from consumer.cli.output import emit_json, say, show_table
from consumer.cli.reading_on import read_on
from consumer.cli.session import AsJson, now
from consumer.errors import EventUnreadable, UsageError
from consumer.event_schemas import asyncapi, data_schemas
from consumer.events import TOPICS, read

app = typer.Typer(no_args_is_help=True, help="The event contract, and a check of events.")

app.command("read-on")(read_on)

Prefix = Annotated[str, typer.Option(help="What the topics' names begin with.")]


@app.command()
def schema(
    directory: Annotated[
        Path | None, typer.Argument(help="Where to write the files; else one document is printed.")
    ] = None,
    topic_prefix: Prefix = "otus.",
) -> None:
    """Write the JSON Schemas and the AsyncAPI document."""
    document = asyncapi(topic_prefix, __version__)
    if directory is None:
        emit_json(document)
        return
    files = {f"{topic}.schema.json": one for topic, one in data_schemas().items()}
    files["asyncapi.json"] = document
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            text = msgspec.json.format(msgspec.json.encode(content), indent=2)
            (directory / name).write_bytes(text + b"\n")
            say(f"wrote {directory / name}")
    except OSError as error:
        raise UsageError(f"{directory} cannot be written to: {error.strerror}.") from None


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with the event in one line of the file."""

    line: int
    topic: str | None
    reason: str
    detail: str


class _Line(msgspec.Struct):
    """One record a line; ``value_base64`` for bytes that are no JSON."""

    topic: str
    key: str | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")
    value_base64: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)


_LINE = msgspec.json.Decoder(_Line)


@app.command()
def check(
    file: Annotated[
        Path, typer.Argument(help="Records, one JSON object a line: topic, key, value, headers.")
    ],
    topic_prefix: Prefix = "otus.",
    as_json: AsJson = False,
) -> int:
    """Tell an upstream team what is wrong with its events, line by line."""
    mistakes, count = [], 0
    for count, found in enumerate(_checked(file, topic_prefix), start=1):  # noqa: B007
        if found is not None:
            mistakes.append(found)
    if not count:
        # A pipeline whose export failed must not pass.
        raise UsageError(f"{file} holds no event: one JSON object a line.")
    if as_json:
        emit_json(mistakes)
    else:
        if mistakes:
            show_table(
                ["line#", "topic", "reason", "detail"],
                [(m.line, m.topic, m.reason, m.detail) for m in mistakes],
                "",
            )
        say(f"{count} events read, {len(mistakes)} of them would go to quarantine")
    return 1 if mistakes else 0


def _checked(file: Path, prefix: str) -> Iterator[Mistake | None]:
    """For each event None, or what is wrong with it."""
    at = int(now().timestamp() * 1000)
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _mistake(number, line, prefix, at)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None


def _mistake(number: int, text: bytes, prefix: str, at: int) -> Mistake | None:
    topic: str | None = None
    try:
        line = _LINE.decode(text)
        topic = line.topic
        name = topic.removeprefix(prefix)
        if name not in TOPICS or topic != prefix + name:
            known = ", ".join(prefix + one for one in TOPICS)
            return Mistake(number, topic, "unknown_topic", f"the topic is none of {known}")
        key = None if line.key is None else line.key.encode()
        headers = [(header, content.encode()) for header, content in line.headers.items()]
        read(name, key, _value(line), headers, at)
    except EventUnreadable as error:
        return Mistake(number, topic, error.reason, error.detail)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        what = "the line is no JSON object with topic, key and value"
        return Mistake(number, topic, "not_a_record", what)
    return None


def _value(line: _Line) -> bytes | None:
    if line.value_base64 is not None:
        return base64.b64decode(line.value_base64, validate=True)
    raw = bytes(line.value)
    return None if raw == b"null" else raw

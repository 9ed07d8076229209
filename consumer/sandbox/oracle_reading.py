"""Events read a second time, for the answer key: plainly, and sharing nothing with the product."""

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from sys import intern
from typing import Any

from consumer.sandbox.otus import Record


class Unreadable(Exception):
    """The record breaks the written contract."""


def envelope(record: Record) -> tuple[str, str, datetime, dict[str, Any]]:
    """(type, subject, time, data) of either mode."""
    assert record.value is not None
    headers = dict(record.headers)
    try:
        content = json.loads(record.value, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Unreadable from None
    structured = headers.get("content-type", b"").startswith(b"application/cloudevents+json")
    if "ce_specversion" in headers and not structured:
        try:
            event: Any = {
                name.removeprefix("ce_"): value.decode() for name, value in record.headers
            }
        except UnicodeDecodeError:
            raise Unreadable from None
        event["data"] = content
    else:
        event = content
    if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
        raise Unreadable
    if event.get("specversion") != "1.0":
        raise Unreadable
    for name in ("id", "source"):
        text(event, name)
    subject = event.get("subject", record.key)
    return text(event, "type"), subject, moment_of(event.get("time")), event["data"]


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise Unreadable
    return value


def flag(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if not isinstance(value, bool):
        raise Unreadable
    return value


def one_of(data: Mapping[str, Any], name: str, words: str) -> str:
    value = text(data, name)
    if value not in words.split():
        raise Unreadable
    return intern(value)


def decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Unreadable
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise Unreadable from None
    if not number.is_finite():
        raise Unreadable
    return number


def moment_of(value: Any) -> datetime:
    if not isinstance(value, str):
        raise Unreadable
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Unreadable from None
    if moment.tzinfo is None:
        raise Unreadable
    return moment


def clean_title(title: str) -> str:
    """NFC, trimmed, and each run of white space and control characters one space."""
    composed = unicodedata.normalize("NFC", title)
    spaced = (" " if c.isspace() or unicodedata.category(c) == "Cc" else c for c in composed)
    return " ".join(word for word in "".join(spaced).split(" ") if word)

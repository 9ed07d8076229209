"""Answers: OneRoster's status objects in the shapes of real servers, and JSON bodies."""

from typing import Any

import msgspec
from aiohttp import web

from consumer.sandbox.skyward.behaviour import ErrorShape, Settings, Version
from consumer.sandbox.skyward.refusal import Refusal

_JSON = {"Content-Type": "application/json"}
_HTML = {"Content-Type": "text/html; charset=utf-8"}
_encode = msgspec.json.Encoder().encode
_WORDS = {
    "invaliddata": "invalid data",
    "unknownobject": "unknown object",
    "unauthorisedrequest": "unauthorised request",
    "deletefailure": "delete failure",
}
LOGIN_PAGE = (
    "<!DOCTYPE html><html><head><title>Skyward Login</title></head><body>"
    '<form method="post"><input name="login"><input type="password" name="password"></form>'
    "</body></html>"
)


def json_answer(status: int, content: Any, headers: dict[str, str] | None = None) -> web.Response:
    """`content` as JSON; msgspec.Raw parts go out as they are."""
    return web.Response(
        status=status, body=_encode(content), headers=_JSON if headers is None else _JSON | headers
    )


def bare_answer(status: int, headers: dict[str, str] | None = None) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status, headers=headers)


def html_answer(status: int, page: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=page.encode(), headers=_HTML | (headers or {}))


def refusal_answer(
    refusal: Refusal, version: Version, settings: Settings, shape: ErrorShape | None = None
) -> web.Response:
    """A refusal in the shape that the district gives, or in `shape`."""
    shape = shape or settings.error_shape
    if shape == "html":
        page = f"<html><body><h1>{refusal.status}</h1><p>{refusal.description}</p></body></html>"
        return html_answer(refusal.status, page, refusal.headers)
    if shape == "empty":
        return bare_answer(refusal.status, refusal.headers)
    status = 200 if shape == "failure_in_200" else refusal.status
    minor = _spelled(refusal.minor, settings)
    if version == "1.1":
        content = status_info_1_1(minor, refusal.description)
    else:
        content = status_info_1_2(minor, refusal.description)
        if shape == "nested":
            content = {"imsx_StatusInfo": content}
    return json_answer(status, content, refusal.headers)


def status_info_1_2(minor: str, description: str) -> dict[str, Any]:
    """OneRoster 1.2's imsx_StatusInfo of a failure."""
    return {
        "imsx_codeMajor": "failure",
        "imsx_severity": "error",
        "imsx_description": description,
        "imsx_CodeMinor": {
            "imsx_codeMinorField": [
                {"imsx_codeMinorFieldName": "TargetEndSystem", "imsx_codeMinorFieldValue": minor}
            ]
        },
    }


def status_info_1_1(minor: str, description: str) -> dict[str, Any]:
    """OneRoster 1.1's statusInfoSet of a failure."""
    return {
        "statusInfoSet": [
            {
                "imsx_codeMajor": "failure",
                "imsx_severity": "error",
                "imsx_description": description,
                "imsx_codeMinor": minor,
            }
        ]
    }


def with_wrong_types(content: Any) -> Any:
    """The same JSON with the type of every value but the outermost object's changed."""
    if isinstance(content, dict):
        return {name: _wrong(value) for name, value in content.items()}
    return _wrong(content)


def _wrong(value: Any) -> Any:
    match value:
        case dict():
            return [_wrong(one) for one in value.values()]
        case list():
            return {str(index): _wrong(one) for index, one in enumerate(value)}
        case str():
            return len(value)
        case _:
            return str(value)


def _spelled(minor: str, settings: Settings) -> str:
    words = _WORDS.get(minor, minor.replace("_", " "))
    match settings.minor_code_style:
        case "plain":
            return minor
        case "underscores":
            return words.replace(" ", "_")
        case "spaces":
            return words
        case "upper":
            return minor.upper()

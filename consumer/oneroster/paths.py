"""Where each resource lives, and the scopes that open it."""

import re
from typing import Final, Literal
from urllib.parse import quote, urlsplit

Version = Literal["1.1", "1.2"]
PathStyle = Literal["flat", "split"]

_DOTS: Final = {".": "%2E", "..": "%2E%2E"}
_PLAIN: Final = re.compile(r"[\w-]+", re.ASCII)
_IN_PATHS: Final = "/%:@!$&'()*+,;=-._~"


def scopes(version: Version, *, delete: bool) -> tuple[str, ...]:
    """The OAuth scopes to ask for; ``delete`` only for the write probe or a delete policy."""
    prefix = f"https://purl.imsglobal.org/spec/or/{_segment(version)}/scope/"
    asked = ["roster-core.readonly", "gradebook.readonly", "gradebook.createput"]
    if delete:
        asked.append("gradebook.delete")
    return tuple(prefix + scope for scope in asked)


class Paths:
    """The URL of each resource of one district, percent-encoded.

    ``flat`` puts every resource of a version under one root, as Skyward does; ``split`` is
    the standard's rostering/ and gradebook/ of 1.2, and the same as flat in 1.1.
    """

    def __init__(self, base_url: str, version: Version, path_style: PathStyle) -> None:
        parts = urlsplit(base_url)
        self.version: Final = version
        self.origin: Final = f"{parts.scheme}://{parts.netloc}"
        root = f"{self.origin}{quote(parts.path, safe=_IN_PATHS).rstrip('/')}/ims/oneroster"
        segment = _segment(version)
        split = path_style == "split" and version == "1.2"
        self._rostering: Final = f"{root}/{'rostering/' if split else ''}{segment}"
        self._gradebook: Final = f"{root}/{'gradebook/' if split else ''}{segment}"
        self._line_item: Final = f"{self._gradebook}/lineItems/"
        self._result: Final = f"{self._gradebook}/results/"

    def line_item(self, sourced_id: str) -> str:
        return self._line_item + _encoded(sourced_id)

    def result(self, sourced_id: str) -> str:
        return self._result + _encoded(sourced_id)

    def category(self, sourced_id: str) -> str:
        return f"{self._gradebook}/categories/{_encoded(sourced_id)}"

    def categories(self) -> str:
        return f"{self._gradebook}/categories"

    def class_categories(self, class_id: str) -> str:
        return f"{self._gradebook}/classes/{_encoded(class_id)}/categories"

    def class_line_items(self, class_id: str) -> str:
        return f"{self._gradebook}/classes/{_encoded(class_id)}/lineItems"

    def class_results(self, class_id: str) -> str:
        return f"{self._gradebook}/classes/{_encoded(class_id)}/results"

    def line_item_results(self, class_id: str, line_item_id: str) -> str:
        line_item = f"{_encoded(class_id)}/lineItems/{_encoded(line_item_id)}"
        return f"{self._gradebook}/classes/{line_item}/results"

    def academic_session(self, sourced_id: str) -> str:
        return f"{self._rostering}/academicSessions/{_encoded(sourced_id)}"

    def academic_sessions(self) -> str:
        return f"{self._rostering}/academicSessions"

    def grading_periods(self) -> str:
        return f"{self._rostering}/gradingPeriods"

    def terms(self) -> str:
        return f"{self._rostering}/terms"

    def classes(self) -> str:
        return f"{self._rostering}/classes"

    def class_(self, sourced_id: str) -> str:
        return f"{self._rostering}/classes/{_encoded(sourced_id)}"

    def class_students(self, class_id: str) -> str:
        return f"{self._rostering}/classes/{_encoded(class_id)}/students"

    def school(self, sourced_id: str) -> str:
        return f"{self._rostering}/orgs/{_encoded(sourced_id)}"

    def user(self, sourced_id: str) -> str:
        return f"{self._rostering}/users/{_encoded(sourced_id)}"


def _segment(version: Version) -> str:
    return "v1p1" if version == "1.1" else "v1p2"


def _encoded(sourced_id: str) -> str:
    if _PLAIN.fullmatch(sourced_id):
        return sourced_id
    # quote leaves dots alone, and a segment that is only dots climbs out of the collection.
    return _DOTS.get(sourced_id) or quote(sourced_id, safe="", errors="replace")

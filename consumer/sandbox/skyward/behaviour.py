"""How one stand-in district behaves: its settings and the faults that it was told to commit."""

import re
from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

Version = Literal["1.1", "1.2"]
PathStyle = Literal["flat", "split"]
ErrorShape = Literal["standard", "nested", "html", "empty", "failure_in_200"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A gradebook category; one that is not district-level shows only in class lists."""

    title: str
    status: Literal["active", "tobedeleted"] = "active"
    district_level: bool = True


DISTRICT_CATEGORIES = {
    "cat-homework": Category("Homework"),
    "cat-otus": Category("Otus"),
    "cat-project": Category("Projects"),
    "cat-test": Category("Tests"),
}
"""The categories of a district that was told nothing else, by sourcedId."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator of the stand-in may set, for each district apart.

    timezone: the district's zone; due and assign dates become days in it.
    today: fixes the day that decides which grading periods are closed; None: the real one.
    versions, path_styles: what is served; anything else is 404.
    client_auth: how the token endpoint lets a client name itself.
    token_expires_in: seconds.
    withheld_scopes: ends of scopes (`gradebook.createput`) that are never granted.
    scopes: `standard` asks `roster.readonly` for the lists of one class, `lenient` is content with
        `roster-core.readonly` there.
    licensed: False makes the API read-only (403 on every write).
    use_grade_when_posting: Skyward's "Use Grade When Posting Secondary Gradebook Assignment
        Scores": `percent` stores score / resultValueMax * 100, `mark` the 4-point mark of that.
    references: `standard` asks href and type in each reference; `wire` `standard` asks status,
        dateLastModified and sourcedId in each body, and a scoreDate without time.
    unknown_fields: whether a field that the version does not have is refused (400) or ignored.
    max_title_length: in code points; None: any.
    categories: sourcedId -> category. class_categories: class -> the ids active in it; a class
        without an entry has all district-level ones.
    class_categories_status: answer of `classes/{id}/categories`.
    unknown_reference_status, category_refusal_status, closed_period_status: answers of refusals.
    closed_period_refuses_results: also a score for an item of a closed period is refused.
    put: replace or merge. put_status None: 201 for a new object, 200 for one that existed.
    put_body: what a successful PUT says; `pair` is a sourcedIdPairs set.
    allocates_ids: the server names new objects itself and answers the pair; GET and DELETE know the
        allocated id alone, PUT and references also the supplied one.
    delete_status: 204 or 200, or 405 for a server without DELETE.
    page_limit: the most that one page holds, whatever was asked.
    requests_per_second, max_concurrent: beyond it 429. retry_after: seconds; None: no header.
    unavailable: 503 to everything. token_unavailable: 503 at the token endpoint alone.
    latency: seconds added to every answer.
    forbidden_classes: 403 on writes. locked_classes: class -> 409 or 412 on writes.
    """

    timezone: str = "America/Chicago"
    today: date | None = None
    versions: tuple[Version, ...] = ("1.1", "1.2")
    path_styles: tuple[PathStyle, ...] = ("flat", "split")
    client_auth: tuple[Literal["basic", "body"], ...] = ("basic", "body")
    token_expires_in: float = 3600
    withheld_scopes: tuple[str, ...] = ()
    scopes: Literal["lenient", "standard"] = "lenient"
    licensed: bool = True
    use_grade_when_posting: Literal["off", "percent", "mark"] = "off"
    references: Literal["any", "standard"] = "any"
    wire: Literal["any", "standard"] = "any"
    unknown_fields: Literal["refuse", "ignore"] = "refuse"
    max_title_length: Count | None = 49
    categories: dict[str, Category] = msgspec.field(default_factory=DISTRICT_CATEGORIES.copy)
    class_categories: dict[str, tuple[str, ...]] = {}
    class_categories_status: Literal[200, 404, 405, 501] = 200
    unknown_reference_status: Literal[400, 404, 422] = 404
    category_refusal_status: Literal[400, 422] = 422
    closed_period_status: Literal[400, 422] = 422
    closed_period_refuses_results: bool = True
    put: Literal["replace", "merge"] = "replace"
    put_status: Literal[200, 201, 204] | None = None
    put_body: Literal["entity", "nothing", "pair"] = "entity"
    allocates_ids: bool = False
    delete_status: Literal[200, 204, 405] = 204
    page_limit: Count = 1000
    requests_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    max_concurrent: Count | None = None
    retry_after: Annotated[int, msgspec.Meta(ge=0)] | None = 1
    retry_after_form: Literal["seconds", "date"] = "seconds"
    error_shape: ErrorShape = "standard"
    minor_code_style: Literal["plain", "underscores", "spaces", "upper"] = "plain"
    unavailable: bool = False
    token_unavailable: bool = False
    latency: Seconds = 0
    forbidden_classes: frozenset[str] = frozenset()
    locked_classes: dict[str, Literal[409, 412]] = {}

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone {self.timezone} is no IANA zone") from error


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that goes wrong with the requests that match.

    match: regular expression searched in `METHOD /path` (path without the district's prefix).
    skip: so many matching requests go by unharmed first. times: then so many are hit; None: all.

    kinds: `status` answers it (with `description`, `shape`, `retry_after`) and stores nothing ·
    `delay` waits `seconds`, then serves · `delay_answer` serves, waits, answers · `hang` never
    answers and stores nothing · `reset_before` drops the connection and stores nothing ·
    `reset_after` stores, then drops it · `swallow` answers success and stores nothing · `redirect`
    307 to `location` · `login_page` 200 with an HTML form · `wrong_types` serves with every JSON
    value's type changed · `malformed` serves half of the JSON.
    """

    kind: Literal[
        "status",
        "delay",
        "delay_answer",
        "hang",
        "reset_before",
        "reset_after",
        "swallow",
        "redirect",
        "login_page",
        "wrong_types",
        "malformed",
    ]
    match: str = ""
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    times: Count | None = 1
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 503
    seconds: Seconds = 0
    location: str = "http://elsewhere.invalid/"
    description: str = "the stand-in was told to fail"
    shape: ErrorShape | None = None
    retry_after: str | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"match {self.match} is no regular expression: {error}") from error


class FaultPlan:
    """The faults that a district still has to commit, asked in the order they were given."""

    def __init__(self) -> None:
        self._pending: list[_Pending] = []

    def add(self, fault: Fault) -> None:
        self._pending.append(_Pending(fault))

    def clear(self) -> None:
        self._pending.clear()

    def next_for(self, method: str, path: str) -> Fault | None:
        """The fault that hits this request, counted as committed; None when none does."""
        if not self._pending:
            return None
        for pending in self._pending:
            if pending.hits(f"{method} {path}"):
                if pending.left == 0:
                    self._pending.remove(pending)
                return pending.fault
        return None

    def outstanding(self) -> list[dict[str, object]]:
        """The faults still to come, as their settings with `skip` and `times` counted down."""
        return [
            {**msgspec.structs.asdict(one.fault), "skip": one.skip, "times": one.left}
            for one in self._pending
        ]


class _Pending:
    __slots__ = ("_pattern", "fault", "left", "skip")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.skip = fault.skip
        self.left = fault.times
        self._pattern = re.compile(fault.match)

    def hits(self, request_line: str) -> bool:
        if not self._pattern.search(request_line):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True

"""Everything that can be read from a district: collections by page, and single objects."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from consumer.sandbox.skyward.answers import bare_answer, json_answer
from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.objects import Objects, only_fields
from consumer.sandbox.skyward.operations import Route
from consumer.sandbox.skyward.paging import Getter, page
from consumer.sandbox.skyward.refusal import Refusal, unknown


class _Kind(NamedTuple):
    """How one kind of row is named in JSON, and what it may be filtered by."""

    one: str
    many: str
    write: Callable[[Objects, Any], dict[str, Any]]
    filters: dict[str, Getter]


_BASE: dict[str, Getter] = {
    "sourcedId": lambda row: row.sourced_id,
    "status": lambda row: row.status,
}
_TYPED: dict[str, Getter] = {**_BASE, "type": lambda row: row.type}
_SESSION: dict[str, Getter] = {**_TYPED, "title": lambda row: row.title}
_USER: dict[str, Getter] = {**_BASE, "role": lambda row: row.role}
_ORGS = _Kind("org", "orgs", Objects.org, _TYPED)
_SESSIONS = _Kind("academicSession", "academicSessions", Objects.session, _SESSION)
_USERS = _Kind("user", "users", Objects.user, _USER)
_KINDS: dict[str, _Kind] = {
    "orgs": _ORGS,
    "schools": _ORGS,
    "academicSessions": _SESSIONS,
    "gradingPeriods": _SESSIONS,
    "terms": _SESSIONS,
    "courses": _Kind("course", "courses", Objects.course, _BASE),
    "classes": _Kind(
        "class",
        "classes",
        Objects.school_class,
        {**_BASE, "title": lambda row: row.title, "school.sourcedId": lambda row: row.school},
    ),
    "users": _USERS,
    "students": _USERS,
    "teachers": _USERS,
    "enrollments": _Kind(
        "enrollment",
        "enrollments",
        Objects.enrollment,
        {
            **_BASE,
            "role": lambda row: row.role,
            "class.sourcedId": lambda row: row.class_id,
            "user.sourcedId": lambda row: row.user,
        },
    ),
    "categories": _Kind(
        "category",
        "categories",
        Objects.category,
        {
            "sourcedId": lambda row: row[0],
            "status": lambda row: row[1].status,
            "title": lambda row: row[1].title,
        },
    ),
    "lineItems": _Kind(
        "lineItem",
        "lineItems",
        Objects.line_item,
        {
            **_BASE,
            "title": lambda row: row.title,
            "class.sourcedId": lambda row: row.class_id,
            "category.sourcedId": lambda row: row.category,
        },
    ),
    "results": _Kind(
        "result",
        "results",
        Objects.result,
        {
            **_BASE,
            "lineItem.sourcedId": lambda row: row.line_item.sourced_id,
            "student.sourcedId": lambda row: row.student,
            "scoreStatus": lambda row: row.score_status,
        },
    ),
}


def read(district: District, route: Route, query: str, url: str, objects: Objects) -> web.Response:
    """The answer to a GET; a Refusal for what does not exist or cannot be asked.

    url is the request's, without its query, for the Link header.
    """
    operation = route.operation
    kind = _KINDS[operation.kind]
    if operation.name == "getCategoriesForClass":
        status = district.settings.class_categories_status
        if status in (405, 501):
            return bare_answer(status)
        if status == 404:
            raise unknown("classes have no categories here")
    if len(route.ids) == 1 and not operation.name.endswith(("ForClass", "ForTerm")):
        row = _one(district, operation.kind, route.ids[0])
        if row is None:
            raise unknown(f"{kind.one} {route.ids[0]} is unknown")
        return json_answer(200, {kind.one: kind.write(objects, row)})
    rows = _rows(district, operation.name, operation.kind, route.ids)
    found = page(rows, query, url, district.settings.page_limit, kind.filters)
    bodies = [kind.write(objects, row) for row in found.rows]
    if found.fields:
        bodies = [only_fields(body, found.fields) for body in bodies]
    return json_answer(200, {kind.many: bodies}, found.headers)


def _rows(district: District, name: str, kind: str, ids: tuple[str, ...]) -> Sequence[Any]:
    if name.endswith("ForClass") and ids[0] not in district.classes:
        raise unknown(f"class {ids[0]} is unknown")
    match name:
        case "getStudentsForClass":
            return _by_id(district.users[one] for one in district.students_of(ids[0]))
        case "getTeachersForClass":
            return _by_id(district.users[one] for one in district.roster.teachers_of(ids[0]))
        case "getCategoriesForClass":
            return sorted(district.categories_of(ids[0]).items())
        case "getLineItemsForClass":
            return district.gradebook.line_items_of(ids[0])
        case "getResultsForClass":
            return district.gradebook.results_of(ids[0])
        case "getResultsForStudentForClass":
            results = district.gradebook.results_of(ids[0])
            return [result for result in results if result.student == ids[1]]
        case "getResultsForLineItemForClass":
            item = district.gradebook.line_items.get(ids[1])
            if item is None or item.class_id != ids[0]:
                raise unknown(f"lineItem {ids[1]} is unknown in class {ids[0]}")
            return _by_id(item.results.values())
        case "getGradingPeriodsForTerm":
            periods = _all(district, "gradingPeriods")
            return [period for period in periods if period.parent == ids[0]]
        case _:
            return _all(district, kind)


def _all(district: District, kind: str) -> Sequence[Any]:
    sessions, users = district.sessions.values(), district.users.values()
    match kind:
        case "orgs":
            return _by_id(district.roster.orgs.values())
        case "schools":
            return _by_id(district.roster.schools)
        case "academicSessions":
            return _by_id(sessions)
        case "gradingPeriods":
            return _by_id(session for session in sessions if session.type == "gradingPeriod")
        case "terms":
            return _by_id(session for session in sessions if session.type == "term")
        case "courses":
            return _by_id(district.roster.courses.values())
        case "classes":
            return _by_id(district.classes.values())
        case "users":
            return _by_id(users)
        case "students":
            return _by_id(user for user in users if user.role == "student")
        case "teachers":
            return _by_id(user for user in users if user.role == "teacher")
        case "enrollments":
            return _by_id(district.enrollments())
        case "categories":
            return sorted(district.categories().items())
        case "lineItems":
            return district.gradebook.sorted_line_items()
        case "results":
            return district.gradebook.sorted_results()
        case _:
            raise Refusal(501, "unsupportedoperation", f"{kind} are not served")


def _one(district: District, kind: str, sourced_id: str) -> Any:
    match kind:
        case "lineItems":
            return district.gradebook.line_items.get(sourced_id)
        case "results":
            return district.gradebook.results.get(sourced_id)
        case "categories":
            category = district.settings.categories.get(sourced_id)
            return None if category is None else (sourced_id, category)
        case _:
            return next((row for row in _all(district, kind) if row.sourced_id == sourced_id), None)


def _by_id(rows: Iterable[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: row.sourced_id)

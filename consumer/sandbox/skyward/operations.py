"""Which OneRoster operation a request asks for, and which scopes allow it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import unquote

from consumer.sandbox.skyward.behaviour import PathStyle, Settings, Version
from consumer.sandbox.skyward.tokens import SCOPE_PREFIX

Service = Literal["rostering", "gradebook"]
_CORE = ("roster.readonly", "roster-core.readonly")
_GRADEBOOK = ("gradebook.readonly", "gradebook-core.readonly")


@dataclass(frozen=True, slots=True)
class Operation:
    """One of OneRoster's operations.

    kind: what the answer holds (`orgs`, `lineItems`, ...). any_of: ends of the scopes, one of which
    is needed; standard_any_of where the standard is stricter than most servers.
    """

    name: str
    service: Service
    kind: str
    any_of: tuple[str, ...]
    standard_any_of: tuple[str, ...]

    def allowed(self, granted: frozenset[str], version: Version, settings: Settings) -> bool:
        """Whether a token with the `granted` scopes may do it in this version."""
        ends = self.standard_any_of if settings.scopes == "standard" else self.any_of
        prefix = SCOPE_PREFIX[version]
        return any(prefix + end in granted for end in ends)


class Route(NamedTuple):
    """A request's path, understood. ids: the sourcedIds in it, from left to right."""

    version: Version
    style: PathStyle
    operation: Operation
    ids: tuple[str, ...]


_Shape = tuple[str, tuple[str, ...]]
_OPERATIONS: dict[_Shape, Operation] = {}


def _get(path: str, name: str, service: Service, kind: str, *, inside: bool = False) -> None:
    any_of = _CORE if service == "rostering" else _GRADEBOOK
    standard = any_of[:1] if inside else any_of
    shape = tuple(part for part in path.split("/") if part != "*")
    star = ("*",) if path.endswith("*") else ()
    _OPERATIONS["GET", shape + star] = Operation(name, service, kind, any_of, standard)


for _resource, _one, _many in (
    ("orgs", "getOrg", "getAllOrgs"),
    ("schools", "getSchool", "getAllSchools"),
    ("academicSessions", "getAcademicSession", "getAllAcademicSessions"),
    ("gradingPeriods", "getGradingPeriod", "getAllGradingPeriods"),
    ("terms", "getTerm", "getAllTerms"),
    ("courses", "getCourse", "getAllCourses"),
    ("classes", "getClass", "getAllClasses"),
    ("users", "getUser", "getAllUsers"),
    ("students", "getStudent", "getAllStudents"),
    ("teachers", "getTeacher", "getAllTeachers"),
    ("enrollments", "getEnrollment", "getAllEnrollments"),
):
    _get(_resource, _many, "rostering", _resource)
    _get(f"{_resource}/*", _one, "rostering", _resource)
for _resource, _one, _many in (
    ("categories", "getCategory", "getAllCategories"),
    ("lineItems", "getLineItem", "getAllLineItems"),
    ("results", "getResult", "getAllResults"),
):
    _get(_resource, _many, "gradebook", _resource)
    _get(f"{_resource}/*", _one, "gradebook", _resource)
_get(
    "terms/*/gradingPeriods", "getGradingPeriodsForTerm", "rostering", "gradingPeriods", inside=True
)
_get("classes/*/students", "getStudentsForClass", "rostering", "students", inside=True)
_get("classes/*/teachers", "getTeachersForClass", "rostering", "teachers", inside=True)
_get("classes/*/categories", "getCategoriesForClass", "gradebook", "categories", inside=True)
_get("classes/*/lineItems", "getLineItemsForClass", "gradebook", "lineItems", inside=True)
_get("classes/*/results", "getResultsForClass", "gradebook", "results", inside=True)
_get(
    "classes/*/lineItems/*/results",
    "getResultsForLineItemForClass",
    "gradebook",
    "results",
    inside=True,
)
_get(
    "classes/*/students/*/results",
    "getResultsForStudentForClass",
    "gradebook",
    "results",
    inside=True,
)
for _method, _verb, _end in (
    ("PUT", "put", "gradebook.createput"),
    ("DELETE", "delete", "gradebook.delete"),
):
    for _resource, _noun in (("lineItems", "LineItem"), ("results", "Result")):
        _OPERATIONS[_method, (_resource, "*")] = Operation(
            f"{_verb}{_noun}", "gradebook", _resource, (_end,), (_end,)
        )

_PATHS_KNOWN = {shape for _, shape in _OPERATIONS}


def route(method: str, path: str, settings: Settings) -> Route | Literal["method"] | None:
    """What `path`, which begins after the district's prefix, asks for.

    None when nothing is served there, `method` when something is, but not by this method. HEAD is
    no method of OneRoster's.
    """
    parts = path.split("/")
    if parts[1:3] != ["ims", "oneroster"] or len(parts) < 5:
        return None
    style: PathStyle = "split" if parts[3] in ("rostering", "gradebook") else "flat"
    after = 5 if style == "split" else 4
    version: Version
    match parts[after - 1]:
        case "v1p2":
            version = "1.2"
        case "v1p1" if style == "flat":
            version = "1.1"
        case _:
            return None
    if version not in settings.versions or style not in settings.path_styles:
        return None
    rest = parts[after:]
    shape = tuple(rest[::2]) + (("*",) if len(rest) % 2 == 0 else ())
    operation = _OPERATIONS.get((method, shape))
    if operation is None:
        return "method" if shape in _PATHS_KNOWN else None
    if style == "split" and operation.service != parts[3]:
        return None
    if version == "1.1" and operation.name == "getCategoriesForClass":
        return None
    ids = tuple(unquote(one) if "%" in one else one for one in rest[1::2])
    return Route(version, style, operation, ids)

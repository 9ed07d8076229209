"""OneRoster objects as the stand-in serves them, in both versions."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from consumer.sandbox.roster import AcademicSession, Course, Enrollment, Org, SchoolClass, User
from consumer.sandbox.skyward.behaviour import Category, Version
from consumer.sandbox.skyward.gradebook import LineItem, Result

Json = dict[str, Any]
_ROSTER_PATHS = {
    "org": "orgs",
    "academicSession": "academicSessions",
    "course": "courses",
    "class": "classes",
    "user": "users",
    "student": "students",
}
_GRADEBOOK_PATHS = {"category": "categories", "lineItem": "lineItems"}
_USER_ROLES = {"administrator": "siteAdministrator"}
_CATEGORIES_MODIFIED = "2026-01-01T00:00:00.000Z"


class Objects:
    """Writes objects for one version; `roster_root` and `gradebook_root` begin the references."""

    def __init__(self, version: Version, roster_root: str, gradebook_root: str) -> None:
        self.version = version
        self._roots = {kind: f"{roster_root}/{path}/" for kind, path in _ROSTER_PATHS.items()}
        self._roots |= {
            kind: f"{gradebook_root}/{path}/" for kind, path in _GRADEBOOK_PATHS.items()
        }

    def reference(self, kind: str, sourced_id: str) -> Json:
        return {"href": self._roots[kind] + sourced_id, "sourcedId": sourced_id, "type": kind}

    def _references(self, kind: str, sourced_ids: tuple[str, ...]) -> list[Json]:
        return [self.reference(kind, one) for one in sourced_ids]

    def org(self, org: Org) -> Json:
        body = _base(org) | {"name": org.name, "type": org.type, "identifier": org.identifier}
        if org.parent:
            body["parent"] = self.reference("org", org.parent)
        return body

    def session(self, session: AcademicSession) -> Json:
        body = _base(session) | {
            "title": session.title,
            "startDate": session.start_date.isoformat(),
            "endDate": session.end_date.isoformat(),
            "type": session.type,
            "schoolYear": session.school_year,
        }
        if session.parent:
            body["parent"] = self.reference("academicSession", session.parent)
        return body

    def course(self, course: Course) -> Json:
        body = _base(course) | {"title": course.title, "courseCode": course.course_code}
        if course.school_year:
            body["schoolYear"] = self.reference("academicSession", course.school_year)
        if course.org:
            body["org"] = self.reference("org", course.org)
        return body | {"grades": list(course.grades)}

    def school_class(self, one: SchoolClass) -> Json:
        return _base(one) | {
            "title": one.title,
            "classCode": one.class_code,
            "classType": one.class_type,
            "grades": list(one.grades),
            "subjects": list(one.subjects),
            "course": self.reference("course", one.course),
            "school": self.reference("org", one.school),
            "terms": self._references("academicSession", one.terms),
        }

    def user(self, user: User) -> Json:
        body = _base(user) | {
            "username": user.username,
            "enabledUser": self._flag(user.enabled),
            "givenName": user.given_name,
            "familyName": user.family_name,
            "identifier": user.identifier,
            "email": user.email,
            "grades": list(user.grades),
        }
        if self.version == "1.1":
            return body | {"role": user.role, "orgs": self._references("org", user.orgs)}
        role = _USER_ROLES.get(user.role, user.role)
        return body | {
            "roles": [
                {"roleType": "primary", "role": role, "org": self.reference("org", org)}
                for org in user.orgs
            ]
        }

    def enrollment(self, enrollment: Enrollment) -> Json:
        body = _base(enrollment) | {
            "user": self.reference("user", enrollment.user),
            "class": self.reference("class", enrollment.class_id),
            "school": self.reference("org", enrollment.school),
            "role": enrollment.role,
            "primary": self._flag(enrollment.primary),
        }
        if enrollment.begin_date:
            body["beginDate"] = enrollment.begin_date
        if enrollment.end_date:
            body["endDate"] = enrollment.end_date
        return body

    def category(self, entry: tuple[str, Category]) -> Json:
        sourced_id, category = entry
        return {
            "sourcedId": sourced_id,
            "status": category.status,
            "dateLastModified": _CATEGORIES_MODIFIED,
            "title": category.title,
        }

    def line_item(self, item: LineItem) -> Json:
        body: Json = {
            "sourcedId": item.sourced_id,
            "status": item.status,
            "dateLastModified": _moment(item.modified),
            "title": item.title,
            "assignDate": item.assign_date,
            "dueDate": item.due_date,
            "class": self.reference("class", item.class_id),
            "category": self.reference("category", item.category),
        }
        if self.version == "1.2" and item.school is not None:
            body["school"] = self.reference("org", item.school)
        if item.grading_period is not None:
            body["gradingPeriod"] = self.reference("academicSession", item.grading_period)
        if self.version == "1.2" and item.academic_session is not None:
            body["academicSession"] = self.reference("academicSession", item.academic_session)
        if item.value_min is not None:
            body["resultValueMin"] = msgspec.Raw(item.value_min.encode())
        if item.value_max is not None:
            body["resultValueMax"] = msgspec.Raw(item.value_max.encode())
        return body | (item.extras or {})

    def result(self, result: Result) -> Json:
        body: Json = {
            "sourcedId": result.sourced_id,
            "status": result.status,
            "dateLastModified": _moment(result.modified),
            "lineItem": self.reference("lineItem", result.line_item.sourced_id),
            "student": self.reference(
                "student" if self.version == "1.1" else "user", result.student
            ),
            "scoreStatus": result.score_status,
            "scoreDate": result.score_date,
        }
        if result.score is not None:
            body["score"] = msgspec.Raw(result.score.encode())
        if result.extras is not None:
            body |= result.extras
        return body

    def _flag(self, value: bool) -> bool | str:
        return value if self.version == "1.1" else str(value).lower()


def _base(row: Org | AcademicSession | Course | SchoolClass | User | Enrollment) -> Json:
    return {
        "sourcedId": row.sourced_id,
        "status": row.status,
        "dateLastModified": row.date_last_modified,
    }


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def only_fields(body: Mapping[str, Any], fields: tuple[str, ...]) -> Json:
    """The body reduced to `fields`; whole when there are none."""
    return {name: value for name, value in body.items() if not fields or name in fields}

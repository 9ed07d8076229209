"""The rules that Skyward enforces on a line item and on a result; a Refusal names what breaks them.

Nothing is stored here.
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import UNSET, Raw

from consumer.sandbox.roster import AcademicSession
from consumer.sandbox.skyward.behaviour import Settings, Version
from consumer.sandbox.skyward.bodies import (
    LineItemBody,
    Reference,
    ResultBody,
    moment_or_day,
    number_text,
    required_fields,
)
from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.gradebook import LineItem, Result
from consumer.sandbox.skyward.refusal import Refusal, forbidden, invalid, unknown

_LINE_ITEM_EXTRAS = ("description", "metadata", "scoreScale", "learningObjectiveSet")
_RESULT_EXTRAS = (
    "metadata",
    "scoreScale",
    "textScore",
    "comment",
    "learningObjectiveSet",
    "inProgress",
    "incomplete",
    "late",
    "missing",
)


def line_item_to_store(
    district: District, body: LineItemBody, sourced_id: str, version: Version, now: float
) -> LineItem:
    """The line item that a PUT makes of the stored one, or anew; `now` is its epoch time.

    Refusals: 400 for missing fields, the settings' statuses for unknown references, categories and
    closed periods, 422 for a due date outside the named period and for a title too long.
    """
    settings = district.settings
    existing = district.gradebook.line_items.get(sourced_id)
    if existing is not None and settings.put == "merge":
        _fill(body, _line_item_as_body(existing))
    _check_required("lineItem", body, required_fields("lineItem", version, settings))
    class_id = _sourced_id(body.class_)
    check_class(district, class_id)
    if existing is not None and existing.class_id != class_id:
        raise invalid(f"line item {sourced_id} belongs to class {existing.class_id}", 422)
    school = _sourced_id(body.school) or None
    if school is not None and school not in district.roster.orgs:
        raise unknown(f"school {school} is unknown", settings.unknown_reference_status)
    category = _sourced_id(body.category)
    check_category(district, class_id, category)
    title = str(body.title)
    if not title.strip():
        raise invalid("title is empty")
    if settings.max_title_length is not None and len(title) > settings.max_title_length:
        raise invalid(f"title is longer than {settings.max_title_length} characters", 422)
    grading_period = _sourced_id(body.gradingPeriod) or None
    academic_session = _sourced_id(body.academicSession) or None
    assigned, due = str(body.assignDate), str(body.dueDate)
    named = {"gradingPeriod": grading_period, "academicSession": academic_session}
    check_dates(district, class_id, assigned, due, named)
    return LineItem(
        sourced_id=sourced_id,
        status=_text(body.status, "active"),
        modified=now,
        title=title,
        assign_date=assigned,
        due_date=due,
        class_id=class_id,
        school=school,
        category=category,
        grading_period=grading_period,
        academic_session=academic_session,
        value_min=number_text("resultValueMin", body.resultValueMin),
        value_max=number_text("resultValueMax", body.resultValueMax),
        extras=_extras(body, _LINE_ITEM_EXTRAS),
    )


def result_to_store(
    district: District, body: ResultBody, sourced_id: str, version: Version, now: float
) -> Result:
    """The result that a PUT makes of the stored one, or anew; `now` is its epoch time.

    Scores beyond resultValueMax are taken; below resultValueMin they are refused (422). With the
    setting of rule 10 on, what is stored is not what was sent.
    """
    settings = district.settings
    gradebook = district.gradebook
    if settings.put == "merge":
        existing = gradebook.results.get(sourced_id)
        if existing is not None:
            _fill(body, _result_as_body(existing))
    _check_required("result", body, required_fields("result", version, settings))
    item_id = _sourced_id(body.lineItem)
    item = gradebook.line_items.get(district.aliases.get(item_id, item_id))
    if item is None:
        raise unknown(f"lineItem {item_id} is unknown", settings.unknown_reference_status)
    check_class(district, item.class_id)
    named_class = _sourced_id(body.class_)
    if named_class and named_class != item.class_id:
        raise invalid(f"line item {item_id} does not belong to class {named_class}", 422)
    user = district.users.get(_sourced_id(body.student))
    if user is None or user.role != "student":
        student = _sourced_id(body.student)
        raise unknown(f"student {student} is unknown", settings.unknown_reference_status)
    if user.sourced_id not in district.students_of(item.class_id):
        raise invalid(f"student {user.sourced_id} is not enrolled in class {item.class_id}", 422)
    if settings.closed_period_refuses_results:
        _check_item_is_open(district, item)
    extras = _extras(body, _RESULT_EXTRAS)
    score = number_text("score", body.score)
    if score is not None:
        if item.value_min is not None and Decimal(score) < Decimal(item.value_min):
            raise invalid(f"score is below resultValueMin {item.value_min}", 422)
        if settings.use_grade_when_posting != "off":
            score = altered_score(score, item.value_max, settings)
    return Result(
        sourced_id=sourced_id,
        status=_text(body.status, "active"),
        modified=now,
        line_item=item,
        student=user.sourced_id,
        score=score,
        score_status=_shared(str(body.scoreStatus)),
        score_date=_shared(str(body.scoreDate)),
        extras=extras,
    )


def check_class(district: District, class_id: str) -> None:
    """Raises a Refusal when writes to the class are impossible, forbidden or locked."""
    settings = district.settings
    if class_id not in district.classes:
        raise unknown(f"class {class_id} is unknown", settings.unknown_reference_status)
    if class_id in settings.forbidden_classes:
        raise forbidden(f"the gradebook of class {class_id} may not be written")
    if class_id in settings.locked_classes:
        status = settings.locked_classes[class_id]
        raise Refusal(status, "invaliddata", f"the gradebook of class {class_id} is locked")


def check_category(district: District, class_id: str, category: str) -> None:
    """Raises a Refusal naming a category that is not district-level, or not active in the class."""
    status = district.settings.category_refusal_status
    known = district.settings.categories.get(category)
    if known is None:
        raise invalid(f"category {category} is unknown", status)
    if not known.district_level:
        raise invalid(f"category {category} is not a district-level category", status)
    if category not in district.categories_of(class_id):
        raise invalid(f"category {category} is not active in class {class_id}", status)


def check_dates(
    district: District,
    class_id: str,
    assigned: str,
    due: str,
    named: Mapping[str, str | None],
) -> None:
    """Raises a Refusal for dates in, or across, a closed period, and outside a named session.

    named: `gradingPeriod` and `academicSession` to the sourcedIds that the line item names.
    """
    settings = district.settings
    assign_day = local_day("assignDate", assigned, district.zone)
    due_day = local_day("dueDate", due, district.zone)
    sessions = {}
    for name, session_id in named.items():
        if session_id is None:
            continue
        session = district.sessions.get(session_id)
        if session is None or (name == "gradingPeriod" and session.type != "gradingPeriod"):
            raise unknown(f"{name} {session_id} is unknown", settings.unknown_reference_status)
        sessions[name] = session
    closed = [one for one in district.grading_periods_of(class_id) if district.is_closed(one)]
    for period in closed:
        for name, day in (("dueDate", due_day), ("assignDate", assign_day)):
            if period.contains(day):
                raise invalid(
                    f"{name} {day} lies in the closed grading period {_described(period)}",
                    settings.closed_period_status,
                )
    first, last = min(assign_day, due_day), max(assign_day, due_day)
    for period in closed:
        if first < period.start_date and period.end_date < last:
            raise invalid(
                f"assignDate {assign_day} to dueDate {due_day} straddles the closed grading period"
                f" {_described(period)}",
                settings.closed_period_status,
            )
    for name, session in sessions.items():
        if not session.contains(due_day):
            outside = f"dueDate {due_day} lies outside the {name} {_described(session)}"
            raise invalid(outside, 422)


def local_day(name: str, text: str, zone: ZoneInfo) -> date:
    """The day on which a date-time falls in `zone`; a date is its own day."""
    moment = moment_or_day(name, text, days_allowed=True)
    return moment.astimezone(zone).date() if isinstance(moment, datetime) else moment


def altered_score(score: str, value_max: str | None, settings: Settings) -> str:
    """What Skyward stores for a score while "Use Grade When Posting ..." is on.

    `percent`: of resultValueMax, to two places; `mark`: 4 from 90 %, 3 from 80 %, ... else 0. A
    line item without a maximum, or of 0, keeps the score.
    """
    if value_max is None or not Decimal(value_max):
        return score
    percent = Decimal(score) / Decimal(value_max) * 100
    if settings.use_grade_when_posting == "mark":
        return str(max(0, min(4, int(percent // 10) - 5)))
    return f"{percent.quantize(Decimal('0.01')).normalize():f}"


def _check_item_is_open(district: District, item: LineItem) -> None:
    due_day = local_day("dueDate", item.due_date, district.zone)
    for period in district.grading_periods_of(item.class_id):
        if period.contains(due_day) and district.is_closed(period):
            raise invalid(
                f"dueDate {due_day} of line item {item.sourced_id} lies in the closed grading"
                f" period {_described(period)}",
                district.settings.closed_period_status,
            )


def _described(period: AcademicSession) -> str:
    return f"{period.title} ({period.start_date} to {period.end_date})"


def _check_required(kind: str, body: LineItemBody | ResultBody, required: tuple[str, ...]) -> None:
    missing = [name.rstrip("_") for name in required if getattr(body, name) is UNSET]
    if missing:
        raise invalid(f"the {kind} has no {', '.join(missing)}")


def _sourced_id(reference: Any) -> str:
    return reference.sourcedId if isinstance(reference, Reference) else ""


def _text(value: Any, otherwise: str) -> str:
    return otherwise if value is UNSET else _shared(str(value))


_texts: dict[str, str] = {}


def _shared(text: str) -> str:
    """One copy of a text that thousands of results repeat; the store of them is bounded."""
    if len(_texts) > 10_000:
        _texts.clear()
    return _texts.setdefault(text, text)


def _extras(body: LineItemBody | ResultBody, names: tuple[str, ...]) -> dict[str, Any] | None:
    extras = {name: value for name in names if (value := getattr(body, name)) is not UNSET}
    return extras or None


def _fill(body: Any, stored: Any) -> None:
    """Puts what is stored where the body is silent."""
    for name in body.__struct_fields__:
        if getattr(body, name) is UNSET:
            setattr(body, name, getattr(stored, name))


def _reference(sourced_id: str | None) -> Any:
    return UNSET if sourced_id is None else Reference(sourced_id)


def _raw(number: str | None) -> Any:
    return UNSET if number is None else Raw(number.encode())


def _line_item_as_body(item: LineItem) -> LineItemBody:
    return LineItemBody(
        title=item.title,
        status=item.status,  # type: ignore[arg-type]
        assignDate=item.assign_date,
        dueDate=item.due_date,
        class_=Reference(item.class_id),
        school=_reference(item.school),
        category=Reference(item.category),
        gradingPeriod=_reference(item.grading_period),
        academicSession=_reference(item.academic_session),
        resultValueMin=_raw(item.value_min),
        resultValueMax=_raw(item.value_max),
        **(item.extras or {}),
    )


def _result_as_body(result: Result) -> ResultBody:
    return ResultBody(
        status=result.status,  # type: ignore[arg-type]
        lineItem=Reference(result.line_item.sourced_id),
        student=Reference(result.student),
        scoreStatus=result.score_status,
        score=_raw(result.score),
        scoreDate=result.score_date,
        **(result.extras or {}),
    )

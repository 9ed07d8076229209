"""What each answer to ``district check`` comes to: what was read, as a pass or a fail.

Pure. The names and their order follow the setup process of the admin guide.
"""

from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime
from typing import Final
from urllib.parse import urlsplit

from consumer.cli.checks import Check, not_asked
from consumer.cli.guidance import GUIDANCE
from consumer.cli.output import local
from consumer.district import OTUS_TYPES, District
from consumer.errors import DistrictStopped
from consumer.gradebook import REASONS, AcademicSession, Membership, Reason
from consumer.periods import grading_periods_of, period_of
from consumer.store.districts import StoredDistrict

SETTINGS: Final = "settings"
ADDRESS: Final = "address"
TOKEN: Final = "token"  # noqa: S105  the name of a check
SCOPES: Final = "scopes"
PERIODS: Final = "grading periods"
TYPES: Final = "assessment types"
CLASSES: Final = "classes"
CLASS_CATEGORIES: Final = "categories in classes"
GROUP: Final = "teacher group"
LICENCE: Final = "licence"
USE_GRADE: Final = "use grade setting"

_NAMED: Final = 3
"""So many classes are named; of more, how many there are."""


def category_line(category: str) -> str:
    """The name of a mapped category's check."""
    return f"category {category}"


def settings_stand(stored: StoredDistrict, at: datetime) -> Check:
    """Whether the district is served: applied, and not paused."""
    district, zone = stored.district, stored.district.zone
    if stored.is_paused(at):
        until = "it is resumed" if stored.paused_until is None else local(stored.paused_until, zone)
        cure = f"passback district resume {district.district}, once it may send"
        return Check(SETTINGS, False, f"paused until {until}", cure)
    because = f"revision {stored.revision}; next cutoff {local(stored.next_cutoff_at, zone)}"
    if district.effective_date > at.astimezone(zone).date():
        because += f"; nothing passes before its effective date {district.effective_date}"
    return Check(SETTINGS, True, because)


def reached(base_url: str) -> Check:
    """The base URL answered."""
    parts = urlsplit(base_url)
    how = "over TLS" if parts.scheme == "https" else "over plain http"
    return Check(ADDRESS, True, f"{parts.hostname} answers {how}")


def stopped(check: str, stop: DistrictStopped) -> Check:
    """What could not be asked to the end, with the cure of its reason."""
    reason = REASONS[stop.reason]
    if reason is Reason.SKYWARD_UNAVAILABLE:
        cure = "correct the address in the district's file, or ask the district about its server"
    else:
        cure = GUIDANCE[reason].do
    return Check(check, False, str(stop), cure)


def scopes_granted(asked: Sequence[str], granted: frozenset[str] | None) -> Check:
    """Whether the token carries what was asked for; many servers do not say."""
    if not granted:
        because = "Skyward does not say which scopes it granted; what follows will show"
        return Check(SCOPES, True, because)
    missing = [_scope_end(scope) for scope in asked if scope not in granted]
    if not missing:
        return Check(SCOPES, True, f"all {len(asked)} that were asked for are granted")
    return Check(
        SCOPES,
        False,
        f"not granted: {', '.join(missing)}",
        "the district gives its API user these rights in Skyward, or owns the LMS/OneRoster API"
        " licence first",
    )


def _scope_end(scope: str) -> str:
    return scope.rsplit("/", 1)[-1]


def grading_periods(sessions: Mapping[str, AcademicSession], today: date) -> Check:
    """Whether an active grading period covers today."""
    periods = grading_periods_of((), sessions)
    if not periods:
        listed = sum(s.type == "gradingPeriod" for s in sessions.values())
        because = "Skyward lists no grading period"
        if listed:
            because = f"none of the {listed} grading periods in Skyward is active"
        cure = "the district sets up this year's grading periods in Skyward"
        return Check(PERIODS, False, because, cure)
    covering = period_of(today, periods)
    if covering is not None:
        many = f", one of {len(periods)}" if len(periods) > 1 else ""
        because = f"{today} lies in {covering.sourced_id}, open to {covering.end}{many}"
        return Check(PERIODS, True, because)
    coming = [period.start for period in periods if period.start > today]
    then = f"the next begins on {min(coming)}" if coming else "none is to come"
    return Check(
        PERIODS,
        False,
        f"{today} lies in none of {len(periods)} grading periods; {then}",
        "wait for it, or the district corrects the days in Skyward"
        if coming
        else "the district sets up the coming grading periods in Skyward",
    )


def types_by_category(district: District) -> dict[str, list[str]]:
    """The mapped categories, each with the assessment types that map to it."""
    found: dict[str, list[str]] = {}
    for otus_type, category in sorted(district.categories.items()):
        found.setdefault(category, []).append(otus_type)
    return dict(sorted(found.items()))


def mapped_category(
    category: str, types: Sequence[str], listed: frozenset[str], in_classes: frozenset[str]
) -> Check:
    """Whether Skyward lists the category for the district; ``in_classes`` are the classes' own."""
    used = f"for {', '.join(types)}"
    if category in listed:
        return Check(category_line(category), True, f"active, district-level; {used}")
    if category in in_classes:
        because = f"known to classes only, not district-level; {used}"
        cure = "make it district-level in Skyward, or map another one and apply"
    else:
        because = f"Skyward lists no active category of this sourcedId; {used}"
        cure = "correct the sourcedId under categories, or the district activates it in Skyward"
    return Check(category_line(category), False, because, cure)


def types_mapped(district: District) -> Check:
    """Whether each of Otus' assessment types has a category; fewer is a warning."""
    mapped = len(district.categories)
    because = f"{mapped} of Otus' {OTUS_TYPES} are mapped to a category"
    if mapped >= OTUS_TYPES:
        return Check(TYPES, True, because)
    cure = "map the others under categories and apply; until then they are skipped"
    return Check(TYPES, True, because, f"{cure} ({Reason.CATEGORY_UNMAPPED})")


def classes_known(known: Sequence[str], in_skyward: Container[str]) -> Check:
    """Whether the classes of Otus' assessments exist in Skyward."""
    if not known:
        because = "no class has come from Otus that could be looked for; check again later"
        return Check(CLASSES, True, because)
    missing = [one for one in known if one not in in_skyward]
    if not missing:
        return Check(CLASSES, True, f"Skyward has the {len(known)} that Otus' assessments name")
    because = f"Skyward does not have {_some(missing, len(known))}"
    return Check(CLASSES, False, because, GUIDANCE[Reason.CLASS_UNKNOWN].do)


def categories_in_classes(
    mapped: frozenset[str], by_class: Mapping[str, frozenset[str] | None]
) -> Check:
    """Whether each of the mapped district-level categories is active in every class's gradebook.

    ``by_class``: a class's active categories, None where Skyward does not list them.
    """
    if not mapped:
        return not_asked(CLASS_CATEGORIES, "no mapped category is district-level")
    told = {one: active for one, active in by_class.items() if active is not None}
    if not told:
        because = "no class has come from Otus that could be looked at; check again later"
        if by_class:
            because = "Skyward lists no categories of classes; those of the district decide"
        return Check(CLASS_CATEGORIES, True, because)
    inactive = {
        category: classes
        for category in sorted(mapped)
        if (classes := [one for one, active in told.items() if category not in active])
    }
    if not inactive:
        silent = len(by_class) - len(told)
        but = f"; Skyward does not list those of {silent} more" if silent else ""
        because = (
            f"all district-level ones are active in the gradebooks of {_classes(len(told))}{but}"
        )
        return Check(CLASS_CATEGORIES, True, because)
    because = "; ".join(
        f"{category} is not active in {_some(classes, len(told))}"
        for category, classes in inactive.items()
    )
    cure = "activate them in these gradebooks in Skyward, or map others and apply"
    return Check(CLASS_CATEGORIES, False, because, cure)


def _some(classes: Sequence[str], among: int) -> str:
    more = ", …" if len(classes) > _NAMED else ""
    return f"{len(classes)} of {_classes(among)}: {', '.join(classes[:_NAMED])}{more}"


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def group_filled(memberships: Mapping[str, Membership]) -> Check:
    """Whether anyone is in the Skyward Grade Passback Teacher Group; nobody is a warning."""
    members = sum(one.member for one in memberships.values())
    if members:
        return Check(GROUP, True, f"it has {members} member{'s' * (members > 1)}")
    return Check(
        GROUP,
        True,
        "nobody is in the Skyward Grade Passback Teacher Group, so nothing passes",
        "the district adds its teachers to the group in Otus, or name them under group and apply",
    )


def untested() -> list[Check]:
    """What only a write can show."""
    because = "untested: only --write-probe CLASS can tell"
    return [
        Check(LICENCE, True, f"{because} whether Skyward takes writes"),
        Check(USE_GRADE, True, f"{because} whether scores stay as they are posted"),
    ]

"""The district file that fits a school day."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from consumer.sandbox.roster import Roster
from consumer.sandbox.school_calendar import calendar_on
from consumer.sandbox.teachers import in_settings

CATEGORIES: Final[Mapping[str, str]] = {
    "Assignment": "cat-homework",
    "Checklist": "cat-homework",
    "Homework": "cat-homework",
    "Journal": "cat-homework",
    "Lab": "cat-project",
    "Observation": "cat-otus",
    "Paper": "cat-project",
    "Presentation": "cat-project",
    "Project": "cat-project",
    "Quiz": "cat-test",
    "Test": "cat-test",
    "Other": "cat-otus",
}
"""Otus' twelve assessment types and the Skyward categories of the sandbox."""


def district_settings(
    roster: Roster,
    *,
    district_id: str,
    now: datetime,
    timezone: str,
    cutoff: str,
    base_url: str,
    token_url: str,
    name: str = "A school day in the sandbox",
    key_file: str = "skyward.key",
    secret_file: str = "skyward.secret",
    categories: Mapping[str, str] | None = None,
    max_concurrency: int = 4,
) -> dict[str, Any]:
    """The district file (contract: a district) that fits `school_day`, ready for YAML.

    ``cutoff`` is local wall clock such as "22:00"; ``categories`` maps Otus types to the sourcedIds
    of Skyward's categories. The breaker never trips: this data's many zeros are genuine.
    """
    effective = calendar_on(
        now.astimezone(ZoneInfo(timezone)).date(), roster.grading_periods
    ).effective_date
    return {
        "district": district_id,
        "name": name,
        "timezone": timezone,
        "cutoff": cutoff,
        "service_days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "effective_date": effective.isoformat(),
        "live_since": effective.isoformat(),
        "skyward": {
            "product": "qmlativ",
            "base_url": base_url,
            "token_url": token_url,
            "max_concurrency": max_concurrency,
            "key_file": key_file,
            "secret_file": secret_file,
        },
        "categories": dict(CATEGORIES if categories is None else categories),
        "rules": {"whole_number_rule": "grade", "due_date_missing": {"assign_plus_days": 7}},
        "zeros": {"max_count": 50, "max_share": 1.0},
        "group": in_settings(roster),
    }

"""The Skyward Grade Passback Teacher Group: most teachers join, and some do so in special ways."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum, auto
from typing import Final

from consumer.sandbox.otus import GROUP, Otus, Record, instant, otus_id
from consumer.sandbox.roster import Roster


class Standing(Enum):
    """How a teacher stands to the group; ``IN_SETTINGS``: the district file lists them."""

    JOINED_EARLY = auto()
    JOINED_LATE = auto()
    LEFT = auto()
    LEFT_BY_TOMBSTONE = auto()
    REJOINED = auto()
    NEVER = auto()
    IN_SETTINGS = auto()


_SPECIAL_TEACHERS: Final[Mapping[int, Standing]] = {
    3: Standing.JOINED_LATE,
    7: Standing.NEVER,
    11: Standing.REJOINED,
    13: Standing.LEFT,
    17: Standing.LEFT_BY_TOMBSTONE,
    23: Standing.JOINED_LATE,
    27: Standing.NEVER,
}


def standing_of(roster: Roster) -> dict[str, Standing]:
    """How each teacher (sourcedId) stands to the group; of every forty, seven in a special way."""
    teachers: dict[str, None] = {}
    for class_id in roster.classes:
        teachers.update(dict.fromkeys(roster.teachers_of(class_id)))
    usual = (Standing.JOINED_EARLY, Standing.JOINED_EARLY, Standing.IN_SETTINGS)
    return {
        teacher: _SPECIAL_TEACHERS.get(n % 40, usual[n % 3]) for n, teacher in enumerate(teachers)
    }


def in_settings(roster: Roster) -> list[str]:
    """The Otus ids of those whom the district file itself lists in its group."""
    teachers = [
        otus_id("teacher", teacher)
        for teacher, how in standing_of(roster).items()
        if how == Standing.IN_SETTINGS
    ]
    return [*teachers, administrator_of(roster)]


def administrator_of(roster: Roster) -> str:
    """The Otus id of an administrator whom the SIS knows."""
    for user in roster.users.values():
        if user.role == "administrator":
            return otus_id("admin", user.sourced_id)
    return otus_id("admin", "the district's own")


def joining(otus: Otus, standing: Mapping[str, Standing], open_since: date) -> Iterator[Record]:
    """What comes before all else; ``open_since`` is the open grading period's first day."""
    start = instant(open_since, time(7), otus.zone)
    early = start - timedelta(days=20)
    middle = start + (otus.now - start) / 2
    for teacher, how in standing.items():
        if how in (Standing.JOINED_EARLY, Standing.LEFT, Standing.LEFT_BY_TOMBSTONE):
            yield _group(otus, teacher, 1, True, early)
        elif how == Standing.JOINED_LATE:
            yield _group(otus, teacher, 1, True, middle)
        elif how == Standing.REJOINED:
            yield _group(otus, teacher, 1, True, early)
            yield _group(otus, teacher, 2, False, early + timedelta(days=9))
            yield _group(otus, teacher, 3, True, middle)


def leaving(otus: Otus, standing: Mapping[str, Standing]) -> Iterator[Record]:
    """What comes last: who leaves, once with an older join arriving after it."""
    for teacher, how in standing.items():
        if how == Standing.LEFT:
            yield _group(otus, teacher, 2, False, otus.now - timedelta(hours=2))
            # Late, and older than what stands: it must not bring the teacher back.
            yield _group(otus, teacher, 1, True, otus.now - timedelta(hours=1))
        elif how == Standing.LEFT_BY_TOMBSTONE:
            key = f"{otus.district}/{otus_id('teacher', teacher)}"
            yield otus.tombstone(GROUP, key, otus.now - timedelta(hours=1))


def _group(otus: Otus, teacher: str, version: int, member: bool, at: datetime) -> Record:
    teacher_id = otus_id("teacher", teacher)
    data = {"district_id": otus.district, "teacher_id": teacher_id, "version": version}
    key = f"{otus.district}/{teacher_id}"
    return otus.event(GROUP, key, f"group-{teacher_id}-v{version}", {**data, "member": member}, at)

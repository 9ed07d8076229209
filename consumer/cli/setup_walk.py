"""``district check``: the setup process of the admin guide, walked step by step.

A step that needs what failed before it is not asked, and says so; every other one is. Nothing
is written to Skyward but by the write probe, which takes it back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Final, TypeVar

from consumer.cli import setup_checks as said
from consumer.cli.checks import Check, not_asked
from consumer.cli.write_probe import LINE_ITEM, REMOVED, RESULT, Target, WriteProbe
from consumer.district import District
from consumer.errors import DistrictStopped, UsageError
from consumer.flush.run import Connects
from consumer.gradebook import AcademicSession, Reason
from consumer.periods import grading_periods_of, period_of
from consumer.skyward import Skyward
from consumer.store import classes, districts
from consumer.store.classes import KnownClass
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict

T = TypeVar("T")

_PROBE: Final = (said.LICENCE, said.USE_GRADE, LINE_ITEM, RESULT, REMOVED)


@dataclass(frozen=True, slots=True)
class _Read:
    """What Skyward shows of a district; ``by_class`` are the active categories of its classes."""

    sessions: Mapping[str, AcademicSession]
    listed: frozenset[str]
    terms: Mapping[str, tuple[str, ...]]
    by_class: Mapping[str, frozenset[str] | None]


class _NoTarget(Exception):
    """There is nothing to post a test item to; the message says why."""


class SetupWalk:
    """One walk through one district's setup at the instant ``at``.

    ``connect`` reaches Skyward as a night does, ``connect_to_delete`` with the right to delete
    as well; ``step`` is told what is being asked.
    """

    def __init__(
        self,
        pool: Pool,
        stored: StoredDistrict,
        at: datetime,
        *,
        connect: Connects,
        connect_to_delete: Connects,
        step: Callable[[str], None],
    ) -> None:
        self._pool: Final = pool
        self._stored: Final = stored
        self._district: Final[District] = stored.district
        self._at: Final = at.astimezone(stored.district.zone)
        self._connect: Final = connect
        self._connect_to_delete: Final = connect_to_delete
        self._step: Final = step
        self._skyward: Skyward | None = None

    async def checks(self, probed: str | None) -> list[Check]:
        """Every check, in the guide's order; ``probed`` names the class of the write probe.

        Raises ``UsageError`` where neither Skyward nor Otus knows that class.
        """
        checks = [said.settings_stand(self._stored, self._at)]
        async with AsyncExitStack() as connections:
            checks += await self._token(connections)
            sessions = await self._ask(said.PERIODS, self._sessions)
            listed = await self._ask("categories", Skyward.read_categories)
            terms = await self._ask(said.CLASSES, Skyward.read_classes)
            known = None if probed is None else await self._class(probed, terms)
            wanted = await self._classes_of_otus(sessions)
            there = [c for c in wanted if isinstance(terms, Check) or c in terms]
            by_class = await self._ask(
                said.CLASS_CATEGORIES, lambda skyward: self._class_categories(skyward, there)
            )
            today = self._at.date()
            checks.append(
                sessions if isinstance(sessions, Check) else said.grading_periods(sessions, today)
            )
            checks += self._categories(listed, by_class)
            checks.append(said.types_mapped(self._district))
            checks.append(terms if isinstance(terms, Check) else said.classes_known(wanted, terms))
            mapped = frozenset(self._district.categories.values())
            if not isinstance(listed, Check):
                mapped &= listed
            checks.append(
                by_class
                if isinstance(by_class, Check)
                else said.categories_in_classes(mapped, by_class)
            )
            checks.append(
                said.group_filled(await districts.memberships(self._pool, self._district))
            )
            if probed is None:
                return checks + said.untested()
            if (
                isinstance(sessions, Check)
                or isinstance(listed, Check)
                or isinstance(terms, Check)
                or isinstance(by_class, Check)
            ):
                why = "no token" if self._skyward is None else "what it needs could not be read"
                return checks + [not_asked(name, why) for name in _PROBE]
            read = _Read(sessions, listed, terms, by_class)
            return checks + await self._probe(known or KnownClass(probed, None, None), read)

    # --- reaching Skyward -----------------------------------------------------------------

    async def _token(self, connections: AsyncExitStack) -> list[Check]:
        """Address, token and scopes; what follows is asked only where there is a token."""
        self._step("reaching Skyward")
        try:
            skyward = await connections.enter_async_context(
                self._connect(self._stored, self._district)
            )
            await skyward.reach()
        except DistrictStopped as stop:
            if stop.reason == Reason.CREDENTIALS_REFUSED:
                sealed = "the key and the secret cannot be opened"
                return [
                    not_asked(said.ADDRESS, sealed),
                    said.stopped(said.TOKEN, stop),
                    not_asked(said.SCOPES, "no token"),
                ]
            unreached = [
                not_asked(name, "Skyward was not reached") for name in (said.TOKEN, said.SCOPES)
            ]
            return [said.stopped(said.ADDRESS, stop), *unreached]
        reached = said.reached(self._district.skyward.base_url)
        try:
            granted = await skyward.granted_scopes()
        except DistrictStopped as stop:
            token = said.stopped(said.TOKEN, stop)
            return [reached, token, not_asked(said.SCOPES, "no token")]
        self._skyward = skyward
        return [
            reached,
            Check(said.TOKEN, True, "Skyward accepts the key and the secret"),
            said.scopes_granted(skyward.asked_scopes, granted),
        ]

    async def _ask(self, check: str, read: Callable[[Skyward], Awaitable[T]]) -> T | Check:
        """What was read, or the failed check that says why it was not."""
        if self._skyward is None:
            return not_asked(check, "no token")
        self._step(f"reading {check}")
        try:
            return await read(self._skyward)
        except DistrictStopped as stop:
            return said.stopped(check, stop)

    # --- what Skyward shows ---------------------------------------------------------------

    async def _sessions(self, skyward: Skyward) -> Mapping[str, AcademicSession]:
        return {one.sourced_id: one for one in await skyward.read_sessions()}

    async def _classes_of_otus(
        self, sessions: Mapping[str, AcademicSession] | Check
    ) -> Sequence[str]:
        """The classes with work that could still pass: due since the oldest open period began."""
        today = self._at.date()
        periods = () if isinstance(sessions, Check) else grading_periods_of((), sessions)
        since = min((p.start for p in periods if p.end >= today), default=today)
        midnight = datetime.combine(since, time(), self._at.tzinfo)
        return await classes.due_since(self._pool, self._district.district, midnight)

    async def _class_categories(
        self, skyward: Skyward, wanted: Sequence[str]
    ) -> dict[str, frozenset[str] | None]:
        """The active categories of each class; the client bounds how many are asked at once."""
        found: dict[str, frozenset[str] | None] = {}

        async def read(class_id: str) -> None:
            found[class_id] = await skyward.read_class_categories(class_id)
            self._step(f"reading categories of classes, {len(found)} of {len(wanted)}")

        try:
            async with asyncio.TaskGroup() as group:
                for class_id in wanted:
                    group.create_task(read(class_id))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return dict(sorted(found.items()))

    def _categories(
        self,
        listed: frozenset[str] | Check,
        by_class: Mapping[str, frozenset[str] | None] | Check,
    ) -> list[Check]:
        types = said.types_by_category(self._district)
        if isinstance(listed, Check):
            return [replace(listed, check=said.category_line(one)) for one in types]
        told = [] if isinstance(by_class, Check) else [one for one in by_class.values() if one]
        in_classes = frozenset[str]().union(*told)
        return [said.mapped_category(one, types[one], listed, in_classes) for one in types]

    # --- the write probe ------------------------------------------------------------------

    async def _class(
        self, named: str, terms: Mapping[str, tuple[str, ...]] | Check
    ) -> KnownClass | None:
        """The class as Otus knows it; None where only Skyward does, or nobody could say."""
        # What cannot be printed cannot be stored either.
        known = (
            await classes.find(self._pool, self._district.district, named)
            if named.isprintable()
            else None
        )
        if isinstance(terms, Check):
            return known
        if named in terms:
            return known if known is not None and known.class_sourced_id == named else None
        if known is None:
            raise UsageError(
                f"Neither Skyward nor Otus knows a class {named!r}; name one by its sourcedId."
            )
        return known

    async def _probe(self, known: KnownClass, read: _Read) -> list[Check]:
        assert self._skyward is not None
        try:
            target = await self._target(self._skyward, known, read)
        except (_NoTarget, DistrictStopped) as why:
            return [not_asked(name, str(why)) for name in _PROBE]
        async with self._connect_to_delete(self._stored, self._district) as deleting:
            probe = WriteProbe(
                self._district.district,
                target,
                self._at,
                writing=self._skyward,
                deleting=deleting,
            )
            # Before anything is posted: what a crash leaves behind can be found.
            async with self._pool.acquire() as connection:
                await districts.write_audit(
                    connection,
                    self._district.district,
                    self._at,
                    "write_probe",
                    {"class": target.class_id, "line_item": probe.line_item.sourced_id},
                )
            return await probe.checks(self._step)

    async def _target(self, skyward: Skyward, known: KnownClass, read: _Read) -> Target:
        """Where the test item goes; raises ``_NoTarget`` and ``DistrictStopped``."""
        class_id = known.class_sourced_id
        if class_id not in read.terms:
            raise _NoTarget(f"Skyward has no active class {class_id}")
        periods = grading_periods_of(read.terms[class_id], read.sessions)
        period = period_of(self._at.date(), periods)
        if period is None:
            raise _NoTarget(f"no grading period of class {class_id} covers today")
        return Target(
            class_id=class_id,
            school_id=known.school_sourced_id or await _school(skyward, class_id),
            student_id=known.student_sourced_id or await _student(skyward, class_id),
            category_id=await self._category(skyward, class_id, read),
            grading_period_id=period.sourced_id,
        )

    async def _category(self, skyward: Skyward, class_id: str, read: _Read) -> str:
        active = read.by_class.get(class_id)
        if class_id not in read.by_class:
            active = await skyward.read_class_categories(class_id)
        usable = set(self._district.categories.values()) & read.listed
        if active is not None:
            usable &= active
        if not usable:
            raise _NoTarget(f"no mapped category is active in class {class_id}")
        return min(usable)


async def _school(skyward: Skyward, class_id: str) -> str:
    found = await skyward.read_class(class_id)
    if found is None or found.school_id is None:
        raise _NoTarget(f"Skyward does not say which school class {class_id} belongs to")
    return found.school_id


async def _student(skyward: Skyward, class_id: str) -> str:
    students = await skyward.read_students(class_id)
    if not students:
        raise _NoTarget(f"Skyward shows no student of class {class_id}")
    return min(students)

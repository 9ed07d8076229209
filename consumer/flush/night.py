"""What one run decides with, frozen when it begins, and the walk over what it decides.

The flush, the breaker's count and a forecast all walk with the same code.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from msgspec import Struct

from consumer.district import District
from consumer.gradebook import (
    AcademicSession,
    Decision,
    ItemKey,
    Kind,
    Membership,
    Origin,
    Reason,
)
from consumer.periods import grading_periods_of
from consumer.rules import (
    NAME_LIMIT,
    Case,
    Categories,
    Frame,
    Item,
    Tonight,
    ZeroRuling,
    asks_the_clock,
    decide,
    frame,
)
from consumer.skyward import Skyward
from consumer.store import districts, undecided
from consumer.store.connection import Pool
from consumer.store.skyward_state import SkywardClass, SkywardDistrict
from consumer.store.undecided import UndecidedGrade, UndecidedItem

Items = Callable[[bool], AsyncIterator[list[UndecidedItem]]]
"""The items to look at, a page at a time; where True, only those whose due moment has passed."""

_NOT_A_MEMBER: Final = Membership(False, None)
# A page that needs more classes than this reads the whole list of them instead of each one.
_CLASSES_ONE_BY_ONE: Final = 20


class Decided(Struct, frozen=True, gc=False):
    """A grade and what was decided about it."""

    grade: UndecidedGrade
    decision: Decision

    @property
    def is_new(self) -> bool:
        """Whether it is another decision than the one that stands."""
        before = (self.grade.kind, self.grade.reason)
        return before != (self.decision.kind, self.decision.reason)


class Portion(Struct, frozen=True, gc=False):
    """Some of an item's grades, decided; an item of many grades comes in several portions.

    ``last``: the item was looked at whole and nothing of it follows.
    """

    item: UndecidedItem
    frame: Frame
    grades: Sequence[Decided]
    last: bool

    @property
    def title_kept(self) -> bool:
        """Whether it was renamed to 50 or more after it was posted: Skyward keeps its title."""
        assessment = self.item.assessment
        return (
            self.last
            and assessment is not None
            and self.item.posted is not None
            and len(assessment.title) >= NAME_LIMIT
            and self.item.settled_version != assessment.version
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some line items that are looked at together, and what was decided of them, as it comes."""

    items: Sequence[ItemKey]
    portions: AsyncIterator[Portion]

    def __aiter__(self) -> AsyncIterator[Portion]:
        return self.portions


class Night:
    """Everything that one run decides with; Skyward's classes are read as they are met.

    ``items`` are those that are undecided at the cutoff, unless it is given.
    """

    def __init__(
        self,
        pool: Pool,
        tonight: Tonight,
        skyward: SkywardDistrict,
        reads: Skyward,
        items: Items | None = None,
    ) -> None:
        self._pool = pool
        self._items = items or (
            lambda due_only: undecided.items(
                pool, tonight.district.district, tonight.cutoff_at, due_only
            )
        )
        self.tonight = tonight
        self._skyward = skyward
        self._memberships: dict[str, Membership] = {}
        self._quarantined: frozenset[str] = frozenset()
        self._reads = reads
        self._classes: dict[str, SkywardClass] = {}
        self._terms: Mapping[str, tuple[str, ...]] | None = None
        self._periods: dict[tuple[str, ...], tuple[AcademicSession, ...]] = {}

    @property
    def district(self) -> District:
        return self.tonight.district

    @property
    def classes_read(self) -> dict[str, SkywardClass]:
        """The classes that were read so far in this run."""
        return self._classes

    def hold_zeros(self, held: bool) -> None:
        """Takes in the breaker's verdict."""
        self.tonight = replace(self.tonight, zeros_held=held)

    async def pages(self, *, zeros_only: bool = False) -> AsyncIterator[Page]:
        """Everything undecided at the cutoff, page by page in key order.

        ``zeros_only``: only what could become a zero: of the items whose due moment has passed,
        the grades that are not graded.
        """
        district = self.district
        async for page in self._items(zeros_only):
            # Read after the page: what comes later changes the revision that settling expects.
            self._memberships = await districts.memberships(self._pool, district)
            self._quarantined = await undecided.quarantined_subjects(self._pool, district.district)
            # An item that Skyward has not and whose versions all came after the cutoff waits.
            now = [
                i
                for i in page
                if i.whole or i.posted is not None or i.assessment is None or i.decide_from is None
            ]
            await self.read_classes(i.assessment.class_sourced_id for i in now if i.assessment)
            yield Page([i.key for i in now], self._portions(now, zeros_only))

    async def _portions(
        self, page: list[UndecidedItem], zeros_only: bool
    ) -> AsyncIterator[Portion]:
        framed = {i.key: frame(self.item(i)) for i in page}
        items = {i.key: i for i in page}
        cutoff = self.tonight.cutoff_at
        async for grades in undecided.grades(
            self._pool, self.district.district, page, cutoff, ungraded_only=zeros_only
        ):
            for key, some in _by_item(grades):
                yield self._decided(items[key], framed[key], some)
        asked = [
            i.key
            for i in page
            if i.whole
            and framed[i.key].is_open
            and (due := framed[i.key].due_moment) is not None
            and due <= cutoff
        ]
        async for grades in undecided.assignees_without_grade(
            self._pool, self.district.district, asked
        ):
            for key, some in _by_item(grades):
                yield self._decided(items[key], framed[key], some)
        for one in page:
            if one.whole:
                yield Portion(one, framed[one.key], (), last=True)

    def item(self, one: UndecidedItem) -> Item:
        """The item with all that its decision uses."""
        assessment = one.assessment
        subject = "/".join((self.district.district, *one.key))
        if assessment is None:
            nothing = Categories(frozenset(), frozenset())
            return Item(self.tonight, None, _NOT_A_MEMBER, (), nothing, quarantined=False)
        skyward_class = self._classes.get(assessment.class_sourced_id) or SkywardClass((), None)
        return Item(
            self.tonight,
            assessment,
            self._memberships.get(assessment.assigner_id, _NOT_A_MEMBER),
            self._periods_of(skyward_class.terms),
            Categories(self._skyward.categories, skyward_class.categories),
            in_skyward=one.posted is not None,
            quarantined=subject in self._quarantined,
            purged=one.purged,
        )

    async def read_classes(self, class_ids: Iterable[str]) -> None:
        """Reads the classes that this run has not met yet."""
        wanted = sorted({c for c in class_ids if c not in self._classes})
        if not wanted:
            return
        if self._terms is None and len(wanted) > _CLASSES_ONE_BY_ONE:
            self._terms = await self._reads.read_classes()
        found = await asyncio.gather(*(self._read_class(c) for c in wanted))
        self._classes.update(zip(wanted, found, strict=True))

    async def _read_class(self, class_id: str) -> SkywardClass:
        categories = await self._reads.read_class_categories(class_id)
        if self._terms is not None:
            return SkywardClass(self._terms.get(class_id, ()), categories)
        found = await self._reads.read_class(class_id)
        return SkywardClass(found.term_ids if found is not None else (), categories)

    def _periods_of(self, terms: tuple[str, ...]) -> tuple[AcademicSession, ...]:
        if terms not in self._periods:
            self._periods[terms] = grading_periods_of(terms, self._skyward.sessions)
        return self._periods[terms]

    def _decided(
        self,
        item: UndecidedItem,
        framed: Frame,
        grades: Sequence[UndecidedGrade],
    ) -> Portion:
        prefix = self.district.district
        decided = []
        for one in grades:
            quarantined = (
                bool(self._quarantined) and "/".join((prefix, *one.key)) in self._quarantined
            )
            ruling = ZeroRuling(one.zero_ruling) if one.zero_ruling is not None else None
            decision = decide(
                Case(
                    framed,
                    one.key.student_id,
                    one.grade,
                    one.sent,
                    quarantined,
                    ruling,
                    held=one.reason is Reason.ZEROS_HELD,
                )
            )
            # Of someone who handed nothing in, only what the clock made of it is worth a row.
            if one.revision is not None or asks_the_clock(decision):
                decided.append(Decided(one, decision))
        return Portion(item, framed, decided, last=False)


async def read_district(skyward: Skyward) -> SkywardDistrict:
    """What Skyward lists of the district now; raises ``DistrictStopped``."""
    sessions = await skyward.read_sessions()
    return SkywardDistrict({s.sourced_id: s for s in sessions}, await skyward.read_categories())


async def trips_breaker(night: Night) -> bool:
    """Whether tonight's zeros are too many: more than the count and more than the share."""
    zeros = night.district.zeros
    if zeros.max_share >= 1:
        return False
    count = assignees = 0
    async for page in night.pages(zeros_only=True):
        counted: set[ItemKey] = set()
        async for portion in page:
            fresh = sum(1 for d in portion.grades if _is_fresh_zero(d))
            count += fresh
            if fresh and portion.item.key not in counted and portion.item.assessment is not None:
                counted.add(portion.item.key)
                assignees += len(portion.item.assessment.assignees)
    return count > zeros.max_count and count > zeros.max_share * assignees


def _is_fresh_zero(one: Decided) -> bool:
    decision = one.decision
    return (
        decision.kind is Kind.POST
        and decision.send
        and decision.origin is Origin.CLOCK
        and one.grade.zero_ruling != ZeroRuling.RELEASED
    )


def _by_item(
    grades: Sequence[UndecidedGrade],
) -> list[tuple[ItemKey, list[UndecidedGrade]]]:
    found: dict[ItemKey, list[UndecidedGrade]] = {}
    for one in grades:
        found.setdefault(one.key.item, []).append(one)
    return list(found.items())

"""The line items of one run: how each should stand in Skyward, and that it does before its results.

A line item is sent where it is new or its fields changed, once a page however many portions it
comes in, and once more where Skyward lost it. One that Skyward refused is not sent again until
something that it saw, or the settings, changed.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec.structs import replace

from consumer.flush.forbidden import ForbiddenClasses
from consumer.flush.night import Night, Portion
from consumer.gradebook import ItemKey, Kind, LineItem, Outcome, line_item_id
from consumer.rules import NAME_LIMIT
from consumer.skyward import Skyward
from consumer.store.settling import SettledLineItem


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A line item's sourcedId in Skyward, or why Skyward does not hold it as it should."""

    sourced_id: str
    failure: Outcome | None = None


class _AsItShouldStand(NamedTuple):
    line_item: LineItem
    fields: Mapping[str, str]


class LineItems:
    """``unacknowledged``: those of the page at hand whose outcome is deferred."""

    def __init__(
        self,
        skyward: Skyward,
        night: Night,
        settings_revision: int,
        forbidden: ForbiddenClasses,
        answered: Callable[[Portion, Outcome], None],
        *,
        first: bool,
    ) -> None:
        """``answered`` is told each answer; ``first``: no run of this district was ever done."""
        self._skyward = skyward
        self._night = night
        self._settings_revision = settings_revision
        self._forbidden = forbidden
        self._answered = answered
        self._is_first = first
        self._settled: list[SettledLineItem] = []
        self.unacknowledged: Final[set[ItemKey]] = set()
        # Of the page at hand: each one's acknowledgement, asked for once, and as it should stand,
        # also field by field.
        self._asked: dict[tuple[ItemKey, bool], asyncio.Task[Acknowledgement]] = {}
        self._bodies: dict[ItemKey, _AsItShouldStand] = {}

    def begin_page(self) -> None:
        self._asked.clear()
        self._bodies.clear()
        self.unacknowledged.clear()

    def settled(self) -> list[SettledLineItem]:
        """What became of those sent since the last call; of one sent twice, the last word."""
        settled, self._settled = self._settled, []
        return list({one.key: one for one in settled}.values())

    def has_changed(self, portion: Portion) -> bool:
        """Whether one that stands in Skyward should stand there otherwise."""
        if not portion.last or portion.item.posted is None or not portion.frame.is_open:
            return False
        return self._wanted(portion) != dict(portion.item.posted.fields)

    async def acknowledge(self, portion: Portion, *, again: bool = False) -> Acknowledgement:
        """Sees to it that Skyward holds the line item as it should be, once a page.

        ``again``: whatever is known of it, once more.
        """
        key = (portion.item.key, again)
        task = self._asked.get(key)
        if task is None:
            self._asked[key] = task = asyncio.create_task(self._put(portion, again=again))
        return await task

    def fingerprint(self, portion: Portion, *result: str) -> str:
        """What Skyward would see of that ``result``, its line item, the settings, and the period's
        days: a refusal holds for it.
        """
        item = self._body(portion).fields.values() if portion.frame.is_open else ()
        return self._fingerprint(portion, *result, *item)

    def _fingerprint(self, portion: Portion, *parts: str) -> str:
        period = portion.frame.period
        days = f"{period.start}/{period.end}" if period is not None else ""
        whole = "\x1f".join((str(self._settings_revision), days, *parts))
        return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()

    async def _put(self, portion: Portion, *, again: bool) -> Acknowledgement:
        item = portion.item
        ours = item.line_item_id or line_item_id(self._night.district.district, item.key)
        if item.posted is not None and not portion.frame.is_open:
            return Acknowledgement(ours)
        line_item = self._body(portion).line_item
        fields = self._wanted(portion)
        if item.posted is not None and fields == dict(item.posted.fields) and not again:
            return Acknowledgement(ours)
        # A store that was made anew from the log knows nothing of an item that stands in Skyward.
        is_known = item.posted is not None and _type(portion) == item.posted.otus_type
        if is_known or (self._is_first and item.posted is None):
            # The teacher may have moved it to another category: what was chosen stays.
            held = await self._skyward.read_line_item(ours)
            if held is not None and held.category_sourced_id is not None:
                fields["category"] = held.category_sourced_id
            line_item = replace(line_item, category_sourced_id=fields["category"])
        fingerprint = self._fingerprint(portion, *fields.values())
        refusal = item.refusal
        if (
            refusal is not None
            and refusal.fingerprint == fingerprint
            and not self._forbidden.tries_anew(portion, refusal.reason)
        ):
            return Acknowledgement(ours, Outcome(Kind.REJECT, refusal.reason, refusal.detail))
        outcome = await self._skyward.put_line_item(line_item)
        self._answered(portion, outcome)
        self._settled.append(
            SettledLineItem(
                key=item.key,
                sourced_id=outcome.allocated_id or ours,
                kind=outcome.kind,
                reason=outcome.reason,
                detail=outcome.detail,
                posted=fields if outcome.kind is Kind.POST else None,
                otus_type=_type(portion),
                refused=fingerprint if outcome.kind is Kind.REJECT else None,
            )
        )
        if outcome.kind is Kind.DEFER:
            self.unacknowledged.add(item.key)
        failure = None if outcome.kind is Kind.POST else outcome
        return Acknowledgement(outcome.allocated_id or ours, failure)

    def _wanted(self, portion: Portion) -> dict[str, str]:
        """The fields as they should stand: once posted, only a new Otus type moves the category."""
        fields, posted = dict(self._body(portion).fields), portion.item.posted
        if posted is not None and _type(portion) == posted.otus_type:
            fields["category"] = posted.fields["category"]
        return fields

    def _body(self, portion: Portion) -> _AsItShouldStand:
        framed, item = portion.frame, portion.item
        if item.key in self._bodies:
            return self._bodies[item.key]
        assessment, district = item.assessment, self._night.district
        assert assessment is not None
        assert framed.period is not None
        assert assessment.points_possible is not None
        title = assessment.title
        if len(title) >= NAME_LIMIT and item.posted is not None:
            title = item.posted.fields["title"]
        body = LineItem(
            sourced_id=item.line_item_id or line_item_id(district.district, item.key),
            title=title,
            assign_date=framed.assigned_at,
            due_date=framed.due_at,
            class_sourced_id=assessment.class_sourced_id,
            school_sourced_id=assessment.school_sourced_id,
            category_sourced_id=district.categories[assessment.type],
            grading_period_sourced_id=framed.period.sourced_id,
            result_value_max=assessment.points_possible,
            modified_at=assessment.changed_at,
        )
        self._bodies[item.key] = wanted = _AsItShouldStand(body, _fields(body))
        return wanted


def _type(portion: Portion) -> str:
    assert portion.item.assessment is not None
    return portion.item.assessment.type


def _fields(item: LineItem) -> dict[str, str]:
    """The body field by field, as text: what is compared and kept."""
    return {
        "title": item.title,
        "assignDate": item.assign_date.isoformat(),
        "dueDate": item.due_date.isoformat(),
        "class": item.class_sourced_id,
        "school": item.school_sourced_id,
        "category": item.category_sourced_id,
        "gradingPeriod": item.grading_period_sourced_id,
        # 10.0 is 10, and no change of the line item.
        "resultValueMax": f"{item.result_value_max.normalize():f}",
    }

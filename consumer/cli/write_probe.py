"""The write probe: one test line item and one result, posted, read back and deleted.

Posted as a night posts, with the same token; deleted with a token of its own, so that a server
that grants no right to delete is still seen to take writes. Whatever fails, deleting is tried,
and only what can no longer be read counts as gone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from consumer.cli.checks import Check, not_asked
from consumer.cli.guidance import GUIDANCE
from consumer.cli.setup_checks import LICENCE, USE_GRADE, stopped
from consumer.errors import DistrictStopped
from consumer.gradebook import Kind, LineItem, Outcome, Reason, Result, ScoreStatus, probe_ids
from consumer.oneroster import HeldLineItem, HeldResult
from consumer.skyward import Skyward

LINE_ITEM: Final = "test line item"
RESULT: Final = "test result"
REMOVED: Final = "test item removed"

# As a percentage it would be 80, and as a mark 3 or 4.
POINTS: Final = Decimal(10)
SCORE: Final = Decimal(8)

_STORED_NOTHING: Final = "Skyward answered with success and stored nothing"
_ASK_FOR_LICENCE: Final = GUIDANCE[Reason.LICENCE_MISSING].do
_DELETE_BY_HAND: Final = "the class's teacher deletes it in the gradebook, or it counts there"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the test item goes; sourcedIds of Skyward's."""

    class_id: str
    school_id: str
    student_id: str
    category_id: str
    grading_period_id: str


@dataclass(frozen=True, slots=True)
class Posted:
    """One write: its outcome, and what Skyward held afterwards.

    ``held`` is None where it was not there; ``unread`` says why it could not be looked at.
    """

    outcome: Outcome
    held: HeldLineItem | HeldResult | None = None
    unread: DistrictStopped | None = None

    @property
    def is_there(self) -> bool:
        return self.outcome.kind is Kind.POST and self.held is not None


class WriteProbe:
    """One probe of one class. ``at`` is aware in the district's zone: the item is due that day.

    ``deleting`` is a connection that asked for the right to delete.
    """

    def __init__(
        self,
        district_id: str,
        target: Target,
        at: datetime,
        *,
        writing: Skyward,
        deleting: Skyward,
    ) -> None:
        item_id, result_id = probe_ids(district_id, target.class_id)
        self.line_item: Final = LineItem(
            sourced_id=item_id,
            # The moment tells this item from one that an earlier probe could not delete.
            title=f"Otus Passback test {at:%Y-%m-%d %H:%M:%S}",
            assign_date=at,
            due_date=at,
            class_sourced_id=target.class_id,
            school_sourced_id=target.school_id,
            category_sourced_id=target.category_id,
            grading_period_sourced_id=target.grading_period_id,
            result_value_max=POINTS,
            modified_at=at,
        )
        self._at: Final = at
        self._student: Final = target.student_id
        self._writing: Final = writing
        self._deleting: Final = deleting
        self._item_id = item_id
        self._result_id = result_id
        self._item: Posted | None = None
        self._result: Posted | None = None

    async def checks(self, step: Callable[[str], None]) -> list[Check]:
        """Posts, reads back and deletes; what each step comes to. Never raises."""
        try:
            step("posting a test line item")
            self._item = await self._post_line_item()
            if self._item.is_there:
                step("posting a test result")
                self._result = await self._post_result()
        finally:
            step("deleting the test item")
            removed = await self._remove()
        assert self._item is not None
        return [
            _licence(self._item, self._result),
            _use_grade(self._result),
            self._line_item_kept(self._item),
            _result_kept(self._result),
            removed,
        ]

    async def _post_line_item(self) -> Posted:
        outcome = await self._writing.put_line_item(self.line_item)
        self._item_id = outcome.allocated_id or self._item_id
        if outcome.kind is not Kind.POST:
            return Posted(outcome)
        try:
            held = await self._writing.read_line_item(self._item_id)
        except DistrictStopped as stop:
            return Posted(outcome, unread=stop)
        if held is not None and held.title not in (None, self.line_item.title):
            held = None
        return Posted(outcome, held)

    async def _post_result(self) -> Posted:
        result = Result(
            sourced_id=self._result_id,
            line_item_sourced_id=self._item_id,
            student_sourced_id=self._student,
            score=SCORE,
            score_status=ScoreStatus.FULLY_GRADED,
            score_date=self._at,
            modified_at=self._at,
        )
        outcome = await self._writing.put_result(result)
        self._result_id = outcome.allocated_id or self._result_id
        if outcome.kind is not Kind.POST:
            return Posted(outcome)
        try:
            return Posted(outcome, await self._writing.read_result(self._result_id))
        except DistrictStopped as stop:
            return Posted(outcome, unread=stop)

    async def _remove(self) -> Check:
        used = self._deleting
        outcome = await self._delete(used)
        if outcome.kind is not Kind.POST and outcome.reason is not Reason.SKYWARD_UNAVAILABLE:
            # Some servers grant no scope to delete, and let the one who posted delete all the same.
            used = self._writing
            outcome = await self._delete(used)
        what = f'line item {self._item_id} ("{self.line_item.title}")'
        where = f"in class {self.line_item.class_sourced_id}"
        try:
            item = await used.read_line_item(self._item_id)
            result = await used.read_result(self._result_id)
        except DistrictStopped as stop:
            return Check(REMOVED, False, f"{what} may be left {where}: {stop}", _DELETE_BY_HAND)
        if not any(one is not None and one.active for one in (item, result)):
            return Check(REMOVED, True, "nothing of it is left in Skyward")
        why = outcome.detail or "Skyward answered with success and kept it"
        return Check(REMOVED, False, f"{what} is left {where}: {why}", _DELETE_BY_HAND)

    async def _delete(self, skyward: Skyward) -> Outcome:
        """Deletes the result, then its line item; the outcome of the item."""
        await skyward.delete_result(self._result_id)
        return await skyward.delete_line_item(self._item_id)

    def _line_item_kept(self, item: Posted) -> Check:
        if item.outcome.kind is not Kind.POST:
            return _refused(LINE_ITEM, item.outcome)
        if item.unread is not None:
            return stopped(LINE_ITEM, item.unread)
        held, sent = item.held, self.line_item
        if not isinstance(held, HeldLineItem):
            return Check(LINE_ITEM, False, _STORED_NOTHING, _ASK_FOR_LICENCE)
        compared = {
            "class": (held.class_sourced_id, sent.class_sourced_id),
            "category": (held.category_sourced_id, sent.category_sourced_id),
            "due date": (held.due_date, sent.due_date.date()),
            "points possible": (held.result_value_max, sent.result_value_max),
        }
        # What Skyward does not say is None.
        changed = [name for name, (theirs, ours) in compared.items() if theirs not in (None, ours)]
        if changed:
            because = f"it came back with another {' and another '.join(changed)}"
            cure = "ask Skyward what its gradebook does to items that the API posts"
            return Check(LINE_ITEM, False, because, cure)
        return Check(LINE_ITEM, True, f"posted in category {sent.category_sourced_id}, read back")


def _licence(item: Posted, result: Posted | None) -> Check:
    for what, posted in (("line items", item), ("results", result)):
        if posted is None:
            continue
        if posted.outcome.reason in (Reason.FORBIDDEN, Reason.LICENCE_MISSING):
            because = f"it takes no writes of {what}: {posted.outcome.detail}"
            return Check(LICENCE, False, because, _ASK_FOR_LICENCE)
        if posted.outcome.kind is not Kind.POST:
            return not_asked(LICENCE, f"no write of {what} got as far as that")
        if posted.held is None and posted.unread is None:
            return Check(LICENCE, False, f"{_STORED_NOTHING} of {what}", _ASK_FOR_LICENCE)
    return Check(LICENCE, True, "Skyward takes writes")


def _use_grade(result: Posted | None) -> Check:
    held = None if result is None else result.held
    if not isinstance(held, HeldResult):
        return not_asked(USE_GRADE, "no test result was read back")
    if held.score == SCORE:
        return Check(USE_GRADE, True, f"{SCORE} of {POINTS} points came back as posted")
    came = "without a score" if held.score is None else f"as {held.score:f}"
    return Check(
        USE_GRADE,
        False,
        f"{SCORE} of {POINTS} points came back {came}",
        'the district switches off "Use Grade When Posting Secondary Gradebook Assignment'
        " Scores\" in Skyward's API settings",
    )


def _result_kept(result: Posted | None) -> Check:
    if result is None:
        return not_asked(RESULT, "there is no test line item")
    if result.outcome.kind is not Kind.POST:
        return _refused(RESULT, result.outcome)
    if result.unread is not None:
        return stopped(RESULT, result.unread)
    if result.held is None:
        return Check(RESULT, False, _STORED_NOTHING, _ASK_FOR_LICENCE)
    return Check(RESULT, True, "posted for one student of the class, read back")


def _refused(check: str, outcome: Outcome) -> Check:
    cure = GUIDANCE[outcome.reason].do if outcome.reason is not None else None
    return Check(check, False, outcome.detail, cure)

"""Carries one run's decisions to Skyward and settles what became of them.

A line item is acknowledged before any of its results is sent; results go side by side. Between
sending and settling at most ``WINDOW`` results stand open: dying then costs so many repeated,
harmless PUTs. Of what was acknowledged some is read back before it is settled. A refused item is
settled and the next goes on; an outcome of scope district ends the sending, and what was not sent
stays undecided.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from consumer.errors import DistrictStopped
from consumer.flush.forbidden import NO_LICENCE, STILL_FORBIDDEN, ForbiddenClasses
from consumer.flush.line_items import Acknowledgement, LineItems
from consumer.flush.night import Decided, Night, Page, Portion
from consumer.flush.reading_back import Acknowledged, ReadBack
from consumer.gradebook import (
    REASONS,
    Decision,
    ItemKey,
    Kind,
    Origin,
    Outcome,
    Reason,
    Result,
    Scope,
    ScoreStatus,
    Sent,
    result_id,
)
from consumer.log import get_logger
from consumer.rules import wakes_at
from consumer.skyward import Skyward
from consumer.store import in_doubt
from consumer.store.connection import Pool
from consumer.store.runs import FlushRun, Lease
from consumer.store.settling import (
    SettledGrade,
    SettledItem,
    Tally,
    settle,
)

WINDOW: Final = 64
"""How many results may be sent and not yet settled."""

_TOGETHER: Final = WINDOW // 2
"""So many answers are read back and settled at once, while as many others are on their way: a
settling costs as much as ten of its results, and what is more than half waits for the window."""

SETTLINGS_AT_ONCE: Final = 4
"""So many districts of a process settle at the same moment. Each takes a few milliseconds; with
as many of Postgres' processes awake as districts are flushed, all of them take half as long again,
and so does what shares their processors."""

_LINE_ITEMS_AHEAD: Final = 8
_BATCH: Final = 500
_TROUBLES: Final = 5
"""After so many failures in a row over one line item, the rest of it waits for the next run."""


class _Posting(Struct, frozen=True, gc=False):
    """One grade on its way, and the body that goes."""

    decided: Decided
    result: Result


@dataclass(slots=True)
class _Ready:
    """Results whose line item stands: those that wait to be sent, and how many are not done."""

    portion: Portion
    line_item: str
    waiting: deque[Decided]
    left: int
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Sending:
    """The sending of one run."""

    def __init__(
        self,
        pool: Pool,
        skyward: Skyward,
        night: Night,
        lease: Lease,
        run: FlushRun,
        now: Callable[[], datetime],
        counted: Callable[[Tally], None],
        ends_at: datetime | None = None,
        *,
        room: asyncio.Semaphore,
        first: bool = False,
        doubted: Collection[ItemKey] = (),
    ) -> None:
        """``room``: for ``SETTLINGS_AT_ONCE``, shared by all of this process.

        ``first``: no run of this district was ever done, by what this store knows.

        ``doubted``: items of which Skyward is to be asked once more, whatever becomes of this run.
        """
        self._pool = pool
        self._skyward = skyward
        self._night = night
        self._lease = lease
        self._run = run
        self._now = now
        self._counted = counted
        self._ends_at = ends_at
        self._read_back = ReadBack(
            skyward, enabled=night.district.skyward.read_back, stop=self._stop_with
        )
        self._open = asyncio.Semaphore(WINDOW)
        self._most_at_once = night.district.skyward.max_concurrency
        self._ready: deque[_Ready] = deque()
        self._workers = 0
        self._verifying = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._room = room
        # Answered, and of those how many count for the window; then the same of what was read back.
        self._grades: list[SettledGrade] = []
        self._answered = 0
        self._verified: list[SettledGrade] = []
        self._unsettled = 0
        self._log = get_logger()
        self._stop: DistrictStopped | None = None
        self._forbidden = ForbiddenClasses()
        self._line_items = LineItems(
            skyward, night, run.settings_revision, self._forbidden, self._take_in, first=first
        )
        self._succeeded = False
        # How often in a row Skyward failed over each line item's results.
        self._troubles: dict[ItemKey, int] = {}
        # The page whose items are in doubt until all of it is settled, and those that stay so.
        self._remembered: Page | None = None
        self._doubted = doubted
        self._in_doubt: set[ItemKey] = set(doubted)

    async def send(self, pages: AsyncIterator[Page]) -> None:
        """Sends and settles everything; raises ``DistrictStopped`` or ``LeaseLost``."""
        try:
            async for page in pages:
                await self._send_page(page)
                if self._stop is not None:
                    break
        except DistrictStopped as stopped:
            self._stop = stopped
        if self._stop is None:
            self._judge_forbidden()
            if self._troubles and not self._succeeded:
                self._stop_with(Reason.SKYWARD_UNAVAILABLE, "no write of this run was answered")
        await self._settle()
        if self._remembered is not None or self._doubted:
            again = self._now() + in_doubt.LATE if self._doubted else None
            await in_doubt.remember(self._pool, self._lease, self._in_doubt, again)
        if self._stop is not None:
            raise self._stop

    async def _remember(self, page: Page) -> None:
        """Before the first write of a page: should this process die, the next run asks Skyward."""
        if self._remembered is not page:
            self._remembered = page
            keys = self._in_doubt.union(page.items)
            await in_doubt.remember(self._pool, self._lease, keys)

    async def _send_page(self, page: Page) -> None:
        self._line_items.begin_page()
        looked_at: list[SettledItem] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._walk(page, tasks, looked_at)
                except DistrictStopped as stopped:
                    # What is on its way is not cut off, but answered and settled.
                    self._stop_with(stopped.reason, stopped.detail)
        except BaseExceptionGroup as group:
            # Side by side, the first to fail ends the others; its error is the one that tells.
            raise _first(group) from None
        if self._stop is not None:
            looked_at.clear()
        # What waits for a verdict on its class keeps its item in sight, should there be none.
        open_items = self._line_items.unacknowledged.union(
            one.key.item for one in self._forbidden.waiting()
        )
        await self._settle([i for i in looked_at if i.key not in open_items])

    async def _walk(
        self, page: Page, tasks: asyncio.TaskGroup, looked_at: list[SettledItem]
    ) -> None:
        """Settles what stays and starts what goes; adds to ``looked_at`` the items seen whole."""
        ahead = asyncio.Semaphore(max(_LINE_ITEMS_AHEAD, self._most_at_once))
        async for portion in page:
            posts = self._settle_what_stays(portion)
            if portion.last and portion.item.assessment is not None:
                looked_at.append(_looked_at(portion))
            if posts or self._line_items.has_changed(portion):
                await self._remember(page)
                await ahead.acquire()
                task = tasks.create_task(self._send_portion(portion, posts, tasks))
                task.add_done_callback(lambda _: ahead.release())
            if len(self._grades) >= _BATCH:
                await self._settle()

    def _settle_what_stays(self, portion: Portion) -> list[Decided]:
        """Settles what needs no request; returns what does."""
        posts = []
        for one in portion.grades:
            if one.decision.send or one.decision.delete:
                posts.append(one)
            elif _changes(one):
                self._grades.append(self._settled(portion, one, one.decision))
        return posts

    # -- the results ------------------------------------------------------------------------

    async def _send_portion(
        self, portion: Portion, posts: list[Decided], tasks: asyncio.TaskGroup
    ) -> None:
        if self._has_ended():
            return
        try:
            acknowledged = await self._acknowledge_unless_forbidden(portion)
        except DistrictStopped as stopped:
            self._stop_with(stopped.reason, stopped.detail)
        if self._stop is not None:
            return
        failure = acknowledged.failure
        if failure is not None:
            # The results themselves were never sent.
            failure = replace(failure, status=None, unknown=False)
            if failure.kind is Kind.DEFER:
                self._note_trouble(portion.item.key, failure)
                failure = replace(failure, reason=Reason.LINE_ITEM_FAILED)
            for one in posts:
                posting = self._posting(portion, one, acknowledged.sourced_id)
                self._park_or_settle(portion, one, failure, posting)
            return
        if posts:
            ready = _Ready(portion, acknowledged.sourced_id, deque(posts), len(posts))
            self._ready.append(ready)
            for _ in range(min(len(posts), self._most_at_once - self._workers)):
                self._workers += 1
                tasks.create_task(self._work())
            await ready.done.wait()

    async def _acknowledge_unless_forbidden(self, portion: Portion) -> Acknowledgement:
        if self._forbidden.has(portion):
            return Acknowledgement("", STILL_FORBIDDEN)
        return await self._line_items.acknowledge(portion)

    async def _work(self) -> None:
        """Sends one result after the other, as many workers side by side as Skyward may bear."""
        while self._ready:
            ready = self._ready[0]
            one = ready.waiting.popleft()
            if not ready.waiting:
                self._ready.popleft()
            if not self._has_ended():
                await self._carry(ready.portion, one, ready.line_item)
            ready.left -= 1
            if not ready.left:
                ready.done.set()
        self._workers -= 1

    async def _carry(self, portion: Portion, one: Decided, line_item: str) -> None:
        posting = self._posting(portion, one, line_item)
        await self._open.acquire()
        outcome = self._refused_before(portion, posting)
        if outcome is None and self._troubles.get(portion.item.key, 0) >= _TROUBLES:
            outcome = _NOT_ASKED
        if outcome is None:
            try:
                outcome = await self._send_one(portion, posting)
            except DistrictStopped as stopped:
                self._stop_with(stopped.reason, stopped.detail)
                outcome = Outcome(Kind.DEFER, REASONS[stopped.reason], stopped.detail)
                self._in_doubt.add(portion.item.key)
            self._note_trouble(portion.item.key, outcome)
        if outcome.kind is not Kind.POST:
            self._log.debug(
                "grade_not_posted",
                district=self._night.district.district,
                student=one.grade.key.student_id,
                reason=outcome.reason,
                code=outcome.status,
            )
        self._answered += 1
        if self._stop is None or outcome.kind is not Kind.DEFER:
            self._park_or_settle(portion, one, outcome, posting)
        if self._answered >= _TOGETHER:
            await self._settle()

    def _refused_before(self, portion: Portion, posting: _Posting) -> Outcome | None:
        """The refusal that still holds, so that nothing is asked again in vain."""
        if self._forbidden.has(portion):
            return STILL_FORBIDDEN
        if posting.decided.grade.refused is None:
            return None
        code, _, before = posting.decided.grade.refused.partition(":")
        if before != self._fingerprint(portion, posting.result):
            return None
        reason = REASONS[code]
        if self._forbidden.tries_anew(portion, reason):
            return None
        return Outcome(Kind.REJECT, reason, posting.decided.grade.detail or "")

    async def _send_one(self, portion: Portion, posting: _Posting) -> Outcome:
        if posting.decided.decision.delete:
            outcome = await self._skyward.delete_result(posting.result.sourced_id)
        else:
            outcome = await self._put_result(portion, posting)
            if outcome.reason is Reason.LINE_ITEM_FAILED and outcome.status is not None:
                # Its line item is gone from Skyward: send the parent again, then the child.
                parent = await self._line_items.acknowledge(portion, again=True)
                if parent.failure is None:
                    outcome = await self._put_result(portion, posting)
                    if outcome.reason is Reason.LINE_ITEM_FAILED and outcome.status is not None:
                        # The parent stands, so it is the student whom Skyward does not know.
                        outcome = Outcome(
                            Kind.REJECT,
                            Reason.STUDENT_UNKNOWN,
                            "Skyward does not know the student in this class",
                            status=outcome.status,
                        )
        self._take_in(portion, outcome)
        return outcome

    async def _put_result(self, portion: Portion, posting: _Posting) -> Outcome:
        assessment, result = portion.item.assessment, posting.result
        assert assessment is not None
        sending = Acknowledged(result, assessment.class_sourced_id, assessment.points_possible)
        return await self._read_back.put(
            posting.decided.grade.key, sending, lambda: self._skyward.put_result(result)
        )

    def _posting(self, portion: Portion, one: Decided, line_item: str) -> _Posting:
        decision, grade = one.decision, one.grade
        assessment = portion.item.assessment
        assert assessment is not None
        by_clock = decision.origin is Origin.CLOCK or grade.changed_at is None
        changed_at = self._run.cutoff.at if by_clock else grade.changed_at
        assert changed_at is not None
        result = Result(
            sourced_id=grade.allocated_id or result_id(self._night.district.district, grade.key),
            line_item_sourced_id=line_item,
            student_sourced_id=assessment.assignees.get(grade.key.student_id, ""),
            score=decision.score,
            score_status=decision.score_status or ScoreStatus.EXEMPT,
            score_date=portion.frame.due_at
            if by_clock
            else changed_at.astimezone(self._night.district.zone),
            modified_at=changed_at,
        )
        return _Posting(one, result)

    # -- outcomes ---------------------------------------------------------------------------

    def _take_in(self, portion: Portion, outcome: Outcome) -> None:
        """Notes what an answer says of more than its own item."""
        if outcome.kind is Kind.DEFER:
            self._in_doubt.add(portion.item.key)
        self._forbidden.answered(portion, outcome)
        if outcome.kind is Kind.POST:
            self._succeeded = True
            self._grades += self._forbidden.refused()
        elif outcome.reason is Reason.FORBIDDEN:
            if self._forbidden.are_many_in_a_row:
                self._stop_with(Reason.LICENCE_MISSING, NO_LICENCE)
        elif outcome.scope is Scope.DISTRICT and outcome.reason is not None:
            self._stop_with(outcome.reason, outcome.detail)

    def _note_trouble(self, key: ItemKey, outcome: Outcome) -> None:
        if outcome.kind is Kind.DEFER and outcome.scope is Scope.ITEM:
            self._troubles[key] = self._troubles.get(key, 0) + 1
        else:
            self._troubles.pop(key, None)

    def _has_ended(self) -> bool:
        """Whether nothing more is to be sent: something stopped the run, or its window is over."""
        if self._stop is None and self._ends_at is not None and self._now() >= self._ends_at:
            self._stop_with(Reason.WINDOW_OVER, "the run took longer than its window")
        return self._stop is not None

    def _stop_with(self, reason: str, detail: str) -> None:
        if self._stop is None:
            self._stop = DistrictStopped(reason, detail)

    def _park_or_settle(
        self, portion: Portion, one: Decided, outcome: Outcome, posting: _Posting
    ) -> None:
        settled = self._settled_outcome(portion, one, outcome, posting)
        if outcome.reason is Reason.FORBIDDEN:
            self._forbidden.wait(portion, settled)
        else:
            self._grades.append(settled)

    def _judge_forbidden(self) -> None:
        """At the end: the only class of the run stands for the district."""
        if self._forbidden.is_the_only_class and not self._succeeded:
            self._stop_with(Reason.LICENCE_MISSING, NO_LICENCE)
        else:
            self._grades += self._forbidden.refused()

    def _settled_outcome(
        self, portion: Portion, one: Decided, outcome: Outcome, posting: _Posting
    ) -> SettledGrade:
        decision = one.decision
        refused = None
        if outcome.kind is Kind.REJECT:
            refused = f"{outcome.reason}:{self._fingerprint(portion, posting.result)}"
        return self._settled(
            portion,
            one,
            decision
            if outcome.kind is Kind.POST
            else Decision(outcome.kind, outcome.reason, outcome.detail),
            sent=_told(decision) if outcome.kind is Kind.POST else None,
            deleted=outcome.kind is Kind.POST and decision.delete,
            attempted=outcome.kind is Kind.POST or outcome.status is not None or outcome.unknown,
            score=decision.score,
            score_status=decision.score_status,
            origin=decision.origin,
            allocated_id=outcome.allocated_id,
            refused=refused,
        )

    def _settled(
        self, portion: Portion, one: Decided, decision: Decision, **outcome: Any
    ) -> SettledGrade:
        grade = one.grade
        due = portion.frame.due_moment
        return SettledGrade(
            key=grade.key,
            revision=grade.revision,
            version=grade.grade.version,
            kind=decision.kind,
            reason=decision.reason,
            detail=decision.detail,
            counts=Decided(grade, decision).is_new,
            pending_since=grade.changed_at or due or self._run.cutoff.at,
            **outcome,
        )

    def _fingerprint(self, portion: Portion, result: Result) -> str:
        score, status = str(result.score), result.score_status
        return self._line_items.fingerprint(portion, result.student_sourced_id, score, status)

    async def _settle(self, items: list[SettledItem] | None = None) -> None:
        """Reads back and settles what was answered so far; one batch is read while one settles."""
        async with self._verifying:
            grades, self._grades = self._grades, []
            answered, self._answered = self._answered, 0
            verified = await self._read_back.verified(grades)
            # Not in one line: whoever settles takes the list away while it is read back.
            self._verified += verified
            self._unsettled += answered
            # What was acknowledged and is not shown so may be there all the same.
            self._in_doubt.update(
                g.key.item for g in verified if g.attempted and g.kind is Kind.DEFER
            )
        async with self._settling:
            grades, self._verified = self._verified, []
            answered, self._unsettled = self._unsettled, 0
            line_items = self._line_items.settled()
            if grades or line_items or items:
                async with self._room:
                    tally = await settle(
                        self._pool,
                        self._lease,
                        self._run.run_id,
                        grades,
                        line_items,
                        items or [],
                        self._now(),
                    )
                self._counted(tally)
            for _ in range(answered):
                self._open.release()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_NOT_ASKED: Final = Outcome(
    Kind.DEFER,
    Reason.SKYWARD_UNAVAILABLE,
    "Skyward failed over this line item again and again; the next run tries it",
)


def _told(decision: Decision) -> Sent | None:
    """What Skyward shows once it acknowledged the decision."""
    if decision.delete or decision.score_status is None or decision.origin is None:
        return None
    return Sent(decision.score, decision.score_status, decision.origin)


def _changes(one: Decided) -> bool:
    """Whether a decision that sends nothing leaves anything to write."""
    grade, decision = one.grade, one.decision
    if grade.revision is None or grade.decide_from is not None:
        return True
    before = (grade.kind, grade.reason, grade.detail or "")
    return before != (decision.kind, decision.reason, decision.detail)


def _looked_at(portion: Portion) -> SettledItem:
    item = portion.item
    assert item.assessment is not None
    return SettledItem(
        item.key,
        item.revision,
        item.assessment.version,
        item.decide_from,
        wakes_at(portion.frame),
        portion.title_kept,
    )

"""Whether Skyward holds what it acknowledged: some of it is read back before it is settled.

Two things show in no answer. With "Use Grade When Posting Secondary Gradebook Assignment Scores"
on, Skyward stores another number than was sent (rule 10 of the guide), so the first telling
result of a run goes alone and is read back before any other. And a server may answer 200 and
store nothing, so of each batch one result is read back, and all of it where that one is missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum, auto
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from consumer.errors import DistrictStopped
from consumer.gradebook import GradeKey, Kind, Outcome, Reason, Result, Scope, ScoreStatus
from consumer.oneroster import HeldResult
from consumer.skyward import Skyward
from consumer.store.settling import SettledGrade

_HUNDRED: Final = Decimal(100)
_PAUSE: Final = 0.5
"""Seconds until what is not shown yet is asked for again: some servers answer from a copy."""
_ALONE: Final = 20
"""After so many that went alone and told nothing, the others wait no longer."""
_TELLS: Final = 3
"""When so many, and nothing else, are missing, the server stores nothing at all."""

_ALTERED: Final = Outcome(
    Kind.DEFER,
    Reason.USE_GRADE_SETTING_ON,
    "Skyward stored another number than was sent: switch off"
    ' "Use Grade When Posting Secondary Gradebook Assignment Scores"',
    Scope.DISTRICT,
)
_MISSING: Final = Outcome(
    Kind.DEFER,
    Reason.SKYWARD_UNAVAILABLE,
    "Skyward acknowledged the score and does not hold it",
)
_NOTHING_STORED: Final = replace(
    _MISSING,
    detail="Skyward acknowledged scores and shows none of them; if it never shows results, set"
    " skyward.read_back to false",
    scope=Scope.DISTRICT,
)


class _Look(Enum):
    SHOWN = auto()
    ALTERED = auto()
    MISSING = auto()
    UNKNOWN = auto()


class Acknowledged(Struct, frozen=True, gc=False):
    """A result that Skyward acknowledged, under the sourcedId that it goes by there."""

    result: Result
    class_sourced_id: str
    points_possible: Decimal | None

    @property
    def is_telling(self) -> bool:
        """Whether Skyward's setting would show: a percentage of 100 points is the score itself."""
        score, points = self.result.score, self.points_possible
        return (
            score is not None
            and points is not None
            and 0 < score <= points != _HUNDRED
            and score == score.to_integral_value()
        )


class ReadBack:
    """The reading back of one run; ``stop`` is told what stops the whole district."""

    def __init__(
        self, skyward: Skyward, *, enabled: bool, stop: Callable[[Reason, str], None]
    ) -> None:
        self._skyward = skyward
        self._enabled = enabled
        self._stop = stop
        self._is_proven = self._is_altered = False
        self._went_alone = 0
        self._alone = asyncio.Lock()
        self._is_thorough = False
        self._acknowledged: dict[GradeKey, Acknowledged] = {}

    async def put(
        self, key: GradeKey, sending: Acknowledged, put: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        """Sends one result; alone and read back at once while it is not known how they arrive."""
        if not (self._enabled and self._goes_alone() and sending.is_telling):
            return self._note(key, sending, await put())
        async with self._alone:
            if self._is_altered:
                return _ALTERED
            outcome = self._note(key, sending, await put())
            if outcome.kind is not Kind.POST or not self._goes_alone():
                return outcome
            self._went_alone += 1
            look = await self._look(self._acknowledged[key])
            if look is _Look.ALTERED:
                self._is_altered = True
                self._stop(Reason.USE_GRADE_SETTING_ON, _ALTERED.detail)
                del self._acknowledged[key]
                return _ALTERED
            self._is_proven = look is _Look.SHOWN
            return outcome

    def _goes_alone(self) -> bool:
        return not self._is_proven and self._went_alone < _ALONE

    def _note(self, key: GradeKey, sending: Acknowledged, outcome: Outcome) -> Outcome:
        if self._enabled and outcome.kind is Kind.POST:
            if outcome.allocated_id is not None:
                result = replace(sending.result, sourced_id=outcome.allocated_id)
                sending = replace(sending, result=result)
            self._acknowledged[key] = sending
        return outcome

    async def verified(self, grades: Sequence[SettledGrade]) -> list[SettledGrade]:
        """The batch as it may be settled: what Skyward does not hold as it was sent is deferred."""
        found = {
            g.key: self._acknowledged.pop(g.key) for g in grades if g.key in self._acknowledged
        }
        if not found:
            return list(grades)
        sample = next((k for k, one in found.items() if one.is_telling), next(iter(found)))
        looks = {sample: await self._look(found[sample])}
        if self._is_thorough or looks[sample] in (_Look.ALTERED, _Look.MISSING):
            others = [key for key in found if key != sample]
            looks |= zip(
                others, await asyncio.gather(*(self._look(found[k]) for k in others)), strict=True
            )
        failures = self._judge(looks)
        return [_deferred(g, failures[g.key]) if g.key in failures else g for g in grades]

    def _judge(self, looks: Mapping[GradeKey, _Look]) -> dict[GradeKey, Outcome]:
        altered = [key for key, look in looks.items() if look is _Look.ALTERED]
        missing = [key for key, look in looks.items() if look is _Look.MISSING]
        shown = any(look is _Look.SHOWN for look in looks.values())
        failures = dict.fromkeys(missing, _MISSING)
        # One of many, after others arrived as they were sent, is somebody's edit meanwhile.
        if altered and not (len(altered) == 1 and (self._is_proven or shown)):
            self._stop(Reason.USE_GRADE_SETTING_ON, _ALTERED.detail)
            failures |= dict.fromkeys(altered, _ALTERED)
        if missing:
            self._is_thorough = True
            if not shown and len(missing) >= _TELLS:
                self._stop(Reason.SKYWARD_UNAVAILABLE, _NOTHING_STORED.detail)
                failures |= dict.fromkeys(missing, _NOTHING_STORED)
        return failures

    async def _look(self, sent: Acknowledged) -> _Look:
        look = await self._look_once(sent)
        if look in (_Look.ALTERED, _Look.MISSING):
            await asyncio.sleep(_PAUSE)
            look = await self._look_once(sent)
        return look

    async def _look_once(self, sent: Acknowledged) -> _Look:
        try:
            held = await self._find(sent)
        except DistrictStopped:
            return _Look.UNKNOWN  # the next write tells what is the matter
        if held is None:
            return _Look.MISSING
        exempt = sent.result.score_status is ScoreStatus.EXEMPT
        if held.shows(sent.result.score, exempt):
            return _Look.SHOWN
        score, points = sent.result.score, sent.points_possible
        # A server may cut an extra credit to the points possible; that is no setting of rule 10.
        capped = score is None or points is None or not 0 <= score <= points
        return _Look.UNKNOWN if capped else _Look.ALTERED

    async def _find(self, sent: Acknowledged) -> HeldResult | None:
        result = sent.result
        held = await self._skyward.read_result(result.sourced_id)
        if held is not None:
            return held
        # Some servers show results only in the list of their line item.
        listed = self._skyward.read_results_of(sent.class_sourced_id, result.line_item_sourced_id)
        async for one in listed:
            if one.sourced_id == result.sourced_id:
                return one
        return None


def _deferred(settled: SettledGrade, failure: Outcome) -> SettledGrade:
    """What was acknowledged in vain: the store goes on believing what stood before it."""
    return replace(
        settled,
        kind=failure.kind,
        reason=failure.reason,
        detail=failure.detail,
        sent=None,
        refused=None,
    )

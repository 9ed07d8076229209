"""A score that somebody changed in Skyward since we posted it, where the district keeps that.

Only what would be written over is read, just before it would go; the forecast reads it as well,
so that it says what the run will do.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from msgspec.structs import replace

from consumer.flush.night import Decided, Night, Page, Portion
from consumer.gradebook import Decision, Kind, Reason, ScoreStatus, Sent, result_id
from consumer.oneroster import HeldResult
from consumer.skyward import Skyward

_DETAIL: Final = "somebody changed the score in Skyward after it was posted; theirs was kept"


async def pages(night: Night, skyward: Skyward) -> AsyncIterator[Page]:
    """The night's pages, with those grades held that Skyward no longer shows as they were posted.

    One that shows what would be sent now stands as it should, and goes. Raises
    ``DistrictStopped`` where Skyward cannot be read.
    """
    keeps = night.district.rules.changed_in_skyward == "hold"
    async for page in night.pages():
        if keeps:
            yield Page(page.items, _kept_in(page, skyward, night.district.district))
        else:
            yield page


async def _kept_in(page: Page, skyward: Skyward, district_id: str) -> AsyncIterator[Portion]:
    async for portion in page:
        yield await _keep_what_changed(skyward, district_id, portion)


async def _keep_what_changed(skyward: Skyward, district_id: str, portion: Portion) -> Portion:
    grades = await asyncio.gather(
        *(_kept(skyward, district_id, one) for one in portion.grades if _writes_over(one))
    )
    if not grades:
        return portion
    kept = {one.grade.key: one for one in grades}
    return replace(portion, grades=[kept.get(one.grade.key, one) for one in portion.grades])


def _writes_over(one: Decided) -> bool:
    return one.grade.sent is not None and (one.decision.send or one.decision.delete)


async def _kept(skyward: Skyward, district_id: str, one: Decided) -> Decided:
    grade, sent = one.grade, one.grade.sent
    assert sent is not None
    held = await skyward.read_result(grade.allocated_id or result_id(district_id, grade.key))
    if _stands(held, sent) or _shows(held, one.decision):
        return one
    return replace(one, decision=Decision(Kind.HOLD, Reason.CHANGED_IN_SKYWARD, _DETAIL))


def _stands(held: HeldResult | None, sent: Sent) -> bool:
    exempt = sent.score_status is ScoreStatus.EXEMPT
    return held is not None and held.shows(sent.score, exempt)


def _shows(held: HeldResult | None, decision: Decision) -> bool:
    if decision.delete:
        return held is None
    exempt = decision.score_status is ScoreStatus.EXEMPT
    return held is not None and held.shows(decision.score, exempt)

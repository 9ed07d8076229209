"""Tonight before it happens: the walk of a run that writes nothing and only reads Skyward."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from consumer.cutoff import Cutoff
from consumer.errors import DistrictStopped
from consumer.flush import conflicts
from consumer.flush.night import Decided, Night, Portion, trips_breaker
from consumer.flush.run import Connects
from consumer.gradebook import ItemKey, Kind, Origin, Reason, RunReport
from consumer.rules import Tonight
from consumer.skyward import Skyward
from consumer.store import skyward_state, undecided
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.skyward_state import SkywardDistrict

KIND: Final = "forecast"


@dataclass(frozen=True, slots=True)
class Forecast:
    """The report that the run would end with if nothing changed before its cutoff.

    ``joins``: teachers who joined in mid-period, each with how many line items would be new
    although they were assigned before; what was typed by hand would then stand twice.
    """

    report: RunReport
    joins: Mapping[str, int]


@dataclass(slots=True)
class _Count:
    """What a walk came to so far; ``new_items`` are line items that Skyward has not yet."""

    posted: dict[Origin, int] = field(default_factory=dict)
    by_reason: dict[Reason, int] = field(default_factory=dict)
    new_items: set[ItemKey] = field(default_factory=set)
    joins: dict[str, int] = field(default_factory=dict)

    def of_kind(self, kind: Kind) -> int:
        return sum(n for reason, n in self.by_reason.items() if reason.kind is kind)


async def forecast(
    pool: Pool, connect: Connects, stored: StoredDistrict, now: datetime
) -> Forecast:
    """What the run of the district's next cutoff would do, were it to begin with what is known now.

    Refusals cannot be known before: what Skyward refused before and would be sent again counts
    as posted. Skyward's troubles end in a report whose state is deferred.
    """
    cutoff = Cutoff(stored.next_service_date, stored.next_cutoff_at)
    if stored.is_paused(now):
        waiting = await undecided.left_undecided(pool, stored.district.district, cutoff.at)
        paused = {Reason.DISTRICT_PAUSED: sum(waiting.values())} if waiting else {}
        count, stopped = _Count(by_reason=paused), Reason.DISTRICT_PAUSED.value
        return _forecast(stored, cutoff, now, count, stopped)
    count = _Count()
    try:
        async with connect(stored, stored.district) as skyward:
            night = await _night(pool, stored, cutoff, skyward)
            night.hold_zeros(await trips_breaker(night))
            async for page in conflicts.pages(night, skyward):
                async for portion in page:
                    _take_in(count, portion)
    except DistrictStopped as stop:
        return _forecast(stored, cutoff, now, count, stop.reason)
    return _forecast(stored, cutoff, now, count, None)


async def _night(pool: Pool, stored: StoredDistrict, cutoff: Cutoff, skyward: Skyward) -> Night:
    district_id = stored.district.district
    before = await skyward_state.find_district(pool, district_id)
    sessions = await skyward.read_sessions()
    read = SkywardDistrict({s.sourced_id: s for s in sessions}, await skyward.read_categories())
    classes: list[str] | None = None
    if stored.decided_revision == stored.revision and before == read:
        by_reason = await skyward_state.stopped_by_skyward(pool, district_id)
        classes = sorted({c for stopped in by_reason.values() for c in stopped})
    return Night(
        pool,
        Tonight(stored.district, cutoff.at, cutoff.service_date, intake_caught_up=True),
        read,
        skyward,
        lambda due_only: undecided.items_ahead(
            pool, district_id, cutoff.at, due_only, classes=classes
        ),
    )


def _take_in(count: _Count, portion: Portion) -> None:
    sends = False
    for one in portion.grades:
        decision = one.decision
        sends = sends or decision.send or decision.delete
        if decision.send and decision.kind is Kind.POST and decision.origin is not None:
            count.posted[decision.origin] = count.posted.get(decision.origin, 0) + 1
        if decision.reason is not None and _is_new(one):
            count.by_reason[decision.reason] = count.by_reason.get(decision.reason, 0) + 1
    # An item of many grades comes in several portions; it is new once.
    if sends and portion.item.posted is None and portion.item.key not in count.new_items:
        count.new_items.add(portion.item.key)
        if (teacher := _joined_in_mid_period(portion)) is not None:
            count.joins[teacher] = count.joins.get(teacher, 0) + 1


def _is_new(one: Decided) -> bool:
    return (one.grade.kind, one.grade.reason) != (one.decision.kind, one.decision.reason)


def _joined_in_mid_period(portion: Portion) -> str | None:
    """The assigner, where the item was assigned before the join and the period began before it."""
    framed, assessment = portion.frame, portion.item.assessment
    joined = framed.item.membership.joined_at
    if joined is None or framed.period is None or assessment is None:
        return None
    day = joined.astimezone(framed.due_at.tzinfo).date()
    is_mid_period = framed.period.start < day <= framed.period.end
    return assessment.assigner_id if is_mid_period and framed.assigned_at < joined else None


def _forecast(
    stored: StoredDistrict, cutoff: Cutoff, now: datetime, count: _Count, stopped_by: str | None
) -> Forecast:
    report = RunReport(
        district_id=stored.district.district,
        service_date=cutoff.service_date,
        kind=KIND,
        cutoff_at=cutoff.at,
        started_at=now,
        finished_at=now,
        state="done" if stopped_by is None else "deferred",
        line_items_posted=len(count.new_items),
        results={
            "posted": sum(count.posted.values()),
            "rejected": 0,
            "skipped": count.of_kind(Kind.SKIP),
            "held": count.of_kind(Kind.HOLD),
            "deferred": 0,
        },
        zeros_posted=count.posted.get(Origin.CLOCK, 0),
        reasons={reason.value: n for reason, n in count.by_reason.items()},
        stopped_by=stopped_by,
    )
    return Forecast(report, dict(sorted(count.joins.items())))

"""Tonight before it happens: the walk of a run that writes nothing and only reads Skyward."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from consumer.cutoff import Cutoff
from consumer.errors import DistrictStopped
from consumer.flush import conflicts
from consumer.flush.night import Night, Portion, read_district, trips_breaker
from consumer.flush.run import Connects
from consumer.gradebook import ItemKey, Kind, Origin, Reason, RunReport
from consumer.rules import Tonight
from consumer.skyward import Skyward
from consumer.store import skyward_state, undecided
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.settling import Tally

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
class _Ahead:
    """What a walk came to so far; ``new_items`` are line items that Skyward has not yet."""

    tally: Tally = field(default_factory=Tally)
    new_items: set[ItemKey] = field(default_factory=set)
    joins: dict[str, int] = field(default_factory=dict)


async def forecast(
    pool: Pool, connect: Connects, stored: StoredDistrict, now: datetime
) -> Forecast:
    """What the run of the district's next cutoff would do, were it to begin with what is known now.

    Refusals cannot be known before: what Skyward refused before and would be sent again counts
    as posted. Skyward's troubles end in a report whose state is deferred.
    """
    cutoff = Cutoff(stored.next_service_date, stored.next_cutoff_at)
    ahead = _Ahead()
    # A pause may end before the run begins.
    if stored.is_paused(max(now, stored.start_at, cutoff.at)):
        waiting = await undecided.left_undecided(pool, stored.district.district, cutoff.at)
        if waiting:
            ahead.tally.by_reason[Reason.DISTRICT_PAUSED] = sum(waiting.values())
        return _forecast(stored, cutoff, now, ahead, Reason.DISTRICT_PAUSED.value)
    try:
        async with connect(stored, stored.district) as skyward:
            night = await _night(pool, stored, cutoff, skyward)
            night.hold_zeros(await trips_breaker(night))
            async for page in conflicts.pages(night, skyward):
                async for portion in page:
                    _take_in(ahead, portion)
    except DistrictStopped as stop:
        return _forecast(stored, cutoff, now, ahead, stop.reason)
    return _forecast(stored, cutoff, now, ahead, None)


async def _night(pool: Pool, stored: StoredDistrict, cutoff: Cutoff, skyward: Skyward) -> Night:
    district_id = stored.district.district
    before = await skyward_state.find_district(pool, district_id)
    read = await read_district(skyward)
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


def _take_in(ahead: _Ahead, portion: Portion) -> None:
    sends = False
    ahead.tally.titles_kept += portion.title_kept
    for one in portion.grades:
        decision = one.decision
        sends = sends or decision.send or decision.delete
        ahead.tally.count(decision, sent=decision.send, is_new=one.is_new)
    # An item of many grades comes in several portions; it is new once.
    if sends and portion.item.posted is None and portion.item.key not in ahead.new_items:
        ahead.new_items.add(portion.item.key)
        if (teacher := _joined_in_mid_period(portion)) is not None:
            ahead.joins[teacher] = ahead.joins.get(teacher, 0) + 1


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
    stored: StoredDistrict, cutoff: Cutoff, now: datetime, ahead: _Ahead, stopped_by: str | None
) -> Forecast:
    tally = ahead.tally
    report = RunReport(
        district_id=stored.district.district,
        service_date=cutoff.service_date,
        kind=KIND,
        cutoff_at=cutoff.at,
        started_at=now,
        finished_at=now,
        state="done" if stopped_by is None else "deferred",
        line_items_posted=len(ahead.new_items),
        titles_kept=tally.titles_kept,
        results={
            "posted": tally.posted.total(),
            "rejected": 0,
            "skipped": tally.of_kind(Kind.SKIP),
            "held": tally.of_kind(Kind.HOLD),
            "deferred": 0,
        },
        zeros_posted=tally.posted[Origin.CLOCK],
        reasons={reason.value: n for reason, n in tally.by_reason.items()},
        stopped_by=stopped_by,
    )
    return Forecast(report, dict(sorted(ahead.joins.items())))

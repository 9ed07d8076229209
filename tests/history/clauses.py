"""The law: one function a clause, each yields a sentence for every breach of it.

Names are those that findings carry. Nothing here asks how the product works; only what was
published, what Skyward received and holds, and what the store says.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from consumer.sandbox.oracle import compare
from tests.history.evidence import Evening, History, Object, Write, plain
from tests.history.published import Published

_SLACK: Final = timedelta(seconds=1)
"""How much later than its sender's death a request may be read by Skyward."""


@dataclass(frozen=True)
class Finding:
    clause: str
    says: str

    def __str__(self) -> str:
        return f"{self.clause}: {self.says}"


@dataclass(frozen=True)
class Judgement:
    """``repeats``: writes that took effect once more as they stood, after an unknown outcome."""

    findings: Sequence[Finding]
    repeats: int

    @property
    def lost(self) -> int:
        """How many values do not stand as they should."""
        return sum(1 for one in self.findings if one.clause == final_value.__name__)

    @property
    def doubled(self) -> int:
        """How many stand twice, or were sent again although nothing spoke for it."""
        twice = (one_result_each.__name__, nothing_twice.__name__)
        return sum(1 for one in self.findings if one.clause in twice)


def judge(history: History) -> Judgement:
    """Every breach of every clause, in the order of the clauses."""
    findings = [
        Finding(clause.__name__, sentence) for clause in CLAUSES for sentence in clause(history)
    ]
    return Judgement(findings, len(_repeats(history)))


def judged(history: History) -> Judgement:
    """The judgement, where there is no finding; else fails with all of them."""
    found = judge(history)
    told = "\n".join(map(str, found.findings[:20]))
    assert not found.findings, f"{len(found.findings)} findings\n{told}"
    return found


# -- what stands ------------------------------------------------------------------------------


def final_value(history: History) -> Iterator[str]:
    """Skyward holds the newest eligible value of each grade, and nothing that nobody asked for."""
    for district, expected in history.expected.items():
        lines = (json.dumps(_supplied(history, one)) for one in history.held.get(district, ()))
        yield from compare(expected, lines, district_id=district)


def one_result_each(history: History) -> Iterator[str]:
    """No student has two results in one line item."""
    for tenant, held in history.held.items():
        for (item, student), count in results_each(held).items():
            if count > 1:
                yield f"{tenant}: student {student} has {count} results in line item {item}"


def results_each(held: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """How many results each student has in each line item."""
    return Counter((one["lineItem"], one["student"]) for one in held if "student" in one)


def store_believes(history: History) -> Iterator[str]:
    """What the store believes that Skyward holds is what it holds, no less and no more."""
    for tenant, held in history.held.items():
        here = {history.object(one["sourcedId"]): one for one in held}
        grades = {
            key: row
            for key, row in history.store.grades.items()
            if key[0] == tenant and row["sent_at"] is not None
        }
        items = {key: row for key, row in history.store.line_items.items() if key[0] == tenant}
        for key in (here.keys() | grades.keys() | items.keys()) - {None, *history.acted}:
            assert key is not None
            yield from _disagreement(
                key, here.get(key), (grades if len(key) == 4 else items).get(key)
            )


def _disagreement(
    key: Object, held: Mapping[str, Any] | None, row: Mapping[str, Any] | None
) -> Iterator[str]:
    named = "/".join(key)
    if held is None:
        if row is not None:
            yield f"{named}: the store believes that it stands, and Skyward does not hold it"
        return
    if row is None:
        yield f"{named}: Skyward holds it, and the store does not know"
        return
    if len(key) == 3:
        believed, is_so = (row["title"], row["class"]), (held["title"], held["class"])
    else:
        believed = (plain(row["sent_score"]), row["sent_status"])
        is_so = (plain(held["score"]), held["scoreStatus"])
    if believed != is_so:
        yield f"{named}: the store believes {believed}, and Skyward holds {is_so}"


# -- the way there ----------------------------------------------------------------------------


def versions_rise(history: History) -> Iterator[str]:
    """No value gives way to an older one, and each was published, or is a zero of the clock."""
    for write, said, last, carried in _carried(history):
        if carried is not None:
            continue
        if said:
            yield f"{_named(write)}: version {said[-1].version} came after version {last}"
        elif not _is_zero(write):
            yield f"{_named(write)}: the value was never published"
        elif last is not None:
            yield f"{_named(write)}: a zero of the clock came after version {last}"


def nothing_later_than_its_night(history: History) -> Iterator[str]:
    """No value goes of which every unsent version changed after the cutoff of its run."""
    for write, said, last, _ in _carried(history):
        cutoff = _cutoff(history.evenings.get(write.tenant, ()), write)
        if cutoff is None or write.object is None:
            continue
        if said:
            versions = history.versions[write.object]
            top = versions.index(said[-1])
            unsent = [
                one for one in versions[: top + 1] if last is None or (one.version or 0) > last
            ]
            if unsent and all(one.changed_at > cutoff for one in unsent if one.changed_at):
                yield f"{_named(write)}: all of it changed after the cutoff {cutoff}"
        elif _is_zero(write) and not _was_due(history, write, cutoff):
            yield f"{_named(write)}: a zero of what was not due at the cutoff {cutoff}"


def _carried(
    history: History,
) -> Iterator[tuple[Write, Sequence[Published], int | None, int | None]]:
    """Each write of a value: the versions it may have carried, the one before it, and its own.

    Its own is the earliest that fits, which leaves the most room for those after it; None where
    none does.
    """
    for writes in history.stored.values():
        if writes[0].object is None or len(writes[0].object) != 4:
            continue
        last: int | None = None
        for write in writes:
            if write.effect is None:
                continue
            said = _versions_of(history, write)
            fits = [v for one in said if (v := one.version) is not None and v >= (last or v)]
            carried = fits[0] if fits else None
            yield write, said, last, carried
            last = last if carried is None else carried


def _versions_of(history: History, write: Write) -> list[Published]:
    """The versions that a write may have carried, rising."""
    assert write.object is not None
    assert write.effect is not None
    exempt = write.effect["scoreStatus"] == "exempt"
    score = plain(write.effect["score"])
    return [
        one
        for one in history.versions.get(write.object, ())
        if ((one.data or {}).get("submission") in ("excused", "excluded")) is exempt
        and (exempt or (one.score is not None and one.score == score))
    ]


def _is_zero(write: Write) -> bool:
    return write.effect is not None and plain(write.effect["score"]) == 0


def _cutoff(evenings: Sequence[Evening], write: Write) -> datetime | None:
    begun = [one.cutoff for one in evenings if one.after < write.seq]
    return begun[-1] if begun else None


def _was_due(history: History, write: Write, cutoff: datetime) -> bool:
    assert write.object is not None
    dues = [one.due_at for one in history.versions.get(write.object[:3], ())]
    return any(due is not None and due <= cutoff for due in dues)


def no_write_after_the_lease(history: History) -> Iterator[str]:
    """Once a later run has written, an earlier one writes no more; each has a token of its own."""
    if history.renews_tokens:
        return
    newest: dict[str, int] = {}
    for write in history.writes:
        if not write.stored or write.token is None:
            continue
        if write.token < newest.get(write.tenant, 0):
            yield (
                f"{_named(write)}: written with token {write.token} after one with"
                f" token {newest[write.tenant]}"
            )
        newest[write.tenant] = max(write.token, newest.get(write.tenant, 0))


def line_item_first(history: History) -> Iterator[str]:
    """No result arrives before its line item was acknowledged."""
    acknowledged: dict[tuple[str, Object], datetime] = {}
    for write in history.writes:
        if write.operation == "putLineItem" and write.is_acknowledged and write.object is not None:
            assert write.answered_at is not None
            acknowledged.setdefault((write.tenant, write.object), write.answered_at)
    for write in history.writes:
        if write.operation == "putResult" and write.object is not None:
            since = acknowledged.get((write.tenant, write.object[:3]))
            if since is None or since > write.received_at:
                yield f"{_named(write)}: its line item was not acknowledged before"


def nothing_twice(history: History) -> Iterator[str]:
    """What was acknowledged is written once more only where a process died before it settled."""
    forgotten: Counter[tuple[str, datetime]] = Counter()
    for before, again in _repeats(history):
        if not before.is_acknowledged:
            continue
        died = [
            at
            for at in history.deaths
            if before.received_at <= at + _SLACK and at <= again.received_at
        ]
        if not died:
            yield f"{_named(again)}: written again although its outcome was known"
        elif before.operation == "putResult":
            forgotten[again.tenant, died[0]] += 1
    for (tenant, at), count in forgotten.items():
        if count > history.window:
            yield f"{tenant}: {count} writes were forgotten by the death at {at}"


def _repeats(history: History) -> list[tuple[Write, Write]]:
    """Pairs of writes that left an object as the first of them had left it."""
    acts = sorted(line["stored_seq"] or 0 for line in history.journal if line["method"] == "ACT")
    return [
        (before, again)
        for writes in history.stored.values()
        for before, again in pairwise(writes)
        if before.effect is not None
        and _plainly(before.effect) == _plainly(again.effect)
        and not any(before.stored_seq < act < again.stored_seq for act in acts)
    ]


def _plainly(effect: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A score's date is the day of sending, which a repeat need not share."""
    if effect is None:
        return None
    return {name: one for name, one in effect.items() if name != "scoreDate"}


# -- whose it is ------------------------------------------------------------------------------


def own_district_only(history: History) -> Iterator[str]:
    """What is written to a district's Skyward was published of that district, under its own id."""
    for write in history.writes:
        if write.object is None:
            yield f"{write.tenant}: {write.sourced_id} is no id of ours"
        elif write.object[0] != write.tenant:
            yield f"{_named(write)}: written to the Skyward of {write.tenant}"


def offsets_behind_rows(history: History) -> Iterator[str]:
    """Each event below the stored offset is in the store: as it is, superseded, or quarantined."""
    store = history.store
    for one in history.published:
        topic, partition, offset = one.place
        if offset >= store.offsets.get((topic, partition), 0) or one.place in store.quarantined:
            continue
        if not one.is_readable:
            yield f"{topic} {partition}: unreadable at offset {offset}, and not in quarantine"
        if one.version is None:
            continue
        if len(one.key) == 4:
            row = store.grades.get(one.key)
            known = None if row is None else row["version"]
        elif len(one.key) == 3:
            known = store.assessments.get(one.key)
        else:
            known = one.version if (*one.key, one.version) in store.memberships else None
        if known is None or known < one.version:
            yield f"{'/'.join(one.key)}: version {one.version} was read past; the store has {known}"


def store_invents_nothing(history: History) -> Iterator[str]:
    """No row has a version that was never published."""
    rows = {key: row["version"] for key, row in history.store.grades.items()}
    for key, version in {**rows, **history.store.assessments}.items():
        if version is not None and version not in {
            one.version for one in history.versions.get(key, ())
        }:
            yield f"{'/'.join(key)}: version {version} was never published"


def _named(write: Write) -> str:
    return f"{'/'.join(write.object or (write.sourced_id,))} (write {write.seq})"


def _supplied(history: History, one: Mapping[str, Any]) -> dict[str, Any]:
    """What Skyward holds under the ids that we supplied."""
    ids = {name: one[name] for name in ("sourcedId", "lineItem") if name in one}
    return {**one, **{name: history.aliases.get(value, value) for name, value in ids.items()}}


CLAUSES: Final[Sequence[Callable[[History], Iterator[str]]]] = (
    final_value,
    one_result_each,
    store_believes,
    versions_rise,
    nothing_later_than_its_night,
    no_write_after_the_lease,
    line_item_first,
    nothing_twice,
    own_district_only,
    offsets_behind_rows,
    store_invents_nothing,
)

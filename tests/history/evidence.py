"""Everything that the judgement looks at, gathered when all is quiet again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

import asyncpg

from consumer.sandbox.oracle import Expected, line_item_id, result_id
from consumer.sandbox.skyward import StandIn
from tests.history.published import Place, Published

Object = tuple[str, ...]
"""Of a line item: its district, assessment and class; of a result: these and its student."""


class Write(NamedTuple):
    """One PUT or DELETE of Skyward's journal, with the moment that matters about it.

    ``object`` is what its sourcedId is made of, None for an id that is none of ours. ``effect``
    is what Skyward holds since, None of a deletion and where it stored nothing. ``known``: an
    answer came back that says what happened.
    """

    seq: int
    tenant: str
    operation: str
    sourced_id: str
    object: Object | None
    received_at: datetime
    answered_at: datetime | None
    stored: bool
    stored_seq: int
    effect: Mapping[str, Any] | None
    known: bool
    token: int | None

    @property
    def is_acknowledged(self) -> bool:
        return self.stored and self.known


class Evening(NamedTuple):
    """A run: from which number of the journal on its cutoff is the one that counts."""

    after: int
    cutoff: datetime


@dataclass(frozen=True)
class Store:
    """What the store says; rows as they are, by key. ``None`` as offsets: nothing was polled."""

    grades: Mapping[Object, Mapping[str, Any]] = field(default_factory=dict)
    assessments: Mapping[Object, int] = field(default_factory=dict)
    memberships: frozenset[tuple[str, str, int]] = frozenset()
    line_items: Mapping[Object, Mapping[str, Any]] = field(default_factory=dict)
    quarantined: frozenset[Place] = frozenset()
    offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """What happened. A district and its tenant of the stand-in have the same name.

    ``held``: what each tenant holds now. ``expected``: what must stand, by district; of one
    that is not there nobody knows. ``evenings``: by tenant, in order. ``deaths``: moments at
    which a process died, or its settling was in vain: up to ``window`` answered writes a district
    are forgotten each time. ``renews_tokens``: a run may change its token, so that tokens do not
    tell runs apart.
    """

    published: Sequence[Published]
    journal: Sequence[dict[str, Any]]
    held: Mapping[str, Sequence[dict[str, Any]]]
    store: Store
    expected: Mapping[str, Sequence[tuple[str, str, str, Expected]]] = field(default_factory=dict)
    evenings: Mapping[str, Sequence[Evening]] = field(default_factory=dict)
    deaths: Sequence[datetime] = ()
    window: int = 64
    renews_tokens: bool = False

    @cached_property
    def ids(self) -> Mapping[str, Object]:
        """Every sourcedId that may be made of what was published, by itself."""
        found: dict[str, Object] = {}
        for one in self.published:
            if one.topic == "grade-changed" and len(one.key) == 4:
                found |= _ids_of(one.key)
            elif one.topic == "assessment-changed" and len(one.key) == 3:
                people = (one.data or {}).get("assignees", ())
                found |= _ids_of(one.key)
                for student in people:
                    if isinstance(student, dict) and "student_id" in student:
                        found |= _ids_of((*one.key, str(student["student_id"])))
        return found

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """From the id that a server chose to the one that we supplied."""
        return {
            line["effect"]["sourcedId"]: line["sourcedId"]
            for line in reversed(self.journal)
            if line["effect"] and line["effect"].get("sourcedId") not in (None, line["sourcedId"])
        }

    def object(self, sourced_id: str) -> Object | None:
        return self.ids.get(self.aliases.get(sourced_id, sourced_id))

    @cached_property
    def writes(self) -> Sequence[Write]:
        """In the order of arrival."""
        return [
            Write(
                line["seq"],
                line["tenant"],
                line["operation"],
                line["sourcedId"],
                self.object(line["sourcedId"]),
                datetime.fromisoformat(line["received_at"]),
                None
                if line["answered_at"] is None
                else datetime.fromisoformat(line["answered_at"]),
                line["stored"],
                line["stored_seq"] or 0,
                line["effect"],
                _is_known(line),
                line["token"],
            )
            for line in sorted(self.journal, key=lambda line: int(line["seq"]))
            if (line["operation"] or "").startswith(("put", "delete")) and line["method"] != "ACT"
        ]

    @cached_property
    def stored(self) -> Mapping[tuple[str, str], Sequence[Write]]:
        """What took effect on each object, by tenant and the id it has there, in that order."""
        found: dict[tuple[str, str], list[Write]] = {}
        for write in sorted(self.writes, key=lambda one: one.stored_seq):
            if write.stored:
                sourced_id = self.aliases.get(write.sourced_id, write.sourced_id)
                found.setdefault((write.tenant, sourced_id), []).append(write)
        return found

    @cached_property
    def versions(self) -> Mapping[Object, Sequence[Published]]:
        """What was published of each subject, its versions rising; no tombstones."""
        found: dict[Object, dict[int, Published]] = {}
        for one in sorted(self.published, key=lambda one: one.place):
            if one.version is not None:
                # Of two alike the first is the one that counts.
                found.setdefault(one.key, {}).setdefault(one.version, one)
        return {key: [all_of[v] for v in sorted(all_of)] for key, all_of in found.items()}

    @cached_property
    def acted(self) -> frozenset[Object | None]:
        """What a teacher or the office touched in Skyward."""
        return frozenset(
            self.object(value)
            for line in self.journal
            if line["method"] == "ACT"
            for value in (line["effect"] or {}).values()
            if isinstance(value, str)
        )


# The answer was sent, and says nothing, or came after the client had gone.
_SPOILED = frozenset({"delay_answer", "malformed", "wrong_types", "reset_after", "hang"})


def _is_known(line: Mapping[str, Any]) -> bool:
    status = line["status"]
    return (
        status is not None
        and line["answered_at"] is not None
        and status < 500
        and status != 429
        and line["fault"] not in _SPOILED
    )


def _ids_of(key: Object) -> dict[str, Object]:
    if len(key) == 3:
        return {str(line_item_id(*key)): key}
    return {str(result_id(*key)): key, **_ids_of(key[:3])}


async def read_store(database_url: str) -> Store:
    """What the database says now, of all districts."""
    connection = await asyncpg.connect(database_url)
    try:
        grades = await connection.fetch("SELECT * FROM grade")
        assessments = await connection.fetch(
            "SELECT district_id, assessment_id, class_id, version FROM assessment"
        )
        memberships = await connection.fetch(
            "SELECT district_id, teacher_id, version FROM membership"
        )
        line_items = await connection.fetch(
            "SELECT district_id, assessment_id, class_id, sourced_id, posted ->> 'title' AS title,"
            " posted ->> 'class' AS class FROM line_item WHERE posted IS NOT NULL"
        )
        places = await connection.fetch("SELECT topic, partition, log_offset FROM quarantine")
        offsets = await connection.fetch("SELECT topic, partition, next_offset FROM intake_offset")
    finally:
        await connection.close()
    return Store(
        grades={tuple(row[:4]): dict(row) for row in grades},
        assessments={tuple(row[:3]): row["version"] for row in assessments},
        memberships=frozenset(map(tuple, memberships)),
        line_items={tuple(row[:3]): dict(row) for row in line_items},
        quarantined=frozenset(map(tuple, places)),
        offsets={(row["topic"], row["partition"]): row["next_offset"] for row in offsets},
    )


async def nightly(
    database_url: str, journal: Iterable[Mapping[str, Any]]
) -> dict[str, list[Evening]]:
    """The runs of daemons, by their tenant: told apart by when they began, on one clock."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT district_id, started_at, cutoff_at FROM flush_run ORDER BY run_id"
        )
    finally:
        await connection.close()
    arrived = [(datetime.fromisoformat(line["received_at"]), line["seq"]) for line in journal]
    found: dict[str, list[Evening]] = {}
    for row in rows:
        after = max((seq for at, seq in arrived if at < row["started_at"]), default=0)
        found.setdefault(row["district_id"], []).append(Evening(after, row["cutoff_at"]))
    return found


async def gathered(
    standin: StandIn,
    database_url: str,
    published: Sequence[Published],
    *,
    after: int = 0,
    **told: Any,
) -> History:
    """The history up to now; of the journal what came ``after``. ``told`` are History's others."""
    journal = standin.journal_lines(after=after)
    tenants = {line["tenant"] for line in journal if line["operation"]}
    return History(
        published=published,
        journal=journal,
        held={tenant: list(standin.district(tenant).gradebook()) for tenant in sorted(tenants)},
        store=await read_store(database_url),
        **{"evenings": await nightly(database_url, journal), **told},
    )


def plain(score: Any) -> Decimal | None:
    """A score as a number, whoever wrote it."""
    return None if score in (None, "") else Decimal(str(score))

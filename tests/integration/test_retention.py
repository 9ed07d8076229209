"""Retention: what is settled and old goes, what waits stays, and nothing wrong comes of it."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.store import retention
from consumer.store.retention import Purged
from tests.integration.nights import NOW, Nights

LATER = NOW + timedelta(days=500)


async def purge(nights: Nights, *, before: datetime = LATER) -> Purged:
    return await retention.purge(nights.pool, "lakeside", before, LATER, history=True)


async def count(nights: Nights, table: str) -> int:
    found = await nights.pool.fetchval(f"SELECT count(*) FROM {table}")
    assert isinstance(found, int)
    return found


async def a_settled_quiz(nights: Nights) -> None:
    """One graded student, and zeros for all others."""
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()


async def test_settled_grades_go_and_an_audit_row_says_how_many(nights: Nights) -> None:
    await a_settled_quiz(nights)
    everyone = len(nights.evening.students)
    purged = await purge(nights)
    assert asdict(purged) == {
        "assessments": 1,
        "grades": everyone,
        "sent": everyone + 1,
        "runs": 1,
        "quarantined": 0,
    }
    assert (await count(nights, "grade"), await count(nights, "sent")) == (0, 0)
    assert await nights.pool.fetchval("SELECT assignees FROM assessment") == {}
    audit = await nights.pool.fetchrow("SELECT action, detail FROM audit ORDER BY id DESC LIMIT 1")
    assert audit is not None
    assert (audit["action"], audit["detail"]["grades"]) == ("purge", everyone)


async def test_what_is_younger_stays(nights: Nights) -> None:
    await a_settled_quiz(nights)
    assert asdict(await purge(nights, before=NOW - timedelta(days=30))) == asdict(Purged())
    assert await count(nights, "grade") == len(nights.evening.students)


async def test_an_assessment_with_a_grade_that_waits_stays_whole(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    nights.evening.grade("quiz", 1, None, completion="in_progress", submission=None)
    await nights.flush()  # the second is held: not due yet
    assert (await purge(nights)).grades == 0
    assert await count(nights, "grade") == 2


async def test_purging_twice_is_as_once(nights: Nights) -> None:
    await a_settled_quiz(nights)
    await purge(nights)
    assert asdict(await purge(nights)) == asdict(Purged())


async def test_another_district_keeps_all_it_has(nights: Nights) -> None:
    await a_settled_quiz(nights)
    purged = await retention.purge(nights.pool, "hillside", LATER, LATER, history=True)
    assert asdict(purged) == asdict(Purged())
    assert await count(nights, "grade") == len(nights.evening.students)


async def test_no_zero_is_made_of_a_purged_assessment_that_changes_again(nights: Nights) -> None:
    await a_settled_quiz(nights)
    await purge(nights)
    before = len(nights.writes())
    nights.evening.assess("quiz", title="Quiz, again", due_days=-1)
    report = await nights.flush(days=1)
    assert report.zeros_posted == 0
    assert report.reasons == {"zero_not_allowed": len(nights.evening.students)}
    assert [w["operation"] for w in nights.writes()[before:]] in ([], ["putLineItem"])
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=1)).results["posted"] == 1


async def test_grades_whose_assessment_never_came_go_when_they_are_old(nights: Nights) -> None:
    nights.evening.grade("nowhere", 0, "8")
    await nights.flush()
    assert (await purge(nights)).grades == 1


async def test_old_events_in_quarantine_go_also_where_no_district_claims_them(
    nights: Nights,
) -> None:
    """Their payloads hold names and grades, and nobody would ever ask for their purge."""

    async def waits(district_id: str, offset: int, received: datetime) -> None:
        await nights.pool.execute(
            "INSERT INTO quarantine (district_id, topic, partition, log_offset, recorded_at,"
            " received_at, reason, detail, headers)"
            " VALUES ($1, 't', 0, $2, $3, $3, 'not_json', 'x', '{}')",
            district_id,
            offset,
            received,
        )

    for offset, district_id in enumerate(("", "never-applied", "lakeside")):
        await waits(district_id, offset, NOW - timedelta(days=500))
        await waits(district_id, 10 + offset, NOW - timedelta(days=300))
    before = NOW - timedelta(days=400)
    assert await retention.purge_unclaimed(nights.pool, before, NOW) == 2
    assert await retention.purge_unclaimed(nights.pool, before, NOW) == 0
    left = await nights.pool.fetch("SELECT district_id, log_offset FROM quarantine ORDER BY 2")
    assert [tuple(row) for row in left] == [
        ("lakeside", 2),
        ("", 10),
        ("never-applied", 11),
        ("lakeside", 12),
    ]
    audit = await nights.pool.fetch(
        "SELECT district_id, detail FROM audit WHERE action = 'purge' ORDER BY 1"
    )
    assert [(row["district_id"], row["detail"]["quarantined"]) for row in audit] == [("", 2)]
    assert (await purge(nights, before=before)).quarantined == 1


# -- the partitions of what was sent ----------------------------------------------------------


async def partitions(nights: Nights) -> list[str]:
    rows = await nights.pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'sent'::regclass ORDER BY 1"
    )
    return [row["name"] for row in rows]


async def test_the_coming_months_have_partitions_and_old_ones_are_dropped(
    nights: Nights,
) -> None:
    december = datetime(2026, 12, 15, tzinfo=UTC)
    assert await retention.keep_partitions(nights.pool, december, december) == []
    assert await partitions(nights) == [
        *("sent_2026_12", "sent_2027_01", "sent_2027_02", "sent_default"),
    ]
    spring = datetime(2027, 2, 1, tzinfo=UTC)
    dropped = await retention.keep_partitions(nights.pool, spring, spring)
    assert dropped == ["sent_2026_12", "sent_2027_01"]
    assert await partitions(nights) == [
        *("sent_2027_02", "sent_2027_03", "sent_2027_04", "sent_default"),
    ]


async def test_what_is_sent_lies_in_its_months_partition(nights: Nights) -> None:
    await retention.keep_partitions(nights.pool, NOW - timedelta(days=400), NOW)
    await a_settled_quiz(nights)
    assert await count(nights, f"sent_{NOW:%Y_%m}") == len(nights.evening.students) + 1
    assert await count(nights, "sent_default") == 0


async def test_what_was_sent_goes_with_its_month_and_no_row_of_it_is_deleted(
    nights: Nights,
) -> None:
    """Retention reads no history day by day, and leaves nothing for a vacuum to clear."""
    await retention.keep_partitions(nights.pool, NOW - timedelta(days=400), NOW)
    await a_settled_quiz(nights)
    rows = len(nights.evening.students) + 1
    daily = await retention.purge(nights.pool, "lakeside", LATER, LATER, history=False)
    assert (daily.grades, daily.sent) == (rows - 1, 0)
    assert await count(nights, "sent") == rows

    dropped = await retention.keep_partitions(nights.pool, NOW + timedelta(days=31), LATER)
    assert f"sent_{NOW:%Y_%m}" in dropped
    assert await count(nights, "sent") == 0


async def test_what_was_sent_before_there_was_a_partition_is_deleted_row_by_row(
    nights: Nights,
) -> None:
    await a_settled_quiz(nights)
    daily = await retention.purge(nights.pool, "lakeside", LATER, LATER, history=False)
    assert (daily.sent, await count(nights, "sent")) == (len(nights.evening.students) + 1, 0)


async def test_a_month_that_began_before_its_partition_stays_in_the_default_one(
    nights: Nights,
) -> None:
    await a_settled_quiz(nights)
    await retention.keep_partitions(nights.pool, NOW - timedelta(days=400), NOW)
    assert f"sent_{NOW:%Y_%m}" not in await partitions(nights)
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush(days=0)).results["posted"] == 1


async def test_replicas_keep_partitions_side_by_side(nights: Nights) -> None:
    at = NOW - timedelta(days=400)
    found: list[Any] = await asyncio.gather(
        *(retention.keep_partitions(nights.pool, at, NOW) for _ in range(4))
    )
    assert found == [[]] * 4

"""The schema and all SQL of the store fit a Citus that distributes the tables by district."""

from typing import Final

import pytest

from tests import statements
from tests.distribution import distributed_tables, faults

TABLES: Final = distributed_tables()

ALLOWED: Final = {
    "districts.find_all": "a command of operators that lists all districts",
    "gauges.read": "gauges of all districts, every shard counts its own, over partial indexes",
    "quarantined._discard": "an operator names events by their ids alone",
    "quarantined.count": "how many there are, of whatever district",
    "quarantined.find": "an operator names events by their ids alone",
    "quarantined.find_all": "lists events of districts that nobody knows yet, too",
    "quarantined.replay": "replays what was published to any district, in the log's order",
    "retention.keep_partitions": "whether a month's rows lie in the default partition, once a day",
    "retention.purge_unclaimed": "districts that nobody applied have no name to ask for",
    "runs.due": "the poll: which district is due is what it asks; every shard answers by an index",
}
"""Statements that name no district, or several where one is needed, and why they may."""


def test_every_statement_that_touches_a_district_says_which() -> None:
    found = [
        f"{one.where}: {fault}: {' '.join(one.sql.split())[:80]}"
        for one in statements.statements()
        if one.where not in ALLOWED
        for fault in faults(one.sql, TABLES)
    ]
    assert found == []


def test_each_exception_is_still_needed() -> None:
    needed = {one.where for one in statements.statements() if faults(one.sql, TABLES)}
    assert needed == set(ALLOWED)


def test_no_statement_stands_where_it_is_not_looked_for() -> None:
    assert statements.strays() == []
    found = statements.statements()
    assert len(found) > 100
    # A loop over tables, a choice of a caller's, a constant put together from others.
    assert sum(1 for one in found if one.where == "districts.remove") == 13
    assert sum(1 for one in found if one.where == "retention._delete") == 5
    assert any("wanted AS" in one.sql for one in found if one.where == "undecided.items")


WHOLE: Final = (
    "SELECT FROM grade WHERE district_id = $1",
    "SELECT FROM grade g WHERE 'lakeside'::text = g.district_id AND (g.kind = 'hold' OR true)",
    "SELECT FROM grade g JOIN assessment a USING (district_id) WHERE a.district_id = $1",
    "SELECT FROM grade g LEFT JOIN line_item l ON l.district_id = $1 WHERE g.district_id = $1",
    (
        "SELECT FROM district d WHERE d.district_id = $1 AND EXISTS"
        " (SELECT FROM grade g WHERE g.district_id = d.district_id)"
    ),
    (
        "WITH w AS (SELECT district_id FROM grade WHERE district_id = $1)"
        " UPDATE grade g SET kind = NULL FROM w WHERE g.district_id = w.district_id"
    ),
    (
        "UPDATE grade g SET kind = NULL FROM unnest($1::text[]) AS s (district_id)"
        " WHERE g.district_id = s.district_id"
    ),
    "SELECT FROM lease WHERE district_id = $1 FOR SHARE",
    (
        "INSERT INTO lease (district_id, holder) VALUES ($1, $2)"
        " ON CONFLICT (district_id) DO UPDATE SET holder = excluded.holder"
    ),
    "SELECT FROM intake_offset WHERE topic = $1",
)

BROKEN: Final = {
    "SELECT FROM grade": "grade is not tied to a district",
    "SELECT FROM grade WHERE class_id = $1": "grade is not tied to a district",
    "SELECT FROM grade WHERE district_id = $1 OR class_id = $2": "grade is not tied",
    "SELECT FROM grade WHERE district_id <> $1": "grade is not tied to a district",
    "SELECT FROM grade WHERE NOT district_id = $1": "grade is not tied to a district",
    "SELECT FROM grade WHERE district_id LIKE $1": "grade is not tied to a district",
    "SELECT FROM grade WHERE district_id = class_id": "grade is not tied to a district",
    "SELECT FROM grade g, assessment a WHERE g.district_id = $1": "assessment is not tied",
    "SELECT FROM grade g JOIN assessment a USING (class_id) WHERE g.district_id = $1": (
        "assessment is not tied"
    ),
    "SELECT FROM grade g JOIN assessment a USING (district_id)": "grade is not tied",
    # What stands on the kept side of an outer join is read whatever its condition says.
    "SELECT FROM grade g LEFT JOIN line_item l ON g.district_id = $1 AND l.district_id = $1": (
        "grade is not tied"
    ),
    "SELECT FROM grade g RIGHT JOIN line_item l ON g.district_id = $1 AND l.district_id = $1": (
        "line_item is not tied"
    ),
    "SELECT FROM grade g FULL JOIN line_item l ON g.district_id = $1 AND l.district_id = $1": (
        "grade is not tied"
    ),
    # Somewhere below.
    "SELECT FROM (SELECT * FROM grade) g WHERE g.district_id = $1": "grade is not tied",
    "SELECT (SELECT count(*) FROM grade) FROM lease WHERE district_id = $1": "grade is not tied",
    "SELECT FROM lease l WHERE l.district_id = $1 AND EXISTS (SELECT FROM grade g"
    " WHERE g.class_id = l.holder)": "grade is not tied",
    "SELECT FROM lease l WHERE NOT EXISTS (SELECT FROM grade g WHERE g.district_id = $1"
    " AND g.district_id = l.district_id)": "lease is not tied",
    "WITH w AS (SELECT * FROM grade) SELECT FROM w": "grade is not tied",
    "WITH w AS (UPDATE grade SET kind = NULL RETURNING 1) SELECT FROM w": "grade is not tied",
    "SELECT FROM grade WHERE district_id = $1 UNION ALL SELECT FROM grade": "grade is not tied",
    "SELECT FROM lease WHERE district_id = $1 ORDER BY (SELECT count(*) FROM grade)": (
        "grade is not tied"
    ),
    # Written.
    "UPDATE grade SET kind = NULL WHERE class_id = $1": "grade is not tied",
    "UPDATE grade SET district_id = $2 WHERE district_id = $1": "is changed",
    "UPDATE grade g SET kind = NULL FROM unnest($1::text[]) AS s (class_id)"
    " WHERE g.class_id = s.class_id": "grade is not tied",
    "DELETE FROM grade USING lease l WHERE l.district_id = $1": "grade is not tied",
    "INSERT INTO grade (class_id) VALUES ($1)": "gets rows without district_id",
    "INSERT INTO lease (district_id, holder) SELECT district_id, kind FROM grade": (
        "grade is not tied"
    ),
    "INSERT INTO lease (district_id, holder) VALUES ($1, $2) ON CONFLICT (holder) DO NOTHING": (
        "conflict is looked for without district_id"
    ),
    "INSERT INTO lease AS l (district_id, holder) VALUES ($1, $2) ON CONFLICT (district_id)"
    " DO UPDATE SET holder = $2 WHERE l.expires_at < clock_timestamp()": "calls a function",
    "INSERT INTO lease (district_id, holder) VALUES ($1, $2) ON CONFLICT (district_id)"
    " DO UPDATE SET district_id = $2": "is changed",
    # Locked.
    "SELECT FROM lease WHERE district_id = ANY($1) FOR SHARE": "locked in several districts",
    "SELECT FROM lease WHERE district_id IN ($1, $2) FOR UPDATE": "locked in several districts",
    # Forgotten.
    "SELECT FROM attendance WHERE district_id = $1": "nothing is known of the table attendance",
}


@pytest.mark.parametrize("sql", WHOLE)
def test_a_statement_that_says_which_district_has_no_fault(sql: str) -> None:
    assert faults(sql, TABLES) == []


@pytest.mark.parametrize(("sql", "fault"), BROKEN.items())
def test_a_statement_that_forgets_the_district_somewhere_is_found(sql: str, fault: str) -> None:
    assert any(fault in one for one in faults(sql, TABLES)), faults(sql, TABLES)

"""The table of deploy/reliability.md: a row a fault, kept from run to run, written by its test."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

FILE = Path(__file__).parents[2] / "deploy" / "reliability.md"

_HEAD = """\
# Reliability: each fault, and what it cost

Written by `make test-slow`, which ends each fault with a judgement of everything that Skyward
received; a row is written anew by its own test. *Lost* and *doubled* count values over all rounds
and must be 0. *Repeated* counts writes that Skyward took once more after an outcome that was
unknown, which changes nothing. *Recovered* is the longest of all rounds, from the end of the fault.
"""
_ELSEWHERE = """\
## Shown by `make test`

Whole nights, or a whole intake, too; each ends in the state of a run on which nothing happened, and
most have a build beside them that is broken on purpose and is noticed.

| fault | where it is shown |
|---|---|
"""
_ORDINARY = {
    "daylight saving both ways, half-hour zones: eight zones, four nights each": (
        "test_the_clock.py::"
        "test_each_night_over_a_change_of_the_clock_sends_what_changed_up_to_its_instant"
    ),
    "a cutoff missed by hours of downtime": (
        "test_the_clock.py::test_a_cutoff_missed_by_hours_of_downtime_sends_the_same_set_late"
    ),
    "cutoffs missed by days of downtime": (
        "test_the_clock.py::"
        "test_cutoffs_missed_by_days_of_downtime_have_one_run_each_in_their_order"
    ),
    "a run longer than its window": (
        "test_the_clock.py::"
        "test_a_run_longer_than_its_window_ends_and_the_next_night_sends_the_rest"
    ),
    "replicas whose clocks are three hours apart": (
        "test_the_clock.py::test_replicas_whose_clocks_are_hours_apart_send_each_value_once"
    ),
    "a machine whose clock is three hours ahead of Postgres'": (
        "test_the_clock.py::test_a_machine_that_is_hours_ahead_begins_no_night_before_its_cutoff"
    ),
    "a district applied on such a machine, or on one that is behind": (
        "test_applying.py::test_a_machine_that_is_hours_ahead_schedules_tonights_cutoff"
    ),
    "events stamped in the future": (
        "test_the_clock.py::"
        "test_a_time_more_than_five_minutes_ahead_of_its_record_counts_as_the_records"
    ),
    "29 things that a Skyward does and stops doing, each alone": (
        "test_skyward_storms.py::test_what_passes_in_a_night_leaves_the_night_as_if_it_had_not_been"
    ),
    "a Skyward that is silent, or answers too late": (
        "test_skyward_storms.py::"
        "test_a_skyward_that_is_silent_for_a_while_leaves_the_night_as_if_it_had_not_been"
    ),
    "what lasts a whole night, a 200 that stored nothing among it": (
        "test_skyward_storms.py::test_what_outlasts_a_nights_patience_goes_with_the_next"
    ),
    "twelve refusals": (
        "test_skyward_storms.py::"
        "test_what_is_refused_is_kept_back_alone_and_goes_when_its_payload_changes"
    ),
    "a token that expires in mid-run": (
        "test_skyward_storms.py::"
        "test_a_token_that_expires_in_mid_run_is_got_anew_and_nothing_else_happens"
    ),
    "the token endpoint down while the API is up": (
        "test_skyward_storms.py::"
        "test_a_token_endpoint_that_is_down_when_the_token_expires_delays_the_night"
    ),
    "a secret regenerated in mid-run": (
        "test_skyward_storms.py::"
        "test_a_secret_that_is_regenerated_in_mid_run_stops_the_district_and_keeps_its_queue"
    ),
    "a class that is forbidden": (
        "test_skyward_storms.py::test_a_class_that_is_forbidden_stops_no_other_and_goes_when_it_may"
    ),
    "the connection lost at each commit, before it or with its answer": (
        "test_postgres_lost.py::"
        "test_a_night_that_loses_postgres_at_any_of_its_commits_ends_as_if_it_had_not"
    ),
    "ten SQLSTATEs at seven tables, in a run": (
        "test_postgres_lost.py::"
        "test_a_night_in_which_postgres_refuses_a_write_ends_as_if_it_had_not"
    ),
    "ten SQLSTATEs in a row, in intake": (
        "test_intake_disturbed.py::"
        "test_whatever_postgres_refuses_for_a_while_costs_intake_a_pause_and_nothing_else"
    ),
    "a batch's commit cut off, or its answer lost": (
        "test_intake_disturbed.py::test_a_batch_whose_commit_is_cut_off_is_recorded_once"
    ),
    "Postgres killed and restarted in mid-intake": (
        "test_intake.py::test_a_postgres_killed_and_restarted_in_mid_intake_loses_nothing"
    ),
    "a write that arrives after a newer one, 90 s after its run at the latest": (
        "test_late_writes.py::test_an_old_value_that_arrives_after_a_newer_one_gives_way_to_it"
    ),
    "Kafka killed and restarted in mid-intake": (
        "test_intake_judged.py::test_a_kafka_killed_and_restarted_in_mid_intake_loses_nothing"
    ),
    "a replica joins, another is stopped or cut off, both in mid-batch": (
        "test_intake_judged.py::"
        "test_a_replica_that_joins_and_one_that_leaves_in_mid_batch_lose_nothing"
    ),
}
_FOUND = """\
## What finds a broken build

Each clause of the judge has a history that breaks it in `tests/unit/test_history.py`, and a build,
broken on purpose, that it finds: killed (SIGKILL), or standing still (SIGSTOP), where that is what
brings it to light.

| clause | the build that it finds | where |
|---|---|---|
"""
_KILLED = "slow/test_killed_replicas.py::test_a_broken_build_that_is_killed_is_found_by_its_clause"
_FROZEN = (
    "slow/test_frozen_replicas.py::test_a_broken_build_that_stands_still_is_found_by_its_clauses"
)
_CUT = "slow/test_interrupted_nights.py::test_a_broken_build_is_found_by_its_clause"
_ASKS_EARLY = (
    "integration/test_zombies.py::"
    "test_a_build_that_asks_its_lease_before_its_connection_stands_is_noticed"
)
_OFFSETS_FIRST = (
    "integration/test_interrupted_nights.py::"
    "test_a_build_that_stores_offsets_before_rows_is_noticed"
)
_BUILDS = {
    "final_value": ("counts as posted what changed while it was on its way, killed", _KILLED),
    "one_result_each": ("makes a result's id up, and asks nothing after a death, killed", _KILLED),
    "store_believes": ("settles under a lease that went to another, standing still", _FROZEN),
    "versions_rise": ("asks its lease before its connection stands, standing still", _ASKS_EARLY),
    "nothing_later_than_its_night": ("sends what changed after the cutoff", _CUT),
    "no_write_after_the_lease": ("does not ask its lease before it writes", _FROZEN),
    "line_item_first": ("sends results while their line item is on its way, killed", _KILLED),
    "nothing_twice": ("sends what stands already", _CUT),
    "own_district_only": ("makes a line item's id up, killed", _KILLED),
    "offsets_behind_rows": ("stores the offsets before the rows, killed", _OFFSETS_FIRST),
    "store_invents_nothing": ("numbers versions itself", _CUT),
}
_LATE = """\
## A write that is late, and what bounds it

Skyward knows no lease and takes whatever arrives. So a write asks its lease when its connection
stands, and waits for nothing from there to the socket: of one that stood still, only what its
kernel or the network held may arrive later, and of a Skyward that is slow, what it had received.
Where Otus changed the grade meanwhile and the next run was quicker, an old value then stands over
a newer one. Therefore a run that follows one with an outcome that nobody knows is made once more,
90 s after its end (a request lasts 60 s): Skyward is asked of everything that was sent of those
line items, and what it shows otherwise is sent again. Not mended so is what arrives later still;
what follows a run that a person started, until the next night's; and what the district keeps as a
teacher's (`changed_in_skyward: hold`). `passback diff` shows all three.
"""
_COLUMNS = "| fault | rounds | lost | doubled | repeated | recovered | how it was seen |"


@dataclass(frozen=True)
class Row:
    """``recovered`` is in seconds; None where the fault has no end to count from."""

    fault: str
    rounds: int
    lost: int
    doubled: int
    repeated: int
    recovered: float | None
    seen: str

    def line(self) -> str:
        recovered = "" if self.recovered is None else f"{self.recovered:.1f} s"
        cells = [self.fault, self.rounds, self.lost, self.doubled, self.repeated, recovered]
        return "| " + " | ".join(str(cell) for cell in [*cells, self.seen]) + " |"


@dataclass
class Table:
    """The file's lines by fault, in the order of the faults' names."""

    lines: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Self:
        found = FILE.read_text().splitlines() if FILE.exists() else []
        found = [line for line in found if line.count(" | ") == len(fields(Row)) - 1]
        rows = [line for line in found if re.match(r"\| (?!fault |---)", line)]
        return cls({line.split("|")[1].strip(): line for line in rows})

    @classmethod
    def add(cls, row: Row) -> None:
        """Writes the row into the file; fails where something was lost or doubled."""
        table = cls.read()  # Others may have written meanwhile.
        table.lines[row.fault] = row.line()
        FILE.write_text(table.text())
        assert (row.lost, row.doubled) == (0, 0), row

    def text(self) -> str:
        """The whole page."""
        rule = "|" + "---|" * len(fields(Row))
        rows = [self.lines[fault] for fault in sorted(self.lines)]
        ordinary = [f"| {fault} | `{test}` |" for fault, test in _ORDINARY.items()]
        builds = [
            f"| `{clause}` | {build} | `{where}` |" for clause, (build, where) in _BUILDS.items()
        ]
        head = [_HEAD, _COLUMNS, rule, *rows, "", _FOUND.rstrip(), *builds]
        head += ["", _LATE.rstrip(), "", _ELSEWHERE.rstrip(), *ordinary]
        return "\n".join(head) + "\n"

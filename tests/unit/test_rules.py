"""The guide's rules as a table: what passes, what does not, and on which side of each boundary.

A row says what is different from the ordinary night of ``builders`` (a graded 8 of 10, all in
order, at the cutoff of 20 November 2026 in Chicago), and what comes of it.
"""

import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any, Final

import pytest
from msgspec import structs

from consumer.district import AfterPosting
from consumer.gradebook import REASONS, Decision, Kind, Origin, Reason, ScoreStatus
from consumer.rules import RULES, asks_the_clock, decide, frame, verdicts, wakes_at
from tests.unit.builders import (
    CHICAGO,
    CUTOFF,
    FIRST,
    SECOND,
    THIRD,
    TODAY,
    at,
    case,
    decided,
    framed,
    nov,
    period,
    told,
)

PASSES: Final = "post 8 by teacher"
ZERO: Final = "post 0 by clock"

MISSING_WORK: Final[dict[str, Any]] = {"completion": "not_started"}
STARTED: Final[dict[str, Any]] = {"completion": "in_progress"}


def row(claim: str, outcome: object, *situations: dict[str, Any], **facts: Any) -> Any:
    """One line of a table: the claim, what comes of it, and what is different."""
    for situation in situations:
        facts = {**situation, **facts}
    return pytest.param(outcome, facts, id=claim)


GUIDE: Final = [
    row("an ordinary graded score passes", PASSES),
    # -- the assessment stands
    row("a grade before its assessment waits", "hold assessment_unknown", known=False),
    row("a deleted assessment passes nothing", "skip deleted", status="deleted"),
    row("an unassigned assessment passes nothing", "skip unassigned", status="unassigned"),
    row("a student who is no assignee does not pass", "skip student_not_assigned", student="s-2"),
    row("an assessment without assignees passes nobody", "skip student_not_assigned", assignees={}),
    row("a second assignee passes", PASSES, student="s-2", assignees={"s-1": "x", "s-2": "y"}),
    # -- 1: points-based only
    row("1: standards-based does not pass", "skip standards_based", grading_scale="standards"),
    row("points possible of 0 are invalid", "skip points_possible_invalid", points_possible="0"),
    row(
        "points possible of less are invalid", "skip points_possible_invalid", points_possible="-1"
    ),
    row("no points possible are invalid", "skip points_possible_invalid", points_possible=None),
    row("the smallest points possible pass", PASSES, points_possible="0.01"),
    # -- 2: whole numbers only
    row("2: 8.5 does not pass", "skip score_not_whole", score="8.5"),
    row("2: 8.0 is whole", "post 8.0 by teacher", score="8.0"),
    row("2: 8.000000001 is not whole", "skip score_not_whole", score="8.000000001"),
    row("2: not even by the 19th digit", "skip score_not_whole", score="8.0000000000000000001"),
    row("2: a tenth is not whole", "skip score_not_whole", score="0.1"),
    row("2: 1E+1 is ten and whole", "post 1E+1 by teacher", score="1E+1"),
    row("2: 8 of 10.5 passes, for the grade is whole", PASSES, points_possible="10.5"),
    row(
        "2: by points possible, 8.5 of 10 passes",
        "post 8.5 by teacher",
        score="8.5",
        rules={"whole_number_rule": "points_possible"},
    ),
    row(
        "2: by points possible, 8.5 of 10.0 passes",
        "post 8.5 by teacher",
        score="8.5",
        points_possible="10.0",
        rules={"whole_number_rule": "points_possible"},
    ),
    row(
        "2: by points possible, 8 of 10.5 does not pass",
        "skip score_not_whole",
        points_possible="10.5",
        rules={"whole_number_rule": "points_possible"},
    ),
    # -- 3: the name
    row("3: a name of 49 characters passes", PASSES, title="x" * 49),
    row("3: a name of 50 characters does not", "skip name_too_long", title="x" * 50),
    row("3: an emoji is one character", PASSES, title="\N{PENCIL}" * 49),
    row("3: 50 emoji are too many", "skip name_too_long", title="\N{PENCIL}" * 50),
    row(
        "3: composed, 49 accented letters pass",
        PASSES,
        title="\N{LATIN SMALL LETTER E WITH ACUTE}" * 49,
    ),
    row(
        "3: a mark that composes with nothing is a character",
        "skip name_too_long",
        title=unicodedata.normalize("NFC", "x\N{COMBINING CIRCUMFLEX ACCENT}" * 25),
    ),
    row("a name of one character passes", PASSES, title="Q"),
    row("an empty name does not pass", "skip name_empty", title=""),
    # -- 4, 17, 18: included, and assigned by the right person
    row(
        "4: what is not in the final grade does not pass",
        "skip not_in_final_grade",
        include_in_final_grade=False,
    ),
    row(
        "18: an administrator who is not in the SIS does not pass",
        "skip assigner_not_in_sis",
        assigner_in_sis=False,
    ),
    row(
        "17: an assigner outside the group does not pass",
        "skip assigner_not_in_group",
        member=False,
    ),
    row(
        "17: one who left does not pass",
        "skip assigner_not_in_group",
        member=False,
        joined_at=nov(1),
    ),
    row("19: what was graded before the assigner joined passes", PASSES, joined_at=nov(20, 21)),
    # -- 5, 6: graded, not excluded
    row("5: turned in but not graded does not pass", "skip not_graded", completion="turned_in"),
    row(
        "5: turned in with a provisional score does not pass",
        "skip not_graded",
        completion="turned_in",
        score="8",
    ),
    row(
        "5: in progress with a provisional score does not pass, nor is it a zero",
        "skip not_graded",
        STARTED,
        score="8",
    ),
    row("5: a score on work not started does not pass", "skip not_graded", MISSING_WORK, score="0"),
    row("6: an excluded score does not pass", "skip excluded", submission="excluded"),
    row("6: excluded work is no zero", "skip excluded", MISSING_WORK, submission="excluded"),
    row("an excused score is held back", "skip excused", submission="excused"),
    row("excused work is no zero", "skip excused", MISSING_WORK, submission="excused"),
    row("a late score passes", PASSES, submission="late"),
    row("a score for missing work passes", PASSES, submission="missing"),
    row("a score on time passes", PASSES, submission="on_time"),
    # -- 8: due and not submitted is zero
    row("8: due and not started passes as 0", ZERO, MISSING_WORK),
    row("8: due and only begun passes as 0", ZERO, STARTED),
    row("8: Missing, set by itself, passes as 0", ZERO, MISSING_WORK, submission="missing"),
    row("8: due at the cutoff has passed", ZERO, MISSING_WORK, due_at=CUTOFF),
    row(
        "8: due a second later has not",
        "hold not_due_yet",
        MISSING_WORK,
        due_at=CUTOFF + timedelta(seconds=1),
    ),
    row("8: before the due moment a score passes", PASSES, due_at=nov(25)),
    row("8: turned in when due is no zero", "skip not_graded", completion="turned_in"),
    row(
        "8: a made due date makes no zero",
        "hold not_due_yet",
        MISSING_WORK,
        due_at=None,
        assigned_at=nov(2),
    ),
    # -- 12, 13: the category
    row("12: a type without a category does not pass", "skip category_unmapped", type="Lab"),
    row("12: a type is a word, not a wish", "skip category_unmapped", type="quiz"),
    row("12: two types may share a category", PASSES, categories={"Quiz": "cat-homework"}),
    row(
        "13: a category of the class alone is not district-level",
        "skip category_not_district_level",
        district_lists=(),
    ),
    row(
        "13: a category of the district alone is not active in the class",
        "skip category_inactive",
        class_lists=(),
    ),
    row(
        "13: a category that nobody lists is inactive",
        "skip category_inactive",
        district_lists=(),
        class_lists=(),
    ),
    row("13: a server silent about classes: the district's list decides", PASSES, class_lists=None),
    row(
        "13: and it decides against, too",
        "skip category_inactive",
        class_lists=None,
        district_lists=(),
    ),
    # -- no due date
    row("without a due date, seven days after assigning count", PASSES, due_at=None),
    row(
        "held back where the district wants a due date",
        "hold due_date_missing",
        due_at=None,
        rules={"due_date_missing": "hold"},
    ),
    row("with a due date that district holds nothing", PASSES, rules={"due_date_missing": "hold"}),
    row(
        "a made due date must lie in a period, too",
        "skip grading_period_unknown",
        due_at=None,
        rules={"due_date_missing": {"assign_plus_days": 40}},
    ),
    row(
        "a made due date may lie on a period's last day",
        PASSES,
        due_at=None,
        rules={"due_date_missing": {"assign_plus_days": 32}},
    ),
    # -- 15: the effective date
    row(
        "15: an effective date of today has come", PASSES, effective_date=TODAY, changed_at=nov(20)
    ),
    row(
        "15: one of tomorrow has not",
        "hold effective_date_in_future",
        effective_date=TODAY + timedelta(days=1),
    ),
    row("15: assigned on the effective date passes", PASSES, effective_date=date(2026, 11, 16)),
    row(
        "15: assigned on it passes, though prepared before",
        PASSES,
        effective_date=date(2026, 11, 16),
        changed_at=nov(13),
    ),
    row(
        "15: assigned and changed the day before does not",
        "skip before_effective_date",
        effective_date=date(2026, 11, 17),
    ),
    row(
        "15: assigned before but changed on it passes",
        PASSES,
        effective_date=date(2026, 11, 18),
        changed_at=nov(18, 0),
    ),
    row(
        "15: changed a second before it does not",
        "skip before_effective_date",
        effective_date=date(2026, 11, 18),
        changed_at=nov(17, 23, 59, 59),
    ),
    row(
        "15: the days are the district's, not those of UTC",
        "skip before_effective_date",
        effective_date=date(2026, 11, 18),
        changed_at=datetime(2026, 11, 18, 5, 59, tzinfo=UTC),
    ),
    row(
        "15: an effective date in the past of an open period passes",
        PASSES,
        effective_date=date(2026, 10, 19),
        assigned_at=at(date(2026, 10, 19)),
    ),
    # -- 15, 16: grading periods
    row(
        "16: due 23:59 on a period's last day is that day",
        PASSES,
        due_at=at(date(2026, 12, 18), 23, 59),
    ),
    row(
        "15: due a minute later lies in no period",
        "skip grading_period_unknown",
        due_at=at(date(2026, 12, 19)),
    ),
    row("16: assigned on a period's first day passes", PASSES, assigned_at=at(date(2026, 10, 19))),
    row(
        "16: assigned between two periods passes",
        PASSES,
        assigned_at=at(date(2026, 10, 17)),
    ),
    row(
        "16: assigned on a closed period's last day does not",
        "skip grading_period_closed",
        assigned_at=at(date(2026, 10, 16), 23, 59),
    ),
    row(
        "16: within a closed period it does not pass",
        "skip grading_period_closed",
        assigned_at=at(date(2026, 10, 1)),
        due_at=at(date(2026, 10, 8)),
    ),
    row(
        "16: nor where only the due day lies in a closed one",
        "skip grading_period_closed",
        due_at=at(date(2026, 10, 16)),
    ),
    row(
        "16: nor across a whole closed period",
        "skip grading_period_closed",
        assigned_at=at(date(2026, 8, 1)),
        periods=(period("gp-1", "2026-09-01", "2026-09-30"), SECOND),
        changed_at=nov(16),
    ),
    row(
        "16: a period whose last day is today is open",
        PASSES,
        periods=(period("gp-2", "2026-11-01", "2026-11-20"),),
    ),
    row(
        "16: one whose last day was yesterday is closed",
        "skip grading_period_closed",
        due_at=nov(19, 15),
        periods=(period("gp-2", "2026-11-01", "2026-11-19"),),
    ),
    row("15: due in a coming period passes", PASSES, due_at=at(date(2027, 1, 4))),
    row("15: a class without periods passes nothing", "skip grading_period_unknown", periods=()),
    row(
        "16: of two that overlap, a closed one is enough",
        "skip grading_period_closed",
        periods=(period("gp-0", "2026-11-01", "2026-11-17"), SECOND),
    ),
    # -- the score
    row("graded without a score is invalid", "skip score_invalid", score=None),
    row("a negative score is invalid", "skip score_invalid", score="-1"),
    row("a score a little below 0 is invalid", "skip score_invalid", score="-0.5"),
    row("a teacher's 0 passes as the teacher's", "post 0 by teacher", score="0"),
    row("the points possible pass", "post 10 by teacher", score="10"),
    row("more than the points possible is sent", "post 11 by teacher", score="11"),
    row(
        "or held, where the district holds it",
        "hold over_points_possible",
        score="11",
        rules={"over_points_possible": "hold"},
    ),
    row(
        "but the points possible themselves never",
        "post 10 by teacher",
        score="10",
        rules={"over_points_possible": "hold"},
    ),
    row(
        "over and not whole is held for being over",
        "hold over_points_possible",
        score="10.5",
        rules={"over_points_possible": "hold"},
    ),
    # -- what stops zeros stops no score
    row("a Plus score passes", PASSES, format="plus"),
    row("a score passes while the intake is behind", PASSES, intake_caught_up=False),
    row("a score passes while zeros are held", PASSES, zeros_held=True),
    row("a score passes while an event of its item is unread", PASSES, quarantined_item=True),
    row("a score passes while an event of its own is unread", PASSES, quarantined_grade=True),
    row("a score due before the district went live passes", PASSES, live_since=date(2026, 11, 30)),
]

ZEROS: Final = [
    row("a Plus assessment makes no zero", "skip zero_not_allowed", MISSING_WORK, format="plus"),
    row("unless the district says so", ZERO, MISSING_WORK, format="plus", zeros={"plus": True}),
    row(
        "begun work makes none where the district says so",
        "skip zero_not_allowed",
        STARTED,
        zeros={"in_progress": False},
    ),
    row("work not begun still does there", ZERO, MISSING_WORK, zeros={"in_progress": False}),
    row("due on the day the district went live is a zero", ZERO, MISSING_WORK, live_since=TODAY),
    row(
        "due on the day before is none",
        "skip zero_not_allowed",
        MISSING_WORK,
        live_since=date(2026, 11, 21),
    ),
    row(
        "that day is the district's, not UTC's",
        "skip zero_not_allowed",
        MISSING_WORK,
        due_at=nov(19, 23, 59),
        live_since=TODAY,
    ),
    row("a district without the date made none retroactive", ZERO, MISSING_WORK, live_since=None),
    row(
        "unless it switches them on",
        ZERO,
        MISSING_WORK,
        live_since=date(2026, 11, 21),
        zeros={"retroactive": True},
    ),
    row(
        "due at the moment the assigner joined is a zero", ZERO, MISSING_WORK, joined_at=nov(20, 15)
    ),
    row(
        "due a second before is none",
        "skip zero_not_allowed",
        MISSING_WORK,
        joined_at=nov(20, 15, 0, 1),
    ),
    row(
        "unless the district switches those on, too",
        ZERO,
        MISSING_WORK,
        joined_at=nov(20, 16),
        zeros={"retroactive": True},
    ),
    row(
        "members from the district file joined before all time", ZERO, MISSING_WORK, joined_at=None
    ),
    row(
        "an unread event of the grade holds its zero",
        "hold event_quarantined",
        MISSING_WORK,
        quarantined_grade=True,
    ),
    row(
        "an unread event of the assessment holds it, too",
        "hold event_quarantined",
        MISSING_WORK,
        quarantined_item=True,
    ),
    row(
        "no zero while the intake is behind",
        "hold intake_behind",
        MISSING_WORK,
        intake_caught_up=False,
    ),
    row("the breaker holds zeros", "hold zeros_held", MISSING_WORK, zeros_held=True),
    row("a released one goes", ZERO, MISSING_WORK, zeros_held=True, ruling="released"),
    row(
        "a discarded one never does",
        "skip zero_not_allowed",
        MISSING_WORK,
        zeros_held=True,
        ruling="discarded",
    ),
    row("one that was held waits on a calm night, too", "hold zeros_held", MISSING_WORK, held=True),
    row("until it is released", ZERO, MISSING_WORK, held=True, ruling="released"),
    row(
        "or discarded",
        "skip zero_not_allowed",
        MISSING_WORK,
        held=True,
        ruling="discarded",
    ),
    row("a score is not held with its zero", PASSES, held=True),
    row("not even on a calm night", "skip zero_not_allowed", MISSING_WORK, ruling="discarded"),
    row(
        "a released one still waits for the intake",
        "hold intake_behind",
        MISSING_WORK,
        zeros_held=True,
        ruling="released",
        intake_caught_up=False,
    ),
    row("a discarded zero stops no score", PASSES, zeros_held=True, ruling="discarded"),
    row("of 10.5 points a zero passes by the grade", ZERO, MISSING_WORK, points_possible="10.5"),
    row(
        "by the points possible it does not",
        "skip score_not_whole",
        MISSING_WORK,
        points_possible="10.5",
        rules={"whole_number_rule": "points_possible"},
    ),
    row(
        "by the points possible, of 10 it does",
        ZERO,
        MISSING_WORK,
        rules={"whole_number_rule": "points_possible"},
    ),
    row(
        "no zero of a closed period",
        "skip grading_period_closed",
        MISSING_WORK,
        due_at=at(date(2026, 10, 8)),
    ),
    row(
        "no zero for one who is no assignee",
        "skip student_not_assigned",
        MISSING_WORK,
        student="s-9",
    ),
    row(
        "no zero of what does not otherwise pass",
        "skip name_too_long",
        MISSING_WORK,
        title="x" * 50,
    ),
]

SENT_8: Final[dict[str, Any]] = {"sent": ("8", "teacher"), "in_skyward": True}
SENT_0: Final[dict[str, Any]] = {"sent": ("0", "clock"), "in_skyward": True}
EXEMPT: Final[dict[str, Any]] = {"rules": {"excused": "exempt"}}
SENT_EXEMPT: Final[dict[str, Any]] = {"sent": (None, "teacher", "exempt"), "in_skyward": True}
AGAIN: Final = f"{PASSES}, again"

AFTER_POSTING: Final = [
    row("the same score again is no call", AGAIN, SENT_8),
    row("8.0 is the same score", "post 8.0 by teacher, again", SENT_8, score="8.0"),
    row("a higher score replaces it", "post 9 by teacher", SENT_8, score="9"),
    row("a lower one, too", "post 5 by teacher", SENT_8, score="5"),
    row("a late mark changes nothing", AGAIN, SENT_8, submission="late"),
    row("excluded afterwards", "skip diverged", SENT_8, submission="excluded"),
    row("excused afterwards", "skip diverged", SENT_8, submission="excused"),
    row("unassigned afterwards", "skip diverged", SENT_8, status="unassigned"),
    row("deleted afterwards", "skip diverged", SENT_8, status="deleted"),
    row("the student is dropped afterwards", "skip diverged", SENT_8, assignees={}),
    row("the score is removed afterwards", "skip diverged", SENT_8, score=None),
    row("unsubmitted afterwards is never a zero", "skip diverged", SENT_8, MISSING_WORK),
    row("begun again afterwards is never a zero", "skip diverged", SENT_8, STARTED),
    row(
        "turned in again afterwards, and ungraded", "skip diverged", SENT_8, completion="turned_in"
    ),
    row(
        "a teacher's own 0 removed stays the teacher's",
        "skip diverged",
        MISSING_WORK,
        sent=("0", "teacher"),
    ),
    row("regraded, with a provisional score", "skip not_graded", SENT_8, STARTED, score="9"),
    # -- another rule begins to fail
    row("a name of 50 afterwards goes on", "post 9 by teacher", SENT_8, title="x" * 50, score="9"),
    row("an inactive category goes on", "post 9 by teacher", SENT_8, class_lists=(), score="9"),
    row(
        "a category that nobody lists any more goes on",
        "post 9 by teacher",
        SENT_8,
        class_lists=None,
        district_lists=(),
        score="9",
    ),
    row("an emptied name stops", "skip name_empty", SENT_8, title="", score="9"),
    row(
        "switched off the final grade, no new score goes",
        "skip not_in_final_grade",
        SENT_8,
        include_in_final_grade=False,
        score="9",
    ),
    row("and what stands there stands", AGAIN, SENT_8, include_in_final_grade=False),
    row(
        "an assigner who left stops new scores",
        "skip assigner_not_in_group",
        SENT_8,
        member=False,
        score="9",
    ),
    row("a new score of 8.5 does not go", "skip score_not_whole", SENT_8, score="8.5"),
    row(
        "a period that closed stops new scores",
        "skip grading_period_closed",
        SENT_8,
        score="9",
        periods=(
            period("gp-2", "2026-10-19", "2026-11-19"),
            period("gp-3", "2026-11-20", "2026-12-18"),
        ),
    ),
    # -- zeros
    row("a zero again is no call", f"{ZERO}, again", SENT_0, MISSING_WORK),
    row(
        "a zero stands while the intake is behind",
        f"{ZERO}, again",
        SENT_0,
        MISSING_WORK,
        intake_caught_up=False,
    ),
    row(
        "a zero stands while the breaker holds",
        f"{ZERO}, again",
        SENT_0,
        MISSING_WORK,
        zeros_held=True,
    ),
    row("a zero whose due date moved ahead", "skip diverged", SENT_0, MISSING_WORK, due_at=nov(27)),
    row("a zero whose due date was taken away", "skip diverged", SENT_0, MISSING_WORK, due_at=None),
    row("a zero, then graded, is replaced", "post 7 by teacher", SENT_0, score="7"),
    row(
        "a zero, then graded ahead of a moved due date, too",
        "post 7 by teacher",
        SENT_0,
        score="7",
        due_at=nov(27),
    ),
    row("a zero, then a teacher's 0, is no call", "post 0 by teacher, again", SENT_0, score="0"),
    row(
        "unless the clock's went as not submitted",
        "post 0 by teacher",
        score="0",
        sent=("0", "clock", "not submitted"),
    ),
    row("a zero, then graded with 8.5, stays", "skip score_not_whole", SENT_0, score="8.5"),
    row(
        "a zero, then turned in, waits for the grade",
        "skip not_graded",
        SENT_0,
        completion="turned_in",
    ),
    row(
        "a zero, turned in after its due date moved, too",
        "skip not_graded",
        SENT_0,
        completion="turned_in",
        due_at=nov(27),
    ),
    row("a zero, then excused", "skip diverged", SENT_0, MISSING_WORK, submission="excused"),
    row("a zero, then excluded", "skip diverged", SENT_0, MISSING_WORK, submission="excluded"),
    row(
        "a zero that went under another status is the same zero",
        f"{ZERO}, again",
        MISSING_WORK,
        sent=("0", "clock", "not submitted"),
    ),
    row(
        "a zero that was marked exempt goes again when it is due again",
        ZERO,
        MISSING_WORK,
        sent=(None, "clock", "exempt"),
    ),
    # -- excused, where the district sends it
    row("excused goes as exempt", "post exempt by teacher", EXEMPT, submission="excused"),
    row(
        "excused without work goes as exempt",
        "post exempt by teacher",
        EXEMPT,
        MISSING_WORK,
        submission="excused",
    ),
    row(
        "an exempt needs no whole number",
        "post exempt by teacher",
        EXEMPT,
        submission="excused",
        score="8.5",
    ),
    row(
        "nor a due date passed",
        "post exempt by teacher",
        EXEMPT,
        MISSING_WORK,
        submission="excused",
        due_at=nov(27),
    ),
    row(
        "an exempt is subject to the item's rules",
        "skip name_too_long",
        EXEMPT,
        submission="excused",
        title="x" * 50,
    ),
    row(
        "a posted score becomes exempt",
        "post exempt by teacher",
        EXEMPT,
        SENT_8,
        submission="excused",
    ),
    row(
        "a posted zero becomes exempt",
        "post exempt by teacher",
        EXEMPT,
        SENT_0,
        MISSING_WORK,
        submission="excused",
    ),
    row(
        "an exempt again is no call",
        "post exempt by teacher, again",
        EXEMPT,
        SENT_EXEMPT,
        submission="excused",
    ),
    row("an exempt, then graded, is replaced", PASSES, EXEMPT, SENT_EXEMPT),
    row(
        "an exempt, no longer excused, is never a zero",
        "skip diverged",
        EXEMPT,
        SENT_EXEMPT,
        MISSING_WORK,
    ),
]


@pytest.mark.parametrize(("outcome", "facts"), GUIDE)
def test_the_guide(outcome: str, facts: dict[str, Any]) -> None:
    assert decided(**facts) == outcome


@pytest.mark.parametrize(("outcome", "facts"), ZEROS)
def test_zeros(outcome: str, facts: dict[str, Any]) -> None:
    assert decided(**facts) == outcome


@pytest.mark.parametrize(("outcome", "facts"), AFTER_POSTING)
def test_after_posting(outcome: str, facts: dict[str, Any]) -> None:
    assert decided(**facts) == outcome


# -- the order ------------------------------------------------------------------------------

ORDER: Final = [  # as the contract has it, section 7
    "assessment_unknown",
    "deleted",
    "unassigned",
    "student_not_assigned",
    "standards_based",
    "points_possible_invalid",
    "not_in_final_grade",
    "assigner_not_in_sis",
    "assigner_not_in_group",
    "name_empty",
    "name_too_long",
    "category_unmapped",
    "category_not_district_level",
    "category_inactive",
    "due_date_missing",
    "effective_date_in_future",
    "before_effective_date",
    "grading_period_unknown",
    "grading_period_closed",
    "excluded",
    "excused",
    "not_graded",
    "not_due_yet",
    "zero_not_allowed",
    "event_quarantined",
    "intake_behind",
    "zeros_held",
    "score_invalid",
    "over_points_possible",
    "score_not_whole",
]

BREAKS: Final[dict[str, dict[str, Any]]] = {
    "deleted": {"status": "deleted"},
    "unassigned": {"status": "unassigned"},
    "student_not_assigned": {"student": "s-2"},
    "standards_based": {"grading_scale": "standards"},
    "points_possible_invalid": {"points_possible": "0"},
    "not_in_final_grade": {"include_in_final_grade": False},
    "assigner_not_in_sis": {"assigner_in_sis": False},
    "assigner_not_in_group": {"member": False},
    "name_empty": {"title": ""},
    "name_too_long": {"title": "x" * 50},
    "category_unmapped": {"type": "Lab"},
    "category_not_district_level": {"district_lists": ("cat-homework",)},
    "category_inactive": {"class_lists": ("cat-homework",)},
    "due_date_missing": {"due_at": None, "rules": {"due_date_missing": "hold"}},
    "effective_date_in_future": {"effective_date": date(2026, 11, 21)},
    "before_effective_date": {"effective_date": date(2026, 11, 17)},
    "grading_period_unknown": {"periods": ()},
    "grading_period_closed": {"periods": (period("gp-1", "2026-11-01", "2026-11-19"), SECOND)},
    "excluded": {"submission": "excluded"},
    "excused": {"submission": "excused"},
    "not_graded": {"completion": "turned_in"},
    "not_due_yet": {"completion": "not_started", "due_at": nov(27)},
    "zero_not_allowed": {"completion": "not_started", "format": "plus"},
    "event_quarantined": {"completion": "not_started", "quarantined_grade": True},
    "intake_behind": {"completion": "not_started", "intake_caught_up": False},
    "zeros_held": {"completion": "not_started", "zeros_held": True},
    "score_invalid": {"score": "-0.5"},
    "over_points_possible": {"score": "10.5", "rules": {"over_points_possible": "hold"}},
    "score_not_whole": {"score": "8.5"},
}
"""What makes each rule fail, and, where it is asked of graded ones, of a graded one."""

BOTH: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("not_graded", "not_due_yet"): {"completion": "turned_in", "due_at": nov(27)},
    ("not_graded", "zero_not_allowed"): {"completion": "turned_in", "format": "plus"},
    ("not_graded", "event_quarantined"): {"completion": "turned_in", "quarantined_item": True},
    ("not_graded", "intake_behind"): {"completion": "turned_in", "intake_caught_up": False},
    ("not_graded", "zeros_held"): {"completion": "turned_in", "zeros_held": True},
    ("score_invalid", "score_not_whole"): BREAKS["score_invalid"],
    ("over_points_possible", "score_not_whole"): BREAKS["over_points_possible"],
    ("effective_date_in_future", "before_effective_date"): BREAKS["effective_date_in_future"],
}
"""Where two rules look at the same fact, how both fail."""

ALONE: Final = {
    *[frozenset(pair) for pair in combinations(["deleted", "unassigned"], 2)],
    *[frozenset(pair) for pair in combinations(["name_empty", "name_too_long"], 2)],
    *[frozenset(pair) for pair in combinations(["excluded", "excused"], 2)],
    # A type without a category has none that could be of the class alone ...
    frozenset({"category_unmapped", "category_not_district_level"}),
    # ... and such a one is active in the class.
    frozenset({"category_not_district_level", "category_inactive"}),
    # Without any period none is closed.
    frozenset({"grading_period_unknown", "grading_period_closed"}),
    # A missing due date is due at no moment of its own: it is not_due_yet already.
    frozenset({"due_date_missing", "not_due_yet"}),
    # A negative score is not over anything.
    frozenset({"score_invalid", "over_points_possible"}),
    # An excused one is asked neither for a score nor for the clock.
    *[frozenset({"excused", code}) for code in ORDER[ORDER.index("not_graded") :]],
}
"""Pairs that cannot fail together, and ``excused``, which ends the questions."""

UNGRADED: Final = ORDER[ORDER.index("not_graded") : ORDER.index("score_invalid")]
GRADED: Final = ORDER[ORDER.index("score_invalid") :]


def pairs() -> list[tuple[str, str]]:
    return [
        (first, second)
        for first, second in combinations(BREAKS, 2)
        if frozenset({first, second}) not in ALONE and not (first in UNGRADED and second in GRADED)
    ]


def test_the_rules_are_asked_in_the_order_of_the_contract() -> None:
    assert [rule.code.value for rule in RULES] == ORDER
    assert ["assessment_unknown", *BREAKS] == ORDER


@pytest.mark.parametrize("code", BREAKS)
def test_one_broken_rule_is_the_one_that_fails(code: str) -> None:
    broken = case(**BREAKS[code])
    failing = [rule.code.value for rule, why in verdicts(broken) if why is not None]
    assert failing[0] == code
    assert decide(broken).reason == code


@pytest.mark.parametrize(("first", "second"), pairs())
def test_where_two_rules_fail_the_earlier_names_the_reason(first: str, second: str) -> None:
    facts = BOTH.get((first, second), {**BREAKS[first], **BREAKS[second]})
    rules = {**BREAKS[first].get("rules", {}), **BREAKS[second].get("rules", {})}
    broken = case(**{**facts, "rules": rules})
    failing = [rule.code.value for rule, why in verdicts(broken) if why is not None]
    assert first in failing
    assert second in failing
    assert decide(broken).reason == first


def test_the_reason_comes_with_its_kind_and_a_sentence_without_names_or_scores() -> None:
    for code, facts in BREAKS.items():
        decision = decide(case(**facts))
        assert decision.kind is REASONS[code].kind
        assert decision.detail
        for secret in ("Unit 3", "sky-stu-1", "s-1", "s-2", "t-100", "8.5", "10.5"):
            assert secret not in decision.detail


BECAUSE: Final = {
    "deleted": "the assessment was deleted in Otus",
    "unassigned": "the assessment was unassigned from the class in Otus",
    "student_not_assigned": "the student is not, or no longer, among the assignees",
    "standards_based": "it is graded by standards, not by points",
    "points_possible_invalid": "points possible is missing, 0 or less",
    "not_in_final_grade": '"Include Score in Final Grade" is off',
    "assigner_not_in_sis": "it was assigned by an Otus administrator who is not in the SIS",
    "assigner_not_in_group": (
        "the user who assigned it is not in the Skyward Grade Passback Teacher Group"
    ),
    "name_empty": "its name is empty",
    "name_too_long": "its name has 50 characters; 49 is the most that passes",
    "category_unmapped": "the type 'Lab' is mapped to no Skyward category",
    "category_not_district_level": (
        "category cat-test is known to the class only, not to the district"
    ),
    "category_inactive": "category cat-test is not active in the class's gradebook",
    "due_date_missing": "it has no due date",
    "effective_date_in_future": "the district's effective date is 2026-11-21",
    "before_effective_date": (
        "assigned 2026-11-16 and last changed 2026-11-16, both before the effective date 2026-11-17"
    ),
    "grading_period_unknown": "the due day 2026-11-20 lies in no grading period of the class",
    "grading_period_closed": (
        "from 2026-11-16 to 2026-11-20 it touches a period that closed after 2026-11-19"
    ),
    "excluded": "the score is marked Excluded",
    "excused": "the student is Excused",
    "not_graded": "it is turned in but not graded",
    "not_due_yet": "it is not submitted, and due 2026-11-27T12:00-06:00",
    "zero_not_allowed": "plus: a Plus assessment has no submission",
    "event_quarantined": (
        "an event that could not be read waits in quarantine; no zero may be made meanwhile"
    ),
    "intake_behind": "it is not certain that every event up to the cutoff was read",
    "zeros_held": "too many zeros in one night: the breaker holds them until an operator decides",
    "score_invalid": "the score is negative",
    "over_points_possible": "the score is over the points possible",
    "score_not_whole": "the score is no whole number",
}
"""What an operator reads aloud of each rule that fails, as ``BREAKS`` makes it fail."""

OTHERWISE: Final = [
    row(
        "a provisional score",
        "it carries a provisional score but is not graded",
        STARTED,
        score="8",
    ),
    row(
        "no due date of its own",
        "it is not submitted, and without a due date it never becomes a zero",
        MISSING_WORK,
        due_at=None,
    ),
    row("no score at all", "it is graded without a score", score=None),
    row(
        "points possible that are not whole",
        "points possible is no whole number",
        points_possible="10.5",
        rules={"whole_number_rule": "points_possible"},
    ),
    row(
        "a category that nobody lists",
        "Skyward lists no active category cat-test",
        district_lists=(),
        class_lists=(),
    ),
    row(
        "begun where that makes no zero",
        "in_progress: it was begun, and the district makes no zero of that",
        STARTED,
        zeros={"in_progress": False},
    ),
    row(
        "due before the district went live",
        "retroactive: it was due before the district went live on 2026-11-21",
        MISSING_WORK,
        live_since=date(2026, 11, 21),
    ),
    row(
        "due before the assigner joined",
        "retroactive: it was due before the assigner joined the group",
        MISSING_WORK,
        joined_at=nov(20, 16),
    ),
    row(
        "a zero that an operator discarded",
        "discarded: an operator discarded the zeros that the breaker held",
        MISSING_WORK,
        ruling="discarded",
    ),
    row("no assessment yet", "no assessment-changed event has come for it yet", known=False),
]


@pytest.mark.parametrize("code", BREAKS)
def test_each_rule_says_why_it_failed_in_words_to_read_aloud(code: str) -> None:
    assert decide(case(**BREAKS[code])).detail == BECAUSE[code]


@pytest.mark.parametrize(("outcome", "facts"), OTHERWISE)
def test_where_a_rule_fails_in_more_than_one_way_it_says_which(
    outcome: str, facts: dict[str, Any]
) -> None:
    assert decide(case(**facts)).detail == outcome


def test_a_purged_item_makes_no_zero_for_who_had_a_grade_is_forgotten() -> None:
    one = case(**MISSING_WORK)
    purged = frame(replace(one.frame.item, purged=True))
    decision = decide(structs.replace(one, frame=purged))
    assert decision.reason is Reason.ZERO_NOT_ALLOWED
    assert decision.detail == "purged: retention deleted its grades, and with them who had one"


def test_without_a_mapped_category_the_rules_on_categories_say_that_none_can_be_asked() -> None:
    said = {rule.code: why for rule, why in verdicts(case(type="Lab"))}
    nothing = "no category is mapped that could be asked about"
    assert said[Reason.CATEGORY_NOT_DISTRICT_LEVEL] == nothing
    assert said[Reason.CATEGORY_INACTIVE] == nothing


def test_the_detail_of_a_zero_not_allowed_says_which() -> None:
    def detail(**facts: Any) -> str:
        return decide(case(**{**MISSING_WORK, **facts})).detail.partition(":")[0]

    assert detail(format="plus") == "plus"
    assert detail(completion="in_progress", zeros={"in_progress": False}) == "in_progress"
    assert detail(live_since=date(2026, 11, 21)) == "retroactive"
    assert detail(joined_at=nov(20, 16)) == "retroactive"
    assert detail(ruling="discarded") == "discarded"


def test_an_unknown_assessment_has_one_verdict() -> None:
    [(rule, why)] = verdicts(case(known=False))
    assert rule.code is Reason.ASSESSMENT_UNKNOWN
    assert why is not None


def test_verdicts_ask_a_graded_one_for_its_score_and_another_for_the_clock() -> None:
    def asked(**facts: Any) -> list[str]:
        return [rule.code.value for rule, _ in verdicts(case(**facts))]

    shared = ORDER[: ORDER.index("not_graded")]
    assert asked() == shared + GRADED
    # A zero is a value, too: whether points possible are whole is asked last.
    assert asked(**MISSING_WORK) == [*shared, *UNGRADED, "score_not_whole"]
    assert asked(submission="excused") == shared


# -- what is withdrawn ----------------------------------------------------------------------

TAKEN_BACK: Final[dict[str, list[dict[str, Any]]]] = {
    "excluded": [{"submission": "excluded"}],
    "excused": [{"submission": "excused"}],
    "unassigned": [{"status": "unassigned"}, {"status": "deleted"}],
    "removed": [
        {"score": None},
        MISSING_WORK,
        {**SENT_0, **MISSING_WORK, "due_at": nov(27)},
    ],
}


@pytest.mark.parametrize("policy", TAKEN_BACK)
def test_a_policy_settles_what_it_is_named_for_and_nothing_else(policy: str) -> None:
    for name, situations in TAKEN_BACK.items():
        for facts in situations:
            for choice, withdrawal in (
                ("leave", "skip diverged"),
                ("exempt", "skip diverged, send exempt"),
                ("delete", "skip diverged, delete"),
            ):
                expected = withdrawal if name == policy else "skip diverged"
                rules = {"after_posting": {policy: choice}}
                assert decided(**{**SENT_8, **facts, "rules": rules}) == expected


@pytest.mark.parametrize("status", ["active", "unassigned", "deleted"])
def test_one_who_is_no_assignee_any_more_has_no_id_to_write_an_exempt_for(status: str) -> None:
    def withdrawn(choice: str) -> str:
        rules = {"after_posting": {"unassigned": choice}}
        return decided(**SENT_8, assignees={}, status=status, rules=rules)

    assert withdrawn("leave") == withdrawn("exempt") == "skip diverged"
    assert withdrawn("delete") == "skip diverged, delete"


@pytest.mark.parametrize(
    ("outcome", "facts"),
    [
        row("excluded", "the score is marked Excluded", submission="excluded"),
        row("excused", "the student is Excused", submission="excused"),
        row("deleted", "the assessment was deleted in Otus", status="deleted"),
        row("removed", "its score was removed", score=None),
        row("not begun after all", "its score was removed", MISSING_WORK),
        row(
            "a zero whose due date moved",
            "a zero was posted, and then its due date moved ahead",
            SENT_0,
            MISSING_WORK,
            due_at=nov(27),
        ),
    ],
)
def test_what_diverged_says_why_and_what_was_done_in_skyward(
    outcome: str, facts: dict[str, Any]
) -> None:
    for choice, done in (
        ("leave", "what Skyward shows was left alone"),
        ("exempt", "marked exempt in Skyward"),
        ("delete", "deleted in Skyward"),
    ):
        rules = {"after_posting": dict.fromkeys(TAKEN_BACK, choice)}
        decision = decide(case(**{**SENT_8, **facts, "rules": rules}))
        assert decision.detail == f"{outcome}; {done}"


def test_every_policy_is_covered() -> None:
    assert set(TAKEN_BACK) == set(AfterPosting.model_fields)


def test_what_is_exempt_already_is_not_sent_again() -> None:
    rules = {"after_posting": {"excluded": "exempt"}}
    assert decided(**{**SENT_EXEMPT, "submission": "excluded", "rules": rules}) == "skip diverged"


@pytest.mark.parametrize("choice", ["exempt", "delete"])
def test_nothing_is_withdrawn_from_a_closed_period(choice: str) -> None:
    rules = {"after_posting": {"excluded": choice}}
    closed = BREAKS["grading_period_closed"]
    facts = {**SENT_8, **closed, "submission": "excluded", "rules": rules}
    assert decided(**facts) == "skip diverged"


@pytest.mark.parametrize("choice", ["exempt", "delete"])
def test_nothing_is_withdrawn_from_an_item_that_would_not_be_sent(choice: str) -> None:
    rules = {"after_posting": {"excluded": choice}}
    facts = {**SENT_8, **BREAKS["not_in_final_grade"], "submission": "excluded", "rules": rules}
    assert decided(**facts) == "skip diverged"


def test_what_stands_although_a_rule_fails_stands_under_its_own_status() -> None:
    decision = decide(case(**SENT_8, include_in_final_grade=False))
    assert (decision.score_status, decision.origin) == (ScoreStatus.FULLY_GRADED, Origin.TEACHER)


def test_what_was_never_posted_never_diverges() -> None:
    for situations in TAKEN_BACK.values():
        for facts in situations:
            assert decide(case(**{**facts, "sent": None})).reason is not Reason.DIVERGED


# -- what is posted -------------------------------------------------------------------------


def test_a_zero_carries_the_status_that_the_district_chose() -> None:
    for status in ScoreStatus.FULLY_GRADED, ScoreStatus.NOT_SUBMITTED:
        decision = decide(case(**MISSING_WORK, zeros={"score_status": status.value}))
        assert (decision.score_status, decision.origin) == (status, Origin.CLOCK)


def test_a_teachers_zero_is_fully_graded_whatever_the_district_chose_for_the_clocks() -> None:
    decision = decide(case(score="0", zeros={"score_status": "not submitted"}))
    assert (decision.score_status, decision.origin) == (ScoreStatus.FULLY_GRADED, Origin.TEACHER)


def test_an_item_is_framed_in_the_districts_zone_with_the_period_of_its_due_day() -> None:
    one = framed(due_at=at(date(2026, 12, 18), 23, 59))
    assert one.due_at.isoformat() == "2026-12-18T23:59:00-06:00"
    assert one.assigned_at.isoformat() == "2026-11-16T09:00:00-06:00"
    assert one.period == SECOND
    assert one.is_open
    assert not framed(title="").is_open


def test_a_made_due_date_keeps_the_wall_clock_over_the_end_of_daylight_saving() -> None:
    one = framed(assigned_at=at(date(2026, 10, 28), 9), due_at=None)
    assert one.due_at.isoformat() == "2026-11-04T09:00:00-06:00"
    assert one.due_moment is None


def test_of_overlapping_periods_the_one_that_began_last_is_the_line_items() -> None:
    inner = period("gp-2b", "2026-11-01", "2026-11-30")
    assert framed(periods=(FIRST, SECOND, inner)).period == inner


def test_only_what_the_clock_made_or_stopped_is_kept_of_a_grade_without_an_event() -> None:
    kept = {
        code
        for code, facts in BREAKS.items()
        if asks_the_clock(decide(case(**{**MISSING_WORK, **facts})))
    }
    assert {"zero_not_allowed", "event_quarantined", "intake_behind", "zeros_held"} <= kept
    assert not kept & set(ORDER[: ORDER.index("zero_not_allowed")])
    assert asks_the_clock(decide(case(**MISSING_WORK)))
    whole = {"whole_number_rule": "points_possible"}
    assert asks_the_clock(decide(case(**MISSING_WORK, points_possible="10.5", rules=whole)))
    assert asks_the_clock(Decision(Kind.SKIP, Reason.DIVERGED))


# -- when it is looked at again -------------------------------------------------------------

AFTER_SECOND: Final = at(date(2026, 12, 19))


@pytest.mark.parametrize(
    ("outcome", "facts"),
    [
        row("nothing to wait for but the period's end", AFTER_SECOND),
        row("the due moment comes first", nov(27), due_at=nov(27)),
        row("a due moment at the cutoff is past", AFTER_SECOND, due_at=CUTOFF),
        row(
            "a second later is not",
            CUTOFF + timedelta(seconds=1),
            due_at=CUTOFF + timedelta(seconds=1),
        ),
        row(
            "the first instant of the effective date",
            at(date(2026, 12, 1)),
            effective_date=date(2026, 12, 1),
        ),
        row("an effective date of today has come", AFTER_SECOND, effective_date=TODAY),
        row(
            "the due moment before the effective date",
            nov(27),
            due_at=nov(27),
            effective_date=date(2026, 12, 1),
        ),
        row(
            "the midnight after a period whose last day is today",
            nov(21, 0),
            periods=(period("gp-2", "2026-11-01", "2026-11-20"),),
        ),
        row(
            "the end of a period that begins on the due day",
            at(date(2026, 11, 29)),
            periods=(period("gp-2", "2026-11-20", "2026-11-28"),),
        ),
        row(
            "the end of a period on whose last day it was assigned",
            nov(21, 0),
            assigned_at=nov(20, 9),
            due_at=nov(27),
            periods=(
                period("gp-2", "2026-10-19", "2026-11-20"),
                period("gp-3", "2026-11-21", "2026-12-18"),
            ),
        ),
        row("no period that is not touched", AFTER_SECOND, periods=(SECOND, THIRD)),
        row("tomorrow, where Skyward may get a period for it", nov(21, 0), periods=(THIRD,)),
        row("tomorrow, where it may activate the category", nov(21, 0), class_lists=()),
        row("tomorrow, where it may make it district-level", nov(21, 0), district_lists=()),
        row("not tomorrow for what an event will tell", AFTER_SECOND, title=""),
        row("not tomorrow for what a setting will tell", AFTER_SECOND, type="Lab"),
        row(
            "no period that is closed already", None, periods=(FIRST,), due_at=at(date(2026, 10, 8))
        ),
        row("no due moment where it was made", at(date(2026, 12, 19)), due_at=None),
        row("an unknown assessment waits for its event", None, known=False),
        row(
            "a period without an end in sight never wakes it",
            None,
            periods=(period("gp-x", "2026-08-01", "9999-12-31"),),
        ),
    ],
)
def test_a_decision_wakes_when_the_clock_alone_may_change_it(
    outcome: datetime | None, facts: dict[str, Any]
) -> None:
    assert wakes_at(framed(**facts)) == outcome


def test_until_it_wakes_the_clock_changes_no_decision() -> None:
    """Asked at each hour of three weeks, a decision changes at the hours that were foretold."""
    short = period("gp-2", "2026-10-19", "2026-12-04")
    late = date(2026, 11, 25)
    situations: list[dict[str, Any]] = [
        {},
        MISSING_WORK,
        {**MISSING_WORK, "due_at": nov(27, 15)},
        {**MISSING_WORK, "effective_date": late, "changed_at": nov(25)},
        {**MISSING_WORK, "due_at": at(date(2026, 12, 4), 23), "effective_date": late},
    ]
    for facts in situations:
        outcomes: list[str] = []
        wakes: datetime | None = CUTOFF
        for hour in range(24 * 21):
            cutoff_at = CUTOFF + timedelta(hours=hour)
            today = cutoff_at.astimezone(CHICAGO).date()
            one = case(**facts, periods=(short,), cutoff_at=cutoff_at, today=today)
            outcome = told(decide(one))
            if wakes is not None and wakes <= cutoff_at:
                outcomes.append(outcome)
                wakes = wakes_at(one.frame)
            assert outcome == outcomes[-1], (facts, cutoff_at)
        assert len(set(outcomes)) > 1

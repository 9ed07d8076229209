"""What each reason means, what lets it pass and what to do: the table of section "Reasons"."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consumer.gradebook import Reason


@dataclass(frozen=True, slots=True)
class Guidance:
    """``meaning``: why a grade stays back; ``passes_when``: what makes it go; ``do``: by whom."""

    meaning: str
    passes_when: str
    do: str


_NIGHTLY: Final = "Nothing: each run looks again."

GUIDANCE: Final[Mapping[Reason, Guidance]] = {
    Reason.STANDARDS_BASED: Guidance(
        "Only points-based assessments pass; this one is graded by standards.",
        "the assessment is graded by points in Otus",
        "The teacher may assign it anew with points; standards never pass.",
    ),
    Reason.SCORE_NOT_WHOLE: Guidance(
        "Only whole numbers pass: the score, or in some districts the points possible.",
        "the number that has to be whole is a whole number in Otus",
        "The teacher rounds the score (or the points possible, where the district asks that).",
    ),
    Reason.NAME_TOO_LONG: Guidance(
        "The name must be shorter than 50 characters; 49 pass.",
        "the assessment's name in Otus has 49 characters or fewer",
        "The teacher shortens the name in Otus.",
    ),
    Reason.NAME_EMPTY: Guidance(
        "The assessment has no name.",
        "the assessment has a name in Otus",
        "The teacher gives it a name in Otus.",
    ),
    Reason.NOT_IN_FINAL_GRADE: Guidance(
        '"Include Score in Final Grade" is off.',
        '"Include Score in Final Grade" is switched on in Otus',
        "The teacher switches it on in Otus; what is there then passes.",
    ),
    Reason.NOT_GRADED: Guidance(
        "It is turned in, or carries a provisional score, but is not graded.",
        "the teacher grades it in Otus",
        "The teacher grades it in Otus.",
    ),
    Reason.EXCLUDED: Guidance(
        "The score is marked Excluded.",
        "the score is no longer marked Excluded in Otus",
        "The teacher removes the mark if the score is to count.",
    ),
    Reason.EXCUSED: Guidance(
        "The student is Excused.",
        "the student is no longer Excused in Otus",
        "The teacher removes the mark; or set rules.excused to exempt for the district.",
    ),
    Reason.ASSIGNER_NOT_IN_GROUP: Guidance(
        "The user who assigned it is not in the Skyward Grade Passback Teacher Group.",
        "the user who assigned it is added to the Skyward Grade Passback Teacher Group",
        "The district adds the teacher to the group; everything of the open period then passes.",
    ),
    Reason.ASSIGNER_NOT_IN_SIS: Guidance(
        "An Otus administrator who is not in the SIS assigned it; that never passes.",
        "a user who is in the SIS assigns it anew",
        "A teacher who is in the SIS assigns it.",
    ),
    Reason.BEFORE_EFFECTIVE_DATE: Guidance(
        "It was assigned and last changed before the district's effective date.",
        "the assessment changes in Otus, or the district's effective date moves back",
        "Change the assessment in Otus, or apply the district with an earlier effective_date.",
    ),
    Reason.GRADING_PERIOD_CLOSED: Guidance(
        "Its days from assigned to due touch a grading period that has closed.",
        "its dates in Otus lie in open periods, or Skyward reopens the period",
        "The teacher moves the dates, or the office enters the grade in Skyward.",
    ),
    Reason.GRADING_PERIOD_UNKNOWN: Guidance(
        "Its due day lies in no grading period of the class in Skyward.",
        "the due day lies in a grading period that Skyward lists for the class",
        "The teacher moves the due date, or the district adds the period in Skyward.",
    ),
    Reason.CATEGORY_UNMAPPED: Guidance(
        "Its assessment type is mapped to no Skyward category.",
        "the district's settings map its type to a category",
        "Add the type under categories in the district's file and apply it.",
    ),
    Reason.CATEGORY_NOT_DISTRICT_LEVEL: Guidance(
        "The mapped category is known to the class only, not to the district.",
        "Skyward lists the mapped category for the district, or another one is mapped",
        "Make the category district-level in Skyward, or map another one and apply.",
    ),
    Reason.CATEGORY_INACTIVE: Guidance(
        "The mapped category is not active in the class's gradebook.",
        "the category is active in the teacher's gradebook in Skyward",
        "Activate the category in Skyward, or map another one and apply.",
    ),
    Reason.STUDENT_NOT_ASSIGNED: Guidance(
        "The student is not, or no longer, among the assignees.",
        "the assessment is assigned to the student in Otus",
        "The teacher assigns it to the student if the grade is to count.",
    ),
    Reason.UNASSIGNED: Guidance(
        "The assessment was unassigned from the class.",
        "the assessment is assigned to the class again",
        "The teacher assigns it again if it is to count.",
    ),
    Reason.DELETED: Guidance(
        "The assessment was deleted in Otus.",
        "Otus restores the assessment",
        "Nothing, unless it was deleted by mistake.",
    ),
    Reason.SCORE_INVALID: Guidance(
        "It is graded without a score, or with a negative one.",
        "it has a score of 0 or more in Otus",
        "The teacher enters the score in Otus.",
    ),
    Reason.POINTS_POSSIBLE_INVALID: Guidance(
        "The points possible are missing, 0 or less.",
        "the points possible in Otus are above 0",
        "The teacher sets the points possible in Otus.",
    ),
    Reason.ZERO_NOT_ALLOWED: Guidance(
        "It is not submitted, and the district's settings make no zero of it.",
        "the teacher grades it, or the district's settings allow this zero",
        "The teacher enters a 0 if it is meant, or the zeros settings change.",
    ),
    Reason.DIVERGED: Guidance(
        "Skyward holds a score that Otus has since taken back.",
        "the score counts again in Otus",
        "Decide in Skyward what is to stand there, or set rules.after_posting.",
    ),
    Reason.ASSESSMENT_UNKNOWN: Guidance(
        "A grade came, but no event of its assessment yet.",
        "the assessment's event arrives",
        "If it lasts a day, ask Otus to publish the assessment again; look at the quarantine.",
    ),
    Reason.DUE_DATE_MISSING: Guidance(
        "It has no due date, and the district holds such assessments.",
        "the assessment has a due date in Otus",
        "The teacher sets a due date; or set rules.due_date_missing.",
    ),
    Reason.NOT_DUE_YET: Guidance(
        "It is not submitted, and its due moment has not passed at the cutoff.",
        "the teacher grades it, or its due moment passes",
        "Nothing: it is decided by itself.",
    ),
    Reason.EVENT_QUARANTINED: Guidance(
        "An event of this grade or assessment could not be read, so no zero is made of it.",
        "the event in quarantine is replayed or discarded",
        "See 'passback quarantine list'; replay it once mended, or discard it.",
    ),
    Reason.OVER_POINTS_POSSIBLE: Guidance(
        "The score is over the points possible, and the district holds such scores.",
        "the score is no longer over the points possible, or the district sends such scores",
        "The teacher corrects the score or the points possible.",
    ),
    Reason.ZEROS_HELD: Guidance(
        "Too many zeros in one night: the breaker holds all of them.",
        "an operator releases the zeros",
        "Find out why so many are missing; then 'passback zeros release' or 'zeros discard'.",
    ),
    Reason.INTAKE_BEHIND: Guidance(
        "It was not certain that every event up to the cutoff had been read.",
        "a run begins with every event up to its cutoff read",
        "See that the daemon runs and its lag falls; the next run decides.",
    ),
    Reason.DISTRICT_PAUSED: Guidance(
        "The district is paused.",
        "the district is resumed",
        "'passback district resume' when it may send again.",
    ),
    Reason.EFFECTIVE_DATE_IN_FUTURE: Guidance(
        "The district's effective date has not come.",
        "the effective date comes",
        "Nothing; or apply the district with an earlier effective_date.",
    ),
    Reason.CHANGED_IN_SKYWARD: Guidance(
        "Somebody changed the score in Skyward after it was posted, and the district keeps that.",
        "Skyward shows the posted score again, or rules.changed_in_skyward becomes overwrite",
        "Compare with 'passback diff'; the teacher decides which of the two scores is right.",
    ),
    Reason.REFUSED_BY_SKYWARD: Guidance(
        "Skyward refused it.",
        "what is sent changes in Otus, or the district's settings change",
        "Compare the item in Otus with what Skyward accepts; change it or the settings.",
    ),
    Reason.REFUSED_GRADING_PERIOD: Guidance(
        "Skyward refused it because of its grading period, perhaps one closed by hand.",
        "its dates change in Otus, or the period's days change in Skyward",
        "The office reopens the period, or the teacher moves the dates.",
    ),
    Reason.CLASS_UNKNOWN: Guidance(
        "Skyward does not know the class.",
        "the class in Otus names one that Skyward has, or the settings change",
        "Check the roster sync between Skyward and Otus.",
    ),
    Reason.STUDENT_UNKNOWN: Guidance(
        "Skyward does not know the student in this class.",
        "the student's entry in Otus names one that Skyward has in the class",
        "Check the student's enrolment in Skyward and the roster sync.",
    ),
    Reason.CATEGORY_REFUSED: Guidance(
        "Skyward refused the category.",
        "the mapping or the category changes",
        "Check that the category is active for the class, or map another one and apply.",
    ),
    Reason.FORBIDDEN: Guidance(
        "Skyward forbids writes to this class.",
        "Skyward permits writes to the class; one write a night tries",
        "The district checks the API user's rights for the class in Skyward.",
    ),
    Reason.LOCKED: Guidance(
        "The record is locked in Skyward.",
        "the record is unlocked and changes in Otus, or the settings change",
        "The office unlocks it in Skyward.",
    ),
    Reason.LICENCE_MISSING: Guidance(
        "Skyward refuses every write: the LMS/OneRoster API licence or the write scope is missing.",
        "the district's API may write",
        "The district asks Skyward for the licence, and for write access of the API user.",
    ),
    Reason.CREDENTIALS_REFUSED: Guidance(
        "Skyward does not accept the key and secret.",
        "a valid key and secret are applied",
        "The district hands over the current key and secret; apply them.",
    ),
    Reason.USE_GRADE_SETTING_ON: Guidance(
        'The API setting "Use Grade When Posting Secondary Gradebook Assignment Scores" is on.',
        "the setting is switched off in Skyward",
        "The district switches it off in Skyward's API settings.",
    ),
    Reason.SKYWARD_UNAVAILABLE: Guidance(
        "Skyward did not answer, or not as it should.",
        "Skyward answers the next run",
        f"{_NIGHTLY} If it lasts, ask the district about its server.",
    ),
    Reason.THROTTLED: Guidance(
        "Skyward asked us to slow down for longer than the run could wait.",
        "Skyward takes it in the next run",
        f"{_NIGHTLY} If it lasts, lower skyward.max_concurrency.",
    ),
    Reason.LINE_ITEM_FAILED: Guidance(
        "The assessment itself could not be written, so its grades were not sent.",
        "Skyward takes the line item in the next run",
        f"{_NIGHTLY} If it lasts, see what Skyward answered to the line item.",
    ),
    Reason.WINDOW_OVER: Guidance(
        "The night's window ended before it was sent.",
        "the next run reaches it",
        f"{_NIGHTLY} If it lasts, raise skyward.max_concurrency or move the cutoff earlier.",
    ),
}

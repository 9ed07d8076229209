"""The OneRoster CSV reader of the sandbox, and the grading periods it makes."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from consumer.sandbox.roster import Roster, RosterError, read_roster, with_grading_periods

FILES = {
    "orgs": """sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId
d,active,2026-01-01,District,district,1,
s,active,2026-01-01,School,school,2,d
""",
    "academicSessions": """sourcedId,status,title,type,startDate,endDate,parentSourcedId,schoolYear
year,active,Year,schoolYear,2026-08-15,2027-06-10,,2027
term,active,Full Year,term,2026-08-15,2027-06-10,year,2027
""",
    "courses": """sourcedId,status,title,courseCode,schoolYearSourcedId,orgSourcedId,grades
k,active,Art,ART,year,s,"03,04"
""",
    "classes": """sourcedId,status,title,classCode,courseSourcedId,schoolSourcedId,termSourcedIds
c,active,"Art, first",A,k,s,term
""",
    "users": """sourcedId,status,enabledUser,orgSourcedIds,role,givenName,familyName
t1,active,true,s,teacher,Tea,Cher
t2,active,true,s,teacher,Co,Teacher
p,,true,s,student,Pu,Pil
q,active,false,s,student,Qu,Pil
""",
    "enrollments": """sourcedId,status,classSourcedId,schoolSourcedId,userSourcedId,role,primary,\
beginDate,endDate
e1,active,c,s,t2,teacher,false,2026-08-15,2027-06-10
e2,active,c,s,t1,teacher,true,2026-08-15,2027-06-10
e3,,c,s,p,student,,2026-08-15,2027-06-10
e4,tobedeleted,c,s,q,student,,2026-08-15,2027-06-10
""",
}
TODAY = date(2026, 11, 23)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


@pytest.fixture
def roster(folder: Path) -> Roster:
    return read_roster(folder)


def test_a_status_left_empty_counts_as_active(roster: Roster) -> None:
    assert roster.users["p"].status == "active"


def test_only_active_enrollments_make_students(roster: Roster) -> None:
    assert roster.students_of("c") == ("p",)


def test_the_primary_teacher_comes_first(roster: Roster) -> None:
    assert roster.teachers_of("c") == ("t1", "t2")


def test_an_unknown_class_has_no_students(roster: Roster) -> None:
    assert roster.students_of("nowhere") == ()


def test_quoted_commas_belong_to_titles_and_separate_lists(roster: Roster) -> None:
    assert roster.classes["c"].title == "Art, first"
    assert roster.courses["k"].grades == ("03", "04")


def test_schools_are_the_orgs_of_that_type(roster: Roster) -> None:
    assert [school.sourced_id for school in roster.schools] == ["s"]


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "users.csv").unlink()
    with pytest.raises(RosterError, match=r"users\.csv cannot be read"):
        read_roster(folder)


def test_a_missing_column_is_named(folder: Path) -> None:
    (folder / "orgs.csv").write_text("sourcedId,name\nd,District\n")
    with pytest.raises(RosterError, match=r"orgs\.csv has no column type"):
        read_roster(folder)


def test_a_wrong_date_is_named_with_its_record(folder: Path) -> None:
    text = FILES["academicSessions"].replace("2027-06-10,year", "June,year")
    (folder / "academicSessions.csv").write_text(text)
    with pytest.raises(RosterError, match=r"record 3.*June"):
        read_roster(folder)


def test_a_short_record_is_named(folder: Path) -> None:
    (folder / "orgs.csv").write_text(FILES["orgs"] + "x,active\n")
    with pytest.raises(RosterError, match=r"record 4 has 2 cells"):
        read_roster(folder)


def test_made_periods_are_one_closed_one_open_one_coming(roster: Roster) -> None:
    closed, now, coming = with_grading_periods(roster, TODAY).grading_periods
    assert closed.end_date == TODAY - timedelta(days=42)
    assert now.contains(TODAY)
    assert coming.start_date > TODAY
    assert (now.end_date - now.start_date).days + 1 == 80


def test_made_periods_follow_each_other_without_a_gap(roster: Roster) -> None:
    periods = with_grading_periods(roster, TODAY).grading_periods
    for earlier, later in pairwise(periods):
        assert later.start_date - earlier.end_date == timedelta(days=1)


@pytest.mark.parametrize("today", [TODAY, date(2026, 8, 15), date(2031, 2, 3), date(2020, 2, 29)])
def test_term_and_year_contain_their_made_periods_on_any_day(roster: Roster, today: date) -> None:
    made = with_grading_periods(roster, today)
    for period in made.grading_periods:
        assert period.parent == "term"
        for session in (made.sessions["term"], made.sessions["year"]):
            assert session.start_date <= period.start_date
            assert period.end_date <= session.end_date


def test_enrollments_are_extended_with_their_term(roster: Roster) -> None:
    made = with_grading_periods(roster, TODAY)
    start = made.sessions["term"].start_date.isoformat()
    assert made.enrollments["e3"].begin_date == start < "2026-08-15"


def test_periods_of_the_export_are_kept_as_they_are(folder: Path) -> None:
    own = "own,active,Quarter,gradingPeriod,2026-10-01,2026-12-01,term,2027\n"
    (folder / "academicSessions.csv").write_text(FILES["academicSessions"] + own)
    read = read_roster(folder)
    assert with_grading_periods(read, TODAY) is read


def test_a_class_has_the_periods_under_its_terms_else_all(folder: Path) -> None:
    more = """other,active,Other,term,2026-08-15,2027-06-10,year,2027
g1,active,G1,gradingPeriod,2026-10-01,2026-12-01,term,2027
g2,active,G2,gradingPeriod,2026-10-01,2026-12-01,other,2027
"""
    (folder / "academicSessions.csv").write_text(FILES["academicSessions"] + more)
    assert [one.sourced_id for one in read_roster(folder).grading_periods_of("c")] == ["g1"]
    (folder / "classes.csv").write_text(FILES["classes"].replace(",s,term", ",s,"))
    assert [one.sourced_id for one in read_roster(folder).grading_periods_of("c")] == ["g1", "g2"]

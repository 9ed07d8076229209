"""What was read of a district's setup, as passes, warnings and failures."""

from dataclasses import replace
from datetime import date

import pytest

from consumer.cli.setup_checks import (
    categories_in_classes,
    classes_known,
    grading_periods,
    group_filled,
    reached,
    scopes_granted,
)
from consumer.gradebook import AcademicSession, Membership

AUTUMN = AcademicSession(
    "gp-1", "gradingPeriod", True, date(2026, 8, 15), date(2026, 10, 30), "sem-1"
)
WINTER = replace(AUTUMN, sourced_id="gp-2", start=date(2026, 11, 5), end=date(2027, 1, 15))


@pytest.mark.parametrize(
    ("periods", "today", "because"),
    [
        ((), date(2026, 11, 23), "Skyward lists no grading period"),
        ((replace(AUTUMN, type="term"),), AUTUMN.start, "Skyward lists no grading period"),
        ((replace(AUTUMN, active=False),), AUTUMN.start, "none of the 1 grading periods"),
        ((AUTUMN, WINTER), date(2026, 11, 4), "the next begins on 2026-11-05"),
        ((AUTUMN, WINTER), date(2027, 1, 16), "none is to come"),
    ],
)
def test_without_an_open_grading_period_nothing_could_pass(
    periods: tuple[AcademicSession, ...], today: date, because: str
) -> None:
    found = grading_periods({one.sourced_id: one for one in periods}, today)
    assert not found.passes
    assert because in found.because
    assert found.cure


@pytest.mark.parametrize("today", [WINTER.start, WINTER.end])
def test_both_days_of_a_grading_period_belong_to_it(today: date) -> None:
    found = grading_periods({"gp-1": AUTUMN, "gp-2": WINTER}, today)
    assert found.passes
    assert "gp-2, open to 2027-01-15, one of 2" in found.because


@pytest.mark.parametrize("granted", [None, frozenset[str]()])
def test_a_server_that_does_not_say_its_scopes_passes(granted: frozenset[str] | None) -> None:
    assert scopes_granted(("https://x/scope/gradebook.createput",), granted).passes


def test_of_many_classes_only_the_first_are_named() -> None:
    classes = [f"class-{i:03}" for i in range(400)]
    active = {one: frozenset({"cat-2"}) for one in classes} | {
        "class-007": frozenset({"cat-1", "cat-2"})
    }
    found = categories_in_classes(frozenset({"cat-1", "cat-2"}), active)
    assert found.because == (
        "cat-1 is not active in 399 of 400 classes: class-000, class-001, class-002, …"
    )
    missing = classes_known(classes, {"class-000"})
    assert missing.because == (
        "Skyward does not have 399 of 400 classes: class-001, class-002, class-003, …"
    )


def test_a_class_whose_list_skyward_keeps_to_itself_is_counted_apart() -> None:
    found = categories_in_classes(
        frozenset({"cat-1"}), {"class-1": frozenset({"cat-1"}), "class-2": None}
    )
    assert found.passes
    assert "1 class; Skyward does not list those of 1 more" in found.because


def test_one_who_left_the_group_is_no_member() -> None:
    left, there = Membership(False, None), Membership(True, None)
    assert group_filled({"t-1": left}).cure
    found = group_filled({"t-1": left, "t-2": there})
    assert (found.cure, found.because) == (None, "it has 1 member")


def test_the_address_is_named_without_its_path() -> None:
    assert reached("https://sis.example:8443/secret/").because == "sis.example answers over TLS"

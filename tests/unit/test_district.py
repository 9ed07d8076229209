"""A district file: what it may say, and that every mistake is named, at once, by its path."""

import copy
from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consumer.district import (
    AssignPlusDays,
    District,
    DistrictFileInvalid,
    Product,
    SecretSource,
    read_district,
)

EXAMPLE: Final = """
district: lakeside
name: Lakeside Public Schools
timezone: America/Chicago
cutoff: "22:00"                 # local wall clock, each service date
service_days: [mon, tue, wed, thu, fri, sat, sun]
effective_date: 2026-08-24
live_since: 2026-08-24          # due dates before it never become zeros
skyward:
  product: qmlativ              # qmlativ | sms2: presets for the lines below
  base_url: https://lakeside.skyward.example/
  token_url: https://lakeside.skyward.example/oauth/token
  oneroster_version: "1.2"      # "1.1" | "1.2"
  path_style: flat              # flat | split
  client_auth: basic            # basic | body
  wire_form: standard           # standard | lean
  page_size: 1000
  max_concurrency: 4
  key_file: lakeside.key
  secret_file: lakeside.secret
categories:                     # Otus assessment type -> sourcedId of a district-level category
  Assignment: cat-homework
  Checklist: cat-homework
  Homework: cat-homework
  Journal: cat-homework
  Lab: cat-project
  Observation: cat-otus
  Paper: cat-project
  Presentation: cat-project
  Project: cat-project
  Quiz: cat-test
  Test: cat-test
  Other: cat-otus
rules:
  whole_number_rule: grade      # grade | points_possible
  due_date_missing: {assign_plus_days: 7}   # the item's due date; never a zero out of it | hold
  excused: hold_back            # hold_back | exempt
  over_points_possible: send    # send | hold
  after_posting:                # when a posted score is excluded, unassigned or removed later
    excluded: leave             # leave | exempt | delete
    excused: leave
    unassigned: leave
    removed: leave
zeros:
  in_progress: true             # started but not handed in counts as not submitted
  plus: false                   # a Plus assessment has no submission
  retroactive: false            # for due dates before live_since, or before the assigner joined
  score_status: fully graded    # fully graded | not submitted
  max_count: 50                 # the breaker trips when both are exceeded:
  max_share: 0.5                # zeros over all assignees of the assessments concerned
group: [t-100, t-101]           # joined before all time; events win
"""
"""The example of the contract."""

SHORTEST: Final = """
district: lakeside
name: Lakeside
timezone: America/Chicago
cutoff: "22:00"
effective_date: 2026-08-24
skyward:
  base_url: https://lakeside.skyward.example/
  token_url: https://lakeside.skyward.example/oauth/token
  key_file: lakeside.key
  secret_file: lakeside.secret
categories: {Quiz: cat-test}
"""


def example(*changes: tuple[str, object], text: str = EXAMPLE) -> dict[str, Any]:
    """The example with what stands at each dotted path replaced, or removed by ``...``."""
    content: dict[str, Any] = yaml.safe_load(text)
    for path, value in changes:
        *parents, last = path.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return content


def problems(content: object) -> list[tuple[str, str]]:
    try:
        read_district(content)
    except DistrictFileInvalid as error:
        return error.problems
    return []


def paths(content: object) -> list[str]:
    return [path for path, _ in problems(content)]


def test_the_example_is_valid_and_every_line_arrives() -> None:
    found = read_district(example())
    district = found.district
    assert (found.key, found.secret) == (
        SecretSource("lakeside.key", None),
        SecretSource("lakeside.secret", None),
    )
    assert (district.district, district.name) == ("lakeside", "Lakeside Public Schools")
    assert (district.zone.key, district.cutoff) == ("America/Chicago", time(22))
    assert district.effective_date == district.live_since == date(2026, 8, 24)
    assert district.service_days == ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    assert district.skyward.product is Product.QMLATIV
    assert (district.skyward.page_size, district.skyward.max_concurrency) == (1000, 4)
    assert len(district.categories) == 12
    assert district.rules.due_date_missing == AssignPlusDays(assign_plus_days=7)
    assert (district.zeros.max_count, district.zeros.max_share) == (50, Decimal("0.5"))
    assert district.group == ("t-100", "t-101")


def test_what_the_example_says_about_the_rules_is_what_holds_without_it() -> None:
    said, silent = read_district(example()), read_district(example(text=SHORTEST))
    assert said.district.rules == silent.district.rules
    assert said.district.zeros == silent.district.zeros
    assert said.district.service_days == silent.district.service_days
    assert silent.district.live_since is None
    assert silent.district.group == ()
    assert silent.district.skyward.max_concurrency == 2


def test_a_district_is_the_same_after_it_was_stored() -> None:
    for text in (EXAMPLE, SHORTEST):
        district = read_district(example(text=text)).district
        assert District.model_validate_json(district.model_dump_json()) == district


def test_where_the_secrets_come_from_is_not_stored() -> None:
    stored = read_district(example()).district.model_dump_json()
    assert "lakeside.key" not in stored
    assert "lakeside.secret" not in stored


@pytest.mark.parametrize(
    ("product", "version"),
    [(None, "1.2"), ("qmlativ", "1.2"), ("sms2", "1.1")],
)
def test_a_product_presets_what_the_file_leaves_out(product: str | None, version: str) -> None:
    changes = [] if product is None else [("skyward.product", product)]
    skyward = read_district(example(*changes, text=SHORTEST)).district.skyward
    assert skyward.product == (product or "qmlativ")
    assert skyward.oneroster_version == version
    assert (skyward.path_style, skyward.client_auth) == ("flat", "basic")
    assert skyward.wire_form == "standard"


def test_what_the_file_says_is_stronger_than_the_preset() -> None:
    content = example(
        ("skyward.product", "sms2"),
        ("skyward.oneroster_version", "1.2"),
        ("skyward.path_style", "split"),
        ("skyward.client_auth", "body"),
    )
    skyward = read_district(content).district.skyward
    assert (skyward.oneroster_version, skyward.path_style, skyward.client_auth) == (
        "1.2",
        "split",
        "body",
    )


ACCEPTED: Final[list[tuple[str, object]]] = [
    ("cutoff", "00:00"),
    ("cutoff", "23:59:59"),
    ("timezone", "Australia/Lord_Howe"),
    ("service_days", ["sun"]),
    ("live_since", None),
    ("effective_date", "2026-08-24"),
    ("skyward.base_url", "http://127.0.0.1:8080/ims"),
    ("skyward.base_url", "https://[2001:db8::1]:8443"),
    ("skyward.base_url", "https://bücher.example/"),
    ("skyward.base_url", "https://xn--bcher-kva.example."),
    ("skyward.base_url", "https://under_score.example/"),
    ("skyward.scopes", ["one", "two"]),
    ("skyward.page_size", 1),
    ("skyward.page_size", 10_000),
    ("skyward.max_concurrency", 64),
    ("categories", {"Quiz": "c" * 255}),
    ("rules.due_date_missing", "hold"),
    ("rules.due_date_missing", {"assign_plus_days": 0}),
    ("rules.due_date_missing", {"assign_plus_days": 366}),
    ("rules.after_posting", {}),
    ("zeros.score_status", "not submitted"),
    ("zeros.max_count", 0),
    ("zeros.max_share", 1),
    ("zeros.max_share", "0.25"),
    ("group", []),
]


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_what_may_be_said(path: str, value: object) -> None:
    assert problems(example((path, value))) == []


MISTAKES: Final[list[tuple[str, object, str, str]]] = [
    # where, what stands there, the path that is reported, a part of what is said
    ("district", ..., "district", "is required"),
    ("district", "", "district", "at least 1 character"),
    ("district", "lake/side", "district", "must not hold /"),
    ("district", "lake\x00side", "district", "must not hold /"),
    ("district", "lakeside\n", "district", "must not hold /"),
    ("district", "x" * 256, "district", "255"),
    ("district", 7, "district", "valid string"),
    ("name", ..., "name", "is required"),
    ("name", "", "name", "at least 1 character"),
    ("name", "x" * 201, "name", "200"),
    ("timezone", ..., "timezone", "is required"),
    ("timezone", "Central", "timezone", "is no IANA time zone"),
    ("timezone", "america/chicago", "timezone", "is no IANA time zone"),
    ("timezone", "../etc/passwd", "timezone", "is no IANA time zone"),
    ("timezone", 6, "timezone", "valid string"),
    ("cutoff", ..., "cutoff", "is required"),
    ("cutoff", 1320, "cutoff", "in quotes"),
    ("cutoff", 22.5, "cutoff", "in quotes"),
    ("cutoff", None, "cutoff", "is no time of day"),
    ("cutoff", "24:00", "cutoff", "is no time of day"),
    ("cutoff", "22:60", "cutoff", "is no time of day"),
    ("cutoff", "9:00", "cutoff", "is no time of day"),
    ("cutoff", "22", "cutoff", "is no time of day"),
    ("cutoff", "T2200", "cutoff", "is no time of day"),
    ("cutoff", "10:00+01", "cutoff", "is no time of day"),
    ("cutoff", "T220000Z", "cutoff", "is no time of day"),
    ("cutoff", "10 p.m.", "cutoff", "is no time of day"),
    ("service_days", [], "service_days", "one day at least"),
    ("service_days", ["mon", "Tuesday"], "service_days.1", "'mon'"),
    ("service_days", "mon", "service_days", "tuple"),
    ("effective_date", ..., "effective_date", "is required"),
    ("effective_date", "24 August", "effective_date", "valid date"),
    ("effective_date", "2026-02-30", "effective_date", "valid date"),
    ("effective_date", 20260824, "effective_date", "2026-08-24"),
    ("effective_date", 0, "effective_date", "2026-08-24"),
    ("live_since", "soon", "live_since", "valid date"),
    ("live_since", 0, "live_since", "2026-08-24"),
    ("skyward", ..., "skyward", "is required"),
    ("skyward", "https://lakeside.skyward.example/", "skyward", "must be a mapping"),
    ("skyward", None, "skyward", "must be a mapping"),
    ("skyward.product", "powerschool", "skyward.product", "'qmlativ' or 'sms2'"),
    ("skyward.product", ["sms2"], "skyward.product", "'qmlativ' or 'sms2'"),
    ("skyward.base_url", ..., "skyward.base_url", "is required"),
    ("skyward.base_url", "lakeside.skyward.example", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "ftp://lakeside.example/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https:///ims", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://[::1", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://host:99999/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://host:none/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://host /", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://ho\nst/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://xn--/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://xn--a/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://a..b/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", f"https://{'a' * 64}.example/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://\u200b.example/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://d\xad.example/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://[v1.x]/", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://host\\x", "skyward.base_url", "is no URL"),
    ("skyward.base_url", "https://me:hush@host/", "skyward.base_url", "credentials"),
    ("skyward.base_url", "https://:@host/", "skyward.base_url", "credentials"),
    ("skyward.base_url", "https://host/?a=b", "skyward.base_url", "before any ? or #"),
    ("skyward.base_url", "https://host/?", "skyward.base_url", "before any ? or #"),
    ("skyward.base_url", "https://host/#a", "skyward.base_url", "before any ? or #"),
    ("skyward.token_url", ..., "skyward.token_url", "is required"),
    ("skyward.token_url", "oauth/token", "skyward.token_url", "is no URL"),
    ("skyward.oneroster_version", "2.0", "skyward.oneroster_version", "'1.1' or '1.2'"),
    ("skyward.oneroster_version", 1.2, "skyward.oneroster_version", "'1.1' or '1.2'"),
    ("skyward.path_style", "deep", "skyward.path_style", "'flat' or 'split'"),
    ("skyward.client_auth", "header", "skyward.client_auth", "'basic' or 'body'"),
    ("skyward.wire_form", "thin", "skyward.wire_form", "'standard' or 'lean'"),
    ("skyward.page_size", 0, "skyward.page_size", "greater than or equal to 1"),
    ("skyward.page_size", 10_001, "skyward.page_size", "less than or equal to 10000"),
    ("skyward.max_concurrency", 0, "skyward.max_concurrency", "greater than or equal to 1"),
    ("skyward.max_concurrency", 65, "skyward.max_concurrency", "less than or equal to 64"),
    ("skyward.max_concurrency", "many", "skyward.max_concurrency", "valid integer"),
    ("skyward.scopes", "one two", "skyward.scopes", "tuple"),
    ("skyward.key", "hush", "skyward.key", "is not known here"),
    ("skyward.key_file", ..., "skyward.key_file", "exactly one of key_file and key_env"),
    ("skyward.key_file", "", "skyward.key_file", "exactly one of key_file and key_env"),
    ("skyward.key_env", "KEY", "skyward.key_file", "exactly one of key_file and key_env"),
    ("skyward.secret_file", None, "skyward.secret_file", "exactly one of secret_file and"),
    ("skyward.secret_env", "SECRET", "skyward.secret_file", "exactly one of secret_file and"),
    ("skyward.secret_file", 7, "skyward.secret_file", "valid string"),
    ("categories", ..., "categories", "is required"),
    ("categories", {}, "categories", "at least 1 item"),
    ("categories", ["Quiz"], "categories", "dictionary"),
    ("categories.Quiz", "", "categories.Quiz", "at least 1 character"),
    ("categories.Quiz", "cat/test", "categories.Quiz", "must not hold /"),
    ("categories", {"": "cat-test"}, "categories.[key]", "at least 1 character"),
    ("categories.Quiz", None, "categories.Quiz", "valid string"),
    ("rules", "strict", "rules", "must be a mapping"),
    ("rules.whole_number_rule", "both", "rules.whole_number_rule", "'points_possible'"),
    ("rules.due_date_missing", "skip", "rules.due_date_missing", "hold or assign_plus_days"),
    ("rules.due_date_missing", None, "rules.due_date_missing", "hold or assign_plus_days"),
    (
        "rules.due_date_missing.assign_plus_days",
        367,
        "rules.due_date_missing.assign_plus_days",
        "less than or equal to 366",
    ),
    ("rules.due_date_missing.days", 7, "rules.due_date_missing.days", "is not known here"),
    ("rules.excused", "zero", "rules.excused", "'hold_back' or 'exempt'"),
    ("rules.over_points_possible", "cap", "rules.over_points_possible", "'send' or 'hold'"),
    ("rules.after_posting.excluded", "zero", "rules.after_posting.excluded", "'delete'"),
    ("rules.after_posting.lost", "leave", "rules.after_posting.lost", "is not known here"),
    ("zeros.in_progress", "maybe", "zeros.in_progress", "valid boolean"),
    ("zeros.score_status", "missing", "zeros.score_status", "'not submitted'"),
    ("zeros.max_count", True, "zeros.max_count", "valid integer"),
    ("skyward.page_size", "1000", "skyward.page_size", "valid integer"),
    ("zeros.max_count", -1, "zeros.max_count", "greater than or equal to 0"),
    ("zeros.max_share", 1.01, "zeros.max_share", "less than or equal to 1"),
    ("zeros.max_share", float("nan"), "zeros.max_share", "finite"),
    ("group", "t-100", "group", "tuple"),
    ("group", ["t-100", 101], "group.1", "valid string"),
    ("group", ["t/100"], "group.0", "must not hold /"),
    ("cut_off", "22:00", "cut_off", "is not known here"),
]


@pytest.mark.parametrize(("where", "value", "path", "said"), MISTAKES)
def test_a_mistake_is_reported_once_with_its_path(
    where: str, value: object, path: str, said: str
) -> None:
    [(found, what)] = problems(example((where, value)))
    assert found == path
    assert said in what


@pytest.mark.parametrize("content", [None, [], "district: lakeside", 7])
def test_what_is_no_mapping_is_no_district_file(content: object) -> None:
    assert problems(content) == [("(the file)", "must be a mapping of settings to values")]


def test_an_empty_file_lacks_everything_required() -> None:
    assert paths({}) == [
        "district",
        "name",
        "timezone",
        "cutoff",
        "effective_date",
        "skyward",
        "categories",
    ]


def test_five_mistakes_in_one_file_are_reported_at_once() -> None:
    content = example(
        ("timezone", "Central"),
        ("cutoff", 1320),
        ("skyward.base_url", "lakeside"),
        ("categories.Quiz", "cat/test"),
        ("zeros.max_share", 2),
    )
    assert paths(content) == [
        "timezone",
        "cutoff",
        "skyward.base_url",
        "categories.Quiz",
        "zeros.max_share",
    ]


def test_both_missing_sources_are_reported_and_with_all_other_mistakes() -> None:
    content = example(
        ("skyward.key_file", ...),
        ("skyward.secret_file", ...),
        ("skyward.base_url", ...),
        ("cutoff", "late"),
    )
    assert paths(content) == [
        "cutoff",
        "skyward.base_url",
        "skyward.key_file",
        "skyward.secret_file",
    ]


def test_the_error_is_one_sentence_of_all_mistakes() -> None:
    with pytest.raises(DistrictFileInvalid) as caught:
        read_district(example(("name", ...), ("cutoff", 1320)))
    assert str(caught.value) == (
        'name: is required; cutoff: write the time in quotes, such as "22:00"'
    )


def test_an_unquoted_time_in_yaml_is_told_to_be_quoted() -> None:
    content = yaml.safe_load(EXAMPLE.replace('"22:00"', "22:00"))
    assert content["cutoff"] == 1320
    assert problems(content) == [("cutoff", 'write the time in quotes, such as "22:00"')]


def test_either_source_does_for_each_secret() -> None:
    content = example(
        ("skyward.key_file", ...),
        ("skyward.key_env", "LAKESIDE_KEY"),
        ("skyward.secret_env", None),
    )
    found = read_district(content)
    assert found.key == SecretSource(None, "LAKESIDE_KEY")
    assert found.secret == SecretSource("lakeside.secret", None)


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    misplaced: list[Callable[[str], tuple[str, object]]] = [
        lambda secret: ("skyward.secret", secret),
        lambda secret: ("skyward.base_url", f"https://key:{secret}@host/"),
        lambda secret: ("skyward.secret_file", [secret]),
        lambda secret: ("skyward", secret),
        lambda secret: ("skyward.oneroster_version", secret),
        lambda secret: ("skyward.max_concurrency", secret),
        lambda secret: ("cutoff", secret),
    ]
    for place in misplaced:
        assert "hush-hush" not in str(problems(example(place("hush-hush"))))


def test_a_service_date_is_a_service_day() -> None:
    district = read_district(example(("service_days", ["mon", "fri"]))).district
    served = [day for day in range(16, 23) if district.serves(date(2026, 11, day))]
    assert served == [16, 20]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
places = st.sampled_from(sorted({where for where, *_ in MISTAKES} | {p for p, _ in ACCEPTED}))


@given(st.dictionaries(places, anything, min_size=1, max_size=4))
def test_whatever_stands_in_a_file_it_is_valid_or_its_mistakes_are_named(
    changes: dict[str, object],
) -> None:
    # Deeper places first: a parent that is replaced has no children.
    content = example(*sorted(changes.items(), key=lambda c: -c[0].count(".")))
    assert all(path and what for path, what in problems(content))


@given(anything)
def test_whatever_a_file_is_it_is_valid_or_its_mistakes_are_named(content: object) -> None:
    assert problems(content)

"""``district check`` against the stand-in: each step of the setup, right and wrong."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGINT
from subprocess import PIPE, Popen
from time import monotonic, sleep
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, district_settings
from consumer.sandbox.skyward import StandIn, StandInDistrict
from consumer.sealing import new_key
from consumer.store.connection import Pool
from consumer.store.recording import record
from tests.evening import Evening
from tests.integration.nights import NOW, ZONE, batch_of
from tests.integration.operators import Operator

TODAY = NOW.astimezone(ZoneInfo(ZONE)).date()
WALKED = (
    *("settings", "address", "token", "scopes", "grading periods"),
    *("category cat-homework", "category cat-otus", "category cat-project", "category cat-test"),
    *("assessment types", "classes", "categories in classes", "teacher group"),
    *("licence", "use grade setting"),
)
PROBED = ("test line item", "test result", "test item removed")

Line = dict[str, Any]


@dataclass
class Onboarding:
    """A district that was just applied, its Skyward, and what Otus said of it so far."""

    operator: Operator
    skyward: StandInDistrict
    settings: dict[str, Any]
    evening: Evening

    def apply(self, **changes: Any) -> None:
        self.operator.apply(**(self.settings | changes))

    def record(self) -> None:
        """Records all of the evening; what is known already changes nothing."""

        async def write(pool: Pool) -> None:
            await record(pool, batch_of(self.evening), NOW)

        self.operator.store(write)

    def check(self, *words: str) -> tuple[int, dict[str, Line]]:
        """The exit status, and each line by its name."""
        status = self.operator.passback("district", "check", "lakeside", *words, "--json")
        lines = json.loads(self.operator.said)
        for line in lines:
            assert list(line) == ["check", "passes", "because", "cure"]
            assert line["passes"] or line["cure"], line
        assert status == (0 if all(line["passes"] for line in lines) else 1)
        return status, {line["check"]: line for line in lines}

    def failing(self, *words: str) -> dict[str, Line]:
        return {name: line for name, line in self.check(*words)[1].items() if not line["passes"]}

    def probe(self) -> dict[str, Line]:
        """The lines that fail with the write probe in the evening's first class."""
        return self.failing("--write-probe", self.evening.classes[0])

    def left(self) -> list[Line]:
        return list(self.skyward.gradebook())


@pytest.fixture
def onboarding(
    tmp_path: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Onboarding]:
    monkeypatch.setenv("PASSBACK_ALLOW_HTTP", "true")
    monkeypatch.setenv("PASSBACK_ALLOWED_NETWORKS", "127.0.0.0/8")
    roster = with_grading_periods(read_roster(SCHOOL / "district"), TODAY)
    with StandIn(SCHOOL / "district", tmp_path / "j", today=TODAY, district="lakeside") as standin:
        skyward = standin.district()
        (tmp_path / "skyward.key").write_text(skyward.client_id)
        (tmp_path / "skyward.secret").write_text(skyward.client_secret)
        settings = district_settings(
            roster,
            district_id="lakeside",
            now=NOW,
            timezone=ZONE,
            cutoff="22:00",
            base_url=skyward.base_url,
            token_url=skyward.token_url,
        )
        evening = Evening(roster, "lakeside", NOW)
        for number in range(3):
            evening.assess("a-1", number=number)
        built = Onboarding(operator, skyward, settings, evening)
        built.apply()

        built.record()
        yield built


def test_a_district_that_is_set_up_passes_every_step_in_the_guides_order(
    onboarding: Onboarding,
) -> None:
    status, lines = onboarding.check()
    assert status == 0
    assert tuple(lines) == WALKED
    assert all(line["cure"] is None for line in lines.values())
    assert "untested" in lines["licence"]["because"]
    assert "3" in lines["categories in classes"]["because"]
    assert onboarding.left() == []


def test_a_person_reads_lines_of_at_most_100_columns(onboarding: Onboarding) -> None:
    operator = onboarding.operator
    assert operator.passback("district", "check", "lakeside") == 0
    onboarding.skyward.configure(categories={})
    onboarding.apply(categories={"Quiz": "cat-test", "Essay": "cat-otus"}, group=None)
    assert operator.passback("district", "check", "lakeside") == 1
    assert max(map(len, operator.said.splitlines())) <= 100
    assert {"pass", "warn", "FAIL"} <= set(operator.said.split())


# -- the settings and the way to Skyward ----------------------------------------------------


def test_a_paused_district_fails_and_the_rest_is_asked_all_the_same(onboarding: Onboarding) -> None:
    assert onboarding.operator.passback("district", "pause", "lakeside") == 0
    failing = onboarding.failing()
    assert list(failing) == ["settings"]
    assert "district resume lakeside" in failing["settings"]["cure"]


def _stops_at(onboarding: Onboarding, name: str) -> Line:
    """That line, where it fails and everything of Skyward's behind it was not asked."""
    lines = onboarding.check("--write-probe", onboarding.evening.classes[0])[1]
    assert tuple(lines) == (*WALKED, *PROBED)
    assert not lines[name]["passes"]
    behind = [*lines][[*lines].index(name) + 1 :]
    for one in behind:
        if one not in ("assessment types", "teacher group"):
            assert not lines[one]["passes"]
            assert lines[one]["because"].startswith("not asked: "), lines[one]
    return lines[name]


@pytest.mark.parametrize(
    ("base_url", "word"),
    [
        ("http://skyward.invalid/", "name of Skyward's host"),
        ("http://127.0.0.1:9/", "could not be reached"),
        ("http://10.0.0.7/", "private or reserved"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_from_all_else(
    onboarding: Onboarding, base_url: str, word: str
) -> None:
    onboarding.apply(skyward=onboarding.settings["skyward"] | {"base_url": base_url})
    assert word in _stops_at(onboarding, "address")["because"]


def test_a_server_without_valid_tls_fails_at_its_address(onboarding: Onboarding) -> None:
    https = onboarding.skyward.base_url.replace("http://", "https://")
    onboarding.apply(skyward=onboarding.settings["skyward"] | {"base_url": https})
    assert "TLS" in _stops_at(onboarding, "address")["because"]


def test_plain_http_is_refused_before_a_secret_is_shown(
    onboarding: Onboarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSBACK_ALLOW_HTTP", "false")
    assert "plain http" in _stops_at(onboarding, "address")["because"]


def test_a_secret_that_was_generated_anew_fails_at_the_token(onboarding: Onboarding) -> None:
    onboarding.skyward.regenerate_secret()
    line = _stops_at(onboarding, "token")
    assert "refused the key and secret" in line["because"]
    assert "current key and secret" in line["cure"]


def test_secrets_that_no_sealing_key_opens_fail_at_the_token(onboarding: Onboarding) -> None:
    (onboarding.operator.directory / "sealing.key").write_text(new_key() + "\n")
    assert "sealing keys" in onboarding.failing()["token"]["because"]


def test_skyward_away_is_a_failed_check(onboarding: Onboarding) -> None:
    onboarding.skyward.configure(unavailable=True)
    assert "503" in _stops_at(onboarding, "token")["because"]


def test_a_scope_that_was_not_granted_is_named(onboarding: Onboarding) -> None:
    onboarding.skyward.configure(withheld_scopes=["gradebook.createput"])
    failing = onboarding.failing()
    assert list(failing) == ["scopes"]
    assert failing["scopes"]["because"] == "not granted: gradebook.createput"


def test_reads_that_are_forbidden_fail_one_by_one(onboarding: Onboarding) -> None:
    onboarding.skyward.configure(withheld_scopes=["gradebook.readonly"])
    failing = onboarding.failing()
    categories = [name for name in WALKED if name.startswith("category ")]
    assert list(failing) == ["scopes", *categories]
    assert "get_categories" in failing["category cat-test"]["because"]


# -- periods, categories, classes, group ----------------------------------------------------


def test_a_day_between_grading_periods_fails(onboarding: Onboarding) -> None:
    for period in onboarding.skyward.counts()["grading_periods"]:
        if period["start"] <= TODAY.isoformat() <= period["end"]:
            tomorrow = TODAY + timedelta(days=1)
            onboarding.skyward.act(
                "movePeriod", period=period["sourced_id"], start=tomorrow, end=period["end"]
            )
    failing = onboarding.probe()
    assert (
        f"the next begins on {TODAY + timedelta(days=1)}" in failing["grading periods"]["because"]
    )
    assert "covers today" in failing["licence"]["because"]
    assert onboarding.left() == []


def test_each_mapped_category_must_be_active_for_the_whole_district(
    onboarding: Onboarding,
) -> None:
    onboarding.skyward.configure(
        categories={
            "cat-homework": {"title": "Homework"},
            "cat-otus": {"title": "Otus", "district_level": False},
            "cat-project": {"title": "Projects", "status": "tobedeleted"},
        },
        class_categories={onboarding.evening.classes[0]: ["cat-homework", "cat-otus"]},
    )
    failing = onboarding.failing()
    assert list(failing) == ["category cat-otus", "category cat-project", "category cat-test"]
    assert "not district-level" in failing["category cat-otus"]["because"]
    for category in ("cat-project", "cat-test"):
        assert "lists no active category" in failing[f"category {category}"]["because"]


def test_a_category_that_a_teacher_switched_off_names_the_class(onboarding: Onboarding) -> None:
    class_id = onboarding.evening.classes[1]
    onboarding.skyward.act("setCategory", class_id=class_id, category="cat-test", active=False)
    failing = onboarding.failing()
    assert list(failing) == ["categories in classes"]
    because = f"cat-test is not active in 1 of 3 classes: {class_id}"
    assert failing["categories in classes"]["because"] == because


def test_a_server_without_lists_of_classes_passes_on_those_of_the_district(
    onboarding: Onboarding,
) -> None:
    onboarding.skyward.configure(class_categories_status=501)
    status, lines = onboarding.check()
    assert status == 0
    assert "the district decide" in lines["categories in classes"]["because"]


def test_a_class_that_skyward_does_not_have_is_named(onboarding: Onboarding) -> None:
    gone = onboarding.evening.classes[0]
    onboarding.skyward.act("removeClass", class_id=gone)
    failing = onboarding.probe()
    assert list(failing) == ["classes", "licence", "use grade setting", *PROBED]
    assert gone in failing["classes"]["because"]
    assert gone in failing["licence"]["because"]


def test_work_of_closed_periods_says_nothing_of_todays_classes(onboarding: Onboarding) -> None:
    onboarding.evening.assess("a-9", number=4, assigned_days=-200, due_days=-190)
    onboarding.record()
    onboarding.skyward.act("removeClass", class_id=onboarding.evening.classes[4])
    assert onboarding.failing() == {}


def test_few_types_and_an_empty_group_warn_and_do_not_fail(onboarding: Onboarding) -> None:
    categories = {"Quiz": "cat-test"}
    onboarding.apply(district="hillside", categories=categories, group=None)
    operator = onboarding.operator
    assert operator.passback("district", "check", "hillside", "--json") == 0
    lines = {line["check"]: line for line in json.loads(operator.said)}
    warnings = [name for name, line in lines.items() if line["cure"]]
    assert warnings == ["assessment types", "teacher group"]
    assert "1 of Otus' 12" in lines["assessment types"]["because"]
    assert "no class has come from Otus" in lines["classes"]["because"]


# -- the write probe ------------------------------------------------------------------------


def test_the_write_probe_posts_reads_back_and_leaves_nothing(onboarding: Onboarding) -> None:
    status, lines = onboarding.check("--write-probe", onboarding.evening.classes[0])
    assert status == 0
    assert tuple(lines) == (*WALKED, *PROBED)
    assert onboarding.left() == []
    stored = {
        answer["operation"]: answer["count"]
        for answer in onboarding.skyward.counts()["answers"]
        if answer["operation"].startswith(("put", "delete"))
    }
    assert stored == {"putLineItem": 1, "putResult": 1, "deleteResult": 1, "deleteLineItem": 1}


def test_a_read_only_licence_is_found_by_the_write_probe(onboarding: Onboarding) -> None:
    onboarding.skyward.configure(licensed=False)
    assert onboarding.failing() == {}
    failing = onboarding.probe()
    assert list(failing) == ["licence", "use grade setting", "test line item", "test result"]
    assert "takes no writes" in failing["licence"]["because"]
    assert "licence" in failing["licence"]["cure"]
    assert onboarding.left() == []


@pytest.mark.parametrize(("setting", "stored"), [("percent", "80"), ("mark", "3")])
def test_a_score_that_skyward_converts_names_the_setting(
    onboarding: Onboarding, setting: str, stored: str
) -> None:
    onboarding.skyward.configure(use_grade_when_posting=setting)
    failing = onboarding.probe()
    assert list(failing) == ["use grade setting"]
    line = failing["use grade setting"]
    assert line["because"] == f"8 of 10 points came back as {stored}"
    assert "Use Grade When Posting Secondary Gradebook Assignment Scores" in line["cure"]
    assert onboarding.left() == []


@pytest.mark.parametrize(
    ("what", "line"), [("lineItems", "test line item"), ("results", "test result")]
)
def test_a_success_that_stored_nothing_is_told(
    onboarding: Onboarding, what: str, line: str
) -> None:
    onboarding.skyward.fault("swallow", match=f"PUT .*/{what}/")
    failing = onboarding.probe()
    assert "stored nothing" in failing["licence"]["because"]
    assert "stored nothing" in failing[line]["because"]
    assert onboarding.left() == []


def test_an_item_that_an_earlier_probe_left_is_not_taken_for_this_one(
    onboarding: Onboarding,
) -> None:
    onboarding.skyward.configure(delete_status=405)
    assert list(onboarding.probe()) == ["test item removed"]
    onboarding.skyward.fault("swallow", match="PUT .*/lineItems/")
    sleep(1)  # the title holds the second
    failing = onboarding.probe()
    assert "stored nothing" in failing["test line item"]["because"]


@pytest.mark.parametrize(
    "settings", [{"delete_status": 405}, {"withheld_scopes": ["gradebook.delete"]}]
)
def test_what_cannot_be_deleted_is_told_by_its_place_and_goes_with_the_next_probe(
    onboarding: Onboarding, settings: dict[str, Any]
) -> None:
    onboarding.skyward.configure(**settings)
    failing = onboarding.probe()
    assert list(failing) == ["test item removed"]
    item, result = onboarding.left()
    assert item["title"].startswith("Otus Passback test")
    assert len(item["title"]) < 50
    because = failing["test item removed"]["because"]
    assert item["sourcedId"] in because
    assert item["class"] in because
    assert result["student"] not in onboarding.operator.said
    onboarding.skyward.configure(delete_status=204, withheld_scopes=[])
    assert onboarding.probe() == {}
    assert onboarding.left() == []


def test_a_delete_that_was_answered_with_success_is_not_believed_but_looked_for(
    onboarding: Onboarding,
) -> None:
    onboarding.skyward.fault("swallow", match="DELETE", times=None)
    failing = onboarding.probe()
    assert "answered with success and kept it" in failing["test item removed"]["because"]


def test_a_server_that_refuses_a_token_to_delete_lets_the_one_who_posted_delete(
    onboarding: Onboarding,
) -> None:
    # A policy to delete has the night's own token ask for that scope.
    onboarding.apply(rules={"after_posting": {"removed": "delete"}})
    onboarding.skyward.fault("status", match="POST .*token", skip=1, status=400)
    assert onboarding.probe() == {}
    assert onboarding.left() == []


def test_whatever_fails_on_the_way_the_test_item_is_deleted(onboarding: Onboarding) -> None:
    onboarding.skyward.fault("status", match="PUT .*/results/", times=None, status=500)
    failing = onboarding.probe()
    assert list(failing) == ["licence", "use grade setting", "test result"]
    assert onboarding.left() == []
    onboarding.skyward.clear_faults()
    onboarding.skyward.fault("status", match="GET .*/lineItems/", times=None, status=500)
    failing = onboarding.probe()
    assert "may be left" in failing["test item removed"]["because"]
    assert onboarding.left() == []


def test_who_interrupts_the_probe_leaves_nothing_behind_either(onboarding: Onboarding) -> None:
    onboarding.skyward.fault("hang", match="PUT .*/results/")
    words = ("district", "check", "lakeside", "--write-probe", onboarding.evening.classes[0])
    command = [sys.executable, "-m", "consumer.cli", *words]
    with Popen(command, stdout=PIPE, stderr=PIPE) as process:
        until = monotonic() + 60
        # Until the result was sent and hangs: its line item stands by then.
        while onboarding.skyward.faults():
            assert process.poll() is None, process.communicate()
            assert monotonic() < until
            sleep(0.05)
        assert onboarding.left()
        process.send_signal(SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == b""
    assert onboarding.left() == []


def test_a_class_that_may_not_be_written_fails_the_licence(onboarding: Onboarding) -> None:
    class_id = onboarding.evening.classes[0]
    onboarding.skyward.configure(forbidden_classes=[class_id])
    assert not onboarding.probe()["licence"]["passes"]
    assert onboarding.failing("--write-probe", onboarding.evening.classes[1]) == {}


def test_the_test_item_goes_to_a_category_that_is_active_in_the_class(
    onboarding: Onboarding,
) -> None:
    class_id = onboarding.evening.classes[0]
    for category in ("cat-homework", "cat-otus", "cat-project"):
        onboarding.skyward.act("setCategory", class_id=class_id, category=category, active=False)
    assert list(onboarding.probe()) == ["categories in classes"]
    onboarding.skyward.act("setCategory", class_id=class_id, category="cat-test", active=False)
    assert "no mapped category is active" in onboarding.probe()["licence"]["because"]


def test_a_student_whom_skyward_has_not_in_the_class_is_a_finding(onboarding: Onboarding) -> None:
    student = onboarding.evening.students[0]
    onboarding.skyward.act("removeStudent", student=student)
    failing = onboarding.probe()
    assert "does not know the student" in failing["test result"]["because"]
    assert student not in onboarding.operator.said
    assert onboarding.left() == []


@pytest.mark.parametrize(
    "settings",
    [{"product": "sms2"}, {"wire_form": "lean"}, {"path_style": "split", "client_auth": "body"}],
)
def test_the_probe_speaks_as_the_district_is_set(
    onboarding: Onboarding, settings: dict[str, Any]
) -> None:
    onboarding.apply(skyward=onboarding.settings["skyward"] | settings)
    onboarding.skyward.configure(allocates_ids=True)
    assert onboarding.probe() == {}
    assert onboarding.left() == []


def test_a_class_is_named_by_otus_too_and_needs_no_assessment(onboarding: Onboarding) -> None:
    assert onboarding.failing("--write-probe", "c-2") == {}
    unheard_of = onboarding.evening.classes[5]
    onboarding.skyward.act(
        "setCategory", class_id=unheard_of, category="cat-homework", active=False
    )
    assert onboarding.failing("--write-probe", unheard_of) == {}
    assert onboarding.left() == []


def test_a_probe_leaves_an_audit_row_that_names_no_student(onboarding: Onboarding) -> None:
    onboarding.probe()

    async def audited(pool: Pool) -> list[Any]:
        rows = await pool.fetch("SELECT detail FROM audit WHERE action = 'write_probe'")
        return [row["detail"] for row in rows]

    (detail,) = onboarding.operator.store(audited)
    assert set(detail) == {"class", "line_item"}
    assert detail["class"] == onboarding.evening.classes[0]


@pytest.mark.parametrize("words", [("c-99",), ("\x00",), ()])
def test_a_class_that_nobody_knows_is_status_2_and_posts_nothing(
    onboarding: Onboarding, words: tuple[str, ...]
) -> None:
    check = ("district", "check", "lakeside", "--write-probe")
    assert onboarding.operator.passback(*check, *words) == 2
    assert onboarding.operator.said == ""
    assert onboarding.operator.passback("district", "check", "elsewhere") == 2
    assert "putLineItem" not in str(onboarding.skyward.counts()["answers"])


def test_our_own_postgres_away_is_status_3(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSBACK_DATABASE_URL", "postgresql://x:password@127.0.0.1:1/y")
    assert operator.passback("district", "check", "lakeside") == 3
    assert "Postgres" in operator.told

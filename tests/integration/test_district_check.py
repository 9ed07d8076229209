"""``district check`` against the stand-in: each step of the setup, right and wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, district_settings
from consumer.sandbox.skyward import StandIn, StandInDistrict
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

    def probed(self) -> dict[str, Line]:
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

        async def write(pool: Pool) -> None:
            await record(pool, batch_of(evening), NOW)

        operator.store(write)
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

"""``diff``: what Skyward holds against what we believe it holds."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import main
from consumer.cutoff import Cutoff
from consumer.district import read_district
from consumer.flush.comparing import Compared, Difference, DifferenceKind, differences
from consumer.gradebook import GradeKey, ItemKey, line_item_id, result_id
from consumer.sealing import SealingKeys, new_key
from consumer.store import districts
from tests.integration.nights import Nights

ITEM = ItemKey("quiz", "c-1")
LINE_ITEM = line_item_id("lakeside", ITEM)


def result(student: int) -> str:
    return result_id("lakeside", GradeKey(*ITEM, f"s-{student}"))


async def posted(nights: Nights) -> None:
    """A quiz of four graded students in the first class, and one in the second."""
    for number in range(2):
        nights.evening.assess("quiz", due_days=5, number=number)
        for student in range(4):
            nights.evening.grade("quiz", student, "8", number=number)
    assert (await nights.flush()).results["posted"] == 8


async def compare(nights: Nights, class_id: str | None = None) -> list[Difference]:
    stored = await districts.find(nights.pool, "lakeside")
    assert stored is not None
    async with nights._connect(stored, stored.district) as skyward:
        walk = differences(nights.pool, skyward, "lakeside", class_id, Compared())
        return [found async for found in walk]


async def test_after_a_night_skyward_holds_what_was_posted(nights: Nights) -> None:
    await posted(nights)
    writes = len(nights.writes())
    assert await compare(nights) == []
    assert len(nights.writes()) == writes


async def test_a_score_that_a_teacher_altered_is_told_with_both_values(nights: Nights) -> None:
    await posted(nights)
    nights.skyward.act("changeScore", result=result(1), score="5.5")
    assert await compare(nights) == [
        Difference(ITEM, "s-1", DifferenceKind.ALTERED, Decimal(8), Decimal("5.5"))
    ]


async def test_a_score_that_a_teacher_deleted_is_missing(nights: Nights) -> None:
    await posted(nights)
    nights.skyward.act("deleteResult", result=result(2))
    missing = Difference(ITEM, "s-2", DifferenceKind.MISSING, Decimal(8), None)
    assert await compare(nights) == [missing]


@pytest.mark.parametrize("act", ["deleteLineItem", "removeClass"])
async def test_a_line_item_that_is_gone_is_one_difference_however_many_its_results(
    nights: Nights, act: str
) -> None:
    await posted(nights)
    gone = (
        {"line_item": LINE_ITEM}
        if act == "deleteLineItem"
        else {"class_id": nights.evening.classes[0]}
    )
    nights.skyward.act(act, **gone)
    assert await compare(nights) == [Difference(ITEM, None, DifferenceKind.MISSING, "Quiz", None)]


async def test_a_category_that_a_teacher_chose_is_moved_and_nothing_is_wrong(
    nights: Nights,
) -> None:
    await posted(nights)
    nights.skyward.act("moveLineItem", line_item=LINE_ITEM, category="cat-project")
    assert await compare(nights) == [
        Difference(ITEM, None, DifferenceKind.MOVED, "category cat-test", "category cat-project")
    ]


async def test_a_result_that_we_forgot_is_orphaned(nights: Nights) -> None:
    await posted(nights)
    await nights.pool.execute(
        "UPDATE grade SET sent_score = NULL, sent_status = NULL, sent_origin = NULL,"
        " sent_at = NULL, state = 'skipped', kind = 'skip', reason = 'excluded'"
        " WHERE district_id = 'lakeside' AND student_id = 's-3' AND class_id = 'c-1'"
    )
    orphan = Difference(ITEM, "s-3", DifferenceKind.ORPHANED, None, Decimal(8))
    assert await compare(nights) == [orphan]


async def test_a_line_item_that_we_forgot_is_orphaned(nights: Nights) -> None:
    await posted(nights)
    await nights.pool.execute("DELETE FROM line_item WHERE class_id = 'c-1'")
    orphan = Difference(ITEM, None, DifferenceKind.ORPHANED, None, "Quiz")
    assert await compare(nights) == [orphan]


async def test_one_class_may_be_compared_alone(nights: Nights) -> None:
    await posted(nights)
    nights.skyward.act("changeScore", result=result(1), score="5")
    assert await compare(nights, "c-2") == []
    assert len(await compare(nights, "c-1")) == 1


async def test_ids_that_the_server_chose_are_found(nights: Nights) -> None:
    nights.skyward.configure(allocates_ids=True, put_body="pair")
    await posted(nights)
    assert await compare(nights) == []


async def test_a_server_without_a_list_of_a_classs_results_is_asked_for_each_item(
    nights: Nights,
) -> None:
    await posted(nights)
    nights.skyward.act("changeScore", result=result(1), score="5")
    nights.skyward.fault("status", match="GET .*/classes/[^/]+/results", status=501, times=None)
    assert len(await compare(nights)) == 1


# -- the command ------------------------------------------------------------------------------


@pytest.fixture
async def shell(
    nights: Nights, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Nights:
    """The same district for the commands: its secrets sealed, the environment set."""
    key_file = tmp_path / "sealing.key"
    key_file.write_text(new_key() + "\n")
    for name, value in {
        "DATABASE_URL": database_url,
        "SEALING_KEY_FILE": str(key_file),
        "ALLOW_HTTP": "true",
        "ALLOWED_NETWORKS": "127.0.0.0/8",
    }.items():
        monkeypatch.setenv(f"PASSBACK_{name}", value)
    keys = SealingKeys.from_file(key_file)
    later = Cutoff(nights.now.date(), nights.now)
    await districts.apply(
        nights.pool,
        read_district(nights.settings).district,
        keys.seal("lakeside", "key", nights.skyward.client_id.encode()),
        keys.seal("lakeside", "secret", nights.skyward.client_secret.encode()),
        later,
        later.at,
        nights.now,
    )
    return nights


async def diff(*words: str) -> int:
    return await asyncio.to_thread(main, ["diff", "lakeside", *words])


async def test_the_command_exits_0_and_says_how_much_was_compared(
    shell: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    await posted(shell)
    assert await diff() == 0
    assert "2 line items and 8 results in 2 classes" in capsys.readouterr().out


async def test_the_command_tells_each_difference_as_json_and_exits_1(
    shell: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    await posted(shell)
    shell.skyward.act("changeScore", result=result(1), score="5")
    assert await diff("--class", "c-1", "--json") == 1
    found: Any = json.loads(capsys.readouterr().out)
    assert found == [
        {
            "class": "c-1",
            "assessment": "quiz",
            "student": "s-1",
            "kind": "altered",
            "ours": 8,
            "theirs": 5,
        }
    ]


async def test_the_command_refuses_a_class_that_nobody_knows(
    shell: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await diff("--class", "c-404") == 2
    assert "c-404" in capsys.readouterr().err


async def test_the_command_says_so_when_skyward_is_away_and_tells_nothing_halfway(
    shell: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    await posted(shell)
    shell.skyward.configure(unavailable=True)
    assert await diff("--json") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "could not be read to the end" in told.err

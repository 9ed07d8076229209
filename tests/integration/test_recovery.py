"""A store that is made anew from the log, and a Skyward that holds what was posted before."""

from consumer.gradebook import ItemKey, line_item_id
from tests.integration.nights import Nights

QUIZ = line_item_id("lakeside", ItemKey("quiz", "c-1"))


async def _forget_everything(nights: Nights) -> None:
    """The database is lost; the district is applied again and the log read from its beginning."""
    await nights.pool.execute(
        "TRUNCATE district, grade, assessment, line_item, membership, flush_run, sent,"
        " skyward_district, skyward_class, settings_revision"
    )
    await nights.apply()
    nights.published = 0


async def test_what_was_posted_before_is_sent_again_under_the_same_ids(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    nights.evening.grade("quiz", 1, "9")
    await nights.flush()
    held = list(nights.skyward.gradebook())
    await _forget_everything(nights)
    nights.evening.grade("quiz", 1, "7")
    report = await nights.flush(days=1)
    assert report.results["posted"] == 2
    assert nights.scores() == {"s-0": "8", "s-1": "7"}
    ids = [one["sourcedId"] for one in nights.skyward.gradebook()]
    assert ids == [one["sourcedId"] for one in held]


async def test_a_line_item_that_a_teacher_moved_stays_where_she_moved_it(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.skyward.act("moveLineItem", line_item=QUIZ, category="cat-project")
    await _forget_everything(nights)
    await nights.flush(days=1)
    (item,) = [one for one in nights.skyward.gradebook() if one["sourcedId"] == QUIZ]
    assert item["category"] == "cat-project"
    nights.evening.assess("quiz", due_days=6)
    await nights.flush(days=1)
    (item,) = [one for one in nights.skyward.gradebook() if one["sourcedId"] == QUIZ]
    assert item["category"] == "cat-project"


async def test_only_the_first_run_reads_line_items_before_it_makes_them(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    assert nights.operations("getLineItem") == 1
    nights.evening.assess("essay", due_days=5)
    nights.evening.grade("essay", 0, "8")
    await nights.flush(days=1)
    assert nights.titles() == {"Quiz"}
    assert nights.operations("putLineItem") == 2
    assert nights.operations("getLineItem") == 1

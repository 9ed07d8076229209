"""Runs of one district on the real store and the stand-in Skyward, told the time."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from consumer.flush import schedule, sending
from consumer.gradebook import RunReport
from consumer.store import runs
from tests.integration.nights import Nights
from tests.integration.simulated_time import PACE
from tests.recordables import apply


async def test_a_changed_score_is_sent_and_the_same_score_again_is_not(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    nights.evening.grade("quiz", 1, "9")
    assert (await nights.flush()).results["posted"] == 2
    before = len(nights.writes())

    nights.evening.grade("quiz", 0, "8.0")
    report = await nights.flush()
    assert report.results["posted"] == 0
    assert len(nights.writes()) == before

    nights.evening.grade("quiz", 1, "10")
    report = await nights.flush()
    assert report.results["posted"] == 1
    assert nights.scores() == {"s-0": "8", "s-1": "10"}


async def test_zeros_come_when_the_due_moment_passes_and_a_later_grade_replaces_one(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=2)
    nights.evening.grade("quiz", 0, "8")
    first = await nights.flush()
    assert (first.results["posted"], first.zeros_posted) == (1, 0)

    second = await nights.flush(days=3)
    others = len(nights.evening.students) - 1
    assert (second.results["posted"], second.zeros_posted) == (others, others)

    nights.evening.grade("quiz", 1, "7", submission="late")
    third = await nights.flush()
    assert third.results["posted"] == 1
    assert nights.scores()["s-1"] == "7"
    assert (await nights.flush()).results["posted"] == 0


async def test_no_zero_is_made_while_intake_is_behind_and_the_next_night_makes_it(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    nights.caught_up = False
    report = await nights.flush()
    students = len(nights.evening.students)
    assert report.results["posted"] == 1
    assert report.reasons == {"intake_behind": students - 1}

    nights.caught_up = True
    report = await nights.flush()
    assert report.zeros_posted == students - 1


async def test_the_order_in_which_events_come_makes_no_difference_to_what_is_decided(
    nights: Nights,
) -> None:
    evening = nights.evening
    joined = evening.records.pop()
    for number in range(12):
        name, first = f"quiz-{number}", len(evening.records)
        evening.assess(name, title="x" * 50)
        evening.assess(name)
        evening.grade(name, 0, "8.5")
        evening.grade(name, 0, "8")
        evening.grade(name, 1, "8")
        evening.grade(name, 1, "8.5")
        evening.grade(name, 2, "8", submission="excluded")
        evening.grade(name, 3, "7")
        evening.grade(name, 3, None, completion="turned_in")
        said = evening.records[first:]
        evening.records[first:] = Random(number).sample(said, len(said))
    evening.records.append(joined)
    await nights.flush()
    decided: dict[str, dict[str, str]] = {}
    for row in await nights.pool.fetch("SELECT * FROM grade"):
        told = row["reason"] or f"{row['sent_score']} by {row['sent_origin']}"
        decided.setdefault(row["assessment_id"], {})[row["student_id"]] = told
    zeros = {f"s-{n}": "0 by clock" for n in range(4, len(evening.students))}
    first_four = ("8 by teacher", "score_not_whole", "excluded", "not_graded")
    expected = {f"s-{n}": told for n, told in enumerate(first_four)} | zeros
    assert decided == {f"quiz-{number}": expected for number in range(12)}


async def test_line_items_are_made_while_results_of_those_before_are_on_their_way(
    nights: Nights,
) -> None:
    await nights.apply(skyward=nights.settings["skyward"] | {"max_concurrency": 4})
    for number in range(6):
        nights.evening.assess(f"quiz-{number}", number=number, due_days=5)
        for student in range(6):
            nights.evening.grade(f"quiz-{number}", student, "8", number=number)
    nights.skyward.configure(latency=0.02)
    assert (await nights.flush()).results["posted"] == 36
    made = {one["sourcedId"]: one for one in nights.writes() if one["operation"] == "putLineItem"}
    results: dict[str, list[dict[str, Any]]] = {item: [] for item in made}
    for one in nights.writes():
        if one["operation"] == "putResult":
            results[one["effect"]["lineItem"]].append(one)
    assert [len(of_one) for of_one in results.values()] == [6] * 6
    for item, of_one in results.items():
        assert made[item]["answered_at"] <= min(one["received_at"] for one in of_one)
    for before, item in pairwise(made):
        assert made[item]["received_at"] < max(one["answered_at"] for one in results[before])


async def test_a_batch_that_is_read_back_while_others_are_settled_is_settled_once(
    nights: Nights,
) -> None:
    await nights.apply(skyward=nights.settings["skyward"] | {"max_concurrency": 32})
    for quiz in range(4):
        nights.evening.assess(f"quiz-{quiz}", due_days=5)
        for student in range(25):
            nights.evening.grade(f"quiz-{quiz}", student, "8")
    await nights.record()
    # One result goes alone; then the third batch is the one whose result is slow to be shown.
    nights.skyward.fault("delay", match="GET .*/results/", skip=3, times=1, seconds=1)
    async with (
        nights.pool.acquire() as rival,
        asyncio.TaskGroup() as tasks,
        rival.transaction(),
    ):
        await rival.execute("SELECT FROM grade FOR UPDATE")
        flushing = tasks.create_task(nights.flush())
        # One batch settles, one waits for it, one is read back.
        while nights.skyward.counts()["results"] < sending.WINDOW:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
    report = await flushing
    assert (report.state, report.results["posted"]) == ("done", 100)
    results = [w["sourcedId"] for w in nights.writes() if w["operation"] == "putResult"]
    assert len(results) == len(set(results)) == 100


async def test_what_was_answered_before_skyward_could_not_be_read_is_settled(
    nights: Nights,
) -> None:
    await nights.apply(rules=nights.settings.get("rules", {}) | {"changed_in_skyward": "hold"})
    for quiz in range(3):
        nights.evening.assess(f"quiz-{quiz}", due_days=5)
        for student in range(20):
            nights.evening.grade(f"quiz-{quiz}", student, "8")
    assert (await nights.flush()).results["posted"] == 60
    for quiz in range(3):
        for student in range(20):
            nights.evening.grade(f"quiz-{quiz}", student, "9")
    written = len(nights.writes())
    nights.skyward.configure(latency=0.02)
    # The second item's scores cannot be looked at while those of the first are on their way.
    nights.skyward.fault("status", match="GET .*/results/", skip=25, times=1000, status=500)
    report = await nights.flush()
    answered = len(nights.writes()) - written
    assert report.stopped_by == "skyward_unavailable"
    assert answered > 0
    assert report.results["posted"] == answered


async def test_too_many_zeros_are_all_held_and_everything_else_goes(nights: Nights) -> None:
    zeros = nights.settings["zeros"] | {"max_count": 3, "max_share": 0.5}
    await nights.apply(zeros=zeros)
    nights.evening.assess("quiz")
    nights.evening.grade("quiz", 0, "8")
    report = await nights.flush()
    assert report.results["posted"] == 1
    assert report.reasons == {"zeros_held": len(nights.evening.students) - 1}
    assert nights.scores() == {"s-0": "8"}


async def test_a_rename_is_sent_and_one_beyond_49_leaves_the_title_while_scores_go_on(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.evening.assess("quiz", due_days=5, title="Unit 3")
    assert (await nights.flush()).line_items_posted == 1
    assert nights.titles() == {"Unit 3"}
    nights.evening.assess("quiz", due_days=5, title="x" * 50)
    nights.evening.grade("quiz", 0, "9")
    report = await nights.flush()
    assert (report.line_items_posted, report.results["posted"]) == (0, 1)
    assert nights.titles() == {"Unit 3"}


async def test_a_category_that_the_teacher_chose_is_kept_when_the_item_is_sent_again(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    (item,) = [line for line in nights.skyward.gradebook() if "title" in line]
    nights.skyward.act("moveLineItem", line_item=item["sourcedId"], category="cat-project")
    nights.evening.assess("quiz", due_days=6, title="Moved")
    assert (await nights.flush()).line_items_posted == 1
    (item,) = [line for line in nights.skyward.gradebook() if "title" in line]
    assert (item["title"], item["category"]) == ("Moved", "cat-project")


async def test_what_otus_takes_back_after_posting_is_left_alone_and_reported_as_diverged(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5)
    for student in range(3):
        nights.evening.grade("quiz", student, "8")
    await nights.flush()
    before = len(nights.writes())
    nights.evening.grade("quiz", 0, "8", submission="excluded")
    nights.evening.grade("quiz", 1, None, completion="not_started", submission=None)
    report = await nights.flush(days=10)
    assert report.reasons["diverged"] == 2
    assert nights.scores()["s-0"] == "8"
    zeros = len(nights.evening.students) - 3
    assert len(nights.writes()) == before + zeros


async def test_a_refused_item_is_not_sent_again_until_it_changes(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    nights.skyward.fault("status", match="PUT .*/results/", status=422, times=1)
    report = await nights.flush()
    assert (report.results["posted"], report.results["rejected"]) == (0, 1)
    before = len(nights.writes())
    nights.evening.grade("quiz", 0, "8")
    report = await nights.flush()
    assert len(nights.writes()) == before
    assert report.results["rejected"] == 1
    nights.evening.grade("quiz", 0, "9")
    assert (await nights.flush()).results["posted"] == 1


async def test_without_the_licence_the_district_stops_and_keeps_everything(
    nights: Nights,
) -> None:
    for number in range(4):
        nights.evening.assess("quiz", due_days=5, number=number)
        nights.evening.grade("quiz", 0, "8", number=number)
    nights.skyward.configure(licensed=False)
    report = await nights.flush()
    assert (report.state, report.stopped_by) == ("deferred", "licence_missing")
    assert report.results["deferred"] == 4
    nights.skyward.configure(licensed=True)
    assert (await nights.flush()).results["posted"] == 4


async def test_one_forbidden_class_is_rejected_alone_and_tried_once_a_night(
    nights: Nights,
) -> None:
    for number in range(3):
        nights.evening.assess("quiz", due_days=5, number=number)
        for student in range(4):
            nights.evening.grade("quiz", student, "8", number=number)
    nights.skyward.configure(forbidden_classes=[nights.evening.classes[1]])
    report = await nights.flush()
    assert (report.state, report.results["posted"]) == ("done", 8)
    assert report.reasons == {"forbidden": 4}
    before = len(nights.writes())
    await nights.flush()
    assert len(nights.writes()) == before + 1
    nights.skyward.configure(forbidden_classes=[])
    assert (await nights.flush()).results["posted"] == 4


async def test_a_line_item_deleted_in_skyward_is_sent_again_before_its_result(
    nights: Nights,
) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    (item,) = [line for line in nights.skyward.gradebook() if "title" in line]
    nights.skyward.act("deleteLineItem", line_item=item["sourcedId"])
    nights.evening.grade("quiz", 0, "9")
    report = await nights.flush()
    assert report.results["posted"] == 1
    assert nights.scores() == {"s-0": "9"}


async def test_ids_that_the_server_allocates_are_kept_and_used_again(nights: Nights) -> None:
    nights.skyward.configure(allocates_ids=True, put_body="pair")
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8")
    await nights.flush()
    nights.evening.grade("quiz", 0, "9")
    nights.evening.assess("quiz", due_days=5, title="Renamed")
    report = await nights.flush()
    assert (report.line_items_posted, report.results["posted"]) == (1, 1)
    assert nights.scores() == {"s-0": "9"}
    assert nights.titles() == {"Renamed"}


async def test_a_group_that_is_joined_later_lets_everything_of_the_open_period_pass(
    nights: Nights,
) -> None:
    late = {"user_id": "t-late", "in_sis": True}
    nights.evening.assess("quiz", due_days=5, assigned_by=late)
    nights.evening.grade("quiz", 0, "8")
    assert (await nights.flush()).reasons == {"assigner_not_in_group": 1}
    before = len(nights.writes())
    assert (await nights.flush()).reasons == {}
    assert len(nights.writes()) == before
    nights.evening.join("t-late")
    assert (await nights.flush()).results["posted"] == 1


async def test_a_new_setting_decides_again_what_it_stopped(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8.5")
    assert (await nights.flush()).reasons == {"score_not_whole": 1}
    await nights.apply(rules={"whole_number_rule": "points_possible"})
    assert (await nights.flush()).results["posted"] == 1
    assert nights.scores() == {"s-0": "8.5"}


async def test_what_changed_after_the_cutoff_waits_for_the_next_night(nights: Nights) -> None:
    nights.evening.assess("quiz", due_days=5)
    nights.evening.grade("quiz", 0, "8", after=timedelta(minutes=33))
    assert (await nights.flush()).results["posted"] == 0
    assert (await nights.flush(days=1)).results["posted"] == 1


async def test_a_place_that_a_run_leaves_is_taken_at_once(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_LOOKS_APART", (0.0, 60.0))
    cutoff = nights.cutoff()
    await runs.schedule(nights.pool, "lakeside", cutoff, cutoff.at, 0)
    for name in ("hillside", "seaside"):
        await apply(nights.pool, name, cutoff)
    reports: list[RunReport] = []
    failures: list[Exception] = []
    one_place = schedule.Schedule(
        nights.flusher(),
        replace(PACE, districts_at_once=1),
        lambda district: nullcontext(),
        reports.append,
        lambda district, error: failures.append(error),
    )
    async with asyncio.timeout(20):
        while len(reports) < 3:
            await one_place.start_due()
            await one_place.wait()
    assert {report.district_id for report in reports} == {"hillside", "lakeside", "seaside"}
    assert failures == []

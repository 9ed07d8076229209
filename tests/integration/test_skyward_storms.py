"""A whole night against each thing that a Skyward may do: what passes leaves no trace at all."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web

from consumer.flush import reading_back, schedule
from consumer.gradebook import (
    GradeKey,
    ItemKey,
    Kind,
    Outcome,
    Result,
    line_item_id,
    result_id,
)
from consumer.oneroster import answers
from consumer.sandbox.postgres import Postgres
from consumer.skyward import Skyward, client
from tests.history.clauses import Finding
from tests.integration.disturbed import DisturbedNight, disturbed_night

TIMEOUT = 0.3
RESULT = "PUT .*/results/"
ITEM = "PUT .*/lineItems/"
READ = "GET "
TOKEN = "POST .*/token"


@pytest.fixture
async def night(
    tmp_path: Path, database_url: str, postgres_server: Postgres
) -> AsyncIterator[DisturbedNight]:
    async with disturbed_night(tmp_path, database_url, postgres_server) as built:
        built.renews_tokens = True
        yield built


class Passing(NamedTuple):
    """``times`` requests that match are answered so; of ``repeats`` the writes went once more."""

    match: str
    kind: str
    times: int = 2
    skip: int = 0
    repeats: int = 0
    more: Mapping[str, Any] = MappingProxyType({})


def status(match: str, code: int, times: int = 2, **more: Any) -> Passing:
    return Passing(match, "status", times, more={"status": code, **more})


# After as many runs as it takes, the night is one on which nothing happened.
PASSING = {
    "500": status(RESULT, 500),
    "500 to everything, longer than a run's patience": status("", 500, 40),
    "502, a web page": status(RESULT, 502, shape="html"),
    "503 with Retry-After": status(RESULT, 503, retry_after="0"),
    "504 without a body": status(RESULT, 504, shape="empty"),
    "503 to the line item": status(ITEM, 503),
    "503 to what is read": status(READ, 503, 7),
    "429 in seconds": status(RESULT, 429, retry_after="0"),
    "429 until a date": status(RESULT, 429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429 that says nothing": status(RESULT, 429, 4, shape="empty"),
    "401 once": status(RESULT, 401, 1),
    "slow": Passing("", "delay", 5, more={"seconds": TIMEOUT / 3}),
    "reset before the write": Passing(RESULT, "reset_before"),
    "reset after the write": Passing(RESULT, "reset_after", repeats=2),
    "reset after the line item": Passing(ITEM, "reset_after", 1, repeats=1),
    "reset while reading": Passing(READ, "reset_before", 5),
    "a login page": Passing(RESULT, "login_page"),
    "a login page while reading": Passing(READ, "login_page", 1),
    "half of the JSON": Passing(RESULT, "malformed"),
    "half of the JSON while reading": Passing(READ, "malformed", 1),
    "wrong types in an answer": Passing(RESULT, "wrong_types"),
    "wrong types while reading": Passing(READ, "wrong_types", 1),
    "a redirect": Passing(RESULT, "redirect", 1, skip=3),
    "a redirect while reading": Passing(READ, "redirect", 1),
    "a redirect of the token": Passing(TOKEN, "redirect", 1),
    "the token endpoint down": status(TOKEN, 503, 5),
    "the token endpoint a web page": Passing(TOKEN, "login_page", 1),
    "the token endpoint resets": Passing(TOKEN, "reset_before", 5),
    "a line item that was stored nowhere": Passing(ITEM, "swallow", 1),
}

# A short patience, which a busy machine may outlast as well: such a write goes once more.
SILENT = {
    "hung": Passing(RESULT, "hang"),
    "hung while reading": Passing(READ, "hang"),
    "answered too late": Passing(RESULT, "delay_answer", repeats=2, more={"seconds": 2 * TIMEOUT}),
}

# Bounded patience with one item: what was not sent then goes with the next night.
_ITEM = ItemKey("quiz", "c-2")
_RESULTS = "|".join(result_id("lakeside", GradeKey(*_ITEM, f"s-{n}")) for n in range(6))
CARRIED: dict[str, dict[str, Any]] = {
    "503 to one line item": {
        "kind": "status",
        "match": ITEM + line_item_id("lakeside", _ITEM),
        "times": None,
    },
    "500 to one line item's results": {
        "kind": "status",
        "match": f"{RESULT}({_RESULTS})",
        "status": 500,
        "times": None,
    },
    "a result that was stored nowhere": {"kind": "swallow", "match": RESULT},
    "nothing stored": {"kind": "swallow", "match": RESULT, "times": None},
}


def unexplained(findings: Iterable[Finding], faults: Iterable[Passing]) -> list[Finding]:
    """The findings that are not Skyward's own doing.

    A line item that it only said it stored was acknowledged all the same.
    """
    lied = "line_item_first" if any(fault.kind == "swallow" for fault in faults) else ""
    return [one for one in findings if one.clause != lied]


@dataclass
class Elsewhere:
    """Another host, to which nothing of ours may ever go."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def serve(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(f"{request.method} {request.headers.get('Authorization')}")
        return web.Response(status=201)


@asynccontextmanager
async def elsewhere() -> AsyncIterator[Elsewhere]:
    built = Elsewhere()
    runner = web.ServerRunner(web.Server(built.serve), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    built.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield built
    finally:
        await runner.cleanup()


async def test_what_passes_in_a_night_leaves_the_night_as_if_it_had_not_been(
    night: DisturbedNight,
) -> None:
    undisturbed = await night.run()
    async with elsewhere() as other:
        for name, fault in PASSING.items():

            async def plan(fault: Passing = fault) -> None:
                more = {"location": other.url, **fault.more}
                how = {"match": fault.match, "times": fault.times, "skip": fault.skip, **more}
                night.nights.skyward.fault(fault.kind, **how)

            ending = await night.run(plan)
            assert ending == undisturbed, name
            assert ending.repeated == fault.repeats, name
            assert ending.failures == 0, name
            assert unexplained(ending.findings, [fault]) == [], name
    assert other.asked == []


async def test_a_skyward_that_is_silent_for_a_while_leaves_the_night_as_if_it_had_not_been(
    tmp_path: Path, database_url: str, postgres_server: Postgres
) -> None:
    async with disturbed_night(tmp_path, database_url, postgres_server, patience=TIMEOUT) as night:
        undisturbed = await night.run()
        for name, fault in SILENT.items():

            async def plan(fault: Passing = fault) -> None:
                night.nights.skyward.fault(
                    fault.kind, match=fault.match, times=fault.times, **fault.more
                )

            # What is answered too late stands in Skyward's journal only then.
            ending = await night.run(plan, linger=2 * TIMEOUT if fault.repeats else 0)
            assert ending == undisturbed, name
            assert ending.repeated >= fault.repeats, name
            assert [f for f in ending.findings if f.clause != "nothing_twice"] == [], name


async def test_what_outlasts_a_nights_patience_goes_with_the_next(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_back, "_PAUSE", 0.01)
    undisturbed = await night.run(days=2)
    for name, fault in CARRIED.items():
        time = await night.begin()
        time.pace = replace(time.pace, window=timedelta(minutes=5))
        night.nights.skyward.fault(**fault)
        await time.pass_to(night.evening_at + timedelta(days=1))
        deferred = time.reports[-1].results["deferred"]
        night.nights.skyward.clear_faults()
        second, *again = await time.pass_to(night.evening_at + timedelta(days=2))
        assert second.results["posted"] == deferred > 0, name
        assert all(one.results == second.results for one in again), name
        ending = await night.ending(time)
        assert ending.gradebook == undisturbed.gradebook, name
        assert ending.rows["grade"] == undisturbed.rows["grade"], name
        assert ending.findings == [], name


class Refused(NamedTuple):
    """How one thing is refused, and the reason that it is kept back with."""

    reason: str
    more: dict[str, Any]
    match: str = RESULT


REFUSED = {
    "400": Refused("refused_by_skyward", {"status": 400}),
    "422": Refused("refused_by_skyward", {"status": 422, "shape": "nested"}),
    "a refusal that is a web page": Refused("refused_by_skyward", {"status": 400, "shape": "html"}),
    "a refusal without a body": Refused("refused_by_skyward", {"status": 422, "shape": "empty"}),
    "200 with a failure": Refused("refused_by_skyward", {"status": 400, "shape": "failure_in_200"}),
    "200 that says who is unknown": Refused(
        "student_unknown",
        {"status": 404, "shape": "failure_in_200", "description": "student not found"},
    ),
    "404 of the student": Refused(
        "student_unknown", {"status": 404, "description": "student not enrolled in class"}
    ),
    "404 of the class": Refused(
        "class_unknown", {"status": 404, "description": "class not found"}, ITEM
    ),
    "409": Refused("locked", {"status": 409}),
    "412": Refused("locked", {"status": 412}),
    "a closed period": Refused(
        "refused_grading_period", {"status": 422, "description": "grading period is closed"}
    ),
    "a category": Refused(
        "category_refused", {"status": 422, "description": "category is not active"}, ITEM
    ),
}


async def test_what_is_refused_is_kept_back_alone_and_goes_when_its_payload_changes(
    night: DisturbedNight,
) -> None:
    nights = night.nights
    whole = await night.run()
    for name, one in REFUSED.items():
        time = await night.begin()
        nights.skyward.fault("status", match=one.match, **one.more)
        await time.pass_to(night.evening_at + timedelta(days=1))
        rejected = [r for r in await _decisions(night) if r[1] == "rejected"]
        assert {reason for _, _, reason in rejected} == {one.reason}, name
        held = sorted(map(str, nights.skyward.gradebook()))
        assert len(held) == len(whole.gradebook) - len(rejected) - (one.match == ITEM), name

        # A night on which nothing changed asks nothing in vain.
        before = nights.standin.journal_position()
        await time.pass_to(night.evening_at + timedelta(days=2))
        assert [w for w in nights.writes() if w["seq"] > before] == [], name

        _, class_id, student = rejected[0][0]
        number = int(class_id[2:]) - 1
        nights.evening.assess("quiz", number=number, title="Quiz 1", due_days=5 * number - 3)
        nights.evening.grade("quiz", int(student[2:]), "9", number=number)
        await time.pass_to(night.evening_at + timedelta(days=3))
        assert not [r for r in await _decisions(night) if r[1] == "rejected"], name
        assert len(list(nights.skyward.gradebook())) == len(whole.gradebook), name


async def _decisions(night: DisturbedNight) -> list[Any]:
    return [
        tuple(row)
        for row in await night.direct.fetch(
            "SELECT (assessment_id, class_id, student_id), state, reason FROM grade"
        )
    ]


# -- credentials, and classes that are forbidden ----------------------------------------------


async def test_a_token_that_expires_in_mid_run_is_got_anew_and_nothing_else_happens(
    night: DisturbedNight,
) -> None:
    undisturbed = await night.run()
    skyward = night.nights.skyward
    issued = skyward.counts()["tokens_issued"]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_at_result(night, 10, skyward.expire_tokens))
        ending = await night.run()
    assert ending == undisturbed
    assert len(ending.attempts) == 1
    assert ending.findings == []
    assert skyward.counts()["tokens_issued"] == issued + 2


async def test_a_token_endpoint_that_is_down_when_the_token_expires_delays_the_night(
    night: DisturbedNight,
) -> None:
    undisturbed = await night.run()
    skyward = night.nights.skyward

    def expire() -> None:
        skyward.configure(token_unavailable=True)
        skyward.expire_tokens()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_at_result(night, 10, expire))
        time = await night.begin()
        cutoff = await night.direct.fetchval("SELECT next_cutoff_at FROM district")
        await time.pass_to(cutoff + timedelta(hours=1))
    stopped = time.reports[-1]
    assert (stopped.state, stopped.stopped_by) == ("deferred", "skyward_unavailable")
    skyward.configure(token_unavailable=False)
    await time.pass_to(cutoff + timedelta(hours=2))
    assert await night.ending(time) == undisturbed


async def test_a_secret_that_is_regenerated_in_mid_run_stops_the_district_and_keeps_its_queue(
    night: DisturbedNight,
) -> None:
    undisturbed = await night.run(days=2)
    nights = night.nights
    new: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            _at_result(night, 10, lambda: new.append(nights.skyward.regenerate_secret()))
        )
        time = await night.begin()
        await time.pass_to(night.evening_at + timedelta(days=1))
    (stopped,) = time.reports
    assert (stopped.state, stopped.stopped_by) == ("deferred", "credentials_refused")
    asked = nights.operations("token")
    nights.skyward = replace(nights.skyward, client_secret=new[0])
    report, again = await time.pass_to(night.evening_at + timedelta(days=2))
    assert nights.operations("token") == asked + 2
    assert (report.state, again.results) == ("done", report.results)
    ending = await night.ending(time)
    assert ending.gradebook == undisturbed.gradebook
    assert ending.rows["grade"] == undisturbed.rows["grade"]
    assert ending.findings == []


async def _at_result(night: DisturbedNight, number: int, act: Callable[[], object]) -> None:
    """Does something when Skyward holds so many results."""
    skyward = night.nights.skyward
    skyward.configure(latency=0.01)
    while skyward.counts()["results"] != 0:
        await asyncio.sleep(0)
    while skyward.counts()["results"] < number:
        await asyncio.sleep(0.005)
    act()
    skyward.configure(latency=0)


async def test_a_class_that_is_forbidden_stops_no_other_and_goes_when_it_may(
    night: DisturbedNight,
) -> None:
    undisturbed = await night.run(days=2)
    nights = night.nights
    time = await night.begin()
    nights.skyward.configure(forbidden_classes=[nights.evening.classes[1]])
    await time.pass_to(night.evening_at + timedelta(days=1))
    assert time.reports[-1].reasons == {"forbidden": 6, "score_not_whole": 1}
    nights.skyward.configure(forbidden_classes=[])
    await time.pass_to(night.evening_at + timedelta(days=2))
    ending = await night.ending(time)
    assert ending.gradebook == undisturbed.gradebook
    assert ending.rows["grade"] == undisturbed.rows["grade"]
    assert ending.findings == []


# -- builds that are broken on purpose --------------------------------------------------------


async def _believed(self: reading_back.ReadBack, grades: list[Any]) -> list[Any]:
    return grades


Patch = tuple[Any, str, Any]
NO_READ_BACK: tuple[Patch, ...] = (
    (reading_back.ReadBack, "_goes_alone", lambda self: False),
    (reading_back.ReadBack, "verified", _believed),
)


async def test_a_build_that_reads_nothing_back_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _is_noticed(night, monkeypatch, Passing(RESULT, "swallow", 1), NO_READ_BACK)


async def test_a_build_that_takes_silence_for_success_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Skyward.put_result

    async def hopeful(self: Skyward, result: Result) -> Outcome:
        outcome = await put(self, result)
        return Outcome(Kind.POST) if outcome.unknown else outcome

    patches = (*NO_READ_BACK, (Skyward, "put_result", hopeful))
    await _is_noticed(night, monkeypatch, status(f"{RESULT}({_RESULTS})", 500, 18), patches)


async def test_a_build_that_believes_every_200_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = (*NO_READ_BACK, (answers, "_stored", lambda *of: answers._POSTED[200]))
    await _is_noticed(night, monkeypatch, Passing(RESULT, "login_page"), patches)


async def test_a_build_that_never_tries_again_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches: list[Patch] = [(client, "_TRIES", 1), (schedule, "_PASSES", frozenset())]
    await _is_noticed(night, monkeypatch, status(READ, 503, 1), patches, days=1)


async def test_a_build_that_follows_redirects_is_noticed(
    night: DisturbedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = aiohttp.ClientSession.request

    def followed(self: aiohttp.ClientSession, method: str, url: Any, **how: Any) -> Any:
        return request(self, method, url, **{**how, "allow_redirects": True})

    monkeypatch.setattr(aiohttp.ClientSession, "request", followed)
    async with elsewhere() as other:

        async def plan() -> None:
            night.nights.skyward.fault("redirect", match=RESULT, location=other.url)

        await night.run(plan)
    assert other.asked != []


async def _is_noticed(
    night: DisturbedNight,
    monkeypatch: pytest.MonkeyPatch,
    fault: Passing,
    patches: Sequence[Patch],
    *,
    days: int = 2,
) -> None:
    """That fault leaves no trace with this build, and one with the build so patched."""

    async def plan() -> None:
        how = {"match": fault.match, "times": fault.times, "skip": fault.skip, **fault.more}
        night.nights.skyward.fault(fault.kind, **how)

    undisturbed = await night.run(days=days)
    sound = await night.run(plan, days=days)
    assert (sound.gradebook, sound.findings) == (undisturbed.gradebook, [])
    for patch in patches:
        monkeypatch.setattr(*patch)
    broken = await night.run(plan, days=days)
    assert broken.gradebook != undisturbed.gradebook
    assert "final_value" in {one.clause for one in broken.findings}

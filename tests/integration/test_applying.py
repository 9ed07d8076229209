"""Applying as Kubernetes does it: a mounted directory, by several replicas at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumer.cli.applying import apply_all, read_files
from consumer.district import WEEKDAYS
from consumer.sealing import SealingKeys
from consumer.settings import load
from consumer.store import districts
from consumer.store.connection import Pool, connect
from tests.integration.operators import DISTRICT, Operator, shift_clock


def test_a_directory_stands_for_the_district_files_in_it(operator: Operator) -> None:
    operator.write("b.yaml", district="b")
    operator.write("a.yml", district="a")
    (operator.directory / "c.yaml.orig").write_text("no district file")
    assert operator.passback("district", "apply", str(operator.directory)) == 0, operator.told
    assert [one["district"] for one in operator.answer("district", "list")] == ["a", "b"]


def test_a_directory_without_a_district_file_is_a_mistake(operator: Operator) -> None:
    assert operator.passback("district", "apply", str(operator.directory)) == 2
    assert "holds no district file" in operator.told


def test_what_kubernetes_mounts_anew_changes_nothing(operator: Operator) -> None:
    """A mounted file is a link through ``..data``, which leads elsewhere in every pod."""
    root = operator.directory
    (root / "lakeside.yaml").symlink_to("..data/lakeside.yaml")
    for name in ("lakeside.key", "lakeside.secret", "ca.pem"):
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(f"..data/{name}")
    for pod in ("..2026_11_25_01", "..2026_11_25_02"):
        _mount(operator, root / pod)
        (root / "..data").unlink(missing_ok=True)
        (root / "..data").symlink_to(pod)
        assert operator.passback("district", "apply", str(root)) == 0, operator.told
    shown = operator.answer("district", "show", "lakeside")
    assert shown["revision"] == 1
    assert shown["skyward"]["ca_file"] == str(root / "ca.pem")


def _mount(operator: Operator, pod: Path) -> None:
    pod.mkdir()
    for name in ("lakeside.key", "lakeside.secret", "ca.pem"):
        (pod / name).write_text(f"{name} as it was handed over")
    operator.write(f"{pod.name}/lakeside.yaml", skyward=DISTRICT["skyward"] | {"ca_file": "ca.pem"})


def test_a_machine_that_is_hours_ahead_schedules_tonights_cutoff(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tonight = (datetime.now(UTC) + timedelta(minutes=90)).replace(second=0, microsecond=0)
    shift_clock(monkeypatch, timedelta(hours=3))
    operator.apply(timezone="UTC", cutoff=f"{tonight:%H:%M}", service_days=list(WEEKDAYS))
    listed = operator.answer("district", "list")[0]
    assert datetime.fromisoformat(listed["next_cutoff_at"]) == tonight


def test_a_machine_that_is_hours_behind_schedules_no_cutoff_that_has_passed(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = (datetime.now(UTC) - timedelta(minutes=90)).replace(second=0, microsecond=0)
    shift_clock(monkeypatch, timedelta(hours=-3))
    operator.apply(timezone="UTC", cutoff=f"{passed:%H:%M}", service_days=list(WEEKDAYS))
    listed = operator.answer("district", "list")[0]
    assert datetime.fromisoformat(listed["next_cutoff_at"]) == passed + timedelta(days=1)


async def test_replicas_that_start_together_apply_one_revision(operator: Operator) -> None:
    file = Path(operator.write())
    settings = load()
    keys = settings.require_sealing_key()
    pool = await connect(operator.database_url, size=12)
    try:
        await asyncio.gather(*(_start(pool, file, keys) for _ in range(5)))
        stored = await districts.find(pool, "lakeside")
        revisions = await pool.fetchval("SELECT count(*) FROM settings_revision")
    finally:
        await pool.close()
    assert stored is not None
    assert stored.revision == revisions == 1


async def _start(pool: Pool, file: Path, sealing_key: Path) -> None:
    settings = load()
    wanted = read_files(settings, [file])
    await apply_all(pool, settings, SealingKeys.from_file(sealing_key), wanted, dry_run=False)

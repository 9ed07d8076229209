"""Sealed secrets in a real database: who can open them, while keys come and go."""

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consumer.daemon import connects
from consumer.errors import DistrictStopped
from consumer.sealing import SealingKeys, new_key
from consumer.skyward import Network, Skyward
from consumer.store import districts
from consumer.store.connection import Pool
from tests.integration.operators import Operator


@asynccontextmanager
async def run_of(pool: Pool, key_file: Path, district_id: str) -> AsyncIterator[Skyward]:
    """What a run of the daemon begins with."""
    stored = await districts.find(pool, district_id)
    assert stored is not None
    async with Network() as network:
        connect = connects(lambda: SealingKeys.from_file(key_file), network)
        async with connect(stored, stored.district) as skyward:
            yield skyward


async def opens(pool: Pool, key_file: Path, district_id: str = "lakeside") -> bool:
    try:
        async with run_of(pool, key_file, district_id):
            return True
    except DistrictStopped as stopped:
        told = "".join(traceback.format_exception(stopped))
        assert "the secret" not in told
        assert "another secret" not in told
        return False


def test_a_running_daemon_follows_the_key_file_through_a_rotation(operator: Operator) -> None:
    operator.apply()
    key_file = operator.directory / "sealing.key"
    old, new = key_file.read_text().strip(), new_key()

    async def rotated(pool: Pool) -> list[bool]:
        seen = [await opens(pool, key_file)]
        key_file.write_text(f"{new}\n{old}\n")
        seen.append(await opens(pool, key_file))
        for one in await districts.find_all(pool):
            keys = SealingKeys.from_file(key_file)
            pair = one.sealed_key, one.sealed_secret
            name = one.district.district
            sealed = keys.rotate(name, "key", pair[0]), keys.rotate(name, "secret", pair[1])
            await districts.reseal(pool, name, pair, sealed, one.applied_at)
        seen.append(await opens(pool, key_file))
        key_file.write_text(f"{old}\n")
        seen.append(await opens(pool, key_file))
        key_file.write_text(f"{new}\n")
        seen.append(await opens(pool, key_file))
        return seen

    assert operator.store(rotated) == [True, True, True, False, True]


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_a_key_file_that_went_wrong_stops_the_district_and_is_named(
    operator: Operator, content: str
) -> None:
    operator.apply()
    key_file = operator.directory / "sealing.key"
    key_file.write_text(content)

    async def run(pool: Pool) -> None:
        with pytest.raises(DistrictStopped, match=r"sealing\.key"):
            async with run_of(pool, key_file, "lakeside"):
                raise AssertionError

    operator.store(run)


@pytest.mark.parametrize(
    "moved",
    [
        "sealed_secret = (SELECT sealed_secret FROM district WHERE district_id = 'lakeside')",
        "sealed_key = (SELECT sealed_key FROM district WHERE district_id = 'lakeside')",
        "sealed_key = sealed_secret",
        "sealed_secret = sealed_key",
        "sealed_secret = set_byte(sealed_secret, 40, get_byte(sealed_secret, 40) # 1)",
    ],
)
def test_a_sealed_secret_that_was_moved_or_changed_does_not_open(
    operator: Operator, moved: str
) -> None:
    operator.apply()
    operator.apply(district="hillside")
    key_file = operator.directory / "sealing.key"

    async def move(pool: Pool) -> tuple[bool, bool, bool]:
        before = await opens(pool, key_file, "hillside")
        await pool.execute(f"UPDATE district SET {moved} WHERE district_id = 'hillside'")
        after = await opens(pool, key_file, "hillside")
        return before, after, await opens(pool, key_file, "lakeside")

    assert operator.store(move) == (True, False, True)


def test_no_object_that_holds_a_secret_shows_it(operator: Operator) -> None:
    """What a debugger, an assertion or a careless log line would print."""
    from consumer.cli.applying import read_files
    from consumer.settings import load

    operator.apply()
    (wanted,) = read_files(load(), [operator.directory / "lakeside.yaml"])
    assert wanted.secret == b"the secret"
    keys = SealingKeys.from_file(operator.directory / "sealing.key")

    async def shown(pool: Pool) -> str:
        async with run_of(pool, operator.directory / "sealing.key", "lakeside") as skyward:
            token = skyward._token
            return repr([wanted, keys, skyward, token, token._request, token._request.headers])

    seen = operator.store(shown)
    assert "the secret" not in seen
    assert "the key" not in seen
    assert (operator.directory / "sealing.key").read_text().strip() not in seen

"""One district among fifty whose Skyward is out of order: the others' night is whole."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.history.clauses import results_each
from tests.slow.county import county
from tests.slow.table import Row, Table

BAD = "district-07"
ALWAYS = {"times": None}
DISORDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hung": ({"kind": "hang", **ALWAYS}, {}),
    "reset": ({"kind": "reset_after", **ALWAYS}, {}),
    "500": ({"kind": "status", "status": 500, **ALWAYS}, {}),
    "401": ({"kind": "status", "status": 401, "match": "ims", **ALWAYS}, {}),
    "403": ({}, {"licensed": False}),
    "429": ({"kind": "status", "status": 429, "retry_after": "1", **ALWAYS}, {}),
    "a login page": ({"kind": "login_page", **ALWAYS}, {}),
    "wrong types": ({"kind": "wrong_types", **ALWAYS}, {}),
    "half of the JSON": ({"kind": "malformed", **ALWAYS}, {}),
    "nothing stored": ({"kind": "swallow", "match": "PUT ", **ALWAYS}, {}),
    "slow": ({}, {"latency": 0.5}),
}


@pytest.mark.timeout(900)
async def test_one_bad_district_among_fifty(
    tmp_path: Path, database_url: str, table: type[Table]
) -> None:
    async with county(tmp_path, database_url, patience=2) as fifty:
        await fifty.found([f"district-{n:02}" for n in range(50)], grades=8)
        await fifty.night()
        calm = max(fifty.ended.values())
        whole = fifty.gradebooks()
        del whole[BAD]
        assert {len(held) for held in whole.values()} == {9}
        bad, slowest, lost, doubled = fifty.standing[BAD], 0.0, 0, 0
        for name, (fault, settings) in DISORDERS.items():
            # A calm night beside each bad one: what else this machine does disturbs both.
            await fifty.again()
            await fifty.night()
            calm = max(calm, *fifty.ended.values())
            await fifty.again()
            if fault:
                bad.fault(**fault)
            bad.configure(**settings)
            await fifty.night()
            bad.clear_faults()
            bad.configure(licensed=True, latency=0)
            found = fifty.gradebooks()
            lost += sum(1 for one in whole if found[one] != whole[one])
            for one in fifty.standing.values():
                doubled += sum(n - 1 for n in results_each(one.gradebook()).values())
            assert {one: found[one] for one in whole} == whole, name
            assert fifty.failures == [], name
            slowest = max(slowest, *(fifty.ended[one] for one in whole))
        table.add(
            Row(
                f"one bad district among fifty, in {len(DISORDERS)} ways",
                len(DISORDERS),
                lost,
                doubled,
                0,
                None,
                f"the others' last ended after {slowest:.1f} s, on calm nights after {calm:.1f} s;"
                " on a connection that all share, they wait for the bad one",
            )
        )
        assert slowest < 2 * calm + 1


async def test_a_build_whose_districts_share_their_connections_is_noticed(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **how: connector(**{**how, "limit": 1}))
    async with county(tmp_path, database_url, patience=2) as fifty:
        await fifty.found([f"district-{n:02}" for n in range(50)], grades=8)
        fifty.standing[BAD].fault("hang", times=None)
        await fifty.night()
        # Three times two seconds in which nobody else may ask.
        assert max(after for one, after in fifty.ended.items() if one != BAD) > 6

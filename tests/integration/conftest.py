"""What integration tests share."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from consumer.sandbox.roster import read_roster, with_grading_periods
from consumer.sandbox.schoolday import SCHOOL, district_settings
from consumer.sandbox.skyward import StandIn
from consumer.sealing import new_key
from consumer.skyward import Network
from consumer.store.connection import connect
from tests.evening import Evening
from tests.integration.nights import NOW, ZONE, Nights
from tests.integration.operators import Operator


@pytest.fixture
async def nights(tmp_path: Path, database_url: str) -> AsyncIterator[Nights]:
    today = NOW.astimezone(ZoneInfo(ZONE)).date()
    roster = with_grading_periods(read_roster(SCHOOL / "district"), today)
    with StandIn(SCHOOL / "district", tmp_path / "j", today=today, district="lakeside") as standin:
        skyward = standin.district()
        settings = district_settings(
            roster,
            district_id="lakeside",
            now=NOW,
            timezone=ZONE,
            cutoff="22:00",
            base_url=skyward.base_url,
            token_url=skyward.token_url,
        ) | {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
        pool = await connect(database_url, size=4)
        evening = Evening(roster, "lakeside", NOW)
        async with Network(
            allow_http=True, allowed_networks=[ip_network("127.0.0.0/8")]
        ) as network:
            built = Nights(pool, standin, skyward, settings, evening, network)
            await built.apply()
            yield built
        await pool.close()


@pytest.fixture
def operator(
    tmp_path: Path,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    (tmp_path / "sealing.key").write_text(new_key() + "\n")
    (tmp_path / "lakeside.key").write_text("the key\n")
    (tmp_path / "lakeside.secret").write_text("the secret\n")
    monkeypatch.setenv("PASSBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("PASSBACK_SEALING_KEY_FILE", str(tmp_path / "sealing.key"))
    return Operator(tmp_path, database_url, capsys)

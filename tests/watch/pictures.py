"""Pictures of the dashboards with a night's data, drawn by Grafana's own components.

``make pictures``: takes what ``deploy/dashboards/draw`` built, and Debian's Chromium. Looked at by
people; that a picture is there and not empty is all that is tested.
"""

import json
import shutil
import struct
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.dashboards.__main__ import BOARDS
from tests.unit.test_dashboards import shown
from tests.watch.night import Watched, filled_in

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "deploy/dashboards/draw/dist"
PICTURES = ROOT / "deploy/pictures"
WIDTH, ROW_HEIGHT, SCALE = 1640, 46, 0.75


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_drawn(watched: Watched, tmp_path: Path, name: str) -> None:
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is missing: apt-get install chromium"
    told = answers(watched, name)
    (BUILT / f"{name}.json").write_text(json.dumps(told))
    picture = PICTURES / f"{name}.png"
    picture.unlink(missing_ok=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(BUILT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        draw(chromium, f"http://127.0.0.1:{server.server_port}/?board={name}", name, picture)
        server.shutdown()
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (round(WIDTH * SCALE), round(_height(name) * SCALE))
    assert 30_000 < picture.stat().st_size < 300_000


def answers(watched: Watched, name: str) -> dict[str, Any]:
    """The dashboard, and what Prometheus answers to each of its panels' queries."""
    board = shown(name)
    panels = {}
    for panel in board["panels"]:
        panels[panel["id"]] = [
            {
                "refId": target["refId"],
                "format": target.get("format"),
                "legend": target.get("legendFormat"),
                "result": (watched.at_its_end if target.get("instant") else watched.over_the_night)(
                    filled_in(target["expr"])
                ),
            }
            for target in panel.get("targets", ())
        ]
    return {
        "board": board,
        "panels": panels,
        "from": watched.began * 1000,
        "to": watched.ended * 1000,
    }


def draw(chromium: str, url: str, name: str, picture: Path) -> None:
    """Has headless Chromium draw the page into a PNG."""
    picture.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={WIDTH},{_height(name)}",
            f"--force-device-scale-factor={SCALE}",
            "--virtual-time-budget=20000",
            f"--screenshot={picture}",
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert picture.exists(), done.stderr


def _height(name: str) -> int:
    grid = [panel["gridPos"] for panel in shown(name)["panels"]]
    return 80 + ROW_HEIGHT * max(int(at["y"] + at["h"]) for at in grid)

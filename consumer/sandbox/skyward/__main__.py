"""`python -m consumer.sandbox.skyward`: the stand-in as a process of its own.

Prints one JSON line, `{"port", "pid", "district", "client_id", "client_secret"}`, when it serves.
"""

import argparse
import asyncio
import os
import signal
import sys
from datetime import date
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from consumer.sandbox.roster import RosterError
from consumer.sandbox.skyward.behaviour import Settings
from consumer.sandbox.skyward.control import PREFIX, Control
from consumer.sandbox.skyward.journal import Journal
from consumer.sandbox.skyward.server import Skyward


def main() -> int:
    """Serves until SIGTERM or SIGINT; 2 for wrong arguments, told in one line on stderr."""
    arguments = _arguments()
    try:
        settings = _settings(arguments.settings, arguments.today)
        journal = Journal(arguments.journal)
        skyward = Skyward(arguments.roster, journal, settings)
        skyward.add_district(arguments.district)
        uvloop.run(_serve(skyward, settings, arguments))
    except (OSError, RosterError, msgspec.DecodeError) as error:
        print(f"the stand-in Skyward cannot start: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m consumer.sandbox.skyward", description=__doc__)
    parser.add_argument("--roster", type=Path, required=True, help="OneRoster 1.1 CSV folder")
    parser.add_argument("--host", default="127.0.0.1", help="the address it listens on")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--journal", type=Path, required=True, help="file of requests, appended to")
    parser.add_argument(
        "--today", type=date.fromisoformat, help="YYYY-MM-DD instead of the clock's"
    )
    parser.add_argument("--settings", type=Path, help="JSON of the settings of behaviour.py")
    parser.add_argument("--district", default="district", help="path prefix of the first district")
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="stop when stdin closes, as when a parent dies",
    )
    return parser.parse_args()


def _settings(file: Path | None, today: date | None) -> Settings:
    settings = Settings() if file is None else msgspec.json.decode(file.read_bytes(), type=Settings)
    return settings if today is None else msgspec.structs.replace(settings, today=today)


async def _serve(skyward: Skyward, settings: Settings, arguments: argparse.Namespace) -> None:
    control = Control(skyward, settings)

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.startswith(PREFIX):
            return await control.serve(request)
        return await skyward.serve(request)

    runner = web.ServerRunner(web.Server(serve, access_log=None), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port).start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.end_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _read_or_stop, stop)
    desk = skyward.districts[arguments.district].desk
    ready = {
        "port": runner.addresses[0][1],
        "pid": os.getpid(),
        "district": arguments.district,
        "client_id": desk.client_id,
        "client_secret": desk.client_secret,
    }
    print(msgspec.json.encode(ready).decode(), flush=True)
    await stop.wait()
    await runner.cleanup()
    skyward.journal.close()


def _read_or_stop(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


if __name__ == "__main__":
    sys.exit(main())

"""First intake: the daemon against the bare ceiling loop and FastStream, in alternating rounds.

And then again, into the same rows, where nothing changes: a replay.
"""

from statistics import median

from tests.bench.frame import Bench, Figures
from tests.bench.reading import (
    Reading,
    Stream,
    district_database,
    published,
    read_by_ours,
    read_by_peer,
)

_RECORDS = 400_000
_ROUNDS = 5
_READERS = ("ours", "bare", "faststream")
_RATIOS = (
    ("intake_vs_bare", "ours", "bare"),
    ("intake_vs_faststream", "ours", "faststream"),
    ("replay_vs_intake", "replay", "ours"),
)


async def measure(bench: Bench) -> Figures:
    """Events a second of each reader, in alternating rounds."""
    stream = await published(bench, "intake.", bench.size(_RECORDS))
    rounds: list[dict[str, Reading]] = []
    for number in range(bench.rounds(_ROUNDS)):
        readings: dict[str, Reading] = {}
        for reader in _READERS if number % 2 else reversed(_READERS):
            readings |= await _read(bench, reader, stream)
        rounds.append(readings)
    absolute: dict[str, float] = {}
    for reader in rounds[0]:
        absolute |= _figures(
            "replay" if reader == "replay" else f"intake_{reader}", [r[reader] for r in rounds]
        )
    return Figures(
        {
            ratio: bench.ratio(
                [r[one].per_second for r in rounds], [r[other].per_second for r in rounds]
            )
            for ratio, one, other in _RATIOS
        }
        | {"intake_mib": max(r[one].mib for r in rounds for one in ("ours", "replay"))},
        absolute,
    )


async def _read(bench: Bench, reader: str, stream: Stream) -> dict[str, Reading]:
    async with district_database(bench) as url:
        if reader != "ours":
            return {reader: await read_by_peer(bench, reader, stream, url)}
        return {
            "ours": await read_by_ours(bench, stream, url),
            "replay": await read_by_ours(bench, stream, url),
        }


def _figures(name: str, readings: list[Reading]) -> dict[str, float]:
    hot = [r.hot for r in readings if r.hot is not None]
    return {
        f"{name}_events_per_s": median(r.per_second for r in readings),
        f"{name}_cpu_us_per_event": median(r.own_us for r in readings),
        f"{name}_postgres_us_per_event": median(r.postgres_us for r in readings),
        f"{name}_wal_bytes_per_event": median(r.wal for r in readings),
        f"{name}_dead_rows_per_event": median(r.dead for r in readings),
        f"{name}_mib": max(r.mib for r in readings),
    } | ({f"{name}_hot_share": median(hot)} if hot else {})

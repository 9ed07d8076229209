"""What every command has: the settings, the clocks, the store behind its schema check."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from consumer import daemon
from consumer.errors import UsageError
from consumer.sealing import SealingKeys
from consumer.settings import Settings, load
from consumer.store import districts
from consumer.store.clock import Clock
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict

T = TypeVar("T")

_YEARS: Final = range(1900, 9000)


@dataclass
class Session:
    """One invocation of ``passback``; ``env_file`` is the global option."""

    env_file: Path | None

    @cached_property
    def settings(self) -> Settings:
        """Raises ``UsageError`` with all problems."""
        return load(self.env_file)

    @cached_property
    def sealing_keys(self) -> SealingKeys:
        """Raises ``UsageError`` where the key file is missing or wrong."""
        return SealingKeys.from_file(self.settings.require_sealing_key())

    def with_store(self, work: Callable[[Pool], Awaitable[T]]) -> T:
        """Runs ``work`` on the store; raises ``ServiceUnavailable`` where there is none."""
        settings = self.settings

        async def opened() -> T:
            async with daemon.opened_pool(settings, size=4) as pool:
                return await work(pool)

        return asyncio.run(opened())

    def with_district(
        self, district_id: str, work: Callable[[Pool, StoredDistrict], Awaitable[T]]
    ) -> T:
        """The same for one district; raises ``UsageError`` where none of that id was applied."""

        async def found(pool: Pool) -> T:
            return await work(pool, await find_district(pool, district_id))

        return self.with_store(found)


async def find_district(pool: Pool, district_id: str) -> StoredDistrict:
    """The district; raises ``UsageError`` where none of that id was applied."""
    stored = await districts.find(pool, district_id) if "\x00" not in district_id else None
    if stored is None:
        raise UsageError(f"No district {district_id!r} was applied; see 'passback district list'.")
    return stored


def session_of(ctx: typer.Context) -> Session:
    """The invocation that a command belongs to."""
    session = ctx.find_object(Session)
    assert session is not None  # the app's callback makes it before any command
    return session


def now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


async def now_of_runs(pool: Pool) -> datetime:
    """The time that a run of this machine would go by."""
    clock = Clock(now)
    await clock.compare(pool)
    return clock.now()


def day(text: str) -> date:
    """A date of an option; raises ``UsageError``."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date such as 2026-11-23.") from None
    if found.year not in _YEARS:
        raise UsageError(f"{text!r} is in no year of ours.")
    return found


DistrictId = Annotated[str, typer.Argument(metavar="DISTRICT", help="The district's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

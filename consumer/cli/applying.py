"""Applying district files: all are validated before any is written; the same one is no change."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from consumer.cli.yaml_file import YamlRefused, read_yaml
from consumer.cutoff import Cutoff, next_cutoff
from consumer.district import (
    OTUS_TYPES,
    District,
    DistrictFile,
    DistrictFileInvalid,
    SecretSource,
    read_district,
)
from consumer.errors import UsageError
from consumer.flush.schedule import first_start
from consumer.sealing import SealingKeys
from consumer.settings import Settings
from consumer.store import districts
from consumer.store.clock import database_time
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict


@dataclass(frozen=True, slots=True)
class Wanted:
    """A valid district file with the secrets that it names."""

    district: District
    key: bytes = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one file: ``revision`` is None where it would be the first one."""

    district: District
    revision: int | None
    changed: tuple[str, ...]
    next_cutoff: Cutoff | None

    @property
    def warning(self) -> str | None:
        """What the operator should know although it is no mistake."""
        mapped = len(self.district.categories)
        if mapped >= OTUS_TYPES:
            return None
        return (
            f"{self.district.district}: {mapped} of Otus' {OTUS_TYPES} assessment types are"
            " mapped; assessments of the others will be skipped (category_unmapped)."
        )


def read_files(settings: Settings, files: list[Path]) -> list[Wanted]:
    """Reads and validates all; raises one ``UsageError`` with every mistake of every file.

    A directory among ``files`` stands for the district files in it.
    """
    wanted: list[Wanted] = []
    problems: list[str] = []
    named: dict[str, Path] = {}
    for file in _files(files):
        try:
            one = _read(settings, file)
        except DistrictFileInvalid as error:
            problems += [f"{file}: {path}: {what}" for path, what in error.problems]
            continue
        other = named.setdefault(one.district.district, file)
        if other is not file:
            problems.append(f"{file}: district: {one.district.district} is in {other} too")
        wanted.append(one)
    if problems:
        raise UsageError(
            "\n".join([*problems, "Nothing was applied; correct these and try again."])
        )
    return wanted


def _files(given: list[Path]) -> Iterator[Path]:
    for path in given:
        if not path.is_dir():
            yield path
            continue
        found = sorted(one for one in path.iterdir() if one.suffix in (".yaml", ".yml"))
        if not found:
            raise UsageError(f"{path}: holds no district file, which ends in .yaml or .yml")
        yield from found


def _read(settings: Settings, file: Path) -> Wanted:
    try:
        content, problems = read_yaml(file)
    except YamlRefused as error:
        raise DistrictFileInvalid([("(the file)", str(error))]) from None
    found: DistrictFile | None = None
    try:
        found = read_district(content)
    except DistrictFileInvalid as error:
        problems += error.problems
    if not settings.allow_http:
        problems += _plain_http(content)
    secrets = []
    for what, source in _sources(content):
        try:
            secrets.append(settings.secret(source, file.parent).get_secret_value().encode())
        except UsageError as error:
            kind = "env" if source.env is not None else "file"
            problems.append((f"skyward.{what}_{kind}", str(error)))
    if problems or found is None:
        raise DistrictFileInvalid(problems)
    key, secret = secrets
    return Wanted(_with_absolute_paths(found.district, file.parent), key, secret)


def _plain_http(content: Any) -> Iterator[tuple[str, str]]:
    skyward = content.get("skyward") if isinstance(content, dict) else None
    if not isinstance(skyward, dict):
        return
    for what in ("base_url", "token_url"):
        if str(skyward.get(what)).lower().startswith("http:"):
            yield f"skyward.{what}", "is plain http, which would show the secret; use https"


def _sources(content: Any) -> Iterator[tuple[str, SecretSource]]:
    """Where the secrets are, also of a file that is wrong elsewhere."""
    skyward = content.get("skyward") if isinstance(content, dict) else None
    if not isinstance(skyward, dict):
        return
    for what in ("key", "secret"):
        file, env = skyward.get(f"{what}_file"), skyward.get(f"{what}_env")
        given = [one for one in (file, env) if one]
        if len(given) == 1 and isinstance(given[0], str):
            yield what, SecretSource(file or None, env or None)


def _with_absolute_paths(district: District, beside: Path) -> District:
    ca_file = district.skyward.ca_file
    if ca_file is None:
        return district
    # Links stay: where Kubernetes mounts it, they lead to a name that changes with each pod.
    absolute = os.path.abspath(beside / ca_file)  # noqa: PTH100 - Path.resolve follows links
    skyward = district.skyward.model_copy(update={"ca_file": absolute})
    return district.model_copy(update={"skyward": skyward})


async def apply_all(
    pool: Pool, settings: Settings, keys: SealingKeys, wanted: list[Wanted], *, dry_run: bool
) -> list[Applied]:
    """Applies what differs from what is stored; with ``dry_run`` only says what would."""
    jitter = timedelta(seconds=settings.cutoff_jitter_seconds)
    async with districts.turn_to_apply(pool):
        # By a machine that is behind, a cutoff that has passed would still seem to come.
        at = await database_time(pool)
        return [await _apply(pool, jitter, keys, one, at, dry_run=dry_run) for one in wanted]


async def _apply(
    pool: Pool, jitter: timedelta, keys: SealingKeys, one: Wanted, at: datetime, *, dry_run: bool
) -> Applied:
    district_id = one.district.district
    stored = await districts.find(pool, district_id)
    district = _with_live_since(one.district, stored, at)
    changed = _changed(keys, stored, district, one)
    if stored is not None and not changed:
        return Applied(district, stored.revision, (), None)
    following = next_cutoff(district, at)
    last = await districts.last_service_date(pool, district_id)
    while last is not None and following.service_date <= last:
        following = next_cutoff(district, following.at)
    if dry_run:
        return Applied(district, None, changed, following)
    revision = await districts.apply(
        pool,
        district,
        keys.seal(district_id, "key", one.key),
        keys.seal(district_id, "secret", one.secret),
        following,
        first_start(district_id, following, jitter),
        at,
    )
    return Applied(district, revision, changed, following)


def _with_live_since(district: District, stored: StoredDistrict | None, at: datetime) -> District:
    """Without ``live_since`` in its file a district is live from its first apply on."""
    if district.live_since is not None:
        return district
    first = stored.district.live_since if stored is not None else None
    since = first or at.astimezone(district.zone).date()
    return district.model_copy(update={"live_since": since})


def _changed(
    keys: SealingKeys, stored: StoredDistrict | None, district: District, one: Wanted
) -> tuple[str, ...]:
    """The settings that differ from the stored ones, by path; a secret by its name only."""
    if stored is None:
        return ("everything",)
    before, after = (d.model_dump(mode="json") for d in (stored.district, district))
    changed = list(_differing(before, after, ""))
    for what, sealed, given in (
        ("key", stored.sealed_key, one.key),
        ("secret", stored.sealed_secret, one.secret),
    ):
        try:
            same = keys.open(district.district, what, sealed) == given
        except UsageError:
            same = False  # sealed with a key that is gone: what is given now is sealed anew
        if not same:
            changed.append(f"skyward.{what}")
    return tuple(changed)


def _differing(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            here = f"{path}.{name}" if path else name
            yield from _differing(before.get(name), after.get(name), here)
    elif before != after:
        yield path

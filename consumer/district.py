"""A district's settings: what a district file may say, and what each line of it means.

Pure validation of a mapping (the caller reads the YAML); every mistake is reported with its
path at once. Where the keys and secrets come from stands in the file but never in
``District``: that is what is stored, shown and given to a run.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)

OTUS_TYPES: Final = 12
"""Otus has twelve assessment types; a map with fewer entries is a warning, never an error."""

_ZONES: Final = available_timezones()
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\x00-\x1f\x7f-\x9f]+$")
]
TypeName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _zone(name: str) -> str:
    if name not in _ZONES:
        raise ValueError(f"{name!r} is no IANA time zone, such as America/Chicago")
    return name


def _wall_clock(value: object) -> object:
    # YAML 1.1 reads an unquoted 22:00 as the sexagesimal integer 1320.
    if isinstance(value, int | float):
        raise ValueError('write the time in quotes, such as "22:00"')
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not _WALL_CLOCK.fullmatch(value):
        raise ValueError('is no time of day such as "22:00"')
    return time.fromisoformat(value)


_WALL_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")


def _day(value: object) -> object:
    # Pydantic reads a number as seconds since 1970.
    if isinstance(value, int | float):
        raise ValueError("write the day as 2026-08-24")
    return value


def _not_empty(days: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
    if not days:
        raise ValueError("must name one day at least")
    return days


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_reachable = _is_host(parts) and parts.port != 0
    except ValueError:
        is_reachable = False
    if not is_reachable or parts.scheme not in ("https", "http") or _BLANK.search(value):
        raise ValueError("is no URL such as https://district.skyward.example/")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials; use key_file and secret_file")
    if "?" in value or "#" in value:
        raise ValueError("must end before any ? or #")
    return value


def _is_host(parts: SplitResult) -> bool:
    """Whether a client can make a request to it; raises ``ValueError`` for some that it cannot."""
    name = parts.hostname or ""
    if "[" in parts.netloc:
        return ip_address(name).version == 6
    # What cannot be seen is dropped by one standard of names and refused by the other.
    return name.isprintable() and "\\" not in name and bool(name.encode("idna").decode("idna"))


_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


Zone = Annotated[str, AfterValidator(_zone)]
WallClock = Annotated[time, BeforeValidator(_wall_clock)]
Day = Annotated[date, BeforeValidator(_day)]
Url = Annotated[str, AfterValidator(_url)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Product(StrEnum):
    """Skyward has two products with different APIs."""

    QMLATIV = "qmlativ"
    SMS2 = "sms2"


_PRESETS: Final[Mapping[str, Mapping[str, object]]] = {
    Product.QMLATIV: {"oneroster_version": "1.2", "path_style": "flat", "client_auth": "basic"},
    Product.SMS2: {"oneroster_version": "1.1", "path_style": "flat", "client_auth": "basic"},
}


class Skyward(_Model):
    """How to reach one district's Skyward; nothing here is derived from anything else."""

    product: Product = Product.QMLATIV
    base_url: Url
    token_url: Url
    oneroster_version: Literal["1.1", "1.2"]
    path_style: Literal["flat", "split"]
    client_auth: Literal["basic", "body"]
    wire_form: Literal["standard", "lean"] = "standard"
    page_size: StrictInt = Field(default=1000, ge=1, le=10_000)
    max_concurrency: StrictInt = Field(default=2, ge=1, le=64)
    scopes: tuple[str, ...] | None = None
    # Whether some of what was acknowledged is read back; off for a server that shows no results.
    read_back: bool = True
    ca_file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, data: Any) -> Any:
        if isinstance(data, dict):
            # An unknown product is one mistake, and not one for every line it would have set.
            sms2 = data.get("product") == Product.SMS2
            return {**_PRESETS[Product.SMS2 if sms2 else Product.QMLATIV], **data}
        return data


class AfterPosting(_Model):
    """What to do in Skyward when a posted score is later taken back in Otus."""

    excluded: Literal["leave", "exempt", "delete"] = "leave"
    excused: Literal["leave", "exempt", "delete"] = "leave"
    unassigned: Literal["leave", "exempt", "delete"] = "leave"
    removed: Literal["leave", "exempt", "delete"] = "leave"


class AssignPlusDays(_Model):
    """The due date of an item without one: so many days after it was assigned."""

    assign_plus_days: StrictInt = Field(default=7, ge=0, le=366)


def _which_due_date(value: object) -> str | None:
    if isinstance(value, Mapping | AssignPlusDays):
        return ""
    return "hold" if value == "hold" else None


class Rules(_Model):
    """The guide's rules, where a district may choose."""

    whole_number_rule: Literal["grade", "points_possible"] = "grade"
    due_date_missing: Annotated[
        Annotated[AssignPlusDays, Tag("")] | Annotated[Literal["hold"], Tag("hold")],
        Discriminator(
            _which_due_date,
            custom_error_type="due_date_missing",
            custom_error_message="must be hold or assign_plus_days: 7",
        ),
    ] = AssignPlusDays()
    excused: Literal["hold_back", "exempt"] = "hold_back"
    over_points_possible: Literal["send", "hold"] = "send"
    # A score that somebody changed in Skyward since we posted it, when ours changes again.
    changed_in_skyward: Literal["overwrite", "hold"] = "overwrite"
    after_posting: AfterPosting = AfterPosting()


class Zeros(_Model):
    """Which zeros the clock may make, and when the breaker holds them all."""

    in_progress: bool = True
    plus: bool = False
    retroactive: bool = False
    score_status: Literal["fully graded", "not submitted"] = "fully graded"
    max_count: StrictInt = Field(default=50, ge=0)
    max_share: Decimal = Field(default=Decimal("0.5"), ge=0, le=1)


class District(_Model):
    """One district's settings as stored and as a run uses them; holds no secret."""

    district: Identifier
    name: str = Field(min_length=1, max_length=200)
    timezone: Zone
    cutoff: WallClock
    service_days: Annotated[tuple[Weekday, ...], AfterValidator(_not_empty)] = WEEKDAYS
    effective_date: Day
    live_since: Day | None = None
    skyward: Skyward
    categories: Mapping[TypeName, Identifier] = Field(min_length=1)
    rules: Rules = Rules()
    zeros: Zeros = Zeros()
    group: tuple[Identifier, ...] = ()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def serves(self, day: date) -> bool:
        """Whether ``day`` is a service date."""
        return WEEKDAYS[day.weekday()] in self.service_days


class _SkywardInFile(Skyward):
    key_file: str | None = None
    key_env: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None


class _File(District):
    skyward: _SkywardInFile


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where the API key or its secret is read from: a file's path or a variable's name."""

    file: str | None
    env: str | None


@dataclass(frozen=True, slots=True)
class DistrictFile:
    """A district file that was found valid."""

    district: District
    key: SecretSource
    secret: SecretSource


class DistrictFileInvalid(ValueError):
    """``problems`` lists every mistake as (path, what is wrong), in the file's order."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {what}" for path, what in problems))
        self.problems = problems


def read_district(content: object) -> DistrictFile:
    """Validates a parsed district file; raises ``DistrictFileInvalid`` with all mistakes."""
    problems = list(_source_problems(content))
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise DistrictFileInvalid([_problem(e) for e in error.errors()] + problems) from None
    if problems:
        raise DistrictFileInvalid(problems)
    stored = file.model_dump(mode="json")
    skyward = stored["skyward"]
    sources = {
        what: SecretSource(skyward.pop(f"{what}_file"), skyward.pop(f"{what}_env"))
        for what in ("key", "secret")
    }
    return DistrictFile(District.model_validate(stored), sources["key"], sources["secret"])


def _source_problems(content: object) -> Iterator[tuple[str, str]]:
    # Pydantic would ask this only once all else is right, and stop at the first.
    skyward = content.get("skyward") if isinstance(content, Mapping) else None
    if not isinstance(skyward, Mapping):
        return
    for what in ("key", "secret"):
        if bool(skyward.get(f"{what}_file")) == bool(skyward.get(f"{what}_env")):
            yield f"skyward.{what}_file", f"give exactly one of {what}_file and {what}_env"


def _problem(error: Any) -> tuple[str, str]:
    path = ".".join(str(part) for part in error["loc"] if part != "") or "(the file)"
    if error["type"] == "extra_forbidden":
        return path, "is not known here; correct its spelling or leave it out"
    if error["type"] == "missing":
        return path, "is required"
    if error["type"] == "model_type":
        return path, "must be a mapping of settings to values"
    if error["type"] == "string_pattern_mismatch":
        return path, "must not hold / or a control character"
    message = str(error["msg"]).removeprefix("Value error, ")
    return path, message[0].lower() + message[1:]

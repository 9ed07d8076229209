"""What the image installs: licences that may be passed on, releases, projects that live.

Whether a version has an advisory or was withdrawn only an index knows: ``make audit`` asks it.
"""

import re
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = ROOT / "deploy" / "requirements.txt"

ALLOWED: Final = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"),
    "MPL-2.0",  # certifi's list of authorities, which is passed on as it is
}
"""Licences of what stands in the image, by their SPDX names."""

BETA_BY_NUMBER: Final = {
    "opentelemetry-exporter-http-transport",
    "opentelemetry-exporter-otlp-common",
    "opentelemetry-semantic-conventions",
}
"""Parts of OpenTelemetry's stable SDK, released with it and numbered as betas for ever."""

_SPELLED: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
_BSD: Final = re.compile(
    r"Redistribution and use in source and binary forms.*Neither the name", re.DOTALL
)


def required() -> list[str]:
    """The packages that the lock installs on this machine."""
    lines = [line for line in LOCK.read_text().splitlines() if re.match(r"\w", line)]
    wanted = [Requirement(line.rstrip(" \\")) for line in lines]
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate()]


def licences(package: str) -> set[str]:
    """What a package says of itself, as SPDX names where we know its spelling."""
    told = metadata.metadata(package)
    expression = "".join(told.get_all("License-Expression") or [])
    said = "".join(told.get_all("License") or [])
    if not expression and _BSD.search(said):
        return {"BSD-3-Clause"}
    classified = [
        one.rpartition(" :: ")[2]
        for one in told.get_all("Classifier") or []
        if one.startswith("License :: OSI Approved :: ")
    ]
    words = re.split(r" AND | OR ", expression or said) if expression or said else classified
    return {_SPELLED.get(word.strip("() "), word.strip("() ")) for word in words}


@pytest.mark.parametrize("package", required())
def test_a_package_of_the_image_may_be_passed_on_and_is_alive(package: str) -> None:
    assert licences(package)
    assert licences(package) <= ALLOWED
    told = metadata.metadata(package)
    assert "Development Status :: 7 - Inactive" not in (told.get_all("Classifier") or [])
    version = Version(metadata.version(package))
    assert version.is_prerelease == (package in BETA_BY_NUMBER)
    assert not version.is_devrelease


def test_what_is_installed_here_is_what_the_lock_names() -> None:
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", LOCK.read_text(), re.MULTILINE))
    assert {one: metadata.version(one) for one in required()} == {
        one: pinned[one] for one in required()
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("License: GPL-3.0", {"GPL-3.0"}),
        ("License-Expression: MIT OR (Apache-2.0 AND BUSL-1.1)", {"MIT", "Apache-2.0", "BUSL-1.1"}),
        ("Classifier: License :: OSI Approved :: MIT License", {"MIT"}),
        ("Name: x", set()),
    ],
)
def test_a_licence_that_is_not_allowed_is_seen(
    text: str, found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from email import message_from_string

    monkeypatch.setattr(metadata, "metadata", lambda package: message_from_string(text + "\n\n"))
    assert licences("any") == found

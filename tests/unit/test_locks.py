"""The locks hold what pyproject.toml asks for, and nothing of the machine that made them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUNTIME = PROJECT["project"]["dependencies"]
WANTED = {
    "requirements.txt": [*RUNTIME, *EXTRAS["tracing"]],
    "requirements-dev.txt": [
        *RUNTIME,
        *EXTRAS["tracing"],
        *EXTRAS["sandbox"],
        *EXTRAS["dev"],
        *PROJECT["build-system"]["requires"],
    ],
    "requirements-deploy.txt": [*RUNTIME, *EXTRAS["deploy"]],
    "requirements-bench.txt": [*RUNTIME, *EXTRAS["bench"]],
    "requirements-fuzz.txt": PROJECT["dependency-groups"]["fuzz"],
}


def locked(name: str) -> dict[str, Version]:
    """The version of each package in one lock."""
    lines = (ROOT / "deploy" / name).read_text().splitlines()
    requirements = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"\w", line)]
    return {
        canonicalize_name(one.name): Version(str(one.specifier).removeprefix("=="))
        for one in requirements
    }


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_satisfies_every_requirement_of_the_project(name: str) -> None:
    versions = locked(name)
    unmet = [
        text
        for text in WANTED[name]
        if (found := versions.get(canonicalize_name(Requirement(text).name))) is None
        or found not in Requirement(text).specifier
    ]
    assert not unmet, f"run make lock: {unmet}"


@pytest.mark.parametrize("name", WANTED)
def test_every_line_of_a_lock_is_a_pinned_package_or_its_hash(name: str) -> None:
    for line in (ROOT / "deploy" / name).read_text().splitlines():
        assert re.fullmatch(
            r"[a-z0-9.-]+==[^\s]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        )


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-deploy.txt", "requirements-bench.txt"]
)
def test_what_the_image_has_and_what_checks_it_are_what_was_tested(name: str) -> None:
    tested = locked("requirements-dev.txt")
    assert {
        package: version
        for package, version in locked(name).items()
        if tested.get(package, version) != version
    } == {}

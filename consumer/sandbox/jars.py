"""Apache Kafka's jars: resolved once from Maven coordinates (no Maven needed), then kept.

They lie in ``<cache>/kafka-<version>/``, where ``<cache>`` is ``PASSBACK_SANDBOX_CACHE``, else
``skyward-passback`` in the user's cache directory. The directory appears whole or not at all.
"""

import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from consumer.errors import ServiceUnavailable

KAFKA_VERSION = "4.3.1"
_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",
)
_ATTEMPTS = 3


def jar_directory() -> Path:
    """Where the jars of this version are, or will be."""
    override = os.environ.get("PASSBACK_SANDBOX_CACHE")
    if override:
        cache = Path(override)
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        cache = (Path(base) if base else Path.home() / ".cache") / "skyward-passback"
    return cache.expanduser().resolve() / f"kafka-{KAFKA_VERSION}"


def fetch_jars(tell: Callable[[str], None] = print) -> Path:
    """The directory with all jars, downloaded first (46 MB, about 25 s) when it is missing.

    ``tell`` gets a line of progress now and then. Raises ServiceUnavailable when they cannot be
    had. Several processes may do this at once: the first to finish wins.
    """
    directory = jar_directory()
    if directory.is_dir():
        return directory
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            # A fresh place each time: half a file of a broken attempt would be taken for whole.
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix="fetching-") as place:
                _fetch_into(Path(place), directory, tell)
        # The resolver raises RuntimeError for what no repository has, XML errors (SyntaxError)
        # for a broken project file, and requests' errors, which are OSErrors.
        except (OSError, RuntimeError, SyntaxError, zipfile.BadZipFile) as error:
            if attempt == _ATTEMPTS:
                raise ServiceUnavailable(
                    f"Kafka's jars could not be fetched into {directory}: {error}; check the "
                    "network, or set PASSBACK_SANDBOX_CACHE to a cache that holds them"
                ) from error
            tell(f"Kafka {KAFKA_VERSION}: {error}; trying again")
            time.sleep(attempt)
        else:
            break
    return directory


def _fetch_into(place: Path, directory: Path, tell: Callable[[str], None]) -> None:
    # Imported late: only the first fetch needs it, and it takes a third of a second.
    from jgo.maven import MavenContext, PythonResolver
    from jgo.parse import Endpoint

    tell(f"Kafka {KAFKA_VERSION}: resolving what it needs")
    context = MavenContext(
        resolver=PythonResolver(),
        repo_cache=place / "repository",
        local_repos=[],
        timeout=30,
    )
    wanted = Endpoint.parse("+".join(_COORDINATES)).coordinates
    named, needed = context.resolver.resolve(
        [context.create_dependency(replace(each, scope="compile")) for each in wanted]
    )
    artifacts = [each.artifact for each in (*named, *needed) if each.scope != "test"]
    whole = place / "jars"
    whole.mkdir()
    for number, artifact in enumerate(artifacts, start=1):
        jar = artifact.resolve()
        with zipfile.ZipFile(jar) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"{jar.name} arrived damaged at {broken}")
        shutil.move(jar, whole / jar.name)
        if number % 10 == 0 or number == len(artifacts):
            tell(f"Kafka {KAFKA_VERSION}: {number} of {len(artifacts)} jars")
    try:
        whole.rename(directory)
    except OSError:
        # Another process was faster, and its directory is as good as ours.
        if not directory.is_dir():
            raise


if __name__ == "__main__":
    try:
        fetch_jars()
    except ServiceUnavailable as unavailable:
        print(unavailable, file=sys.stderr)
        sys.exit(3)

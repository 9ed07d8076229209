"""``python -m tests.fuzz TARGET SECONDS``: atheris on one target; status 0 where nothing was found.

What it has learned stays in ``build/fuzz/TARGET`` for the next time; what it finds is written to
``build/fuzz/TARGET-…``, to be mended and made a seed.
"""

import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["consumer", "yaml"], enable_loader_override=False):
    from tests.fuzz.mutator import mutated
    from tests.fuzz.targets import SEEDS, TARGETS

_LARGEST = 8192


def _mutate(data: bytes, largest: int, seed: int) -> bytes:
    changed = mutated(data, Random(seed), lambda raw: atheris.Mutate(raw, len(raw) + 16))
    return changed[:largest]


def main() -> None:
    """Ends the process."""
    target, seconds = sys.argv[1:]
    learned = Path("build/fuzz") / target
    learned.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        str(learned),
        str(SEEDS / target),
        f"-dict={SEEDS.parent / 'words' / target}",
        f"-max_total_time={seconds}",
        f"-artifact_prefix={learned.parent}/{target}-",
        f"-max_len={_LARGEST}",
        "-timeout=5",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, TARGETS[target], custom_mutator=_mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

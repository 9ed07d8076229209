"""What holds for any bytes, asked of the fuzzer's seeds and of what becomes of them."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.cli.yaml_file import parse
from consumer.district import read_district
from tests.fuzz import targets
from tests.fuzz.mutator import flip, mutated
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_holds(target: str) -> None:
    assert len(seeds(target)) > 5
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_what_becomes_of_a_seed_holds(target: str, seed: int) -> None:
    random = Random(seed)
    TARGETS[target](mutated(random.choice(seeds(target)), random, flip(random)))


@pytest.mark.parametrize("name", ["whole", "least"])
def test_some_seeds_are_right_and_not_refused_at_once(name: str) -> None:
    content, _ = parse((targets.SEEDS / "district_file" / name).read_bytes())
    assert read_district(content).district.name


@pytest.mark.parametrize(
    ("target", "name", "broken"),
    [
        ("events", "read", lambda *given: 1 // 0),
        ("events", "_expect_storable", lambda leaf: 1 // 0),
        ("answers", "read_answer", lambda *given, **more: 1 // 0),
        ("answers", "_expect_url", lambda url: 1 // 0),
        ("reading", "_expect_url", lambda url: 1 // 0),
        ("district_file", "parse", lambda data: 1 // 0),
        ("district_file", "next_cutoff", lambda district, at: 1 // 0),
    ],
)
def test_a_target_reaches_what_it_is_for(
    target: str, name: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every claim is asked of one seed at least: a broken one is noticed."""
    monkeypatch.setattr(targets, name, broken)
    with pytest.raises(ZeroDivisionError):
        list(map(TARGETS[target], seeds(target)))

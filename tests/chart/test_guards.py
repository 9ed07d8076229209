"""Wrong values: each file of ``wrong`` is refused, and told what is wrong and where.

Each file's first line is ``# refused: `` and a part of what Helm has to say. It lies over
the example of one district, which is right.
"""

import re
from pathlib import Path

import helm_python as helm
import pytest

from tests.chart.rendering import CHART, merged, read_values, render

WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))
RIGHT = CHART / "examples" / "one-district.yaml"


@pytest.mark.parametrize("file", WRONG, ids=[file.stem for file in WRONG])
def test_wrong_values_are_refused_with_what_is_wrong(file: Path) -> None:
    first, *_ = file.read_text().splitlines()
    assert first.removeprefix("# refused: ") in _refusal(file)


def test_what_they_lie_over_is_right() -> None:
    assert render(read_values(RIGHT))
    assert len(WRONG) >= 25


def test_each_guard_of_the_chart_has_a_wrong_file() -> None:
    """A ``fail`` that no file meets could be dead."""
    template = (CHART / "templates" / "validate.yaml").read_text()
    guards = re.findall(r'\{\{-? fail (?:\(printf )?"([^"]+)"', template)
    assert len(guards) == len(re.findall(r"\bfail\b", template))
    said = [_refusal(file) for file in WRONG]
    for guard in guards:
        words = (re.escape(part) for part in re.split(r"%[sdq]", guard))
        met = re.compile("execution error at .*: " + ".+".join(words))
        assert any(met.search(one) for one in said), guard


def _refusal(file: Path) -> str:
    with pytest.raises(helm.HelmError) as refused:
        render(merged(read_values(RIGHT), read_values(file)))
    return " ".join(str(refused.value).split())

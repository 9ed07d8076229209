"""What ``check`` and ``district check`` say: each thing that was looked at, with its cure."""

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.cli.output import emit_json, show_table


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; one that passes and has a ``cure`` all the same warns."""

    check: str
    passes: bool
    because: str
    cure: str | None = None


def not_asked(check: str, why: str, cure: str = "see to what failed above first") -> Check:
    """A check that could not be made, which is no pass."""
    return Check(check, False, f"not asked: {why}", cure)


def show_checks(checks: Sequence[Check], *, as_json: bool) -> int:
    """Prints each as pass, warn or fail with its cure; returns the exit status."""
    if as_json:
        emit_json(checks)
    else:
        show_table(
            ["check", "", "because", "cure"],
            [(c.check, _verdict(c), c.because, c.cure or "") for c in checks],
            "nothing to check",
        )
    return 0 if all(one.passes for one in checks) else 1


def _verdict(one: Check) -> str:
    if not one.passes:
        return "FAIL"
    return "pass" if one.cure is None else "warn"

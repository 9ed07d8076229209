"""Classes to which Skyward forbids writes: a matter of the class, or of the district's licence."""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from consumer.flush.night import Portion
from consumer.gradebook import Kind, Outcome, Reason, Scope
from consumer.store.settling import SettledGrade

NO_LICENCE: Final = (
    "Skyward refuses every write: the LMS/OneRoster API licence or the write scope is missing"
)
STILL_FORBIDDEN: Final = Outcome(
    Kind.REJECT, Reason.FORBIDDEN, "Skyward forbids writes to this class", Scope.CLASS
)
_CLASSES_THAT_TELL: Final = 3


class ForbiddenClasses:
    """The classes of one run that answered 403, each asked once, and the grades that wait.

    Three of them in a row, or the only class of the run, stand for the district: then what waits
    stays undecided. Otherwise each is refused by itself.
    """

    def __init__(self) -> None:
        self._waiting: Final[dict[str, list[SettledGrade]]] = {}
        self._in_a_row: Final[set[str]] = set()
        self._asked: Final[set[str]] = set()

    def has(self, portion: Portion) -> bool:
        return _class_of(portion) in self._waiting

    def tries_anew(self, portion: Portion, reason: Reason | None) -> bool:
        """One write a night finds out whether a class is still forbidden."""
        return reason is Reason.FORBIDDEN and not self.has(portion)

    def answered(self, portion: Portion, outcome: Outcome) -> None:
        class_id = _class_of(portion)
        self._asked.add(class_id)
        if outcome.kind is Kind.POST:
            self._in_a_row.clear()
        elif outcome.reason is Reason.FORBIDDEN:
            self._waiting.setdefault(class_id, [])
            self._in_a_row.add(class_id)

    @property
    def are_many_in_a_row(self) -> bool:
        return len(self._in_a_row) >= _CLASSES_THAT_TELL

    @property
    def is_the_only_class(self) -> bool:
        return bool(self._waiting) and len(self._asked) == 1

    def wait(self, portion: Portion, settled: SettledGrade) -> None:
        """Whether it is the class's or the district's shows only later in the run."""
        self._waiting.setdefault(_class_of(portion), []).append(settled)

    def waiting(self) -> Iterator[SettledGrade]:
        return chain.from_iterable(self._waiting.values())

    def refused(self) -> list[SettledGrade]:
        """What waited, now that it is each class's own matter; it waits no more."""
        if not self._waiting:
            return []
        refused = list(self.waiting())
        for grades in self._waiting.values():
            grades.clear()
        return refused


def _class_of(portion: Portion) -> str:
    assert portion.item.assessment is not None
    return portion.item.assessment.class_sourced_id

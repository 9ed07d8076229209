"""What a district's Skyward holds: line items and their results, by sourcedId.

Kept lean, because a run leaves 175,000 results here: slots, texts shared with the roster, a link
from a result to its line item instead of its id.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class LineItem:
    """A stored line item. Dates and numbers are the texts that were sent.

    extras holds the fields that no rule looks at (description, metadata, ...), None when none.
    """

    sourced_id: str
    status: str
    modified: float
    title: str
    assign_date: str
    due_date: str
    class_id: str
    school: str | None
    category: str
    grading_period: str | None
    academic_session: str | None
    value_min: str | None
    value_max: str | None
    extras: dict[str, Any] | None
    results: dict[str, "Result"] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """A stored result; `score` is the text of the number, None when it has none."""

    sourced_id: str
    status: str
    modified: float
    line_item: LineItem
    student: str
    score: str | None
    score_status: str
    score_date: str
    extras: dict[str, Any] | None


class Gradebook:
    """All line items and results of one district, listed by sourcedId."""

    def __init__(self) -> None:
        self.line_items: dict[str, LineItem] = {}
        self.results: dict[str, Result] = {}
        self._by_class: dict[str, dict[str, LineItem]] = {}
        self._sorted_items: list[LineItem] | None = None
        self._sorted_results: list[Result] | None = None

    def put_line_item(self, item: LineItem) -> None:
        """Stores a line item in the place of the one with its sourcedId, whose results it keeps."""
        previous = self.line_items.get(item.sourced_id)
        self._sorted_items = None
        if previous is not None:
            item.results = previous.results
            for result in item.results.values():
                result.line_item = item
            self._by_class[previous.class_id].pop(item.sourced_id)
        self.line_items[item.sourced_id] = item
        self._by_class.setdefault(item.class_id, {})[item.sourced_id] = item

    def put_result(self, result: Result) -> None:
        """Stores a result in the place of the one with its sourcedId."""
        previous = self.results.get(result.sourced_id)
        if previous is not None:
            previous.line_item.results.pop(result.sourced_id)
        self._sorted_results = None
        self.results[result.sourced_id] = result
        result.line_item.results[result.sourced_id] = result

    def delete_line_item(self, sourced_id: str) -> None:
        """Removes a line item with all its results; KeyError when it is not there."""
        item = self.line_items.pop(sourced_id)
        self._by_class[item.class_id].pop(sourced_id)
        self._sorted_items = self._sorted_results = None
        for result_id in item.results:
            del self.results[result_id]

    def delete_result(self, sourced_id: str) -> None:
        """Removes a result; KeyError when it is not there."""
        result = self.results.pop(sourced_id)
        result.line_item.results.pop(sourced_id)
        self._sorted_results = None

    def sorted_line_items(self) -> list[LineItem]:
        if self._sorted_items is None:
            self._sorted_items = [self.line_items[key] for key in sorted(self.line_items)]
        return self._sorted_items

    def sorted_results(self) -> list[Result]:
        if self._sorted_results is None:
            self._sorted_results = [self.results[key] for key in sorted(self.results)]
        return self._sorted_results

    def line_items_of(self, class_id: str) -> list[LineItem]:
        return _sorted(self._by_class.get(class_id, {}).values())

    def results_of(self, class_id: str) -> list[Result]:
        items = self._by_class.get(class_id, {}).values()
        return _sorted_results(result for item in items for result in item.results.values())


def _sorted(items: Iterable[LineItem]) -> list[LineItem]:
    return sorted(items, key=lambda item: item.sourced_id)


def _sorted_results(results: Iterable[Result]) -> list[Result]:
    return sorted(results, key=lambda result: result.sourced_id)


def line_item_effect(item: LineItem) -> dict[str, Any]:
    """What a line item says, for the journal and the dump: OneRoster's names, bare references."""
    return {
        "sourcedId": item.sourced_id,
        "class": item.class_id,
        "title": item.title,
        "category": item.category,
        "assignDate": item.assign_date,
        "dueDate": item.due_date,
        "school": item.school,
        "gradingPeriod": item.grading_period,
        "resultValueMin": item.value_min,
        "resultValueMax": item.value_max,
        "status": item.status,
    }


def result_effect(result: Result) -> dict[str, Any]:
    """What a result says, for the journal and the dump; the score is its exact text."""
    return {
        "sourcedId": result.sourced_id,
        "lineItem": result.line_item.sourced_id,
        "class": result.line_item.class_id,
        "student": result.student,
        "score": result.score,
        "scoreStatus": result.score_status,
        "scoreDate": result.score_date,
        "status": result.status,
    }


def dump(gradebook: Gradebook) -> Iterator[dict[str, Any]]:
    """Every line item, then every result, by sourcedId; each with `kind` and `sourcedId`."""
    for item in list(gradebook.sorted_line_items()):
        yield {"kind": "lineItem", **line_item_effect(item)}
    for result in list(gradebook.sorted_results()):
        yield {"kind": "result", **result_effect(result)}

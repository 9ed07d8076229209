"""What students did: each submission as a grade, and what stands where none came."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from consumer.sandbox.assignments import Item
from consumer.sandbox.otus import GRADE, Otus, Record
from consumer.sandbox.seating import Seat
from consumer.sandbox.submissions import Submission


class State(NamedTuple):
    """What one grade event says; ``score`` is JSON text, no ``submission`` is null."""

    score: str
    completion: str
    submission: str


@dataclass(frozen=True, slots=True)
class Grades:
    """Makes the grades of students in the items of their class."""

    otus: Otus

    def of_student(self, items: Sequence[Item], student: str, one: Seat) -> Iterator[Record]:
        """Everything about one student (an Otus id) in all items of a class."""
        handed_in = {work.place: work for work in one.work}
        for place, item in enumerate(items):
            work = handed_in.get(place)
            if work is not None:
                yield from self._submitted(item, student, one.dataset_student, work)
            elif item.due is None or item.due < self.otus.now:
                yield from self._not_submitted(item, student, one.dataset_student)

    def _submitted(
        self, item: Item, student: str, dataset_student: int, work: Submission
    ) -> Iterator[Record]:
        ids = (item.key, student)
        state = self._state(item, work, ids)
        at = self._graded_at(item, work, ids)
        name = f"{item.assessment_id}-{dataset_student}"
        chance = self.otus.chance("grade delivery", *ids)
        version = 1 if chance >= 0.07 else 2
        newest = self.event(item, student, name, version, state, at)
        if self.otus.chance("skew", *ids) < 0.002:  # its clock is ahead of Kafka's
            newest = newest._replace(timestamp_ms=newest.timestamp_ms - 7_200_000)
        if chance < 0.05:
            # The older attempt: sometimes better than what stands now, which does not matter.
            older = State('"97"', "graded", "on_time") if chance < 0.02 else None
            older = older or State("null", "in_progress", "on_time")
            first = self.event(item, student, f"{name}-v1", 1, older, at - timedelta(minutes=40))
            if chance < 0.035:
                yield from (first, newest)
            else:
                yield from (newest, first)
        elif chance < 0.07:
            yield from (newest, newest)
        else:
            yield newest
            if chance > 0.998:  # an equal version changes nothing, whatever it says
                again = state._replace(score='"1"', completion="graded", submission="on_time")
                yield self.event(item, student, f"{name}-again", version, again, at)

    def _state(self, item: Item, work: Submission, ids: tuple[str, str]) -> State:
        due = item.source.due_day
        when = "late" if due is not None and work.day > due else "on_time"
        if work.score is None:
            return State("null", "turned_in", when)
        scale = {"10.5": 10, 10.5: 10, 50: 1, 0: 1}.get(item.points or 0, 1)
        whole = round(work.score / scale)
        if "standards" in item.traits:
            whole = 1 + work.score // 26
        texts = (f'"{whole}"', str(whole), f'"{whole}.0"', f"{whole}.0", f'"{whole}.00"')
        score = texts[min(4, self.otus.draw("spelling", *ids) % 8)]
        chance = self.otus.chance("state", *ids)
        for share, state in (
            (0.040, State(f'"{max(0, whole - 1)}.5"', "graded", when)),
            (0.050, State(f"{max(0, whole - 1)}.5", "graded", when)),
            (0.065, State(score, "graded", "excluded")),
            (0.075, State(score, "graded", "excused")),
            (0.078, State("null", "graded", "excused")),
            (0.098, State("null", "turned_in", when)),
            (0.108, State("null", "in_progress", when)),
            (0.118, State(score, "in_progress", when)),
            (0.121, State("null", "graded", when)),
            (0.122, State('"-1"', "graded", when)),
            (0.132, State(score, "graded", "missing")),
            (0.134, State(f'"{whole}.000000001"', "graded", when)),
            (0.164, State(score, "graded", "")),
        ):
            if chance < share:
                return state
        return State(score, "graded", when)

    def _not_submitted(self, item: Item, student: str, dataset_student: int) -> Iterator[Record]:
        ids = (item.key, student)
        chance = self.otus.chance("nothing", *ids)
        at = max(item.assigned, (item.due or item.assigned)) + timedelta(minutes=1)
        for share, state in (
            (0.30, State("null", "not_started", "missing")),
            (0.33, State("null", "in_progress", "missing")),
            (0.345, State("null", "not_started", "excused")),
            (0.36, State("null", "not_started", "excluded")),
        ):
            if chance < share:
                name = f"{item.assessment_id}-{dataset_student}-nothing"
                yield self.event(item, student, name, 1, state, min(at, self._latest(ids)))
                return

    def _graded_at(self, item: Item, work: Submission, ids: tuple[str, str]) -> datetime:
        late = timedelta(days=max(0, work.day - (item.source.due_day or work.day)) / 6)
        due = item.due or item.assigned + timedelta(days=7)
        lag = timedelta(minutes=90 + self.otus.draw("lag", *ids) % 3000)
        return max(min(due + late + lag, self._latest(ids)), item.assigned)

    def _latest(self, ids: tuple[str, str]) -> datetime:
        return self.otus.now - timedelta(minutes=1 + self.otus.draw("latest", *ids) % 110)

    def event(
        self,
        item: Item,
        student: str,
        name: str,
        version: int,
        state: State,
        at: datetime,
        mode: int | None = None,
    ) -> Record:
        """The event with the id ``name``; ``mode`` 0 is structured, None leaves it to chance."""
        # By hand: a large district's day has some 250,000 of them. Every id here is plain.
        key = f"{self.otus.district}/{item.key}/{student}"
        submission = f'"{state.submission}"' if state.submission else "null"
        data = (
            f'{{"district_id":"{self.otus.district}","assessment_id":"{item.assessment_id}",'
            f'"class_id":"{item.class_id}","student_id":"{student}","version":{version},'
            f'"score":{state.score},"completion":"{state.completion}",'
            f'"submission":{submission}}}'
        )
        return self.otus.enveloped(GRADE, key, name, data.encode(), at, mode)

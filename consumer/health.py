"""What the probes answer: pure judgement of what the process knows of itself.

Alive: a restart would mend nothing. So it asks neither Kafka nor Postgres nor Skyward, but
only whether the parts of this process still move: the event loop, intake, the schedule. They
move while a service is away, because each waits for it with an end and tries again.
Ready: it reads events now; while it is not, a rolling update waits. Started: it once was.
"""

from dataclasses import dataclass
from typing import Final

LOOP_LATE: Final = 30.0
"""Seconds without a tick of the event loop."""

POLL_LATE: Final = 180.0
"""Seconds without a poll; below the 300 after which the consumer leaves its group itself."""

SCHEDULE_LATE: Final = 600.0
"""Seconds without a look at the schedule: more than a pool full of statements that time out."""

ANSWER_LATE: Final = 60.0
"""Seconds without an answer of Kafka; its own session with us ends after 30."""


@dataclass(slots=True)
class Health:
    """The process's parts; each moment is in seconds of one monotonic clock.

    ``ticked``, ``scheduled`` and ``polled``: when the event loop, the schedule and intake last
    moved, ``polled`` None while intake is not in the group. ``assigned``: how many partitions
    it has, None while it has none assigned. ``answer_age``: for how long Kafka has been silent.
    ``waits_for_kafka``: intake ended and is begun again.
    """

    ticked: float
    scheduled: float
    polled: float | None = None
    assigned: int | None = None
    answer_age: float | None = None
    reading_paused: bool = False
    waits_for_kafka: bool = False
    postgres_answers: bool = True
    stopping: bool = False
    joined_once: bool = False

    def not_live(self, now: float) -> list[str]:
        """Why only a restart would help; none while a restart would change nothing."""
        reasons = []
        if now - self.ticked > LOOP_LATE:
            reasons.append(f"the event loop was blocked for {now - self.ticked:.0f} s")
        if self.stopping:
            return reasons
        if self.polled is not None and now - self.polled > POLL_LATE:
            reasons.append(f"intake is stuck: it has not polled for {now - self.polled:.0f} s")
        if now - self.scheduled > SCHEDULE_LATE:
            late = now - self.scheduled
            reasons.append(f"the schedule is stuck: nothing was due-checked for {late:.0f} s")
        return reasons

    def not_ready(self) -> list[str]:
        """Why this replica does not read events now."""
        reasons = []
        if self.waits_for_kafka:
            reasons.append("Kafka does not answer, or not as it must; intake is begun again")
        elif self.assigned is None:
            reasons.append("the consumer group has not assigned partitions yet")
        elif self.reading_paused:
            reasons.append("reading is paused until Postgres answers")
        elif self.answer_age is not None and self.answer_age > ANSWER_LATE:
            reasons.append(f"Kafka has not answered for {self.answer_age:.0f} s")
        if not self.postgres_answers:
            reasons.append("Postgres does not answer")
        if self.stopping:
            reasons.append("it is stopping")
        return reasons

    def not_started(self) -> list[str]:
        """Why it has not begun; Kafka's absence is no reason once its settings are proved."""
        if self.joined_once or self.waits_for_kafka:
            return []
        return ["the consumer group was not joined yet"]

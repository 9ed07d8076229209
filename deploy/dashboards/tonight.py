"""What "tonight" means in PromQL: where each district's run stands, and whether all is safe.

The vector of ``state`` has one value a district. The deadline is two hours after the cutoff,
as in the alert PassbackFlushMissedDeadline. For half a day a night counts as tonight; then the
next one is to come.
"""

from typing import Final

from deploy.dashboards.panels import BLUE, GREEN, GREY, ORANGE, RED, Texts

DEADLINE: Final = 7200
TONIGHT: Final = 43_200
LATE, FAILED, ZEROS, DUE, DONE, WAITING, PAUSED = 5, 4, 3, 2, 0, 1, -1

STATES: Final[Texts] = {
    LATE: ("late", RED),
    FAILED: ("failed", RED),
    ZEROS: ("zeros held", ORANGE),
    DUE: ("running or due", BLUE),
    WAITING: ("to come", GREY),
    DONE: ("done", GREEN),
    PAUSED: ("paused", GREY),
}


class Tonight:
    """The queries for the districts that ``where`` selects, as ``district="x"``; all by default."""

    def __init__(self, where: str = "") -> None:
        self._where: Final = f"{{{', '.join(filter(None, (JOB, where)))}}}"
        self.pending: Final = self.of("pending_grades")
        self.zeros: Final = self.of("zeros_held")
        success = self.of("flush_last_success_timestamp_seconds")
        cutoff = self.of("flush_last_cutoff_timestamp_seconds")
        following = self.of("flush_next_cutoff_timestamp_seconds")
        paused = f"{self.of('district_paused')} > 0"
        self.overdue: Final = f"clamp_min(time() - {following}, 0)"
        self.until_cutoff: Final = f"{following} - time()"
        self.since_success: Final = f"time() - ({success} > 0)"
        self.oldest_pending: Final = f"time() - ({self.of('pending_oldest_timestamp_seconds')} > 0)"
        self.next_cutoff: Final = f"{following} * 1000"
        self.late: Final = f"time() - {following} > {DEADLINE}"
        self.due: Final = f"time() - {following} >= 0"
        self.failed: Final = f"{self.of('flush_failing_since_timestamp_seconds')} > 0"
        self.done: Final = f"({success} >= {cutoff}) and (time() - ({cutoff} > 0) < {TONIGHT})"
        self.coming: Final = (
            f"({following} > time()) and ({following} - time() < 86400)"
            f" unless ({self.done}) unless ({self.failed}) unless ({paused})"
        )
        self.state: Final = " or ".join(
            f"(({which}) * 0 + {value})"
            for which, value in (
                (self.late, LATE),
                (self.failed, FAILED),
                (f"{self.zeros} > 0", ZEROS),
                (self.due, DUE),
                (paused, PAUSED),
                (self.done, DONE),
                (following, WAITING),
            )
        )

    def of(self, metric: str, *by: str) -> str:
        """A gauge by district, and by further labels: every replica shows the same."""
        return f"max by ({', '.join(('job', 'district', *by))}) (passback_{metric}{self._where})"

    def rate(self, metric: str, *by: str) -> str:
        """A counter's rate, summed over replicas."""
        return self._sum("rate", metric, "$__rate_interval", *by)

    def increase(self, metric: str, over: str, *by: str) -> str:
        """What a counter grew by."""
        return self._sum("increase", metric, over, *by)

    def _sum(self, function: str, metric: str, over: str, *by: str) -> str:
        return f"sum by ({', '.join(by)}) ({function}(passback_{metric}{self._where}[{over}]))"


JOB: Final = 'job=~"$job"'


def how_many(districts: str) -> str:
    """How many districts a vector has, 0 where it has none."""
    return f"count({districts}) or vector(0)"

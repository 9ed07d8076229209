"""Every number we expose, each with its help text; the only place that declares metrics.

Base units, timestamps and not ages, 0 for what never was. Every label set that is known
exists from the start, so that a first rejection is an increase and not a new series. The
``district`` label is on counters and gauges only; a switch folds it to "": then counters add
up, counts are summed and timestamps are the earliest, which is the worst.

What the store knows of a district, every replica shows: take ``max by (district)`` of a gauge
and ``sum by (district)`` of a counter's rate.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer import __version__
from consumer.events import TOPICS, QuarantineReason
from consumer.gradebook import Kind, Origin, Reason, RunReport
from consumer.oneroster import Operation

# A second series per counter that tells when it was made, which nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]

_BATCH_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400)
_REQUEST_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FLUSH_SECONDS: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 21_600)

_COUNTED: Final = {
    "posted": tuple(Origin),
    "rejected": tuple(r for r in Reason if r.kind is Kind.REJECT),
    "skipped": tuple(r for r in Reason if r.kind is Kind.SKIP),
}
_HELD: Final = tuple(r for r in Reason if r.kind is Kind.HOLD)

CIRCUIT: Final = (
    Reason.CREDENTIALS_REFUSED,
    Reason.LICENCE_MISSING,
    Reason.USE_GRADE_SETTING_ON,
    Reason.SKYWARD_UNAVAILABLE,
    Reason.THROTTLED,
)
"""Why a district's Skyward stops a whole run."""

_WRITES: Final = tuple(str(o) for o in Operation if o is not Operation.READ)
OPERATIONS: Final = (
    "token",
    *_WRITES,
    *("get_sessions", "get_terms", "get_grading_periods", "get_categories"),
    *("get_class_categories", "get_classes", "get_class", "get_students"),
    *("get_line_item", "get_class_line_items"),
    *("get_result", "get_results", "get_class_results"),
)
"""Everything that Skyward is asked."""

UNANSWERED: Final = ("timeout", "connect", "reset", "tls", "refused_address", "cancelled")
"""Why a request has no HTTP status."""

_EXPECTED_CODES: Final = ("200", "401", "403", "404", "429", "500", "503", "timeout", "connect")
_EXPECTED_OF_WRITES: Final = ("201", "204", "400", "409", "422", "reset")
_CODES: Final = frozenset({*(str(int(status)) for status in HTTPStatus), *UNANSWERED})


class FlushResult(StrEnum):
    """How a run of the daemon ended: the label of ``passback_flush_runs_total``."""

    DONE = "done"
    DEFERRED = "deferred"


class DistrictGauge(Collector):
    """A gauge per district, or one over all of them, folded from what each was set to."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        meaning: str,
        *,
        per_district: bool,
        fold: Callable[[Iterable[float]], float],
        reasons: tuple[Reason, ...] | None = None,
    ) -> None:
        self._name: Final = name
        self._meaning: Final = meaning
        self._per_district: Final = per_district
        self._fold: Final = fold
        self._reasons: Final = reasons
        self._values: Final = dict[str, dict[Reason | None, float]]()
        registry.register(self)

    def set(self, district: str, value: float, reason: Reason | None = None) -> None:
        """Sets one district's value; a gauge with reasons is set for one of them."""
        self._values.setdefault(district, self._zeros())[reason] = value

    def add_district(self, district: str) -> None:
        """Makes the district's series, at 0, unless they are there."""
        self._values.setdefault(district, self._zeros())

    def remove_district(self, district: str) -> None:
        """Drops the district's series, or its share of the folded ones."""
        self._values.pop(district, None)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks of a collector."""
        labels = ["district"] if self._reasons is None else ["district", "reason"]
        family = GaugeMetricFamily(self._name, self._meaning, labels=labels)
        shown = self._values if self._per_district else {"": self._folded()}
        for district, values in list(shown.items()):
            for reason, value in values.items():
                family.add_metric([district] if reason is None else [district, reason], value)
        yield family

    def _zeros(self) -> dict[Reason | None, float]:
        return dict.fromkeys((None,) if self._reasons is None else self._reasons, 0.0)

    def _folded(self) -> dict[Reason | None, float]:
        each = list(self._values.values())
        return {reason: self._fold(one[reason] for one in each) for reason in self._zeros()}


def _earliest(timestamps: Iterable[float]) -> float:
    return min((timestamp for timestamp in timestamps if timestamp), default=0.0)


def _latest(timestamps: Iterable[float]) -> float:
    return max(timestamps, default=0.0)


class Metrics:
    """All metrics of one process, in ``registry``.

    ``topic_prefix`` stands before each of ``events.TOPICS``; where a method takes a topic, it
    is one of these, without the prefix. Methods that take a district make its series.
    """

    def __init__(
        self, registry: CollectorRegistry, per_district: bool, topic_prefix: str = "otus."
    ) -> None:
        self.registry: Final = registry
        self._per_district: Final = per_district
        self._prefix: Final = topic_prefix
        self._districts: Final = set[str]()
        self._declare_intake(registry)
        self._declare_store(registry)
        self._declare_flush(registry)
        self._declare_skyward(registry)
        self._declare_process(registry)
        if not per_district:
            self._make_district_counters("")

    # -- districts --------------------------------------------------------------------------

    def add_district(self, district: str) -> None:
        """Makes every series of a district, at 0; a district that is there is left alone."""
        if district in self._districts:
            return
        self._districts.add(district)
        for gauge in self._district_gauges:
            gauge.add_district(district)
        if self._per_district:
            self._make_district_counters(district)

    def remove_district(self, district: str) -> None:
        """Drops every series of a district that left."""
        self._districts.discard(district)
        for gauge in self._district_gauges:
            gauge.remove_district(district)
        if self._per_district:
            for counter in self._district_counters:
                counter.remove_by_labels({"district": district})

    def keep_districts(self, districts: Iterable[str]) -> None:
        """Adds those that are new and removes all others."""
        wanted = set(districts)
        for district in self._districts - wanted:
            self.remove_district(district)
        for district in wanted:
            self.add_district(district)

    def _label(self, district: str) -> str:
        self.add_district(district)
        return district if self._per_district else ""

    def _make_district_counters(self, label: str) -> None:
        for name, words in _COUNTED.items():
            for word in words:
                self._grades[name].labels(label, word)
        for result in FlushResult:
            self._flush_runs.labels(label, result)
        self._line_items_posted.labels(label)

    # -- intake -----------------------------------------------------------------------------

    def _declare_intake(self, registry: CollectorRegistry) -> None:
        def by_topic(name: str, meaning: str) -> Counter:
            counter = Counter(f"passback_events_{name}", meaning, ["topic"], registry=registry)
            for topic in TOPICS:
                counter.labels(self._prefix + topic)
            return counter

        self._events = {
            "consumed": by_topic("consumed", "Kafka records that were read."),
            "recorded": by_topic("recorded", "Events that changed what is stored."),
            "stale": by_topic(
                "stale", "Events no newer than what is stored, which changed nothing."
            ),
        }
        self._events_quarantined = Counter(
            "passback_events_quarantined",
            "Events that could not be read or applied and went to quarantine.",
            ["reason"],
            registry=registry,
        )
        for reason in QuarantineReason:
            self._events_quarantined.labels(reason)
        self._event_age = Histogram(
            "passback_event_age_seconds",
            "Age of the oldest record of each batch, by its Kafka timestamp, once it was durable.",
            buckets=_AGE_SECONDS,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "passback_intake_batch_duration_seconds",
            "Time from a batch's arrival until it was durable in Postgres.",
            buckets=_BATCH_SECONDS,
            registry=registry,
        )
        self._lag = Gauge(
            "passback_consumer_lag_records",
            "Kafka records of an assigned partition that are not stored yet.",
            ["topic", "partition"],
            registry=registry,
        )
        self._assigned = Gauge(
            "passback_assigned_partitions",
            "Partitions assigned to this replica.",
            registry=registry,
        )
        self._rebalances = Counter(
            "passback_rebalances",
            "Times that this replica's partitions were assigned anew.",
            registry=registry,
        )
        self._last_poll = Gauge(
            "passback_last_poll_timestamp_seconds",
            "When Kafka last answered for the partition it has been silent about longest.",
            registry=registry,
        )
        self._last_event = Gauge(
            "passback_last_event_timestamp_seconds",
            "When a record was last read.",
            registry=registry,
        )
        self._behind_since = Gauge(
            "passback_consumer_behind_since_timestamp_seconds",
            "Since when an assigned partition has records that are not stored, at the earliest;"
            " 0 where it has none.",
            ["topic", "partition"],
            registry=registry,
        )

    def count_batch(
        self,
        *,
        consumed: Mapping[str, int],
        recorded: Mapping[str, int],
        stale: Mapping[str, int],
        quarantined: Mapping[str, int],
        seconds: float,
        oldest_age: float,
        at: datetime,
    ) -> None:
        """One durable batch: counts by topic, quarantined by reason; ages in seconds."""
        for name, counts in (("consumed", consumed), ("recorded", recorded), ("stale", stale)):
            for topic, count in counts.items():
                self._events[name].labels(self._prefix + topic).inc(count)
        for reason, count in quarantined.items():
            self._events_quarantined.labels(QuarantineReason(reason)).inc(count)
        self._batch_seconds.observe(seconds)
        self._event_age.observe(max(oldest_age, 0.0))
        self._last_event.set(at.timestamp())

    def polled(self, at: datetime) -> None:
        """Kafka has answered for every assigned partition since ``at``."""
        self._last_poll.set(at.timestamp())

    def set_lag(
        self, topic: str, partition: int, records: int, behind_since: datetime | None
    ) -> None:
        """One assigned partition's lag: records, and since when, None where there is none."""
        labels = (self._prefix + topic, str(partition))
        self._lag.labels(*labels).set(records)
        self._behind_since.labels(*labels).set(_timestamp(behind_since))

    def rebalanced(self, partitions: int) -> None:
        """So many partitions are assigned now; the lag of those that left goes with them."""
        self._rebalances.inc()
        self._unassigned(partitions)

    def left_group(self) -> None:
        """This replica reads nothing until it has joined again."""
        self._unassigned(0)

    def _unassigned(self, partitions: int) -> None:
        self._assigned.set(partitions)
        self._lag.clear()
        self._behind_since.clear()

    # -- store ------------------------------------------------------------------------------

    def _declare_store(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(f"passback_{name}", meaning, registry=registry)

        self._quarantined_events = gauge(
            "quarantined_events",
            "Events that wait in quarantine; only the replica that reads partition 0 of the"
            " grades exports more than 0.",
        )
        self._pool_size = gauge("pool_size", "Open connections to Postgres.")
        self._pool_in_use = gauge("pool_in_use", "Connections to Postgres that are in use.")
        self._pool_waiting = gauge("pool_waiting", "Tasks that wait for a connection to Postgres.")

    def set_quarantined(self, events: int) -> None:
        """So many events wait in quarantine."""
        self._quarantined_events.set(events)

    def set_pool(self, *, size: int, in_use: int, waiting: int) -> None:
        """The connection pool as it is now."""
        self._pool_size.set(size)
        self._pool_in_use.set(in_use)
        self._pool_waiting.set(waiting)

    def set_pending(self, district: str, grades: int, oldest: datetime | None) -> None:
        """A district's pending grades, and since when the oldest is pending."""
        self._label(district)
        self._pending.set(district, grades)
        self._pending_oldest.set(district, _timestamp(oldest))

    # -- flush ------------------------------------------------------------------------------

    def _declare_flush(self, registry: CollectorRegistry) -> None:
        def gauge(
            name: str,
            meaning: str,
            fold: Callable[[Iterable[float]], float] = sum,
            reasons: tuple[Reason, ...] | None = None,
        ) -> DistrictGauge:
            return DistrictGauge(
                registry,
                f"passback_{name}",
                meaning,
                per_district=self._per_district,
                fold=fold,
                reasons=reasons,
            )

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            names = ["district", *labels]
            return Counter(f"passback_{name}", meaning, names, registry=registry)

        self._pending = gauge("pending_grades", "Grades that wait for a decision or a run.")
        self._pending_oldest = gauge(
            "pending_oldest_timestamp_seconds",
            "Since when the oldest pending grade waits; 0 where none does.",
            _earliest,
        )
        self._held = gauge(
            "grades_held", "Grades that the last run held, by reason.", reasons=_HELD
        )
        self._zeros_held = gauge("zeros_held", "Zeros that wait for an operator's decision.")
        self._last_success = gauge(
            "flush_last_success_timestamp_seconds",
            "When a run last ended done, by night or by hand; 0 where none ever did.",
            _earliest,
        )
        self._failing_since = gauge(
            "flush_failing_since_timestamp_seconds",
            "The first cutoff since the last success whose run was given up; 0 where there is none,"
            " and while the district is paused.",
            _earliest,
        )
        self._next_cutoff = gauge(
            "flush_next_cutoff_timestamp_seconds",
            "The cutoff whose run is the next to end; in the past while it is due or goes on.",
            _earliest,
        )
        self._last_cutoff = gauge(
            "flush_last_cutoff_timestamp_seconds",
            "The newest cutoff that has passed, whatever became of its run; 0 before the first.",
            _earliest,
        )
        self._longest_gap = gauge(
            "flush_longest_gap_seconds",
            "The longest time between two cutoffs that the district's service days allow.",
            _latest,
        )
        self._in_progress = gauge("flush_in_progress", "Whether a run goes on in this replica.")
        self._paused = gauge("district_paused", "Whether an operator paused the district.")
        self._settings_applied = gauge(
            "district_settings_applied_timestamp_seconds",
            "When the settings that the next run reads were applied.",
            _latest,
        )
        self._circuit = gauge(
            "skyward_circuit_open",
            "Whether the newest run was stopped as a whole, and by which reason.",
            reasons=CIRCUIT,
        )
        self._token_expiry = gauge(
            "skyward_token_expiry_timestamp_seconds",
            "When the token of the run in progress expires; 0 while no run has one.",
            _earliest,
        )
        self._district_gauges = (
            self._pending,
            self._pending_oldest,
            self._held,
            self._zeros_held,
            self._last_success,
            self._failing_since,
            self._next_cutoff,
            self._last_cutoff,
            self._longest_gap,
            self._in_progress,
            self._paused,
            self._settings_applied,
            self._circuit,
            self._token_expiry,
        )
        self._grades = {
            "posted": counter("grades_posted", "Grades that Skyward acknowledged.", "origin"),
            "rejected": counter("grades_rejected", "Grades that Skyward refused.", "reason"),
            "skipped": counter("grades_skipped", "Grades that a rule stopped.", "reason"),
        }
        self._line_items_posted = counter(
            "line_items_posted", "Line items that Skyward acknowledged."
        )
        self._flush_runs = counter("flush_runs", "Nightly runs that ended.", "result")
        self._district_counters = (
            *self._grades.values(),
            self._line_items_posted,
            self._flush_runs,
        )
        self._window = Gauge(
            "passback_flush_window_seconds",
            "How long after its cutoff a run may go on or be tried again.",
            registry=registry,
        )
        self._flush_seconds = Histogram(
            "passback_flush_duration_seconds",
            "Time that a nightly run took.",
            buckets=_FLUSH_SECONDS,
            registry=registry,
        )

    def count_posted(self, district: str, origin: Origin, grades: int = 1) -> None:
        """Grades whose decision changed to posted."""
        self._grades["posted"].labels(self._label(district), origin).inc(grades)

    def count_rejected(self, district: str, reason: Reason, grades: int = 1) -> None:
        """Grades whose outcome changed to this rejection."""
        self._grades["rejected"].labels(self._label(district), reason).inc(grades)

    def count_skipped(self, district: str, reason: Reason, grades: int = 1) -> None:
        """Grades whose decision changed to this skip."""
        self._grades["skipped"].labels(self._label(district), reason).inc(grades)

    def count_line_items_posted(self, district: str, line_items: int = 1) -> None:
        """Line items that Skyward acknowledged."""
        self._line_items_posted.labels(self._label(district)).inc(line_items)

    def set_held(self, district: str, grades: Mapping[Reason, int]) -> None:
        """What the last run held by reason; a reason that is not named holds none."""
        self._label(district)
        for reason in _HELD:
            self._held.set(district, grades.get(reason, 0), reason)

    def set_zeros_held(self, district: str, zeros: int) -> None:
        """Zeros that wait for an operator."""
        self._label(district)
        self._zeros_held.set(district, zeros)

    def set_next_cutoff(self, district: str, at: datetime) -> None:
        """The district's next cutoff."""
        self._label(district)
        self._next_cutoff.set(district, at.timestamp())

    def set_last_cutoff(self, district: str, at: datetime | None) -> None:
        """The district's newest cutoff that has passed."""
        self._label(district)
        self._last_cutoff.set(district, _timestamp(at))

    def set_longest_gap(self, district: str, seconds: float) -> None:
        """How far apart two cutoffs of the district may be."""
        self._label(district)
        self._longest_gap.set(district, seconds)

    def set_window(self, seconds: float) -> None:
        """How long a run may take after its cutoff."""
        self._window.set(seconds)

    def set_paused(self, district: str, paused: bool) -> None:
        """Whether the district is paused now."""
        self._label(district)
        self._paused.set(district, paused)

    def set_settings_applied(self, district: str, at: datetime) -> None:
        """When the district's settings were applied."""
        self._label(district)
        self._settings_applied.set(district, at.timestamp())

    def set_circuit(self, district: str, stopped_by: str | None) -> None:
        """What stopped the newest run as a whole: a reason's code, None where nothing did."""
        self._label(district)
        for reason in CIRCUIT:
            self._circuit.set(district, reason == stopped_by, reason)

    def set_last_success(self, district: str, at: datetime | None) -> None:
        """When a run last ended done, as the store remembers it."""
        self._label(district)
        self._last_success.set(district, _timestamp(at))

    def set_failing_since(self, district: str, cutoff: datetime | None) -> None:
        """Since which cutoff the district's nights are given up, None where they are not."""
        self._label(district)
        self._failing_since.set(district, _timestamp(cutoff))

    @contextmanager
    def flushing(self, district: str) -> Iterator[None]:
        """Around a run: it goes on in this replica."""
        self._label(district)
        self._in_progress.set(district, 1)
        try:
            yield
        finally:
            # One that was removed meanwhile stays so.
            if district in self._districts:
                self._in_progress.set(district, 0)
                self._token_expiry.set(district, 0)

    def flush_ended(self, report: RunReport, result: FlushResult) -> None:
        """A nightly run ended and was written as ``report``, which names its end."""
        assert report.finished_at is not None
        label = self._label(report.district_id)
        self._flush_runs.labels(label, result).inc()
        self._flush_seconds.observe((report.finished_at - report.started_at).total_seconds())
        self.set_circuit(report.district_id, report.stopped_by)
        self._last_cutoff.set(report.district_id, report.cutoff_at.timestamp())
        if result is FlushResult.DONE:
            self._last_success.set(report.district_id, report.finished_at.timestamp())

    # -- Skyward ----------------------------------------------------------------------------

    def _declare_skyward(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "passback_skyward_requests",
            "Requests to Skyward by what they ask and the HTTP status, or why there was none.",
            ["operation", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "passback_skyward_request_duration_seconds",
            "Time that a request to Skyward took.",
            ["operation"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._throttled_seconds = Counter(
            "passback_skyward_throttled_seconds",
            "Time that runs paused because Skyward asked for it.",
            registry=registry,
        )
        # Those that were met: prometheus_client takes longer to look one up than to add to it.
        self._request_series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        for operation in OPERATIONS:
            self._request_seconds.labels(operation)
            more = _EXPECTED_OF_WRITES if operation in _WRITES else ()
            for code in (*_EXPECTED_CODES, *more):
                self._requests.labels(operation, code)

    def observe_request(self, operation: str, code: str, seconds: float) -> None:
        """One request to Skyward: one of ``OPERATIONS``, and a status or why there was none.

        A status that HTTP does not register is shown as its class, 4xx say, so that no server
        can make series without end.
        """
        known = code if code in _CODES else f"{code[:1]}xx"
        series = self._request_series.get((operation, known))
        if series is None:
            series = self._request_series[operation, known] = (
                self._requests.labels(operation, known),
                self._request_seconds.labels(operation),
            )
        count, duration = series
        count.inc()
        duration.observe(seconds)

    def token_fetched(self, district: str, expires_at: datetime) -> None:
        """A run of the district got a token."""
        self._label(district)
        self._token_expiry.set(district, expires_at.timestamp())

    def count_throttled(self, seconds: float) -> None:
        """A pause that Skyward asked for."""
        self._throttled_seconds.inc(seconds)

    # -- process ----------------------------------------------------------------------------

    def _declare_process(self, registry: CollectorRegistry) -> None:
        build = Gauge(
            "passback_build_info",
            "The version that runs; always 1.",
            ["version"],
            registry=registry,
        )
        build.labels(__version__).set(1)
        # Memory, CPU, open files, and the start: process_start_time_seconds tells of restarts.
        ProcessCollector(registry=registry)
        self._loop_lag = Gauge(
            "passback_event_loop_lag_seconds",
            "How late the event loop woke from a timer: the worst of the last minute.",
            registry=registry,
        )

        self._clock_skew = Gauge(
            "passback_clock_skew_seconds",
            "How far this machine's clock is ahead of the database's; below 0, behind it.",
            registry=registry,
        )

    def set_clock_skew(self, seconds: float) -> None:
        """How far the two clocks were apart when they were compared."""
        self._clock_skew.set(seconds)

    def set_loop_lag(self, seconds: float) -> None:
        """How late the event loop woke, at the worst of the last minute."""
        self._loop_lag.set(seconds)


def _timestamp(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()

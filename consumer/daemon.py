"""Builds everything, runs it, stops it in order; answers the probes.

Stopping: reading ends after the batch in hand, offsets are committed, the group is left, runs
are cut off (they can be gone on with) and their leases released. It, the commands and the
sandbox are the only ones that read the clock.
"""

import asyncio
import gc
import math
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prometheus_client import CollectorRegistry

from consumer import __version__, log, tracing
from consumer.cutoff import manual_cutoff
from consumer.district import District
from consumer.errors import DistrictStopped, PassbackError, ServiceUnavailable, UsageError
from consumer.flush.run import Flusher
from consumer.flush.schedule import Pace, Schedule
from consumer.gradebook import Kind, Reason, RunReport
from consumer.health import Health
from consumer.http import HttpServer
from consumer.intake import Intake, LogEnd, await_recorded
from consumer.metrics import FlushResult, Metrics
from consumer.sealing import SealingKeys
from consumer.settings import Settings
from consumer.skyward import Network, Skyward
from consumer.store import districts, gauges, retention
from consumer.store.clock import CURE, SKEW, Clock
from consumer.store.connection import UNAVAILABLE, UNREACHABLE, Pool, connect, unreachable
from consumer.store.districts import StoredDistrict
from consumer.store.migrate import expect_current_schema
from consumer.store.settling import Tally
from consumer.tracing import Tracing

# Stopping, part by part: the batch in hand, all that is cancelled, the runs and their leases.
_READING_ENDS: Final = 20.0
_PARTS_END: Final = 10.0
_RUNS_END: Final = 20.0
_POOL_CLOSES: Final = 10.0
DRAIN_SECONDS: Final = 70
"""The longest that stopping takes, whatever hangs, with 5 s of the HTTP and 5 s of traces; a pod's
grace period has to be longer."""

# How many more objects there are when the young are looked through (Python's own: 700), and after
# how many such looks those that lived, and then all (10 and 10).
_YOUNG: Final = 20_000
_OLDER: Final = (20, 20)

_TICK: Final = 0.5
_GAUGES_EVERY: Final = 15.0
_CLOCKS_EVERY: Final = 15.0
_SKEW_TOLD_EVERY: Final = 600.0
_RETENTION_EVERY: Final = 86_400.0
_INTAKE_PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_LASTED: Final = 60.0
_LAG_SHOWN: Final = 60.0
_ENDS_INTAKE: Final[tuple[type[BaseException], ...]] = (ServiceUnavailable, *UNAVAILABLE)


def _now() -> datetime:
    return datetime.now(UTC)


async def _end(tasks: set["asyncio.Task[Any]"], within: float) -> None:
    """Cancels them until they end: aiokafka takes one cancellation for each thing it waits for."""
    deadline = time.monotonic() + within
    pending = tasks
    while pending and time.monotonic() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)
    for task in tasks - pending:
        if not task.cancelled():
            task.exception()  # taken note of: whose failure ended the others is raised


def holder() -> str:
    """Who holds a lease: this process, and no other that ever was."""
    return f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"


def pool_size(districts_at_once: int) -> int:
    """How many connections a replica has at most; deploy/README.md names it to whoever plans."""
    return 4 + 2 * min(districts_at_once, 16)


@asynccontextmanager
async def opened_pool(settings: Settings, *, size: int = 10) -> AsyncIterator[Pool]:
    """The pool, on a schema of this build; raises ``ServiceUnavailable`` in one sentence."""
    url = settings.database_url.get_secret_value()
    try:
        pool = await connect(url, size=size)
    except UNREACHABLE as error:
        raise ServiceUnavailable(unreachable(url, error)) from None
    try:
        async with pool.acquire() as connection:
            await expect_current_schema(connection)
        yield pool
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_POOL_CLOSES):
                await pool.close()


def connects(
    keys: Callable[[], SealingKeys],
    network: Network,
    metrics: Metrics | None = None,
    now: Callable[[], datetime] = _now,
    *,
    delete: bool = False,
    traces: Tracing | None = None,
) -> Callable[[StoredDistrict, District], AbstractAsyncContextManager[Skyward]]:
    """How a run reaches its district's Skyward: secrets are opened only here.

    ``keys`` is asked anew for each run, so that a rotation needs no restart: with the keys of
    its start a daemon could not open what was sealed since. Where it raises ``UsageError``, the
    district stops. ``delete`` asks for the scope to delete although no policy needs it.
    Requests are counted in ``metrics``, and where a command asks nowhere that is scraped.
    """
    told = metrics or Metrics(CollectorRegistry(), per_district=False)

    def traced(operation: str, code: str, seconds: float) -> None:
        assert traces is not None
        told.observe_request(operation, code, seconds)
        traces.request(operation, code, seconds)

    observe = told.observe_request if traces is None else traced

    @asynccontextmanager
    async def connect_one(stored: StoredDistrict, district: District) -> AsyncIterator[Skyward]:
        try:
            now_valid = keys()
        except UsageError as error:
            raise DistrictStopped(Reason.CREDENTIALS_REFUSED, str(error)) from None
        try:
            key = now_valid.open(district.district, "key", stored.sealed_key).decode()
            secret = now_valid.open(district.district, "secret", stored.sealed_secret).decode()
        except (UsageError, UnicodeDecodeError):
            raise DistrictStopped(
                Reason.CREDENTIALS_REFUSED,
                "the stored secret cannot be opened with the sealing keys; apply the district"
                " again or bring back the key that sealed it",
            ) from None
        policies = district.rules.after_posting.model_dump().values()
        async with Skyward.connect(
            district.skyward,
            key,
            secret,
            network=network,
            observe=observe,
            throttled=told.count_throttled,
            token_lasts=lambda seconds: told.token_fetched(
                district.district, now() + timedelta(seconds=seconds)
            ),
            now=now,
            delete=delete or "delete" in policies,
        ) as skyward:
            yield skyward

    return connect_one


def _keys_of(settings: Settings) -> Callable[[], SealingKeys]:
    """Reads the key file each time; raises ``UsageError`` where it is wrong already."""
    path = settings.require_sealing_key()
    SealingKeys.from_file(path)
    return lambda: SealingKeys.from_file(path)


def network_of(settings: Settings) -> Network:
    """The process's connections to every Skyward."""
    return Network(allowed_networks=settings.allowed_networks, allow_http=settings.allow_http)


def _tracing_of(settings: Settings) -> AbstractAsyncContextManager[Tracing | None]:
    return tracing.started(__version__, _now) if settings.tracing else nullcontext()


def collect_garbage_seldom() -> None:
    """Tells Python's garbage collector what this process is like; called once, before it begins.

    Hundreds of requests under way are young objects by the thousand that live, and Python's own
    thresholds look through them, and through all modules, again and again: a fifth of the
    processor with 20 districts side by side, and nothing found. What is loaded now stays for
    good, and is left out. Cycles, which errors leave, wait for some thousands more objects.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG, *_OLDER)


async def run(settings: Settings) -> int:
    """The daemon, until SIGTERM or SIGINT; returns the exit status 0.

    Raises ``UsageError`` and ``ServiceUnavailable`` where it cannot begin, or go on.
    """
    keys = _keys_of(settings)
    log.hash_students(keys().log_key)
    kafka = settings.require_kafka()
    registry = CollectorRegistry()
    metrics = Metrics(
        registry,
        per_district=settings.district_metrics,
        topic_prefix=settings.kafka_topic_prefix,
    )
    size = pool_size(settings.max_concurrent_districts)
    async with (
        opened_pool(settings, size=size) as pool,
        network_of(settings) as network,
        _tracing_of(settings) as traces,
    ):
        daemon = Daemon(settings, pool, metrics, registry, traces)
        log_end = LogEnd(kafka)
        flusher = Flusher(
            pool=pool,
            holder=holder(),
            connect=connects(keys, network, metrics, traces=traces),
            await_intake=lambda wait: await_recorded(pool, log_end, wait),
            now=daemon.clock.now,
            counted=daemon.count,
        )
        intake = Intake(kafka, pool, metrics, _now)
        return await daemon.run(intake, flusher)


async def flush_once(
    settings: Settings, district_id: str, wait: timedelta, *, force: bool = False
) -> RunReport:
    """A run that a person starts, with the cutoff at this moment; returns its report.

    ``wait`` bounds how long the daemon's intake is waited for. Raises ``UsageError`` for an
    unknown district and ``PassbackError`` where the district is being flushed already.
    """
    keys = _keys_of(settings)
    kafka = settings.require_kafka()
    async with opened_pool(settings) as pool, network_of(settings) as network:
        clock = Clock(_now)
        await clock.compare(pool)
        flusher = Flusher(
            pool=pool,
            holder=holder(),
            connect=connects(keys, network),
            await_intake=lambda bound: await_recorded(pool, LogEnd(kafka), bound),
            now=clock.now,
            counted=lambda district, tally: None,
        )
        stored = await districts.find(pool, district_id)
        if stored is None:
            raise UsageError(
                f"No district {district_id!r} was applied; see 'passback district list'."
            )
        async with flusher.lease(district_id) as lease:
            if lease is None:
                raise PassbackError(
                    f"District {district_id} is being flushed at this moment; wait for that run"
                    f" to end, see 'passback runs {district_id}'."
                )
            cutoff = manual_cutoff(stored.district, clock.now())
            return await flusher.flush(lease, stored, "manual", cutoff, wait, force=force)


class Daemon:
    """The parts that run side by side, and what the probes say of them."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        metrics: Metrics,
        registry: CollectorRegistry,
        traces: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self.clock: Final = Clock(_now)
        self._clocks_compared = self._skew_told = -math.inf
        self._pool = pool
        self._metrics = metrics
        self._traces = traces
        self._log = log.get_logger()
        self._stopping = asyncio.Event()
        self._intake: Intake | None = None
        began = time.monotonic()
        self._health = Health(ticked=began, scheduled=began)
        metrics.set_window(settings.run_window_seconds)
        self._http = HttpServer(
            settings.http_host,
            settings.http_port,
            registry,
            live=lambda: self._judged().not_live(time.monotonic()),
            ready=lambda: self._judged().not_ready(),
            started=lambda: self._judged().not_started(),
        )

    async def run(self, intake: Intake, flusher: Flusher) -> int:
        """Runs until a signal; the first part that fails ends the others and is raised."""
        self._intake = intake
        pace = Pace(
            jitter=timedelta(seconds=self._settings.cutoff_jitter_seconds),
            districts_at_once=self._settings.max_concurrent_districts,
            intake_wait=timedelta(seconds=self._settings.intake_wait_seconds),
            window=timedelta(seconds=self._settings.run_window_seconds),
        )
        schedule = Schedule(flusher, pace, self._flushing, self._finished, self._failed)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        await self._http.start()
        self._log.info("started", port=self._http.port)
        try:
            await self._run_parts(intake, schedule)
        finally:
            if not await schedule.stop(_RUNS_END):
                # Postgres does not answer. The leases expire by themselves.
                self._pool.terminate()
            await self._http.stop()
            self._log.info("stopped")
        return 0

    async def _run_parts(self, intake: Intake, schedule: Schedule) -> None:
        parts = [
            asyncio.create_task(part)
            for part in (
                self._read(intake),
                self._every(0, lambda: self._schedule(schedule)),
                self._every(_GAUGES_EVERY, self._show_gauges),
                self._every(_RETENTION_EVERY, self._retain),
                self._tick(),
            )
        ]
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait([*parts, stopping], return_when=asyncio.FIRST_COMPLETED)
        intake.stop()
        reading, *others = parts
        for task in (*others, stopping):
            task.cancel()
        await asyncio.wait([reading], timeout=_READING_ENDS)
        await _end({*parts, stopping}, _PARTS_END)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _read(self, intake: Intake) -> None:
        """Intake, begun again as often as Kafka ends it, while runs go on with what is stored.

        A restart of the process would mend nothing and cut off the runs. Only where these
        topics were never read may the settings be wrong: then the error is raised.
        """
        attempt = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await intake.run()
                return
            except _ENDS_INTAKE as error:
                if not intake.has_read:
                    raise
                self._health.waits_for_kafka = True
                self._log.error("intake_ended", exc_info=error)
            attempt = 0 if time.monotonic() - began > _LASTED else attempt + 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTAKE_PAUSES[min(attempt, len(_INTAKE_PAUSES) - 1)]):
                    await self._stopping.wait()

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
                self._health.postgres_answers = True
            except UNAVAILABLE as error:
                self._health.postgres_answers = False
                self._log.error("postgres_unavailable", exc_info=error)
                # Those that a failover left hanging are found out one by one, or not at all.
                await self._pool.expire_connections()
                await asyncio.sleep(2)
            else:
                await asyncio.sleep(seconds)

    async def _schedule(self, schedule: Schedule) -> None:
        try:
            if time.monotonic() - self._clocks_compared >= _CLOCKS_EVERY:
                await self._compare_clocks()
            await schedule.start_due()
        finally:
            self._health.scheduled = time.monotonic()
        await schedule.wait()

    async def _compare_clocks(self) -> None:
        """Before the first run, and again and again: what runs go by, and what is told of it."""
        skew = await self.clock.compare(self._pool)
        self._clocks_compared = time.monotonic()
        self._metrics.set_clock_skew(skew.total_seconds())
        if abs(skew) <= SKEW:
            self._skew_told = -math.inf
        elif self._clocks_compared - self._skew_told >= _SKEW_TOLD_EVERY:
            self._skew_told = self._clocks_compared
            self._log.warning("clocks_differ", seconds=skew.total_seconds(), because=CURE)

    async def _retain(self) -> None:
        """Deletes what is older than the retention, one district after the other."""
        now = self.clock.now()
        before = now - timedelta(days=self._settings.retention_days)
        for name in await retention.keep_partitions(self._pool, before, now):
            self._log.info("partition_dropped", partition=name)
        for stored in await districts.find_all(self._pool):
            district_id = stored.district.district
            purged = await retention.purge(self._pool, district_id, before, now, history=False)
            if any(asdict(purged).values()):
                self._log.info("purged", district=district_id, **asdict(purged))
        if unclaimed := await retention.purge_unclaimed(self._pool, before, now):
            self._log.info("purged", quarantined=unclaimed)

    async def _tick(self) -> None:
        worst = worst_at = 0.0
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK)
            ticked = self._health.ticked = time.monotonic()
            lag = max(ticked - before - _TICK, 0.0)
            # Between two scrapes a block must not go unseen.
            if lag >= worst or ticked - worst_at > _LAG_SHOWN:
                worst, worst_at = lag, ticked
            self._metrics.set_loop_lag(worst)
            size, idle = self._pool.get_size(), self._pool.get_idle_size()
            self._metrics.set_pool(size=size, in_use=size - idle, waiting=self._pool.waiting)

    @contextmanager
    def _flushing(self, district_id: str) -> Iterator[None]:
        traced = self._traces.flushing(district_id) if self._traces else nullcontext()
        with self._metrics.flushing(district_id), traced:
            yield

    # -- what is told -----------------------------------------------------------------------

    def count(self, district_id: str, tally: Tally) -> None:
        """Adds what a settled batch came to."""
        for origin, grades in tally.posted.items():
            self._metrics.count_posted(district_id, origin, grades)
        for reason, grades in tally.by_reason.items():
            if reason.kind is Kind.SKIP:
                self._metrics.count_skipped(district_id, reason, grades)
            elif reason.kind is Kind.REJECT:
                self._metrics.count_rejected(district_id, reason, grades)
        if tally.line_items_posted:
            self._metrics.count_line_items_posted(district_id, tally.line_items_posted)

    def _finished(self, report: RunReport) -> None:
        self._metrics.flush_ended(report, FlushResult(report.state))
        assert report.finished_at is not None
        level = self._log.info if report.state == "done" else self._log.error
        level(
            "run_finished",
            district=report.district_id,
            service_date=report.service_date,
            kind=report.kind,
            state=report.state,
            reason=report.stopped_by,
            cutoff_at=report.cutoff_at,
            seconds=(report.finished_at - report.started_at).total_seconds(),
            line_items_posted=report.line_items_posted,
            line_items_rejected=report.line_items_rejected,
            titles_kept=report.titles_kept,
            zeros_posted=report.zeros_posted,
            reasons=report.reasons,
            **report.results,
        )

    def _failed(self, district_id: str, error: Exception) -> None:
        self._log.error("run_failed", district=district_id, exc_info=error)

    async def _show_gauges(self) -> None:
        shown = await gauges.read(self._pool, self.clock.now())
        async for one in gauges.in_turns(shown.districts):
            self._metrics.set_pending(one.district_id, one.pending, one.pending_oldest)
            self._metrics.set_held(one.district_id, one.held)
            self._metrics.set_zeros_held(one.district_id, one.held.get(Reason.ZEROS_HELD, 0))
            self._metrics.set_next_cutoff(one.district_id, one.next_cutoff_at)
            self._metrics.set_last_cutoff(one.district_id, one.last_cutoff_at)
            self._metrics.set_longest_gap(one.district_id, one.longest_gap.total_seconds())
            self._metrics.set_last_success(one.district_id, one.last_success)
            self._metrics.set_failing_since(one.district_id, one.failing_since)
            self._metrics.set_circuit(one.district_id, one.stopped_by)
            self._metrics.set_paused(one.district_id, one.paused)
            self._metrics.set_settings_applied(one.district_id, one.applied_at)
        self._metrics.keep_districts([one.district_id for one in shown.districts])
        speaks = self._intake is not None and self._intake.speaks_for_all
        self._metrics.set_quarantined(shown.quarantined if speaks else 0)

    # -- probes -----------------------------------------------------------------------------

    def _judged(self) -> Health:
        """The process's health as it is at this moment."""
        health, intake = self._health, self._intake
        health.stopping = self._stopping.is_set()
        if intake is None:
            return health
        health.polled = intake.last_poll
        health.assigned = intake.assigned
        health.reading_paused = intake.paused
        answered = intake.answered_at
        health.answer_age = None if answered is None else (_now() - answered).total_seconds()
        if intake.assigned is not None:
            health.joined_once = True
            health.waits_for_kafka = False
        return health

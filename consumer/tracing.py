"""Tracing, off unless it is asked for: one trace a flush, one span a request to Skyward; ids only.

The only home of OpenTelemetry, which is imported where tracing is on. Where the spans go, and how
many of them, its SDK reads from OpenTelemetry's own variables: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER`` and their kin. A collector that is away costs spans, never a run.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from consumer.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_EXPORT_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 5.0
"""The longest that what waits at the end is waited for."""
_NANOSECONDS: Final = 1_000_000_000


class Tracing:
    """Makes the spans; made by ``started``. ``now`` is the clock."""

    def __init__(self, tracer: "Tracer", now: Callable[[], datetime]) -> None:
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415  where tracing is on

        self._tracer = tracer
        self._now = now
        self._client = SpanKind.CLIENT
        self._failed = StatusCode.ERROR

    @contextmanager
    def flushing(self, district_id: str) -> Iterator[None]:
        """Around a run: the root of its trace."""
        with self._tracer.start_as_current_span(
            "flush",
            attributes={"passback.district": district_id},
            # An exception's words may hold what no log holds.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(self._failed, type(error).__name__)
                raise

    def request(self, operation: str, code: str, seconds: float) -> None:
        """A request that has just ended, after ``seconds``; both words are of closed sets."""
        end = int(self._now().timestamp() * _NANOSECONDS)
        span = self._tracer.start_span(
            operation,
            kind=self._client,
            attributes={"passback.operation": operation, "passback.code": code},
            start_time=end - int(seconds * _NANOSECONDS),
        )
        if not code.startswith("2"):
            span.set_status(self._failed, code)
        span.end(end)


@asynccontextmanager
async def started(version: str, now: Callable[[], datetime]) -> AsyncIterator[Tracing]:
    """Tracing by OTLP over HTTP; what waits is sent at the end, for a few seconds at most.

    Raises ``UsageError`` where this installation lacks OpenTelemetry.
    """
    try:
        # Half a second of imports, and of use only where somebody asked for it.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "PASSBACK_TRACING is on and OpenTelemetry is not installed; install"
            " skyward-passback[tracing], or switch it off."
        ) from None
    named = {"service.name": "skyward-passback", "service.version": version}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_EXPORT_SECONDS)))
    try:
        yield Tracing(provider.get_tracer("skyward-passback", version), now)
    finally:
        # A collector that hangs takes the export's patience once for each batch that waits.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _LAST_SECONDS)

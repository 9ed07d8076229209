"""Traces of a real daemon's night, as a real OTLP receiver gets them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.evening import Evening
from tests.system.town import ZONE, Town, soon, until


class Collector:
    """Takes spans by OTLP over HTTP, as it stands on the wire."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def spans(self) -> list[Span]:
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector and the URL of its door."""
    collector = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: pytest's output is not its place."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _evening(town: Town) -> Evening:
    evening = Evening(town.roster, town.district, datetime.now(ZONE))
    evening.assess("quiz", title="Hidden Title")
    evening.grade("quiz", 0, "8")
    return evening


def _is_done(town: Town) -> bool:
    return any(run["finished_at"] is not None for run in town.answer("runs", town.district))


async def _night(town: Town, endpoint: str) -> None:
    """One night of a daemon that traces, from its first event until it has ended in order."""
    town.extra |= {
        "PASSBACK_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    assert town.passback("migrate").returncode == 0
    live = {"effective_date": "2020-01-01", "live_since": "2020-01-01"}
    assert town.apply(town.settings(soon(4), **live)).returncode == 0
    await town.publish(_evening(town).records)
    with town.daemon():
        await until(lambda: _is_done(town))


async def test_a_night_is_one_trace_with_a_span_for_each_request_and_nothing_but_ids(
    town: Town,
) -> None:
    with collecting() as (collector, endpoint):
        await _night(town, endpoint)
    spans = collector.spans()
    (root,) = [span for span in spans if span.name == "flush"]
    requests = [span for span in spans if span.parent_span_id == root.span_id]
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert len(requests) == len(spans) - 1
    assert len(requests) == len(town.standin.journal_lines()) > len(town.writes()) > 0
    assert all(
        root.start_time_unix_nano
        <= span.start_time_unix_nano
        <= span.end_time_unix_nano
        <= root.end_time_unix_nano
        for span in requests
    )
    said = {(one.key, one.value.string_value) for span in spans for one in span.attributes}
    assert {key for key, _ in said} == {
        *("passback.district", "passback.operation", "passback.code"),
    }
    assert ("passback.district", "lakeside") in said
    whole = b"".join(collector.bodies)
    for secret in (b"Hidden Title", b"s-0", _evening(town).students[0].encode()):
        assert secret not in whole


async def test_a_collector_that_is_away_costs_spans_and_never_a_run(town: Town) -> None:
    await _night(town, "http://127.0.0.1:1")
    (run,) = town.answer("runs", town.district)
    assert run["state"] == "done"
    assert run["results"]["posted"] > 1
    assert "Traceback" not in (town.directory / "daemon.log").read_text()

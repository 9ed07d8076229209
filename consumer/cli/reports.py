"""A run's report as the contract shapes it, and as a person reads it."""

from typing import Any, Final
from zoneinfo import ZoneInfo

from consumer.cli.output import local, say, show_fields, show_table
from consumer.gradebook import REASONS, RunReport

_RESULTS: Final = ("posted", "rejected", "skipped", "held", "deferred")


def report_shape(report: RunReport) -> dict[str, Any]:
    """The report as JSON; what ended it early is among its reasons even if no grade waited."""
    reasons = dict(report.reasons)
    if report.stopped_by is not None:
        reasons.setdefault(report.stopped_by, 0)
    return {
        "district": report.district_id,
        "service_date": report.service_date,
        "kind": report.kind,
        "cutoff_at": report.cutoff_at,
        "started_at": report.started_at,
        "finished_at": report.finished_at,
        "state": report.state,
        "line_items": {
            "posted": report.line_items_posted,
            "rejected": report.line_items_rejected,
        },
        "results": {name: report.results.get(name, 0) for name in _RESULTS},
        "zeros_posted": report.zeros_posted,
        "reasons": dict(sorted(reasons.items())),
    }


def show_report(report: RunReport, zone: ZoneInfo) -> None:
    """One run on one screen."""
    results = report.results
    pairs: list[tuple[str, object]] = [
        ("district", report.district_id),
        ("service date", f"{report.service_date} ({report.kind})"),
        ("cutoff", local(report.cutoff_at, zone)),
        ("started", local(report.started_at, zone)),
        ("finished", local(report.finished_at, zone)),
        ("state", state_of(report)),
        ("line items", _line_items(report)),
        ("grades", ", ".join(f"{results.get(name, 0)} {name}" for name in _RESULTS)),
        ("zeros posted", report.zeros_posted),
    ]
    show_fields(pairs)
    if report.reasons:
        say("")
        ordered = sorted(report.reasons.items(), key=lambda one: (-one[1], one[0]))
        show_table(
            ["reason", "kind", "grades#"],
            [(code, REASONS[code].kind if code in REASONS else "-", n) for code, n in ordered],
            "",
        )


def _line_items(report: RunReport) -> str:
    told = f"{report.line_items_posted} posted, {report.line_items_rejected} rejected"
    if report.titles_kept:
        told += f", {report.titles_kept} renamed to 50 characters or more: title kept"
    return told


def state_of(report: RunReport) -> str:
    """The state, and what ended it early."""
    return report.state if report.stopped_by is None else f"{report.state}: {report.stopped_by}"


def is_clean(report: RunReport) -> bool:
    """Whether the run ended done and Skyward refused nothing."""
    refused = report.results.get("rejected", 0) + report.line_items_rejected
    return report.state == "done" and refused == 0

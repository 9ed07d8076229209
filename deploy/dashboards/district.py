"""District: one district's runs, what waits against the cutoff, and what became of grades."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Panel,
    board,
    graph,
    labels,
    number,
)
from deploy.dashboards.tonight import JOB, STATES, Tonight

_ONE: Final = Tonight('district="$district"')
_INTERVAL: Final = "$__rate_interval"


def district() -> Dashboard:
    """The dashboard of one district, chosen by a variable."""
    chosen = labels(
        "district", "District", f"label_values(passback_pending_grades{{{JOB}}}, district)"
    )
    return board(
        "district",
        "Skyward Passback / District",
        "One district: its runs, what waits against its cutoff, and what became of its grades.",
        since="now-7d",
        variables=[chosen],
        sections={
            "": _now(),
            "Runs, and what waits for them": _runs(),
            "What became of grades, by reason": _outcomes(),
        },
    )


def _now() -> list[Panel]:
    return [
        number(
            "Tonight",
            "Where the district's night stands. Late: two hours after the cutoff without an ended"
            " run. Failed: a night was given up, and none has succeeded since.",
            _ONE.state,
            "none",
            texts=STATES,
            width=4,
            filled=True,
        ),
        number(
            "Next cutoff",
            "The cutoff whose run is the next to end; in the past while it is due or goes on.",
            _ONE.next_cutoff,
            "dateTimeAsIso",
            width=4,
        ),
        number(
            "Last success",
            "When a run last ended done, by night or by hand; 1970 where none ever did.",
            f"{_ONE.of('flush_last_success_timestamp_seconds')} * 1000",
            "dateTimeFromNow",
            width=4,
        ),
        number(
            "Settings applied",
            "When the settings that the next run reads were applied.",
            f"{_ONE.of('district_settings_applied_timestamp_seconds')} * 1000",
            "dateTimeFromNow",
            steps=((None, GREY),),
            width=4,
        ),
        number(
            "Zeros held",
            "Zeros that the breaker holds until somebody releases or discards them.",
            _ONE.zeros,
            "none",
            steps=((None, GREEN), (1, RED)),
            width=4,
        ),
        number(
            "Paused",
            "Whether an operator paused the district: then its runs send nothing.",
            _ONE.of("district_paused"),
            "none",
            texts={0: ("no", GREEN), 1: ("yes", ORANGE)},
            width=4,
        ),
    ]


def _runs() -> list[Panel]:
    return [
        graph(
            "Pending",
            "Grades that wait for a decision or a run, and those of them that the newest run held."
            " Pending falls after each cutoff.",
            {
                "pending": _ONE.pending,
                "held": f"sum by (district) ({_ONE.of('grades_held', 'reason')})",
            },
            "short",
            width=12,
        ),
        graph(
            "Time until the cutoff",
            "It falls to 0 at the cutoff; below 0 the run is due or goes on, and below the dashed"
            " line it is late.",
            {"until the cutoff": _ONE.until_cutoff},
            "s",
            least=None,
            width=12,
            steps=((None, RED), (-7200, GREEN)),
        ),
        graph(
            "Runs that ended",
            "Nightly runs, done or deferred; what Skyward stopped is tried again in its window.",
            {"{{result}}": _ONE.increase("flush_runs_total", _INTERVAL, "result")},
            "none",
            bars=True,
        ),
        graph(
            "Run in progress",
            "1 while a replica runs the district.",
            {"in progress": _ONE.of("flush_in_progress")},
            "none",
        ),
        graph(
            "Stopped by Skyward",
            "1 while the newest run is one that was stopped as a whole, by reason.",
            {"{{reason}}": _ONE.of("skyward_circuit_open", "reason")},
            "none",
        ),
    ]


def _outcomes() -> list[Panel]:
    def grown(metric: str, by: str) -> str:
        return f"{_ONE.increase(metric, _INTERVAL, by)} > 0"

    return [
        graph(
            "Posted",
            "Grades that Skyward acknowledged: a teacher's, and zeros from the clock.",
            {
                "{{origin}}": _ONE.increase("grades_posted_total", _INTERVAL, "origin"),
                "line items": _ONE.increase("line_items_posted_total", _INTERVAL, "district"),
            },
            "short",
            bars=True,
            width=12,
        ),
        graph(
            "Rejected",
            "Grades that Skyward refused; each waits until its payload or the settings change.",
            {"{{reason}}": _ONE.increase("grades_rejected_total", _INTERVAL, "reason")},
            "short",
            bars=True,
            stacked=True,
            width=12,
        ),
        graph(
            "Skipped",
            "Grades that a rule stopped, once for each decision that changed.",
            {"{{reason}}": grown("grades_skipped_total", "reason")},
            "short",
            bars=True,
            stacked=True,
            width=12,
        ),
        graph(
            "Held now",
            "Grades that will be decided later by themselves, or, for zeros, by somebody.",
            {"{{reason}}": f"{_ONE.of('grades_held', 'reason')} > 0"},
            "short",
            stacked=True,
            width=12,
        ),
        number(
            "Posted, 24 h",
            "Grades that Skyward acknowledged to the daemon in the last 24 hours.",
            f"sum({_ONE.increase('grades_posted_total', '1d', 'district')}) or vector(0)",
            "locale",
            steps=((None, GREEN),),
            width=6,
        ),
        number(
            "Rejected, 24 h",
            "Grades that Skyward refused in the last 24 hours.",
            f"sum({_ONE.increase('grades_rejected_total', '1d', 'district')}) or vector(0)",
            "locale",
            steps=((None, GREEN), (1, ORANGE)),
            width=6,
        ),
        number(
            "Skipped, 24 h",
            "Grades whose decision changed to a skip in the last 24 hours.",
            f"sum({_ONE.increase('grades_skipped_total', '1d', 'district')}) or vector(0)",
            "locale",
            steps=((None, BLUE),),
            width=6,
        ),
        number(
            "Oldest pending",
            "For how long the oldest grade has waited that was not decided yet.",
            f"max({_ONE.oldest_pending}) or vector(0)",
            "s",
            steps=((None, GREEN), (93_600, ORANGE), (180_000, RED)),
            width=6,
        ),
    ]

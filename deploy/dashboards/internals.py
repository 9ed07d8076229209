"""Internals: the processes themselves: event loop, pool, memory, restarts, the group."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.dashboards.panels import GREEN, ORANGE, RED, Panel, board, graph, number
from deploy.dashboards.tonight import JOB

# process_* is what every program exports: only ours have a build of ours.
_OURS: Final = f"and on (job, instance) passback_build_info{{{JOB}}}"


def internals() -> Dashboard:
    """The dashboard for when something is wrong with the daemon itself."""
    return board(
        "internals",
        "Skyward Passback / Internals",
        "The daemon's processes: event loop, connection pool, memory, restarts, consumer group.",
        since="now-6h",
        sections={"": _now(), "Process": _process(), "Postgres and Kafka": _services()},
    )


def _now() -> list[Panel]:
    return [
        number(
            "Replicas",
            "Replicas that Prometheus scrapes, by version.",
            f"count by (version) (passback_build_info{{{JOB}}})",
            "none",
            steps=((None, RED), (1, GREEN)),
            width=6,
        ),
        number(
            "Restarts, 24 h",
            "Starts of a process in the last 24 hours, beside the first. More than a handful in an"
            " hour is a restart storm.",
            f"sum(changes(process_start_time_seconds{{{JOB}}}[1d]) {_OURS}) or vector(0)",
            "none",
            steps=((None, GREEN), (3, ORANGE), (10, RED)),
            width=6,
        ),
        number(
            "Youngest process",
            "For how long the replica runs that was started last.",
            f"min(time() - process_start_time_seconds{{{JOB}}} {_OURS})",
            "s",
            width=6,
        ),
        number(
            "Window of a run",
            "How long after its cutoff a run may go on or be tried again; a setting.",
            f"max(passback_flush_window_seconds{{{JOB}}})",
            "s",
            width=6,
        ),
    ]


def _process() -> list[Panel]:
    return [
        graph(
            "Event loop lag",
            "How late the event loop woke from a timer, at the worst of the last minute. Above a"
            " second something computes where it must not; at 30 s /livez fails.",
            {"{{instance}}": f"passback_event_loop_lag_seconds{{{JOB}}}"},
            "s",
            steps=((None, GREEN), (1, RED)),
        ),
        graph(
            "Clock skew",
            "How far each machine's clock is ahead of Postgres', or behind it, below 0. From 5 s on"
            " it is logged as clocks_differ: let NTP keep both. A night waits for the later one.",
            {"{{instance}}": f"passback_clock_skew_seconds{{{JOB}}}"},
            "s",
        ),
        graph(
            "Memory",
            "Resident size of each process.",
            {"{{instance}}": f"process_resident_memory_bytes{{{JOB}}} {_OURS}"},
            "bytes",
        ),
        graph(
            "CPU",
            "Cores that each process uses; the event loop has one.",
            {
                "{{instance}}": (
                    f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval]) {_OURS}"
                )
            },
            "none",
        ),
        graph(
            "Restarts",
            "Starts of a process, beside the first.",
            {
                "{{instance}}": (
                    f"changes(process_start_time_seconds{{{JOB}}}[$__rate_interval]) {_OURS}"
                )
            },
            "none",
            bars=True,
        ),
        graph(
            "Open files",
            "File descriptors in use, as a share of the limit; most are connections.",
            {"{{instance}}": f"process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}} {_OURS}"},
            "percentunit",
        ),
        graph(
            "Time that runs took",
            "Nightly runs that ended, over all districts.",
            {
                name: (
                    f"histogram_quantile({q}, sum by (le)"
                    f" (rate(passback_flush_duration_seconds_bucket{{{JOB}}}[$__rate_interval])))"
                )
                for name, q in (("median", 0.5), ("p95", 0.95))
            },
            "s",
        ),
    ]


def _services() -> list[Panel]:
    return [
        graph(
            "Connection pool",
            "Connections to Postgres: open and in use, and tasks that wait for one. Waiting for"
            " long means that Postgres is slow or the pool too small.",
            {
                "open": f"sum(passback_pool_size{{{JOB}}})",
                "in use": f"sum(passback_pool_in_use{{{JOB}}})",
                "waiting": f"sum(passback_pool_waiting{{{JOB}}})",
            },
            "none",
        ),
        graph(
            "Assigned partitions",
            "Partitions that each replica reads; 0 means that it is not in the group.",
            {"{{instance}}": f"passback_assigned_partitions{{{JOB}}}"},
            "none",
            stacked=True,
        ),
        graph(
            "Rebalances",
            "Times that a replica's partitions were assigned anew.",
            {"{{instance}}": (f"increase(passback_rebalances_total{{{JOB}}}[$__rate_interval])")},
            "none",
            bars=True,
        ),
        graph(
            "Since Kafka answered",
            "For how long Kafka has been silent towards each replica; above a minute it is not"
            " ready.",
            {"{{instance}}": f"time() - (passback_last_poll_timestamp_seconds{{{JOB}}} > 0)"},
            "s",
            steps=((None, GREEN), (60, RED)),
        ),
        graph(
            "Since an event came",
            "For how long each replica has read no record; normal outside school hours.",
            {"{{instance}}": (f"time() - (passback_last_event_timestamp_seconds{{{JOB}}} > 0)")},
            "s",
        ),
        graph(
            "Token lifetime left",
            "Until the tokens of the runs in progress expire; renewed a minute before.",
            {
                "{{district}}": (
                    "(max by (district) (passback_skyward_token_expiry_timestamp_seconds"
                    f"{{{JOB}}}) > 0) - time()"
                )
            },
            "s",
        ),
    ]

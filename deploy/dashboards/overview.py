"""Overview: is tonight safe? One word first, then what makes it so, then the districts."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.dashboards.panels import (
    BLUE,
    FORWARDED,
    GREEN,
    ORANGE,
    RED,
    Column,
    Panel,
    board,
    graph,
    number,
    rows_of,
)
from deploy.dashboards.tonight import JOB, STATES, Tonight, how_many

_ALL: Final = Tonight()
_WRONG: Final = ((None, GREEN), (1, RED))

_SILENT: Final = f"time() - (max(passback_last_poll_timestamp_seconds{{{JOB}}}) > 0)"
_BEHIND: Final = f"max by (topic) (passback_consumer_behind_since_timestamp_seconds{{{JOB}}} > 0)"
_LAG_SECONDS: Final = f"max(time() - {_BEHIND}) or vector(0)"
_REFUSED: Final = (
    f'count(max by (job, district) (passback_skyward_circuit_open{{{JOB}, reason=~"'
    'credentials_refused|licence_missing|use_grade_setting_on"}) > 0) or vector(0)'
)
_AWAY: Final = f"count(max by (job, district) (passback_skyward_circuit_open{{{JOB}}}) > 0)"

# 2: somebody has to act. 1: it may still pass by itself. 0: safe. -1: no replica is scraped.
_UNSAFE: Final = " + ".join(
    f"({part})"
    for part in (
        how_many(_ALL.late),
        how_many(_ALL.failed),
        how_many(f"{_ALL.zeros} > 0"),
        _REFUSED,
    )
)
_AT_RISK: Final = " + ".join(
    f"({part} or vector(0))"
    for part in (
        _AWAY,
        f"({_LAG_SECONDS}) > bool 600",
        f"{_SILENT} > bool 600",
        f"sum(passback_assigned_partitions{{{JOB}}}) == bool 0",
    )
)
_VERDICT: Final = (
    f"(2 * (({_UNSAFE}) > bool 0) > 0) or ((({_AT_RISK}) > bool 0) > 0)"
    f" or (count(passback_build_info{{{JOB}}}) * 0) or vector(-1)"
)


def overview() -> Dashboard:
    """The dashboard that somebody looks at before going to bed."""
    return board(
        "overview",
        "Skyward Passback / Overview",
        "Is tonight safe? Every district's night, and the two ways in and out.",
        since="now-24h",
        sections={
            "": [*_verdict(), _districts()],
            "Intake: from Kafka": _intake(),
            "Skyward": _skyward(),
        },
    )


def _verdict() -> list[Panel]:
    return [
        number(
            "Is tonight safe?",
            "NO: a district is late, failed, refused by Skyward, or has zeros held; the table says"
            " which. AT RISK: Skyward is away from a run, or intake is ten minutes behind or"
            " silent; it may pass by itself. DOWN: no replica is scraped.",
            _VERDICT,
            "none",
            texts={
                0: ("SAFE", GREEN),
                1: ("AT RISK", ORANGE),
                2: ("NO", RED),
                -1: ("DOWN", RED),
            },
            width=6,
            height=8,
            filled=True,
        ),
        number(
            "To come",
            "Districts whose next cutoff is within 24 hours; without those that are done, failed or"
            " paused tonight.",
            how_many(_ALL.coming),
            "none",
        ),
        number(
            "Running or due",
            "Districts whose cutoff has passed and whose run has not ended yet; late ones too.",
            how_many(_ALL.due),
            "none",
        ),
        number(
            "Done",
            "Districts whose newest cutoff is at most 12 hours old, with a successful run since.",
            how_many(_ALL.done),
            "none",
            steps=((None, GREEN),),
        ),
        number(
            "Late",
            "Districts without an ended run two hours after their cutoff. This pages.",
            how_many(_ALL.late),
            "none",
            steps=_WRONG,
        ),
        number(
            "Failed",
            "Districts with a night that was given up and no success since: Skyward stopped its run"
            " and the window is over, or the cause does not pass by itself. Nights of a pause are"
            " not counted.",
            how_many(_ALL.failed),
            "none",
            steps=_WRONG,
        ),
        number(
            "Zeros held",
            "Zeros that the breaker holds until somebody releases or discards them. This pages.",
            f"sum({_ALL.zeros}) or vector(0)",
            "none",
            steps=_WRONG,
        ),
        number(
            "Oldest pending",
            "For how long the oldest grade has waited that was not decided yet. Above a day and a"
            " bit, a night was missed.",
            f"max({_ALL.oldest_pending}) or vector(0)",
            "s",
            steps=((None, GREEN), (93_600, ORANGE), (180_000, RED)),
        ),
        number(
            "Pending",
            "Grades that wait for a decision or a run, held ones included.",
            f"sum({_ALL.pending}) or vector(0)",
            "locale",
        ),
        number(
            "Posted, 24 h",
            "Grades that Skyward acknowledged to the daemon in the last 24 hours.",
            f"sum(increase(passback_grades_posted_total{{{JOB}}}[1d])) or vector(0)",
            "locale",
            steps=((None, GREEN),),
        ),
        number(
            "Rejected, 24 h",
            "Grades that Skyward refused in the last 24 hours.",
            f"sum(increase(passback_grades_rejected_total{{{JOB}}}[1d])) or vector(0)",
            "locale",
            steps=((None, GREEN), (1, ORANGE)),
        ),
        number(
            "Quarantine",
            "Events that could not be read and wait for an operator; they hold zeros.",
            f"sum(passback_quarantined_events{{{JOB}}}) or vector(0)",
            "none",
            steps=((None, GREEN), (1, ORANGE)),
        ),
        number(
            "Replicas",
            "Replicas that Prometheus scrapes.",
            f"count(passback_build_info{{{JOB}}}) or vector(0)",
            "none",
            steps=((None, RED), (1, GREEN)),
        ),
    ]


def _districts() -> Panel:
    stopped = f"max by (job, district) (passback_skyward_circuit_open{{{JOB}}})"
    return rows_of(
        "Districts, worst first",
        "Where each district's night stands. Late and failed ones are on top, then by how long"
        " they are overdue; a click opens the district.",
        "district",
        [
            Column("State", _ALL.state, "none", texts=STATES, width=130),
            Column(
                "Overdue",
                _ALL.overdue,
                "s",
                steps=((None, GREEN), (1, BLUE), (7200, RED)),
                width=100,
            ),
            Column("Next cutoff", _ALL.next_cutoff, "dateTimeAsIso", width=180),
            Column("Since success", _ALL.since_success, "s"),
            Column("Pending", _ALL.pending, "locale", width=100),
            Column("Oldest pending", _ALL.oldest_pending, "s"),
            Column("Zeros held", _ALL.zeros, "none", steps=((None, GREEN), (1, ORANGE)), width=100),
            Column(
                "Posted, 24 h", _ALL.increase("grades_posted_total", "1d", "district"), "locale"
            ),
            Column(
                "Rejected, 24 h",
                _ALL.increase("grades_rejected_total", "1d", "district"),
                "locale",
                steps=((None, GREEN), (1, ORANGE)),
            ),
            Column(
                "Stopped",
                stopped,
                "none",
                texts={0: ("no", GREEN), 1: ("yes", RED)},
                width=150,
            ),
        ],
        sorted_by=("State", "Overdue"),
        link=(
            "Open the district",
            f"/d/skyward-passback-district?var-district=${{__value.raw}}&{FORWARDED}",
        ),
    )


def _intake() -> list[Panel]:
    def rate(metric: str, by: str) -> str:
        return f"sum by ({by}) (rate(passback_{metric}{{{JOB}}}[$__rate_interval]))"

    def quantile(q: float, metric: str) -> str:
        return f"histogram_quantile({q}, {rate(metric + '_bucket', 'le')})"

    return [
        graph(
            "Events read",
            "Rate: Kafka records read, by topic.",
            {"{{topic}}": rate("events_consumed_total", "topic")},
            "eps",
            width=6,
        ),
        graph(
            "Events not recorded",
            "Errors: quarantined ones by reason, and stale ones, which change nothing and are"
            " normal after a replay.",
            {
                "{{reason}}": f"{rate('events_quarantined_total', 'reason')} > 0",
                "stale": rate("events_stale_total", "job"),
            },
            "eps",
            stacked=True,
            width=6,
        ),
        graph(
            "Time until durable",
            "Duration: from a batch's arrival until it was in Postgres.",
            {
                "median": quantile(0.5, "intake_batch_duration_seconds"),
                "p99": quantile(0.99, "intake_batch_duration_seconds"),
            },
            "s",
            width=6,
        ),
        graph(
            "Age when durable",
            "From when Kafka took a record until it was in Postgres: the oldest of each batch.",
            {
                "median": quantile(0.5, "event_age_seconds"),
                "p99": quantile(0.99, "event_age_seconds"),
            },
            "s",
            width=6,
        ),
        graph(
            "Lag in seconds",
            "For how long the oldest event may have waited that is not stored yet, by topic; and"
            " since when Kafka has not answered.",
            {
                "{{topic}}": (
                    "max by (topic) ((time() - passback_consumer_behind_since_timestamp_seconds"
                    f"{{{JOB}}}) * (passback_consumer_behind_since_timestamp_seconds{{{JOB}}}"
                    " > bool 0))"
                ),
                "Kafka silent": _SILENT,
            },
            "s",
            width=12,
            steps=((None, GREEN), (600, RED)),
        ),
        graph(
            "Lag in records",
            "Records in Kafka that are not stored yet, by topic, as the client sees them.",
            {"{{topic}}": f"sum by (topic) (passback_consumer_lag_records{{{JOB}}})"},
            "short",
            width=12,
        ),
    ]


def _skyward() -> list[Panel]:
    def rate(metric: str, by: str, where: str = JOB) -> str:
        return f"sum by ({by}) (rate(passback_skyward_{metric}{{{where}}}[$__rate_interval]))"

    def quantile(q: float) -> str:
        return f"histogram_quantile({q}, {rate('request_duration_seconds_bucket', 'le')})"

    return [
        graph(
            "Requests",
            "Rate: what Skyward is asked; all that only reads is one.",
            {
                "{{operation}}": rate("requests_total", "operation", f'{JOB}, operation!~"get_.*"'),
                "reads": rate("requests_total", "job", f'{JOB}, operation=~"get_.*"'),
            },
            "reqps",
            stacked=True,
        ),
        graph(
            "Answers that are no success",
            "Errors: by HTTP status, or why there was none. 404 on a read may be normal.",
            {
                "{{code}}": rate("requests_total", "code", f'{JOB}, code!~"2.."') + " > 0",
                "all": rate("requests_total", "job", f'{JOB}, code!~"2.."'),
            },
            "reqps",
        ),
        graph(
            "Time to answer",
            "Duration: how long a request to Skyward took.",
            {"median": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99)},
            "s",
        ),
        graph(
            "Pauses that Skyward asked for",
            "Seconds of pause a second, over all runs: 429 and Retry-After.",
            {
                "paused": (
                    "sum(rate(passback_skyward_throttled_seconds_total"
                    f"{{{JOB}}}[$__rate_interval]))"
                )
            },
            "s",
            width=12,
        ),
        graph(
            "Districts stopped by Skyward",
            "Districts whose newest run was stopped as a whole, by reason.",
            {
                "{{reason}}": (
                    "sum by (reason) (max by (job, district, reason)"
                    f" (passback_skyward_circuit_open{{{JOB}}}))"
                )
            },
            "none",
            width=12,
            stacked=True,
        ),
    ]

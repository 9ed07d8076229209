"""``explain``: why a grade is in Skyward, or why not, from the store alone."""

from typing import Annotated, Any, Final

import typer

from consumer.cli.explanation import Explanation, Verdict, explain_all
from consumer.cli.output import emit_json, local, number, say, show_fields, show_table
from consumer.cli.session import AsJson, DistrictId, Session, session_of
from consumer.errors import UsageError
from consumer.gradebook import Kind, Origin, Sent
from consumer.log import student_hash
from consumer.store.connection import Pool
from consumer.store.districts import StoredDistrict
from consumer.store.explaining import OUTCOMES, SentLine


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(explain)


def explain(
    ctx: typer.Context,
    district_id: DistrictId,
    assessment: Annotated[str, typer.Option(metavar="ID", help="The assessment's id in Otus.")],
    class_id: Annotated[
        str | None, typer.Option("--class", metavar="ID", help="The class's id in Otus.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(metavar="ID", help="The student's id in Otus.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say why a grade is in Skyward, or why not, and what would make it pass."""
    if any("\x00" in (given or "") for given in (assessment, class_id, student)):
        raise UsageError("An id holds no NUL character.")

    async def work(pool: Pool, stored: StoredDistrict) -> list[Explanation]:
        return await explain_all(pool, stored, assessment, class_id, student)

    found = session_of(ctx).with_district(district_id, work)
    if as_json:
        shapes = [_shape(one) for one in found]
        emit_json(shapes[0] if len(shapes) == 1 else shapes)
    elif len(found) == 1:
        _show(found[0], _in_the_logs(session_of(ctx), found[0]))
    else:
        _show_all(found)


def _shape(one: Explanation) -> dict[str, Any]:
    return {
        "district": one.district.district,
        "assessment": one.key.assessment_id,
        "class": one.key.class_id,
        "student": one.key.student_id,
        "state": one.state,
        "decision": {"kind": one.kind, "reason": one.reason, "detail": one.detail},
        "rules": [
            {"rule": v.rule.number, "code": v.rule.code, "passes": v.passes, "because": v.because}
            for v in one.verdicts
        ],
        "line_item_sourced_id": one.line_item_sourced_id,
        "result_sourced_id": one.result_sourced_id,
        "sent": [
            {
                "at": line.at,
                "score": number(line.score),
                "origin": line.origin,
                "outcome": OUTCOMES[line.outcome],
                "reason": line.reason,
            }
            for line in one.sent
        ],
        "retry_when": one.retry_when,
    }


def _in_the_logs(session: Session, one: Explanation) -> str:
    """The hash that stands for the student in this district's log lines."""
    try:
        key = session.sealing_keys.log_key
    except UsageError:
        return "not known here, for it is made with the sealing keys"
    return student_hash(key, one.district.district, one.key.student_id)


def _show(one: Explanation, in_the_logs: str) -> None:
    zone = one.district.zone
    assessment = one.item.assessment
    say(_answer(one))
    say("")
    pairs: list[tuple[str, object]] = [
        ("grade", f"{' / '.join(one.key)} in {one.district.district}"),
    ]
    if assessment is not None:
        due = (
            "no due date" if assessment.due_at is None else f"due {local(assessment.due_at, zone)}"
        )
        points = number(assessment.points_possible)
        pairs += [
            ("assessment", assessment.title or "(no name)"),
            ("", f"{assessment.type}, {points} points, {due}"),
        ]
    pairs += [
        ("Otus says", _newest(one)),
        ("state", _state(one)),
        ("what next", one.retry_when),
        ("sourcedIds", f"line item {one.line_item_sourced_id}"),
        ("", f"result {one.result_sourced_id}"),
        ("in the logs", f"student {in_the_logs}"),
        *_rules(one),
    ]
    show_fields(pairs)
    _show_sent(one)


def _answer(one: Explanation) -> str:
    """The one sentence to read aloud."""
    held = None if one.held is None else _held(one.held)
    if one.kind is Kind.POST and held is not None:
        return f"It is in Skyward: {held}."
    because = one.detail or next((v.because for v in one.verdicts if v.passes is False), None)
    if one.kind is None and because is None:
        because = "no run has decided it yet"
    where = "It is not in Skyward" if held is None else f"In Skyward stands {held}, and no more"
    return f"{where}: {because or one.reason}."


def _held(held: Sent) -> str:
    if held.score is None:
        return str(held.score_status)
    if held.origin is Origin.CLOCK:
        return f"{number(held.score)}, because nothing was handed in by the due date"
    return f"{number(held.score)}, as the teacher graded it"


def _state(one: Explanation) -> str:
    told = one.state if one.reason is None else f"{one.state}: {one.reason}"
    if one.kind is None:
        return f"{told}, not decided yet"
    return f"{told}, decided {local(one.decided_at, one.district.zone)}"


def _rules(one: Explanation) -> list[tuple[str, object]]:
    """Each rule with its verdict: a line for what fails or needs a word, the others by code."""
    lines = [
        f"{'pass' if v.passes else 'FAIL'}  {_named(v)}: {v.because}"
        for v in one.verdicts
        if v.passes is False or (v.passes and v.because != v.rule.claim)
    ]
    unknown: dict[str, list[str]] = {}
    for v in one.verdicts:
        if v.passes is None:
            unknown.setdefault(v.because, []).append(_named(v))
    lines += [f"?     {', '.join(rules)}: {because}" for because, rules in unknown.items()]
    passing = [_named(v) for v in one.verdicts if v.passes and v.because == v.rule.claim]
    if passing:
        lines.append(f"pass  {', '.join(passing)}")
    return [("" if number else "rules", line) for number, line in enumerate(lines)]


def _named(verdict: Verdict) -> str:
    rule = verdict.rule
    return rule.code if rule.number is None else f"{rule.code} (rule {rule.number})"


def _newest(one: Explanation) -> str:
    if one.grade.version is None and one.changed_at is None:
        return "nothing of this student: no grade event has come"
    score = number(one.grade.score)
    words = [f"score {score}" if score is not None else "no score", one.grade.completion.value]
    if one.grade.submission is not None:
        words.append(one.grade.submission.value)
    when = local(one.changed_at, one.district.zone)
    return f"{', '.join(words)} (version {one.grade.version}, {when})"


def _show_sent(one: Explanation) -> None:
    zone = one.district.zone
    say("")
    rows = [(line, "line item") for line in one.sent_line_item]
    rows += [(line, "result") for line in one.sent]
    show_table(
        ["sent", "what", "score#", "by", "Skyward"],
        [
            (local(line.at, zone), what, number(line.score), line.origin, _outcome(line))
            for line, what in sorted(rows, key=lambda row: row[0].at)
        ],
        "nothing of it was ever sent",
    )


def _outcome(line: SentLine) -> str:
    outcome = OUTCOMES[line.outcome]
    return outcome if line.reason is None else f"{outcome}: {line.reason}"


def _show_all(found: list[Explanation]) -> None:
    """A row for all that share their lot: of a whole class that is a line or two."""
    alike: dict[tuple[object, ...], list[str]] = {}
    for e in found:
        lot = (e.key.class_id, e.state, e.reason, e.retry_when)
        alike.setdefault(lot, []).append(e.key.student_id)
    show_table(
        ["class", "students", "state", "reason", "what next"],
        [
            (class_id, _students(students), state, reason, retry_when)
            for (class_id, state, reason, retry_when), students in alike.items()
        ],
        "the assessment has no assignees, and no grade of it is known",
    )


def _students(students: list[str]) -> str:
    if len(students) <= _NAMED:
        return ", ".join(students)
    return f"{', '.join(students[:_NAMED])} and {len(students) - _NAMED} more"


_NAMED: Final = 4

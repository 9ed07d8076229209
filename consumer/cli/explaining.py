"""``explain``: why a grade is in Skyward, or why not, from the store alone."""

from typing import Annotated, Any

import typer

from consumer.cli.explanation import Explanation, explain_all
from consumer.cli.output import emit_json, local, number, say, show_fields, show_table
from consumer.cli.session import AsJson, DistrictId, session_of
from consumer.errors import UsageError
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
        _show(found[0])
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


def _show(one: Explanation) -> None:
    zone = one.district.zone
    assessment = one.item.assessment
    decided = "not decided yet"
    if one.kind is not None:
        decided = " ".join(str(w) for w in (one.kind, one.reason) if w is not None)
        if one.detail:
            decided += f": {one.detail}"
        decided += f" ({local(one.decided_at, zone)})"
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
        ("state", one.state),
        ("decision", decided),
        ("what next", one.retry_when),
        ("in Skyward", f"line item {one.line_item_sourced_id}"),
        ("", f"result {one.result_sourced_id}"),
    ]
    show_fields(pairs)
    say("")
    show_table(
        ["", "rule", "code", "because"],
        [
            (
                {True: "pass", False: "FAIL", None: "?"}[v.passes],
                "" if v.rule.number is None else v.rule.number,
                v.rule.code,
                v.because,
            )
            for v in one.verdicts
        ],
        "",
    )
    _show_sent(one)


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
            (local(line.at, zone), what, number(line.score), line.origin, _answer(line))
            for line, what in sorted(rows, key=lambda row: row[0].at)
        ],
        "nothing of it was ever sent",
    )


def _answer(line: SentLine) -> str:
    outcome = OUTCOMES[line.outcome]
    return outcome if line.reason is None else f"{outcome}: {line.reason}"


def _show_all(found: list[Explanation]) -> None:
    show_table(
        ["class", "student", "state", "reason", "what next"],
        [(e.key.class_id, e.key.student_id, e.state, e.reason, e.retry_when) for e in found],
        "the assessment has no assignees, and no grade of it is known",
    )

"""``reasons``: the closed set of reasons, with what each means and what to do."""

from collections.abc import Iterator
from typing import Annotated, Final

import typer

from consumer.cli.guidance import GUIDANCE
from consumer.cli.output import emit_json, show_table
from consumer.cli.session import AsJson
from consumer.errors import UsageError
from consumer.gradebook import Kind, Reason
from consumer.rules import RULES, Rule

_RULES: Final = {rule.code: rule for rule in RULES}

_KINDS: Final = {
    Kind.SKIP: "A rule says no. It is decided again when what the reason names changes.",
    Kind.HOLD: "It will be decided later by itself; the grade stays pending.",
    Kind.REJECT: "Skyward refused it. It goes again when its payload or the settings change.",
    Kind.DEFER: "Skyward or we could not. The next run tries again.",
}


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(reasons)


def reasons(
    as_json: AsJson = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page deploy/reasons.md.")
    ] = False,
) -> None:
    """List every reason why a grade stays back: what it means and what to do."""
    if as_json and as_markdown:
        raise UsageError("Give one of --json and --markdown.")
    if as_markdown:
        typer.echo("\n".join(markdown()))
    elif as_json:
        emit_json([_shape(code) for code in Reason])
    else:
        show_table(
            ["kind", "reason", "what it means", "what to do"],
            [(c.kind, c, GUIDANCE[c].meaning, GUIDANCE[c].do) for c in Reason],
            "",
        )


def _shape(code: Reason) -> dict[str, object]:
    rule, guidance = _RULES.get(code), GUIDANCE[code]
    return {
        "kind": code.kind,
        "code": code,
        "rule": None if rule is None else rule.number,
        "claim": None if rule is None else rule.claim,
        "meaning": guidance.meaning,
        "passes_when": guidance.passes_when,
        "do": guidance.do,
    }


def markdown() -> Iterator[str]:
    """The page deploy/reasons.md, a line at a time."""
    yield "# Reasons"
    yield ""
    yield "Written by `make reasons` from the tables that the daemon decides with; do not edit."
    yield ""
    yield (
        "Each grade that is not in Skyward has one of these codes: in `explain`, in reports, and as"
        " the label `reason` of the metrics. Rules are asked in the order of the first table; the"
        " first that fails names the reason. A number is the rule's in the admin guide."
    )
    yield ""
    yield "## The rules, in order"
    yield ""
    yield "| | rule | what holds where it passes | reason where it does not |"
    yield "|--:|--:|---|---|"
    for place, rule in enumerate(RULES, start=1):
        yield f"| {place} | {_number(rule)} | {rule.claim} | `{rule.code}` |"
    for kind, meaning in _KINDS.items():
        yield ""
        yield f"## {kind}"
        yield ""
        yield meaning
        yield ""
        yield "| reason | what it means | it goes when | what to do |"
        yield "|---|---|---|---|"
        for code in Reason:
            if code.kind is kind:
                told = GUIDANCE[code]
                yield f"| `{code}` | {told.meaning} | {told.passes_when} | {told.do} |"


def _number(rule: Rule) -> str:
    return "" if rule.number is None else str(rule.number)

"""``reasons``: the closed set of reasons, with what each means and what to do."""

import typer

from consumer.cli.guidance import GUIDANCE
from consumer.cli.output import emit_json, show_table
from consumer.cli.session import AsJson
from consumer.gradebook import Reason


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(reasons)


def reasons(as_json: AsJson = False) -> None:
    """List every reason why a grade stays back: what it means and what to do."""
    if as_json:
        emit_json(
            [
                {
                    "kind": code.kind,
                    "code": code,
                    "meaning": GUIDANCE[code].meaning,
                    "passes_when": GUIDANCE[code].passes_when,
                    "do": GUIDANCE[code].do,
                }
                for code in Reason
            ]
        )
        return
    show_table(
        ["kind", "reason", "what it means", "what to do"],
        [(c.kind, c, GUIDANCE[c].meaning, GUIDANCE[c].do) for c in Reason],
        "",
    )

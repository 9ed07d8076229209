"""Every SQL statement that consumer/ can send, worked out from its source.

A statement that no test happens to run is found too. SQL lives in the store, and is the first
argument of one of asyncpg's methods there: a literal, a module's constant, or one of several that
a loop or a caller chooses among.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, Final

CONSUMER: Final = Path(__file__).parents[1] / "consumer"
SENDS: Final = ("execute", "executemany", "fetch", "fetchrow", "fetchval")
"""What the store uses of asyncpg to send SQL."""

ELSEWISE: Final = re.compile(r"copy_(from|to|records)_\w+|cursor|prepare|fetchmany")
"""What it does not use, and what this would have to learn first."""

_IS_SQL: Final = re.compile(
    r"\s*(SELECT\s|INSERT INTO\s|UPDATE \w+( \w+)? SET\s|DELETE FROM\s|WITH \w+ AS\s)"
)
_HOLE: Final = "hole"
"""Stands for the part of a partition's DDL that only the calendar knows."""


@dataclass(frozen=True)
class Statement:
    """``where`` is ``module.function`` in the store."""

    where: str
    sql: str


def statements() -> list[Statement]:
    """All of the store's, migrations not among them."""
    found: dict[Statement, None] = {}
    for path in sorted((CONSUMER / "store").glob("*.py")):
        module = import_module(f"consumer.store.{path.stem}")
        for one in _of_module(ast.parse(path.read_text()), module, path.stem):
            found[one] = None
    return list(found)


def strays() -> list[str]:
    """Places outside the store and the sandbox where a text looks like SQL."""
    return [
        f"{path.relative_to(CONSUMER)}:{node.lineno}"
        for path in sorted(CONSUMER.rglob("*.py"))
        if path.relative_to(CONSUMER).parts[0] not in ("store", "sandbox")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _IS_SQL.match(node.value)
    ]


def _of_module(tree: ast.Module, module: ModuleType, name: str) -> Iterator[Statement]:
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    texts = _Texts(module, functions)
    for function in functions:
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            where = f"{name}.{function.name}"
            if ELSEWISE.fullmatch(call.func.attr):
                raise AssertionError(f"{where} calls {call.func.attr}, of which nothing is known")
            if call.func.attr in SENDS:
                for sql in texts.of(call.args[0], function):
                    yield Statement(where, sql)


_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Texts:
    """The texts that an expression may come to, with a module's own values for its names."""

    def __init__(self, module: ModuleType, functions: list[_Function]) -> None:
        self._globals = vars(module)
        self._functions = functions

    def of(self, node: ast.expr, function: _Function) -> list[str]:
        """Raises AssertionError where they cannot be worked out."""
        found = [value for value in self._values(node, function) if isinstance(value, str)]
        if not found:
            raise AssertionError(
                f"{function.name} sends {ast.unparse(node)}, whose text cannot be worked out"
            )
        return found

    def _values(self, node: ast.expr, function: _Function) -> list[Any]:
        if isinstance(node, ast.JoinedStr):
            parts = [self._part(part, function) for part in node.values]
            return ["".join(some) for some in product(*parts)]
        if isinstance(node, ast.Name) and node.id not in self._globals:
            return self._bound(node.id, function)
        try:
            code = compile(ast.Expression(node), "<statement>", "eval")
            return [eval(code, self._globals)]
        except NameError:
            return []

    def _part(self, node: ast.expr, function: _Function) -> list[str]:
        if isinstance(node, ast.FormattedValue):
            values = self._values(node.value, function)
            return [str(value) for value in values] or [_HOLE]
        assert isinstance(node, ast.Constant)
        return [str(node.value)]

    def _bound(self, name: str, function: _Function) -> list[Any]:
        """What a loop, or whoever calls the function, binds a name to."""
        for loop in ast.walk(function):
            if isinstance(loop, ast.For):
                for rows in self._values(loop.iter, function):
                    if isinstance(loop.target, ast.Name) and loop.target.id == name:
                        return list(rows)
                    if isinstance(loop.target, ast.Tuple):
                        names = [t.id for t in loop.target.elts if isinstance(t, ast.Name)]
                        if name in names:
                            return [row[names.index(name)] for row in rows]
        parameters = [argument.arg for argument in function.args.args]
        if name not in parameters:
            return []
        at = parameters.index(name)
        return [
            value
            for caller in self._functions
            for call in ast.walk(caller)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == function.name
            for value in self._values(call.args[at], caller)
        ]

"""Whether a statement can be sent to tables that Citus distributes by ``district_id``.

Postgres' own grammar reads it (libpg_query). What is asked goes further than that it runs: each
table that is read or written must be tied to a district that is given, so that the one shard that
holds it is asked and no other, and rows are locked in one shard alone.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import pgparse

from consumer.store.migrate import known_migrations

KEY: Final = "district_id"
REFERENCE: Final = frozenset({"schema_migration", "intake_offset"})
"""Small tables that are the same on every node; no column of theirs names a district."""

_QUERIES: Final = ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt")
_CATALOG: Final = ("pg_inherits", "pg_class")


class Tie(IntEnum):
    """How a table's districts are given: not at all, as several, or as exactly one."""

    NONE = 0
    SEVERAL = 1
    ONE = 2


def distributed_tables() -> frozenset[str]:
    """The tables that the migrations make with the key among their columns, partitions too."""
    found: set[str] = set()
    for _, _, sql in known_migrations():
        for create in _nodes(pgparse.parse(sql), "CreateStmt"):
            parents = [one["RangeVar"]["relname"] for one in create.get("inhRelations", [])]
            columns = [one["colname"] for one in _nodes(create, "ColumnDef")]
            if KEY in columns or found.intersection(parents):
                found.add(create["relation"]["relname"])
    return frozenset(found)


def faults(sql: str, distributed: frozenset[str]) -> list[str]:
    """What keeps ``sql`` from being sent to one shard a district; DDL has no such faults."""
    found: list[str] = []
    for raw in pgparse.parse(sql):
        [(kind, tree)] = raw["stmt"].items()
        if kind in _QUERIES:
            _Query(distributed, found).judge(kind, tree)
    return found


@dataclass
class _Query:
    """One query level: the tables in its FROM, and which column equals which.

    ``ties`` says of each alias what its ``district_id`` is tied to; ``follows`` that an alias is
    tied wherever another one is.
    """

    distributed: frozenset[str]
    found: list[str]
    outer: "_Query | None" = None
    ctes: dict[str, bool] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    keyed: list[str] = field(default_factory=list)
    ties: dict[str, Tie] = field(default_factory=dict)
    follows: list[tuple[str, "_Query", str]] = field(default_factory=list)

    def judge(self, kind: str, tree: Mapping[str, Any]) -> None:
        self._with(tree)
        if kind == "SelectStmt":
            self._select(tree)
        elif kind == "InsertStmt":
            self._insert(tree)
        else:
            self._add_table(tree["relation"])
            for item in tree.get("fromClause", tree.get("usingClause", [])):
                self._add_item(item)
            self._tie(tree.get("whereClause"))
            self._nested(tree.get("targetList"), tree.get("whereClause"))
            self._never_set(tree.get("targetList", []) if kind == "UpdateStmt" else [])
            self._settle(tree)

    # -- the four kinds --------------------------------------------------------------------

    def _with(self, tree: Mapping[str, Any]) -> None:
        for one in tree.get("withClause", {}).get("ctes", []):
            cte = one["CommonTableExpr"]
            [(kind, query)] = cte["ctequery"].items()
            self._inner().judge(kind, query)
            self.ctes[cte["ctename"]] = self._shows_key(query)

    def _select(self, tree: Mapping[str, Any]) -> None:
        for side in ("larg", "rarg"):
            if side in tree:
                self._inner().judge("SelectStmt", tree[side])
        for item in tree.get("fromClause", []):
            self._add_item(item)
        self._tie(tree.get("whereClause"))
        self._nested(*(tree.get(part) for part in _PARTS))
        self._settle(tree)

    def _insert(self, tree: Mapping[str, Any]) -> None:
        table = tree["relation"]["relname"]
        columns = [one["ResTarget"]["name"] for one in tree.get("cols", [])]
        if "selectStmt" in tree:
            self._inner().judge("SelectStmt", tree["selectStmt"]["SelectStmt"])
        if not self._is_distributed(table):
            return
        if KEY not in columns:
            self.found.append(f"{table} gets rows without {KEY}")
        conflict = tree.get("onConflictClause", {})
        arbiters = [
            one["IndexElem"].get("name") for one in conflict.get("infer", {}).get("indexElems", [])
        ]
        if arbiters and KEY not in arbiters:
            self.found.append(f"{table}'s conflict is looked for without {KEY}")
        self._never_set(conflict.get("targetList", []))
        if any(True for _ in _nodes(conflict.get("whereClause"), "FuncCall")):
            # Each shard would ask its own clock.
            self.found.append(f"{table}'s conflict calls a function in its WHERE")
        # Beside the row that stands, a conflict knows the one that is inserted.
        self._add_table(tree["relation"])
        self.ties = dict.fromkeys([*self.ties, "excluded"], Tie.ONE)
        self._nested(conflict.get("targetList"), conflict.get("whereClause"))

    def _never_set(self, targets: list[Any]) -> None:
        if any(one["ResTarget"].get("name") == KEY for one in targets):
            self.found.append(f"{KEY} of a row that stands is changed")

    # -- FROM ------------------------------------------------------------------------------

    def _add_item(self, item: Mapping[str, Any]) -> list[str]:
        """Adds an item of FROM; returns the aliases that have the key."""
        [(kind, node)] = item.items()
        if kind == "RangeVar":
            return self._add_table(node)
        if kind == "JoinExpr":
            return self._add_join(node)
        alias = node.get("alias", {}).get("aliasname", "")
        if kind == "RangeSubselect":
            query = node["subquery"]["SelectStmt"]
            self._inner().judge("SelectStmt", query)
            has_key = self._shows_key(query)
        else:
            assert kind == "RangeFunction", f"nothing is known of {kind}"
            self._nested(node)
            has_key = KEY in _names(node.get("alias", {}).get("colnames", []))
        if has_key:
            self.keyed.append(alias)
            self.ties[alias] = Tie.SEVERAL
        return [alias] if has_key else []

    def _add_table(self, node: Mapping[str, Any]) -> list[str]:
        name = node["relname"]
        alias = node.get("alias", {}).get("aliasname", name)
        if (cte := self._cte(name)) is not None:
            if cte:
                self.keyed.append(alias)
                self.ties[alias] = Tie.SEVERAL
            return [alias] if cte else []
        if not self._is_distributed(name):
            return []
        self.tables[alias] = name
        self.keyed.append(alias)
        self.ties[alias] = Tie.NONE
        return [alias]

    def _add_join(self, node: Mapping[str, Any]) -> list[str]:
        left, right = self._add_item(node["larg"]), self._add_item(node["rarg"])
        # What stands on the kept side of an outer join is kept whatever the condition says.
        kind = node["jointype"]
        bound = {"JOIN_INNER": left + right, "JOIN_LEFT": right, "JOIN_RIGHT": left}.get(kind, [])
        if KEY in _names(node.get("usingClause", [])):
            for one, other in [(a, b) for a in left for b in right]:
                self._equal((self, one), (self, other), bound)
        self._tie(node.get("quals"), bound)
        self._nested(node.get("quals"))
        return left + right

    # -- conditions ------------------------------------------------------------------------

    def _tie(self, condition: Any, bound: list[str] | None = None) -> None:
        """Reads the equalities of a condition that must all hold; ``bound``: whom they bind."""
        if not condition:
            return
        [(kind, node)] = condition.items()
        if kind == "BoolExpr" and node["boolop"] == "AND_EXPR":
            for part in node["args"]:
                self._tie(part, bound)
        elif kind == "SubLink" and node["subLinkType"] == "ANY_SUBLINK":
            self._give(node["testexpr"], Tie.SEVERAL, bound)
        elif kind == "A_Expr" and _names(node["name"]) == ["="]:
            self._tie_equality(node, bound)

    def _tie_equality(self, node: Mapping[str, Any], bound: list[str] | None) -> None:
        left, right = node["lexpr"], node["rexpr"]
        if node["kind"] in ("AEXPR_OP_ANY", "AEXPR_IN"):
            self._give(left, Tie.SEVERAL, bound)
        elif node["kind"] == "AEXPR_OP":
            one, other = self._key(left), self._key(right)
            if one and other:
                self._equal(one, other, bound)
            elif _is_given(right):
                self._give(left, Tie.ONE, bound)
            elif _is_given(left):
                self._give(right, Tie.ONE, bound)

    def _give(self, node: Any, tie: Tie, bound: list[str] | None) -> None:
        key = self._key(node)
        if key is not None and key[0] is self and (bound is None or key[1] in bound):
            self.ties[key[1]] = max(tie, self.ties[key[1]])

    def _equal(
        self, one: tuple["_Query", str], other: tuple["_Query", str], bound: list[str] | None
    ) -> None:
        for (query, alias), (from_query, from_alias) in ((one, other), (other, one)):
            if query is self and (bound is None or alias in bound):
                self.follows.append((alias, from_query, from_alias))

    def _key(self, node: Mapping[str, Any]) -> tuple["_Query", str] | None:
        """Whose key a column is: the query level and the alias there."""
        if "ColumnRef" not in node:
            return None
        names = _names(node["ColumnRef"]["fields"])
        if names[-1] != KEY:
            return None
        query: _Query | None = self
        while query is not None:
            if len(names) == 2 and names[0] in query.ties:
                return query, names[0]
            if len(names) == 1 and query.keyed:
                return query, query.keyed[0]
            query = query.outer
        return None

    def _settle(self, tree: Mapping[str, Any]) -> None:
        """Says who is tied to nothing, once all conditions were read."""
        self._follow()
        locks = "lockingClause" in tree
        for alias, table in self.tables.items():
            if self.ties[alias] is Tie.NONE:
                self.found.append(f"{table} is not tied to a district")
            elif locks and self.ties[alias] is Tie.SEVERAL:
                self.found.append(f"{table} is locked in several districts at once")

    # -- what is nested --------------------------------------------------------------------

    def _nested(self, *parts: Any) -> None:
        """Judges the queries that stand somewhere in an expression.

        Their conditions may name a column of this level, whose ties are followed first.
        """
        self._follow()
        for part in parts:
            for node in _nodes(part, "SubLink"):
                self._inner().judge("SelectStmt", node["subselect"]["SelectStmt"])

    def _follow(self) -> None:
        for _ in self.follows:
            for alias, query, other in self.follows:
                self.ties[alias] = max(self.ties[alias], query.ties[other])

    def _inner(self) -> "_Query":
        return _Query(self.distributed, self.found, self)

    def _cte(self, name: str) -> bool | None:
        if name in self.ctes:
            return self.ctes[name]
        return None if self.outer is None else self.outer._cte(name)

    def _is_distributed(self, table: str) -> bool:
        if table in self.distributed:
            return True
        if table not in REFERENCE and table not in _CATALOG:
            self.found.append(f"nothing is known of the table {table}")
        return False

    def _shows_key(self, query: Mapping[str, Any]) -> bool:
        """Whether a query has the key among its columns."""
        if "larg" in query:
            return self._shows_key(query["larg"])
        for one in query.get("targetList", query.get("returningList", [])):
            target = one["ResTarget"]
            column = target.get("val", {}).get("ColumnRef")
            if target.get("name") == KEY:
                return True
            if column and "name" not in target and _names(column["fields"])[-1:] == [KEY]:
                return True
            if column and "A_Star" in column["fields"][-1]:
                return KEY in json.dumps(query.get("fromClause", [])) or any(
                    node["relname"] in self.distributed for node in _nodes(query, "RangeVar")
                )
        return False


_PARTS: Final = (
    *("targetList", "whereClause", "havingClause", "groupClause", "sortClause", "valuesLists"),
    *("limitCount", "limitOffset", "distinctClause"),
)


def _is_given(node: Mapping[str, Any]) -> bool:
    """Whether it is a parameter or a literal, cast or not."""
    if "TypeCast" in node:
        return _is_given(node["TypeCast"]["arg"])
    return "ParamRef" in node or "A_Const" in node


def _names(nodes: list[Any]) -> list[str]:
    return [node["String"]["sval"] for node in nodes if "String" in node]


def _nodes(tree: Any, kind: str) -> Iterator[Mapping[str, Any]]:
    """The nodes of that kind in a tree, none that stands in another one of them."""
    if isinstance(tree, dict):
        for name, child in tree.items():
            if name == kind:
                yield child
            else:
                yield from _nodes(child, kind)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child, kind)

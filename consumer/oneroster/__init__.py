"""OneRoster 1.1 and 1.2 as Skyward speaks it: addresses, bodies, and what answers mean.

Pure. ``paths`` says where a resource lives, ``bodies`` what is written to it, ``answers``
what became of a write, ``reading`` what was read.
"""

from consumer.oneroster.answers import Answer, Operation, read_answer
from consumer.oneroster.bodies import Bodies, WireForm
from consumer.oneroster.paths import Paths, PathStyle, Version, scopes
from consumer.oneroster.reading import (
    Category,
    HeldLineItem,
    HeldResult,
    Page,
    SchoolClass,
    read_categories,
    read_class,
    read_classes,
    read_line_item,
    read_line_items,
    read_result,
    read_results,
    read_sessions,
    read_users,
)

__all__ = [
    "Answer",
    "Bodies",
    "Category",
    "HeldLineItem",
    "HeldResult",
    "Operation",
    "Page",
    "PathStyle",
    "Paths",
    "SchoolClass",
    "Version",
    "WireForm",
    "read_answer",
    "read_categories",
    "read_class",
    "read_classes",
    "read_line_item",
    "read_line_items",
    "read_result",
    "read_results",
    "read_sessions",
    "read_users",
    "scopes",
]

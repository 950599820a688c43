# SPDX-License-Identifier: MIT
"""Ordered maps from byte keys to entries, as Merkle trees: a pure function of their content.

A tree is named by its root, the address of its top node; ``None`` is the empty map. Nothing is changed in place:
``apply`` gives a new root that shares all untouched nodes with the old one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from casstore.format.entry import Entry
from casstore.format.node import Node, Summary
from casstore.tree.build import build
from casstore.tree.count import count
from casstore.tree.diff import Change, diff
from casstore.tree.edit import apply
from casstore.tree.merge import Conflict, Merge, Sides, merge
from casstore.tree.nodes import Nodes, RecordStore, Root
from casstore.tree.read import contents_of, first_key, lookup, scan, summary, walk_nodes

if TYPE_CHECKING:
    from casstore.tree.check import Checked, check_tree
    from casstore.tree.proof import (
        Proof,
        Proven,
        prove,
        prove_key,
        prove_prefix,
        verify_key,
        verify_prefix,
        verify_proof,
    )

_LAZY = {
    **dict.fromkeys(("Checked", "check_tree"), "casstore.tree.check"),
    **dict.fromkeys(
        ("Proof", "Proven", "prove", "prove_key", "prove_prefix", "verify_key", "verify_prefix", "verify_proof"),
        "casstore.tree.proof",
    ),
}
"""Imported on use: the start of every command counts."""


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Change",
    "Checked",
    "Conflict",
    "Entry",
    "Merge",
    "Node",
    "Nodes",
    "Proof",
    "Proven",
    "RecordStore",
    "Root",
    "Sides",
    "Summary",
    "apply",
    "build",
    "check_tree",
    "contents_of",
    "count",
    "diff",
    "first_key",
    "lookup",
    "merge",
    "prove",
    "prove_key",
    "prove_prefix",
    "scan",
    "summary",
    "verify_key",
    "verify_prefix",
    "verify_proof",
    "walk_nodes",
]

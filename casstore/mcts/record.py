# SPDX-License-Identifier: MIT
"""What a saved tree says of itself and of each node: JSON values, and their strict reading.

A saved tree is a snapshot whose root ``objects`` holds::

    tree                  {"next_id": number, "root": id, "settings": {…}, "version": 1}
    nodes/<id, 10 digits> {"edges": [[child, action, prior, visits, value sum], …], "expanded": bool, "parent": id or
                           null, "stats": {name: number, …}}, and "lost": hex id where the state's snapshot was lost
    states/<id, 10 digits> an entry of kind snapshot: the node's state, kept by the collector through this entry

The primary edge of a node is the first of its parent's that leads to it. Ids beyond ten digits have more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from casstore.address import Address, parse_address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import JsonValue

if TYPE_CHECKING:
    from casstore.mcts.node import Node

VERSION: Final = 1
HEADER: Final = "tree"
NODES: Final = "nodes/"
STATES: Final = "states/"


class Header(NamedTuple):
    """What a saved tree says of itself."""

    root: int
    next_id: int
    merge_transpositions: bool
    history: bool


class EdgeRecord(NamedTuple):
    """An edge as it is saved."""

    child: int
    action: JsonValue
    prior: float
    visits: int
    value_sum: float


class NodeRecord(NamedTuple):
    """A node as it is saved."""

    parent: int | None
    edges: list[EdgeRecord]
    stats: dict[str, int | float]
    expanded: bool
    lost: Address | None


def node_key(prefix: str, node_id: int) -> str:
    """The key of a node's record or state."""
    return f"{prefix}{node_id:010d}"


def header_value(header: Header) -> JsonValue:
    """The JSON value of a header."""
    return {
        "next_id": header.next_id,
        "root": header.root,
        "settings": {"history": header.history, "merge_transpositions": header.merge_transpositions},
        "version": VERSION,
    }


def parse_header(value: object) -> Header:
    """The header that a JSON value stands for.

    Raises:
        CorruptionError: It is none.
        FormatVersionError: It is one of a later format.
    """
    if not isinstance(value, dict) or type(value.get("version")) is not int:
        raise CorruptionError("the header of the saved tree is malformed.")
    if value["version"] != VERSION:
        raise FormatVersionError(f"a saved tree of format {value['version']}; this casstore reads format {VERSION}.")
    settings = value.get("settings")
    if value.keys() != {"next_id", "root", "settings", "version"} or not isinstance(settings, dict):
        raise CorruptionError("the header of the saved tree is malformed.")
    root, next_id = value["root"], value["next_id"]
    merge, history = settings.get("merge_transpositions"), settings.get("history")
    if not (_is_id(root) and _is_id(next_id) and root < next_id and type(merge) is bool and type(history) is bool):
        raise CorruptionError("the header of the saved tree is malformed.")
    return Header(root, next_id, merge, history)


def node_value(node: Node, lost: Address | None) -> dict[str, JsonValue]:
    """The JSON value of a node."""
    value: dict[str, JsonValue] = {
        "edges": [[edge.child.id, edge.action, edge.prior, edge.visits, edge.value_sum] for edge in node.edges],
        "expanded": node.expanded,
        "parent": None if node.edge is None else node.edge.parent.id,
        "stats": dict(node._stats or {}),
    }
    if lost is not None:
        value["lost"] = lost.hex()
    return value


def parse_node(key: str, value: object) -> NodeRecord:
    """The node that a JSON value stands for.

    Raises:
        CorruptionError: It is none.
    """
    if not isinstance(value, dict) or value.keys() - {"lost"} != {"edges", "expanded", "parent", "stats"}:
        raise _malformed(key)
    parent, edges, stats, lost = value["parent"], value["edges"], value["stats"], value.get("lost")
    if (
        not (parent is None or _is_id(parent))
        or not isinstance(edges, list)
        or not isinstance(stats, dict)
        or not all(_is_number(number) for number in stats.values())
        or type(value["expanded"]) is not bool
    ):
        raise _malformed(key)
    found = []
    for edge in edges:
        if not isinstance(edge, list) or len(edge) != 5:
            raise _malformed(key)
        child, action, prior, visits, value_sum = edge
        if not (_is_id(child) and _is_number(prior) and prior >= 0 and _is_id(visits) and _is_number(value_sum)):
            raise _malformed(key)
        found.append(EdgeRecord(child, action, float(prior), visits, float(value_sum)))
    try:
        address = None if lost is None else parse_address(lost)
    except (InvalidInputError, TypeError):
        raise _malformed(key) from None
    return NodeRecord(parent, found, stats, value["expanded"], address)


def parse_key(key: str, prefix: str) -> int:
    """The id of the node whose record or state has that key.

    Raises:
        CorruptionError: It is no such key.
    """
    digits = key[len(prefix) :]
    if digits.isascii() and digits.isdecimal() and len(digits) < 20:
        node_id = int(digits)
        if node_key(prefix, node_id) == key:
            return node_id
    raise _malformed(key)


def _is_id(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _malformed(key: str) -> CorruptionError:
    return CorruptionError(
        f"objects/{key} is malformed, so the tree cannot be resumed; resume an earlier one (`casstore refs history`).",
        path=key,
    )

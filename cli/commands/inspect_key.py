# SPDX-License-Identifier: MIT
"""``casstore inspect key``: one key, from the root of its tree down to the record on disk."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import click

from ..names import json_name, key_bytes
from ..places import parse_content_place
from ..session import Call, complete_state, store_command
from ..units import exact_size, format_size
from ..views import MAX_LISTED, short_id

if TYPE_CHECKING:
    from casstore import Store
    from casstore.address import Address
    from casstore.tree import Root


@store_command("inspect key", example="casstore --store state.cas inspect key main:files/README.md")
@click.argument("place", metavar="STATE:files/PATH", shell_complete=complete_state)
def inspect_key(call: Call, place: str) -> None:
    """Show one key: its entry, the nodes that lead to it, and the record of its content."""
    from ..entries import entry_at, entry_json, root_of

    wanted = parse_content_place(place)
    with call.read() as store:
        snapshot = store.resolve(wanted.state)
        entry = entry_at(store, snapshot, wanted)
        nodes = _node_path(store, root_of(snapshot, wanted), key_bytes(wanted.path))
        record = None if entry.address is None else _record(store, entry.address)
        pieces = _pieces(store, entry.address) if record is not None and record["kind"] == "chunk list" else None
    shown = entry_json(entry) or {}
    if call.out.as_json:
        call.out.json(
            id=snapshot.id, **json_name("key", wanted.key), entry=shown, nodes=nodes, record=record, pieces=pieces
        )
        return
    facts = [
        ("key", wanted.key),
        ("kind", shown["kind"]),
        ("size", exact_size(entry.size)),
        ("address", "none, the content is in the node" if entry.address is None else entry.address.hex()),
    ]
    for node in nodes:
        position = f"height {node['height']}, {node['position'] + 1:,} of {node['count']:,}"
        facts.append(("node", f"{node['address'].hex()} ({position}; {_stored(node['record'])})"))
    if record is not None:
        facts.append(("record", _stored(record)))
    for number, piece in enumerate(pieces or ()):
        if number == MAX_LISTED:
            facts.append(("", f"... and {len(pieces or ()) - MAX_LISTED:,} more (all of them with --json)"))
            break
        facts.append(
            ("piece", f"{short_id(piece['address'])} ({format_size(piece['size'])}; {_stored(piece['record'])})")
        )
    call.out.facts(facts)


def _node_path(store: Store, root: Root, key: bytes) -> list[dict[str, Any]]:
    """The nodes from the root to the leaf that holds ``key``."""
    path = []
    address = root
    while address is not None:
        node = store.nodes.get(address)
        position = bisect_left(node.keys, key)
        path.append(
            {
                "address": address,
                "height": node.height,
                "count": len(node.keys),
                "position": position,
                "record": _record(store, address),
            }
        )
        address = node.children[position] if node.height else None
    return path


def _pieces(store: Store, address: Address | None) -> list[dict[str, Any]] | None:
    """The pieces of a content that is stored as a list, each a chunk or a list again."""
    found = None if address is None else store.storage.chunk_list(address)
    if found is None:
        return None
    return [{"address": piece, "size": size, "record": _record(store, piece)} for piece, size in found.pieces]


def _record(store: Store, address: Address) -> dict[str, Any]:
    """Where and how an object is stored; ``segment`` and ``offset`` are None where each object is a file."""
    from casstore.format.kinds import ENCODING_NAMES, KIND_NAMES

    info = store.storage.locate(address)
    in_segment = store.format_fields["backend"] == "segments"
    return {
        "kind": KIND_NAMES.get(info.kind, str(info.kind)),
        "encoding": ENCODING_NAMES.get(info.encoding, str(info.encoding)),
        "base": info.base,
        "stored_bytes": info.stored_bytes,
        "raw_bytes": info.raw_bytes,
        "segment": info.segment if in_segment else None,
        "offset": info.offset if in_segment else None,
        "damaged": info.damaged,
    }


def _stored(record: dict[str, Any]) -> str:
    """A record on one line."""
    size = f"{record['kind']}, {format_size(record['stored_bytes'])} {record['encoding']}"
    if record["base"] is not None:
        size += f" against {record['base'].hex()[:12]}"
    place = "a file" if record["segment"] is None else f"segment {record['segment']}, offset {record['offset']:,}"
    return f"{size}, {place}{', DAMAGED' if record['damaged'] else ''}"

# SPDX-License-Identifier: MIT
"""``casstore inspect snapshot``: one snapshot, and what it adds to its parents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..session import Call, complete_state, store_command
from ..units import exact_size, format_count, format_size, format_time
from ..views import snapshot_json

if TYPE_CHECKING:
    from casstore import Snapshot, Store


@store_command("inspect snapshot", example="casstore --store state.cas inspect snapshot main")
@click.argument("state", shell_complete=complete_state)
def inspect_snapshot(call: Call, state: str) -> None:
    """Show one snapshot: roots, parents, and how much of it is its own.

    Own are the bytes of keys that differ from every parent (so a renamed file counts, though its content is stored
    once); everything else is shared with a parent.
    """
    with call.read() as store:
        snapshot = store.resolve(state)
        roots = _roots(store, snapshot)
        total = sum(root["bytes"] for root in roots.values())
        own_keys, own_bytes = _own(store, snapshot, roots)
    sizes = {
        "keys": sum(root["entries"] for root in roots.values()),
        "bytes": total,
        "own_keys": own_keys,
        "own_bytes": own_bytes,
        "shared_bytes": total - own_bytes,
    }
    if call.out.as_json:
        call.out.json(snapshot={**snapshot_json(snapshot), "roots": roots}, sizes=sizes)
        return
    facts = [
        ("id", snapshot.id.hex()),
        ("state id", snapshot.state_id.hex()),
        ("time", format_time(snapshot.time_ns)),
        ("message", snapshot.message),
        *((f"meta {name}", str(value)) for name, value in snapshot.meta.items()),
        *(("parent", parent.hex()) for parent in snapshot.parents),
    ]
    for name, root in roots.items():
        described = ", ".join(
            (format_count(root["entries"], "key"), format_count(root["files"], "file"), format_size(root["bytes"]))
        )
        facts.append((f"root {name}", f"{root['address'].hex()} ({described})"))
    facts += [
        ("bytes", exact_size(total)),
        ("own", f"{format_count(own_keys, 'key')}, {exact_size(own_bytes)}"),
        ("shared with parents", exact_size(total - own_bytes)),
    ]
    call.out.facts(facts)


def _roots(store: Store, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    from casstore.tree import summary

    described = {}
    for name, address in sorted(snapshot.roots.items()):
        below = summary(store.nodes, address)
        described[name] = {
            "address": address,
            "entries": below.entries,
            "files": below.files,
            "bytes": below.bytes,
        }
    return described


def _own(store: Store, snapshot: Snapshot, roots: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """Number and bytes of the keys that differ from every parent."""
    own: dict[str, int] | None = None
    for parent in snapshot.parents:
        changed = {change.key: change.new.size for change in store.diff(parent, snapshot) if change.new is not None}
        own = changed if own is None else {key: size for key, size in own.items() if key in changed}
    if own is None:
        return sum(root["entries"] for root in roots.values()), sum(root["bytes"] for root in roots.values())
    return len(own), sum(own.values())

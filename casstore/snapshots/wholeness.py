# SPDX-License-Identifier: MIT
"""Is all that a snapshot leads to in the store?

Asked where the index was made anew, or a collection ended in the middle: what was collected may then be back in part.
"""

from __future__ import annotations

from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.kinds import CHUNK_LIST
from casstore.snapshots.history import shallow_ids
from casstore.snapshots.snapshot import Snapshots


def check_whole(snapshots: Snapshots, snapshot: Address) -> None:
    """Looks for every record that a snapshot and its ancestors lead to; contents are not read.

    Raises:
        NotFoundError: Something is missing or cannot be read.

    *Cost*: a read of every node and list, and a look-up of every content.
    """
    storage, nodes = snapshots.storage, snapshots.nodes
    find, shallow = storage.backend.find, shallow_ids(snapshots.storage)
    states, trees, contents = [snapshot], list[Address](), list[Address]()
    seen: set[Address] = set()
    try:
        while states or trees or contents:
            if contents:
                address = contents.pop()
                if address in seen:
                    continue
                seen.add(address)
                entry = find(address)
                if entry is None or (entry.base is not None and find(entry.base) is None):
                    raise NotFoundError("a content is missing.", address=address)
                pieces = storage.chunk_list(address) if entry.kind == CHUNK_LIST else None
                contents += [piece for piece, _ in pieces.pieces] if pieces is not None else []
            elif trees:
                address = trees.pop()
                if address not in seen:
                    seen.add(address)
                    node = nodes.read(address)
                    trees += node.children
                    contents += node.contents
                    states += node.snapshots
            else:
                address = states.pop()
                if address not in seen:
                    seen.add(address)
                    fields = snapshots.fields(address)
                    trees += fields.roots.values()
                    states += () if address in shallow else fields.parents
    except (NotFoundError, CorruptionError) as error:
        raise NotFoundError(
            f"the snapshot {snapshot.hex()} is there only in part ({error.message.rstrip('.')}): it was collected "
            "before the index was made anew. Name another state, or import it again.",
            address=error.address,
        ) from error

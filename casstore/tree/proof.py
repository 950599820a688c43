# SPDX-License-Identifier: MIT
"""Proofs: that a key maps to an entry, that it is absent, or what all keys with a prefix are; checked without a store.

A proof is the encoded nodes on the way from the root: each names its children by their keyed hash, so whoever knows the
root knows whether a node is the one meant. A key that is absent is shown by the leaf in which it would be. For a prefix
there are the nodes into whose range of keys it falls, and only these, so that nothing can be held back.

Invariant: what is verified has the address asked for at every step, fits what its parent says of it (height, last key,
counts, no key at or before its left neighbour's last), ends at the boundaries that the keys' hashes demand, and all
nodes given are used. A proof binds to what the maker of the root put there: that a root is the honest tree of a state
is for whoever trusts the root to know.

Source: Merkle, "A Digital Signature Based on a Conventional Encryption Function", CRYPTO '87 (paths); absence through
sorted leaves: Laurie & Kasper, "Revocation Transparency", 2012. Here leaves hold many keys, so absence takes one path.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from casstore.address import Address, check_address, node_address, state_address
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.entry import Entry
from casstore.format.key import MAX_KEY_BYTES, keys_problem
from casstore.format.kinds import MAX_RAW_BYTES
from casstore.format.node import Node, Summary, check_node, decode_node
from casstore.format.proof import (
    KEY_MODE,
    PREFIX_MODE,
    ProofFields,
    decode_proof,
    decode_table,
    encode_proof,
    encode_table,
)
from casstore.format.snapshot import STATE_ROOTS
from casstore.tree.nodes import Nodes, Root
from casstore.tree.read import key_range

Proof = tuple[bytes, ...]
"""Encoded nodes, parents before their children, children in key order."""

_Wanted = Callable[[Node], range]
"""Numbers of the children of an inner node that a proof goes into."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows of a state.

    Attributes:
        root_name: ``"files"`` or ``"objects"``.
        key: The key; None when it is about a prefix.
        prefix: The prefix; None when it is about a key.
        entry: What the key maps to; None when it is absent.
        entries: Every key that begins with the prefix, with its entry, in key order; None when it is about a key.
    """

    root_name: str
    key: bytes | None
    prefix: bytes | None
    entry: Entry | None
    entries: tuple[tuple[bytes, Entry], ...] | None

    @property
    def name(self) -> str:
        """Root and key, or root and prefix, as one asks for it: ``"files/src/a.py"``."""
        key = self.prefix if self.key is None else self.key
        return f"{self.root_name}/{(key or b'').decode('utf-8', 'surrogateescape')}"


def prove_key(nodes: Nodes, root: Root, key: bytes) -> Proof:
    """The nodes on the way to ``key``, or to where it would be.

    Raises:
        InvalidInputError: No tree can hold such a key.
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: one node read per level.
    """
    _check_key(key)
    return tuple(node.raw for node in _walk(nodes, root, _to_key(key)))


def prove_prefix(nodes: Nodes, root: Root, prefix: bytes) -> Proof:
    """The nodes that hold, or would hold, keys that begin with ``prefix``; all nodes for ``b""``.

    Raises:
        InvalidInputError: No key is that long.
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: one node read per level and per node of the listing; memory for all of them.
    """
    _check_prefix(prefix)
    return tuple(node.raw for node in _walk(nodes, root, _to_prefix(prefix)))


def verify_key(root: Root, key: bytes, proof: Sequence[bytes]) -> Entry | None:
    """What ``key`` maps to in the tree ``root``; None is proven absence.

    Raises:
        CorruptionError: The proof does not show this: it is damaged, incomplete, too long, or for another root or key.
        FormatVersionError: It holds nodes of a later format.
        InvalidInputError: No tree can hold such a key.

    Cost: one hash of each node and of each of its keys.
    """
    _check_key(key)
    entry: Entry | None = None
    for leaf in _leaves(root, proof, _to_key(key)):
        i = bisect_left(leaf.keys, key)
        if i < len(leaf.keys) and leaf.keys[i] == key:
            entry = leaf.entry(i)
    return entry


def verify_prefix(root: Root, prefix: bytes, proof: Sequence[bytes]) -> list[tuple[bytes, Entry]]:
    """All keys of the tree ``root`` that begin with ``prefix``, with their entries, in key order.

    Raises and costs: as ``verify_key``.
    """
    _check_prefix(prefix)
    start, stop = key_range(b"", None, prefix)
    found: list[tuple[bytes, Entry]] = []
    for leaf in _leaves(root, proof, _to_prefix(prefix)):
        keys = leaf.keys
        end = len(keys) if stop is None else bisect_left(keys, stop)
        found += ((keys[i], leaf.entry(i)) for i in range(bisect_left(keys, start), end))
    return found


def prove(nodes: Nodes, roots: Mapping[str, Address], name: str) -> bytes:
    """A proof, encoded, of what a state with these roots holds at ``name``.

    Args:
        nodes: Where the nodes are.
        roots: Root name → address, as a snapshot's; others than those that ``state_id`` hashes are left out.
        name: Root and key, ``"files/src/a.py"``; with ``/`` at the end, root and prefix: all below ``"files/src/"``.

    Raises:
        InvalidInputError: ``name`` names no key of such a root.
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: as ``prove_key`` and ``prove_prefix``.
    """
    root_name, mode, key = _parse_name(name)
    make = prove_key if mode == KEY_MODE else prove_prefix
    proof = make(nodes, roots.get(root_name), key)
    return encode_proof(ProofFields(encode_table(roots), root_name, mode, key, proof))


def verify_proof(state_id: Address, proof: bytes, name: str | None = None) -> Proven:
    """What ``proof`` shows of the state ``state_id``. Needs no store.

    Args:
        state_id: 32 bytes, from a source that one trusts.
        proof: What ``prove`` gave.
        name: What was asked for, as for ``prove``. Without it, compare ``Proven.name``: whoever hands out a proof may
            hand out a good one for something else.

    Raises:
        CorruptionError: It shows nothing of this state, or something other than ``name``.
        FormatVersionError: It is of a later format.
        InvalidInputError: ``state_id`` is no address, or ``name`` names no key.

    Cost: O(bytes of the proof).
    """
    check_address(state_id)
    wanted = None if name is None else _parse_name(name)
    fields = decode_proof(proof)
    if state_address(fields.table) != state_id:
        raise _refuse("it is for another state")
    if wanted is not None and wanted != (fields.root_name, fields.mode, fields.key):
        raise _refuse(f"it is not about {name!r}")
    root = decode_table(fields.table).get(fields.root_name)
    if fields.mode == KEY_MODE:
        return Proven(fields.root_name, fields.key, None, verify_key(root, fields.key, fields.nodes), None)
    entries = tuple(verify_prefix(root, fields.key, fields.nodes))
    return Proven(fields.root_name, None, fields.key, None, entries)


def _parse_name(name: str) -> tuple[str, int, bytes]:
    root_name, slash, rest = name.partition("/")
    if root_name not in STATE_ROOTS or not slash:
        raise InvalidInputError(
            f"{name!r} names nothing that can be proven; it begins with `files/` or `objects/`, as in `files/src/a.py`."
        )
    try:
        key = rest.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidInputError(f"{name!r} is no key; it holds a surrogate that stands for no byte.") from None
    if not key:
        return root_name, PREFIX_MODE, key
    if not key.endswith(b"/"):
        _check_key(key)
        return root_name, KEY_MODE, key
    _check_key(key[:-1])
    return root_name, PREFIX_MODE, key


def _check_key(key: bytes) -> None:
    problem = keys_problem((key,))
    if problem:
        raise InvalidInputError(f"{key!r} can be in no tree: {problem}; give a relative path.")


def _check_prefix(prefix: bytes) -> None:
    if len(prefix) > MAX_KEY_BYTES:
        raise InvalidInputError(f"a prefix of {len(prefix)} bytes; keys have at most {MAX_KEY_BYTES}.")


def _to_key(key: bytes) -> _Wanted:
    def wanted(node: Node) -> range:
        first = bisect_left(node.keys, key)
        return range(first, min(first + 1, len(node.keys)))

    return wanted


def _to_prefix(prefix: bytes) -> _Wanted:
    start, stop = key_range(b"", None, prefix)

    def wanted(node: Node) -> range:
        # The child whose last key is the first at or after the end still begins before it.
        end = len(node.keys) if stop is None else min(bisect_left(node.keys, stop) + 1, len(node.keys))
        return range(bisect_left(node.keys, start), end)

    return wanted


def _walk(nodes: Nodes, root: Root, wanted: _Wanted) -> Iterator[Node]:
    """Nodes that a proof has, in its order."""
    if root is None:
        return
    path = [iter((nodes.get(root),))]
    while path:
        node = next(path[-1], None)
        if node is None:
            path.pop()
            continue
        yield node
        if node.height:
            path.append(map(partial(nodes.child, node), wanted(node)))


def _leaves(root: Root, proof: Sequence[bytes], wanted: _Wanted) -> Iterator[Node]:
    """The proof's leaves in key order, each checked from the root down; raises unless exactly these nodes are given."""
    # What is still to come, the next one last: address, what the parent says of it, and the key that it must be above.
    awaited: list[tuple[Address, tuple[int, bytes, Summary] | None, bytes]] = []
    if root is not None:
        awaited.append((root, None, b""))
    for raw in proof:
        if not awaited:
            raise _refuse("it has nodes that belong to nothing")
        address, said, above = awaited.pop()
        node = _checked_node(raw, address)
        keys, height = node.keys, node.height
        if said is None:
            if height and len(keys) == 1:
                raise _refuse("its root has a single child")
        elif said != (height, keys[-1], node.summary):
            raise _refuse("a node is not what its parent says")
        if keys[0] <= above:
            raise _refuse("neighbouring nodes overlap")
        if not height:
            yield node
            continue
        for i in reversed(wanted(node)):
            below = (height - 1, keys[i], node.child_summary(i))
            awaited.append((node.children[i], below, keys[i - 1] if i else above))
    if awaited:
        raise _refuse("nodes are missing")


def _checked_node(raw: bytes, address: Address) -> Node:
    if len(raw) > MAX_RAW_BYTES or node_address(raw) != address:
        raise _refuse("a node is not the one that its address names")
    try:
        node = decode_node(raw)
        check_node(node)
    except CorruptionError as error:
        raise _refuse(f"a node is malformed ({error.message.partition(';')[0]})") from None
    return node


def _refuse(why: str) -> CorruptionError:
    return CorruptionError(f"the proof does not hold: {why}; have it made again, and do not trust what it claims.")

# SPDX-License-Identifier: MIT
"""A node of a Merkle tree: encoding, decoding, and the rule that says where nodes end.

::

    node            version u8 = 1 | height u8 | count varint | count entries, keys strictly ascending
    leaf (height 0) key length varint | key | entry (see entry.py)
    inner           key length varint | last key of the child | child address 32
                    | entries varint | files varint | bytes varint      below that child

A node of height ``h`` ends at a key whose level (see key.py) is at least ``h + 1``, and nowhere else, except that the
last node of a height ends where the content ends. So where nodes begin and end depends on the keys alone, never on the
order of edits.

Invariant: what ``decode_node`` returns has the form above, valid keys in order, and entries in their one valid form. It
does not hash the keys (0.4 µs each, on every read): that nodes end at boundaries is checked by ``check_node``, which
``verify`` and every reception of foreign nodes call, and by ``casstore.tree.check_tree``.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Final, NamedTuple

from casstore.address import ADDRESS_BYTES, Address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.entry import (
    EXECUTABLE,
    FILE,
    INLINE_BYTES,
    OBJECT,
    SNAPSHOT,
    SYMLINK,
    Entry,
    decode_entry,
    entry_end,
)
from casstore.format.key import MAX_KEY_BYTES as MAX_KEY_BYTES
from casstore.format.key import Q_BITS, Q, key_level, keys_problem
from casstore.format.kinds import MAX_RAW_BYTES
from casstore.format.varint import decode_varint, encode_varint

NODE_VERSION: Final = 1

MAX_NODE_ENTRIES: Final = 64 * Q
"""On disk for ever, as whether a set of keys can be stored depends on it."""

MAX_HEIGHT: Final = 256 // Q_BITS

_HEADER_BYTES: Final = 2
_SHORT: Final = tuple(bytes((n,)) for n in range(128))


class Summary(NamedTuple):
    """What is below a node: entries, regular files among them, and bytes of files and objects."""

    entries: int
    files: int
    bytes: int


class Node:
    """A decoded node; immutable.

    Attributes:
        raw: The encoded bytes.
        height: 0 for a leaf.
        keys: Keys of the entries; of an inner node, the last key below each child.
        offsets: Where each entry begins in ``raw``, and the end of the last one.
        children: Addresses of the children; empty for a leaf.
        summary: What is below this node.
        cost_bytes: Memory that the decoded node takes, about.
    """

    __slots__ = ("children", "cost_bytes", "height", "keys", "offsets", "raw", "summary")

    def __init__(
        self,
        raw: bytes,
        height: int,
        keys: list[bytes],
        offsets: Sequence[int],
        children: list[Address],
        summary: Summary,
        cost_bytes: int,
    ) -> None:
        self.raw = raw
        self.height = height
        self.keys = keys
        self.offsets = offsets
        self.children = children
        self.summary = summary
        self.cost_bytes = cost_bytes

    def entry(self, i: int) -> Entry:
        """Entry ``i`` of a leaf."""
        length = len(self.keys[i])
        return decode_entry(self.raw, self.offsets[i] + length + (1 if length < 128 else 2), self.offsets[i + 1])

    def chunk(self, i: int) -> bytes:
        """The encoded bytes of entry ``i``, key included."""
        return self.raw[self.offsets[i] : self.offsets[i + 1]]

    def chunks(self) -> list[bytes]:
        """The encoded bytes of every entry."""
        raw = self.raw
        return [raw[start:end] for start, end in zip(self.offsets, islice(self.offsets, 1, None))]

    def child_summary(self, i: int) -> Summary:
        """What is below child ``i``, as this node says."""
        return chunk_summary(self.height, self.keys[i], self.chunk(i))

    @property
    def contents(self) -> list[Address]:
        """Addresses of the contents that a leaf refers to, in key order; empty for an inner node."""
        return self._addresses(False)

    @property
    def snapshots(self) -> list[Address]:
        """Ids of the snapshots that a leaf refers to, in key order; empty for an inner node."""
        return self._addresses(True)

    @property
    def references(self) -> list[Address]:
        """Contents, then snapshots."""
        return self._addresses(False) + self._addresses(True)

    def _addresses(self, snapshots: bool) -> list[Address]:
        if self.height:
            return []
        raw = self.raw
        found = []
        for key, start, end in zip(self.keys, self.offsets, islice(self.offsets, 1, None)):
            length = len(key)
            at = start + length + (1 if length < 128 else 2)
            kind = raw[at]
            if kind <= SYMLINK:
                # The first byte of a size above INLINE_BYTES has its high bit set.
                if not snapshots and raw[at + 1] > INLINE_BYTES:
                    found.append(Address(raw[end - ADDRESS_BYTES : end]))
            elif kind == SNAPSHOT:
                if snapshots:
                    found.append(Address(raw[end - ADDRESS_BYTES : end]))
            elif kind == OBJECT and not snapshots and entry_end(raw, at)[1] > INLINE_BYTES:
                found.append(Address(raw[end - ADDRESS_BYTES : end]))
        return found


def join_key(key: bytes, value: bytes) -> bytes:
    """A node's entry: the key, and what ``encode_entry`` or ``encode_child`` made."""
    length = len(key)
    return (_SHORT[length] if length < 128 else encode_varint(length)) + key + value


def encode_child(key: bytes, address: Address, summary: Summary) -> bytes:
    """An inner node's entry for the child at ``address`` whose last key is ``key``.

    Raises:
        InvalidInputError: The sizes below it pass 2**63 - 1.
    """
    entries, files, size = summary
    return join_key(key, address) + encode_varint(entries) + encode_varint(files) + encode_varint(size)


def chunk_child(key: bytes, chunk: bytes) -> Address:
    """The address in an inner node's entry."""
    at = len(key) + (1 if len(key) < 128 else 2)
    return Address(chunk[at : at + ADDRESS_BYTES])


def chunk_summary(height: int, key: bytes, chunk: bytes) -> Summary:
    """What one entry of a node of ``height`` adds to the node's summary."""
    at = len(key) + (1 if len(key) < 128 else 2)
    if height:
        entries, at = decode_varint(chunk, at + ADDRESS_BYTES)
        files, at = decode_varint(chunk, at)
        return Summary(entries, files, decode_varint(chunk, at)[0])
    kind, size = chunk[at], entry_end(chunk, at)[1]
    files = kind <= EXECUTABLE
    return Summary(1, files, size if files or kind == OBJECT else 0)


def encode_node(height: int, chunks: Sequence[bytes]) -> bytes:
    """The bytes of a node of these entries.

    Raises:
        InvalidInputError: There are more than ``MAX_NODE_ENTRIES``, or their bytes pass the limit of a record: only a
            chosen set of keys, or hundreds of large values side by side, does that.
    """
    count = len(chunks)
    if count > MAX_NODE_ENTRIES:
        raise InvalidInputError(
            f"{count} neighbouring keys hash without a boundary, more than {MAX_NODE_ENTRIES}; chance makes no "
            "such keys: rename some of them."
        )
    encoded = bytes((NODE_VERSION, height)) + encode_varint(count) + b"".join(chunks)
    if len(encoded) > MAX_RAW_BYTES:
        raise InvalidInputError(
            f"a tree node of {len(encoded)} bytes passes the limit of {MAX_RAW_BYTES}; store large values as content."
        )
    return encoded


def make_node(
    height: int, keys: list[bytes], chunks: Sequence[bytes], children: list[Address], summary: Summary
) -> Node:
    """The node of these parts, which belong together and are valid; it equals ``decode_node`` of its ``raw``.

    Raises:
        InvalidInputError: As ``encode_node``.
    """
    raw = encode_node(height, chunks)
    count = len(keys)
    offsets = array("I", accumulate(map(len, chunks), initial=len(raw) - sum(map(len, chunks))))
    return Node(raw, height, keys, offsets, children, summary, _cost(raw, height, count))


def decode_node(raw: bytes) -> Node:
    """The node whose bytes are ``raw``.

    Raises:
        CorruptionError: They are not a node in its one valid form.
        FormatVersionError: A later version wrote them.

    Cost: O(entries), about 0.4 µs each.
    """
    if len(raw) <= _HEADER_BYTES:
        raise CorruptionError("a tree node is cut short; run `casstore verify`.")
    if raw[0] != NODE_VERSION:
        raise FormatVersionError(f"a tree node has version {raw[0]}; this casstore reads version {NODE_VERSION}.")
    height = raw[1]
    count, at = decode_varint(raw, _HEADER_BYTES)
    if height > MAX_HEIGHT or not 1 <= count <= MAX_NODE_ENTRIES:
        raise CorruptionError(f"a tree node of height {height} says it has {count} entries; run `casstore verify`.")
    try:
        node = _decode_inner(raw, at, height, count) if height else _decode_leaf(raw, at, count)
    except IndexError:
        raise CorruptionError("a tree node is cut short; run `casstore verify`.") from None
    problem = keys_problem(node.keys)
    if problem:
        raise CorruptionError(f"a tree node is damaged: {problem}; run `casstore verify`.")
    return node


def _decode_leaf(raw: bytes, at: int, count: int) -> Node:
    keys: list[bytes] = []
    offsets = array("I")
    add_key, add_offset = keys.append, offsets.append
    files = total = 0
    for _ in range(count):
        add_offset(at)
        length = raw[at]
        at += 1
        if length > 127:
            length, at = decode_varint(raw, at - 1)
        value = at + length
        add_key(raw[at:value])
        kind = raw[value]
        if FILE <= kind <= SYMLINK:
            size = raw[value + 1]
            at = value + 2
            if size <= INLINE_BYTES:
                at += size
            else:
                high = raw[at]
                if 0 < high < 128:
                    size += (high - 1) << 7
                    at += 1 + ADDRESS_BYTES
                else:
                    size, at = decode_varint(raw, value + 1)
                    at += ADDRESS_BYTES
            if kind != SYMLINK:
                files += 1
                total += size
        else:
            at, size = entry_end(raw, value)
            if kind == OBJECT:
                total += size
    add_offset(at)
    _check_end(raw, at)
    return Node(raw, 0, keys, offsets, [], Summary(count, files, total), _cost(raw, 0, count))


def _decode_inner(raw: bytes, at: int, height: int, count: int) -> Node:
    keys: list[bytes] = []
    offsets = array("I")
    children: list[Address] = []
    entries = files = total = 0
    for _ in range(count):
        offsets.append(at)
        length = raw[at]
        at += 1
        if length > 127:
            length, at = decode_varint(raw, at - 1)
        end = at + length
        keys.append(raw[at:end])
        at = end + ADDRESS_BYTES
        children.append(Address(raw[end:at]))
        below = raw[at]
        at += 1
        if below > 127:
            below, at = decode_varint(raw, at - 1)
        entries += below
        child_files = raw[at]
        at += 1
        if child_files > 127:
            child_files, at = decode_varint(raw, at - 1)
        files += child_files
        size, at = decode_varint(raw, at)
        total += size
        if below == 0 or child_files > below:
            raise CorruptionError("a tree node counts more files than entries, or none; run `casstore verify`.")
    offsets.append(at)
    _check_end(raw, at)
    return Node(raw, height, keys, offsets, children, Summary(entries, files, total), _cost(raw, height, count))


def _cost(raw: bytes, height: int, count: int) -> int:
    # The bytes, the keys once more, and per entry a bytes object (33), two pointers or offsets, and a child's address.
    return 700 + len(raw) + len(raw) // 2 + (130 if height else 50) * count


def _check_end(raw: bytes, at: int) -> None:
    # Positions only grow, so an end that fits shows that every slice before it did.
    if at != len(raw):
        raise CorruptionError("a tree node has bytes too many or too few; run `casstore verify`.")


def check_node(node: Node) -> None:
    """Checks that no node boundary lies inside ``node`` and, for an inner one, that each child ends at one.

    What only the whole tree can tell (the last key's boundary, counts, order across nodes) is ``check_tree``'s.

    Raises:
        CorruptionError: The keys of this node do not belong in one node of this height.

    Cost: one BLAKE3 per key, about 0.4 µs.
    """
    height = node.height
    for key in islice(node.keys, len(node.keys) - 1):
        if key_level(key) != height:
            raise CorruptionError(
                f"a tree node of height {height} does not end where the hash of {key!r} says; run `casstore verify`.",
                path=key.decode("utf-8", "surrogateescape"),
            )

# SPDX-License-Identifier: MIT
"""Measures what Q and INLINE_BYTES of the tree format cost; the choice is in docs/design/005-merkle-tree.md.

    python -m benchmarks.tree_constants FOLDER...      # releases of one project, oldest first

Two workloads. *Series*: every folder is one state; stored bytes of all new nodes and of the contents that inlining
would spare. *Edit*: one changed key in a tree of N keys; stored bytes of the nodes on its path. Stored = zstandard
level 3 (raw when that is smaller) + record header + index entry. The constants are fixed in the library, so this builds
its own plain trees; what it leaves out is the time that storage takes per record.
"""

from __future__ import annotations

import os
import random
import sys
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache

import zstandard
from blake3 import blake3

from casstore.format.varint import encode_varint

HEADER_BYTES, INDEX_BYTES = 56, 65
Q_BITS = (4, 5, 6)
INLINE = (0, 32, 64, 96, 127, 256)

File = tuple[int, bytes, bytes]  # size, address, bytes of at most max(INLINE)
Node = tuple[bytes, bytes]  # last key, encoded

_compressor = zstandard.ZstdCompressor(level=3)


def stored_bytes(raw: bytes) -> int:
    return min(len(raw), len(_compressor.compress(raw))) + HEADER_BYTES + INDEX_BYTES


@cache
def zero_bits(key: bytes) -> int:
    return 256 - int.from_bytes(blake3(key).digest()).bit_length()


def tree_levels(leaf_entries: list[tuple[bytes, bytes]], q_bits: int) -> Iterator[list[Node]]:
    """Nodes of each level, leaves first; counts in inner entries are replaced by bytes of the usual length."""
    height, entries = 0, leaf_entries
    while True:
        nodes: list[Node] = []
        growing: list[bytes] = []
        for i, (key, encoded) in enumerate(entries):
            growing.append(encoded)
            if zero_bits(key) // q_bits > height or i == len(entries) - 1:
                nodes.append((key, bytes((1, height)) + encode_varint(len(growing)) + b"".join(growing)))
                growing = []
        yield nodes
        if len(nodes) == 1:
            return
        entries = [(k, encode_varint(len(k)) + k + blake3(raw).digest() + b"\x20\x20\x80\x80\x01") for k, raw in nodes]
        height += 1


def leaf_entry(key: bytes, file: File, inline: int) -> tuple[bytes, bytes]:
    size, address, data = file
    return key, encode_varint(len(key)) + key + b"\x01" + encode_varint(size) + (data if size <= inline else address)


def read_folder(folder: str) -> dict[bytes, File]:
    files: dict[bytes, File] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                data = file.read()
            key = os.fsencode(os.path.relpath(path, folder))
            files[key] = (len(data), blake3(data).digest(), data[: max(INLINE)])
    return files


def measure_series(states: list[dict[bytes, File]]) -> None:
    for q_bits in Q_BITS:
        for inline in INLINE:
            nodes: dict[bytes, int] = {}
            small: dict[bytes, int] = {}
            for state in states:
                for level in tree_levels([leaf_entry(key, state[key], inline) for key in sorted(state)], q_bits):
                    for _, raw in level:
                        address = blake3(raw).digest()
                        if address not in nodes:
                            nodes[address] = stored_bytes(raw)
                for size, address, data in state.values():
                    if inline < size <= max(INLINE) and address not in small:
                        small[address] = stored_bytes(data)
            total = sum(nodes.values()) + sum(small.values())
            print(
                f"series Q={1 << q_bits:2d} inline={inline:3d}: {len(nodes):5d} nodes {sum(nodes.values()):8d} bytes, "
                f"{len(small):4d} small contents {sum(small.values()):6d} bytes, together {total}"
            )


def measure_edit(count: int, samples: int = 200) -> None:
    keys = sorted(b"src/module%03d/file_%07d.py" % (i % 997, i) for i in range(count))
    entries = [leaf_entry(key, (5000, blake3(key).digest(), b""), 0) for key in keys]
    for q_bits in Q_BITS:
        chosen = random.Random(7).sample(keys, samples)
        raw_bytes = disk_bytes = records = total = 0
        for nodes in tree_levels(entries, q_bits):
            total += len(nodes)
            last_keys = [key for key, _ in nodes]
            for key in chosen:
                raw = nodes[bisect_left(last_keys, key)][1]
                raw_bytes += len(raw)
                disk_bytes += stored_bytes(raw)
                records += 1
        print(
            f"edit of {count:7d} keys Q={1 << q_bits:2d}: {records / samples:.1f} records, {raw_bytes // samples:5d} "
            f"bytes encoded, {disk_bytes // samples:5d} stored; {total} nodes in all"
        )


def main(folders: list[str]) -> None:
    for count in (4_000, 100_000, 1_000_000):
        measure_edit(count)
    if folders:
        measure_series([read_folder(folder) for folder in folders])


if __name__ == "__main__":
    main(sys.argv[1:])

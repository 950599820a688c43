# SPDX-License-Identifier: MIT
"""What the tests of trees share: records in memory, a plain slow tree that shares no code with ours, strategies."""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.errors import NotFoundError
from casstore.format.entry import (
    Entry,
    directory_entry,
    file_entry,
    object_entry,
    snapshot_entry,
    symlink_entry,
    value_entry,
)
from casstore.tree import Nodes

Content = dict[bytes, Entry]

NODE_KEY = blake3(b"", derive_key_context="casstore v1 node").digest()


class MemoryRecords:
    """Records in a dict, with counts of what was asked."""

    def __init__(self, records: Mapping[bytes, bytes] | None = None) -> None:
        self.records = dict(records or {})
        self.reads = 0
        self.writes = 0

    def get_record(self, kind: int, address: Address) -> bytes:
        assert kind == 3
        self.reads += 1
        try:
            return self.records[address]
        except KeyError:
            raise NotFoundError("no such node; look elsewhere.", address=address) from None

    def put_record(self, kind: int, address: Address, raw: bytes) -> bool:
        assert kind == 3
        assert blake3(raw, key=NODE_KEY).digest() == address
        self.writes += 1
        fresh = address not in self.records
        self.records[address] = raw
        return fresh

    def known(self, address: Address) -> bool:
        return address in self.records


def memory_nodes(records: MemoryRecords | None = None, cache_bytes: int = 1 << 24) -> tuple[Nodes, MemoryRecords]:
    records = MemoryRecords() if records is None else records
    return Nodes(records, cache_bytes), records


# --- the plain tree -------------------------------------------------------------------------------------------------


def zeros(key: bytes) -> int:
    digits = blake3(key).hexdigest()
    return len(digits) - len(digits.lstrip("0"))


def varint(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def plain_entry(entry: Entry) -> bytes:
    encoded = varint(entry.kind)
    if entry.kind == 6:
        encoded += varint(len(entry.type_id)) + entry.type_id.encode() + varint(entry.type_version)
    if entry.kind not in (4, 5):
        encoded += varint(entry.size)
    return encoded + (entry.inline or b"") + (entry.address or b"")


def plain_tree(content: Content) -> tuple[bytes | None, dict[bytes, bytes]]:
    """The root of ``content`` by the definition, and every node by its address."""
    found: dict[bytes, bytes] = {}
    items = [
        (
            key,
            varint(len(key)) + key + plain_entry(entry),
            (1, int(entry.kind in (1, 2)), entry.size if entry.kind in (1, 2, 6) else 0),
        )
        for key, entry in sorted(content.items())
    ]
    height = 0
    while items:
        groups: list[list[tuple[bytes, bytes, tuple[int, int, int]]]] = [[]]
        for item in items:
            groups[-1].append(item)
            if zeros(item[0]) > height:
                groups.append([])
        items = []
        for group in filter(None, groups):
            raw = b"\x01" + bytes([height]) + varint(len(group)) + b"".join(encoded for _, encoded, _ in group)
            address = blake3(raw, key=NODE_KEY).digest()
            found[address] = raw
            last = group[-1][0]
            sums = [sum(counts[i] for _, _, counts in group) for i in range(3)]
            inner = varint(len(last)) + last + address + b"".join(map(varint, sums))
            items.append((last, inner, (sums[0], sums[1], sums[2])))
        if len(items) == 1:
            return address, found
        height += 1
    return None, {}


# --- keys and entries -----------------------------------------------------------------------------------------------


def keys_of_level(level: int, count: int, form: bytes = b"d%d/k%d") -> list[bytes]:
    """``count`` keys with that many zeros, the first by number."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        key = form % (number % 7, number)
        if zeros(key) == level:
            found.append(key)
        number += 1
    return found


# Few keys that make high trees: chance would need 16 times more keys for each level.
POOL = keys_of_level(0, 70) + keys_of_level(1, 50) + keys_of_level(2, 25) + keys_of_level(3, 5)

INLINE = [b"", b"x", b"y" * 126, b"z" * 127]
SIZES = [128, 129, 16383, 16384, 1 << 21, 1 << 40]


def any_file(number: int, executable: bool = False) -> Entry:
    """A file entry that differs for each small number."""
    size = 1000 + number
    return file_entry(size, content_address(b"%d" % number), executable=executable)


contents = st.one_of(
    st.sampled_from(INLINE).map(lambda data: (len(data), None, data)),
    st.sampled_from(SIZES).map(lambda size: (size, content_address(b"%d" % size), None)),
)
entries: st.SearchStrategy[Entry] = st.one_of(
    contents.map(lambda content: file_entry(*content)),
    contents.map(lambda content: file_entry(content[0], content[1], content[2], True)),
    contents.map(lambda content: symlink_entry(*content)),
    st.just(directory_entry()),
    st.sampled_from([b"a", b"b"]).map(lambda data: snapshot_entry(content_address(data))),
    st.builds(
        lambda type_id, version, content: object_entry(type_id, version, *content),
        st.sampled_from(["json", "a" * 255, "my.Type<int> x"]),
        st.sampled_from([0, 1, 200]),
        contents,
    ),
    st.sampled_from([b"", b"v", b"v" * 128, b"v" * 65536]).map(value_entry),
)
states: st.SearchStrategy[Content] = st.dictionaries(st.sampled_from(POOL), entries, max_size=len(POOL))
edit_batches: st.SearchStrategy[dict[bytes, Entry | None]] = st.dictionaries(
    st.sampled_from(POOL), st.one_of(st.none(), entries), max_size=40
)


def edited(content: Content, edits: Mapping[bytes, Entry | None]) -> Content:
    merged = {**content, **edits}
    return {key: entry for key, entry in merged.items() if entry is not None}

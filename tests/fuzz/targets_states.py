# SPDX-License-Identifier: MIT
"""Target: a store of records with good checksums and addresses, in which everything else is somebody's choice."""

from __future__ import annotations

import contextlib
from typing import Final

import casstore
from casstore.address import Address, content_address, event_address, node_address, snapshot_address
from casstore.errors import CasstoreError
from casstore.format.canonical import canonical_json
from casstore.format.chunk_list import encode_chunk_list
from casstore.format.entry import Entry, encode_entry, object_entry
from casstore.format.index_entry import encode_number, ref_key
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, RAW, SNAPSHOT
from casstore.format.node import Summary, encode_child, join_key
from casstore.format.record import Record
from casstore.format.varint import encode_varint
from tests.fuzz.reading import check_out_everything, read_everything
from tests.fuzz.target import MIB
from tests.fuzz.targets_store import CONFIG, Script, folder

KEYS: Final = (
    b"a", b"a/b", b"b", b"../outer/victim", b"..", b"dest/../../x", b"/tmp/x", b"", b".", b"link", b"link/x", b"memory",
    b"memory/step", b"\xff", b"a\nb", b"c" * 200, b"@", b"=a", b"=a/@", b".git/config",
)  # fmt: skip
TARGETS: Final = (b"..", b"../outer/victim", b"/", b"victim", b"a", b"x" * 300, b"")
TYPES: Final = ("json", "msgpack", "ndarray", "members", "struct:x", "text", "arrow", "unknown")


class _Maker:
    """Puts records that a script asks for, each under the address that fits it."""

    def __init__(self, script: Script, store: casstore.Store) -> None:
        self.script = script
        self.storage = store.storage
        self.contents: list[tuple[Address, int]] = []
        self.nodes: list[tuple[Address, int, bytes, Summary]] = []
        self.snapshots: list[Address] = []
        self.events = 0

    def put(self, kind: int, address: Address, raw: bytes) -> Address:
        self.storage.backend.put([Record(kind, RAW, address, len(raw), raw)])
        return address

    def any_address(self) -> Address:
        known = [one[0] for one in (*self.contents, *self.nodes)] + self.snapshots
        place = self.script.byte()
        return known[place % len(known)] if known and place < 240 else Address(bytes((place,)) * 32)

    def step(self) -> None:
        (self.chunk, self.list, self.leaf, self.inner, self.snapshot, self.event, self.raw)[self.script.below(7)]()

    def chunk(self) -> None:
        data = self.script.some() * (1 + self.script.below(4))
        self.contents.append((self.put(CHUNK, content_address(data), data), len(data)))

    def list(self) -> None:
        pieces = []
        for _ in range(1 + self.script.below(6)):
            if self.contents and self.script.below(8):
                pieces.append(self.contents[self.script.byte() % len(self.contents)])
            else:
                pieces.append((self.any_address(), 1 + self.script.number() % 2**48))
        pieces = [(address, max(size, 1)) for address, size in pieces] * (1 + self.script.below(3))
        size = sum(length for _, length in pieces)
        address = self.any_address() if self.script.below(4) else self._joined(pieces)
        if size < 2**63:
            self.contents.append((self.put(CHUNK_LIST, address, encode_chunk_list(address, pieces)), size))

    def _joined(self, pieces: list[tuple[Address, int]]) -> Address:
        try:
            return content_address(b"".join([self.storage.get(address) for address, size in pieces if size < MIB]))
        except CasstoreError:
            return self.any_address()

    def entry(self) -> bytes:
        script = self.script
        kind = script.below(9)
        if kind in (1, 2) and self.contents and script.below(4):
            address, size = self.contents[script.byte() % len(self.contents)]
            return bytes((kind,)) + encode_varint(size) + (self.some_content(size, address))
        if kind == 3:
            target = TARGETS[script.byte() % len(TARGETS)]
            if len(target) < 128:
                return bytes((3, len(target))) + target
        if kind == 5:
            return bytes((5,)) + self.any_address()
        if kind == 6:
            inline = script.some(120)
            entry = object_entry(TYPES[script.byte() % len(TYPES)], 1, len(inline), None, inline)
            return encode_entry(entry)
        if kind in (1, 2, 3):
            size = 128 + script.number()
            return bytes((kind,)) + encode_varint(min(size, 2**63 - 1)) + self.any_address()
        if kind == 7:
            return encode_entry(Entry(7, len(data := script.some(100)), None, data))
        return bytes((4,)) if kind == 4 else script.some(40)

    def some_content(self, size: int, address: Address) -> bytes:
        return bytes(size) if size < 128 else address

    def key(self) -> bytes:
        place = self.script.byte()
        return KEYS[place] if place < len(KEYS) else b"k%03d" % place

    def leaf(self) -> None:
        items = {self.key(): self.entry() for _ in range(1 + self.script.below(6))}
        ordered = sorted(items.items(), reverse=not self.script.below(16))
        raw = bytes((1, 0)) + encode_varint(len(ordered)) + b"".join(join_key(key, value) for key, value in ordered)
        summary = Summary(len(ordered), sum(value[:1] in (b"\1", b"\2") for _, value in ordered), self.script.number())
        self.nodes.append((self.put(NODE, node_address(raw), raw), 0, ordered[-1][0], summary))

    def inner(self) -> None:
        if not self.nodes:
            return self.leaf()
        script = self.script
        chunks, below, height, last = [], Summary(0, 0, 0), 0, b""
        for _ in range(1 + script.below(3)):
            address, child_height, last, summary = self.nodes[script.byte() % len(self.nodes)]
            if not script.below(8):
                summary = Summary(1 + script.number(), script.number(), script.number())
            height = child_height + 1 if script.below(16) else script.below(70)
            summary = Summary(*(min(number, 2**62) for number in summary))
            chunks.append(encode_child(last, address, summary))
            below = Summary(*(min(x + y, 2**62) for x, y in zip(below, summary)))
        raw = bytes((1, height % 256)) + encode_varint(len(chunks)) + b"".join(chunks)
        self.nodes.append((self.put(NODE, node_address(raw), raw), height, last, below))
        return None

    def snapshot(self) -> None:
        script = self.script
        roots = {}
        for name in ("files", "objects", "posix"):
            if script.below(3):
                address = self.nodes[script.byte() % len(self.nodes)][0] if self.nodes else self.any_address()
                roots[name] = (address if script.below(8) else self.any_address()).hex()
        parents = [
            self.snapshots[script.byte() % len(self.snapshots)] if self.snapshots else self.any_address()
            for _ in range(script.below(4))
        ]
        raw = canonical_json(
            {
                "message": script.some(20).decode("latin-1"),
                "meta": {"score": script.number()},
                "parents": [parent.hex() for parent in parents],
                "roots": roots,
                "time_ns": script.number() * (-1) ** script.below(2),
                "version": 1,
            }
        )
        self.snapshots.append(self.put(SNAPSHOT, snapshot_address(raw), raw))

    def event(self) -> None:
        script = self.script
        named = self.snapshots[-1] if self.snapshots and script.below(8) else self.any_address()
        name = ("main", "try/1", "..", "a" * 400, "-x", "w\x1b[0m")[script.below(6)]
        storage = self.storage.backend
        if script.below(2) and self.snapshots:
            storage.sync({ref_key(name): named + encode_number(script.byte())})
            return
        raw = script.some(200)
        self.put(EVENT, event_address(raw), raw)
        self.events += 1

    def raw(self) -> None:
        kind = (CHUNK, CHUNK_LIST, NODE, SNAPSHOT)[self.script.below(4)]
        raw = self.script.some()
        address = {CHUNK: content_address, NODE: node_address, SNAPSHOT: snapshot_address}.get(kind)
        made = self.put(kind, address(raw) if address else self.any_address(), raw)
        if kind == NODE:
            self.nodes.append((made, 0, b"z", Summary(1, 0, 0)))
        elif kind == SNAPSHOT:
            self.snapshots.append(made)


def run_states(data: bytes) -> bool:
    """A store of records with good checksums and addresses that say anything."""
    script = Script(data)
    with casstore.open(":memory:", config=CONFIG) as store, folder() as base:
        maker = _Maker(script, store)
        for _ in range(24):
            if not script:
                break
            maker.step()
        found = read_everything(store)
        check_out_everything(store, base)
        tips = maker.snapshots[-2:]
        if tips:
            with contextlib.suppress(CasstoreError):
                store.export_bundle(str(base / "store"), tips)
                with casstore.open(":memory:", config=CONFIG) as other:
                    other.adopt_bundle(str(base / "store"))
    return found > 20

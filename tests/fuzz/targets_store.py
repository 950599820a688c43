# SPDX-License-Identifier: MIT
"""Targets: whole stores and bundles that somebody else made."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import casstore
from casstore.address import content_address, event_address, keyed_address, node_address, snapshot_address
from casstore.compression import decompress
from casstore.errors import CasstoreError
from casstore.format.canonical import canonical_json, parse_canonical_json
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, RAW, SNAPSHOT
from casstore.format.record import HEADER_BYTES, MAGIC, Record, decode_header, encode_record
from casstore.storage.index import LevelIndex
from tests.fuzz.reading import check_out_everything, read_everything
from tests.fuzz.target import MIB, Target

CONFIG: Final = casstore.Config(
    chunk_min_bytes=64, chunk_avg_bytes=256, chunk_max_bytes=1024, cache_bytes=MIB, threads=1, sync="off"
)
OPENING: Final = casstore.Config(cache_bytes=MIB, threads=1, sync="off")
SHELF: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Script:
    """Choices drawn from bytes; when they end, every choice is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, number: int) -> int:
        return self.byte() % number

    def some(self, most: int = 255) -> bytes:
        length = self.below(most + 1)
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self) -> int:
        """Small ones mostly, and the ends of every range."""
        kind = self.byte()
        if kind < 200:
            return kind
        return (1 << (kind - 200) + 8) - 1 + self.below(3)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    made = tempfile.mkdtemp(prefix="casstore-fuzz-", dir=SHELF)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def sealed_bundle(data: bytes) -> bytes:
    """A bundle's bytes with every checksum, address, length and digest set right, as far as records can be told."""
    parts: list[bytes] = []
    at = 0
    while at + HEADER_BYTES <= len(data):
        try:
            header = decode_header(MAGIC + data[at + 4 : at + 12] + data[at + 12 :][: HEADER_BYTES - 12])
        except CasstoreError:
            break
        stored = data[at + HEADER_BYTES : at + HEADER_BYTES + header.stored_bytes]
        at += HEADER_BYTES + header.stored_bytes
        kind, encoding, address, raw_bytes = header.kind, header.encoding, header.address, header.raw_bytes
        if encoding == RAW:
            raw_bytes = len(stored)
        with contextlib.suppress(CasstoreError):
            raw = decompress(encoding, stored, raw_bytes)
            if kind == CHUNK_LIST:
                body = raw[32:]
                stored, encoding = keyed_address("chunk-list")(address + body) + body, RAW
                raw_bytes = len(stored)
            elif kind == EVENT:
                members = parse_canonical_json(raw)
                if isinstance(members, dict):
                    whole = b"".join(parts)
                    members |= {"digest": content_address(whole).hex(), "records": len(parts)}
                    stored, encoding = canonical_json(members), RAW
                raw_bytes = len(stored)
                address = event_address(stored)
            else:
                address = {CHUNK: content_address, NODE: node_address, SNAPSHOT: snapshot_address}[kind](raw)
        parts.append(encode_record(Record(kind, encoding, address, raw_bytes, stored)))
    return b"".join(parts) + data[at:]


def run_bundle(data: bytes) -> bool:
    found = False
    for form in (data, sealed_bundle(data)):
        with casstore.open(":memory:", config=CONFIG) as store:
            try:
                report = store.adopt_bundle(io.BytesIO(form))
            except CasstoreError:
                if next(store.storage.backend.scan(), None) is not None:
                    raise AssertionError("a refused bundle left records") from None
                continue
            found = True
            # What was adopted is whole: everything of it can be read, and nothing of it is damaged.
            store.verify()
            for tip in report.tips:
                for key in store.snapshot(tip).files:
                    store.snapshot(tip).files[key]
    return found


# -- files


BASE: Final = Path(__file__).parent / "base_store"
FILES_BASE: Final = Path(__file__).parent.parent / "compat" / "format-1" / "files"
"""Stores that stay the same for ever, of segments and of a file per object."""


def _files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def _damage(path: Path, script: Script) -> None:
    data = bytearray(path.read_bytes())
    way = script.below(6)
    at = (script.byte() << 16 | script.byte() << 8 | script.byte()) % max(len(data), 1)
    if way == 0:
        del data[at:]
    elif way == 1:
        piece = script.some(64)
        data[at : at + len(piece)] = piece
    elif way == 2 and data:
        data[at] ^= 1 << script.below(8)
    elif way == 3:
        data[at:at] = script.some(64)
    elif way == 4:
        del data[at : at + script.byte()]
    else:
        data += script.some(255)
    path.write_bytes(bytes(data))


def _seal(path: Path) -> None:
    """Sets right the checksums of a file that has some."""
    data = path.read_bytes()
    if path.name == "superblock":
        path.write_bytes(data[:64] + keyed_address("superblock")(data[:64]))
    elif path.name == "config":
        body = data.partition(b"\n")[0]
        path.write_bytes(body + b"\n" + keyed_address("settings")(body).hex().encode() + b"\n")
    elif path.suffix == ".seg":
        path.write_bytes(sealed_bundle(data))


def _change_index(store: Path, script: Script) -> None:
    """Values of the index of somebody else's making: LevelDB's own checksums are right."""
    try:
        index = LevelIndex(str(store / "index"))
    except CasstoreError:
        return
    try:
        keys = [(key, value) for key, value in index.scan(b"") if key[:1] != b"c"]
        for _ in range(1 + script.below(4)):
            if not keys:
                break
            key, value = keys[(script.byte() << 8 | script.byte()) % len(keys)]
            changed = bytearray(value)
            way = script.below(5)
            if way == 0:
                piece = script.some(16)
                at = script.byte() % (len(changed) + 1)
                changed[at : at + len(piece)] = piece
            elif way == 1:
                changed = bytearray(keys[script.byte() % len(keys)][1])
            elif way == 2:
                key = key[:1] + script.some(40)
            elif way == 3:
                changed = bytearray(script.some(64))
            index.write({key: None if way == 4 else bytes(changed)})
    finally:
        index.close(clean=bool(script.below(2)))


def make_store(base: Path, script: Script, flags: int) -> Path:
    """A store that was damaged as the script says."""
    store = base / "store"
    shutil.copytree(FILES_BASE if flags & 64 else BASE, store)
    if flags & 1:
        _change_index(store, script)
    for _ in range(script.below(4)):
        files = _files(store)
        path = files[(script.byte() << 8 | script.byte()) % len(files)]
        _damage(path, script)
        if flags & 2:
            _seal(path)
    if flags & 4:
        shutil.rmtree(store / "index", ignore_errors=True)
    if flags & 8:
        with contextlib.suppress(CasstoreError):
            casstore.repair(str(store))
    return store


def run_store(data: bytes) -> bool:
    """A store of files, damaged, its checksums mended or not, opened to read, to write, or repaired."""
    script = Script(data)
    flags = script.byte()
    with folder() as base:
        store = make_store(base, script, flags)
        try:
            opened = casstore.open(str(store), create=False, read_only=bool(flags & 16), config=OPENING)
        except CasstoreError:
            return False
        with contextlib.suppress(CasstoreError), opened:
            found = read_everything(opened)
            if flags & 32:
                check_out_everything(opened, base)
                if not opened.read_only:
                    with contextlib.suppress(CasstoreError):
                        opened.plan_gc(grace_seconds=0).execute()
                    with contextlib.suppress(CasstoreError):
                        opened.put(b"more " * 500)
            return found > 20
    return False


# Reading may take what the store is allowed to cache, LevelDB's buffers (not seen by Python), and records of 16 MiB.
STORE_TARGETS: Final = {
    "bundle": Target(run=run_bundle, base_bytes=64 * MIB, factor=4096, seconds=5.0),
    "store": Target(run=run_store, base_bytes=96 * MIB, factor=4096, seconds=20.0),
}

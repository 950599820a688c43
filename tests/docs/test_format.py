# SPDX-License-Identifier: MIT
"""``docs/format.md`` says what the code does: every hex example, offset, number, limit and digest in it.

The document is read by a few plain rules:

* a block ```` ```hex NAME ```` has lines of ``offset  bytes  what they are``; together they are ``EXAMPLES[NAME]``;
* a block ```` ```bytes NAME ```` is one line of text, the bytes of ``EXAMPLES[NAME]`` without the newline at its end;
* a table with the columns ``offset`` and ``bytes`` is compared with ``FIELDS`` of the heading above it;
* a row that begins with ``casstore.…`` states the value of that constant; a row that begins with ``key …`` or
  ``address …`` states 32 bytes.
"""

from __future__ import annotations

import importlib
import re
import struct
from pathlib import Path

import pytest
from blake3 import blake3

from casstore import __version__, layout
from casstore.address import Address, content_address, event_address, node_address, snapshot_address, type_key
from casstore.chunking import Chunker
from casstore.compression import compress
from casstore.config import DEFAULT_CHUNK_BYTES
from casstore.errors import CorruptionError, FormatVersionError
from casstore.format import entry as entries
from casstore.format import index_entry, kinds, slots, stat_cache, workspace_files
from casstore.format.canonical import canonical_json, parse_canonical_json
from casstore.format.chunk_list import decode_chunk_list, encode_chunk_list
from casstore.format.event import RefMove, decode_ref_move, encode_history_cut, encode_ref_move, encode_refs_accepted
from casstore.format.index_entry import IndexEntry, SegmentState
from casstore.format.key import key_level
from casstore.format.node import Summary, check_node, decode_node, encode_child, encode_node, join_key
from casstore.format.posix import PosixMetadata, decode_posix, encode_posix, posix_key
from casstore.format.record import Record, decode_record, encode_record
from casstore.format.settings import Settings, decode_settings, encode_settings
from casstore.format.snapshot import SnapshotFields, decode_snapshot, encode_snapshot, state_id_of
from casstore.format.superblock import (
    BACKEND_NAMES,
    DELTAS,
    FORMAT_VERSION,
    Superblock,
    decode_superblock,
    encode_superblock,
)
from casstore.format.varint import encode_varint
from tests.docs import object_examples, workspace_examples

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text("utf-8")

# -- what the document describes, made by the code

CONTENT = b"hello, casstore\n"
PIECES = (CONTENT[:7], CONTENT[7:])
PROGRAM = b"#" * 200
NANOSECONDS = 1_700_000_000_000_000_000
SECONDS = 1_700_000_000

SUPERBLOCK = Superblock(
    store_id=bytes(range(16)),
    created_ns=NANOSECONDS,
    chunk_min_bytes=DEFAULT_CHUNK_BYTES[0],
    chunk_avg_bytes=DEFAULT_CHUNK_BYTES[1],
    chunk_max_bytes=DEFAULT_CHUNK_BYTES[2],
    features=DELTAS,
)
ADDRESS = content_address(CONTENT)
RECORD = Record(kinds.CHUNK, kinds.RAW, ADDRESS, len(CONTENT), CONTENT)
LIST = encode_chunk_list(ADDRESS, [(content_address(piece), len(piece)) for piece in PIECES])
ITEMS = {
    b"NOTES": entries.file_entry(len(CONTENT), None, CONTENT),
    b"bin/run": entries.file_entry(len(PROGRAM), content_address(PROGRAM), None, executable=True),
    b"empty": entries.directory_entry(),
    b"latest": entries.symlink_entry(5, None, b"NOTES"),
}
LEAF = encode_node(0, [join_key(key, entries.encode_entry(entry)) for key, entry in ITEMS.items()])
LEAF_SUMMARY = Summary(4, 2, len(CONTENT) + len(PROGRAM))
INNER = encode_node(1, [encode_child(b"latest", node_address(LEAF), LEAF_SUMMARY)])
POSIX = PosixMetadata(0o644, 1000, 1000, NANOSECONDS + 500_000_000, ((b"user.note", b"hi"),))
SNAPSHOT = encode_snapshot(
    SnapshotFields(
        roots={"files": node_address(LEAF)}, parents=(), message="first", meta={"score": 0.7}, time_ns=NANOSECONDS
    )
)
SNAPSHOT_ID = snapshot_address(SNAPSHOT)
MOVE = RefMove(name="main", old=None, new=SNAPSHOT_ID, number=1, time_ns=NANOSECONDS, actor="ada", reason="set")
IDENTITY = stat_cache.cache_key(2049, 131_075)
HEAD = stat_cache.CacheHead(
    SNAPSHOT_ID, blake3(b"nothing True").digest(16), blake3(b"/home/ada/work").digest(16), False
)
FOLDER = stat_cache.FolderRecord(
    inode=131_080,
    mtime_ns=NANOSECONDS,
    ctime_ns=NANOSECONDS + 5,
    listed=True,
    rules=stat_cache.NO_RULES,
    members=[b"run"],
    stats=[(131_081, 200, NANOSECONDS, NANOSECONDS + 5, 0o100755)],
    folders=[b"lib"],
    left_out=[(b"pipe", "a FIFO")],
)
ENTRY = IndexEntry(1, 0, len(CONTENT), len(CONTENT), 0, SECONDS, kinds.CHUNK, kinds.RAW)

EXAMPLES: dict[str, bytes] = {
    "superblock": encode_superblock(SUPERBLOCK),
    "config": encode_settings(Settings()),
    "record": encode_record(RECORD),
    "chunk-list": LIST,
    "file": entries.encode_entry(ITEMS[b"NOTES"]),
    "executable": entries.encode_entry(ITEMS[b"bin/run"]),
    "symlink": entries.encode_entry(ITEMS[b"latest"]),
    "directory": entries.encode_entry(ITEMS[b"empty"]),
    "snapshot-entry": entries.encode_entry(entries.snapshot_entry(SNAPSHOT_ID)),
    "object": entries.encode_entry(entries.object_entry("json", 1, 10, None, b'{"step":3}')),
    "leaf": LEAF,
    "inner": INNER,
    "posix": encode_posix(POSIX),
    "snapshot": SNAPSHOT,
    "state": canonical_json({"files": node_address(LEAF).hex()}),
    "ref-move": encode_ref_move(MOVE),
    "history-cut": encode_history_cut(9, 7),
    "refs-accepted": encode_refs_accepted(10, NANOSECONDS),
    "index-object-key": index_entry.OBJECT + ADDRESS,
    "index-object": index_entry.encode_entry(ENTRY),
    "index-segment-key": index_entry.segment_key(1),
    "index-segment": index_entry.encode_segment(SegmentState(72, 1, False)),
    "index-batch-key": index_entry.batch_key(1),
    "index-ref-key": index_entry.ref_key("main"),
    "index-ref": SNAPSHOT_ID + index_entry.encode_number(1),
    "index-history-key": index_entry.history_key("main", 1),
    "index-event-key": index_entry.event_key(9),
    "index-cache-head-key": index_entry.CACHE + stat_cache.head_key(IDENTITY),
    "index-cache-head": stat_cache.encode_head(HEAD),
    "index-cache-folder-key": index_entry.CACHE + stat_cache.folder_key(IDENTITY, b"bin/"),
    "index-cache-folder": stat_cache.encode_folder(FOLDER),
    **workspace_examples.examples(SNAPSHOT_ID, CONTENT, ITEMS[b"bin/run"]),
    **object_examples.EXAMPLES,
    "varint-0": encode_varint(0),
    "varint-127": encode_varint(127),
    "varint-128": encode_varint(128),
    "varint-300": encode_varint(300),
}

DIGESTS: dict[str, bytes] = {
    **{
        f"key {name}": type_key(name)
        for name in ("node", "snapshot", "state", "event", "chunk-list", "superblock", "settings")
    },
    **workspace_examples.DIGESTS,
    "address content": ADDRESS,
    "address empty content": content_address(b""),
    "address program": content_address(PROGRAM),
    "address leaf": node_address(LEAF),
    "address inner": node_address(INNER),
    "address snapshot": SNAPSHOT_ID,
    "address state": state_id_of({"files": node_address(LEAF)}),
    "address ref-move": event_address(encode_ref_move(MOVE)),
}


def little(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little")


FIELDS: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "Superblock": (
        EXAMPLES["superblock"],
        {
            "magic": b"casstore",
            "format version": little(1, 4),
            "incompatible features": little(1, 4),
            "features that only writers must know": little(0, 4),
            "backend": little(1, 1),
            "reserved": bytes(3),
            "chunk minimum": little(2048, 4),
            "chunk average": little(8192, 4),
            "chunk maximum": little(32768, 4),
            "store id": bytes(range(16)),
            "created": little(NANOSECONDS, 8),
            "reserved too": bytes(4),
            "digest": blake3(EXAMPLES["superblock"][:64], key=type_key("superblock")).digest(),
        },
    ),
    "Record": (
        EXAMPLES["record"],
        {
            "magic": b"CASr",
            "checksum": blake3(EXAMPLES["record"][12:]).digest(8),
            "version": little(1, 1),
            "kind": little(kinds.CHUNK, 1),
            "encoding": little(kinds.RAW, 1),
            "reserved": bytes(1),
            "stored length": little(16, 4),
            "raw length": little(16, 4),
            "address": ADDRESS,
            "stored bytes": CONTENT,
        },
    ),
    "Chunk list": (
        LIST,
        {
            "digest": blake3(ADDRESS + LIST[32:], key=type_key("chunk-list")).digest(),
            "version": little(1, 1),
            "reserved": bytes(3),
            "pieces": little(2, 4),
            "content length": little(16, 8),
            "first piece": content_address(PIECES[0]),
            "its length": little(7, 8),
            "second piece": content_address(PIECES[1]),
            "its length too": little(9, 8),
        },
    ),
    "Object entries": (
        index_entry.encode_entry(IndexEntry(1, 2, 3, 4, 5, 6, 7, 8, index_entry.BASE_FLAG, ADDRESS)),
        {
            "segment": little(1, 4),
            "offset": little(2, 4),
            "stored length": little(3, 4),
            "raw length": little(4, 4),
            "ordinal": little(5, 4),
            "stamp": little(6, 4),
            "kind": little(7, 1),
            "encoding": little(8, 1),
            "flags": little(index_entry.BASE_FLAG, 1),
            "base": ADDRESS,
        },
    ),
    "Stat caches": (
        stat_cache.encode_head(HEAD),
        {
            "version": little(1, 1),
            "flags": little(0, 1),
            "snapshot": SNAPSHOT_ID,
            "selection": HEAD.selection,
            "place": HEAD.place,
        },
    ),
    "Folders of a stat cache": (
        stat_cache.encode_folder(FOLDER),
        {
            "version": little(1, 1),
            "flags": little(1, 1),
            "inode": little(131_080, 8),
            "mtime": little(NANOSECONDS, 8),
            "ctime": little(NANOSECONDS + 5, 8),
            "rules": bytes(16),
            "members": little(1, 4),
            "folders": little(1, 4),
            "left out": little(1, 4),
            "inode of a member": little(131_081, 8),
            "size": little(200, 8),
            "mtime too": little(NANOSECONDS, 8),
            "ctime too": little(NANOSECONDS + 5, 8),
            "mode": little(0o100755, 4),
            "name of a member": b"run\0",
            "name of a folder": b"lib\0",
            "name and reason": b"pipe\0a FIFO\0",
        },
    ),
    **workspace_examples.fields(CONTENT, ITEMS[b"bin/run"]),
    **object_examples.FIELDS,
}

# -- reading the document

FENCE = re.compile(r"^```(hex|bytes) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEX_LINE = re.compile(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2,}\S.*)?")
BLOCKS = {match[2]: (match[1], match[3]) for match in FENCE.finditer(TEXT)}


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, code marks taken off."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|-: ")]
    return [[cell.strip().replace("`", "") for cell in line.strip().strip("|").split(" | ")] for line in lines]


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    match = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, f"no heading {heading!r}"
    return match[1]


def parse_hex(block: str) -> bytes:
    data = b""
    for line in block.splitlines():
        match = HEX_LINE.fullmatch(line)
        assert match, f"not a line of hex: {line!r}"
        assert int(match[1], 16) == len(data), f"wrong offset: {line!r}"
        data += bytes.fromhex(match[2])
    return data


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_what_the_code_writes(name: str) -> None:
    assert name in BLOCKS, f"docs/format.md lacks the block {name}"
    form, block = BLOCKS[name]
    if form == "bytes":
        ending = "" if EXAMPLES[name].endswith(b"\n") else "\n"
        assert block == EXAMPLES[name].decode() + ending
    else:
        assert parse_hex(block).hex(" ") == EXAMPLES[name].hex(" ")


def test_no_example_is_left_unchecked() -> None:
    assert sorted(BLOCKS) == sorted(EXAMPLES)


@pytest.mark.parametrize("heading", FIELDS)
def test_offsets_and_sizes(heading: str) -> None:
    data, fields = FIELDS[heading]
    table = [row for row in rows(section(heading)) if row[0].isdigit()]
    names = [re.split(r"[:;,(]", row[2])[0].strip() for row in table]
    assert names == list(fields)
    end = 0
    for row, name in zip(table, names):
        offset, size = int(row[0]), int(row[1]) if row[1].isdigit() else len(data) - int(row[0])
        assert offset == end, f"{heading}: {name} does not follow the field before it"
        end = offset + size
        assert data[offset:end] == fields[name], f"{heading}: {name}"
    assert end == len(data)


def test_constants() -> None:
    seen = 0
    for row in rows(TEXT):
        if re.fullmatch(r"casstore(\.\w+)+", row[0]):
            module, name = row[0].rsplit(".", 1)
            value = int(row[1].replace(",", ""), 8 if row[1].startswith("0o") else 10)
            assert getattr(importlib.import_module(module), name) == value, row[0]
            seen += 1
    assert seen >= 20


def test_digests() -> None:
    stated = {row[0]: row[1] for row in rows(TEXT) if row[0].startswith(("key ", "address ")) and len(row[1]) == 64}
    assert stated == {name: digest.hex() for name, digest in DIGESTS.items()}


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Kinds", kinds.KIND_NAMES),
        ("Encodings", kinds.ENCODING_NAMES),
        ("Entry", entries.KIND_NAMES),
        ("Backends", BACKEND_NAMES),
    ],
)
def test_numbered_names(heading: str, names: dict[int, str]) -> None:
    assert {int(row[0]): row[1] for row in rows(section(heading)) if row[0].isdigit()} == names


def test_namespaces_and_facts_of_the_index() -> None:
    stated = {row[0].encode() for row in rows(section("Keys"))}
    keys = {value for value in vars(index_entry).values() if type(value) is bytes} - {index_entry.FACT}
    assert len(keys) >= 14
    assert keys - stated == set()


def test_versions() -> None:
    assert rows(section("Versions"))[-1][:2] == [str(FORMAT_VERSION), __version__]


def test_file_names() -> None:
    assert layout.segment_name(1) in TEXT
    assert layout.event_name(1) in TEXT
    assert layout.object_path(ADDRESS) in TEXT
    assert layout.pin_name("0123456789abcdef" * 2) in TEXT
    names = ("SUPERBLOCK", "CONFIG", "LOCK", "INDEX", "SEGMENTS", "OBJECTS", "REFS", "READERS", "WORKSPACES", "BASES")
    for name in names:
        assert f"`{getattr(layout, name)}" in section("Files of a store"), name
    for name in ("WORKSPACE_INFO", "LOCK", "UPPER", "WORK"):
        assert f"`workspaces/3f9c2a1b/{getattr(layout, name)}" in TEXT or f"`{getattr(layout, name)}/`" in TEXT, name


# -- claims in words


def test_the_examples_are_valid() -> None:
    assert decode_superblock(EXAMPLES["superblock"]) == SUPERBLOCK
    assert decode_settings(EXAMPLES["config"]) == Settings()
    assert decode_record(EXAMPLES["record"]) == RECORD
    assert decode_chunk_list(ADDRESS, LIST).size == len(CONTENT)
    leaf = decode_node(LEAF)
    check_node(leaf)
    assert [leaf.entry(place) for place in range(4)] == list(ITEMS.values())
    assert leaf.summary == decode_node(INNER).summary == LEAF_SUMMARY
    assert decode_posix(EXAMPLES["posix"]) == POSIX
    assert decode_snapshot(SNAPSHOT).message == "first"
    assert decode_ref_move(EXAMPLES["ref-move"]) == MOVE
    assert index_entry.decode_entry(EXAMPLES["index-object"]) == ENTRY
    assert stat_cache.decode_head(EXAMPLES["index-cache-head"]) == HEAD
    assert stat_cache.decode_folder(EXAMPLES["index-cache-folder"]).stats == FOLDER.stats
    known = EXAMPLES["workspace"] + EXAMPLES["journal"]
    assert workspace_files.decode_state(known) == (
        workspace_examples.info(SNAPSHOT_ID),
        workspace_examples.journal(SNAPSHOT_ID),
    )
    padded = bytes(slots.PAGE_BYTES) + EXAMPLES["slot"].ljust(slots.PAGE_BYTES, b"x") + b"y" * slots.PAGE_BYTES
    assert slots.newest_slot(padded) == (4, 1, CONTENT)
    assert slots.place_of(4, slots.PAGE_BYTES) == slots.PAGE_BYTES


def test_levels_of_keys() -> None:
    stated = {row[0]: row[1:] for row in rows(section("Boundaries")) if row[-1].isdigit()}
    assert len(stated) >= 3
    for key, (digits, level) in stated.items():
        assert blake3(key.encode()).hexdigest().startswith(digits.rstrip("…")), key
        assert key_level(key.encode()) == int(level), key
    assert {int(level) for _, level in stated.values()} >= {0, 1, 2}


def test_keys_of_metadata() -> None:
    stated = {row[0]: row[1] for row in rows(section("POSIX metadata")) if row[-1].endswith(("@", "=a.py"))}
    assert stated["the imported directory itself"] == posix_key(b"", directory=True).decode()
    assert stated["directory src"] == posix_key(b"src", directory=True).decode()
    assert stated["file or symlink src/a.py"] == posix_key(b"src/a.py", directory=False).decode()


def test_the_default_settings() -> None:
    members = parse_canonical_json(EXAMPLES["config"].partition(b"\n")[0])
    assert members == {"grace_seconds": 3600, "max_bytes": None, "undo_keep_seconds": 604800}


def test_what_readers_refuse() -> None:
    block = EXAMPLES["superblock"]

    def with_digest(body: bytes) -> bytes:
        return body + blake3(body, key=type_key("superblock")).digest()

    later = with_digest(block[:8] + little(2, 4) + block[12:64])
    for changed in (
        later,
        later + b"longer",
        with_digest(block[:12] + little(2, 4) + block[16:64]),
        with_digest(block[:20] + b"\x03" + block[21:64]),
    ):
        with pytest.raises(FormatVersionError):
            decode_superblock(changed)
    assert decode_superblock(with_digest(block[:16] + little(1, 4) + block[20:64])).write_features == 1
    for changed in (b"", block[:-1], b"x" + block[1:], block[:8] + little(2, 4) + block[12:]):
        with pytest.raises(CorruptionError):
            decode_superblock(changed)

    def with_checksum(rest: bytes) -> bytes:
        return b"CASr" + blake3(rest).digest(8) + rest

    rest = EXAMPLES["record"][12:]
    with pytest.raises(FormatVersionError):
        decode_record(with_checksum(b"\x02" + rest[1:]))
    for changed in (b"\x01\x06" + rest[2:], b"\x01\x01\x04" + rest[3:], b"\x01\x01\x00\x01" + rest[4:]):
        with pytest.raises(CorruptionError):
            decode_record(with_checksum(changed))
    with pytest.raises(FormatVersionError):
        decode_node(b"\x02" + LEAF[1:])
    with pytest.raises(FormatVersionError):
        decode_posix(b"\x02" + EXAMPLES["posix"][1:])
    with pytest.raises(FormatVersionError):
        decode_snapshot(SNAPSHOT.replace(b'"version":1', b'"version":2'))
    with pytest.raises(CorruptionError):
        decode_snapshot(SNAPSHOT.replace(b'"files"', b'"filez"'))
    kept = decode_settings(encode_settings(Settings(other={"later": 1})))
    assert kept.other == {"later": 1}


def test_what_is_compressed_and_what_is_cut() -> None:
    assert compress(b"a" * 47, 6) == (kinds.RAW, b"a" * 47)
    assert compress(b"a" * 48, 6)[0] == kinds.ZSTD
    chunker = Chunker(*DEFAULT_CHUNK_BYTES)
    assert chunker.lengths(bytes(16384)) == [16384]
    assert chunker.whole_bytes == 16384
    assert len(chunker.lengths(bytes(40_000))) > 1


def test_the_header_as_a_struct() -> None:
    """What a reader in another language would do, from the document alone."""
    magic, checksum, version, kind, encoding, reserved, stored, raw, address = struct.unpack(
        "<4s8sBBBBII32s", EXAMPLES["record"][:56]
    )
    body = EXAMPLES["record"][56:]
    assert (magic, version, kind, encoding, reserved) == (b"CASr", 1, 1, 0, 0)
    assert (stored, raw) == (len(body), len(body))
    assert checksum == blake3(EXAMPLES["record"][12:]).digest()[:8]
    assert Address(address) == blake3(body).digest()

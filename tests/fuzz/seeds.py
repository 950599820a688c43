# SPDX-License-Identifier: MIT
"""Small inputs that the targets accept, where fuzzing starts; ``python -m tests.fuzz --write-seeds`` stores them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import casstore
from casstore.address import Address, content_address
from casstore.codecs.arrays import ArrayFactory
from casstore.codecs.arrow import ArrowFactory
from casstore.codecs.messagepack import pack
from casstore.compression import compress, compress_delta
from casstore.format import (
    bundle,
    chunk_list,
    entry,
    event,
    index_entry,
    posix,
    proof,
    record,
    settings,
    slots,
    snapshot,
    stat_cache,
    superblock,
    workspace_files,
)
from casstore.format.canonical import canonical_json
from casstore.format.kinds import CHUNK, NODE, RAW, ZSTD, ZSTD_BASE
from casstore.format.retention import KeepRule
from casstore.format.varint import encode_varint
from casstore.tree import build
from tests.fuzz.targets_codecs import registry
from tests.fuzz.targets_format import BASE, CONTENT
from tests.fuzz.targets_store import BASE as BASE_STORE
from tests.fuzz.targets_store import CONFIG

CORPUS = Path(__file__).parent / "corpus"
A = Address(b"\xaa" * 32)
LOG = bytes(4) + (3).to_bytes(2, "little") + b"\1abc"
TEXT = b"all work and no play " * 12


def _store() -> tuple[casstore.Store, casstore.Snapshot]:
    store = casstore.open(":memory:", config=CONFIG)
    branch = store.branch()
    for number in range(40):
        branch.files[f"d{number % 3}/{number:02}"] = b"%d " % number * (number * 8 % 130)
    branch.files["large"] = bytes(range(256)) * 9
    branch.objects["memory"] = {"step": 3, "texts": ["x", None, 1.5]}
    return store, branch.commit("seed")


def seeds() -> Iterator[tuple[str, bytes]]:
    """Target and input."""
    yield "record", record.encode_record(record.Record(CHUNK, RAW, content_address(TEXT[:40]), 40, TEXT[:40]))
    _, frame = compress(TEXT, 3)
    yield "record", record.encode_record(record.Record(NODE, ZSTD, A, len(TEXT), frame))
    delta = A + compress_delta(BASE[:999], BASE)
    yield "record", record.encode_record(record.Record(CHUNK, ZSTD_BASE, A, 999, delta))
    yield "decompress", len(TEXT).to_bytes(3, "little") + frame
    yield "decompress", (999).to_bytes(3, "little") + delta[32:]
    for number in (0, 127, 128, 2**63 - 1):
        yield "varint", encode_varint(number)
    yield "index_entry", index_entry.encode_entry(index_entry.IndexEntry(1, 2, 3, 4, 5, 6, 1, 0))
    yield "index_entry", index_entry.encode_entry(index_entry.IndexEntry(1, 2, 3, 4, 5, 6, 1, 3, 2, A))
    yield "index_entry", index_entry.encode_number(7)
    yield "segment_state", index_entry.encode_segment(index_entry.SegmentState(10, 2, True))
    block = superblock.Superblock(
        store_id=bytes(16), created_ns=1, chunk_min_bytes=64, chunk_avg_bytes=256, chunk_max_bytes=1024, features=1
    )
    yield "superblock", superblock.encode_superblock(block)
    rules = (KeepRule(ref="try/*", last=3, best=2, by="score"), KeepRule(within_seconds=60, total_bytes=5))
    yield "settings", settings.encode_settings(settings.Settings(max_bytes=5, retention=rules)).partition(b"\n")[0]
    yield "retention", canonical_json([rule.to_json() for rule in rules])
    yield "canonical", canonical_json({"a": [1, -2.5, None, True, "ü\n"], "b": {}})
    fields = snapshot.SnapshotFields(roots={"files": A}, parents=(A,), message="m", meta={"s": 0.5}, time_ns=1)
    yield "snapshot", snapshot.encode_snapshot(fields)
    yield (
        "event",
        event.encode_ref_move(event.RefMove(name="main", old=None, new=A, number=3, time_ns=1, actor="x", reason="")),
    )
    yield "event", event.encode_history_cut(4, 2)
    yield "event", event.encode_shallow(5, A)
    yield "posix", posix.encode_posix(posix.PosixMetadata(0o755, 1000, 1000, -5, ((b"user.a", b"v"), (b"user.b", b""))))
    for one in (
        entry.file_entry(3, inline=b"abc"),
        entry.file_entry(300, A, executable=True),
        entry.symlink_entry(2, inline=b".."),
        entry.directory_entry(),
        entry.snapshot_entry(A),
        entry.object_entry("json", 1, 2, inline=b"{}"),
        entry.object_entry("ndarray", 300, 2**40, A),
        entry.value_entry(b"x" * 200),
    ):
        yield "entry", entry.encode_entry(one)
    store, tip = _store()
    files = tip.roots["files"]
    top = store.nodes.get(files)
    yield "node", top.raw
    leaf = top
    while leaf.height:
        leaf = store.nodes.get(leaf.children[0])
    yield "node", leaf.raw
    mixed = [
        (b"o", entry.object_entry("json", 1, 300, A)),
        (b"s", entry.snapshot_entry(A)),
        (b"v", entry.value_entry(b"")),
    ]
    root = build(store.nodes, mixed)
    assert root is not None
    yield "node", store.nodes.get(root).raw
    for name in ("files/d1/04", "files/none", "files/d2/", "objects/memory"):
        made = store.prove(tip, name)
        yield "proof", made if name == "files/d1/04" else made[:-32]
    nothing = proof.ProofFields(proof.encode_table({}), "files", proof.KEY_MODE, b"k", ())
    yield "proof", proof.encode_proof(nothing)[:-32]
    yield "chunk_list", chunk_list.encode_chunk_list(CONTENT, [(A, 5), (CONTENT, 300)])[32:]
    yield "stat_cache", stat_cache.encode_head(stat_cache.CacheHead(A, bytes(16), bytes(16), True))
    stats = [(7, 3, 1, 1, 0o100644), (8, 3, 1, 1, 0o120777)]
    folder = stat_cache.encode_folder(
        stat_cache.FolderRecord(1, 2, 3, True, bytes(16), [b"a", b"b"], stats, [b"d"], [(b"x/", "socket")])
    )
    yield "stat_cache", folder
    larger = stat_cache.decode_folder(folder)
    larger.members = [b"m%02d" % number for number in range(30)]
    larger.stats = stats * 15
    packed = stat_cache.encode_folder(larger)
    yield "packed_cache", len(packed).to_bytes(4, "little") + compress(packed, 1)[1]
    for path in sorted((BASE_STORE / "index").iterdir()):
        if path.name.startswith("MANIFEST") or path.suffix == ".log":
            yield "leveldb", path.read_bytes()[:4096] or LOG
    slot = slots.encode_slot(slots.Slot(2, 1, b"payload"), 100) or b""
    yield "slots", slot.ljust(100, b"\0") * 3
    info = workspace_files.Info(
        id="0123abcd", path="/w", device=1, inode=2, base=A, base_ref="main",
        last_switch=workspace_files.LastSwitch(source=A, target=None, base=A, ref="main", time_ns=3),
    )  # fmt: skip
    journal = workspace_files.Journal(token="0" * 16, source=A, target=None, base=A, ref=None, time_ns=1)
    yield (
        "workspace",
        b"\n".join(
            (workspace_files.encode_info(info).split(b"\n")[0], workspace_files.encode_journal(journal).split(b"\n")[0])
        ),
    )
    manifest = bundle.Manifest(tips=(A,), refs={"main": A}, excluded=(CONTENT,), records=3, digest=bytes(32))
    yield "manifest", bundle.encode_manifest(manifest)
    yield from _codecs()
    yield from _bundles()
    for number in range(7):
        yield "states", bytes((0, 200)) + bytes(range(200)) + bytes((1,)) + bytes((number, 1, 2, 3) * 12)
    yield "states", bytes.fromhex("0005") + b"hello" + bytes.fromhex("0002000001010000040100")
    for number in range(14):
        yield "cli", bytes((0, 0, 2, number * 2, number % 2, number * 2 + 1, 1 - number % 2))
    yield "cli", bytes((1, 0, 0, 49, 2, 2, 0x91, 0x91, 1, 0, 2, 0, 0, 10, 1))
    for flags in (1, 2, 4, 10, 17, 34, 36, 64, 74):
        yield "store", bytes((flags, 1, 0, flags, 2, 0, 1, flags, 7, 3, 0, 0, 50, 2, 0, 0, 80, 1, 9, 9, 9))


def _bundles() -> Iterator[tuple[str, bytes]]:
    store = casstore.open(":memory:", config=CONFIG)
    branch = store.branch()
    branch.files["a"] = TEXT
    branch.files["b/c"] = bytes(range(256)) * 6
    base = branch.commit("base")
    branch.objects["m"] = {"x": 1}
    branch.files["b/c"] = bytes(range(256)) * 6 + b"more"
    tip = branch.commit("tip")
    for tips, exclude in (([base], []), ([tip], []), ([tip], [base])):
        path = CORPUS / "bundle.tmp"
        store.export_bundle(str(path), tips, exclude=exclude)
        yield "bundle", path.read_bytes()
        path.unlink()


def _codecs() -> Iterator[tuple[str, bytes]]:
    import numpy

    arrays = (numpy.arange(6, dtype="<i4").reshape(2, 3), numpy.array(1.5), numpy.zeros((0, 3), "?"), numpy.array([1j]))
    for array in arrays:
        yield "array", ArrayFactory().encode(array)
        yield "describe", b"\2" + ArrayFactory().encode(array)
    values = (
        {"a": [1, 2.5, None, b"x"], "b": {1: (2, 3), 2: {4, 5}}, "c": 2**70, "d": frozenset((1,))},
        [float("nan"), -1, "ü" * 40, [[]], {}],
        {"x": 1, "y": 2},
        {"name": "RED"},
        {"value": 3},
        {"name": "n", "inner": [1]},
    )
    for value in values:
        data = pack(value, registry())
        yield "messagepack", data
        yield "members", data
        yield "struct", data
        yield "describe", b"\1" + data
        yield "describe", b"\5" + data
    point = registry().decode("struct:fuzz.point", 2, pack({"x": 1, "y": [2], "z": 3}, registry()))
    yield "messagepack", pack([point, {"k": point}], registry())
    texts = (b'{"a":[1,2,{"b":null}],"c":"x"}', b"[]", '"ü"'.encode())
    for text in texts:
        yield "text", text
        yield "describe", b"\0" + text
    yield "describe", b"\3some text\nand more"
    pairs = (
        (b"\0", b'{"a":[1,2,3,4],"b":{"c":1}}', b'{"a":[1,3,4,5],"b":{"d":1}}'),
        (b"\1", pack({"s": {1, 2}, "k": {(1, 2): 3}}, registry()), pack({"s": {2, 3}, "k": {(1, 2): 4}}, registry())),
        (b"\2", ArrayFactory().encode(arrays[0]), ArrayFactory().encode(arrays[0] + 1)),
        (b"\3", b"one text", b"another text"),
        (b"\5", pack({"x": 1}, registry()), pack({"x": 2}, registry())),
    )
    for kind, old, new in pairs:
        yield "field_changes", kind + (2 + len(old)).to_bytes(2, "little") + old + new
    yield "ignore", b"*.o\n!keep.o\n/build/\na/**/b\n[a-z]?.[!x]\n\\#x \n**/foo\n\0a/x/b"
    for text in (b"main:files/a/b", b"3f9c", b"64KiB", b"1h30m", b"it's \xff \x1b[0m", b"a:b"):
        yield "names", text
    try:
        import pyarrow
    except ImportError:
        return
    table = pyarrow.table({"a": [1, None, 3], "b": ["x", "y", None], "c": [[1], [], None]})
    yield "arrow", ArrowFactory().encode(table)
    yield "arrow", ArrowFactory().encode(pyarrow.table({"a": [True, None]}))


def write() -> int:
    """Stores the seeds beside the inputs that were found; returns how many there are."""
    number: dict[str, int] = {}
    for target, data in seeds():
        place = number[target] = number.get(target, -1) + 1
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{place:02}").write_bytes(data)
    return sum(number.values()) + len(number)

# SPDX-License-Identifier: MIT
"""Bundles that are torn, damaged, or made to deceive: nothing is adopted, and the store is as before."""

from __future__ import annotations

import io
import struct
import sys

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.address import Address, content_address, node_address, snapshot_address
from casstore.collection.bundle import adopt_bundle
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError, NotFoundError
from casstore.format.entry import encode_entry, file_entry, snapshot_entry, value_entry
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT, ZSTD
from casstore.format.node import Summary, encode_child, encode_node, join_key
from casstore.format.record import Record, encode_record
from tests.collection.bundles import (
    adopt,
    bundle_of,
    chunk,
    chunk_list,
    content_bundle,
    export,
    files_of,
    held,
    leaf,
    memory,
    node,
    noise,
    pack,
    pack_event,
    raw_record,
    refused,
    snapshot,
    state,
    unpack,
)


def small_bundle() -> tuple[casstore.Store, bytes]:
    source = memory()
    base = state(source, {b"a": b"small", b"b": noise(1, 200)})
    return source, export(source, state(source, {b"a": b"text " * 60}, [base]))


def test_the_parts_make_a_good_bundle() -> None:
    store = memory()
    data = noise(1, 300)
    good = content_bundle(chunk(data), size=300)
    assert files_of(store, adopt(store, good).tips[0]) == {b"f": data}
    halves = chunk(data[:100]), chunk(data[100:])
    listed = chunk_list(content_address(data), [(halves[0].address, 100), (halves[1].address, 200)])
    fresh = memory()
    assert files_of(fresh, adopt(fresh, content_bundle(*halves, listed, size=300)).tips[0]) == {b"f": data}


# -- torn and damaged


def test_torn_anywhere() -> None:
    _, bundle = small_bundle()
    store = memory()
    for length in range(len(bundle)):
        refused(store, bundle[:length], (CorruptionError, FormatVersionError))
    for extra in (b"\0", b"CASr", bundle, encode_record(chunk(b"x" * 200))):
        assert "bytes follow the manifest" in refused(store, bundle + extra).message
    assert adopt(store, bundle).new_records == len(unpack(bundle)) - 1


def test_torn_at_each_record_of_a_larger_bundle() -> None:
    source = memory()
    bundle = export(source, state(source, {b"%d" % i: noise(i, 40 * i) for i in range(40)}))
    store = memory()
    end = 0
    for record in unpack(bundle):
        refused(store, bundle[:end])
        refused(store, bundle[: end + 30])
        end += 56 + len(record.stored)
    assert end == len(bundle)


def test_every_bit_flipped() -> None:
    _, bundle = small_bundle()
    store = memory()
    for place in range(len(bundle)):
        for bit in range(8):
            damaged = bytearray(bundle)
            damaged[place] ^= 1 << bit
            refused(store, bytes(damaged), (CorruptionError, FormatVersionError))


def test_records_left_out_doubled_or_in_another_order() -> None:
    source = memory()
    tip = state(source, {b"%d" % i: noise(i, 150 * i) for i in range(20)}, [state(source, {b"old": noise(50, 500)})])
    *records, _ = unpack(export(source, tip))
    store = memory()
    for i in range(len(records)):
        refused(store, pack(records[:i] + records[i + 1 :], [tip.id]))
        refused(store, pack([*records[: i + 1], records[i], *records[i + 1 :]], [tip.id]))
    refused(store, pack(records[::-1], [tip.id]))
    last = records[-1]
    refused(store, pack([last, *records[:-1]], [tip.id]))
    adopt(store, pack(records, [tip.id]))


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    store = memory()
    refused(store, data, (CorruptionError, FormatVersionError))


# -- the manifest


def test_manifests_that_do_not_fit() -> None:
    store = memory()
    data = noise(1, 300)
    top = leaf((b"f", file_entry(300, content_address(data))))
    tip = snapshot(files=top.address)
    records = [chunk(data), top, tip]
    body = b"".join(map(encode_record, records))
    manifest = unpack(pack(records, [tip.address]))[-1].stored
    assert body + pack_event(manifest) == pack(records, [tip.address])
    for bad in (
        pack(records, [tip.address], count=2),
        pack(records, [tip.address], digest=bytes(32)),
        pack(records, [tip.address, Address(bytes(32))]),
        pack(records, [top.address]),
        pack(records, [records[0].address]),
        body,
        body + pack_event({"type": "ref-move", "number": 0}),
        body + encode_record(raw_record(EVENT, node_address(b"{}"), b"{}")),
        body + pack_event(b"[]"),
        body + encode_record(raw_record(EVENT, node_address(manifest), manifest)),
        pack(records, [tip.address]) + pack(records, [tip.address]),
        # A manifest alone brings nothing that the store lacks.
        pack([], [tip.address]),
    ):
        refused(store, bad)
    refused(store, pack(records, [tip.address], excluded=[Address(bytes(32))]), NotFoundError)
    # What is there, but is no snapshot, cannot be what a bundle builds on.
    store.put(data)
    refused(store, pack(records, [tip.address], excluded=[content_address(data)]), NotFoundError)


def test_events_are_not_adopted() -> None:
    store = memory()
    tip = snapshot()
    move = {
        "type": "ref-move",
        "name": "main",
        "old": None,
        "new": tip.address.hex(),
        "number": 1,
        "time_ns": 1,
        "actor": "x",
        "reason": "",
    }
    body = encode_record(tip) + pack_event(move)
    refused(store, body)
    good = bundle_of(tip)
    refused(store, body + good[len(encode_record(tip)) :])
    adopt(store, good)
    assert dict(store.refs) == {}
    assert 5 not in held(store).values()


# -- records that are not what they say


def test_kinds_are_not_confused() -> None:
    store = memory()
    data = noise(1, 300)
    secret = leaf((b"f", file_entry(300, content_address(data))), (b"g", file_entry(120, inline=bytes(120))))
    # User data that looks like a node, stored as what it is: a chunk. Its plain address is no node's.
    looks = chunk(secret.stored)
    refused(store, bundle_of(chunk(data), looks, snapshot(files=looks.address)))
    refused(
        store, bundle_of(chunk(data), raw_record(NODE, looks.address, secret.stored), snapshot(files=looks.address))
    )
    refused(
        store, bundle_of(chunk(data), raw_record(CHUNK, secret.address, secret.stored), snapshot(files=secret.address))
    )
    # The other way round: metadata as content, a snapshot as a root, a node as a parent.
    inner = snapshot()
    for wrong in (secret.address, inner.address):
        top = leaf((b"f", file_entry(len(secret.stored), wrong)))
        refused(store, bundle_of(chunk(data), secret, inner, top, snapshot(files=top.address, objects=secret.address)))
    refused(store, bundle_of(inner, snapshot(files=inner.address)))
    refused(store, bundle_of(chunk(data), secret, snapshot(secret.address)))
    refused(store, bundle_of(chunk(data), snapshot(content_address(data))))
    top = leaf((b"s", snapshot_entry(secret.address)))
    refused(store, bundle_of(chunk(data), secret, top, snapshot(files=top.address)))
    # The same against what the store holds already.
    store.put(secret.stored)
    refused(store, bundle_of(snapshot(files=looks.address)))
    adopt(store, bundle_of(chunk(data), secret, snapshot(files=secret.address)))
    top = leaf((b"f", file_entry(len(secret.stored), secret.address)))
    refused(store, bundle_of(top, snapshot(files=top.address)))
    refused(store, bundle_of(snapshot(secret.address)))


@pytest.mark.parametrize("kind", [CHUNK, CHUNK_LIST, NODE, SNAPSHOT])
def test_bytes_that_are_not_those_of_the_address(kind: int) -> None:
    store = memory()
    for raw in (b"", b"x", noise(1, 300), encode_node(0, [join_key(b"a", encode_entry(value_entry(b"v")))])):
        for address in (content_address(b"other"), node_address(b"other")):
            refused(
                store,
                bundle_of(raw_record(kind, address, raw), snapshot(files=address)),
                (CorruptionError, FormatVersionError),
            )
    # A bundle that is sound in all else: every address is there, and what refers to it fits.
    data, other = noise(1, 300), noise(2, 300)
    lists = chunk_list(content_address(data), [(content_address(data[:150]), 150), (content_address(data[150:]), 150)])
    parts = [chunk(data[:150]), chunk(data[150:]), lists]
    top = leaf((b"f", file_entry(300, content_address(data))))
    good = [*parts, top, snapshot(files=top.address)]
    adopt(memory(), bundle_of(*good))
    swapped = {
        CHUNK: (0, other[:150]),
        CHUNK_LIST: (2, chunk_list(content_address(other), [(parts[0].address, 150), (parts[1].address, 150)]).stored),
        NODE: (3, leaf((b"g", file_entry(300, content_address(data)))).stored),
        SNAPSHOT: (4, snapshot(objects=top.address).stored),
    }
    place, raw = swapped[kind]
    bad = [*good]
    bad[place] = raw_record(kind, good[place].address, raw)
    refused(store, bundle_of(*bad))
    # The right address of something that cannot be decoded.
    for raw in (b"", b"x", b"\x01\0\x01", b"{}", noise(2, 300)):
        for record in (raw_record(NODE, node_address(raw), raw), raw_record(SNAPSHOT, snapshot_address(raw), raw)):
            refused(store, bundle_of(record, snapshot(files=record.address)), (CorruptionError, FormatVersionError))


def test_bombs() -> None:
    store = memory()
    big = bytes(200_000_000)
    frame = zstandard.ZstdCompressor(write_content_size=True).compress(big)
    assert len(frame) < 20_000
    address = blake3(big).digest()
    del big
    for raw_bytes in (len(frame), 16 * 1024 * 1024):
        refused(store, content_bundle(Record(CHUNK, ZSTD, Address(address), raw_bytes, frame), size=raw_bytes))
    # No size in the frame; and no frame at all.
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(5000))
    for stored in (unsized, noise(1, 40)):
        refused(store, content_bundle(Record(CHUNK, ZSTD, content_address(bytes(5000)), 5000, stored), size=5000))
    # A header that promises more than a record may hold, or than there is.
    good = bytearray(content_bundle(chunk(noise(1, 300)), size=300))
    for stored_bytes, raw_bytes in ((2**32 - 1, 2**32 - 1), (16 << 20, 16 << 20), (2**31, 300)):
        struct.pack_into("<II", good, 16, stored_bytes, raw_bytes)
        refused(store, bytes(good))
    # A dictionary that nobody has, and a delta: a bundle stands for itself.
    for encoding, error in ((2, FormatVersionError), (3, CorruptionError)):
        record = chunk(noise(1, 300))._replace(encoding=encoding)
        refused(store, content_bundle(record, size=300), error)


# -- lists that lie


def test_lists_that_lie() -> None:
    store = memory()
    data, other = noise(1, 600), noise(2, 600)
    halves = chunk(data[:200]), chunk(data[200:])
    a, b = halves[0].address, halves[1].address
    whole = content_address(data)
    for pieces in (
        [(b, 400), (a, 200)],
        [(a, 200)],
        [(a, 200), (b, 400), (a, 200)],
        [(a, 201), (b, 399)],
        [(a, 600)],
        [(a, 200), (content_address(other), 400)],
        [(whole, 600)],
    ):
        listed = chunk_list(whole, pieces)
        size = sum(length for _, length in pieces)
        refused(store, content_bundle(*halves, listed, size=size))
    good = chunk_list(whole, [(a, 200), (b, 400)])
    refused(store, content_bundle(*halves, good, size=599))
    refused(store, content_bundle(*halves, good._replace(address=content_address(other)), size=600))
    # Right bytes, but under another content's address, with a digest of its own.
    refused(store, content_bundle(*halves, chunk_list(content_address(other), [(a, 200), (b, 400)]), size=600))
    # The entry names another size than the content has.
    refused(store, content_bundle(chunk(data), size=601))
    # Pieces that the store has are looked at no less.
    store.put(data[:200])
    store.put(data[200:])
    refused(store, content_bundle(chunk_list(content_address(other), [(a, 200), (b, 400)]), size=600))
    refused(store, content_bundle(chunk_list(whole, [(a, 200), (b, 401)]), size=601))
    assert files_of(store, adopt(store, content_bundle(good, size=600)).tips[0]) == {b"f": data}
    # A lie about what is there already is refused as well, and changes nothing.
    refused(store, content_bundle(halves[0], chunk_list(whole, [(a, 200)]), size=200))
    assert store.get(whole) == data


def test_lists_that_nest_too_deep_or_stand_for_too_much() -> None:
    store = memory()
    first = chunk(bytes(1024))
    records, address, size = [first], first.address, 1024
    for _ in range(8):
        size *= 2
        upper = chunk_list(blake3(bytes(size)).digest(), [(address, size // 2)] * 2)
        records.append(upper)
        address = upper.address
    adopt(memory(), content_bundle(*records, size=size))
    upper = chunk_list(blake3(bytes(2 * size)).digest(), [(address, size)] * 2)
    refused(store, content_bundle(*records, upper, size=2 * size))
    # 4096 times 4096 times a KiB, and more: cheap to claim, expensive to hash.
    bomb = [first]
    size = 1024
    for height in range(4):
        size *= 4096
        address = blake3(bytes(size) if not height else b"%d" % height).digest()
        bomb.append(chunk_list(address, [(bomb[-1].address, size // 4096)] * 4096))
    with pytest.raises(InvalidInputError, match="limit_bytes"):
        adopt_bundle(store.storage, store.nodes, io.BytesIO(content_bundle(*bomb, size=size)), limit_bytes=2**26)
    assert held(store) == {}
    # What unpacks to far more than it is counts as well.
    zeros = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(2**24))
    record = Record(CHUNK, ZSTD, content_address(bytes(2**24)), 2**24, zeros)
    bundle = content_bundle(record, size=2**24)
    with pytest.raises(InvalidInputError, match="limit_bytes"):
        adopt_bundle(store.storage, store.nodes, io.BytesIO(bundle), limit_bytes=2**23)
    adopt_bundle(store.storage, store.nodes, io.BytesIO(bundle), limit_bytes=2**24)


# -- trees that are not trees


def test_keys_that_lead_out() -> None:
    store = memory()
    for key in (b"", b"/etc/passwd", b"../x", b"a/../../x", b"a//b", b"a/.", b"a\0b", b"x" * 5000, b"a/"):
        top = leaf((key, file_entry(1, inline=b"x")))
        refused(store, bundle_of(top, snapshot(files=top.address)))
    for keys in ((b"b", b"a"), (b"a", b"a"), (b"a", b"a/b"), (b"a", b"a-b", b"a/b")):
        top = leaf(*[(key, file_entry(1, inline=b"x")) for key in keys])
        refused(store, bundle_of(top, snapshot(files=top.address)))


def test_a_last_child_that_is_misnamed() -> None:
    """Of the last key of all no hash says that it ends a node; so only its child tells."""
    store = memory()
    source = memory()
    roots = [state(source, {b"%d-%02d" % (seed, i): b"x" for i in range(40)}).roots["files"] for seed in range(20)]
    top = next(found for found in map(source.nodes.get, roots) if found.height == 1 and len(found.keys) > 2)
    below = [source.storage.backend.get(child) for child in top.children]
    claims = [(key, child, top.child_summary(i)) for i, (key, child) in enumerate(zip(top.keys, top.children))]
    for key, fine in ((claims[-1][0], True), (claims[-1][0] + b"0", False), (claims[-1][0][:-1] + b"\xff", False)):
        upper = node(1, [encode_child(*claim) for claim in (*claims[:-1], (key, *claims[-1][1:]))])
        bundle = bundle_of(*below, upper, snapshot(files=upper.address))
        if fine:
            adopt(memory(), bundle)
        else:
            refused(store, bundle)


def test_a_root_with_one_child() -> None:
    store = memory()
    bottom = leaf((b"a", file_entry(1, inline=b"x")))
    upper = node(1, [encode_child(b"a", bottom.address, Summary(1, 1, 1))])
    refused(store, bundle_of(bottom, upper, snapshot(files=upper.address)))


def test_what_the_store_knows_to_be_damaged_does_not_count() -> None:
    source, store = memory(), memory()
    base = state(source, {b"%d" % i: noise(i, 300) for i in range(60)})
    adopt(store, export(source, base))
    store.refs["x"] = store.snapshot(base.id)
    data = content_address(noise(3, 300))
    listed = leaf((b"f", file_entry(300, data)))
    for hurt, bundle, error in (
        (base.id, export(source, state(source, {b"a": b"x"}), exclude=[base]), NotFoundError),
        (base.id, bundle_of(snapshot(base.id)), CorruptionError),
        (base.roots["files"], bundle_of(snapshot(objects=base.roots["files"])), CorruptionError),
        (data, bundle_of(listed, snapshot(files=listed.address)), CorruptionError),
    ):
        store.storage.backend.mark_damaged(hurt)
        refused(store, bundle, error)
        adopt(store, export(source, base))
        adopt(store, bundle)


def test_a_chain_of_nodes_of_one_height() -> None:
    store = memory()
    bottom = leaf((b"a", file_entry(1, inline=b"x")))
    records = [bottom]
    for _ in range(2 * sys.getrecursionlimit()):
        records.append(node(3, [encode_child(b"a", records[-1].address, Summary(1, 1, 1))]))
    refused(store, bundle_of(*records, snapshot(files=records[-1].address)))


def test_what_is_missing() -> None:
    store = memory()
    data = noise(1, 300)
    top = leaf((b"f", file_entry(300, content_address(data))))
    refused(store, bundle_of(top, snapshot(files=top.address)))
    refused(store, bundle_of(snapshot(files=top.address)))
    refused(store, bundle_of(snapshot(bytes(32))))
    link = leaf((b"s", snapshot_entry(Address(bytes(32)))))
    refused(store, bundle_of(link, snapshot(objects=link.address)))
    upper = node(1, [encode_child(b"f", top.address, Summary(1, 1, 300))])
    refused(store, bundle_of(chunk(data), upper, snapshot(files=upper.address)))


def test_nodes_of_the_store_are_not_trusted_without_a_snapshot() -> None:
    """A collection that was killed may leave nodes in place whose contents are gone."""
    store = memory()
    top = leaf((b"f", file_entry(300, content_address(noise(1, 300)))))
    store.storage.put_record(NODE, top.address, top.stored)
    tip = snapshot(files=top.address)
    refused(store, bundle_of(tip))
    store.put(noise(1, 300))
    adopt(store, bundle_of(tip))
    # Nor do two states of the same tree, of which only one says that it is a directory tree.
    conflict = leaf((b"a", file_entry(1, inline=b"x")), (b"a/b", file_entry(1, inline=b"x")))
    parent = snapshot(objects=conflict.address)
    adopt(store, bundle_of(conflict, parent))
    refused(store, bundle_of(snapshot(parent.address, files=conflict.address)))


def test_nothing_may_come_along() -> None:
    store = memory()
    data = noise(1, 300)
    for extra in (
        chunk(data),
        leaf((b"x", file_entry(1, inline=b"x"))),
        snapshot(),
        chunk_list(content_address(data), [(content_address(data[:100]), 100)]),
    ):
        top = leaf((b"f", file_entry(1, inline=b"x")))
        refused(store, bundle_of(extra, top, snapshot(files=top.address)))

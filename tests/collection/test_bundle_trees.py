# SPDX-License-Identifier: MIT
"""The check of received trees agrees with the plain one, with and without a base to compare with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.entry import encode_entry, file_entry
from casstore.format.key import key_level
from casstore.format.node import Summary, encode_child, join_key
from casstore.format.record import Record
from casstore.tree import Nodes, build, check_tree
from tests.collection.bundles import adopt, bundle_of, chunk, leaf, memory, node, noise, pack, refused, snapshot, state
from tests.tree.plain import MemoryRecords


class Plain:
    """A tree taken apart: items are keys with encoded entries, or children with what is claimed of them."""

    def __init__(self, height: int, items: list[Item]) -> None:
        self.height = height
        self.items = items

    @classmethod
    def of(cls, nodes: Nodes, address: Address) -> Plain:
        found = nodes.get(address)
        if not found.height:
            return cls(0, [Item(key, found.chunk(i)) for i, key in enumerate(found.keys)])
        return cls(found.height, [Item(None, cls.of(nodes, child)) for child in found.children])

    def nodes(self) -> Iterator[Plain]:
        yield self
        for item in self.items:
            if isinstance(item.below, Plain):
                yield from item.below.nodes()

    def last(self) -> bytes:
        key, below = self.items[-1].key, self.items[-1].below
        if key is None:
            assert isinstance(below, Plain)
            return below.last()
        return key

    def encode(self, out: dict[Address, Record]) -> tuple[Address, Summary]:
        chunks = []
        total = [0, 0, 0]
        for item in self.items:
            if isinstance(item.below, Plain):
                address, summary = item.below.encode(out)
                summary = item.claim or summary
                chunks.append(encode_child(item.below.last() if item.key is None else item.key, address, summary))
            else:
                summary = Summary(1, 1, 1)
                chunks.append(item.below)
            total = [one + other for one, other in zip(total, summary, strict=True)]
        record = node(self.height, chunks)
        out[record.address] = record
        return record.address, Summary(*total)


@dataclass
class Item:
    """``key`` and ``claim`` of a child are None where they are the truth."""

    key: bytes | None
    below: bytes | Plain
    claim: Summary | None = None


def spoil(tree: Plain, rng: random.Random) -> None:
    """One change somewhere that leaves every address right."""
    inner = rng.random() < 0.7
    choice = [found for found in tree.nodes() if len(found.items) > 1 and bool(found.height) == inner]
    if not choice:
        return
    items = (target := rng.choice(choice)).items
    i = rng.randrange(len(items))
    below = items[i].below
    change = rng.randrange(7)
    if change == 0:
        items[i - 1], items[i] = items[i], items[i - 1]
    elif change == 1:
        del items[i]
    elif not isinstance(below, Plain):
        key = b"k0" + (items[i].key or b"")
        items[i] = Item(key, join_key(key, encode_entry(file_entry(1, inline=b"y"))))
    elif change == 2:
        items[i].claim = Summary(rng.randrange(1, 400), 1, 1)
    elif change == 3:
        items[i].key = below.last() + b"0"
    elif change == 4 and i:
        # Two nodes as one, or one as two.
        before = items[i - 1].below
        assert isinstance(before, Plain)
        before.items += below.items
        del items[i]
    elif change == 5 and len(below.items) > 1:
        middle = rng.randrange(1, len(below.items))
        items.insert(i + 1, Item(None, Plain(below.height, below.items[middle:])))
        del below.items[middle:]
    else:
        items[i].below = Plain(target.height, [Item(None, below)])


KEYS = [b"k%02d%s" % (i, end) for i in range(40) for end in (b"", b"-x", b".y", b"/a", b"/b", b"/c/d", b"0", b"1")]


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(0, 2), st.booleans(), st.booleans())
def test_trees_are_refused_like_by_the_plain_check(
    seed: int, edits: int, spoilt: int, tree: bool, with_base: bool
) -> None:
    rng = random.Random(seed)
    clear = [key for key in KEYS if key.startswith(b"k%02d" % 0) or rng.random() < 0.8]
    content = {key for key in clear if not any(key.startswith(other + b"/") for other in clear)}
    store = memory()
    base_records: dict[Address, Record] = {}
    scratch = Nodes(MemoryRecords(), 1 << 24)
    entry = file_entry(1, inline=b"x")
    root = build(scratch, [(key, entry) for key in sorted(content)], tree=tree)
    assert root
    Plain.of(scratch, root).encode(base_records)
    name = "files" if tree else "objects"
    base = snapshot(**{name: root})
    report = adopt(store, bundle_of(*base_records.values(), base))
    for _ in range(edits):
        content ^= {rng.choice(KEYS)}
    # With or without a path that is both a directory and an entry.
    if rng.random() < 0.5:
        content -= {key for key in content if any(key.startswith(other + b"/") for other in content)}
    changed = build(scratch, [(key, entry) for key in sorted(content)])
    assert changed
    shape = Plain.of(scratch, changed)
    for _ in range(spoilt):
        spoil(shape, rng)
    records: dict[Address, Record] = {}
    if spoilt == 2 and rng.random() < 0.1:
        shape = Plain(shape.height + 1, [Item(None, shape)])
    new_root, _ = shape.encode(records)
    everything = Nodes(
        MemoryRecords({address: record.stored for address, record in (base_records | records).items()}), 1 << 24
    )
    try:
        check_tree(everything, new_root, tree=tree)
        sound = True
    except CorruptionError:
        sound = False
    tip = snapshot(*([base.address] if with_base else []), **{name: new_root})
    # What a maker leaves out that knows the base, and one that does not.
    whole = not with_base or rng.random() < 0.3
    fresh = [record for address, record in records.items() if whole or address not in base_records]
    bundle = pack([*fresh, tip], [tip.address])
    if sound:
        adopt(store, bundle)
        store.refs["x"] = store.snapshot(tip.address)
        store.verify()
    else:
        refused(store, bundle)
    assert report.tips == (base.address,)


def end_of_a_leaf(prefix: bytes) -> bytes:
    """A key that begins with ``prefix`` and ends its leaf, but not its leaf's parent."""
    return next(key for i in count() if key_level(key := prefix + b"%d" % i) == 1)


@pytest.mark.parametrize("first_is_new", [True, False])
@pytest.mark.parametrize("between", [0, 1, 2])
def test_a_conflict_across_the_edge_of_what_the_base_has(first_is_new: bool, between: int) -> None:
    """`a` and `a/b` in leaves of their own, one of them new and the other not even read."""
    start, stop = end_of_a_leaf(b"long/name/0"), end_of_a_leaf(b"long/name/9")
    path = end_of_a_leaf(b"long/name/5")
    middle = [end_of_a_leaf(path + b"-%d" % i) for i in range(between)]
    below = end_of_a_leaf(path + b"/b")
    more = [end_of_a_leaf(b"long/name/95%d" % i) for i in range(5)]
    kept = [start, *([] if first_is_new else [path]), *middle, *([below] if first_is_new else []), stop, *more]
    store = memory()
    base = state(store, dict.fromkeys(kept, b"x"))
    good = {*kept} - {path, below} | {end_of_a_leaf(b"long/name/7")}
    for keys, fine in (({*kept, path, below}, False), (good, True)):
        source = memory()
        state(source, dict.fromkeys(kept, b"x"))
        before = set(source.storage.backend._records)  # type: ignore[attr-defined]
        root = build(source.nodes, [(key, file_entry(1, inline=b"x")) for key in sorted(keys)])
        assert root
        new = [
            source.storage.backend.get(address)
            for address, entry in source.storage.backend.scan()
            if entry.kind == 3 and address not in before
        ]
        tip = snapshot(base.id, files=root)
        new.sort(key=lambda record: source.nodes.get(record.address).height)
        bundle = pack([*new, tip], [tip.address])
        if fine:
            adopt(store, bundle)
        else:
            refused(store, bundle)


def test_what_was_clear_in_one_tree_need_not_be_in_the_next() -> None:
    path = end_of_a_leaf(b"name/5")
    keys = [end_of_a_leaf(b"name/0"), end_of_a_leaf(path + b"-"), end_of_a_leaf(path + b"/b"), end_of_a_leaf(b"name/9")]
    source = memory()
    first = state(source, dict.fromkeys(keys, b"x"))
    root = build(source.nodes, [(key, file_entry(1, inline=b"x")) for key in sorted([*keys, path])])
    assert root
    records = [source.storage.backend.get(address) for address, _ in source.storage.backend.scan()]
    nodes = sorted((record for record in records if record.kind == 3), key=lambda r: source.nodes.get(r.address).height)
    tip = snapshot(first.id, files=root)
    alone = snapshot(files=root)
    for last in (tip, alone):
        made = [*nodes, source.storage.backend.get(first.id), last]
        refused(memory(), pack(made, [first.id, last.address]))


def test_what_is_sound_among_objects_need_not_be_a_directory_tree() -> None:
    conflict = leaf((b"a", file_entry(1, inline=b"x")), (b"a/b", file_entry(1, inline=b"x")))
    first = snapshot(objects=conflict.address)
    store = memory()
    refused(store, bundle_of(conflict, first, snapshot(first.address, files=conflict.address)))
    adopt(store, bundle_of(conflict, first, snapshot(first.address, objects=conflict.address)))


def test_a_bundle_may_bring_what_the_base_has() -> None:
    store = memory()
    data = noise(1, 300)
    old = file_entry(300, chunk(data).address)
    first = leaf((b"f", old))
    base = snapshot(files=first.address)
    adopt(store, bundle_of(chunk(data), first, base))
    second = leaf((b"f", old), (b"g", file_entry(1, inline=b"x")))
    assert adopt(store, bundle_of(chunk(data), second, snapshot(base.address, files=second.address))).new_records == 2
    again = bundle_of(chunk(data), first, snapshot(base.address, files=first.address))
    assert adopt(store, again).new_records == 1

# SPDX-License-Identifier: MIT
"""The check of received trees agrees with the plain one, with and without a base to compare with."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.entry import encode_entry, file_entry
from casstore.format.node import Summary, encode_child, join_key
from casstore.format.record import Record
from casstore.tree import Nodes, build, check_tree
from tests.collection.bundles import adopt, bundle_of, memory, node, pack, refused, snapshot
from tests.tree.plain import MemoryRecords


class Plain:
    """A tree taken apart: leaves have encoded entries, others have keys, children and what they claim is below."""

    def __init__(self, height: int, items: list[tuple[bytes, bytes | Plain, Summary | None]]) -> None:
        self.height = height
        self.items = items

    @classmethod
    def of(cls, nodes: Nodes, address: Address) -> Plain:
        found = nodes.get(address)
        if not found.height:
            return cls(0, [(key, found.chunk(i), None) for i, key in enumerate(found.keys)])
        return cls(
            found.height,
            [(key, cls.of(nodes, child), None) for key, child in zip(found.keys, found.children, strict=True)],
        )

    def nodes(self) -> Iterator[Plain]:
        yield self
        for _, below, _ in self.items:
            if isinstance(below, Plain):
                yield from below.nodes()

    def encode(self, out: dict[Address, Record]) -> tuple[Address, Summary]:
        chunks = []
        total = [0, 0, 0]
        for key, below, claim in self.items:
            if isinstance(below, Plain):
                address, summary = below.encode(out)
                summary = claim or summary
                chunks.append(encode_child(key, address, summary))
            else:
                summary = Summary(1, 1, 1)
                chunks.append(below)
            total = [one + other for one, other in zip(total, summary, strict=True)]
        record = node(self.height, chunks)
        out[record.address] = record
        return record.address, Summary(*total)


def spoil(tree: Plain, rng: random.Random) -> None:
    """One change somewhere that leaves every address right."""
    inner = rng.random() < 0.6
    choice = [found for found in tree.nodes() if len(found.items) > 1 and bool(found.height) == inner]
    if not choice:
        return
    target = rng.choice(choice)
    i = rng.randrange(len(target.items) - 1)
    items = target.items
    key, below, _ = items[i]
    change = rng.randrange(6)
    if change == 0:
        items[i], items[i + 1] = items[i + 1], items[i]
    elif change == 1:
        del items[i]
    elif change == 2 and isinstance(below, Plain):
        items[i] = key, below, Summary(rng.randrange(1, 5), 1, 1)
    elif change == 3 and isinstance(below, Plain):
        items[i] = key + b"0", below, None
    elif change == 4 and isinstance(below, Plain):
        following = items[i + 1][1]
        assert isinstance(following, Plain)
        below.items += following.items
        del items[i]
    elif isinstance(below, Plain):
        items[i] = key, Plain(below.height + rng.choice((-1, 1)) if below.height else 1, below.items), None
    else:
        items[i] = (b"k0" + key, join_key(b"k0" + key, encode_entry(file_entry(1, inline=b"y"))), None)


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
        shape = Plain(shape.height + 1, [(max(content), shape, None)])
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

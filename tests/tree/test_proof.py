# SPDX-License-Identifier: MIT
"""Proofs: complete, minimal, and good for nothing once anything about them is changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address, keyed_address, node_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError, InvalidInputError, NotFoundError
from casstore.format.entry import Entry, encode_entry, value_entry
from casstore.format.node import Node, Summary, decode_node, encode_child, encode_node, join_key
from casstore.format.proof import KEY_MODE, PREFIX_MODE, ProofFields, decode_proof, encode_proof, encode_table
from casstore.format.snapshot import state_id_of
from casstore.format.varint import encode_varint
from casstore.tree import (
    Nodes,
    Proven,
    Root,
    apply,
    build,
    prove,
    prove_key,
    prove_prefix,
    verify_key,
    verify_prefix,
    verify_proof,
)
from tests.tree.plain import (
    POOL,
    Content,
    MemoryRecords,
    any_file,
    keys_of_level,
    memory_nodes,
    plain_tree,
    states,
)

Listing = list[tuple[bytes, Entry]]
PREFIXES = [b"", b"d", b"d3", b"d3/", b"d3/k1", b"d6/k", b"d9", b"c", b"\xff"]
some_keys = st.one_of(st.sampled_from(POOL), st.sampled_from([b"a", b"d3", b"d3/k0", b"zz", b"\xff"]))


def with_prefix(content: Content, prefix: bytes) -> Listing:
    return [(key, entry) for key, entry in sorted(content.items()) if key.startswith(prefix)]


def plain_walk(found: dict[bytes, bytes], root: Root, wanted: Callable[[bytes, bytes], bool]) -> Iterator[bytes]:
    """Nodes from the root down into whose keys, above the first and up to the second of the two, ``wanted`` falls."""

    def walk(address: bytes, above: bytes) -> Iterator[bytes]:
        raw = found[address]
        yield raw
        node = decode_node(raw)
        for key, child in zip(node.keys, node.children, strict=bool(node.height)):
            if wanted(above, key):
                yield from walk(child, above)
            above = key

    if root is not None:
        yield from walk(root, b"")


# --- honest proofs --------------------------------------------------------------------------------------------------


@given(states, some_keys)
def test_a_key_is_proven_present_or_absent(content: Content, key: bytes) -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(content.items()))
    proof = prove_key(nodes, root, key)
    assert verify_key(root, key, proof) == content.get(key)
    assert proof == tuple(plain_walk(plain_tree(content)[1], root, lambda above, last: above < key <= last))


@given(states, st.sampled_from(PREFIXES))
def test_a_listing_is_proven_complete(content: Content, prefix: bytes) -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(content.items()))
    proof = prove_prefix(nodes, root, prefix)
    assert verify_prefix(root, prefix, proof) == with_prefix(content, prefix)
    assert proof == tuple(
        plain_walk(
            plain_tree(content)[1],
            root,
            lambda above, last: last >= prefix and (above < prefix or above.startswith(prefix)),
        )
    )


def test_the_empty_tree_needs_no_nodes() -> None:
    nodes, _ = memory_nodes()
    assert prove_key(nodes, None, b"a") == prove_prefix(nodes, None, b"") == ()
    assert verify_key(None, b"a", ()) is None
    assert verify_prefix(None, b"", ()) == []
    with pytest.raises(CorruptionError, match="belong to nothing"):
        verify_key(None, b"a", (b"x",))


# --- dishonest proofs -----------------------------------------------------------------------------------------------


@given(states, states, some_keys, some_keys, st.data())
def test_nodes_put_together_anyhow_never_prove_what_is_not_so(
    content: Content, other: Content, key: bytes, asked: bytes, data: st.DataObject
) -> None:
    """Nodes of the right tree and of another, dropped, doubled and moved: the truth comes out, or an error."""
    nodes, _ = memory_nodes()
    root, wrong = build(nodes, sorted(content.items())), build(nodes, sorted(other.items()))
    proof = list(prove_key(nodes, root, key))
    pool = [*prove_prefix(nodes, root, b""), *prove_key(nodes, wrong, key)]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(proof)))
        move = data.draw(st.sampled_from(["drop", "double", "swap", "insert", "replace"]))
        if move == "insert" and pool:
            proof.insert(at, data.draw(st.sampled_from(pool)))
        elif move == "replace" and pool:
            proof[at : at + 1] = [data.draw(st.sampled_from(pool))]
        elif move == "drop":
            del proof[at : at + 1]
        elif move == "double":
            proof[at:at] = proof[at : at + 1]
        else:
            proof[at : at + 2] = proof[at : at + 2][::-1]
    honest = prove_key(nodes, root, asked)
    if tuple(proof) == honest:
        assert verify_key(root, asked, proof) == content.get(asked)
    else:
        with pytest.raises(CorruptionError, match="the proof does not hold"):
            verify_key(root, asked, proof)
    try:
        assert verify_prefix(root, asked, proof) == with_prefix(content, asked)
    except CorruptionError:
        pass
    if wrong != root:
        with pytest.raises(CorruptionError):
            verify_key(wrong, key, prove_key(nodes, root, key))


SMALL = {key: any_file(number) for number, key in enumerate(sorted(POOL))}


def small() -> tuple[Nodes, Address]:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(SMALL.items()))
    assert root is not None
    return nodes, root


@pytest.mark.parametrize("key", [sorted(POOL)[70], b"d3/none", b"zz"])
def test_every_bit_of_every_node_matters(key: bytes) -> None:
    nodes, root = small()
    proof = prove_key(nodes, root, key)
    for at, node in enumerate(proof):
        for bit in range(8 * len(node)):
            changed = bytearray(node)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CorruptionError):
                verify_key(root, key, (*proof[:at], bytes(changed), *proof[at + 1 :]))


def test_a_listing_holds_nothing_back() -> None:
    nodes, root = small()
    proof = prove_prefix(nodes, root, b"d3/")
    assert len(proof) > 5
    for at in range(len(proof)):
        for worse in (
            proof[:at] + proof[at + 1 :],
            proof[: at + 1] + proof[at:],
            proof[:at],
            proof[:at] + proof[at:][::-1] if at < len(proof) - 1 else (),
        ):
            with pytest.raises(CorruptionError):
                verify_prefix(root, b"d3/", worse)
    for prefix in (b"", b"d", b"d2/", b"d3/k1"):
        with pytest.raises(CorruptionError):
            verify_prefix(root, prefix, proof)


def test_a_proof_for_another_root() -> None:
    nodes, root = small()
    key = sorted(POOL)[70]
    other = apply(nodes, root, [(key, None)])
    for one, two in ((root, other), (other, root), (root, None)):
        with pytest.raises(CorruptionError):
            verify_key(two, key, prove_key(nodes, one, key))


# --- roots that no tree has -----------------------------------------------------------------------------------------

PLAIN, ENDS, HIGH = (sorted(keys_of_level(level, 4)) for level in (0, 1, 2))


class Forger:
    """Makes nodes by hand, well hashed and badly put together."""

    def __init__(self) -> None:
        self.found: dict[Address, bytes] = {}

    def keep(self, raw: bytes) -> tuple[Address, Node]:
        self.found[node_address(raw)] = raw
        return node_address(raw), decode_node(raw)

    def leaf(self, *keys: bytes) -> tuple[Address, Node]:
        return self.keep(encode_node(0, [join_key(key, encode_entry(any_file(1))) for key in keys]))

    def inner(self, height: int, *children: tuple[Address, Node], said: dict[int, bytes] | None = None) -> Address:
        chunks = [encode_child(node.keys[-1], address, node.summary) for address, node in children]
        for at, chunk in (said or {}).items():
            chunks[at] = chunk
        return self.keep(encode_node(height, chunks))[0]

    def check(self, root: Address, key: bytes, why: str | None) -> None:
        """Both kinds of proof over these nodes fail for this reason, or hold when there is none."""
        records = MemoryRecords({bytes(address): raw for address, raw in self.found.items()})
        nodes = LooseNodes(records)
        for make, verify in ((prove_key, verify_key), (prove_prefix, verify_prefix)):
            proof = make(nodes, root, key)
            if why is None:
                assert verify(root, key, proof)
                continue
            with pytest.raises(CorruptionError, match=why):
                verify(root, key, proof)


class LooseNodes(Nodes):
    """Does not compare children with their parents."""

    def __init__(self, records: MemoryRecords) -> None:
        super().__init__(records, 1 << 20)

    def child(self, node: Node, i: int) -> Node:
        return self.get(node.children[i])


def between(low: bytes, high: bytes, level: int) -> bytes:
    number = 0
    while True:
        key = b"%b-%d" % (low, number)
        digits = blake3(key).hexdigest()
        if len(digits) - len(digits.lstrip("0")) == level and low < key < high:
            return key
        number += 1


def test_trees_that_are_put_together_badly_prove_nothing() -> None:
    forger = Forger()
    end = ENDS[0]
    before, after = between(b"a", end, 0), between(end, b"z", 0)
    good = forger.leaf(before, end), forger.leaf(after)
    forger.check(forger.inner(1, *good), after, None)
    forger.check(forger.inner(1, forger.leaf(before, end), forger.leaf(before, after)), after, "overlap")
    forger.check(forger.inner(1, forger.leaf(before, end), forger.leaf(end, after)), after, "malformed")
    forger.check(forger.inner(1, forger.leaf(before, end)), end, "single child")
    forger.check(forger.inner(1, forger.leaf(before), good[1]), after, "malformed")  # no boundary
    forger.check(forger.leaf(before, end, after)[0], after, "malformed")  # a boundary within
    high, top = HIGH[0], between(HIGH[0], b"z", 0)
    forger.check(
        forger.inner(2, forger.leaf(between(b"a", high, 0), high), forger.leaf(top)), top, "not what its parent"
    )
    for chunk in (
        encode_child(after, good[1][0], Summary(2, 1, 1001)),
        encode_child(after, good[1][0], Summary(1, 0, 1001)),
        encode_child(after, good[1][0], Summary(1, 1, 1000)),
        encode_child(after + b"z", good[1][0], good[1][1].summary),
    ):
        forger.check(forger.inner(1, *good, said={1: chunk}), after, "not what its parent says")


def test_overlaps_are_seen_across_levels() -> None:
    """A leaf that reaches below the last key of its grandparent's left neighbour."""
    forger = Forger()
    end, high = ENDS[0], HIGH[0]
    first = between(b"a", min(end, high), 0)
    top = max(end, high)
    left = forger.leaf(first, high)
    one = forger.inner(1, left)
    later_end = between(top, b"z", 1)
    later = between(later_end, b"z", 0)
    for start, why in ((between(top, later_end, 0), None), (between(b"a", high, 0), "overlap")):
        two = forger.inner(1, forger.leaf(start, later_end), forger.leaf(later))
        root = forger.inner(2, *((address, decode_node(forger.found[address])) for address in (one, two)))
        forger.check(root, later_end, why)


def test_a_node_larger_than_any_record_is_refused() -> None:
    entry = encode_entry(value_entry(bytes(65536)))
    chunks = [join_key(key, entry) for key in sorted(keys_of_level(0, 257))]
    raw = encode_node(0, chunks[:2])[:2] + encode_varint(len(chunks)) + b"".join(chunks)
    with pytest.raises(CorruptionError, match="not the one that its address names"):
        verify_key(node_address(raw), b"a", (raw,))


def test_a_later_version_of_a_node_is_named() -> None:
    raw = b"\x02" + encode_node(0, [join_key(b"a", encode_entry(any_file(1)))])[1:]
    with pytest.raises(FormatVersionError, match="version 2"):
        verify_key(node_address(raw), b"a", (raw,))
    with pytest.raises(CorruptionError):
        verify_key(node_address(b"\x01"), b"a", (b"\x01",))


# --- proofs of states -----------------------------------------------------------------------------------------------


def state(files: Content, objects: Content) -> tuple[Nodes, dict[str, Address], Address]:
    nodes, _ = memory_nodes()
    made = {"files": build(nodes, sorted(files.items())), "objects": build(nodes, sorted(objects.items()))}
    roots = {name: root for name, root in made.items() if root is not None}
    return nodes, {**roots, "posix": content_address(b"any")}, state_id_of(roots)


@given(states, states, some_keys, st.sampled_from(["files", "objects"]))
def test_a_state_proves_what_it_holds(files: Content, objects: Content, key: bytes, root_name: str) -> None:
    nodes, roots, state_id = state(files, objects)
    content = {"files": files, "objects": objects}[root_name]
    name = f"{root_name}/{key.decode('utf-8', 'surrogateescape')}"
    proven = verify_proof(state_id, prove(nodes, roots, name), name)
    assert proven == Proven(root_name, key, None, content.get(key), None)
    assert proven.name == name
    listing = verify_proof(state_id, prove(nodes, roots, "files/d3/"), "files/d3/")
    assert listing == Proven("files", None, b"d3/", None, tuple(with_prefix(files, b"d3/")))
    assert listing.name == "files/d3/"
    assert verify_proof(state_id, prove(nodes, roots, "objects/")).entries == tuple(sorted(objects.items()))


def sealed(body: bytes) -> bytes:
    """With the digest that a forger computes."""
    return body + keyed_address("proof")(body)


@pytest.mark.parametrize("name", [f"files/{sorted(POOL)[70].decode()}", "files/d3/none", "files/d3/k4/", "objects/x"])
def test_every_bit_of_an_encoded_proof_matters(name: str) -> None:
    nodes, roots, state_id = state(SMALL, {})
    proof = prove(nodes, roots, name)
    truth = verify_proof(state_id, proof)
    for bit in range(8 * len(proof)):
        changed = bytearray(proof)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatVersionError)):
            verify_proof(state_id, bytes(changed))
        forged = sealed(bytes(changed[:-32]))
        if forged != proof:
            with pytest.raises((CorruptionError, FormatVersionError)):
                verify_proof(state_id, forged, name)
            try:
                # What is proven of another key is true all the same.
                other = verify_proof(state_id, forged)
            except CasstoreError:
                continue
            assert other.name != truth.name
            if other.key is not None and other.root_name == "files":
                assert other.entry == SMALL.get(other.key)
    for end in range(len(proof)):
        with pytest.raises(CorruptionError):
            verify_proof(state_id, proof[:end])


def test_a_good_proof_of_something_else_is_refused() -> None:
    nodes, roots, state_id = state(SMALL, SMALL)
    proof = prove(nodes, roots, "files/d3/")
    for name in ("files/", "objects/d3/", "files/d3/k", "files/d2/"):
        with pytest.raises(CorruptionError, match="not about"):
            verify_proof(state_id, proof, name)
    changed = state_id_of({"files": content_address(b"x")})
    with pytest.raises(CorruptionError, match="another state"):
        verify_proof(changed, proof)
    # One state's table with another's nodes, and a root moved to the other name.
    nodes, other_roots, other_id = state({b"a": any_file(1)}, {})
    with pytest.raises(CorruptionError):
        verify_proof(other_id, encode_proof(decode_proof(proof)._replace(table=encode_table(other_roots))))
    with pytest.raises(CorruptionError):
        verify_proof(state_id, encode_proof(decode_proof(proof)._replace(mode=KEY_MODE, key=b"d3/k0")))
    # All that begins with a key's bytes is another question than the key.
    listing = encode_proof(
        decode_proof(proof)._replace(key=b"d3", nodes=prove_prefix(state(SMALL, SMALL)[0], roots["files"], b"d3"))
    )
    with pytest.raises(CorruptionError, match="not about"):
        verify_proof(state_id, listing, "files/d3")


def test_a_root_that_is_not_there_proves_absence() -> None:
    nodes, roots, state_id = state({}, {})
    assert verify_proof(state_id, prove(nodes, roots, "files/a")).entry is None
    assert verify_proof(state_id, prove(nodes, roots, "files/")).entries == ()
    fields = ProofFields(encode_table({}), "files", PREFIX_MODE, b"", (b"node",))
    with pytest.raises(CorruptionError, match="belong to nothing"):
        verify_proof(state_id, encode_proof(fields))


def test_the_table_must_name_what_the_state_id_hashes() -> None:
    """A table that was never a state's, though its hash is what was asked for."""
    table = b'{"posix":"%b"}' % content_address(b"x").hex().encode()
    proof = encode_proof(ProofFields(table, "files", KEY_MODE, b"a", ()))
    with pytest.raises(CorruptionError, match="table"):
        verify_proof(keyed_address("state")(table), proof)


@given(st.binary(max_size=100), st.binary(max_size=60))
def test_arbitrary_bytes_prove_nothing(data: bytes, more: bytes) -> None:
    _, root = small()
    state_id = state_id_of({"files": root})
    for proof in (data, sealed(b"CASproof\x01\x01\x05files" + data)):
        with pytest.raises(CasstoreError):
            verify_proof(state_id, proof)
    with pytest.raises(CorruptionError):
        verify_key(root, b"a", (data, more))


@pytest.mark.parametrize(
    "name",
    ["", "files", "posix/a", "a/b", "/files/a", "files//", "files/../a", "files/a//b", "files/\ud800", "files/a\0"],
)
def test_names_that_nothing_has(name: str) -> None:
    nodes, roots, state_id = state(SMALL, {})
    with pytest.raises(InvalidInputError):
        prove(nodes, roots, name)
    with pytest.raises(InvalidInputError):
        verify_proof(state_id, prove(nodes, roots, "files/a"), name)


def test_keys_that_no_tree_holds() -> None:
    nodes, root = small()
    for key in (b"", b"/a", b"a/", b"k" * 4097):
        with pytest.raises(InvalidInputError):
            prove_key(nodes, root, key)
        with pytest.raises(InvalidInputError):
            verify_key(root, key, ())
    with pytest.raises(InvalidInputError):
        prove_prefix(nodes, root, b"k" * 4097)
    with pytest.raises(InvalidInputError):
        verify_prefix(root, b"k" * 4097, ())
    with pytest.raises(InvalidInputError):
        verify_proof(Address(b"short"), b"")


def test_keys_that_are_no_utf8() -> None:
    nodes, roots, state_id = state({b"\xff\xfe": any_file(1)}, {})
    name = "files/" + b"\xff\xfe".decode("utf-8", "surrogateescape")
    proven = verify_proof(state_id, prove(nodes, roots, name), name)
    assert (proven.entry, proven.name) == (any_file(1), name)


def test_proofs_stay_short() -> None:
    nodes, records = memory_nodes()
    content = {b"dir%02d/file%05d" % (number % 50, number): any_file(number) for number in range(20_000)}
    root = build(nodes, sorted(content.items()))
    assert root is not None
    height = nodes.get(root).height
    nodes.clear()
    records.reads = 0
    for key in random.Random(1).sample(sorted(content), 50):
        assert len(prove_key(nodes, root, key)) == height + 1
    assert records.reads <= 50 * height + 1
    assert len(prove_prefix(nodes, root, b"dir20/file00020")) <= 2 * height + 1


def test_a_missing_node_is_named() -> None:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(SMALL.items()))
    assert root is not None
    victim = nodes.get(root).children[0]
    del records.records[victim]
    with pytest.raises(NotFoundError) as caught:
        prove_key(nodes, root, sorted(POOL)[0])
    assert caught.value.address == victim

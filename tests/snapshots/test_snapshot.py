# SPDX-License-Identifier: MIT
"""Snapshots: what their ids depend on, and how one is found."""

from __future__ import annotations

import json

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.address import Address, snapshot_address
from casstore.errors import CorruptionError
from casstore.format.entry import directory_entry, object_entry, symlink_entry, value_entry
from casstore.format.kinds import SNAPSHOT
from casstore.snapshots import Snapshot
from casstore.testing.model import Files, noise, states
from casstore.tree import apply, build
from tests.snapshots.driving import SMALL, commit, edited, tree_of


def golden(store: casstore.Store) -> Snapshot:
    first = store.add_snapshot(roots={}, message="nothing yet", time_ns=1)
    objects = build(store.nodes, [(b"memory", object_entry("json", 1, 10, inline=b'{"step":3}'))])
    posix = build(store.nodes, [(b"README.md", value_entry(b"mode 644"))])
    files = tree_of(
        store,
        {
            "README.md": b"# casstore\n",
            "big.bin": noise(20_000, 1),
            "empty": directory_entry(),
            "src/a.py": b"print('a')\n" * 40,
            "src/latest": symlink_entry(4, inline=b"a.py"),
            "\udcff": b"a name that is not UTF-8",
        },
    )
    assert files is not None
    assert objects is not None
    assert posix is not None
    return store.add_snapshot(
        roots={"files": files, "objects": objects, "posix": posix},
        parents=[first],
        message="Zürich\n",
        meta={"score": 0.5, "tags": ["x", None, True], "n": 1},
        time_ns=1_700_000_000_123_456_789,
    )


def test_ids_of_format_1_never_change(store: casstore.Store) -> None:
    snapshot = golden(store)
    assert snapshot.parents[0].hex() == GOLDEN_PARENT
    assert snapshot.roots["files"].hex() == GOLDEN_FILES
    assert snapshot.id.hex() == GOLDEN_ID
    assert snapshot.state_id.hex() == GOLDEN_STATE
    assert store.add_snapshot(roots={}).state_id.hex() == GOLDEN_EMPTY_STATE


GOLDEN_PARENT = "a9c08ac68e063cd4b8a532e23452e463e55781d0ba833415c60bf2db1e0b59eb"
GOLDEN_FILES = "6180f834c5845825f8f9d8caaeedeebea13afd7af447091b07f3e5addd2c2d61"
GOLDEN_ID = "a7fba8a485580aed44a95d6f5a4697d86f9fcf8d225e1a147965363ee70a80a2"
GOLDEN_STATE = "083a83cb0c45e74acd5220eeeb9d97b7fe0edd9fed04eee8cc5774ebd6fcc90e"
GOLDEN_EMPTY_STATE = "d6543b539f2a870ee880f4e3d2ff5ef1f109c8a3770f05ce844ef05a553da352"


def test_ids_are_what_the_format_says(store: casstore.Store) -> None:
    """Computed here from the text of the format alone."""

    def keyed(kind: str, value: object) -> str:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return blake3(text, key=blake3(b"", derive_key_context=f"casstore v1 {kind}").digest()).hexdigest()

    snapshot = golden(store)
    roots = {name: root.hex() for name, root in snapshot.roots.items()}
    assert keyed("state", {name: roots[name] for name in ("files", "objects")}) == GOLDEN_STATE
    assert keyed("state", {}) == GOLDEN_EMPTY_STATE
    fields = {"message": snapshot.message, "meta": snapshot.meta, "time_ns": snapshot.time_ns, "version": 1}
    assert keyed("snapshot", {**fields, "roots": roots, "parents": [GOLDEN_PARENT]}) == GOLDEN_ID


def test_what_was_put_in_is_read_back(store: casstore.Store) -> None:
    made = golden(store)
    for state in (made, made.id, made.id.hex(), made.id.hex()[:10]):
        snapshot = store.resolve(state)
        assert snapshot == made
        assert hash(snapshot) == hash(made)
        assert snapshot.roots == made.roots
        assert snapshot.parents == made.parents
        assert snapshot.message == "Zürich\n"
        assert snapshot.meta == {"score": 0.5, "tags": ["x", None, True], "n": 1}
        assert snapshot.time_ns == 1_700_000_000_123_456_789
        assert snapshot.state_id == made.state_id
        assert made.id.hex()[:12] in repr(snapshot)
    assert store.snapshot(made.id) == made
    assert made != made.id


def test_state_id_ignores_all_but_files_and_objects(store: casstore.Store) -> None:
    plain = commit(store, {"a": b"1"}, message="one", time_ns=1)
    posix = build(store.nodes, [(b"a", value_entry(b"mode"))])
    others = [
        commit(store, {"a": b"1"}, message="two", time_ns=1),
        commit(store, {"a": b"1"}, message="one", time_ns=2),
        commit(store, {"a": b"1"}, message="one", time_ns=1, parents=[plain]),
        commit(store, {"a": b"1"}, message="one", time_ns=1, posix=posix),
        store.add_snapshot(roots=plain.roots, message="one", meta={"x": 1}, time_ns=1),
    ]
    assert {other.state_id for other in others} == {plain.state_id}
    assert len({plain.id} | {other.id for other in others}) == 6
    objects = build(store.nodes, [(b"a", object_entry("json", 1, 1, inline=b"1"))])
    different = [commit(store, {"a": b"2"}), commit(store, {"a": b"1"}, objects=objects), commit(store, {})]
    # The same tree under another name is another state.
    different.append(store.add_snapshot(roots={"objects": plain.roots["files"]}))
    assert len({plain.state_id} | {other.state_id for other in different}) == 5
    assert commit(store, {"a": b"1"}, message="one", time_ns=1).id == plain.id


@given(states(max_bytes=20_000), st.randoms(use_true_random=False))
def test_state_id_is_a_function_of_the_state(files: Files, random: object) -> None:
    import random as plain_random

    assert isinstance(random, plain_random.Random)
    large = casstore.Config(chunk_min_bytes=4096, chunk_avg_bytes=8192, chunk_max_bytes=65536)
    with casstore.open(":memory:", config=SMALL) as one, casstore.open(":memory:", config=large) as other:
        direct = commit(one, files, time_ns=7)
        # Key by key, in any order, with detours.
        current = commit(other, {"detour": b"x" * 300}, time_ns=1)
        paths = list(files)
        random.shuffle(paths)
        for path in paths:
            root = edited(other, current, {path: files[path]})
            assert root is not None
            current = other.add_snapshot(roots={"files": root}, parents=[current])
        if "detour" not in files:
            root = edited(other, current, {"detour": None})
            current = other.add_snapshot(roots={} if root is None else {"files": root}, parents=[current])
        assert current.state_id == direct.state_id
        assert dict(current.files) == files
        bare = other.add_snapshot(roots=current.roots, time_ns=7)
        assert bare.id == direct.id


def test_an_empty_root_is_an_absent_one(store: casstore.Store) -> None:
    full = commit(store, {"a": b"1"})
    assert edited(store, full, {"a": None}) is None
    assert apply(store.nodes, None, []) is None
    empty = store.add_snapshot(roots={})
    assert dict(empty.files) == {}
    assert empty.state_id == commit(store, {}).state_id
    assert next(iter(store.diff(full, empty))).letter == "D"


def test_what_is_missing_or_wrong_cannot_be_named(store: casstore.Store) -> None:
    good = commit(store, {"a": bytes(900)})
    content = store.put(bytes(900))
    for roots in ({"files": Address(bytes(32))}, {"files": good.id}, {"objects": content}):
        with pytest.raises(casstore.NotFoundError):
            store.add_snapshot(roots=roots)
    for parent in (Address(bytes(32)), content, good.roots["files"]):
        with pytest.raises(casstore.NotFoundError):
            store.add_snapshot(roots={}, parents=[parent])
    wrong: list[dict[str, object]] = [
        {"roots": {"other": good.roots["files"]}},
        {"roots": {"files": None}},
        {"roots": {"files": good.roots["files"].hex()}},
        {"roots": {}, "parents": [5]},
        {"roots": {}, "message": b"x"},
        {"roots": {}, "message": "\ud800"},
        {"roots": {}, "meta": {"x": object()}},
        {"roots": {}, "meta": {"x": float("nan")}},
        {"roots": {}, "meta": {1: 2}},
        {"roots": {}, "time_ns": 1.5},
        {"roots": {}, "message": "x" * 5_000_000},
        {"roots": {}, "parents": [good] * 1025},
    ]
    for fields in wrong:
        with pytest.raises(casstore.InvalidInputError):
            store.add_snapshot(**fields)  # type: ignore[arg-type]
    assert [snapshot.id for snapshot in store.log(good)] == [good.id]


def test_parents_may_be_named_like_any_state(store: casstore.Store) -> None:
    first = commit(store, {}, ref="main", time_ns=5)
    ways = [store.add_snapshot(roots={}, parents=[way], time_ns=6) for way in (first, first.id, "main", first.id.hex())]
    assert {way.id for way in ways} == {ways[0].id}
    assert ways[0].parents == (first.id,)


def colliding(store: casstore.Store, digits: int) -> tuple[Snapshot, Snapshot]:
    """Two snapshots whose ids begin with the same digits."""
    seen: dict[str, Snapshot] = {}
    for number in range(100_000):
        snapshot = store.add_snapshot(roots={}, time_ns=number)
        other = seen.setdefault(snapshot.id.hex()[:digits], snapshot)
        if other is not snapshot:
            return other, snapshot
    raise AssertionError("no collision")


def test_a_prefix_must_be_long_enough_and_unique() -> None:
    with casstore.open(":memory:") as store:
        one, two = colliding(store, 4)
        text, other = one.id.hex(), two.id.hex()
        length = next(place for place in range(65) if text[place] != other[place])
        with pytest.raises(casstore.InvalidInputError) as caught:
            store.resolve(text[:length])
        assert text[: length + 4] in str(caught.value)
        assert other[: length + 4] in str(caught.value)
        assert store.resolve(text[: length + 1]) == one
        assert store.resolve(other[: length + 1].upper()) == two
        assert store.resolve(text) == one
        for missing in (
            text[:3],
            "",
            text + "0",
            "xyz1",
            text[:-1] + ("0" if text[-1] != "0" else "1"),
            text[:8] + "g",
        ):
            with pytest.raises(casstore.NotFoundError):
                store.resolve(missing)
        for odd in (5, None, b"short", bytearray(32)):
            with pytest.raises(casstore.InvalidInputError):
                store.resolve(odd)  # type: ignore[arg-type]
        with pytest.raises(casstore.NotFoundError):
            store.resolve(Address(bytes(32)))


def test_a_prefix_finds_snapshots_only(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": bytes(900)})
    for address in (store.put(bytes(900)), snapshot.roots["files"]):
        with pytest.raises(casstore.NotFoundError):
            store.resolve(address.hex())
        with pytest.raises(casstore.NotFoundError):
            store.resolve(address)
    store.sync()
    assert store.resolve(snapshot.id.hex()[:9]) == snapshot


def test_a_ref_wins_over_the_beginning_of_an_id(store: casstore.Store) -> None:
    one = commit(store, {"a": b"1"})
    two = commit(store, {"a": b"2"})
    prefix = one.id.hex()[:8]
    # No ref can be all hex, so the two never meet.
    with pytest.raises(casstore.InvalidInputError):
        store.refs[prefix] = two
    store.refs[f"x{prefix}"] = two
    assert store.resolve(f"x{prefix}") == two
    assert store.resolve(prefix) == one


def test_a_snapshot_of_a_later_format_is_named_as_such(store: casstore.Store) -> None:
    encoded = b'{"message":"","meta":{},"parents":[],"roots":{},"time_ns":0,"version":2}'
    address = snapshot_address(encoded)
    store.storage.put_record(SNAPSHOT, address, encoded)
    with pytest.raises(casstore.FormatVersionError):
        store.resolve(address)
    nonsense = b'{"version":1}'
    address = snapshot_address(nonsense)
    store.storage.put_record(SNAPSHOT, address, nonsense)
    with pytest.raises(CorruptionError) as caught:
        store.resolve(address)
    assert caught.value.address == address


def test_a_live_snapshot_is_a_pin(store: casstore.Store) -> None:
    one = commit(store, {"a": b"1"})
    again = store.resolve(one.id)
    pins = {(pin.what, pin.address, pin.count) for pin in store.pins()}
    assert pins == {("snapshot", one.id, 2)}
    del again
    assert {pin.count for pin in store.pins()} == {1}
    files = one.files
    del one
    assert len(store.pins()) == 1
    del files
    assert store.pins() == []

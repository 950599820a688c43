# SPDX-License-Identifier: MIT
"""Writers go on while a collection is under way: what they put or met stays, with all below it.

Each test is one interleaving that could lose data. The steps of a collection are stopped by hand: between plan and
execution, and between the batches of the sweep by a backend method that is wrapped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

import casstore
import casstore.collection.sweep as sweep
from casstore.address import Address
from casstore.format.entry import snapshot_entry
from casstore.format.kinds import CHUNK, KIND_NAMES
from casstore.testing.model import noise
from casstore.tree import apply
from tests.snapshots.driving import collect, commit, edited, tree_of


def plan(store: casstore.Store) -> casstore.GcPlan:
    return store.plan_gc(grace_seconds=0, undo_keep_seconds=0)


def test_a_sweep_between_look_up_and_hit_is_noticed(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    address = store.put(b"met and swept")
    backend: Any = store.storage.backend
    find = backend.find

    def found_and_swept(wanted: Address) -> Any:
        entry = find(wanted)
        monkeypatch.setattr(backend, "find", find)
        assert collect(store).deleted_objects == 1
        return entry

    monkeypatch.setattr(backend, "find", found_and_swept)
    assert not store.storage.known(address)
    assert store.put(b"met and swept") == address
    assert store.get(address) == b"met and swept"


def pieces_of(store: casstore.Store, address: Address) -> list[Address]:
    found = store.storage.chunk_list(address)
    assert found is not None
    return [piece for piece, _ in found.pieces]


@contextmanager
def during_deletion(store: casstore.Store, action: Callable[[set[str]], object]) -> Iterator[None]:
    """Other threads call ``action`` while a sweep deletes, one from each batch on, with the kinds of what went."""
    backend: Any = store.storage.backend
    original = backend.delete
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []

    def act(kinds: set[str]) -> None:
        try:
            action(kinds)
        except BaseException as error:
            errors.append(error)

    def delete(addresses: Sequence[Address], **options: bool) -> int:
        kinds = {KIND_NAMES[entry.kind] for address in addresses if (entry := backend.find(address))}
        number: int = original(addresses, **options)
        threads.append(threading.Thread(target=act, args=[kinds]))
        threads[-1].start()
        # Where the sweep's lock is in its way, it goes on when the sweep lets go.
        threads[-1].join(0.005)
        return number

    backend.delete = delete
    try:
        yield
    finally:
        del backend.delete
        for thread in threads:
            thread.join()
    assert errors == []


# -- between plan and execution


def test_what_was_put_after_the_plan_stays(store: casstore.Store) -> None:
    with plan(store) as made:
        small, large = store.put(noise(100, 1)), store.put(noise(9000, 2))
        snapshot_id = commit(store, {"a": noise(9000, 3)}).id
        made.execute()
    assert store.get(small) == noise(100, 1)
    assert store.get(large) == noise(9000, 2)
    assert store.resolve(snapshot_id).files["a"] == noise(9000, 3)


def test_a_hit_on_a_chunk_stays(store: casstore.Store) -> None:
    address, other = store.put(noise(200, 1)), store.put(noise(200, 2))
    with plan(store) as made:
        assert made.dead_objects == 2
        assert store.put(noise(200, 1)) == address
        made.execute()
    assert store.get(address) == noise(200, 1)
    assert other not in store


def test_a_hit_on_a_list_keeps_its_pieces(store: casstore.Store) -> None:
    address = store.put(noise(9000, 1))
    pieces = pieces_of(store, address)
    assert len(pieces) > 3
    with plan(store) as made:
        store.put(noise(9000, 1))
        made.execute()
    assert all(piece in store for piece in pieces)
    assert store.get(address) == noise(9000, 1)


def test_a_hit_on_a_node_keeps_the_tree(store: casstore.Store) -> None:
    files = {f"{number}": noise(200, number) for number in range(150)}
    with store.storage.operation():
        root = tree_of(store, files)
    assert root is not None
    with plan(store) as made:
        encoded = store.nodes.get(root).raw
        assert store.nodes.put(encoded) == root
        made.execute()
    assert dict(store.add_snapshot(roots={"files": root}).files) == files


def test_a_hit_on_a_snapshot_keeps_it_with_its_history(store: casstore.Store) -> None:
    base = commit(store, {"a": noise(9000, 1)})
    linked = commit(store, {"b": noise(9000, 2)})
    top = commit(store, {"s": snapshot_entry(linked.id)}, parents=[base])
    ids = top.id, base.id, linked.id
    del top, base, linked
    with plan(store) as made:
        # Looked at and let go of again: an id may be used for the grace period.
        store.resolve(ids[0])
        made.execute()
    assert [snapshot.id for snapshot in store.log(ids[0])] == [*ids[:2]]
    assert store.resolve(ids[1]).files["a"] == noise(9000, 1)
    assert store.resolve(ids[2]).files["b"] == noise(9000, 2)


def test_a_ref_set_after_the_plan_keeps_its_state(store: casstore.Store) -> None:
    snapshot_id = commit(store, {"a": noise(9000, 1)}).id
    with plan(store) as made:
        store.refs.compare_and_set("main", None, snapshot_id)
        made.execute()
    assert store.refs["main"].files["a"] == noise(9000, 1)
    store.verify()


def test_an_undo_after_the_plan_keeps_its_state(store: casstore.Store) -> None:
    commit(store, {"a": noise(9000, 1)}, ref="main")
    del store.refs["main"]
    with plan(store) as made:
        store.refs.undo("main")
        made.execute()
    assert store.refs["main"].files["a"] == noise(9000, 1)
    store.verify()


def test_a_snapshot_made_after_the_plan_keeps_the_trees_it_names(store: casstore.Store) -> None:
    base = commit(store, {"a": noise(9000, 1)}).id
    with store.storage.operation():
        root = tree_of(store, {"b": noise(9000, 2)})
    assert root is not None
    with plan(store) as made:
        snapshot_id = store.add_snapshot(roots={"files": root}, parents=[base]).id
        made.execute()
    assert store.resolve(snapshot_id).files["b"] == noise(9000, 2)
    assert [snapshot.id for snapshot in store.log(snapshot_id)] == [snapshot_id, base]
    assert store.resolve(base).files["a"] == noise(9000, 1)


def test_a_tree_made_after_the_plan_keeps_what_it_took_from_another(store: casstore.Store) -> None:
    files = {f"{number:04}": noise(200, number) for number in range(400)}
    with store.storage.operation():
        root = tree_of(store, files)
    with plan(store) as made:
        changed = apply(store.nodes, root, [(b"0000", None)], tree=True)
        made.execute()
    assert changed is not None
    del files["0000"]
    assert dict(store.add_snapshot(roots={"files": changed}).files) == files


def test_a_content_opened_after_the_plan_can_be_read(store: casstore.Store) -> None:
    address = store.put(noise(20_000, 1))
    with plan(store) as made, store.open_content(address) as file:
        made.execute()
        assert file.read() == noise(20_000, 1)
        assert address in store
    collect(store)
    assert address not in store


def test_an_operation_that_ends_between_plan_and_execution_keeps_what_it_put(store: casstore.Store) -> None:
    with store.storage.operation():
        root = tree_of(store, {"a": noise(9000, 1), "b": noise(500, 2)})
        assert root is not None
        made = plan(store)
        snapshot = store.add_snapshot(roots={"files": root})
    made.execute()
    assert dict(snapshot.files) == {"a": noise(9000, 1), "b": noise(500, 2)}
    store.refs["main"] = snapshot
    store.verify()


def test_what_an_operation_met_before_the_plan_stays_after_its_end(store: casstore.Store) -> None:
    small, large = store.put(noise(200, 1)), store.put(noise(9000, 2))
    with store.storage.operation():
        store.put(noise(200, 1))
        store.put(noise(9000, 2))
        made = plan(store)
    made.execute()
    assert store.get(small) == noise(200, 1)
    assert store.get(large) == noise(9000, 2)


def test_a_running_ingest_keeps_what_it_put_and_met(store: casstore.Store) -> None:
    old = [store.put(noise(9000, number)) for number in range(4)]
    with store.storage.ingest() as ingest:
        new = [ingest.add(noise(5000, 100 + number)) for number in range(4)]
        met = [ingest.add(noise(9000, number)) for number in range(2)]
        collect(store)
    assert met == old[:2]
    for address, content in zip(
        new + met, [noise(5000, 100 + n) for n in range(4)] + [noise(9000, n) for n in range(2)]
    ):
        assert store.get(address) == content
    assert old[2] not in store
    assert collect(store).deleted_objects > 0
    assert new[0] not in store


def test_two_plans_at_once_lose_nothing(store: casstore.Store) -> None:
    commit(store, {"a": noise(9000, 1)}, ref="main")
    commit(store, {"b": noise(30_000, 2)})
    first, second = plan(store), plan(store)
    commit(store, {"c": noise(9000, 3)}, ref="other")
    first.execute()
    commit(store, {"d": noise(9000, 4)}, ref="third")
    # What it says of records may be wrong by now: some were moved.
    with pytest.raises(casstore.ConflictError, match="make a new plan"):
        second.execute()
    collect(store)
    assert {name: dict(snapshot.files) for name, snapshot in store.refs.items()} == {
        "main": {"a": noise(9000, 1)},
        "other": {"c": noise(9000, 3)},
        "third": {"d": noise(9000, 4)},
    }
    store.verify()
    assert store.storage.backend.watches() == []


# -- while the sweep deletes


def test_a_content_put_again_after_its_list_was_deleted_is_whole(store: casstore.Store) -> None:
    content = noise(9000, 1)
    address = store.put(content)
    done: list[Address] = []

    def put_again(kinds: set[str]) -> None:
        if "chunk list" in kinds and not done:
            done.append(store.put(content))

    with during_deletion(store, put_again):
        collect(store)
    assert done == [address]
    assert store.get(address) == content
    store.refs["main"] = commit(store, {"a": content})
    store.verify()


def test_a_chunk_put_again_while_chunks_are_deleted_stays(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_BATCH", 5)
    contents = [noise(200, number) for number in range(40)]
    for content in contents:
        store.put(content)
    kept: set[Address] = set()

    def put_some(kinds: set[str]) -> None:
        kept.update(map(store.put, contents[::7]))

    with during_deletion(store, put_some):
        collect(store)
    for content in contents[::7]:
        assert store.put(content) in kept
        assert store.get(store.put(content)) == content
    assert sum(1 for _, entry in store.storage.backend.scan() if entry.kind == CHUNK) == len(contents[::7])


def test_a_tree_is_never_met_with_a_part_of_it_gone(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads look for dead states all through the sweep: what they still find is whole."""
    monkeypatch.setattr(sweep, "_BATCH", 3)
    files = {f"{number:04}": noise(200, number) for number in range(300)}
    base = commit(store, files)
    chain = [base]
    for number in range(12):
        root = edited(store, chain[-1], {f"{number:04}": None})
        assert root is not None
        chain.append(store.add_snapshot(roots={"files": root}, parents=[chain[-1]]))
    ids = [snapshot.id for snapshot in chain]
    del base, chain
    taken: list[str] = []

    def take(kinds: set[str]) -> None:
        for snapshot_id in ids[::5]:
            name = f"try/{len(taken)}x"
            try:
                store.refs.compare_and_set(name, None, snapshot_id)
            except (casstore.NotFoundError, casstore.ConflictError):
                continue
            taken.append(name)

    with during_deletion(store, take):
        collect(store)
    for name in taken:
        for snapshot in store.log(name):
            assert all(len(data) == 200 for data in snapshot.files.values())
    store.verify()


def test_a_snapshot_set_between_two_batches_is_whole_or_gone(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_BATCH", 2)
    ids = [commit(store, {"n": noise(300, 0)}, time_ns=0).id]
    for number in range(1, 12):
        ids.append(commit(store, {"n": noise(300, number)}, parents=[ids[-1]], time_ns=number).id)
    found: set[Address] = set()

    def name_them(kinds: set[str]) -> None:
        for place, snapshot_id in enumerate(ids):
            try:
                store.refs[f"s{place}"] = snapshot_id  # type: ignore[assignment]
            except casstore.NotFoundError:
                continue
            found.add(snapshot_id)

    with during_deletion(store, name_them):
        collect(store)
    for name in store.refs:
        for snapshot in store.log(name):
            assert len(snapshot.files["n"]) == 300
    store.verify()


def test_a_node_given_to_a_new_snapshot_between_two_batches_is_whole_or_gone(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_BATCH", 2)
    with store.storage.operation():
        roots = [tree_of(store, {f"{n}": b"%d %d" % (n, tree) for n in range(200)}) for tree in range(5)]
    made: list[Address] = []

    def use(kinds: set[str]) -> None:
        for root in roots:
            assert root is not None
            try:
                made.append(store.add_snapshot(roots={"files": root}, time_ns=len(made)).id)
            except casstore.NotFoundError:
                continue

    with during_deletion(store, use):
        collect(store)
    for snapshot_id in made:
        assert len(dict(store.resolve(snapshot_id).files)) == 200


def test_a_stamp_renewed_before_its_hit_is_known_keeps_all_below(store: casstore.Store) -> None:
    """A writer renews a list's stamp, the sweep runs, and only then the writer reports its hit."""
    content = noise(9000, 1)
    address = store.put(content)
    backend = store.storage.backend
    made = plan(store)
    backend.touch(address, 2**31)
    made.execute()
    entry = backend.find(address)
    assert entry is not None
    assert backend.hit(address, entry)
    assert store.get(address) == content


def test_only_one_sweep_at_a_time(store: casstore.Store) -> None:
    store.put(noise(9000, 1))
    other = plan(store)
    refused: list[str] = []

    def execute_another() -> None:
        with pytest.raises(casstore.ConflictError) as caught:
            other.execute()
        refused.append(str(caught.value))

    backend: Any = store.storage.backend
    original = backend.delete

    def delete(addresses: Sequence[Address], **options: bool) -> int:
        if not refused:
            execute_another()
        number: int = original(addresses, **options)
        return number

    backend.delete = delete
    plan(store).execute()
    del backend.delete
    assert len(refused) == 1
    assert not backend.sweeping
    assert backend.watches() == []
    assert collect(store).deleted_objects == 0


def test_a_collected_tree_is_not_edited_out_of_the_cache(store: casstore.Store) -> None:
    files = {f"{number:04}": noise(200, number) for number in range(400)}
    with store.storage.operation():
        root = tree_of(store, files)
    assert root is not None
    assert apply(store.nodes, root, [(b"0000", None)], tree=True) is not None
    collect(store)
    with pytest.raises(casstore.NotFoundError):
        apply(store.nodes, root, [(b"0001", None)], tree=True)


def test_a_collected_content_is_not_read_out_of_the_cache(store: casstore.Store) -> None:
    address = store.put(noise(500, 1))
    assert store.get(address) == noise(500, 1)
    collect(store)
    with pytest.raises(casstore.NotFoundError):
        store.get(address)


def test_a_sweep_that_fails_leaves_the_store_usable(store: casstore.Store) -> None:
    store.put(noise(9000, 1))
    backend: Any = store.storage.backend
    original = backend.delete

    def fail(addresses: Sequence[Address], **options: bool) -> int:
        raise casstore.StorageError("no more")

    backend.delete = fail
    with pytest.raises(casstore.StorageError, match="no more"):
        collect(store)
    backend.delete = original
    assert not backend.sweeping
    assert backend.watches() == []
    assert collect(store).deleted_objects > 3


def test_a_content_opened_while_its_list_goes_is_whole_or_gone(store: casstore.Store) -> None:
    content = noise(20_000, 1)
    address = store.put(content)
    backend: Any = store.storage.backend
    original = backend.delete
    opened: list[bytes | None] = []
    reading: list[threading.Thread] = []
    deleted = threading.Event()

    def read() -> None:
        try:
            with store.open_content(address) as file:
                deleted.wait(5)
                opened.append(file.read())
        except casstore.NotFoundError as error:
            # Said by the opening, not by a read of what was opened.
            opened.append(None if error.address == address else b"")

    def delete(addresses: Sequence[Address], **options: bool) -> int:
        if not reading:
            reading.append(threading.Thread(target=read))
            reading[0].start()
            reading[0].join(0.05)
        number: int = original(addresses, **options)
        return number

    backend.delete = delete
    try:
        collect(store)
    finally:
        del backend.delete
        deleted.set()
    reading[0].join()
    assert opened in ([content], [None])

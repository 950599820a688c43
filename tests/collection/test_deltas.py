# SPDX-License-Identifier: MIT
"""Collection of deltas: nothing that is kept is ever left without its base, and no base stays for long."""

from __future__ import annotations

import random
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.address import Address, content_address
from casstore.collection.sweep import Sweep
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import ZSTD_BASE
from tests.snapshots.driving import collect, open_backend


def words(seed: int, count: int = 40) -> bytes:
    return b" ".join(b"%x" % number for number in random.Random(seed).sample(range(1 << 40), count))


FIRST = words(1)
"""Short enough to be one chunk, however small chunks are."""


def edited(data: bytes, seed: int) -> bytes:
    place = random.Random(seed).randrange(len(data))
    return data[:place] + b"<%d>" % seed + data[place:]


def entry_of(store: casstore.Store, address: Address) -> IndexEntry:
    entry = store.storage.backend.find(address)
    assert entry is not None
    return entry


def plan(store: casstore.Store) -> casstore.GcPlan:
    return store.plan_gc(grace_seconds=0, undo_keep_seconds=0)


def put_versions(store: casstore.Store, count: int) -> tuple[list[bytes], list[Address]]:
    """A base, and ``count`` deltas against it; nothing keeps any of them."""
    data = [FIRST] + [edited(FIRST, seed) for seed in range(count)]
    base = store.storage.put(FIRST)
    addresses = [base] + [store.storage.put(item, base) for item in data[1:]]
    assert [entry_of(store, address).base for address in addresses[1:]] == [base] * count
    return data, addresses


def keep(store: casstore.Store, name: str, *addresses: Address) -> None:
    """A ref to a state that has these contents."""
    branch = store.branch()
    for place, address in enumerate(addresses):
        size = store.storage.content_size(address)
        entry = casstore.format.entry.file_entry(size, address, None, False)
        branch.files.set_entry(f"{place}", entry)
    store.refs[name] = branch.commit(name)


def test_the_base_of_several_deltas_stays(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 3)
    keep(store, "main", *addresses[1:3])
    # One delta is nobody's.
    assert collect(store).deleted_objects == 1
    assert entry_of(store, addresses[0]).base is None
    assert [store.get(address) for address in addresses[:3]] == data[:3]
    assert not store.storage.contains(addresses[3])
    assert store.verify()
    assert collect(store).deleted_objects == 0


def test_a_single_delta_becomes_full_and_its_base_goes(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 3)
    keep(store, "main", addresses[2])
    assert collect(store).deleted_objects == 3
    assert not store.storage.contains(addresses[0])
    assert entry_of(store, addresses[2]).base is None
    assert store.get(addresses[2]) == data[2]
    assert store.verify()


def test_a_full_record_is_never_made_a_delta(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 2)
    keep(store, "main", *addresses)
    for _ in range(2):
        collect(store)
        assert [entry_of(store, address).base for address in addresses] == [None, addresses[0], addresses[0]]
    assert [store.get(address) for address in addresses] == data


def test_no_more_than_a_segment_is_made_full_at_once(tmp_path: Path) -> None:
    config = casstore.Config(segment_bytes=16_384)
    with casstore.open(tmp_path / "store", config=config) as store:
        kept = []
        for number in range(12):
            first = words(number, 600)
            base = store.storage.put(first)
            kept.append(store.storage.put(edited(first, number), base))
        keep(store, "main", *kept)
        left = [12]
        while left[-1]:
            collect(store)
            assert store.verify()
            left.append(sum(1 for _, entry in store.storage.backend.scan() if entry.base is not None))
            assert left[-1] < left[-2]
        assert 2 < len(left) < 8
        assert sum(1 for _, entry in store.storage.backend.scan() if entry.kind == 1) == 12


def test_what_is_made_full_is_durable_before_its_base_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        _, addresses = put_versions(store, 1)
        keep(store, "main", addresses[1])
        backend: Any = store.storage.backend
        delete = backend.delete

        def checked(found: Any, **options: bool) -> Any:
            if addresses[0] in found:
                value = backend._index.get(b"o" + addresses[1])
                assert casstore.format.index_entry.decode_entry(value).base is None
                checked.seen = True  # type: ignore[attr-defined]
            return delete(found, **options)

        monkeypatch.setattr(backend, "delete", checked)
        collect(store)
        assert checked.seen  # type: ignore[attr-defined]


def test_deltas_go_before_their_bases(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between two batches must not leave a delta in place without its base."""
    for number in range(30):
        first = words(number)
        base = store.storage.put(first)
        assert entry_of(store, store.storage.put(edited(first, number), base)).base == base
    backend: Any = store.storage.backend
    delete = backend.delete

    def looked(addresses: Any, **options: bool) -> Any:
        found = delete(addresses, **options)
        for _, entry in backend.scan():
            assert entry.base is None or backend.find(entry.base) is not None
        return found

    monkeypatch.setattr(backend, "delete", looked)
    monkeypatch.setattr("casstore.collection.sweep._BATCH", 1)
    assert collect(store).deleted_objects == 60


def test_a_put_between_plan_and_sweep_revives_the_base(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 2)
    todo = plan(store)
    assert store.put(data[1]) == addresses[1]
    todo.execute()
    assert store.get(addresses[1]) == data[1]
    assert not store.storage.contains(addresses[2])
    assert store.verify()


@pytest.mark.parametrize("batch", [0, 1])
def test_a_put_during_the_sweep_revives_the_base(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """After the last look at what is kept, before the chunks go and between their batches."""
    data, addresses = put_versions(store, 3)
    delete, calls = Sweep._delete, []

    def met(self: Sweep, found: Any, deleted: Any) -> None:
        if len(calls) == batch:
            assert store.put(data[3]) == addresses[3]
        calls.append(found)
        delete(self, found, deleted)

    monkeypatch.setattr(Sweep, "_delete", met)
    monkeypatch.setattr("casstore.collection.sweep._BATCH", 1)
    collect(store)
    assert len(calls) > 3
    store.storage.cache.clear()
    assert store.get(addresses[3]) == data[3]
    assert store.verify()


def test_a_new_delta_between_plan_and_sweep_keeps_its_base(store: casstore.Store) -> None:
    _, addresses = put_versions(store, 1)
    todo = plan(store)
    data = edited(FIRST, 99)
    address = store.storage.put(data, addresses[1])
    assert entry_of(store, address).base == addresses[0]
    todo.execute()
    assert store.get(address) == data
    assert store.verify()


def test_an_open_content_keeps_the_base(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 2)
    todo = plan(store)
    with closing(store.open_content(addresses[1])) as file:
        todo.execute()
        assert store.get(addresses[1]) == data[1]
        assert file.read() == data[1]


def test_a_pin_keeps_the_base(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 2)
    pin = store.storage.pin("test", addresses[1])
    collect(store)
    store.storage.cache.clear()
    assert store.get(addresses[1]) == data[1]
    del pin
    collect(store)
    assert not store.storage.contains(addresses[1])


def test_a_running_operation_keeps_the_bases_of_what_it_met(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 2)
    with store.storage.operation():
        store.put(data[1])
        collect(store)
        collect(store)
    store.storage.cache.clear()
    assert store.get(addresses[1]) == data[1]


def test_what_is_too_young_keeps_its_base(store: casstore.Store) -> None:
    """Also where the base itself was last used longer ago."""
    data, addresses = put_versions(store, 2)
    backend: Any = store.storage.backend
    store.sync()
    for address, age in ((addresses[0], 4000), (addresses[1], 0), (addresses[2], 0)):
        backend._pending[address] = entry_of(store, address)._replace(stamp=entry_of(store, address).stamp - age)
    store.plan_gc(grace_seconds=3600, undo_keep_seconds=0).execute()
    store.storage.cache.clear()
    assert [store.get(address) for address in addresses] == data


def test_a_reader_looks_again_where_a_delta_was_made_full(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, addresses = put_versions(store, 1)
    keep(store, "main", addresses[1])
    backend: Any = store.storage.backend
    get = backend.get

    def collected(address: Address) -> Any:
        record = get(address)
        if record.encoding == ZSTD_BASE:
            monkeypatch.setattr(backend, "get", get)
            collect(store)
            assert not backend.contains(addresses[0])
        return record

    monkeypatch.setattr(backend, "get", collected)
    assert store.get(addresses[1]) == data[1]


def test_readers_keep_what_they_see(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        data, addresses = put_versions(store, 1)
        keep(store, "main", addresses[1])
        with casstore.open(path, read_only=True, config=casstore.Config(cache_bytes=0)) as reader:
            assert collect(store).deleted_objects == 1
            assert reader.get(addresses[1]) == data[1]
            assert reader.get(addresses[0]) == data[0]
        assert store.get(addresses[1]) == data[1]


def test_a_missing_base_stops_a_collection(store: casstore.Store) -> None:
    data, addresses = put_versions(store, 2)
    keep(store, "main", *addresses[1:])
    store.storage.backend.delete([addresses[0]])
    with pytest.raises(casstore.CorruptionError, match="stored against"):
        plan(store)
    store.put(data[0])
    assert collect(store).deleted_objects == 0


def test_a_bundle_stands_for_itself(store: casstore.Store, tmp_path: Path) -> None:
    data, addresses = put_versions(store, 2)
    keep(store, "main", *addresses[1:])
    store.export_bundle(tmp_path / "bundle", ["main"])
    with casstore.open(":memory:") as other:
        other.adopt_bundle(tmp_path / "bundle")
        assert [other.get(address) for address in addresses[1:]] == data[1:]
        assert not other.storage.contains(addresses[0])
        assert all(entry.base is None for _, entry in other.storage.backend.scan())


def test_commits_and_imports_compare_with_the_version_before(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    roots = []
    for deltas in (True, False):
        config = casstore.Config(deltas=deltas, cache_bytes=0)
        with casstore.open(tmp_path / f"store-{deltas}", config=config) as store:
            branch = store.branch()
            for seed in range(3):
                large = edited(words(7, 3000), seed)
                (folder / "file").write_bytes(edited(FIRST, seed))
                (folder / "large").write_bytes(large)
                (folder / f"new-{seed}").write_bytes(words(100 + seed))
                casstore.workspace.import_directory(store, folder, ref="main")
                branch.files["f"] = edited(words(11), seed)
                branch.objects["o"] = {"text": edited(words(12), seed).decode(), "step": seed}
                branch.objects["large"] = [large.decode()]
                branch.commit(ref="other")
            found = [entry for _, entry in store.storage.backend.scan() if entry.base is not None]
            roots.append([store.snapshot(name).state_id for name in ("main", "other")])
            assert (len(found) >= 10) == deltas
            assert store.snapshot("main").files["large"] == large
            assert store.branch("other").objects["large"] == [large.decode()]
            assert store.stats().deltas.objects == len(found)
            assert store.verify()
    # What is stored how is nobody's business.
    assert roots[0] == roots[1]


def test_threads_put_versions_while_others_collect(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store", config=casstore.Config(cache_bytes=0, segment_bytes=65_536)) as store:
        errors: list[BaseException] = []
        stop = threading.Event()

        def write(seed: int) -> None:
            chance = random.Random(seed)
            try:
                for _ in range(60):
                    branch = store.branch()
                    data = FIRST
                    for _ in range(4):
                        data = edited(data, chance.randrange(20))
                        branch.files["a"] = data
                        snapshot = branch.commit()
                    store.storage.cache.clear()
                    assert snapshot.files["a"] == data
            except BaseException as error:
                errors.append(error)

        def sweep() -> None:
            try:
                while not stop.is_set():
                    collect(store)
            except BaseException as error:
                errors.append(error)

        collector = threading.Thread(target=sweep)
        writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
        for thread in (collector, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        collector.join()
        assert not errors
        assert store.verify()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 7), st.integers(0, 7)),
        st.tuples(st.just("keep"), st.integers(0, 7), st.integers(0, 2)),
        st.tuples(st.just("drop"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("collect"), st.just(0), st.just(0)),
        st.tuples(st.just("plan"), st.just(0), st.just(0)),
        st.tuples(st.just("execute"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(actions)
def test_whatever_is_kept_can_be_read(steps: list[tuple[str, int, int]]) -> None:
    contents = [FIRST] + [edited(FIRST, seed) for seed in range(7)]
    store = casstore.open(":memory:", config=casstore.Config(cache_bytes=0))
    kept: dict[int, int] = {}
    todo: casstore.GcPlan | None = None
    for step, one, two in steps:
        if step == "put":
            store.storage.put(contents[one], content_address(contents[two]))
        elif step == "keep":
            if store.storage.contains(content_address(contents[one])):
                keep(store, f"r{two}", content_address(contents[one]))
                kept[two] = one
        elif step == "drop":
            if kept.pop(one, None) is not None:
                del store.refs[f"r{one}"]
        elif step == "collect":
            collect(store)
        elif step == "plan":
            if todo is not None:
                todo.drop()
            todo = plan(store)
        elif todo is not None:
            with suppress(casstore.ConflictError):
                # Another collection was executed since.
                todo.execute()
            todo = None
        for address, entry in store.storage.backend.scan():
            base = entry.base
            assert base is None or entry_of(store, base).base is None, (step, address)
        for place in kept.values():
            assert store.get(content_address(contents[place])) == contents[place]
    if todo is not None:
        todo.drop()
    collect(store)
    assert store.verify()
    alive = {address for address, entry in store.storage.backend.scan() if entry.kind == 1}
    assert {content_address(contents[place]) for place in kept.values()} <= alive
    # A base may stay for two deltas or more, never for one.
    assert len(alive) <= len(set(kept.values())) + (len(set(kept.values())) > 1)

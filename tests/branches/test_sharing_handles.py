# SPDX-License-Identifier: MIT
"""Handles of shared values: encoded once, held once, set by a pointer, kept while they live."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import casstore
from casstore import codecs
from casstore.address import content_address
from casstore.branches.sharing_handles import Shared, Twin
from casstore.errors import ClosedError, FactoryError, InvalidInputError, ReadOnlyError
from casstore.format.entry import file_entry
from tests.branches.sharing import apart, cells, collect, used


def test_equal_values_give_one_handle_while_it_lives(store: casstore.Store) -> None:
    handle = store.share({"b": 1, "a": "x" * 500})
    assert store.share({"a": "x" * 500, "b": 1}) is handle
    assert store.share(handle) is handle
    assert handle.type == "json"
    assert handle.get() == {"a": "x" * 500, "b": 1}
    assert handle.get() is not handle.get()
    assert handle.address == content_address(codecs.JsonFactory().encode({"a": "x" * 500, "b": 1}))
    assert used(store) == handle.nbytes
    # Two threads may share equal values at once: the handle that came first counts.
    assert store.branches.shared.keep(Shared(store.branches, handle._key, handle._cell)) is handle
    numbers = [store.share(1), store.share(1.0), store.share(True)]
    assert len({id(one) for one in numbers}) == 3
    assert [type(one.get()) for one in numbers] == [int, float, bool]
    texts = [store.share(b"s" * 300), store.share("s" * 300)]
    assert texts[0] is not texts[1]
    assert texts[0].address == texts[1].address
    del handle, numbers, texts
    gc.collect()
    assert used(store) == 0
    assert store.branches.shared.all() == []


@pytest.mark.parametrize("value", [b"b" * 5000, b"short", "text" * 100, ["l" * 300], None])
def test_a_handle_is_set_without_encoding_and_stays_after_the_branch(store: casstore.Store, value: object) -> None:
    handle = store.share(value)
    encoded = sum(one.encoded.count for one in store.branches.codecs.figures())
    branches = [store.branch() for _ in range(5)]
    for branch in branches:
        branch.objects["tools"] = handle
        branch.objects["agent"] = codecs.Members(tools=handle)
        if isinstance(value, bytes):
            branch.files["tools"] = handle
            branch.files["tools"] = handle
    assert sum(one.encoded.count for one in store.branches.codecs.figures()) == encoded
    assert used(store) == (handle.nbytes if handle.nbytes > 127 else 0)
    assert len({id(cells(branch)["tools"]) for branch in branches}) == 1
    for branch in branches:
        assert branch.objects["tools"] == branch.objects["agent"]["tools"] == value
        if isinstance(value, bytes):
            assert branch.files["tools"] == value
    plain = store.branch()
    plain.objects["tools"] = value
    plain.objects["agent"] = codecs.Members(tools=value)
    if isinstance(value, bytes):
        plain.files["tools"] = value
    assert plain.state_id() == branches[0].state_id()
    del plain
    branches[0].commit()
    assert used(store) == 0
    del branches, branch
    collect(store)
    assert handle.get() == value
    later = store.branch()
    later.objects["again"] = handle
    later.commit(ref="main")
    assert store.branch("main").objects["again"] == value
    store.verify()


def test_a_shared_file_keeps_its_executable_bit_and_spills_with_the_value() -> None:
    with casstore.open(":memory:", config=casstore.Config(pending_bytes=6000)) as store:
        handle = store.share(b"s" * 5000)
        branch = store.branch()
        branch.files.set_entry("run", file_entry(1, inline=b"x", executable=True))
        branch.files["plain"] = handle
        branch.files["run"] = handle
        assert branch.files.entry("run").kind == 2
        assert branch.files.entry("plain") == file_entry(5000, handle.address)
        twins = [cell for cell in cells(branch).values() if isinstance(cell, Twin)]
        assert len(twins) == 2
        assert all(twin.data == b"s" * 5000 for twin in twins)
        branch.files["more"] = b"m" * 5000
        assert used(store) == 5000
        assert all(twin.data is None for twin in twins)
        del handle, twins
        collect(store)
        assert dict(branch.files) == {"run": b"s" * 5000, "plain": b"s" * 5000, "more": b"m" * 5000}
        assert [key for key, _ in branch.files.entries()] == ["more", "plain", "run"]
        snapshot = branch.commit()
        assert snapshot.files["run"] == b"s" * 5000
        store.verify()


def test_a_handle_is_what_others_join(store: casstore.Store) -> None:
    branches = [store.branch() for _ in range(3)]
    for branch in branches:
        branch.objects["x"] = apart(5000)
        branch.files["x"] = apart(5000)
    handle = store.share(apart(5000))
    branches[2].files["y"] = handle
    stored = store.branch()
    stored.objects["x"] = apart(5000)
    cells(stored)["x"].store(store.storage)
    report = store.deduplicate([*branches, stored])
    assert {id(branch._current()[3].keys["x"]) for branch in (*branches, stored)} == {id(handle._cell)}
    assert {type(branch._current()[2].keys["x"]) for branch in branches} == {Twin}
    # One of the equal values was in the store, so neither the handle nor anybody else waits with bytes any more.
    assert report.held_bytes_before == 7 * 5000
    assert used(store) == report.held_bytes_after == 0
    for branch in branches:
        branch.discard()
    stored.discard()
    collect(store)
    assert handle.get() == apart(5000)


def test_what_cannot_be_shared_is_refused(store: casstore.Store, tmp_path: Path) -> None:
    with pytest.raises(FactoryError):
        store.share(object())
    with pytest.raises(InvalidInputError, match="one by one"):
        store.share(codecs.Members(a=1))
    handle = store.share("text")
    branch = store.branch()
    with pytest.raises(InvalidInputError, match="bytes"):
        branch.files["x"] = handle
    with casstore.open(":memory:") as other:
        for keyed in (other.branch().objects, other.branch().files):
            with pytest.raises(InvalidInputError, match="another store"):
                keyed["x"] = handle
        with pytest.raises(InvalidInputError, match="another store"):
            other.share(handle)
    assert len(branch.files) == 0
    casstore.open(tmp_path / "s").close()
    with casstore.open(tmp_path / "s", read_only=True) as reader:
        waiting = reader.share("w" * 500)
        assert waiting.get() == "w" * 500
        with pytest.raises(ReadOnlyError):
            waiting.entry()
        pair = [reader.branch(), reader.branch()]
        for one in pair:
            one.objects["x"] = "w" * 500
        assert reader.deduplicate(pair).saved_bytes == 1000
        assert pair[0].objects["x"] == "w" * 500
    store.close()
    with pytest.raises(ClosedError):
        store.share(1)


def test_an_entry_of_a_handle_can_be_registered_as_a_ref(store: casstore.Store) -> None:
    from casstore.objects import Materializer

    handle = store.share({"tools": ["t" * 300]})
    with Materializer(store) as materializer:
        ref = materializer.register(handle.entry())
        assert used(store) == 0
        assert ref.get() == {"tools": ["t" * 300]}


def test_handles_from_many_threads_are_one(store: casstore.Store) -> None:
    barrier = threading.Barrier(8)

    def share(_: int) -> object:
        barrier.wait()
        return store.share("v" * 1000)

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            assert len({id(one) for one in pool.map(share, range(8))}) == 1
        gc.collect()
        assert used(store) == 0

# SPDX-License-Identifier: MIT
"""Pending values: their account, their spilling, and what keeps them and the contents of bases from the collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import casstore
from casstore.address import content_address
from casstore.branches import Branch
from casstore.branches.cell import Cell
from casstore.errors import InvalidInputError, NotFoundError, QuotaExceededError, StorageError
from casstore.format.entry import file_entry, snapshot_entry
from casstore.storage.opening import open_storage
from casstore.testing.faults import FaultyFiles
from tests.branches.sharing import collect


def test_values_that_are_replaced_leave_nothing_behind(store: casstore.Store) -> None:
    branch = store.branch()
    for number in range(20_000):
        branch.files["same"] = b"%d" % number * 100
    budget = store.branches.budget
    assert len(budget._cells) < 5000
    assert budget.used_bytes == len(branch.files["same"])


def test_bytes_come_off_the_account_once_however_many_threads_store_them(store: casstore.Store) -> None:
    budget = store.branches.budget
    for number in range(30):
        data = b"%d" % number * 200
        cell = budget.cell(file_entry(len(data)), data)
        barrier = threading.Barrier(8)

        def put(cell: Cell = cell, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            cell.store(store.storage)

        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(put) for _ in range(8)]:
                future.result()
        assert budget.used_bytes == 0
        assert cell.read(store.storage) == data
    del cell, put


def test_an_entry_is_whole_while_its_cell_is_spilled(store: casstore.Store) -> None:
    """A reader may stand between any two steps of ``addressed`` when the bytes go."""
    data = b"d" * 500

    class Torn(Cell):
        """A cell that spills between a reader's first look and its second."""

        __slots__ = ("looks",)

        def __getattribute__(self, name: str) -> object:
            if name in ("entry", "data"):
                object.__setattr__(self, "looks", object.__getattribute__(self, "looks") + 1)
                if object.__getattribute__(self, "looks") == 2:
                    Cell.store(self, store.storage)
            return super().__getattribute__(name)

    cell = Torn.__new__(Torn)
    object.__setattr__(cell, "looks", 10)
    cell.__init__(file_entry(500), data)  # type: ignore[misc]
    object.__setattr__(cell, "looks", 0)
    assert cell.addressed().address == content_address(data)


def test_cells_that_die_in_other_threads_and_in_cycles_are_accounted_for(store: casstore.Store) -> None:
    budget = store.branches.budget
    branch = store.branch()
    branch.files["x"] = b"x" * 1000
    ring: list[object] = [branch.fork()]
    ring.append(ring)
    branch.discard()
    assert budget.used_bytes == 1000
    thread = threading.Thread(target=ring.clear)
    del ring
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert budget.used_bytes == 0


def test_reads_go_on_while_others_spill_and_collect() -> None:
    config = casstore.Config(pending_bytes=3000, cache_bytes=0)
    with casstore.open(":memory:", config=config) as store:
        branch = store.branch()
        wanted = {f"d/{number}": b"%03d" % number * 200 for number in range(20)}
        branch.files.update(wanted)
        stop = threading.Event()
        errors: list[BaseException] = []

        def guard(work: Callable[[], None]) -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                errors.append(error)
                raise

        def read() -> None:
            fork = branch.fork()
            assert dict(fork.files.items()) == wanted
            assert all(entry.address for _, entry in fork.files.entries())

        def write() -> None:
            other = store.branch()
            for number in range(10):
                other.files[f"o/{number}"] = threading.get_ident().to_bytes(8, "big") * 100 + bytes([number])
            other.fold()

        def fold() -> None:
            assert branch.fork().commit().files == wanted

        def sweep() -> None:
            try:
                collect(store)
            except casstore.ConflictError:
                pass

        works = [read, read, read, write, write, fold, sweep]
        threads = [threading.Thread(target=guard, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        stop.wait(2)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert 0 <= store.branches.budget.used_bytes <= 3000
        assert dict(branch.files) == wanted
        store.verify()


def test_what_a_merge_took_over_stays_when_the_other_branch_goes(store: casstore.Store) -> None:
    base = store.branch()
    base.files["a"] = b"a"
    base.commit(ref="main")
    ours, theirs = base.fork(), base.fork()
    theirs.files["large"] = b"l" * 5000
    theirs.fold()
    theirs.files["pending"] = b"p" * 5000
    assert not ours.merge(theirs).conflicts
    theirs.discard()
    del theirs
    collect(store)
    assert ours.files["large"] == b"l" * 5000
    assert ours.files["pending"] == b"p" * 5000
    snapshot = ours.commit()
    del ours
    collect(store)
    assert snapshot.files["large"] == b"l" * 5000


def test_a_resolver_may_go_back_to_a_base_that_is_pending(store: casstore.Store) -> None:
    base, ours, theirs = store.branch(), store.branch(), store.branch()
    base.files["k"] = b"base" * 100
    ours.files["k"] = b"ours" * 100
    theirs.files["k"] = b"theirs" * 100
    report = ours.merge(theirs, base=base, resolve=lambda conflict: conflict.base)
    assert not report.conflicts
    base.discard()
    collect(store)
    assert ours.files["k"] == b"base" * 100


@pytest.mark.parametrize("what", ["list", "entries", "items", "changes", "diff"])
def test_an_iteration_keeps_what_it_shows(what: str) -> None:
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=0)) as store:
        branch = store.branch()
        branch.files.update({f"d/{number}": b"%d" % number * 200 for number in range(300)})
        branch.fold()
        branch.files["z"] = b"z"
        ways: dict[str, Callable[[], Iterator[object]]] = {
            "list": branch.files.list,
            "entries": branch.files.entries,
            "items": lambda: iter(branch.files.items()),
            "changes": branch.changes,
            "diff": lambda: branch.diff(store.branch()),
        }
        found = ways[what]()
        branch.files.clear()
        branch.fold()
        branch.discard()
        collect(store)
        assert len(list(found)) == 301


def test_an_entry_refers_to_what_it_says(store: casstore.Store) -> None:
    content = store.put(b"c" * 300)
    branch = store.branch()
    branch.files["x"] = b"x" * 300
    snapshot = branch.commit()
    root = snapshot.roots["files"]
    before = branch.state_id()
    with pytest.raises(NotFoundError, match="is a chunk, no snapshot"):
        branch.objects.set_entry("s", snapshot_entry(content))
    for address in (root, snapshot.id):
        with pytest.raises(NotFoundError, match="no content"):
            branch.files.set_entry("f", file_entry(300, address))
    with pytest.raises(InvalidInputError, match="301 bytes"):
        branch.files.set_entry("f", file_entry(301, content))
    for entry in (None, "text", 7):
        for keyed in (branch.files, branch.objects):
            with pytest.raises(InvalidInputError, match="no entry"):
                keyed.set_entry("f", entry)  # type: ignore[arg-type]
    buffer = bytearray(b"b" * 300)
    branch.files.set_entry("buffer", file_entry(300), buffer)  # type: ignore[arg-type]
    buffer[0] = 0
    assert branch.files["buffer"] == b"b" * 300
    del branch.files["buffer"]
    assert branch.state_id() == before
    collect(store)
    store.verify()


def faulty(tmp_path: Path, pending_bytes: int) -> tuple[casstore.Store, FaultyFiles]:
    path = str(tmp_path / "store")
    config = casstore.Config(pending_bytes=pending_bytes)
    casstore.open(path, config=config).close()
    files = FaultyFiles(str(tmp_path))
    return casstore.Store(open_storage(path, read_only=False, timeout=0, config=config, files=files), config), files


def state_of(branch: Branch) -> tuple[object, dict[str, bytes], bytes]:
    return branch.start, dict(branch.files), branch.state_id()


@pytest.mark.parametrize("operation", ["set", "fold", "commit", "auto"])
def test_a_write_that_fails_leaves_the_branch_as_it_was(tmp_path: Path, operation: str) -> None:
    store, files = faulty(tmp_path, 2000 if operation == "set" else 10**6)
    branch = store.branch()
    branch.files.update({f"f{number}": b"%d" % number * 600 for number in range(3)})
    before = state_of(branch)
    store.branches.fold_keys = 3
    files.fail("append")
    works: dict[str, Callable[[], object]] = {"fold": branch.fold, "commit": lambda: branch.commit(ref="main")}
    work = works.get(operation, lambda: branch.files.update(new=b"n" * 1500))
    with pytest.raises(StorageError):
        work()
    assert state_of(branch) == before
    assert "main" not in store.refs
    store.storage.backend.close()


def test_a_spill_that_failed_is_tried_again(tmp_path: Path) -> None:
    store, files = faulty(tmp_path, 1000)
    branch = store.branch()
    branch.files["old"] = b"o" * 900
    files.fail("append")
    with pytest.raises(StorageError):
        branch.files["new"] = b"n" * 900
    budget = store.branches.budget
    assert budget.used_bytes == 900
    assert any((cell := ref()) is not None and cell.data is not None for ref in budget._cells)
    store.storage.backend.close()


def test_a_full_budget_of_a_read_only_store_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    casstore.open(path).close()
    with casstore.open(path, read_only=True, config=casstore.Config(pending_bytes=1000)) as store:
        branch = store.branch()
        branch.files["a"] = b"a" * 900
        before = state_of(branch)
        for _ in range(3):
            with pytest.raises(QuotaExceededError):
                branch.files["b"] = b"b" * 900
            with pytest.raises(QuotaExceededError):
                branch.objects["b"] = "b" * 900
        assert state_of(branch) == before
        assert store.branches.budget.used_bytes == 900
        del branch.files["a"]
        branch.files["b"] = b"b" * 900
        assert dict(branch.files) == {"b": b"b" * 900}

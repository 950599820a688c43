# SPDX-License-Identifier: MIT
"""Values that became equal: joined in memory, reported with their holders, and never seen to have moved."""

from __future__ import annotations

import gc
import json
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import casstore
from casstore import codecs
from casstore.address import content_address
from casstore.branches import Branch
from casstore.errors import ClosedError, InvalidInputError
from casstore.format.entry import file_entry, snapshot_entry
from tests.branches.sharing import apart, cells, collect, used

LARGE = 1 << 16


def test_equal_values_are_held_once_and_accounted_for_once(store: casstore.Store) -> None:
    branches = [store.branch() for _ in range(20)]
    for at, branch in enumerate(branches):
        branch.objects["tools"] = apart(LARGE)
        branch.files["own"] = b"%d" % at * 200
    before = used(store)
    ids = [branch.state_id() for branch in branches]
    changes = [list(branch.changes()) for branch in branches]
    report = store.deduplicate(branches)
    assert len({id(cells(branch)["tools"]) for branch in branches}) == 1
    assert before - used(store) == report.saved_bytes == 19 * LARGE
    assert report.held_bytes_before == before
    assert report.held_bytes_after == used(store)
    assert (report.branches, report.values, report.distinct, report.skipped) == (20, 40, 21, 0)
    assert [branch.state_id() for branch in branches] == ids
    assert [list(branch.changes()) for branch in branches] == changes
    assert all(branch.objects["tools"] == apart(LARGE) for branch in branches)
    again = store.deduplicate(branches)
    assert (again.changed, again.saved_bytes) == (0, 0)


def test_memory_is_given_back(store: casstore.Store) -> None:
    branches = [store.branch() for _ in range(100)]
    tracemalloc.start()
    for branch in branches:
        branch.objects["tools"] = apart(LARGE)
        branch.objects.update({f"small/{number}": number for number in range(50)})
    before = tracemalloc.get_traced_memory()[0]
    report = store.deduplicate(branches)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert report.saved_bytes == 99 * LARGE
    # What is left is one value of 64 KiB and one map of 51 keys for all.
    assert after < 0.05 * before
    assert len({id(branch._current()[3]) for branch in branches}) == 1


def test_what_is_shared_is_spilled_and_committed_once(store: casstore.Store) -> None:
    first, second = store.branch(), store.branch()
    first.files["a"] = apart(5000)
    second.files["b"] = apart(5000)
    store.deduplicate([first, second])
    snapshot = first.commit()
    cell = cells(second)["b"]
    assert cell.data is None
    assert used(store) == 0
    del snapshot
    first.discard()
    collect(store)
    assert second.files["b"] == apart(5000)
    store.verify()


def test_what_waits_joins_what_is_stored(store: casstore.Store) -> None:
    first, second = store.branch(), store.branch()
    for branch in (first, second):
        branch.files["a"] = apart(5000)
    cells(first)["a"].store(store.storage)
    report = store.deduplicate([second, first])
    assert report.saved_bytes == 5000
    assert used(store) == 0
    assert cells(second)["a"] is cells(first)["a"]
    first.discard()
    collect(store)
    assert second.files["a"] == apart(5000)


def test_what_one_branch_does_afterwards_is_its_own(store: casstore.Store) -> None:
    first, second = store.branch(), store.branch()
    for branch in (first, second):
        branch.files.update({"a": apart(300), "b/c": b"short"})
        branch.objects["x"] = {"n": [1]}
    store.deduplicate([first, second])
    assert first._current()[2] is second._current()[2]
    assert first._current()[1] is second._current()[1]
    first.files["a"] = b"other"
    del first.files["b/c"]
    first.objects["x"]["n"].append(2)
    assert dict(second.files) == {"a": apart(300), "b/c": b"short"}
    assert second.objects["x"] == {"n": [1]}
    first.commit()
    assert dict(second.files) == {"a": apart(300), "b/c": b"short"}


def test_nothing_is_shared_that_is_unequal(store: casstore.Store) -> None:
    """1, 1.0 and True; equal bytes of different type; a file, an executable and a symlink of one content."""
    long = b'"' + b"j" * 300 + b'"'
    branch, other = store.branch(), store.branch()
    for one in (branch, other):
        one.objects.update({"int": 1, "float": 1.0, "bool": True, "none": None})
        one.objects.update({"bytes": long, "text": long.decode(), "json": ["j" * 300]})
        one.files.update({"file": long, "empty": b""})
        one.files.set_entry("run", file_entry(len(long), executable=True), long)
        one.objects["same"] = long
    report = store.deduplicate([branch, other])
    held = cells(branch)
    assert len({id(cell) for cell in held.values()}) == len(held) - 1 == report.distinct
    assert held["same"] is held["bytes"]
    for key in held:
        assert cells(other)[key] is held[key]
    assert [type(branch.objects[key]) for key in ("int", "float", "bool", "none")] == [int, float, bool, type(None)]
    assert branch.objects["text"] == long.decode()
    assert branch.files.entry("run").kind == 2


def test_maps_of_forks_stay_as_shared_as_they_were(store: casstore.Store) -> None:
    """Forks share most of a map; replacing the same cells in each of them apart would copy it for each."""
    root = store.branch()
    root.files.update({f"d/{number}": b"%d" % (number // 2) * 50 for number in range(400)})
    forks = [root.fork() for _ in range(30)]
    for at, fork in enumerate(forks):
        fork.files[f"own/{at}"] = b"own"
    everything = [dict(fork.files) for fork in forks]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    store.deduplicate([root, *forks])
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # A map of 400 keys takes about 20 kB; so 31 of them apart would take 600 kB.
    assert grown < 150_000
    assert [dict(fork.files) for fork in forks] == everything
    assert [len(fork.files) for fork in forks] == [401] * 30


def test_a_fork_that_was_not_given_keeps_what_it_holds_and_the_report_says_so(store: casstore.Store) -> None:
    first, second = store.branch(), store.branch()
    for branch in (first, second):
        branch.objects["x"] = apart(5000)
    fork = second.fork()
    report = store.deduplicate([first, second])
    assert report.saved_bytes == 0
    assert report.held_bytes_after == used(store) == 10_000
    assert fork.objects["x"] == apart(5000)
    assert store.deduplicate([first, second, fork]).changed == 1
    assert used(store) == 5000


def test_the_report_says_who_shares_what(store: casstore.Store) -> None:
    start = store.branch()
    start.files["base"] = b"base"
    snapshot = start.commit(ref="main")
    branches = {"first": store.branch("main"), "second": store.branch("main"), "third": store.branch()}
    for branch in branches.values():
        branch.objects["tools"] = "t" * 1000
    branches["first"].files["a"] = apart(2000)
    branches["first"].files["b"] = apart(2000)
    branches["third"].objects["own"] = apart(9000)
    report = store.deduplicate(branches)
    assert [(one.bytes, one.type, one.values) for one in report.shared] == [(2000, "file", 2), (1000, "text", 3)]
    large, tools = report.shared
    assert large.keys == ("files/a", "files/b")
    assert large.branches == ("first",)
    assert large.address == content_address(apart(2000))
    assert tools.keys == ("objects/tools",)
    assert tools.branches == ("first", "second", "third")
    unnamed = store.deduplicate(list(branches.values()))
    assert unnamed.shared[1].branches == ("main#0", "main#1", "#2")
    store.refs.clear()
    assert store.deduplicate(branches.values()).shared[1].branches[0] == f"{snapshot.id.hex()[:12]}#0"
    plain = json.loads(json.dumps(report.plain()))
    assert plain["shared"][0]["address"] == large.address.hex()
    assert plain["saved_bytes"] == report.saved_bytes == 4000
    assert store.deduplicate(branches, listed=1).shared == (large,)
    assert store.deduplicate(branches, listed=0).shared == ()


def test_the_report_is_bounded(store: casstore.Store) -> None:
    branches = [store.branch() for _ in range(150)]
    for branch in branches:
        branch.objects["x"] = "x" * 200
    report = store.deduplicate(branches)
    assert len(report.shared[0].branches) == 100
    assert (report.shared[0].branch_count, report.shared[0].values) == (150, 150)


def test_links_directories_and_members(store: casstore.Store) -> None:
    snapshot = store.branch().commit()
    branches = [store.branch() for _ in range(3)]
    for branch in branches:
        branch.objects.set_entry("link", snapshot_entry(snapshot.id))
        branch.objects["m"] = codecs.Members(a="a" * 300, b=codecs.Members(c=1))
        branch.files.set_entry("dir", casstore.format.entry.directory_entry())  # type: ignore[attr-defined]
    wanted = branches[0].state_id()
    store.deduplicate(branches)
    del snapshot
    branches[0].discard()
    collect(store)
    for branch in branches[1:]:
        assert branch.state_id() == wanted
        assert dict(branch.objects["m"]["b"]) == {"c": 1}
        branch.objects["m"] = None
        assert list(branch.objects) == ["link", "m"]
        branch.commit()
    store.verify()


def test_bad_branches_are_refused(store: casstore.Store) -> None:
    branch = store.branch()
    with casstore.open(":memory:") as other, pytest.raises(InvalidInputError, match="another store"):
        store.deduplicate([branch, other.branch()])
    for bad in (None, 7, ["main"], "main", {"main": None}):
        with pytest.raises(InvalidInputError, match="branch"):
            store.deduplicate(bad)  # type: ignore[arg-type]
    for bad_number in (-1, 1.0, None):
        with pytest.raises(InvalidInputError, match="listed"):
            store.deduplicate([branch], listed=bad_number)  # type: ignore[arg-type]
    assert store.deduplicate([]).branches == 0
    assert store.deduplicate([branch, branch]).branches == 1
    gone = branch.fork()
    gone.discard()
    assert store.deduplicate([branch, gone]).skipped == 1
    store.close()
    with pytest.raises(ClosedError):
        store.deduplicate([branch])


def test_a_branch_that_moved_is_looked_at_again_and_never_overwritten(store: casstore.Store) -> None:
    first, second = store.branch(), store.branch()
    for branch in (first, second):
        branch.objects["x"] = apart(5000)

    donor = store.branch()
    donor.files["n"] = b"n"

    class Moving(Branch):
        """Somebody writes to it whenever its lock is taken."""

        __slots__ = ("left",)
        left: int

        def _lock(self) -> Any:
            if self.left:
                self.left -= 1
                start, base, files, objects, merged = self._current()
                self._state = (start, base, files.with_cell(f"n{self.left}", cells(donor)["n"]), objects, merged)
            return super()._lock()

    for moves, changed, skipped in ((1, 1, 0), (100, 0, 1)):
        moving = Moving.__new__(Moving)
        moving._context, moving._state, moving.left = second._context, second._current(), moves
        report = store.deduplicate([first, moving])
        assert (report.changed, report.skipped) == (changed, skipped)
        assert moving.objects["x"] == apart(5000)
        assert len(moving.files) == min(moves, 3)
        assert (cells(moving)["x"] is cells(first)["x"]) is (skipped == 0)
        second = store.branch()
        second.objects["x"] = apart(5000)


def test_beside_writers_nothing_is_lost() -> None:
    config = casstore.Config(pending_bytes=40_000)
    with casstore.open(":memory:", config=config) as store:
        branches = [store.branch() for _ in range(6)]
        models: list[dict[str, bytes]] = [{} for _ in branches]
        stop = threading.Event()
        errors: list[BaseException] = []

        def guard(work: Callable[[int, int], None], at: int) -> None:
            step = 0
            try:
                while not stop.is_set():
                    work(at, step)
                    step += 1
            except BaseException as error:
                errors.append(error)
                raise

        def write(at: int, step: int) -> None:
            key, value = f"k{step % 7}", b"%d" % (step % 5) * 400
            branches[at].files[key] = value
            models[at][key] = value
            if step % 11 == 0:
                branches[at].fold()
            if step % 13 == 0:
                branches[at].commit()
            if step % 3 == 0 and models[at].pop("k1", None) is not None:
                del branches[at].files["k1"]
            assert dict(branches[at].files) == models[at]

        def join(at: int, step: int) -> None:
            store.deduplicate([*branches, *(branch.fork() for branch in branches)])

        works = [(write, at) for at in range(6)] + [(join, 0), (join, 1)]
        threads = [threading.Thread(target=guard, args=work) for work in works]
        for thread in threads:
            thread.start()
        stop.wait(1.5)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert [dict(branch.files) for branch in branches] == models
        store.verify()
        for branch in branches:
            branch.discard()
        gc.collect()
        assert used(store) == 0

# SPDX-License-Identifier: MIT
"""fork() of a process with an open store: the child gets named errors, ends in order, and hurts nothing.

``tests/storage/test_lock.py`` has the calls of the store itself; here are handles, threads, the process that marks, and
a child that ends as Python programs end.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.collection import survey_process
from casstore.errors import LockedError
from casstore.mcts import StateTree
from casstore.workspace import Workspace, import_directory
from tests.snapshots.driving import SMALL, collect, commit
from tests.storage.stores import noise
from tests.storage.test_lock import in_child
from tests.workspace.switching import child


def test_handles_from_before_the_fork_are_refused(tmp_path: Path) -> None:
    store = casstore.open(tmp_path / "store", config=SMALL)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "f").write_bytes(b"f" * 300)
    snapshot = commit(store, {"f": noise(1, 9000), "g": noise(2, 9000)}, ref="main")
    branch = store.branch("main")
    branch.files["pending"] = b"p" * 300
    content = store.open_content(store.put(noise(3, 9000)))
    workspace = Workspace(store, tmp_path / "work")
    workspace.snapshot(ref="work")
    tree = StateTree(store, "main")
    plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
    actions: list[Callable[[], object]] = [
        lambda: snapshot.files["g"],
        lambda: store.branch("main"),
        lambda: branch.files["g"],
        lambda: branch.files.__setitem__("h", b"h" * 300),
        lambda: branch.commit("from the child"),
        lambda: branch.commit("from the child", ref="main"),
        lambda: content.read(),
        lambda: import_directory(store, tmp_path / "work", ref="child"),
        lambda: workspace.snapshot(),
        lambda: workspace.switch("main"),
        lambda: tree.create_node(tree.root, {"files/step": b"1"}),
        lambda: tree.save("tree"),
        lambda: plan.execute(),
        lambda: store.configure(max_bytes=1),
        lambda: store.refresh(),
        lambda: store.verify(),
        lambda: store.export_bundle(tmp_path / "bundle", ["main"]),
        lambda: store.deduplicate([branch]),
    ]
    before = sorted((str(place), place.stat().st_size) for place in (tmp_path / "store" / "segments").iterdir())
    for number, action in enumerate(actions):
        assert in_child(action) == "ClosedError", number  # type: ignore[arg-type]
    assert sorted((str(p), p.stat().st_size) for p in (tmp_path / "store" / "segments").iterdir()) == before
    # The parent goes on with all of them.
    plan.drop()
    assert content.read() == noise(3, 9000)
    content.close()
    branch.commit("from the parent", ref="main")
    workspace.close()
    with pytest.raises(LockedError):
        casstore.open(tmp_path / "store")
    store.verify()
    store.close()
    with casstore.open(tmp_path / "store") as again:
        assert again.settings.max_bytes is None
        assert set(again.refs) >= {"main", "work"}
        assert "child" not in again.refs
        again.verify()


ENDING = """
import gc, os, signal, threading, warnings
import casstore
from casstore.collection import survey_process
warnings.simplefilter("ignore", DeprecationWarning)
path, mode = sys.argv[1:3]
store = casstore.open(path, read_only=mode == "reading")
if mode != "reading":
    store.refs["before"] = store.add_snapshot(roots={}, message="before")
    store.put(b"waits for the next sync" * 100)
pid = os.fork()
if not pid:
    # Whoever hangs is killed by it, and the parent says so.
    signal.alarm(30)
    try:
        store.refs["x"] = None
    except casstore.ClosedError:
        pass
    store.close()
    if mode == "dropped":
        del store
        gc.collect()
    # As a program ends: finalizers, exit handlers, the interpreter's own end.
    sys.exit(0)
_, status = os.waitpid(pid, 0)
assert status == 0, f"the child ended with {status}"
if mode == "reading":
    assert store.refs["main"].files["f"]
else:
    store.refs["after"] = store.add_snapshot(roots={}, message="after")
store.verify()
store.close()
print("well", flush=True)
"""


@pytest.mark.parametrize("mode", ["writing", "dropped", "reading"])
def test_a_child_that_ends_as_programs_do_takes_nothing_with_it(tmp_path: Path, mode: str) -> None:
    """Exit handlers and finalizers run in it: they must not close, sync, unlock or remove what is the parent's."""
    with casstore.open(tmp_path / "store", config=SMALL) as store:
        commit(store, {"f": noise(1, 9000)}, ref="main")
    process = child(ENDING, str(tmp_path / "store"), mode)
    out, error = process.communicate(timeout=100)
    assert out == b"well\n", error.decode()
    with casstore.open(tmp_path / "store") as store:
        assert ("after" in store.refs) == (mode != "reading")
        assert store.refs["main"].files["f"] == noise(1, 9000)
        store.verify()
    assert list((tmp_path / "store" / "readers").iterdir()) == []


def test_forks_while_threads_write_and_another_process_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
    stop = threading.Event()
    wrong: list[BaseException] = []
    done = {"commits": 0, "collections": 0}
    with casstore.open(tmp_path / "store", config=SMALL) as store:
        commit(store, {"f": noise(1, 9000)}, ref="main")

        def write() -> None:
            try:
                while not stop.is_set():
                    done["commits"] += 1
                    number = done["commits"]
                    commit(store, {"f": noise(number, 3000)}, ref=f"by/{number % 5}", message=str(number))
            except BaseException as error:
                wrong.append(error)

        def gather() -> None:
            try:
                while not stop.is_set():
                    collect(store)
                    done["collections"] += 1
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=write), threading.Thread(target=gather)]
        for thread in threads:
            thread.start()
        for number in range(12):
            # A child is forked at any line of the others, with whatever locks they hold.
            actions: list[Callable[[], object]] = [
                lambda: store.get(store.put(b"from the child")),
                lambda: commit(store, {"f": b"from the child" * 100}, ref="child"),
                lambda: collect(store),
            ]
            assert in_child(actions[number % 3]) == "ClosedError"  # type: ignore[arg-type]
        while not wrong and done["collections"] < 1:
            stop.wait(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert "child" not in store.refs
        gc.collect()
        collect(store)
        store.verify()
    with casstore.open(tmp_path / "store") as store:
        assert store.refs["main"].files["f"] == noise(1, 9000)
        store.verify()

# SPDX-License-Identifier: MIT
"""The writer of the soak: a process that does what it is told, a line of JSON each, and may be killed at any moment."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import casstore
from benchmarks.soak_values import digest_of, edit_from
from casstore import Branch, Snapshot, Store
from casstore.errors import ConflictError, NotFoundError
from casstore.format.settings import KeepRule
from casstore.mcts import StateTree, best
from casstore.workspace import import_directory

GRACE_SECONDS = 10
UNDO_SECONDS = 20
RULE = KeepRule(ref="*", last=3)


class Writer:
    """The store, its live branches and searches, and a collection beside them."""

    def __init__(self, path: str, folder: str, segment_bytes: int, *, by_itself: bool = False) -> None:
        started = time.perf_counter()
        config = casstore.Config(cache_bytes=16 * 2**20, pending_bytes=16 * 2**20, segment_bytes=segment_bytes)
        self.store: Store = casstore.open(path, timeout=30.0, config=config)
        self.seconds = time.perf_counter() - started
        if self.store.settings.grace_seconds != GRACE_SECONDS:
            self.store.configure(grace_seconds=GRACE_SECONDS, undo_keep_seconds=UNDO_SECONDS)
        self.folder = folder
        self.agents: dict[str, Branch] = {}
        self.trees: dict[str, StateTree] = {}
        self.times: list[tuple[str, float]] = []
        self.events: list[dict[str, Any]] = []
        self.collector: threading.Thread | None = None
        self.by_itself = None
        if by_itself:
            self.by_itself = self.store.auto_collect(dead_share=0.05, idle_seconds=2, interval_seconds=0.5)
        for name in self.store.refs:
            if name.startswith("agent/"):
                self.agents[name] = self.store.branch(name)
            elif name.startswith("search/"):
                self.trees[name] = StateTree.resume(self.store, name)

    @property
    def collecting(self) -> bool:
        return self.collector is not None and self.collector.is_alive()

    def timed(self, name: str, call: Callable[[], Any]) -> Any:
        """What ``call`` gives; notes how long it took, apart where a collection runs beside it."""
        beside = self.collecting
        started = time.perf_counter()
        found = call()
        took = time.perf_counter() - started
        self.times.append((f"{name} beside gc" if beside else name, took))
        return found

    def answer(self, words: dict[str, Any]) -> dict[str, Any]:
        """Does one operation."""
        found: dict[str, Any] = getattr(self, f"do_{words.pop('op')}")(**words) or {}
        times, self.times = self.times, []
        events, self.events = self.events, []
        found.update(times=times, events=events)
        if self.by_itself is not None:
            status = self.by_itself.status()
            found["by_itself"] = status.collections
            if status.last_error is not None:
                events.append({"event": "gc failed", "error": f"by itself: {status.last_error!r}"})
        return found

    # -- branches

    def do_edit(self, ref: str, edit: Any) -> None:
        self.timed("edit", lambda: edit_from(edit).to(self.agents[ref]))

    def do_commit(self, ref: str, edit: Any) -> dict[str, Any]:
        branch = self.agents.get(ref)
        if branch is None:
            branch = self.agents[ref] = self.store.branch()
        edit_from(edit).to(branch)
        snapshot: Snapshot = self.timed("commit", lambda: branch.commit("soak", ref=ref))
        return {"sid": snapshot.state_id.hex()}

    def do_fork(self, origin: str, ref: str) -> dict[str, Any]:
        parent = self.agents[origin]
        child: Branch = self.timed("fork", parent.fork)
        snapshot = child.commit("forked")
        self.store.refs[ref] = snapshot
        self.agents[ref] = child
        return {"sid": snapshot.state_id.hex()}

    def do_merge(self, ref: str, ours: Any, theirs: Any, side: str) -> dict[str, Any]:
        branch = self.agents[ref]
        branch.commit("base", ref=ref)
        other = branch.fork()
        edit_from(theirs).to(other)
        other.commit("theirs")
        edit_from(ours).to(branch)
        branch.commit("ours", ref=ref)
        report = self.timed("merge", lambda: branch.merge(other, resolve=side))  # type: ignore[arg-type]
        snapshot = branch.commit("merged", ref=ref)
        return {"sid": snapshot.state_id.hex(), "conflicts": len(report.conflicts)}

    def do_read(self, ref: str, keys: list[str]) -> dict[str, Any]:
        branch = self.agents[ref]
        files = {key: self.timed("read", partial(branch.files.__getitem__, key)) for key in keys}
        objects = branch.objects
        return {"digest": digest_of(files, {name: objects[name] for name in objects})}

    # -- refs

    def do_mark(self, ref: str, origin: str) -> dict[str, Any]:
        snapshot = self.store.refs[origin]
        self.timed("ref move", lambda: self.store.refs.__setitem__(ref, snapshot))
        return {"sid": snapshot.state_id.hex()}

    def do_unmark(self, ref: str) -> None:
        self.timed("ref move", lambda: self.store.refs.delete(ref))

    def do_undo(self, ref: str) -> dict[str, Any]:
        try:
            self.store.refs.undo(ref)
        except NotFoundError:
            return {"refused": True}
        return {"sid": self.store.refs[ref].state_id.hex() if ref in self.store.refs else None}

    def do_rename(self, ref: str, new: str) -> None:
        self.store.refs.rename(ref, new)

    def do_import(self, ref: str) -> dict[str, Any]:
        report = self.timed("import", lambda: import_directory(self.store, self.folder, ref=ref))
        return {"sid": report.snapshot.state_id.hex()}

    # -- searches

    def do_tree(self, ref: str, origin: str, nodes: list[Any], keep: int, root: int | None) -> dict[str, Any]:
        tree = self.trees.get(ref)
        if tree is None:
            tree = self.trees[ref] = StateTree(self.store, origin)
        known = _by_action(tree)
        for number, parent, edit, score in nodes:
            change = edit_from(edit)
            node = tree.create_node(known[parent], change.to, action=number, score=score, number=number)
            known[number] = node
        if root is not None:
            tree.collapse(known[root])
        self.timed("prune", lambda: tree.prune_unreachable(best(keep, by="score")))
        snapshot = self.timed("save of a search", lambda: tree.save(ref))
        return {"sid": snapshot.state_id.hex()}

    def do_tree_states(self, ref: str) -> dict[str, Any]:
        """State ids of a search's nodes, by the numbers of what was done; the root is -1 until another is."""
        tree = self.trees.get(ref)
        return {"nodes": {} if tree is None else {str(_number(node)): node.state_id.hex() for node in tree}}

    def do_tree_check(self, ref: str, digests: dict[str, str]) -> dict[str, Any]:
        tree = self.trees[ref]
        known = _by_action(tree)
        wrong = []
        for number, digest in digests.items():
            branch = tree.backtrack_to(known[int(number)])
            if _digest(branch) != digest:
                wrong.append(number)
        return {"wrong": wrong}

    # -- upkeep

    def do_gc(self, grace: int | None, undo: int | None) -> dict[str, Any]:
        if self.collecting:
            return {"started": False}
        self.collector = threading.Thread(target=self._collect, args=(grace, undo), name="soak-gc", daemon=True)
        self.collector.start()
        return {"started": True}

    def _collect(self, grace: int | None, undo: int | None) -> None:
        started = time.perf_counter()
        try:
            plan = self.store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo)
            planned = time.perf_counter() - started
            report = plan.execute()
        except ConflictError:
            # The store collects by itself too.
            self.events.append({"event": "gave way"})
            return
        except BaseException as error:
            self.events.append({"event": "gc failed", "error": f"{type(error).__name__}: {error}"})
            raise
        took = time.perf_counter() - started
        kind = "gc, no grace" if grace == 0 else "gc, with grace"
        self.times.append((kind, took))
        self.events.append(
            {
                "event": "gc",
                "seconds": took,
                "plan_seconds": planned,
                "deleted_bytes": report.deleted_bytes,
                "freed_bytes": report.freed_bytes,
                "deleted_objects": report.deleted_objects,
                "waiting": report.waiting_segments,
                "live_bytes": sum(tally.bytes for tally in plan.live.values()),
                "kept_events": plan.roots.get("events", 0),
            }
        )

    def do_retain(self) -> dict[str, Any]:
        report = self.timed("retention", lambda: self.store.plan_retention([RULE]).execute())
        return {"dropped": report.dropped}

    def do_wait(self) -> None:
        """Waits for the collection."""
        if self.collector is not None:
            self.collector.join()

    def do_table(self) -> dict[str, Any]:
        refs = self.store.refs
        return {"refs": {name: refs[name].state_id.hex() for name in refs}, "opened": self.seconds}

    def do_check(self, digests: dict[str, str]) -> dict[str, Any]:
        return {"wrong": [ref for ref, digest in digests.items() if _digest(self.store.branch(ref)) != digest]}

    def do_verify(self) -> None:
        self.timed("verify", self.store.verify)

    def do_close(self) -> None:
        self.do_wait()
        for tree in self.trees.values():
            tree.discard()
        self.trees.clear()
        self.agents.clear()
        self.timed("close", self.store.close)


def _number(node: Any) -> int:
    return -1 if node.edge is None and node.id == 0 else int(_action(node))


def _action(node: Any) -> int:
    """What was done: its edge's action, or, of a root that has lost its edge, the number kept with its score."""
    if node.edge is not None:
        return int(node.edge.action)
    return int(node.stats["number"])


def _by_action(tree: StateTree) -> dict[int, Any]:
    return {_number(node): node for node in tree}


def _digest(state: Any) -> str:
    objects = state.objects
    return digest_of(dict(state.files), {name: objects[name] for name in objects})


def main() -> None:
    """Answers lines of stdin until it ends."""
    path, folder, segment_bytes, by_itself = sys.argv[1:]
    writer = Writer(path, folder, int(segment_bytes), by_itself=by_itself == "by itself")
    for line in sys.stdin:
        try:
            found = writer.answer(json.loads(line))
        except BaseException as error:
            import traceback

            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

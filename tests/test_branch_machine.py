# SPDX-License-Identifier: MIT
"""Random histories of branches against plain dicts: edits, forks, folds, commits, merges, prunes and collections.

Deltas fold after three keys and the pending budget holds a few hundred bytes, so that every history folds and spills.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import casstore
from casstore.branches import Branch
from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import INLINE_BYTES, directory_entry, file_entry, symlink_entry

PENDING_BYTES = 700
FOLD_KEYS = 3
MOST_BRANCHES = 5

Node = tuple[str, bytes]
"""What a path holds in the model: ``file``, ``run``, ``link`` with bytes, or ``dir``."""

Tree = dict[str, Node]

KEYS = st.sampled_from(
    ["a", "b", "a/b", "a/c", "a/b/c", "a-b", "a/b-c", "d/e", "d/e/f", "d/g", "Ä", "Ä/\udcff", "\udcff", "z"]
)
PREFIXES = ("", "a", "a/", "a/b", "d/", "Ä", "\udcc3", "\udcff", "no")
CONTENTS = st.sampled_from([b"", b"1", b"22", b"i" * INLINE_BYTES, b"o" * (INLINE_BYTES + 1), b"p" * 300, b"q" * 900])
VALUES = st.sampled_from(
    [None, True, 1, 1.0, "text", "t" * 300, b"raw", b"r" * 400, {"a": None, "b": [1, 2]}, ["l" * 200]]
)


@dataclass
class Model:
    """What a branch should hold: its state, the state it started from, and the snapshots that it comes from."""

    files: Tree = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    start_files: Tree = field(default_factory=dict)
    start_objects: dict[str, Any] = field(default_factory=dict)
    origins: tuple[bytes, ...] = ()

    def copy(self) -> Model:
        return Model(dict(self.files), dict(self.objects), self.start_files, self.start_objects, self.origins)


def in_order(keys: Any) -> list[str]:
    return sorted(keys, key=lambda key: key.encode("utf-8", "surrogateescape"))


def sort_of(value: object) -> tuple[str, str]:
    """Tells 1, 1.0 and True apart, as the store does."""
    return type(value).__name__, repr(value)


def fits(files: Tree, key: str) -> bool:
    """Whether a path can be set in a directory tree."""
    if key in files:
        return True
    if any(other.startswith(key + "/") for other in files):
        return False
    return all(files[other][0] == "dir" for other in files if key.startswith(other + "/"))


def set_path(files: Tree, key: str, node: Node) -> None:
    for folder in [other for other in files if key.startswith(other + "/")]:
        del files[folder]
    files[key] = node


def merged(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], side: str | None, tree: bool) -> Any:
    """The three-way merge of dicts; None where it has conflicts and no side is given for them."""
    chosen = ours if side == "ours" else theirs
    present: dict[str, Any] = {}
    result: dict[str, Any] = {}
    clashes = False
    for key in {*base, *ours, *theirs}:
        old, our, their = base.get(key), ours.get(key), theirs.get(key)
        folder = tree and any(node is not None and node[0] == "dir" for node in (old, our, their))
        if old == their or our == their:
            value = present[key] = our
        elif old == our:
            value = present[key] = their
        elif folder and (our is None or their is None):
            value = present[key] = our or their
        else:
            clashes = True
            present[key] = our or their
            value = chosen.get(key)
        result[key] = value
    present = {key: node for key, node in present.items() if node is not None}
    if tree:
        for key, node in present.items():
            if node[0] != "dir" and any(other.startswith(key + "/") for other in present):
                clashes = True
                for other in {*ours, *theirs}:
                    if other == key or other.startswith(key + "/"):
                        result[other] = chosen.get(other)
    if clashes and side is None:
        return None
    result = {key: node for key, node in result.items() if node is not None}
    if tree:
        for key in [key for key, node in result.items() if node[0] == "dir"]:
            if any(other.startswith(key + "/") for other in result):
                del result[key]
    return result


class BranchMachine(RuleBasedStateMachine):
    """Some branches of one store, and what each should hold."""

    on_disk = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="casstore-branches-"))
        self.store = self.open()
        self.pairs: list[tuple[Branch, Model]] = []
        self.states: dict[Any, bytes] = {}
        self.parents: dict[bytes, tuple[bytes, ...]] = {}
        self.snapshots: dict[bytes, Model] = {}
        self.refs = 0

    def open(self) -> casstore.Store:
        config = casstore.Config(pending_bytes=PENDING_BYTES, chunk_avg_bytes=1024, sync="off")
        store = casstore.open(self.folder / "store" if self.on_disk else ":memory:", config=config)
        store.branches.fold_keys = FOLD_KEYS
        return store

    def teardown(self) -> None:
        used = self.store.branches.budget
        self.pairs.clear()
        gc.collect()
        assert used.used_bytes == 0
        self.store.close()
        shutil.rmtree(self.folder)

    def pick(self, data: st.DataObject) -> tuple[Branch, Model]:
        return self.pairs[data.draw(st.integers(0, len(self.pairs) - 1), label="branch")]

    @initialize()
    def first(self) -> None:
        self.pairs.append((self.store.branch(), Model()))

    # -- edits

    @rule(data=st.data(), key=KEYS, content=CONTENTS)
    def set_file(self, data: st.DataObject, key: str, content: bytes) -> None:
        branch, model = self.pick(data)
        if not fits(model.files, key):
            before = branch.state_id()
            with pytest.raises(InvalidInputError):
                branch.files[key] = content
            assert branch.state_id() == before
            return
        branch.files[key] = content
        kind = "run" if model.files.get(key, ("", b""))[0] == "run" else "file"
        set_path(model.files, key, (kind, content))

    @rule(data=st.data(), key=KEYS, content=CONTENTS, kind=st.sampled_from(["file", "run", "link", "dir"]))
    def set_entry(self, data: st.DataObject, key: str, content: bytes, kind: str) -> None:
        branch, model = self.pick(data)
        content = b"" if kind == "dir" else content
        inline = content if len(content) <= INLINE_BYTES else None
        entry = file_entry(len(content), None, inline, kind == "run")
        if kind == "link":
            entry = symlink_entry(len(content), None, inline)
        if not fits(model.files, key):
            with pytest.raises(InvalidInputError):
                branch.files.set_entry(key, directory_entry() if kind == "dir" else entry, content or None)
            return
        if kind == "dir":
            branch.files.set_entry(key, directory_entry())
        elif inline is None and data.draw(st.booleans(), label="stored before"):
            branch.files.set_entry(key, entry._replace(address=self.store.put(content)))
        else:
            branch.files.set_entry(key, entry, content)
        set_path(model.files, key, (kind, content))

    @rule(data=st.data(), key=KEYS)
    def delete(self, data: st.DataObject, key: str) -> None:
        branch, model = self.pick(data)
        if key in model.files:
            del branch.files[key]
            del model.files[key]
        else:
            with pytest.raises(KeyError):
                del branch.files[key]

    @rule(data=st.data(), prefix=st.sampled_from(["", "a/", "a/b/", "d/", "d/e/", "Ä/", "no/"]))
    def delete_prefix(self, data: st.DataObject, prefix: str) -> None:
        branch, model = self.pick(data)
        if data.draw(st.booleans(), label="of objects"):
            branch.objects.delete_prefix(prefix)
            model.objects = {key: value for key, value in model.objects.items() if not key.startswith(prefix)}
        else:
            branch.files.delete_prefix(prefix)
            model.files = {key: node for key, node in model.files.items() if not key.startswith(prefix)}

    @rule(data=st.data(), key=KEYS, value=VALUES)
    def set_object(self, data: st.DataObject, key: str, value: object) -> None:
        branch, model = self.pick(data)
        branch.objects[key] = value
        model.objects[key] = value

    @rule(data=st.data(), key=KEYS)
    def pop_object(self, data: st.DataObject, key: str) -> None:
        branch, model = self.pick(data)
        missing = object()
        assert sort_of(branch.objects.pop(key, missing)) == sort_of(model.objects.pop(key, missing))

    # -- branches

    @precondition(lambda self: len(self.pairs) < MOST_BRANCHES)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        branch, model = self.pick(data)
        self.pairs.append((branch.fork(), model.copy()))

    @precondition(lambda self: len(self.pairs) > 1)
    @rule(data=st.data(), count=st.integers(1, 3))
    def prune(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.pairs) - 1)):
            branch, _ = self.pairs.pop(data.draw(st.integers(0, len(self.pairs) - 1), label="pruned"))
            if data.draw(st.booleans(), label="discarded"):
                branch.discard()

    @rule(data=st.data())
    def fold(self, data: st.DataObject) -> None:
        self.pick(data)[0].fold()

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.committed(*self.pick(data))

    def committed(self, branch: Branch, model: Model, ref: str | None = None) -> bytes:
        snapshot = branch.commit(ref=ref)
        assert snapshot.parents == model.origins
        assert snapshot.state_id == branch.state_id()
        model.start_files, model.start_objects = dict(model.files), dict(model.objects)
        self.parents[snapshot.id] = model.origins
        model.origins = (snapshot.id,)
        self.snapshots[snapshot.id] = model.copy()
        return snapshot.id

    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """Another branch, from the snapshot that one started from."""
        start = self.pick(data)[0].start
        if start is not None:
            at = data.draw(st.integers(0, len(self.pairs) - 1), label="replaced")
            self.pairs[at] = (self.store.branch(start.id), self.snapshots[start.id].copy())

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        if data.draw(st.booleans(), label="refs go"):
            self.store.refs.clear()
        self.store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()

    @precondition(lambda self: self.on_disk)
    @rule()
    def reopen(self) -> None:
        names = []
        for branch, model in self.pairs:
            self.refs += 1
            names.append(f"kept/{self.refs}")
            self.committed(branch, model, names[-1])
        models = [model for _, model in self.pairs]
        self.pairs.clear()
        self.store.close()
        self.store = self.open()
        self.pairs = [(self.store.branch(name), model) for name, model in zip(names, models)]

    # -- merges

    def ancestors(self, ids: tuple[bytes, ...]) -> set[bytes]:
        found: set[bytes] = set()
        waiting = list(ids)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.parents[one]
        return found

    @precondition(lambda self: len(self.pairs) > 1)
    @rule(data=st.data(), side=st.sampled_from([None, "ours", "theirs"]), named=st.booleans())
    def merge(self, data: st.DataObject, side: Literal["ours", "theirs"] | None, named: bool) -> None:
        (ours, our_model), (theirs, their_model), (third, third_model) = (self.pick(data) for _ in range(3))
        base: Branch | None = None
        if named:
            base, base_files, base_objects = third, third_model.files, third_model.objects
        else:
            common = self.ancestors(our_model.origins) & self.ancestors(their_model.origins)
            best = {one for one in common if not any(one in self.parents[other] for other in common)}
            if len(best) != 1:
                with pytest.raises(ConflictError):
                    ours.merge(theirs, resolve=side)
                return
            found = self.snapshots[best.pop()]
            base_files, base_objects = found.files, found.objects
        wanted = merged(base_files, our_model.files, their_model.files, side, True)
        # The model compares by `==`, which takes 1, 1.0 and True for one; so objects go by sort and value.
        objects = [
            {key: (sort_of(value), value) for key, value in one.items()}
            for one in (base_objects, our_model.objects, their_model.objects)
        ]
        wanted_objects = merged(objects[0], objects[1], objects[2], side, False)
        report = ours.merge(theirs, base=base, resolve=side)
        if wanted is None or wanted_objects is None:
            assert report.conflicts
            assert report.changed == 0
            return
        assert not report.conflicts
        our_model.files = wanted
        our_model.objects = {key: value for key, (_, value) in wanted_objects.items()}
        our_model.origins = tuple(dict.fromkeys(our_model.origins + their_model.origins))

    # -- what must always hold

    @invariant()
    def every_branch_holds_what_its_model_holds(self) -> None:
        for branch, model in self.pairs:
            files = {key: node[1] for key, node in model.files.items() if node[0] in ("file", "run")}
            assert list(branch.files) == in_order(files)
            assert dict(branch.files.items()) == files
            assert len(branch.files) == len(files)
            assert branch.files == files
            for key in model.files:
                assert (key in branch.files) == (key in files)
                assert branch.files.get(key) == files.get(key)
            kinds = {key: {1: "file", 2: "run", 3: "link", 4: "dir"}[one.kind] for key, one in branch.files.entries()}
            assert kinds == {key: node[0] for key, node in model.files.items()}
            for prefix in PREFIXES:
                raw = prefix.encode("utf-8", "surrogateescape")
                below = [key for key in files if key.encode("utf-8", "surrogateescape").startswith(raw)]
                assert list(branch.files.list(prefix)) == in_order(below)
            assert list(branch.objects) == in_order(model.objects)
            assert len(branch.objects) == len(model.objects)
            for key, value in branch.objects.items():
                assert sort_of(value) == sort_of(model.objects[key])

    @invariant()
    def changes_are_those_since_the_start(self) -> None:
        for branch, model in self.pairs:
            wanted = difference(model.start_files, model.start_objects, model.files, model.objects)
            assert [(one.letter, one.key) for one in branch.changes()] == wanted
        for (one, first), (two, second) in zip(self.pairs, self.pairs[1:]):
            wanted = difference(first.files, first.objects, second.files, second.objects)
            assert [(change.letter, change.key) for change in one.diff(two)] == wanted

    @invariant()
    def equal_states_have_equal_ids_and_others_have_not(self) -> None:
        for branch, model in self.pairs:
            objects = {key: sort_of(value) for key, value in model.objects.items()}
            state = (tuple(sorted(model.files.items())), tuple(sorted(objects.items())))
            assert self.states.setdefault(state, branch.state_id()) == branch.state_id()
        assert len(set(self.states.values())) == len(self.states)

    @invariant()
    def memory_is_bounded_and_the_store_is_sound(self) -> None:
        assert 0 <= self.store.branches.budget.used_bytes <= PENDING_BYTES
        for branch, _ in self.pairs:
            state = branch._current()
            assert len(state[2].keys) + len(state[2].marks) <= FOLD_KEYS
        self.store.verify()


def difference(
    files: Tree, objects: dict[str, Any], to_files: Tree, to_objects: dict[str, Any]
) -> list[tuple[str, str]]:
    found = []
    tables: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("files", files, to_files),
        ("objects", {k: sort_of(v) for k, v in objects.items()}, {k: sort_of(v) for k, v in to_objects.items()}),
    ]
    for name, old, new in tables:
        for key in in_order({*old, *new}):
            if old.get(key) != new.get(key):
                letter = "A" if key not in old else "D" if key not in new else "M"
                found.append((letter, f"{name}/{key}"))
    return found


class DiskBranchMachine(BranchMachine):
    on_disk = True


@pytest.mark.parametrize(("machine", "examples"), [(BranchMachine, 25), (DiskBranchMachine, 6)])
def test_branches_behave_like_dicts(machine: type[BranchMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30))


@pytest.mark.slow
@pytest.mark.parametrize("machine", [BranchMachine, DiskBranchMachine])
def test_branches_behave_like_dicts_thoroughly(machine: type[BranchMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=300, stateful_step_count=50))

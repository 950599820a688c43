# SPDX-License-Identifier: MIT
"""Peers of ``branch_states``: each builds the same state and changes it. A peer that is not installed gives None."""

from __future__ import annotations

import copy
import pickle
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environment import package_version
from benchmarks.options import Options
from benchmarks.process import BenchmarkError
from benchmarks.timing import once

CHANGES = 10
VALUE_BYTES = 1_000


@dataclass(slots=True)
class Timed:
    """Seconds by what was done: ``build``, ``commit``, ``diff``, ``merge``."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    note: str = ""


def path_of(number: int) -> str:
    return f"src/module{number % 997:03d}/file_{number:07d}.py"


def median_of(operation: Callable[[], object], count: int) -> float:
    return statistics.median(once(operation) for _ in range(count))


def git(keys: int, work: Path, options: Options) -> Timed | None:
    """libgit2: a bare repository, one tree per folder."""
    version = package_version("pygit2")
    if version is None:
        return None
    import pygit2
    from pygit2.enums import FileMode

    repository = pygit2.init_repository(str(work / f"git-{keys}"), bare=True)
    blob = repository.create_blob(b"%012d" % 0)
    generator = random.Random(keys)
    who = pygit2.Signature("benchmark", "benchmark@example.org", 0, 0)

    def build() -> pygit2.Oid:
        folders: dict[str, pygit2.TreeBuilder] = {}
        for number in range(keys):
            folder, name = path_of(number)[4:].split("/")
            builder = folders.get(folder)
            if builder is None:
                builder = folders[folder] = repository.TreeBuilder()
            builder.insert(name, blob, FileMode.BLOB)
        source = repository.TreeBuilder()
        for folder, builder in folders.items():
            source.insert(folder, builder.write(), FileMode.TREE)
        top = repository.TreeBuilder()
        top.insert("src", source.write(), FileMode.TREE)
        return top.write()

    def change(tree: pygit2.Oid, number: int) -> pygit2.Oid:
        folder, name = path_of(number)[4:].split("/")
        first: Any = repository[tree]
        source: Any = first["src"]
        inner = repository.TreeBuilder(source[folder])
        inner.insert(name, repository.create_blob(generator.randbytes(VALUE_BYTES)), FileMode.BLOB)
        middle = repository.TreeBuilder(source)
        middle.insert(folder, inner.write(), FileMode.TREE)
        top = repository.TreeBuilder(first)
        top.insert("src", middle.write(), FileMode.TREE)
        return top.write()

    start = time.perf_counter()
    root = build()
    timed = Timed(f"pygit2 {version}", {"build": time.perf_counter() - start})
    first = repository.create_commit(None, who, who, "base", root, [])

    def commit() -> None:
        tree = change(root, generator.randrange(keys))
        repository.create_commit(None, who, who, "one change", tree, [first])

    timed.seconds["commit"] = median_of(commit, options.pick(100, 5))

    def other(changes: int, numbers: list[int]) -> pygit2.Oid:
        tree = root
        for number in numbers[:changes]:
            tree = change(tree, number)
        return tree

    samples = []
    for _ in range(options.pick(5, 2)):
        tree = other(CHANGES, generator.sample(range(keys), CHANGES))
        start = time.perf_counter()
        old: Any = repository[root]
        found = len(list(old.diff_to_tree(repository[tree]).deltas))
        samples.append(time.perf_counter() - start)
        if found != CHANGES:
            raise BenchmarkError(f"git found {found} changes instead of {CHANGES}.")
    timed.seconds["diff"] = statistics.median(samples)
    numbers = generator.sample(range(keys), 200)
    sides = [other(100, numbers[:100]), other(100, numbers[100:])]
    ours, theirs = (repository.create_commit(None, who, who, "side", tree, [first]) for tree in sides)
    timed.seconds["merge"] = once(lambda: repository.merge_commits(ours, theirs))
    return timed


def prolly(keys: int, work: Path, options: Options) -> Timed | None:
    """prollytree in memory: a batch, then one update and the root's hash."""
    version = package_version("prollytree")
    if version is None:
        return None
    import prollytree  # type: ignore[import-untyped, unused-ignore]

    items = sorted((path_of(number).encode(), b"%012d" % number) for number in range(keys))
    tree = prollytree.ProllyTree("memory")
    timed = Timed(f"prollytree {version}", {"build": once(lambda: tree.insert_batch(items))}, "in memory")
    generator = random.Random(keys)

    def commit() -> None:
        tree.update(items[generator.randrange(keys)][0], generator.randbytes(VALUE_BYTES))
        tree.get_root_hash()

    timed.seconds["commit"] = median_of(commit, options.pick(20, 2))
    return timed


def hash_trie(keys: int, work: Path, options: Options) -> Timed | None:
    """immutables: one changed key; no hash of the state, no difference."""
    version = package_version("immutables")
    if version is None:
        return None
    import immutables

    state = {path_of(number): b"%012d" % number for number in range(keys)}
    return persistent(f"immutables {version}", lambda: immutables.Map(state), keys, options)


def vector_trie(keys: int, work: Path, options: Options) -> Timed | None:
    """pyrsistent: one changed key; no hash of the state, no difference."""
    version = package_version("pyrsistent")
    if version is None:
        return None
    import pyrsistent

    state = {path_of(number): b"%012d" % number for number in range(keys)}
    return persistent(f"pyrsistent {version}", lambda: pyrsistent.pmap(state), keys, options)


def persistent(name: str, make: Callable[[], object], keys: int, options: Options) -> Timed:
    start = time.perf_counter()
    mapping = make()
    timed = Timed(name, {"build": time.perf_counter() - start}, "in memory, no hash")
    generator = random.Random(keys)
    put = mapping.set  # type: ignore[attr-defined]
    timed.seconds["commit"] = median_of(
        lambda: put(path_of(generator.randrange(keys)), generator.randbytes(VALUE_BYTES)), options.pick(1_000, 20)
    )
    return timed


def whole_copies(keys: int, work: Path, options: Options) -> Timed | None:
    """pickle: the whole dict to a file for every commit."""
    state = {path_of(number): b"%012d" % number for number in range(keys)}
    path = work / f"state-{keys}.pickle"

    def commit() -> None:
        with path.open("wb") as file:
            pickle.dump(state, file, 5)

    return Timed("pickle", {"commit": median_of(commit, 3)}, "the whole dict to a file")


def deep_copies(keys: int, work: Path, options: Options) -> Timed | None:
    """copy.deepcopy: the whole dict for every state that is kept."""
    state = {path_of(number): b"%012d" % number for number in range(keys)}
    return Timed("copy.deepcopy", {"commit": median_of(lambda: copy.deepcopy(state), 3)}, "in memory, the whole dict")


PEERS = (git, prolly, hash_trie, vector_trie, whole_copies, deep_copies)

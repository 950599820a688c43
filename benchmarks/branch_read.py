# SPDX-License-Identifier: MIT
"""Reads of a branch that lies deep: keys that were changed on the way, and keys of the base."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from benchmarks.environment import package_version
from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.scratch import scratch
from benchmarks.table import Goal
from benchmarks.timing import best, each, spread
from benchmarks.units import fine_microseconds

if TYPE_CHECKING:
    from casstore.branches import Branch

VALUES = 1_000
VALUE_BYTES = 4096


def sizes(options: Options) -> tuple[int, int, int]:
    """Keys of the base, depth, reads."""
    return options.pick(100_000, 2_000), options.pick(10_000, 200), options.pick(100_000, 1_000)


def workload(options: Options) -> str:
    keys, depth, reads = sizes(options)
    return (
        f"a snapshot of {keys:,} files with {VALUES:,} different contents of 4 KiB; from it a branch at depth "
        f"{depth:,}, each fork having changed one file to 4 KiB of its own (one of 1,000 files in turn, so that all "
        "of them are in the delta; or a file of its own each time, so that most were folded into the base and their "
        f"40 MB partly left memory for the store). {reads:,} reads through `branch.files[key]` in random order. Hot: "
        f"of {VALUES:,} keys that were read before. Reading all changed files: uniformly over all of them, after each "
        "was read once. Peers hold the same keys and values in memory."
    )


def key_of(number: int) -> str:
    return f"src/module{number % 997:03d}/file_{number:06d}.py"


def measure(options: Options) -> Measured:
    import casstore
    from casstore.format.entry import file_entry
    from casstore.tree import build

    keys, depth, reads = sizes(options)
    generator = random.Random(11)
    found = Measured([])
    with scratch(options.work, "read") as work, casstore.open(str(work / "store")) as store:
        values = [store.put(generator.randbytes(VALUE_BYTES)) for _ in range(VALUES)]
        items = sorted(
            (key_of(number).encode(), file_entry(VALUE_BYTES, values[number % VALUES], None, False))
            for number in range(keys)
        )
        root = build(store.nodes, items, tree=True)
        del items
        snapshot = store.add_snapshot(roots={} if root is None else {"files": root})
        fresh = generator.randbytes
        few = many = store.branch(snapshot)
        alive = [few]
        changed = generator.sample(range(keys), min(depth, keys // 2))
        for number in range(depth):
            few = few.fork()
            few.files[key_of(changed[number % min(1_000, len(changed))])] = fresh(VALUE_BYTES)
            many = many.fork()
            many.files[key_of(changed[number % len(changed)])] = fresh(VALUE_BYTES)
            alive += (few, many)
        touched = set(changed)
        base_keys = [key_of(number) for number in generator.sample(range(keys), keys) if number not in touched][:VALUES]
        plans = (
            ("a changed key, in the delta, hot", few, [key_of(number) for number in changed[:1_000]], 5e-6, 1e-6),
            ("a changed key, any of all, most folded", many, [key_of(number) for number in changed], 5e-6, 1e-6),
            ("a base key, hot", few, base_keys, 20e-6, 5e-6),
            ("a base key, hot, most changes folded", many, base_keys, 20e-6, 5e-6),
        )
        for what, branch, chosen, bar, aim in plans:

            def read(key: str, branch: Branch = branch) -> bytes:
                return branch.files[key]

            for key in chosen:
                read(key)
            runs = [spread(each(read, generator.choices(chosen, k=reads))) for _ in range(options.repeat)]
            least = best(runs)
            note = f"p50 {fine_microseconds(least['p50'])}, p99 {fine_microseconds(least['p99'])}"
            what = f"read of {what}, depth {depth:,}, p95"
            found.goals.append(Goal(what, least["p95"], fine_microseconds, bar, aim, detail={"runs": runs}, note=note))
        peers(found, [key_of(number) for number in changed[:1_000]], keys, reads, options)
    return found


def peers(found: Measured, chosen: list[str], keys: int, reads: int, options: Options) -> None:
    """The same keys in maps that live in memory."""
    generator = random.Random(12)
    ours = found.goals[0].value
    value = bytes(VALUE_BYTES)
    state = {key_of(number): value for number in range(keys)}
    maps: list[tuple[str, Any]] = [("dict", state)]
    if version := package_version("immutables"):
        import immutables

        maps.append((f"immutables {version}", immutables.Map(state)))
    if version := package_version("pyrsistent"):
        import pyrsistent

        maps.append((f"pyrsistent {version}", pyrsistent.pmap(state)))
    for name, mapping in maps:
        get = mapping.__getitem__
        runs = [spread(each(get, generator.choices(chosen, k=reads))) for _ in range(options.repeat)]
        found.peers.append(Peer("read of a key, p95", name, best(runs)["p95"], ours, fine_microseconds))

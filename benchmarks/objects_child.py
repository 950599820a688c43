# SPDX-License-Identifier: MIT
"""A process of its own in which a search over pages runs, with or without a limit of memory."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import casstore
    from casstore.mcts import StateTree
    from casstore.objects.assessing import Sample
SEARCH = "search"
"""Ref of the saved tree."""


def main(words: list[str]) -> None:
    """Runs what the first word states as JSON, and prints what came of it as JSON, after lines of progress."""
    asked: dict[str, Any] = json.loads(words[0])
    if asked.get("limit_bytes"):
        limit(asked["limit_bytes"])
    if asked["way"] == "fill":
        from benchmarks.objects_site import fill

        fill(asked["store"], asked["pages"], asked["page_bytes"])
        print("{}")
    else:
        print(json.dumps(run(asked)))


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """One search; see ``objects_search``. Of bookkeeping there is what ``asked`` names."""
    import casstore
    from benchmarks.objects_search import Lazy, Pages, Plain, Search
    from benchmarks.objects_site import arrays
    from casstore.objects import Materializer, MemoryMonitor, Prefetcher

    if not asked.get("python_gc", True):
        gc.disable()
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        store = stack.enter_context(casstore.open(asked["store"]))
        if asked.get("room_bytes"):
            arrays()
            limit(taken_bytes() + asked["room_bytes"])
        if SEARCH in store.refs:
            # Of a run before this one.
            del store.refs[SEARCH]
        before, before_children = cpu_seconds(), children_seconds()
        pages: Pages = Plain(store)
        if asked["way"] == "lazy":
            monitor = None
            if asked.get("monitor", True):
                monitor = stack.enter_context(MemoryMonitor())
                samples: list[Sample] = []
                monitor.subscribe(samples.append)
                stack.enter_context(monitor.follow(store))
            home = stack.enter_context(Materializer(store, max_bytes=asked["max_bytes"], monitor=monitor))
            if asked.get("prefetch", True):
                ahead = Prefetcher(home)
                stack.callback(ahead.close)
            pages = Lazy(store, home)

        def pause(tree: StateTree) -> None:
            tree.save(SEARCH)

        every = asked.get("save_every", 0)
        if asked.get("grace_seconds") is not None:
            store.configure(grace_seconds=asked["grace_seconds"], undo_keep_seconds=0)
        collector = (
            stack.enter_context(store.auto_collect(**asked["auto_collect"])) if "auto_collect" in asked else None
        )
        for number in range(asked.get("rounds", 1)):
            if number:
                # Another search of the same, which reads its pages again and saves its tree in the other's place.
                pages = Plain(store)
                del store.refs[SEARCH]
            search = Search(
                store,
                pages,
                asked["pages"],
                asked["wanted"],
                every=every,
                pause=pause if every else None,
                tell=tell if asked.get("tell") else None,
            )
            done = search.run()
        found.update(asdict(done))
        if asked.get("store_gc", False):
            collect(store)
        if collector is not None:
            collector.stop()
            done_by = collector.status()
            found.update(collections=done_by.collections, deleted_bytes=done_by.deleted_bytes)
        found["cpu"] = cpu_seconds() - before
        found["children_cpu"] = children_seconds() - before_children
        if asked["way"] == "lazy":
            status = home.status()
            found.update(loads=status.loads, unloads=status.unloads, loaded_bytes=status.loaded_bytes)
            if asked.get("prefetch", True):
                guessed = ahead.status()
                found.update(issued=guessed.issued, ahead=guessed.hits, switches=guessed.switches)
            if monitor is not None:
                found.update(
                    pressure=max(sample.pressure for sample in samples),
                    samples=len(samples),
                    cache_bytes=store.storage.cache.stats().bytes,
                )
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return found


def limit(size_bytes: int) -> None:
    """Has the system refuse more memory of the process's own: heap, stacks, what is mapped to be written.

    Code and the page cache are not in it.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes,) * 2)


def taken_bytes() -> int:
    """What counts against that limit now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def collect(store: casstore.Store) -> None:
    """Collects the store at once."""
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()


def cpu_seconds() -> float:
    """Processor time of this process, its threads, and the processes that it waited for."""
    return time.process_time() + children_seconds()


def children_seconds() -> float:
    """Processor time of the processes that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def tell(distinct: int) -> None:
    """Says how far it came, for those who see how it ends."""
    os.write(1, b'{"reached": %d}\n' % distinct)

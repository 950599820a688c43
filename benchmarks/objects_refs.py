# SPDX-License-Identifier: MIT
"""What a Ref takes: unloaded, and beyond its value while it is loaded."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.table import Goal

SIZE = 200


def refs_of(options: Options) -> int:
    return options.pick(100_000, 500)


def workload(options: Options) -> str:
    return (
        f"{refs_of(options):,} Refs, by `tracemalloc`, divided by their number. To objects of one snapshot, keys of 13 "
        "letters made for them and counted in, or taken from a list; to entries of the store by address, with the pin "
        f"of each; and loaded, with values of {SIZE} bytes that are the hot cache's and not counted."
    )


def shown(value: float) -> str:
    return f"{value:.0f} bytes"


def taken(make: Callable[[], Any]) -> tuple[float, Any]:
    """Bytes that what ``make`` returns takes."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, kept
    finally:
        tracemalloc.stop()


def measure(options: Options) -> Measured:
    import casstore
    from casstore.format.entry import object_entry
    from casstore.objects import Materializer

    number = refs_of(options)
    loaded = max(100, number // 10)
    with casstore.open(":memory:") as store, Materializer(store) as home:
        branch = store.branch()
        for place in range(loaded):
            branch.objects[f"object/{place:06d}"] = place.to_bytes(8, "big") * (SIZE // 8)
        snapshot = branch.commit()
        home.register(snapshot, "object/000000").get()
        by_key, kept = taken(lambda: [home.register(snapshot, f"object/{place:06d}") for place in range(number)])
        keys = [ref.key for ref in kept]
        bare, again = taken(lambda: [home.register(snapshot, key) for key in keys])
        del again
        some = kept[:loaded]
        del kept
        # Once before, so that what the store's caches take is not in it.
        for ref in some:
            ref.get()
            ref.unload()
        whole, _ = taken(lambda: [ref.get() for ref in some] and None)
        address = store.put(bytes(SIZE))
        entries, held = taken(lambda: [home.register(object_entry("bytes", 1, SIZE, address)) for _ in range(loaded)])
        del held
    return Measured(
        [
            Goal("memory of an unloaded Ref, its key included", by_key / number, shown, 200, 120),
            Goal("memory of an unloaded Ref, its key kept by the caller anyway", bare / number, shown),
            Goal("memory of an unloaded Ref to an entry", entries / loaded, shown),
            Goal("memory of a loaded object beside its value", whole / loaded, shown),
        ]
    )

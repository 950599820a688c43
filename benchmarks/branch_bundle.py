# SPDX-License-Identifier: MIT
"""Adopting what a worker made: a bundle of a thousand objects, verified and put."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.table import Goal
from benchmarks.timing import best, each, once, spread
from benchmarks.units import fine_milliseconds

if TYPE_CHECKING:
    from casstore import Store

BASE_OBJECTS = 10_000
VALUE_BYTES = 1_024


def sizes(options: Options) -> tuple[int, int]:
    """Objects of a bundle, and bundles."""
    return options.pick(1_000, 50), options.pick(30, 3)


def workload(options: Options) -> str:
    objects, bundles = sizes(options)
    return (
        f"a state of {BASE_OBJECTS:,} objects that writer and worker have; the worker sets {objects:,} of them to "
        "values of its own of about 1 KiB (random bytes; or JSON dicts of texts and numbers), commits, and exports a "
        f"bundle without what the state led to; the writer adopts it from its file: {bundles} bundles, each adopted "
        "once, not synced. Everything is verified before anything is put."
    )


def measure(options: Options) -> Measured:
    import casstore

    objects, bundles = sizes(options)
    found = Measured([])
    kinds: dict[str, Callable[[random.Random], Any]] = {"random bytes": random_bytes, "JSON": json_value}
    with scratch(options.work, "bundle") as work:
        for name, make in kinds.items():
            runs, synced, processor = [], [], []
            for repeat in range(options.repeat):
                folder = work / f"{name}-{repeat}"
                folder.mkdir()
                with casstore.open(str(folder / "writer")) as writer:
                    paths = export(writer, folder, make, objects, bundles, seed=repeat)
                    records = counted(writer, paths[0], objects)
                    start = time.process_time()
                    runs.append(spread(each(partial(adopt, writer), paths[1:])))
                    processor.append((time.process_time() - start) / bundles)
                    synced.append(once(writer.sync))
            least = best(runs)
            note = f"p50 {fine_milliseconds(least['p50'])}; {records:,} records a bundle"
            note += f"; processor time {fine_milliseconds(min(processor))} each"
            note += f"; one sync after all of them {fine_milliseconds(min(synced))}"
            what = f"adopting a bundle of {objects:,} objects, {name}, p95"
            found.goals.append(
                Goal(what, least["p95"], fine_milliseconds, 100e-3, 20e-3, detail={"runs": runs}, note=note)
            )
    return found


def adopt(store: Store, path: Path) -> Any:
    from casstore.collection.bundle import adopt_bundle

    return adopt_bundle(store.storage, store.nodes, path)


def counted(store: Store, path: Path, objects: int) -> int:
    """Records that the first bundle brought; it warms up what the others are measured with."""
    report = adopt(store, path)
    if report.new_records < objects:
        raise BenchmarkError(f"the bundle brought {report.new_records} records for {objects} objects.")
    return int(report.new_records)


def export(
    writer: Store, folder: Path, make: Callable[[random.Random], Any], objects: int, bundles: int, seed: int
) -> list[Path]:
    """Bundles of a worker whose store has the same state."""
    import casstore
    from casstore.collection.bundle import StorageReader, export_bundle

    generator = random.Random(seed)
    keys = [f"agents/{number % 97:02d}/object-{number:05d}" for number in range(BASE_OBJECTS)]
    branch = writer.branch()
    branch.objects.update({key: number for number, key in enumerate(keys)})
    base = branch.commit("base")
    writer.sync()
    first = folder / "base.bundle"
    export_bundle(StorageReader(writer.storage), first, [base.id])
    paths = []
    with casstore.open(str(folder / "worker")) as worker:
        adopt(worker, first)
        start = worker.snapshot(base.id)
        for number in range(bundles + 1):
            branch = worker.branch(start)
            for key in generator.sample(keys, objects):
                branch.objects[key] = make(generator)
            tip = branch.commit("work")
            path = folder / f"{number}.bundle"
            reader = StorageReader(worker.storage)
            export_bundle(reader, path, [tip.id], exclude=[base.id], same_chunks=True)
            paths.append(path)
    return paths


def random_bytes(generator: random.Random) -> bytes:
    return generator.randbytes(VALUE_BYTES)


def json_value(generator: random.Random) -> dict[str, Any]:
    steps = [{"step": n, "score": generator.random(), "text": f"tried patch {n}"} for n in range(16)]
    return {"id": generator.getrandbits(40), "steps": steps}

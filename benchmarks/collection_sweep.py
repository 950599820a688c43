# SPDX-License-Identifier: MIT
"""One collection of a large store of which half is dead: time, memory, and space."""

from __future__ import annotations

import time

from benchmarks.collection_site import CONTENT_BYTES, OWN, RESIDENT, Watching, count, fill, status_bytes
from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes, seconds


def objects_of(options: Options) -> int:
    return options.pick(1_000_000, 4_000)


def workload(options: Options) -> str:
    return (
        f"{objects_of(options):,} contents of {CONTENT_BYTES} random bytes in two states of equal size, nobody else at "
        "work. Plan, execution and compaction. Memory, sampled every 20 ms: the process's own (`RssAnon`) beyond what "
        "it had before, and with the files that it maps (`VmRSS`: LevelDB maps its tables, and the system takes them "
        "back at will); of the process that marks, all that it has. Space: segment files at the fullest moment, beyond "
        "those before the collection."
    )


def measure(options: Options) -> Measured:
    with scratch(options.work, "collection") as work:
        path = work / "store"
        with fill(path, objects_of(options)) as store:
            objects, segment_bytes = count(store), store.config.segment_bytes
            used = store.stats().record_bytes
            before, before_mapped = status_bytes(OWN), status_bytes(RESIDENT)
            with Watching(path) as watching:
                started = time.perf_counter()
                plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
                planned = time.perf_counter()
                report = plan.execute()
                ended = time.perf_counter()
            if report.deleted_objects < objects * 0.49:
                raise BenchmarkError(f"only {report.deleted_objects} of {objects} objects went.")
            live = store.stats().record_bytes
            store.verify(read_data=False)
        detail = {
            "objects": objects,
            "plan_seconds": planned - started,
            "execute_seconds": ended - planned,
            "freed_bytes": report.freed_bytes,
            "live_bytes": live,
        }
    own = max(0, watching.own_bytes - before)
    mapped = f"{megabytes(max(0, watching.resident_bytes - before_mapped))} with mapped files"
    whole = f"{megabytes(watching.child_resident_bytes)} with mapped files"
    note = f"{objects:,} objects; plan {planned - started:.1f} s, execution {ended - planned:.1f} s"
    extra = max(0, watching.disk_bytes - used)
    return Measured(
        [
            Goal("mark and sweep", ended - started, seconds, 60.0, 15.0, detail=detail, note=note),
            Goal("the same: extra memory of the process", own, megabytes, 64e6, 32e6, note=mapped),
            Goal("the same: the process that marks", watching.child_bytes, megabytes, note=whole),
            Goal("the same: space beyond what there was", extra, megabytes, segment_bytes, segment_bytes),
        ]
    )

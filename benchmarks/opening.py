# SPDX-License-Identifier: MIT
"""Opening a store of a million objects."""

from __future__ import annotations

import json
import shutil
import statistics

from benchmarks.options import Options
from benchmarks.process import python
from benchmarks.table import Goal, milliseconds
from casstore.address import content_address

OPENINGS = 9

# Run in a fresh process each time, as a program that opens the store would.
PROGRAM = """
import sys, time
import casstore
path, read_only = sys.argv[1], sys.argv[2] == "read-only"
start = time.perf_counter()
store = casstore.open(path, create=False, read_only=read_only)
opened = time.perf_counter()
value = store.get(bytes.fromhex(sys.argv[3]))
got = time.perf_counter()
store.close()
closed = time.perf_counter()
casstore.open(path, create=False, read_only=read_only).close()
again = time.perf_counter()
assert value == sys.argv[4].encode()
import json
print(json.dumps({"open": opened - start, "first get": got - opened, "close": closed - got, "again": again - closed}))
"""


def workload(options: Options) -> str:
    return (
        f"a store of {options.objects:,} contents of 24 bytes, put one by one and closed; opened {OPENINGS} times, "
        "each time in a fresh process after its imports, files in the page cache; medians."
    )


def value_of(number: int) -> bytes:
    return b"content number %09d" % number


def build(options: Options) -> str:
    """Path of the store, built once and kept in the cache folder."""
    import casstore

    path = options.cache / f"objects-{options.objects}"
    if path.is_dir():
        try:
            with casstore.open(str(path), create=False) as store:
                store.get(content_address(value_of(options.objects - 1)))
            return str(path)
        except casstore.CasstoreError as error:
            options.progress(f"building {path} anew: {error}")
            shutil.rmtree(path)
    options.progress(f"building a store of {options.objects:,} objects in {path}")
    temporary = path.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with casstore.open(str(temporary)) as store:
        put = store.put
        for number in range(options.objects):
            put(value_of(number))
    temporary.rename(path)
    return str(path)


def measure(options: Options) -> list[Goal]:
    path = build(options)
    value = value_of(options.objects // 3)
    goals = []
    for mode in ("write", "read-only"):
        words = (path, mode, content_address(value).hex(), value.decode())
        runs = [json.loads(python(PROGRAM, *words)) for _ in range(OPENINGS)]
        medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        note = f"first get {milliseconds(medians['first get'])}, close {milliseconds(medians['close'])}"
        note += f"; opened and closed again in the same process: {milliseconds(medians['again'])}"
        goals.append(
            Goal(
                f"opening {options.objects:,} objects, {mode}",
                medians["open"],
                milliseconds,
                bar=0.1,
                aim=0.03,
                detail={"samples": runs, "medians": medians},
                note=note,
            )
        )
    return goals

# SPDX-License-Identifier: MIT
"""Fragments that agents share at shifting offsets: how much of what is there twice is stored once."""

from __future__ import annotations

import random

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes
from benchmarks.units import percent

FRAGMENT_BYTES = 256 * 1024
FRAGMENTS = 16
PER_AGENT = 4
MAX_OWN_BYTES = 64 * 1024


def workload(options: Options) -> str:
    return (
        f"{agents_of(options)} agents each write one file: {PER_AGENT} different ones of {FRAGMENTS} fragments of 256 "
        "KiB of random bytes, chosen at random, and before, between and after them 1 byte to 64 KiB of the agent's "
        "own random bytes, so that a fragment lies at another offset and between other bytes each time; all are "
        "committed, with the default chunk sizes. Stored once: of the bytes that later uses of a fragment would add, "
        "the share that the distinct chunks do not hold again. The part lost is what shares a chunk with its "
        "neighbours."
    )


def agents_of(options: Options) -> int:
    return options.pick(100, 8)


def measure(options: Options) -> Measured:
    import casstore

    shares = []
    with scratch(options.work, "fragments") as work:
        for number in range(options.repeat):
            generator = random.Random(20 + number)
            fragments = [generator.randbytes(FRAGMENT_BYTES) for _ in range(FRAGMENTS)]
            used: set[int] = set()
            uses = own_bytes = 0
            with casstore.open(str(work / str(number))) as store:
                start = store.branch().commit("nothing")
                for agent in range(agents_of(options)):
                    pieces = []
                    chosen = generator.sample(range(FRAGMENTS), PER_AGENT)
                    for fragment in chosen:
                        pieces += [own(generator), fragments[fragment]]
                    pieces.append(own(generator))
                    branch = store.branch(start)
                    branch.files["memory.bin"] = b"".join(pieces)
                    store.refs[f"agent-{agent}"] = branch.commit("work")
                    used.update(chosen)
                    uses += len(chosen)
                    own_bytes += sum(map(len, pieces[::2]))
                raw_bytes = store.stats().raw_bytes
            duplicate = (uses - len(used)) * FRAGMENT_BYTES
            least = own_bytes + len(used) * FRAGMENT_BYTES
            if raw_bytes < least or not duplicate:
                raise BenchmarkError(f"{raw_bytes} bytes cannot hold {least} distinct ones.")
            shares.append((1 - (raw_bytes - least) / duplicate, duplicate, raw_bytes - least))
    shares.sort()
    share, duplicate, extra = shares[len(shares) // 2]
    note = f"{megabytes(duplicate)} of repeated fragments, {megabytes(extra)} of them stored again"
    what = "fragments of 256 KiB at shifting offsets, stored once"
    return Measured(
        [Goal(what, share, percent, 0.8, 0.9, higher=True, detail={"samples": [item[0] for item in shares]}, note=note)]
    )


def own(generator: random.Random) -> bytes:
    return generator.randbytes(generator.randint(1, MAX_OWN_BYTES))

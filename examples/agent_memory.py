# SPDX-License-Identifier: MIT
"""An agent whose state outgrows memory: it remembers everything, and holds what memory allows.

Each step the agent makes an observation, looks at the last few again, recalls a few from long ago, and writes a
journal. All of it stays in its state. Meanwhile a monitor watches the process against a limit that the state passes
several times over; pressure lets objects leave, and keeps what is only likely to be needed from loading.

Prints a timeline of pressure, loads and unloads. Exits with 1 unless every recollection was right, memory stayed below
the limit, and objects did leave and come back.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time

import casstore
from casstore.objects import Materializer, MemoryMonitor, Prefetcher, Ref
from casstore.objects.memory_levels import Limits

STEPS = 400
OBSERVATION_BYTES = 450_000
THOUGHT_SECONDS = 0.0005
"""What the agent takes over each thing it looks at; while it thinks, others load."""
ROOM_BYTES = 64 * 2**20
"""What the process may take beyond what it takes at the start."""
LAST = 3
RECALLED = 5
LINES = 15


def key_of(step: int) -> str:
    return f"episode/{step // 100:02d}/{step:05d}/observation"


def observe(step: int) -> bytes:
    """What the agent saw; anyone can tell later whether it is remembered right."""
    return random.Random(step).randbytes(3000) * (OBSERVATION_BYTES // 3000)


def main(seed: int = 1) -> int:
    rng = random.Random(seed)
    wrong = 0
    start = time.perf_counter()
    config = casstore.Config(cache_bytes=16 * 2**20, pending_bytes=8 * 2**20)
    with tempfile.TemporaryDirectory() as folder, casstore.open(f"{folder}/agent.cas", config=config) as store:
        before = MemoryMonitor().sample().rss_bytes or 0
        limit = before + ROOM_BYTES
        monitor = MemoryMonitor(limits=Limits(max_bytes=limit))
        print(
            f"{STEPS} steps of {OBSERVATION_BYTES / 1e3:.0f} kB make {STEPS * OBSERVATION_BYTES / 1e6:.0f} MB; "
            f"the process takes {before / 1e6:.0f} MB and may take {limit / 1e6:.0f} MB.\n"
        )
        print("  step   memory  pressure  level     loaded             allowed   loads  unloads  ahead, used")
        # The bound of its own would let it pass the limit: it is the monitor that keeps it.
        with Materializer(store, max_bytes=2 * ROOM_BYTES, monitor=monitor) as memory:
            ahead = Prefetcher(memory, budget_bytes=8 * 2**20)
            branch = store.branch()
            branch.objects["journal"] = {"entries": []}
            state = branch.commit()
            held: list[Ref[bytes]] = []
            highest = 0
            for step in range(STEPS):
                branch.objects[key_of(step)] = observe(step)
                journal = memory.register(branch, "journal", type=dict)
                journal.get()["entries"].append({"step": step, "recalled": len(held)})
                journal.mark_dirty()
                journal.save()
                state = branch.commit(f"step {step}")

                # The last few, and what followed on something long ago.
                old = rng.randrange(step + 1)
                wanted = [*range(max(0, step - LAST + 1), step + 1), *range(old, min(old + RECALLED, step + 1))]
                for old in wanted:
                    ref = memory.register(state, key_of(old), type=bytes)
                    if ref.get() != observe(old):
                        wrong += 1
                    time.sleep(THOUGHT_SECONDS)
                    # What was looked at stays at hand while memory allows.
                    held.append(ref)
                sample = monitor.sample()
                rss = sample.rss_bytes or 0
                highest = max(highest, rss)
                if step % (STEPS // LINES) == 0 or step == STEPS - 1:
                    now, guessed = memory.status(), ahead.status()
                    print(
                        f"{step:>6} {rss / 1e6:>5.0f} MB  {sample.pressure:>8.2f}  {sample.level:<8} "
                        f"{now.loaded:>5} = {now.loaded_bytes / 1e6:>5.1f} MB {now.allowed_bytes / 1e6:>12.1f} MB "
                        f"{now.loads:>6} {now.unloads:>8} {guessed.issued:>6}, {guessed.hits:>4}"
                    )
            final = memory.status()
            branch.commit("done", ref="agent")
            ahead.close()
            held.clear()
        entries = len(store.branch("agent").objects["journal"]["entries"])
    seconds = time.perf_counter() - start
    print(
        f"\n{entries} journal entries, {wrong} wrong recollections; memory at most {highest / 1e6:.0f} MB of "
        f"{limit / 1e6:.0f} MB; {final.loads} loads, {final.unloads} objects left; {seconds:.1f} s."
    )
    good = not wrong and entries == STEPS and highest <= limit and final.unloads > 0 and final.loads > STEPS
    print("It remembers all of it, in a fraction of the memory." if good else "That is not what was claimed.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

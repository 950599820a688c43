# SPDX-License-Identifier: MIT
"""Loading ahead: time and hits of what is learned, against none and against loading the next siblings."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.scratch import scratch
from benchmarks.table import Goal, seconds
from benchmarks.units import percent, times

if TYPE_CHECKING:
    import casstore
    from casstore.objects import Materializer

EPISODES = 200
PARTS = ("goal", "plan", "result", "score")
THOUGHT_SECONDS = 0.002
SIBLINGS = 2

Trace = list[str]


def touches_of(options: Options) -> int:
    return options.pick(600, 40)


def size_of(options: Options) -> int:
    return options.pick(200_000, 2_000)


def workload(options: Options) -> str:
    kilobytes = size_of(options) // 1000
    return (
        f"three traces of {touches_of(options)} touches, made with a fixed seed over a state of {EPISODES} episodes "
        f"with {len(PARTS)} objects of {kilobytes} kB each (text): *forward*: every episode, goal, plan, "
        "result, score; *recall*: the same of episodes at random; *random*: any object. After each touch the agent "
        f"thinks for {THOUGHT_SECONDS * 1e3:.0f} ms (asleep, as one that waits for its model). Loaded objects "
        "leave after ten more, so every touch is a load, unless it was loaded ahead; the hot cache holds nothing. Time "
        f"is that of the touches alone. *Siblings* loads the {SIBLINGS} keys that come next in order, always. A first "
        "cut: these traces are made, not recorded."
    )


def traces(number: int) -> dict[str, Trace]:
    """What is touched, by name."""
    rng = random.Random(11)
    forward = [f"episode/{one % EPISODES:04d}/{part}" for one in range(number) for part in PARTS][:number]
    recall = [f"episode/{one:04d}/{part}" for one in rng.choices(range(EPISODES), k=number) for part in PARTS][:number]
    anything = [f"episode/{rng.randrange(EPISODES):04d}/{rng.choice(PARTS)}" for _ in range(number)]
    return {"forward": forward, "recall": recall, "random": anything}


def fill(store: casstore.Store, size: int) -> casstore.Snapshot:
    """The state; text that neither compresses to nothing nor takes for ever."""
    rng = random.Random(2)
    words = [rng.randbytes(6).hex() for _ in range(5000)]
    branch = store.branch()
    for one in range(EPISODES):
        for part in PARTS:
            branch.objects[f"episode/{one:04d}/{part}"] = " ".join(rng.choices(words, k=size // 13))
    snapshot = branch.commit()
    store.sync()
    return snapshot


def walk(home: Materializer, state: casstore.Snapshot, trace: Trace, siblings: list[str] | None) -> float:
    """Seconds that the touches of a trace took."""
    taken = 0.0
    held: list[Any] = []
    asked: list[Any] = []
    place = {key: number for number, key in enumerate(siblings or ())}
    for key in trace:
        ref = next((one for one in asked if one.key == key), None) or home.register(state, key)
        start = time.perf_counter()
        ref.get()
        if siblings is not None:
            after = place[key] + 1
            asked = [home.register(state, other) for other in siblings[after : after + SIBLINGS]]
            home.preload(asked, priority=1.0)
        taken += time.perf_counter() - start
        held.append(ref)
        if len(held) > 10:
            held.pop(0).unload()
        time.sleep(THOUGHT_SECONDS)
    return taken


def measure(options: Options) -> Measured:
    import casstore
    from casstore.objects import Materializer, Prefetcher

    goals: list[Goal] = []
    peers: list[Peer] = []
    with scratch(options.work, "prefetch") as work:
        config = casstore.Config(cache_bytes=2**16)
        with casstore.open(str(work / "store"), config=config) as store:
            state = fill(store, size_of(options))
            keys = sorted(f"episode/{one:04d}/{part}" for one in range(EPISODES) for part in PARTS)
            for name, trace in traces(touches_of(options)).items():
                found: dict[str, float] = {}
                status = None
                # One after the other in every round, so that what else the machine does hits all of them.
                for _ in range(options.repeat):
                    for way in ("none", "siblings", "learned"):
                        with Materializer(store) as home:
                            ahead = Prefetcher(home) if way == "learned" else None
                            taken = walk(home, state, trace, keys if way == "siblings" else None)
                            if taken < found.get(way, float("inf")):
                                found[way] = taken
                                status = ahead.status() if ahead is not None else status
                if status is None:
                    continue
                hits = status.hits / len(trace)
                learned = name != "random"
                goals.append(
                    Goal(
                        f"time of touches against none, {name}",
                        found["learned"] / found["none"],
                        times,
                        0.9 if learned else None,
                        0.7 if learned else None,
                        note=f"{status.issued} loads ahead, {status.wasted} wasted, {status.switches} switches",
                    )
                )
                goals.append(
                    Goal(
                        f"touches that were loaded ahead, {name}",
                        hits,
                        percent,
                        0.8 if learned else None,
                        0.8 if learned else None,
                        higher=True,
                    )
                )
                peers += [
                    Peer(f"touches, {name}", way, found[way], found["learned"], seconds) for way in ("none", "siblings")
                ]
    return Measured(goals, peers)

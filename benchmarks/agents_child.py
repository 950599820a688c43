# SPDX-License-Identifier: MIT
"""A process of its own in which ``branch_agents`` makes its agents and measures their memory."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks.scratch import scratch

POINTS = 18


def main(words: list[str]) -> None:
    """Prints memory against agents as JSON."""
    from pathlib import Path

    kind, meter, count, size, agents, shared, work = words
    with scratch(Path(work), "agents") as folder:
        run = Run(kind, meter, int(count), int(size), int(agents), float(shared))
        print(json.dumps(run.branches(folder) if kind.startswith("branches") else run.copies()))


def resident_bytes() -> int:
    """Resident memory of this process, now."""
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    # The most so far, in bytes: what macOS tells.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Run:
    """Agents one by one, with memory noted on the way."""

    def __init__(self, kind: str, meter: str, count: int, size: int, agents: int, shared: float) -> None:
        self.kind = kind
        self.traced = meter == "tracemalloc"
        self.size = size
        self.agents = agents
        self.keys = [f"src/module{number % 17:02d}/file_{number:04d}.py" for number in range(count)]
        self.own = round(count * (1 - shared))
        self.random = random.Random(5)
        self.alive: list[Any] = [None] * agents

    def branches(self, folder: Any) -> dict[str, Any]:
        """Agents as branches of a store."""
        import casstore

        config = casstore.Config() if "default" in self.kind else casstore.Config(pending_bytes=2**30)
        with casstore.open(str(folder / "store"), config=config) as store:
            branch = store.branch()
            for key in self.keys:
                branch.files[key] = self.random.randbytes(self.size)
            snapshot = branch.commit("base")
            del branch
            store.storage.cache.clear()
            store.nodes.clear()
            first: list[Any] = []

            def make() -> Any:
                if not first:
                    first.append(store.branch(snapshot))
                agent = first[0].fork()
                files = agent.files
                for key in self.random.sample(self.keys, self.own):
                    files[key] = self.random.randbytes(self.size)
                for key in self.keys:
                    files[key]
                return agent

            # What is loaded once (modules, the store's own buffers) is no agent's.
            store.branch(snapshot).fork().files[self.keys[0]] = b"warm"
            found = self.measure(make)
        return found

    def copies(self) -> dict[str, Any]:
        """Agents as dicts of their own."""
        state = {key: self.random.randbytes(self.size) for key in self.keys}
        packed = pickle.dumps(state, 5)
        makers: dict[str, Callable[[], Any]] = {
            "pickle": lambda: pickle.loads(packed),
            "copy.deepcopy": lambda: copy.deepcopy(state),
        }
        if self.kind == "immutables":
            import immutables

            trie = immutables.Map(state)

            def make_map() -> Any:
                agent = trie
                for key in self.random.sample(self.keys, self.own):
                    agent = agent.set(key, self.random.randbytes(self.size))
                return agent

            return self.measure(make_map)
        copied = makers[self.kind]

        def make() -> Any:
            agent = copied()
            for key in self.random.sample(self.keys, self.own):
                agent[key] = self.random.randbytes(self.size)
            return agent

        return self.measure(make)

    def measure(self, make: Callable[[], Any]) -> dict[str, Any]:
        gc.collect()
        if self.traced:
            tracemalloc.start()
        before = self.used()
        wanted = {1, 2, 5, 10, 20, *(round(self.agents * point / POINTS) for point in range(1, POINTS + 1))}
        steps = []
        for number in range(self.agents):
            self.alive[number] = make()
            if number + 1 in wanted:
                gc.collect()
                steps.append((number + 1, self.used() - before))
        payload = (self.agents * self.own + len(self.keys)) * self.size
        found: dict[str, Any] = {"steps": steps, "payload_bytes": payload}
        if self.traced:
            found["by_part"] = by_part(payload)
        return found

    def used(self) -> int:
        return tracemalloc.get_traced_memory()[0] if self.traced else resident_bytes()


def by_part(payload: int) -> dict[str, int]:
    """Bytes that are no byte of a value, by the module that allocated them."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found: dict[str, int] = {}
    for line in tracemalloc.take_snapshot().statistics("filename"):
        name = line.traceback[0].filename
        name = os.path.relpath(name, root) if name.startswith(root) else os.path.basename(name)
        found[name] = found.get(name, 0) + line.size
    values = os.path.relpath(random.__file__, root) if random.__file__.startswith(root) else "random.py"
    found[values] = found.get(values, 0) - payload
    return found

# SPDX-License-Identifier: MIT
"""An agent's state that grows by a message a step, saved at every step: stored bytes against a pickle a step."""

from __future__ import annotations

import pickle
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes
from benchmarks.timing import spread
from benchmarks.units import fine_milliseconds, four_digits

if TYPE_CHECKING:
    from casstore import Store

STEPS = 200
WORDS = 3_000


def workload(options: Options) -> str:
    return (
        f"{options.pick(STEPS, 5)} steps of an agent. A step appends a question of 30 words and an answer of 10 to 600 "
        f"(median about 150; words drawn from {WORDS:,} by rank, as in a language), and changes one of 20 further "
        "fields. Saved is a `Document` whose messages are a growing list, and each step is committed and moves a ref, "
        "so it is a snapshot of its own, as a pickle of the state would be. Stored bytes: the segment files of the "
        "closed store, with all records' headers, tree nodes, snapshots and ref moves; also given with the index. "
        "Peer: the lengths of `pickle.dumps` of the state at each step, without any file system's overhead. Also "
        "given: the same with messages as one plain list field. At the end each step's state is read back and compared."
    )


def messages(steps: int) -> list[list[dict[str, str]]]:
    """What each step appends."""
    generator = random.Random(7)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (rank + 1) for rank in range(len(letters))]
    words = ["".join(generator.choices(letters, weights, k=generator.randint(2, 10))) for _ in range(WORDS)]
    ranks = [1 / (rank + 2) for rank in range(WORDS)]

    def text(count: int) -> str:
        return " ".join(generator.choices(words, ranks, k=count))

    found = []
    for _ in range(steps):
        count = max(10, min(600, int(generator.lognormvariate(5, 0.8))))
        found.append([{"role": "user", "content": text(30)}, {"role": "assistant", "content": text(count)}])
    return found


def store_steps(path: Path, steps: list[list[dict[str, str]]], *, grows: bool) -> tuple[list[float], list[Any]]:
    """Seconds of each step's writes and save, and the state after each step."""
    import casstore
    from casstore.objects.document import Document, growing

    class Agent(Document):
        fields: dict[str, Any] = {}  # noqa: RUF012
        messages: list[Any] = growing() if grows else []

    samples, states = [], []
    with casstore.open(str(path)) as store:
        branch = store.branch()
        agent = Agent(fields={f"field {number}": number for number in range(20)})
        for number, step in enumerate(steps):
            start = time.perf_counter()
            agent.messages.extend(step)
            agent.fields[f"field {number % 20}"] = number * 7
            agent.save(branch, "agent")
            samples.append(time.perf_counter() - start)
            branch.commit(f"step {number}", ref="main")
            states.append(agent.plain())
        check(store, Agent, states)
    return samples, states


def check(store: Store, kind: Any, states: list[Any]) -> None:
    found = [kind.load(store.branch(snapshot), "agent").plain() for snapshot in store.log("main")]
    assert found[::-1] == states, "a step was not restored as it was"


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(options: Options) -> Measured:
    steps = messages(options.pick(STEPS, 5))
    with scratch(options.work, "tracking") as work:
        samples, states = store_steps(work / "growing", steps, grows=True)
        plain_samples, _ = store_steps(work / "plain", steps, grows=False)
        stored = bytes_in(work / "growing" / "segments")
        indexed = stored + bytes_in(work / "growing" / "index")
        plain = bytes_in(work / "plain" / "segments")
    start = time.perf_counter()
    pickled = sum(len(pickle.dumps(state)) for state in states)
    pickle_seconds = (time.perf_counter() - start) / len(states)
    last = len(pickle.dumps(states[-1]))
    note = (
        f"1/{pickled / stored:.0f}: {megabytes(stored)} for {megabytes(pickled)} of pickles, the last one "
        f"{megabytes(last)}; with the index {megabytes(indexed)}, 1/{pickled / indexed:.0f}; as one plain list "
        f"{megabytes(plain)}, 1/{pickled / plain:.0f}"
    )
    what = f"stored bytes of {len(steps)} steps against a pickle per step"
    found = Measured([Goal(what, stored / pickled, four_digits, 1 / 41, 1 / 100, note=note)])
    times = spread(samples)
    note = f"p50 {fine_milliseconds(times['p50'])}; as one plain list {fine_milliseconds(spread(plain_samples)['p50'])}"
    found.goals.append(Goal("change and save of a step, p95", times["p95"], fine_milliseconds, note=note))
    found.peers.append(
        Peer("a step, mean", "pickle.dumps", pickle_seconds, sum(samples) / len(samples), fine_milliseconds)
    )
    return found

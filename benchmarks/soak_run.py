# SPDX-License-Identifier: MIT
"""One run of the soak: a writer that is killed and opened again, readers beside it, and a model of what must be.

The parent gives one operation at a time and waits for the answer; collections go on beside them. What was answered must
be there after a kill; what was not may be there or not, but nothing in between.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.soak_child import Child, Fault
from benchmarks.soak_model import Model, Step
from benchmarks.soak_oracle import Oracle
from benchmarks.soak_samples import Samples, Times, own_rss, process_figures, store_figures
from benchmarks.soak_values import State, expected_digest
from benchmarks.soak_views import CHECKED, Reader

LONG_LIFE = (0.35, 0.65)
"""In this part of the run nothing is killed, so that growth of the writer shows."""
GC_KINDS: tuple[dict[str, int | None], ...] = (
    {"grace": 0, "undo": 0},
    {"grace": None, "undo": None},
    {"grace": 0, "undo": None},
)
READERS = 2


class Soak:
    """The run and what it finds."""

    def __init__(self, options: Options, work: Path, seconds: float, *, branches: int, most_bytes: int) -> None:
        self.options = options
        self.work = work
        self.seconds = seconds
        self.most_bytes = most_bytes
        self.rng = random.Random(7)
        self.path = work / "store"
        folder = work / "folder"
        folder.mkdir()
        self.model = Model(self.rng, branches, folder)
        self.oracle = Oracle()
        self.counts: Counter[str] = Counter()
        self.times: dict[str, Times] = {}
        self.recent: dict[str, Times] = {}
        self.quarters: list[dict[str, Times]] = [{}, {}, {}, {}]
        self.samples = Samples()
        self._live: dict[str, float] = {}
        self.life_starts: list[float] = []
        self.writer = self._start()
        self.readers: list[Reader] = [Reader(self) for _ in range(READERS)]
        self.started = time.monotonic()
        self.pace = options.pick(1, 8)
        self._due = {"gc": 5.0, "sample": 0.0, "say": 60.0, "kill": 20.0 / self.pace}
        self._gc_number = 0

    @property
    def now(self) -> float:
        return time.monotonic() - self.started

    def _start(self) -> Child:
        segment_bytes = self.options.pick(8 * 2**20, 2**18)
        # In two of three lives the store collects by itself too.
        by_itself = "by itself" if self.counts["kills of the writer"] % 3 else "when asked"
        self._by_itself = 0
        words = [str(self.path), str(self.model.folder), str(segment_bytes), by_itself]
        return Child("benchmarks.soak_writer", words, self.work / "writer.err")

    # -- the run

    def run(self) -> None:
        """Everything, to the last comparison.

        Raises:
            Fault: Something was lost or wrong.
        """
        for ref in self.model.agents:
            self.do(self.model.begin(ref))
        self.started = time.monotonic()
        while self.now < self.seconds:
            self.upkeep()
            if self._is_due("kill"):
                self.kill()
            self.do(self.model.plan())
            # Others want the processors too.
            time.sleep(0.004)
        self.finish()

    def _is_due(self, name: str) -> bool:
        if self.now < self._due[name]:
            return False
        if name == "kill":
            share = self.now / self.seconds
            if LONG_LIFE[0] < share < LONG_LIFE[1]:
                self._due[name] = LONG_LIFE[1] * self.seconds + self.rng.uniform(1, 5)
                return False
            self._due[name] = self.now + self.rng.uniform(10, 60) / self.pace
        elif name == "gc":
            self._due[name] = self.now + self.rng.uniform(5, 25) / self.pace
        elif name == "sample":
            self._due[name] = self.now + 5.0 / self.pace
        else:
            self._due[name] = self.now + 60.0
        return True

    def upkeep(self) -> None:
        """What is due beside operations."""
        if self._is_due("sample"):
            self.sample()
        if self._is_due("gc"):
            self.collect()
        for reader in self.readers:
            reader.look_in()
        if self._is_due("say"):
            last = self.samples.kept[-1]
            done = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
            self.options.progress(f"soak: {self.now / 60:.0f} min, {last['store'] / 1e6:.0f} MB stored, {done}")

    def ask(self, words: dict[str, Any]) -> dict[str, Any]:
        """What the writer answers; its times and events are taken in."""
        return self.take_in(self.writer.ask(words))

    def take_in(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Counts what the answer tells beside the result."""
        for name, seconds in answer.get("times", ()):
            quarter = self.quarters[min(3, int(4 * self.now / self.seconds))]
            for table in (self.times, self.recent, quarter):
                table.setdefault(name, Times()).add(seconds)
        by_itself = answer.get("by_itself", 0)
        self.counts["collections by itself"] += by_itself - self._by_itself
        self._by_itself = by_itself
        for event in answer.get("events", ()):
            if event["event"] == "gave way":
                self.counts["collections that gave way"] += 1
                continue
            if event["event"] != "gc":
                raise Fault(f"the collection failed: {event['error']}")
            self.counts["collections"] += 1
            self.counts["bytes freed"] += event["freed_bytes"]
            self.counts["objects deleted"] += event["deleted_objects"]
            self._live = {"live": event["live_bytes"], "events": event["kept_events"]}
        return answer

    def do(self, step: Step) -> None:
        """One operation, and that its answer is right."""
        answer = self.ask(step.words)
        self.counts[step.words["op"]] += 1
        if step.expect is not None and answer.get("digest") != step.expect:
            raise Fault(f"{step.words['ref']} was read, and differs from what was written.")
        self.model.acknowledged(step, answer)

    def collect(self) -> None:
        """Begins a collection, every other time after retention."""
        if self._gc_number % 2 == 0:
            self.counts["states cut"] += self.ask({"op": "retain"})["dropped"]
        kind = GC_KINDS[self._gc_number % len(GC_KINDS)]
        if self.ask({"op": "gc", **kind})["started"]:
            self._gc_number += 1
        if store_figures(self.path)["store"] > self.most_bytes:
            self.ask({"op": "retain"})
            self.ask({"op": "wait"})
            self.ask({"op": "gc", "grace": 0, "undo": 0})
            self.ask({"op": "wait"})
            size = store_figures(self.path)["store"]
            if size > self.most_bytes:
                raise Fault(f"the store takes {size:,} bytes after a collection, more than {self.most_bytes:,}.")

    # -- killing

    def kill(self) -> None:
        """Kills the writer in the middle of something, opens the store again, and compares."""
        if self.rng.random() < 0.5:
            self.ask({"op": "gc", "grace": 0, "undo": 0})
            for _ in range(self.rng.randrange(4)):
                self.do(self.model.plan())
        step = self.model.plan()
        self.writer.say(step.words)
        time.sleep(self.rng.uniform(0.0, 0.03))
        answer = self.writer.kill()
        self.counts["kills of the writer"] += 1
        self.writer = self._start()
        if answer is not None:
            if "error" in answer:
                raise Fault(f"the writer failed: {answer['error']}")
            self.take_in(answer)
            self.model.acknowledged(step, answer)
        self.compare(step if answer is None else None)
        self.model.forget_live()
        some = self.model.sample(CHECKED)
        self.check({name: expected_digest(state) for name, state in some.items()})
        if self.rng.random() < 0.3:
            self.check_search(self.rng.choice(sorted(self.model.searches) or [""]))
        if self.rng.random() < 0.1:
            self.ask({"op": "verify"})
            self.counts["verify"] += 1
        if self.rng.random() < 0.3:
            self.readers[0].kill()

    def compare(self, open_step: Step | None) -> None:
        """All refs against the model; of the operation that was not answered, before or after."""
        answer = self.ask({"op": "table"})
        self.times.setdefault("opening after a kill", Times()).add(answer["opened"])
        table: dict[str, str] = answer["refs"]
        moves = {} if open_step is None else open_step.moves
        search = None if open_step is None else open_step.search
        touched = set(moves) | ({search[0]} if search else set())
        self.compare_refs(table, "after a kill", touched)
        for ref, states in moves.items():
            seen = table.get(ref)
            if seen == self.model.sids.get(ref):
                continue
            for state in states:
                if seen == (None if state is None else self.oracle.state_id(state)):
                    self.model.set(ref, state, seen, known=False)
                    break
            else:
                raise Fault(f"after a kill in a {open_step and open_step.words['op']}, {ref} names {seen}.")
        if search is not None:
            self._compare_search(search, table.get(search[0]))

    def _compare_search(self, search: Any, seen: str | None) -> None:
        ref, after = search
        if seen == self.model.sids.get(ref):
            return
        nodes = self.ask({"op": "tree_states", "ref": ref})["nodes"]
        wanted = {str(number): self.oracle.state_id(node.state) for number, node in after.nodes.items()}
        if nodes != wanted or seen is None:
            raise Fault(f"after a kill in its save, the search {ref} has nodes of neither before nor after.")
        self.model.searches[ref] = after
        self.model.sids[ref] = seen

    def compare_refs(self, table: Mapping[str, str], when: str, without: set[str]) -> None:
        """Whether all refs are as they must be; refs of retention apart, which the model does not know."""
        seen = {ref: sid for ref, sid in table.items() if not ref.startswith("kept/") and ref not in without}
        wanted = {ref: sid for ref, sid in self.model.sids.items() if ref not in without}
        if seen != wanted:
            wrong = [ref for ref in sorted({*seen, *wanted}) if seen.get(ref) != wanted.get(ref)]
            told = ", ".join(f"{ref} is {seen.get(ref)}, not {wanted.get(ref)}" for ref in wrong[:5])
            raise Fault(f"{when}, {len(wrong)} of {len(wanted)} refs are wrong: {told}")
        self.counts["refs compared"] += len(wanted)

    def check(self, digests: dict[str, str]) -> None:
        """Whether states hold what they must, to the last byte."""
        wrong = self.ask({"op": "check", "digests": digests})["wrong"]
        if wrong:
            raise Fault(f"{len(wrong)} states differ from what was written: {', '.join(wrong[:5])}")
        self.counts["states read and compared"] += len(digests)

    def check_search(self, ref: str) -> None:
        """The same of all nodes of a search."""
        search = self.model.searches.get(ref)
        if search is None:
            return
        digests = {str(number): expected_digest(node.state) for number, node in search.nodes.items()}
        nodes = self.ask({"op": "tree_states", "ref": ref})["nodes"]
        if nodes.keys() != digests.keys():
            raise Fault(f"the search {ref} has other nodes than it was given.")
        wrong = self.ask({"op": "tree_check", "ref": ref, "digests": digests})["wrong"]
        if wrong:
            raise Fault(f"{len(wrong)} nodes of {ref} differ from what was written.")
        self.counts["states read and compared"] += len(digests)

    # -- the end, and what is measured

    def finish(self) -> None:
        """Kills once more, verifies, and compares everything."""
        self.kill()
        for reader in self.readers:
            reader.close()
        self.ask({"op": "wait"})
        self.ask({"op": "retain"})
        for _ in range(2):
            self.ask({"op": "gc", "grace": 0, "undo": 0})
            self.ask({"op": "wait"})
        self.ask({"op": "verify"})
        self.compare(None)
        refs = sorted(self.model.refs)
        for start in range(0, len(refs), 100):
            some: dict[str, State] = {ref: self.model.refs[ref] for ref in refs[start : start + 100]}
            self.check({ref: expected_digest(state) for ref, state in some.items()})
            for ref, state in some.items():
                if self.oracle.state_id(state) != self.model.sids[ref]:
                    raise Fault(f"{ref} has another state id than the same contents in a store of their own.")
        for ref in sorted(self.model.searches):
            self.check_search(ref)
        self.sample()
        self.ask({"op": "close"})
        if self.writer.end() != 0:
            raise Fault("the writer did not end in order.")
        left = [path.name for path in (self.path / "readers").glob("*")]
        if left:
            raise Fault(f"readers/ still holds {left[:5]} when nobody reads.")

    def stop(self) -> None:
        """Ends all processes at once."""
        for child in (self.writer, *(reader.child for reader in self.readers)):
            child.stop()

    def sample(self) -> None:
        """Figures of now."""
        recent, self.recent = self.recent, {}
        sample: dict[str, float] = {"hours": self.now / 3600, "own_rss": own_rss()}
        sample.update(process_figures(self.writer.pid))
        sample.update(store_figures(self.path))
        sample.update(self._live)
        for name in ("commit", "commit beside gc", "read", "fork", "merge"):
            if name in recent:
                sample[f"{name} p50"], sample[f"{name} p99"] = recent[name].at(0.5), recent[name].at(0.99)
        self.samples.add(sample)
        with (self.work / "samples.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(sample) + "\n")

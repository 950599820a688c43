# SPDX-License-Identifier: MIT
"""The program under test: a long random run on one store, made in a process that the recorder watches.

It writes into the trace what it is about to do and what is durable. It may be killed at any call; started again, it
learns from the trace what was durable, sees that it is there, and goes on. Clock and random bytes are made from the
seed, so that a run can be made again; only LevelDB's own thread keeps its own time.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from io import BytesIO
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import casstore
import casstore.layout as layout
from casstore.osfile import OsFiles
from tests.power_loss.check import Lost, check_states, config_of, refs_of, settings_of
from tests.power_loss.expected import CONTENTS, Expected, content, next_version
from tests.power_loss.mutants import apply_mutant
from tests.power_loss.trace import Kind, kill_after, note, read_trace

_PATHS: Final = ("a", "b", "dir/a", "dir/b", "dir/sub/c", "z", "lib/x", "lib/y")
_REFS: Final = ("main", "best", "try/1", "try/2", "try/3")


class Session:
    """One opening of the store after the other, with random work in each."""

    def __init__(self, path: Path, backend: str, random: Random, expected: Expected) -> None:
        self.path = path
        self.config = config_of(backend)
        self.random = random
        self.expected = expected
        self.waiting: set[int] = set()
        self.reader: casstore.Store | None = None
        self.seen: dict[str, str] = {}
        self.names = count(len(expected.states))
        self.store = self.open()

    # -- openings

    def tell(self, **facts: object) -> None:
        """A note, in the trace and for ourselves."""
        note(**facts)
        self.expected.take(facts)

    def open(self) -> casstore.Store:
        """The store, opened for writing; what it shows is durable."""
        store = casstore.open(self.path, config=self.config)
        refs = refs_of(store)
        if refs not in self.expected.refs:
            raise Lost(f"after a kill or a close the refs are {refs}, and may be {self.expected.refs}")
        self.tell(note="synced", contents=[])
        self.tell(note="moved", refs=refs)
        self.tell(note="configured", settings=settings_of(store))
        check_states(store, self.expected)
        return store

    def close(self) -> None:
        """An orderly close."""
        self.drop_reader()
        self.store.close()
        self.synced()

    def synced(self) -> None:
        """All that was put is durable."""
        self.tell(note="synced", contents=sorted(self.waiting))
        self.waiting.clear()

    # -- work

    def run(self, steps: int, *, doomed: bool = False, calm: bool = False) -> None:
        """Random work, and a close; if ``doomed``, it never gets there; if ``calm``, nothing ends LevelDB's log."""
        work: list[tuple[int, Callable[[], None]]] = [
            (20, self.put),
            (8, self.sync),
            (20, self.commit),
            (4, self.delete_ref),
            (3, self.rename_ref),
            (4, self.undo),
            (3, self.configure),
            (3, self.cache),
        ]
        if not calm:
            work += [
                (7, self.collect),
                (2, self.collect_old),
                (3, self.adopt),
                (1, self.rewrite_superblock),
                (4, self.read_beside),
                (2, self.reopen),
                (1, self.lose_index),
                (1, self.repair),
            ]
        # Half of those that are killed die between a put and the next sync point, the others anywhere.
        last = self.random.randrange(steps) if doomed else -1
        for number in range(steps):
            if number == last:
                self.put()
                kill_after(self.random.randrange(6))
                self.put()
            step = self.random.choices([one for _, one in work], [weight for weight, _ in work])[0]
            step()
        self.close()

    def put(self) -> None:
        """Some contents that nothing refers to."""
        numbers = [self.random.randrange(CONTENTS) for _ in range(self.random.choice((1, 2, 6)))]
        self.tell(note="put", contents=numbers)
        for number in numbers:
            self.store.put(content(number))
        self.waiting |= set(numbers)

    def sync(self) -> None:
        """A sync point."""
        self.store.sync()
        self.synced()

    def commit(self) -> None:
        """A state on top of a ref's, named by a ref or by none."""
        store, random = self.store, self.random
        base = random.choice([None, *store.refs])
        branch = store.branch(base)
        files = dict(self.expected.states[store.refs[base].message]) if base else {}
        for path in random.sample(_PATHS, random.randint(1, 4)):
            if path in files and random.random() < 0.3:
                del branch.files[path]
                del files[path]
            else:
                files[path] = next_version(files.get(path, 0), random)
                branch.files[path] = content(files[path])
        name = f"s{next(self.names)}"
        branch.objects["state"] = {"name": name}
        self.tell(note="state", name=name, files=files)
        ref = base if base and random.random() < 0.5 else random.choice([None, *_REFS])
        if ref is None:
            branch.commit(name)
            return
        refs = {**refs_of(store), ref: name}
        if ref == base:
            self.tell(note="moving", refs=[refs])
            new = branch.commit(name, ref=ref)
        else:
            new = branch.commit(name)
            self.tell(note="moving", refs=[refs])
            store.refs[ref] = new
        self.moved(refs, (ref, new.id.hex()))

    def moved(self, refs: dict[str, str], *moves: tuple[str, str]) -> None:
        """A ref was moved, which is a sync point too."""
        self.synced()
        self.tell(note="moved", refs=refs, moves=moves)

    def delete_ref(self) -> None:
        """A ref goes."""
        refs = refs_of(self.store)
        if refs:
            gone = self.random.choice(sorted(refs))
            del refs[gone]
            self.tell(note="moving", refs=[refs])
            del self.store.refs[gone]
            self.moved(refs, (gone, ""))

    def rename_ref(self) -> None:
        """A ref gets another name: for a moment it may have both."""
        refs = refs_of(self.store)
        free = [name for name in _REFS if name not in refs]
        if refs and free:
            old, new = self.random.choice(sorted(refs)), self.random.choice(free)
            named = self.store.refs[old].id.hex()
            both = {**refs, new: refs[old]}
            after = {name: state for name, state in both.items() if name != old}
            self.tell(note="moving", refs=[both, after])
            self.store.refs.rename(old, new)
            self.moved(after, (new, named), (old, ""))

    def undo(self) -> None:
        """The last move of a ref is taken back, as far as its history is kept."""
        store = self.store
        name = self.random.choice(_REFS)
        history = store.refs.history(name)
        if not history:
            return
        refs, old = refs_of(store), history[0].old
        refs.pop(name, None)
        if old is not None:
            try:
                refs[name] = store.snapshots.get(old).message
            except casstore.NotFoundError:
                # Collected; the undo will say so.
                return
        self.tell(note="moving", refs=[refs])
        try:
            store.refs.undo(name)
        except casstore.NotFoundError:
            self.tell(note="moved", refs=refs_of(store))
        else:
            self.moved(refs, (name, old.hex() if old else ""))

    def collect(self) -> None:
        """A collection of everything that no ref leads to, however young, with compaction."""
        self.tell(note="collecting")
        self.waiting.clear()
        with self.store.plan_gc(grace_seconds=0, undo_keep_seconds=0, accept_refs=True) as plan:
            if self.random.random() < 0.3:
                self.put()
            plan.execute()

    def collect_old(self) -> None:
        """A collection that keeps what is young and the history of refs: nothing that is promised goes."""
        self.store.plan_gc(grace_seconds=10**9, undo_keep_seconds=10**9, accept_refs=True).execute()

    def adopt(self) -> None:
        """A state that another store made comes as a bundle, and a ref names it."""
        name = f"s{next(self.names)}"
        files = {path: self.random.randrange(CONTENTS) for path in self.random.sample(_PATHS, 4)}
        bundle = BytesIO()
        with casstore.open(":memory:", config=self.config) as other:
            branch = other.branch()
            for path, number in files.items():
                branch.files[path] = content(number)
            branch.objects["state"] = {"name": name}
            made = branch.commit(name)
            other.export_bundle(bundle, [made])
        bundle.seek(0)
        self.tell(note="state", name=name, files=files)
        self.store.adopt_bundle(bundle)
        ref = self.random.choice(_REFS)
        refs = {**refs_of(self.store), ref: name}
        self.tell(note="moving", refs=[refs])
        self.store.refs[ref] = self.store.snapshots.get(made.id)
        self.moved(refs, (ref, made.id.hex()))

    def configure(self) -> None:
        """Another quota."""
        wanted = {
            "max_bytes": self.random.choice((None, 10**9, 10**10)),
            "grace_seconds": self.random.choice((60, 3600)),
        }
        self.tell(note="configuring", settings=wanted)
        self.store.configure(**wanted)
        self.tell(note="configured", settings=wanted)

    def cache(self) -> None:
        """Writes to the index that nobody syncs."""
        key, size = self.random.randrange(9), self.random.choice((100, 6000))
        self.store.storage.backend.put_cache({b"power/%d" % key: self.random.randbytes(size)})

    def rewrite_superblock(self) -> None:
        """The superblock is replaced, as a later version does that knows more features."""
        place = self.path / layout.SUPERBLOCK
        OsFiles().replace_file(str(place), place.read_bytes())

    def read_beside(self) -> None:
        """A read-only opening, which lives for some steps and sees the same all the time."""
        if self.reader is not None:
            self.drop_reader()
            return
        self.sync()
        self.seen = refs_of(self.store)
        self.reader = casstore.open(self.path, read_only=True, config=self.config)

    def drop_reader(self) -> None:
        """The end of the read-only opening."""
        if self.reader is not None:
            if refs_of(self.reader) != self.seen:
                raise Lost(f"a reader saw {self.seen}, and later {refs_of(self.reader)}")
            check_states(self.reader, self.expected)
            self.reader.close()
            self.reader = None

    def reopen(self) -> None:
        """A close and another opening."""
        self.close()
        self.store = self.open()

    def lose_index(self) -> None:
        """The index is removed, and made anew from the records."""
        self.close()
        # A collection that was not compacted away comes back with it, and so do refs' histories.
        shutil.rmtree(self.path / layout.INDEX)
        self.store = self.open()

    def repair(self) -> None:
        """The store is repaired although it is sound, once there is a repair."""
        repair = getattr(casstore, "repair", None)
        if repair is not None:
            self.close()
            repair(self.path)
            self.store = self.open()


def _make_repeatable(random: Random) -> None:
    start, ticks = 1_600_000_000 + random.randrange(10**6), count()

    def seconds() -> float:
        return start + next(ticks) * 0.01

    time.time = seconds
    time.time_ns = lambda: int(seconds() * 10**9)
    os.urandom = random.randbytes
    os.getpid = lambda: 4242


def main(arguments: list[str]) -> None:
    """One process of a run: STORE TRACE BACKEND SEED LIFE STEPS KILL MUTANT SMALL_BUFFER CALM."""
    path, trace, backend = Path(arguments[0]), Path(arguments[1]), arguments[2]
    seed, life, steps, kill = map(int, arguments[3:7])
    random = Random(f"{seed}/{life}")
    _make_repeatable(Random(f"{seed}/{life}/system"))
    if arguments[8] == "1":
        import casstore.storage.index as index

        # The least that LevelDB takes: its log is turned into tables in the middle of the run.
        index.WRITE_BUFFER_BYTES = 64 * 1024  # type: ignore[misc]
    apply_mutant(arguments[7])
    expected = Expected()
    for line in read_trace(trace) if trace.exists() else ():
        if line.kind is Kind.NOTE:
            expected.take(line.note)
    if kill > 0:
        kill_after(kill)
    Session(path, backend, random, expected).run(steps, doomed=kill == 0, calm=arguments[9] == "1")
    # Killed or not, a process leaves nothing more to the disk than its calls did.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])

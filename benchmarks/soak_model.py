# SPDX-License-Identifier: MIT
"""What the store of the soak must hold: dicts of numbers. It plans each operation, and learns what became of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak_search import Known, Search
from benchmarks.soak_values import EMPTY, Edit, Spec, State, merged, value

SHARED_FILES = 60
OWN_FILES = 40
FOLDER_FILES = 30
MARKS = 60
SEARCHES = 3
KEEP_NODES = 40
NEW_NODES = 6
FOLDER = "folder"
NOTHING = Edit({}, [], None)

Possible = list[State | None]


@dataclass(slots=True)
class Step:
    """An operation: what to say to the writer, and how refs go on by it, step by step; None is "no such ref"."""

    words: dict[str, Any]
    moves: dict[str, Possible] = field(default_factory=dict)
    live: tuple[str, State] | None = None
    search: tuple[str, Search] | None = None
    expect: str | None = None
    """The digest that the answer must have."""


class Model:
    """What was acknowledged."""

    def __init__(self, rng: random.Random, agents: int, folder: Path) -> None:
        self.rng = rng
        self.agents = [f"agent/{number:04d}" for number in range(agents)]
        self.refs: dict[str, State] = {}
        """Refs whose contents are modelled; those of searches are in ``searches``."""
        self.live: dict[str, State] = {}
        """What branches hold in memory, committed or not."""
        self.sids: dict[str, str] = {}
        """State ids as they were told, of all refs."""
        self.searches: dict[str, Search] = {}
        self.before: dict[str, State | None] = {}
        """What a mark named before its last move, where that is known."""
        self.folder = folder
        self._on_disk: dict[str, Spec] = {}
        self._numbers = 0
        self._shared = {f"shared/part{number % 6}/file{number:02d}.py": self._spec() for number in range(SHARED_FILES)}

    # -- values

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _spec(self) -> Spec:
        lines = self.rng.randrange(1500, 3000) if self.rng.random() < 0.004 else self.rng.randrange(3, 60)
        return Spec(self._next(), 0, lines)

    def _edit(self, state: State, count: int = 4) -> Edit:
        """Some versions, some new values, now and then a deletion."""
        rng = self.rng
        put: dict[str, Spec] = {}
        gone: list[str] = []
        known = list(state.files)
        for _ in range(rng.randrange(1, count + 1)):
            name = f"own/part{rng.randrange(5)}/file{rng.randrange(OWN_FILES):02d}.txt"
            if known and rng.random() < 0.4:
                name = rng.choice(known)
            old = state.files.get(name)
            if old is not None and name.startswith("own") and rng.random() < 0.15 and name not in put:
                gone.append(name)
            elif name not in gone:
                put[name] = old._replace(version=old.version + 1) if old and rng.random() < 0.8 else self._spec()
        return Edit(put, gone, self._next() if rng.random() < 0.5 else None)

    # -- operations

    def begin(self, ref: str) -> Step:
        """The first commit of a branch."""
        edit = Edit({**self._shared, **self._edit(EMPTY, 8).put}, [], self._next())
        return self._commit(ref, edit, EMPTY)

    def _commit(self, ref: str, edit: Edit, state: State) -> Step:
        after = edit.of(state)
        return Step({"op": "commit", "ref": ref, "edit": edit}, {ref: [after]}, (ref, after))

    def plan(self) -> Step:
        """The next operation."""
        rng = self.rng
        ref = rng.choice(self.agents)
        state = self.live[ref]
        plans: list[tuple[int, Callable[[], Step]]] = [
            (40, lambda: self._commit(ref, self._edit(state), state)),
            (12, lambda: self._plain_edit(ref, state)),
            (14, lambda: self._fork(ref)),
            (8, lambda: self._merge(ref, state)),
            (14, lambda: self._read(ref, state)),
            (8, self._move_ref),
            (3, self._import),
            (5, self._search),
        ]
        weights, makers = zip(*plans)
        step: Step = rng.choices(makers, weights)[0]()
        return step

    def _plain_edit(self, ref: str, state: State) -> Step:
        edit = self._edit(state)
        return Step({"op": "edit", "ref": ref, "edit": edit}, live=(ref, edit.of(state)))

    def _fork(self, origin: str) -> Step:
        ref = self.rng.choice([name for name in self.agents if name != origin])
        state = self.live[origin]
        return Step({"op": "fork", "origin": origin, "ref": ref}, {ref: [state]}, (ref, state))

    def _merge(self, ref: str, state: State) -> Step:
        ours, theirs = self._edit(state, 6), self._edit(state, 6)
        side = self.rng.choice(["ours", "theirs"])
        mine = ours.of(state)
        after = merged(state, mine, theirs.of(state), side)
        words = {"op": "merge", "ref": ref, "ours": ours, "theirs": theirs, "side": side}
        return Step(words, {ref: [state, mine, after]}, (ref, after))

    def _read(self, ref: str, state: State) -> Step:
        from benchmarks.soak_values import expected_digest

        keys = self.rng.sample(sorted(state.files), min(10, len(state.files)))
        seen = State({key: state.files[key] for key in keys}, state.objects)
        return Step({"op": "read", "ref": ref, "keys": keys}, expect=expected_digest(seen))

    def _move_ref(self) -> Step:
        rng = self.rng
        ref = f"mark/{rng.randrange(MARKS)}"
        if ref in self.refs:
            kind = rng.choice(["mark", "mark", "unmark", "undo", "rename"])
            if kind == "unmark":
                return Step({"op": "unmark", "ref": ref}, {ref: [None]})
            if kind == "undo" and ref in self.before:
                return Step({"op": "undo", "ref": ref}, {ref: [self.before[ref]]})
            if kind == "rename":
                new = f"mark/{rng.randrange(MARKS)}"
                if new not in self.refs:
                    words = {"op": "rename", "ref": ref, "new": new}
                    return Step(words, {new: [self.refs[ref]], ref: [None]})
        origin = rng.choice(self.agents)
        return Step({"op": "mark", "ref": ref, "origin": origin}, {ref: [self.refs[origin]]})

    def _import(self) -> Step:
        rng = self.rng
        for _ in range(rng.randrange(1, 4)):
            name = f"sub{rng.randrange(4)}/file{rng.randrange(FOLDER_FILES):02d}.txt"
            old = self._on_disk.get(name)
            path = self.folder / name
            if old is not None and rng.random() < 0.2:
                path.unlink()
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
                del self._on_disk[name]
                continue
            spec = old._replace(version=old.version + 1) if old else self._spec()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value(spec))
            self._on_disk[name] = spec
        return Step({"op": "import", "ref": FOLDER}, {FOLDER: [State(dict(self._on_disk), {})]})

    def _search(self) -> Step:
        rng = self.rng
        ref = f"search/{rng.randrange(SEARCHES)}"
        search = self.searches.get(ref)
        origin = rng.choice(self.agents)
        if search is None:
            search = Search(-1, {-1: Known(None, self.refs[origin], 0.0)})
        new: list[tuple[int, int, Edit, float]] = []
        grown = search
        for _ in range(NEW_NODES):
            parent = rng.choice(list(grown.nodes))
            item = (self._next(), parent, self._edit(grown.nodes[parent].state), rng.random() + self._numbers / 10_000)
            grown = grown.grown([item])
            new.append(item)
        root = None
        others = [number for number in grown.nodes if number != grown.root]
        if len(others) > KEEP_NODES and rng.random() < 0.3:
            path = grown.path(max(others, key=lambda number: grown.nodes[number].score))
            root = path[-2]
            grown = grown.collapsed(root)
        after = grown.pruned(KEEP_NODES)
        words = {"op": "tree", "ref": ref, "origin": origin, "nodes": new, "keep": KEEP_NODES, "root": root}
        return Step(words, search=(ref, after))

    # -- what became of them

    def acknowledged(self, step: Step, answer: Mapping[str, Any]) -> None:
        """The writer said that it is done, so it must stay."""
        if answer.get("refused"):
            for ref in step.moves:
                self.before.pop(ref, None)
            return
        sid = answer.get("sid")
        for ref, states in step.moves.items():
            old_sid = self.sids.get(step.words["ref"])
            self.set(ref, states[-1], sid or old_sid)
        if step.live is not None:
            ref, state = step.live
            self.live[ref] = state
        if step.search is not None and sid is not None:
            ref, search = step.search
            self.searches[ref] = search
            self.sids[ref] = sid

    def set(self, ref: str, state: State | None, sid: str | None, *, known: bool = True) -> None:
        """A ref names that now."""
        if ref.startswith("mark/"):
            if known:
                self.before[ref] = self.refs.get(ref)
            else:
                self.before.pop(ref, None)
        if state is None or sid is None:
            self.refs.pop(ref, None)
            self.sids.pop(ref, None)
        else:
            self.refs[ref] = state
            self.sids[ref] = sid

    def forget_live(self) -> None:
        """The writer died: branches begin where their refs are."""
        self.live = {ref: self.refs[ref] for ref in self.agents}

    def sample(self, count: int) -> dict[str, State]:
        """Some refs and what they must hold."""
        names = self.rng.sample(sorted(self.refs), min(count, len(self.refs)))
        return {name: self.refs[name] for name in names}

# SPDX-License-Identifier: MIT
"""Copy-on-write, every sequence: a few real branches beside dicts that should hold the same.

A state is the dicts, the history that leads to them, and the real branches; two states are the same when the dicts and
the history are, whatever the branches are called. So each state is looked at once, on the shortest way to it, and what
follows is tried on forks of the branches there. A step names branches by their places just then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import casstore
from casstore.branches import Branch
from casstore.errors import ConflictError
from tests.model.explorer import Exploration, Model, Step, explore
from tests.test_branch_machine import difference, in_order, merged

KEYS = ("a", "b", "d/e")
VALUES = (b"inline", b"kept beside the tree" * 10)

Files = tuple[tuple[str, bytes], ...]


class Saved(NamedTuple):
    """A snapshot of the model: its files, and the numbers of its parents."""

    files: Files
    parents: tuple[int, ...]


class Held(NamedTuple):
    """A branch of the model: its files, those it started from, and the snapshots it comes from."""

    files: Files
    start: Files
    origins: tuple[int, ...]


@dataclass(frozen=True)
class Forest:
    """Some branches; ``key`` says what they should hold, ``real`` are the store's own.

    What is wrong counts too: a step that should change nothing leads to a state that was seen before.
    """

    key: tuple[tuple[Held | None, ...], tuple[Saved, ...]]
    real: tuple[Branch | None, ...] = field(compare=False)
    wrong: str | None = None


def renamed(held: tuple[Held | None, ...], saved: tuple[Saved, ...]) -> tuple[tuple[int, ...], object]:
    """The order of branches that stands for all others, and the state under its names."""
    best: tuple[tuple[int, ...], object, str] | None = None
    for order in itertools.permutations(range(len(held))):
        numbers: dict[int, int] = {}
        table: list[tuple[Files, tuple[int, ...]]] = []

        def number(snapshot: int, numbers: dict[int, int] = numbers, table: list[object] = table) -> int:  # type: ignore[assignment]
            if snapshot not in numbers:
                parents = tuple(number(parent) for parent in saved[snapshot].parents)
                numbers[snapshot] = len(table)
                table.append(Saved(saved[snapshot].files, parents))
            return numbers[snapshot]

        branches = []
        for place in order:
            one = held[place]
            branches.append(one and one._replace(origins=tuple(number(snapshot) for snapshot in one.origins)))
        key = (tuple(branches), tuple(table))
        text = repr(key)
        if best is None or text < best[2]:
            best = (order, key, text)
    assert best is not None
    return best[0], best[1]


def canonical(forest: Forest) -> Forest:
    """The same branches under other names."""
    order, key = renamed(*forest.key)
    return Forest(key, tuple(forest.real[place] for place in order), forest.wrong)  # type: ignore[arg-type]


class Trial:
    """Explores the branches of one store.

    Args:
        store: An empty store.
        branches: How many there are at most.
    """

    def __init__(self, store: casstore.Store, branches: int = 3) -> None:
        self._count = branches
        first = store.branch()
        first.files[KEYS[0]] = VALUES[0]
        first.commit()
        files: Files = ((KEYS[0], VALUES[0]),)
        held = Held(files, files, (0,))
        none = (None,) * (branches - 1)
        self._first = Forest(((held, *none), (Saved(files, ()),)), (first, *none))
        self._ids: dict[Files, bytes] = {}

    def run(self, length: int) -> Exploration:
        """Every sequence of up to ``length`` steps."""
        model = Model(
            initial=[self._first], successors=self.successors, problem=lambda one: one.wrong, canonical=canonical
        )
        return explore(model, max_depth=length)

    def successors(self, forest: Forest) -> Iterator[Step[Forest]]:
        """Everything that can be done with the branches."""
        held, _ = forest.key
        for at, one in enumerate(held):
            if one is None:
                continue
            for to in range(self._count):
                if to != at and (held[to] is not None or all(other is not None for other in held[:to])):
                    yield f"fork {at} to {to}", self._fork(forest, at, to)
            for key in KEYS:
                for value in VALUES:
                    yield f"write {key} of {at}: {len(value)} bytes", self._write(forest, at, key, value)
                yield f"delete {key} of {at}", self._write(forest, at, key, None)
            yield f"commit {at}", self._commit(forest, at)
            for other, theirs in enumerate(held):
                if theirs is not None and other != at:
                    yield f"merge {other} into {at}", self._merge(forest, at, other)

    def _after(
        self,
        forest: Forest,
        at: int,
        held: Held,
        real: tuple[Branch | None, ...],
        *saved: Saved,
        wrong: str | None = None,
    ) -> Forest:
        branches, before = forest.key
        changed = (*branches[:at], held, *branches[at + 1 :])
        return self._compared(Forest((changed, before + saved), real, wrong), at)

    @staticmethod
    def _copies(forest: Forest) -> list[Branch | None]:
        return [one and one.fork() for one in forest.real]

    def _fork(self, forest: Forest, at: int, to: int) -> Forest:
        real = self._copies(forest)
        one, held = real[at], forest.key[0][at]
        assert one is not None
        assert held is not None
        real[to] = one.fork()
        return self._after(forest, to, held, tuple(real))

    def _write(self, forest: Forest, at: int, key: str, value: bytes | None) -> Forest:
        real = self._copies(forest)
        one, held = real[at], forest.key[0][at]
        assert one is not None
        assert held is not None
        files, wrong = dict(held.files), None
        if value is not None:
            one.files[key] = files[key] = value
        elif key in files:
            del one.files[key], files[key]
        else:
            try:
                del one.files[key]
                wrong = f"{key} was not there, and could be deleted"
            except KeyError:
                pass
        return self._after(forest, at, held._replace(files=frozen(files)), tuple(real), wrong=wrong)

    def _commit(self, forest: Forest, at: int) -> Forest:
        real = self._copies(forest)
        one, (branches, saved) = real[at], forest.key
        held = branches[at]
        assert one is not None
        assert held is not None
        snapshot = one.commit()
        wrong = None if len(snapshot.parents) == len(held.origins) else "a snapshot has the wrong parents"
        if dict(snapshot.files) != dict(held.files):
            wrong = f"a snapshot holds {dict(snapshot.files)}"
        after = Held(held.files, held.files, (len(saved),))
        return self._after(forest, at, after, tuple(real), Saved(held.files, held.origins), wrong=wrong)

    def _merge(self, forest: Forest, at: int, other: int) -> Forest:
        real = self._copies(forest)
        branches, saved = forest.key
        ours, theirs = branches[at], branches[other]
        one, two = real[at], real[other]
        assert one is not None
        assert two is not None
        assert ours is not None
        assert theirs is not None
        common = ancestors(saved, ours.origins) & ancestors(saved, theirs.origins)
        best = [base for base in common if not any(base in saved[child].parents for child in common)]
        wanted = None
        if len(best) == 1:
            trees = [
                {key: ("file", value) for key, value in files}
                for files in (saved[best[0]].files, ours.files, theirs.files)
            ]
            wanted = merged(trees[0], trees[1], trees[2], None, True)
        try:
            report = one.merge(two)
        except ConflictError:
            wrong = None if len(best) != 1 else "there is one base, and it was not found"
            return self._after(forest, at, ours, tuple(real), wrong=wrong)
        wrong = None if len(best) == 1 else f"there are {len(best)} bases, and one was taken"
        if wanted is None:
            wrong = wrong or (None if report.conflicts else "a conflict was not seen")
            return self._after(forest, at, ours, tuple(real), wrong=wrong)
        if report.conflicts:
            wrong = f"a conflict was seen where there is none: {report.conflicts}"
        files = frozen({key: node[1] for key, node in wanted.items()})
        origins = tuple(dict.fromkeys(ours.origins + theirs.origins))
        return self._after(forest, at, ours._replace(files=files, origins=origins), tuple(real), wrong=wrong)

    def _compared(self, forest: Forest, at: int) -> Forest:
        """The state, with what is wrong with it: the branch that was changed, or one that should not have been."""
        if forest.wrong is not None:
            return forest
        for place, (held, real) in enumerate(zip(forest.key[0], forest.real)):
            if held is None or real is None:
                continue
            found = dict(real.files.items())
            if found != dict(held.files) or list(real.files) != in_order(found):
                return Forest(forest.key, forest.real, f"branch {place} holds {found} instead of {held.files}")
            if place == at:
                state_id = real.state_id()
                if self._ids.setdefault(held.files, state_id) != state_id:
                    return Forest(forest.key, forest.real, f"equal files of branch {place} have another id")
                start, files = ({key: ("file", value) for key, value in one} for one in (held.start, held.files))
                changes = [(change.letter, change.key) for change in real.changes()]
                if changes != difference(start, {}, files, {}):
                    return Forest(forest.key, forest.real, f"branch {place} says that it changed {changes}")
        return forest

    @property
    def ids_are_distinct(self) -> bool:
        """Whether different files always had different ids."""
        return len(set(self._ids.values())) == len(self._ids)


def frozen(files: dict[str, bytes]) -> Files:
    """A dict as a hashable value."""
    return tuple(sorted(files.items()))


def ancestors(saved: tuple[Saved, ...], origins: tuple[int, ...]) -> set[int]:
    """Snapshots and all that they come from."""
    found: set[int] = set()
    waiting = list(origins)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += saved[one].parents
    return found

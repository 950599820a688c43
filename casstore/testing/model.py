# SPDX-License-Identifier: MIT
"""A plain model of a store, and Hypothesis strategies for what goes into one.

The model is dicts and lists and shares no code with the store: what both agree on, both must have got right. An id is
whatever the store under test returned for a state.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from hypothesis import strategies as st

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """A state: its files, the ids it came from, and the ids that it links."""

    files: Mapping[str, bytes]
    parents: tuple[bytes, ...] = ()
    links: tuple[bytes, ...] = ()


@dataclass(slots=True)
class StoreModel:
    """What a store should hold.

    Attributes:
        snapshots: Id → state, of all that were ever added and may still be there.
        refs: Name → id.
        moves: Name → its moves, oldest first, as pairs of old and new id.
    """

    snapshots: dict[bytes, ModelSnapshot] = field(default_factory=dict)
    refs: dict[str, bytes] = field(default_factory=dict)
    moves: dict[str, list[tuple[bytes | None, bytes | None]]] = field(default_factory=dict)

    def add(
        self, snapshot_id: bytes, files: Mapping[str, bytes], parents: Iterable[bytes] = (), links: Iterable[bytes] = ()
    ) -> None:
        """A new state."""
        self.snapshots[snapshot_id] = ModelSnapshot(dict(files), tuple(parents), tuple(links))

    def move(self, name: str, new: bytes | None) -> None:
        """A ref is set, moved or, with None, deleted."""
        old = self.refs.get(name)
        self.moves.setdefault(name, []).append((old, new))
        if new is None:
            del self.refs[name]
        else:
            self.refs[name] = new

    def undo(self, name: str) -> bytes | None:
        """The last move of a ref is taken back; returns what the ref names now."""
        old = self.moves[name][-1][0]
        self.move(name, old)
        return old

    def reachable(self, pinned: Iterable[bytes] = (), *, history: bool = False) -> set[bytes]:
        """Ids of all states that must be kept: those of refs, of pins, of all moves with ``history``, and all below."""
        waiting = [*self.refs.values(), *pinned]
        if history:
            waiting += [one for moves in self.moves.values() for move in moves for one in move if one is not None]
        found: set[bytes] = set()
        while waiting:
            snapshot_id = waiting.pop()
            if snapshot_id in found or snapshot_id not in self.snapshots:
                continue
            found.add(snapshot_id)
            waiting += self.snapshots[snapshot_id].parents + self.snapshots[snapshot_id].links
        return found

    def collect(self, kept: set[bytes]) -> None:
        """Forgets every state that is not among ``kept``."""
        self.snapshots = {key: state for key, state in self.snapshots.items() if key in kept}

    def contents(self, snapshot_ids: Iterable[bytes]) -> set[bytes]:
        """The distinct contents of the files of some states."""
        return {data for key in snapshot_ids for data in self.snapshots[key].files.values()}

    def copy(self) -> StoreModel:
        """The same again, to come back to."""
        return deepcopy(self)


def noise(size: int, seed: int) -> bytes:
    """Bytes that do not compress, the same each time."""
    return random.Random(seed).randbytes(size)


def contents(max_bytes: int = 40_000) -> st.SearchStrategy[bytes]:
    """Contents around every limit: empty, inline, one chunk, several chunks; some compress and some do not."""
    sizes = st.sampled_from([0, 1, 126, 127, 128, 129, 1000, 4095, 4096, 4097, 20_000, max_bytes])
    sizes = sizes.filter(lambda size: size <= max_bytes)
    seeds = st.integers(0, 5)
    return st.one_of(
        st.binary(max_size=140),
        st.builds(noise, sizes, seeds),
        st.builds(lambda size, seed: (b"%d all work and no play " % seed * (size // 20 + 1))[:size], sizes, seeds),
    )


def paths() -> st.SearchStrategy[str]:
    """Paths that meet often, some odd: names that sort around ``/``, names that are not UTF-8."""
    parts = st.sampled_from(["a", "b", "a-b", "a.b", "a0", "dir", "Ä", "\udcff\udc80x", " ", "%", "x" * 200])
    return st.lists(parts, min_size=1, max_size=3).map("/".join)


def without_clashes(files: Mapping[str, bytes]) -> Files:
    """The files that can lie in one directory tree: a path that is another's folder is left out."""
    folders = {path[: at + 1] for path in files for at, letter in enumerate(path) if letter == "/"}
    return {path: data for path, data in files.items() if f"{path}/" not in folders}


def states(max_files: int = 8, max_bytes: int = 40_000) -> st.SearchStrategy[Files]:
    """Whole states: path → content."""
    return st.dictionaries(paths(), contents(max_bytes), max_size=max_files).map(without_clashes)


def ref_names() -> st.SearchStrategy[str]:
    """A few valid names, so that they meet."""
    return st.sampled_from(["main", "best", "try/1", "try/2", "Ünï", "z-last"])

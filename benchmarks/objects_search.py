# SPDX-License-Identifier: MIT
"""A tree search that reads pages, written once: with a dict that keeps what was read, and with the lazy layer.

A node of the search is a place in the site. Its evaluation reads the page and the two on the way to it, and correlates
them; expanding it reads the page again, and the priors of its links are sums over parts of it. So pages are read again
as far as a search goes back to them, and each result depends on what was read.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.objects_site import LINKS, arrays, key_of, links_of, site_of, way_to

if TYPE_CHECKING:
    import casstore
    from casstore.branches import Branch
    from casstore.mcts import Node, StateTree
    from casstore.objects import Materializer, Ref

AT = "at"
BATCH = 4
EXPLORATION = 0.4


class Pages(Protocol):
    """Where a search gets its pages from."""

    def get(self, number: int) -> Any: ...


class Plain:
    """Reads a page once, and keeps it: what one writes who does not think of memory."""

    def __init__(self, store: casstore.Store) -> None:
        self._objects = store.branch(site_of(store)).objects
        self._known: dict[int, Any] = {}

    def get(self, number: int) -> Any:
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._objects[key_of(number)]
        return found


class Lazy:
    """Keeps a Ref to each page that was read; the materializer sees to the rest.

    A page matters as much as the tree says that the search will come back to its node.
    """

    def __init__(self, store: casstore.Store, home: Materializer) -> None:
        self._site = site_of(store)
        self._home = home
        self._known: dict[int, Ref[Any]] = {}
        self.weigh: Callable[[int], float] = lambda number: 0.0

    def _priority(self, number: int) -> float:
        return self.weigh(number)

    def get(self, number: int) -> Any:
        ref = self._known.get(number)
        if ref is None:
            ref = self._known[number] = self._home.register(
                self._site, key_of(number), priority=partial(self._priority, number)
            )
        return ref.get()


@dataclass(slots=True)
class Done:
    """What a search did."""

    digest: str
    """Of every page read and every value found, in order: equal for equal searches."""
    evaluations: int
    reads: int
    distinct: int
    seconds: float


class Search:
    """One search.

    Args:
        store: The site's.
        pages: Where pages come from.
        total: Pages of the site.
        wanted: Different pages to read.
        every: Evaluations between two calls of ``pause``.
        pause: Called with the tree.
        tell: Called with the number of different pages now and then.
    """

    def __init__(
        self,
        store: casstore.Store,
        pages: Pages,
        total: int,
        wanted: int,
        *,
        every: int = 0,
        pause: Callable[[StateTree], None] | None = None,
        tell: Callable[[int], None] | None = None,
    ) -> None:
        self.store = store
        self.pages = pages
        self.total = total
        self.wanted = wanted
        self.every = every
        self.pause = pause
        self.tell = tell
        self.reads = 0
        self.seen: set[int] = set()
        self.hash = hashlib.blake2b(digest_size=8)
        self.numpy = arrays()

    def read(self, number: int) -> Any:
        self.reads += 1
        self.seen.add(number)
        self.hash.update(b"%d " % number)
        return self.pages.get(number)

    def expand(self, branch: Branch, rng: random.Random) -> Iterator[tuple[Any, dict[str, Any], float]]:
        at = branch.objects[AT]
        parts = self.read(at).reshape(LINKS, -1).sum(axis=1)
        for place, number in enumerate(links_of(at, self.total)):
            yield number, {f"objects/{AT}": number}, float(parts[place])

    def evaluate(self, branch: Branch) -> float:
        """How much a page has in common with the way to it, 0 to 1."""
        first, *others = (self.read(number) for number in way_to(branch.objects[AT]))
        norm = float(self.numpy.linalg.norm(first))
        likeness = [float(first @ other) / (norm * float(self.numpy.linalg.norm(other))) for other in others]
        value = min(1.0, sum(likeness, 0.0) / 2 + float(first.max()) / 2)
        self.hash.update(b"%.6f " % value)
        return value

    def run(self) -> Done:
        """Searches until so many different pages were read."""
        from casstore.mcts import StateTree, search

        start = self.store.branch()
        start.objects[AT] = 0
        tree = StateTree(self.store, start, history=False)
        nodes: dict[int, Node] = {0: tree.root}
        tree.on("created", lambda node, _: nodes.__setitem__(int(str(node.action)), node))
        if isinstance(self.pages, Lazy):
            # One page has one node; before that is made, nobody knows what it is worth.
            self.pages.weigh = lambda number: tree.weight(nodes[number]) if number in nodes else 0.0
        began = time.perf_counter()
        evaluations, paused = 0, 0
        while len(self.seen) < self.wanted:
            found = search(
                tree, self.expand, self.evaluate, iterations=BATCH, exploration=EXPLORATION, batch=BATCH, seed=1
            )
            evaluations += found.evaluations
            if self.tell is not None:
                self.tell(len(self.seen))
            if self.pause is not None and evaluations - paused >= self.every:
                paused = evaluations
                self.pause(tree)
        return Done(self.hash.hexdigest(), evaluations, self.reads, len(self.seen), time.perf_counter() - began)

# SPDX-License-Identifier: MIT
"""Prefetcher: loads ahead what is likely to be asked for next, as far as its budget goes, and only while that pays.

It guesses from two sources: which key was asked for after which, and where a search may go from the node it visits, by
the visits of the node's children. Each is switched off by itself where it does not pay.

What it loads waits apart, by content, until a Ref asks for it; then it is that Ref's, as if it had been loaded just
then. So nothing changes but the time. What one agent asks for teaches what others will.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from casstore.errors import ClosedError, NotFoundError
from casstore.objects.admission import check_count, check_priority
from casstore.objects.held import MISSING, Held
from casstore.objects.origins import place_of
from casstore.objects.paying import OUTCOMES, Payoff
from casstore.objects.places import StatePlace
from casstore.objects.reach import check_search
from casstore.objects.ref import Ref
from casstore.objects.report import PrefetchStatus
from casstore.objects.successors import Successors

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.format.entry import Entry
    from casstore.objects.jobs import Job
    from casstore.objects.materializer import Materializer
    from casstore.objects.reach import SearchTree
    from casstore.store import State

RECENT_KEYS: Final = 32
STALE_TOUCHES: Final = 64
"""What was loaded ahead goes when nobody asked for it during so many touches."""
VISIT_LOADS: Final = 32
VISIT_LOOKS: Final = 64
"""What one visit of a search asks for, and looks for, at the most: children by visits, and what was read last."""

_last: ContextVar[tuple[int, str] | None] = ContextVar("casstore_last_key", default=None)
"""What this thread or task asked for last, of which prefetcher: agents take turns, and each has an order of its own."""


class Prefetcher:
    """Watches what a materializer is asked for, and loads ahead: objects of snapshots, and those of branches that are
    in the store. What was set on a branch and waits in memory is there already.

    Args:
        materializer: It serves one prefetcher at a time.
        budget_bytes: Bound of what waits to be asked for, by estimate.
        ahead: Steps to look ahead.
        least: Probability below which nothing is loaded, 0 to 1.
        max_keys: Keys that are remembered.
        max_shapes: Shapes of keys that are remembered.

    Raises:
        InvalidInputError: A bound is out of its range.

    *Cost*: some 17 µs for each touch that counts: one for each object between two loads.
    """

    def __init__(
        self,
        materializer: Materializer,
        *,
        budget_bytes: int = 32 * 2**20,
        ahead: int = 2,
        least: float = 0.5,
        max_keys: int = 8192,
        max_shapes: int = 1024,
    ) -> None:
        for name, value in (
            ("budget_bytes", budget_bytes),
            ("ahead", ahead),
            ("max_keys", max_keys),
            ("max_shapes", max_shapes),
        ):
            check_count(name, value)
        self.budget_bytes = budget_bytes
        self.ahead = ahead
        self.least = check_priority(least)
        self._home = weakref.ref(materializer)
        self._loader = materializer._loader
        self._successors = Successors(max_keys, max_shapes)
        self._waiting: OrderedDict[Entry, tuple[int, int, Payoff]] = OrderedDict()
        self._touches = 0
        self._waiting_bytes = 0
        self._asked: dict[int, tuple[Job, Payoff]] = {}
        self._learned, self._search = Payoff(), Payoff()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._mean_bytes = 0.0
        self._issued = self._hits = self._wasted = 0
        self._saved_seconds = 0.0
        self._loader.claimed = self._claimed
        self._loader.observer = self._observe

    # -- watching

    def _observe(self, ref: Ref[Any], loaded: bool) -> None:
        place, key = ref._place, ref._key
        if not isinstance(place, StatePlace):
            return
        learned = self._learned
        before = _last.get()
        _last.set((id(self), key))
        dropped = []
        with self._loader.lock:
            self._touches += 1
            while self._waiting and next(iter(self._waiting.values()))[1] < self._touches - STALE_TOUCHES:
                dropped.append(self._drop_oldest())
            self._recent[key] = None
            self._recent.move_to_end(key)
            if len(self._recent) > RECENT_KEYS:
                self._recent.popitem(last=False)
            if before is not None and before[0] == id(self) and before[1] != key:
                self._successors.learn(before[1], key)
            if not self._search.active and type(ref._held) is Held:
                self._search.asked(ref._held.entry, loaded)
            if not learned.active:
                learned.asked(key, loaded)
            guesses = self._successors.chain(key, self.ahead, self.least)
            if not learned.active:
                # The likeliest last, as what comes first goes first.
                most = self._holds
                for guess, _ in reversed(guesses[:most]):
                    learned.watch(guess, most)
        del dropped
        if not learned.active:
            return
        if place.expected is not None and guesses:
            # What was stated of this object says nothing of the others.
            home = self._home()
            if home is None:
                return
            place = place_of(home, place.state)
        # Less than the budget at once, or the best guess would give way to the worst.
        room = self.budget_bytes
        for guess, probability in guesses:
            room -= self._offer(place, guess, probability, room, learned)
            if room <= 0:
                break

    @property
    def _holds(self) -> int:
        """How many objects the budget holds, about."""
        return max(1, int(self.budget_bytes / self._mean_bytes)) if self._mean_bytes else RECENT_KEYS

    # -- loading ahead

    def _offer(self, place: StatePlace, key: str, probability: float, room: int, source: Payoff) -> int:
        """Asks for an object of a state; returns the bytes it will take, by estimate, or 0 where nothing was done."""
        home = self._home()
        if home is None or probability < home.threshold:
            return 0
        try:
            entry = place.find(key)
        except NotFoundError:
            return 0
        if entry is None:
            return 0
        size = max(1, place.estimate(key, entry))
        with self._loader.lock:
            if entry in self._waiting:
                # Guessed again, so it is not what goes first.
                known = self._waiting.pop(entry)
                self._waiting[entry] = (known[0], self._touches, known[2])
                return 0
            if size > room or self._loader.is_loaded(entry):
                return 0
            if not source.active:
                source.watch(entry, self._holds)
                return 0
        ref: Ref[Any] = Ref(place, key, probability)
        try:
            job = home._offer(ref, probability, None, asked=False)
        except ClosedError:
            return 0
        if job is None:
            return 0
        with self._loader.lock:
            self._issued += 1
            self._asked[id(job)] = (job, source)
        job.on_done(self._arrived, home._pool)
        return size

    def _arrived(self, job: Job) -> None:
        """Puts what was loaded ahead where it waits; the oldest of what waits goes when there is too much."""
        held = job.ref._held
        with self._loader.lock:
            source = self._asked.pop(id(job), (job, self._learned))[1]
            if type(held) is not Held or held.entry is None or not held.fresh or job.error is not None:
                return
            ahead = self._loader.ahead
            if held.entry in ahead:
                return
            ahead[held.entry] = held
            self._mean_bytes += (held.size - self._mean_bytes) * (OUTCOMES if self._mean_bytes else 1)
            self._waiting[held.entry] = (held.size, self._touches, source)
            self._waiting_bytes += held.size
            dropped = []
            while self._waiting_bytes > self.budget_bytes and self._waiting:
                dropped.append(self._drop_oldest())
        del dropped

    def _drop_oldest(self) -> Held | None:
        """What was asked for ahead longest ago, and in vain; to be dropped where no lock is held."""
        entry, (size, _, source) = self._waiting.popitem(last=False)
        self._waiting_bytes -= size
        self._wasted += 1
        source.judge(False)
        return self._loader.ahead.pop(entry, None)

    def _claimed(self, held: Held, used: bool) -> None:
        """Called under the lock when somebody asked for what was loaded ahead."""
        nothing = (0, 0, self._learned)
        size, _, source = nothing if held.entry is None else self._waiting.pop(held.entry, nothing)
        self._waiting_bytes -= size
        if used:
            self._hits += 1
            self._saved_seconds += held.seconds
        else:
            self._wasted += 1
        source.judge(used)

    def expect(
        self, states: Iterable[tuple[State | Branch, float]], keys: Iterable[str] | None = None, *, limit: int = 64
    ) -> int:
        """Loads ahead for states that a search may go to next; returns how many loads were asked for.

        Args:
            states: States and how likely each is: the children of a node with the shares of their visits. ``follow``
                does it by itself.
            keys: What will be read of them; None is what was asked for last.
            limit: Loads to ask for at the most.

        Raises:
            NotFoundError: There is no such state.
            InvalidInputError: A share is no number of 0 or more.
        """
        return self._expect(states, keys, limit, limit * 64)

    def follow(self, tree: SearchTree) -> Callable[[], None]:
        """A function that ends it: until then, when the search visits a node, its children are loaded ahead.

        Those with most of the visits first, down to a share of ``least``; of each, what was asked for last. Neither the
        search nor the prefetcher keeps the other alive.

        Args:
            tree: For example a ``StateTree``. Several agents may share a tree, and several trees a prefetcher.

        Raises:
            InvalidInputError: It is no search.
        """
        check_search(tree, "on_visit")
        alive = weakref.ref(self)

        def visited(states: Iterable[tuple[State | Branch, float]]) -> None:
            found = alive()
            if found is not None:
                found._visit(states)

        return tree.on_visit(visited)

    def _visit(self, states: Iterable[tuple[State | Branch, float]]) -> None:
        try:
            self._expect(states, None, VISIT_LOADS, VISIT_LOOKS)
        except (ClosedError, NotFoundError):
            # A state that was collected or pruned by now is nothing that a search should stop for.
            return

    def _expect(
        self, states: Iterable[tuple[State | Branch, float]], keys: Iterable[str] | None, limit: int, looks: int
    ) -> int:
        home = self._home()
        if home is None:
            return 0
        ranked = sorted(((check_priority(share), -number, state) for number, (state, share) in enumerate(states)))
        with self._loader.lock:
            wanted = list(reversed(self._recent)) if keys is None else list(keys)
        asked = 0
        room = self.budget_bytes
        for share, _, state in reversed(ranked):
            if share < self.least:
                break
            place = place_of(home, state)
            for key in wanted:
                if asked >= limit or looks <= 0 or room <= 0:
                    return asked
                looks -= 1
                taken = self._offer(place, key, share, room, self._search)
                room -= taken
                asked += taken > 0
        return asked

    # -- about it

    def status(self) -> PrefetchStatus:
        """Figures of now."""
        with self._loader.lock:
            gone = [entry for entry, held in self._loader.ahead.items() if held.value is MISSING]
            for entry in gone:
                # Made room for something else before anybody asked.
                self._claimed(self._loader.ahead.pop(entry), False)
            return PrefetchStatus(
                active=self._learned.active,
                search_active=self._search.active,
                waiting=len(self._waiting),
                waiting_bytes=self._waiting_bytes,
                issued=self._issued,
                hits=self._hits,
                wasted=self._wasted,
                saved_seconds=self._saved_seconds,
                hit_share=self._learned.share,
                search_hit_share=self._search.share,
                switches=self._learned.switches + self._search.switches,
                shapes=len(self._successors.shapes),
                keys=len(self._successors.keys),
            )

    def close(self) -> None:
        """Stops watching, and drops what waits."""
        with self._loader.lock:
            if self._loader.observer == self._observe:
                self._loader.observer = None
                self._loader.claimed = None
            dropped = list(self._loader.ahead.values())
            self._loader.ahead.clear()
            self._waiting.clear()
            self._waiting_bytes = 0
        del dropped
        jobs = list(self._asked.values())
        home = self._home()
        for job, _ in jobs if home is not None else ():
            home._pool.give_up(job)  # type: ignore[union-attr]

# SPDX-License-Identifier: MIT
"""Prefetcher: loads ahead what is likely to be asked for next, as far as its budget goes, and only where that pays.

It guesses from two sources: which key was asked for after which, and where a search may go from the node it visits, by
the visits of the node's children. Each is switched off by itself where its guesses do not come true.

Who reads only notes what he read; guessing, looking up and ordering are done by the pool. Even that is left out for
keys whose loads take less time than thinking of them, and for those where thinking costs more than it saves.

What it loads waits apart, by content, until a Ref asks for it; then it is that Ref's, as if it had been loaded just
then. So nothing changes but the time. What one agent asks for teaches what others will.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from casstore.errors import CasstoreError, ClosedError, NotFoundError
from casstore.objects.accounts import LEAST_SECONDS, MOST_HANDOVER_SECONDS, OUTLIER, Account, Accounts
from casstore.objects.admission import check_count, check_priority
from casstore.objects.held import MISSING, Held
from casstore.objects.jobs import Job
from casstore.objects.origins import place_of
from casstore.objects.paying import OUTCOMES, Payoff
from casstore.objects.places import StatePlace
from casstore.objects.reach import check_search
from casstore.objects.ref import Ref
from casstore.objects.report import PrefetchStatus, prefetch_status_of
from casstore.objects.touches import RECENT_KEYS, Ahead, Guess, Memory, Touch, is_at_hand

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.format.entry import Entry
    from casstore.objects.materializer import Materializer
    from casstore.objects.reach import SearchTree
    from casstore.store import State

STALE_TOUCHES: Final = 64
"""What was loaded ahead goes when nobody asked for it during so many touches."""
VISIT_LOADS: Final = 32
VISIT_LOOKS: Final = 64
"""What one visit of a search asks for, and looks for, at the most: children by visits, and what was read last."""
NOTED_TOUCHES: Final = 64
"""Touches that wait to be thought about; older ones are forgotten."""
CALM_TOUCHES: Final = 8
"""Touches that are thought about at once while all of them find what they look for."""
BATCH_TOUCHES: Final = 32
"""Touches that are thought about at once while nothing is guessed, and so nothing is in haste."""

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
        margin: A load must take so many times what guessing it costs; 0 guesses everything, whatever it costs.
        busy: Share of the time that other threads of the process compute, 0 to 1, and are held up by what this does;
            None finds out.
        clock: Seconds of processor time of a thread, for what guessing costs.

    Raises:
        InvalidInputError: A bound is out of its range.

    *Cost*: about 1 µs for each touch that counts: one for each object between two loads; 20 where a thread has to be
    woken for it, more where processors are short. Thinking of it takes that thread 50 to 200 µs.
    """

    def __init__(
        self,
        materializer: Materializer,
        *,
        budget_bytes: int = 32 * 2**20,
        ahead: int = 4,
        least: float = 0.5,
        max_keys: int = 8192,
        max_shapes: int = 1024,
        margin: float = 2.0,
        busy: float | None = None,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        counts = {"budget_bytes": budget_bytes, "ahead": ahead, "max_keys": max_keys, "max_shapes": max_shapes}
        for name, value in counts.items():
            check_count(name, value)
        self.budget_bytes = budget_bytes
        self.ahead = ahead
        self.least = check_priority(least)
        self.margin = check_priority(margin)
        self._clock = clock
        self._home = weakref.ref(materializer)
        self._loader = materializer._loader
        self._memory = Memory(max_keys, max_shapes)
        self._accounts = Accounts(max_shapes, self.margin, busy)
        self._least_seconds = LEAST_SECONDS if self.margin else 0.0
        # Reentrant, as what is looked up may run Python's collector, and that somebody's destructor.
        self._mind = threading.RLock()
        self._noted: deque[Touch] = deque(maxlen=NOTED_TOUCHES)
        self._visited: list[tuple[State | Branch, float]] | None = None
        self._called = False
        self._handover = 0.0
        self._call = partial(_think, weakref.ref(self))
        self._waiting: OrderedDict[Entry, Ahead] = OrderedDict()
        self._touches = 0
        self._waiting_bytes = 0
        self._learned, self._search = Payoff(), Payoff()
        self._visits = Account()
        self._last_claimed: Held | None = None
        self._mean_bytes = 0.0
        self._issued = self._hits = self._wasted = self._overtaken = 0
        self._saved_seconds = 0.0
        self._loader.arrived = self._arrived
        self._loader.claimed = self._claimed
        self._loader.overtaken = self._overtake
        self._loader.observer = self._observe

    # -- watching, in the thread that reads

    def _observe(self, ref: Ref[Any], loaded: bool) -> None:
        place, held = ref._place, ref._held
        if not place.packs or type(held) is not Held:
            return
        self._touches = touches = self._touches + 1
        key = ref._key
        account = self._accounts.of(key)
        if not loaded or not account.seconds:
            account.loaded(held.seconds)
        if self.margin and (account.seconds < self._least_seconds or account.rests()):
            # Loads that take no time are no loss, and nothing is learned of them that would be of use.
            if self._waiting and not touches % STALE_TOUCHES:
                self._wake()
            return
        before = _last.get()
        _last.set((id(self), key))
        self._noted.append(
            Touch(
                place,  # type: ignore[arg-type]
                key,
                before[1] if before is not None and before[0] == id(self) else None,
                loaded,
                held.entry,
                account,
            )
        )
        if not self._learned.active:
            in_haste = len(self._noted) >= BATCH_TOUCHES
        elif loaded and self.margin and not self._accounts.is_idle:
            # A thread that wakes takes the processor from him who wakes it; so not while there is enough ahead.
            runs_short = (
                self._last_claimed is held and len(self._waiting) + len(self._loader.pending) <= self.ahead // 2
            )
            in_haste = runs_short or len(self._noted) >= CALM_TOUCHES
        else:
            in_haste = True
        self._last_claimed = None
        if in_haste:
            self._wake()

    def _wake(self) -> None:
        """Has a thread of the pool think; several touches may share one call."""
        if not self._called:
            home = self._home()
            if home is not None:
                self._called = True
                began = self._loader.now()
                home._pool.think(self._call)
                # By the clock on the wall: many a scheduler lets whoever is woken run first.
                self._handover += min(MOST_HANDOVER_SECONDS, self._loader.now() - began)

    # -- thinking, in a thread of the pool

    def _think(self) -> None:
        if (home := self._home()) is None:
            return
        with self._mind:
            # Before looking: what is noted from now on calls again.
            self._called = False
            visited, self._visited = self._visited, None
            began = self._clock()
            dropped = self._forget_stale()
            heads: dict[str, Touch] = {}
            while self._noted:
                touch = self._noted.popleft()
                self._learn(touch)
                if not self._learned.active:
                    self._watch(touch)
                    continue
                if touch.before is not None:
                    # Whoever asked for that has gone on.
                    heads.pop(touch.before, None)
                heads[touch.key] = touch
            del dropped
            threshold = home.threshold
            handover, self._handover = self._handover, 0.0
            for touch in heads.values():
                self._guess(home, touch, threshold)
                ended = self._clock()
                self._thought(touch.account, ended - began, handover)
                began, handover = ended, 0.0
            if visited is not None:
                self._look_at(visited)
                self._thought(self._visits, self._clock() - began, handover)
            accounts = self._accounts
            accounts.look(self._loader.now(), time.process_time() - home._pool.computed_seconds)
            if self.margin:
                self._least_seconds = accounts.least_seconds
                self._learned.even = self._search.even = accounts.even

    def _thought(self, account: Account, seconds: float, handover: float) -> None:
        with self._loader.lock:
            self._accounts.thought(account, seconds, handover)

    def _forget_stale(self) -> list[Held | None]:
        dropped = []
        with self._loader.lock:
            while self._waiting and next(iter(self._waiting.values())).touches < self._touches - STALE_TOUCHES:
                dropped.append(self._drop_oldest())
        return dropped

    def _learn(self, touch: Touch) -> None:
        self._memory.learn(touch)
        learned = self._learned
        if not self._search.active or not learned.active:
            with self._loader.lock:
                if not self._search.active and touch.entry is not None:
                    self._search.asked(touch.entry, touch.loaded)
                if not learned.active:
                    learned.asked(touch.key, touch.loaded)

    def _watch(self, touch: Touch) -> None:
        """Notes what would be guessed, to see whether that would come true."""
        guesses = self._memory.successors.chain(touch.key, self.ahead, self.least)
        with self._loader.lock:
            # The likeliest last, as what comes first goes first.
            most = self._holds
            for guess, _ in reversed(guesses[:most]):
                self._learned.watch(guess, most)

    def _guess(self, home: Materializer, touch: Touch, threshold: float) -> None:
        place, learned = touch.place, self._learned
        guesses = self._memory.successors.chain(touch.key, self.ahead, self.least)
        if guesses and place.expected is not None:
            # What was stated of this object says nothing of the others.
            place = place_of(home, place.state)
        # Less than the budget at once, or the best guess would give way to the worst.
        room = self.budget_bytes
        for key, probability in guesses:
            if probability < threshold:
                break
            kind = self._accounts.of(key)
            if self._accounts.is_worth(kind) and not self._is_known_loaded(key):
                room -= self._offer(home, place, key, probability, room, Guess(learned, touch.account, kind))
            if room <= 0:
                break

    def _is_known_loaded(self, key: str) -> bool:
        """Whether a key that has the same object in every state has it in memory; without looking it up."""
        entry = self._memory.same(key)
        return entry is not None and (
            entry in self._waiting or entry in self._loader.pending or self._loader.is_loaded(entry)
        )

    @property
    def _holds(self) -> int:
        """How many objects the budget holds, about."""
        return max(1, int(self.budget_bytes / self._mean_bytes)) if self._mean_bytes else RECENT_KEYS

    # -- loading ahead

    def _offer(
        self, home: Materializer, place: StatePlace, key: str, probability: float, room: int, guess: Guess
    ) -> int:
        """Asks for an object of a state; returns the bytes it will take, by estimate, or 0 where nothing was done."""
        try:
            entry = place.find(key)
        except NotFoundError:
            return 0
        if entry is None or (self.margin and is_at_hand(place, entry)):
            return 0
        size = max(1, place.estimate(key, entry))
        with self._loader.lock:
            if entry in self._waiting:
                # Guessed again, so it is not what goes first.
                self._waiting[entry] = self._waiting.pop(entry)._replace(touches=self._touches)
                return 0
            if size > room or entry in self._loader.pending or self._loader.is_loaded(entry):
                return 0
            if not guess.source.active:
                guess.source.watch(entry, self._holds)
                return 0
        ref: Ref[Any] = Ref(place, key, probability)
        try:
            job = Job(ref, probability, waited=False, asked=False)
            job.entry = entry
            with self._loader.lock:
                self._loader.pending[entry] = (job, guess)
            if not home._pool.submit(job):
                self._ended(entry, job)
                return 0
        except ClosedError:
            self._loader.pending.pop(entry, None)
            return 0
        self._issued += 1
        job.on_done(partial(self._ended, entry), home._pool)
        return size

    def _ended(self, entry: Entry, job: Job) -> None:
        """Forgets a request that has ended, whether the object came or not."""
        with self._loader.lock:
            found = self._loader.pending.get(entry)
            if found is not None and found[0] is job:
                del self._loader.pending[entry]

    def _overtake(self, entry: Entry) -> None:
        """Withdraws a request whose object somebody loads himself now."""
        with self._loader.lock:
            found = self._loader.pending.pop(entry, None)
            self._overtaken += found is not None
        home = self._home()
        if found is not None and home is not None:
            home._pool.give_up(found[0])

    def _arrived(self, held: Held) -> list[Held | None]:
        """Puts what was loaded ahead where it waits; returns what has to go for it, to be dropped without the lock."""
        found = None if held.entry is None else self._loader.pending.pop(held.entry, None)
        if found is None or held.entry is None or held.entry in self._loader.ahead:
            return []
        self._loader.ahead[held.entry] = held
        self._mean_bytes += (held.size - self._mean_bytes) * (OUTCOMES if self._mean_bytes else 1)
        self._waiting[held.entry] = Ahead(held.size, self._touches, held.seconds, found[1])
        self._waiting_bytes += held.size
        dropped = []
        while self._waiting_bytes > self.budget_bytes and self._waiting:
            dropped.append(self._drop_oldest())
        return dropped

    def _drop_oldest(self) -> Held | None:
        """What was asked for ahead longest ago, and in vain; to be dropped where no lock is held."""
        entry, ahead = self._waiting.popitem(last=False)
        self._waiting_bytes -= ahead.size
        self._waste(ahead)
        return self._loader.ahead.pop(entry, None)

    def _waste(self, ahead: Ahead) -> None:
        self._wasted += 1
        mean = ahead.guess.kind.seconds
        self._accounts.wasted(ahead.guess.account, min(ahead.seconds, OUTLIER * mean) if mean else ahead.seconds)
        ahead.guess.source.judge(False)

    def _claimed(self, held: Held, used: bool, waited: float) -> None:
        """Called under the lock when somebody asked for what was loaded ahead."""
        ahead = None if held.entry is None else self._waiting.pop(held.entry, None)
        if ahead is None:
            return
        self._waiting_bytes -= ahead.size
        if not used:
            self._waste(ahead)
            return
        # Not more than it took here, nor than it takes those who load by themselves.
        saved = min(ahead.seconds, ahead.guess.kind.seconds or ahead.seconds) - waited
        self._last_claimed = held
        self._hits += 1
        self._saved_seconds += saved
        self._accounts.saved(ahead.guess.account, saved)
        ahead.guess.source.judge(True)

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
        if not (self.margin and self._visits.rests()):
            # Where the search was before is of no use any more.
            self._visited = list(states)
            self._wake()

    def _look_at(self, states: Iterable[tuple[State | Branch, float]]) -> None:
        try:
            self._expect(states, None, VISIT_LOADS, VISIT_LOOKS)
        except (ClosedError, NotFoundError):
            # A state that was collected or pruned by now is nothing that a search should stop for.
            return

    def _expect(
        self, states: Iterable[tuple[State | Branch, float]], keys: Iterable[str] | None, limit: int, looks: int
    ) -> int:
        if (home := self._home()) is None:
            return 0
        ranked = sorted(((check_priority(share), -number, state) for number, (state, share) in enumerate(states)))
        accounts = self._accounts
        with self._mind:
            wanted = list(reversed(self._memory.recent)) if keys is None else list(keys)
            kinds = [(key, accounts.of(key)) for key in wanted]
            if keys is None:
                kinds = [(key, kind) for key, kind in kinds if accounts.is_worth(kind)]
        asked = 0
        room = self.budget_bytes
        threshold = home.threshold
        for share, _, state in reversed(ranked):
            if share < max(self.least, threshold):
                break
            place = place_of(home, state)
            for key, kind in kinds:
                if asked >= limit or looks <= 0 or room <= 0:
                    return asked
                looks -= 1
                taken = self._offer(home, place, key, share, room, Guess(self._search, self._visits, kind))
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
                self._claimed(self._loader.ahead.pop(entry), False, 0.0)
            return prefetch_status_of(self)

    def close(self) -> None:
        """Stops watching, and drops what waits."""
        loader = self._loader
        with loader.lock:
            if loader.observer == self._observe:
                loader.observer = loader.claimed = loader.arrived = loader.overtaken = None
            dropped = list(loader.ahead.values())
            loader.ahead.clear()
            jobs = [job for job, _ in loader.pending.values()]
            loader.pending.clear()
            self._waiting.clear()
            self._waiting_bytes = 0
        self._noted.clear()
        self._visited = None
        del dropped
        home = self._home()
        for job in jobs if home is not None else ():
            home._pool.give_up(job)  # type: ignore[union-attr]


def _think(prefetcher: weakref.ref[Prefetcher]) -> None:
    """A thought of the pool, which keeps no prefetcher alive."""
    found = prefetcher()
    if found is not None:
        try:
            found._think()
        except (CasstoreError, MemoryError):
            # Whoever asks for the object hears of what is wrong with it, or with memory.
            return

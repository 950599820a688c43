# SPDX-License-Identifier: MIT
"""Prefetcher: loads ahead what is likely to be asked for next, as far as its budget goes, and only while that pays.

What it loads waits apart, by content, until a Ref asks for it; then it is that Ref's, as if it had been loaded just
then. So nothing changes but the time. What one agent asks for teaches what others will.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from casstore.errors import ClosedError, NotFoundError
from casstore.objects.admission import check_count, check_priority
from casstore.objects.held import MISSING, Held
from casstore.objects.origins import place_of
from casstore.objects.places import SnapshotPlace
from casstore.objects.ref import Ref
from casstore.objects.report import PrefetchStatus
from casstore.objects.successors import Successors

if TYPE_CHECKING:
    from casstore.format.entry import Entry
    from casstore.objects.jobs import Job
    from casstore.objects.materializer import Materializer
    from casstore.store import State

OUTCOMES: Final = 1 / 32
"""Weight of the newest outcome in the share of hits."""
OFF_BELOW: Final = 0.5
ON_ABOVE: Final = 0.65
"""A wasted load costs about what a hit saves, and the memory besides; between the two, nothing changes."""
PATIENCE: Final = 32
MAX_PATIENCE: Final = 4096
"""Outcomes that it watches before it switches itself on again, at the least; twice as many each time it was wrong."""
RECENT_KEYS: Final = 32
STALE_TOUCHES: Final = 64
"""What was loaded ahead goes when nobody asked for it during so many touches."""

_last: ContextVar[tuple[int, str] | None] = ContextVar("casstore_last_key", default=None)
"""What this thread or task asked for last, of which prefetcher: agents take turns, and each has an order of its own."""


class Prefetcher:
    """Watches what a materializer is asked for, and loads ahead. Objects of snapshots only: those of a branch change.

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
        self._waiting: OrderedDict[Entry, tuple[int, int]] = OrderedDict()
        self._touches = 0
        self._waiting_bytes = 0
        self._asked: dict[int, Job] = {}
        # While it is off: what it would have loaded, to see whether that would pay again.
        self._shadow: OrderedDict[str, None] = OrderedDict()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._active = True
        self._patience = PATIENCE
        self._since = 0
        self._mean_bytes = 0.0
        self._share = ON_ABOVE
        self._issued = self._hits = self._wasted = self._switches = 0
        self._saved_seconds = 0.0
        self._loader.claimed = self._claimed
        self._loader.observer = self._observe

    # -- watching

    def _observe(self, ref: Ref[Any], loaded: bool) -> None:
        place, key = ref._place, ref._key
        if not isinstance(place, SnapshotPlace):
            return
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
            if not self._active:
                self._judge_shadow(key, loaded)
            guesses = self._successors.chain(key, self.ahead, self.least)
            if not self._active:
                self._watch([guess for guess, _ in guesses])
                return
        del dropped
        # Less than the budget at once, or the best guess would give way to the worst.
        room = self.budget_bytes
        for guess, probability in guesses:
            room -= self._offer(place, guess, probability, room)
            if room <= 0:
                break

    def _watch(self, guesses: list[str]) -> None:
        """Notes what would have been loaded, as far as the budget would have held it; the lock is held."""
        shadow = self._shadow
        most = max(1, int(self.budget_bytes / self._mean_bytes)) if self._mean_bytes else RECENT_KEYS
        # The likeliest last, as what comes first goes first.
        for guess in reversed(guesses[:most]):
            shadow[guess] = None
            shadow.move_to_end(guess)
        while len(shadow) > min(most, 8 * RECENT_KEYS):
            # Guessed, and not asked for since: it would have been wasted.
            shadow.popitem(last=False)
            self._judge(False)

    def _judge_shadow(self, key: str, loaded: bool) -> None:
        if key in self._shadow:
            del self._shadow[key]
            # What was there anyway would not have been loaded.
            if not loaded:
                self._judge(True)

    def _judge(self, hit: bool) -> None:
        self._share += (hit - self._share) * OUTCOMES
        self._since += 1
        if self._active:
            if self._since >= MAX_PATIENCE:
                self._patience = PATIENCE
            if self._share < OFF_BELOW:
                self._switch(False)
                self._patience = min(MAX_PATIENCE, 2 * self._patience)
        elif self._share > ON_ABOVE and self._since >= self._patience:
            self._switch(True)

    def _switch(self, active: bool) -> None:
        self._active = active
        self._switches += 1
        self._since = 0
        self._shadow.clear()

    # -- loading ahead

    def _offer(self, place: SnapshotPlace, key: str, probability: float, room: int) -> int:
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
                self._waiting[entry] = (self._waiting.pop(entry)[0], self._touches)
                return 0
            if size > room or self._loader.is_loaded(entry):
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
            self._asked[id(job)] = job
        job.on_done(self._arrived, home._pool)
        return size

    def _arrived(self, job: Job) -> None:
        """Puts what was loaded ahead where it waits; the oldest of what waits goes when there is too much."""
        held = job.ref._held
        with self._loader.lock:
            self._asked.pop(id(job), None)
            if type(held) is not Held or held.entry is None or not held.fresh or job.error is not None:
                return
            ahead = self._loader.ahead
            if held.entry in ahead:
                return
            ahead[held.entry] = held
            self._mean_bytes += (held.size - self._mean_bytes) * (OUTCOMES if self._mean_bytes else 1)
            self._waiting[held.entry] = (held.size, self._touches)
            self._waiting_bytes += held.size
            dropped = []
            while self._waiting_bytes > self.budget_bytes and self._waiting:
                dropped.append(self._drop_oldest())
        del dropped

    def _drop_oldest(self) -> Held | None:
        """What was asked for ahead longest ago, and in vain; to be dropped where no lock is held."""
        entry, (size, _) = self._waiting.popitem(last=False)
        self._waiting_bytes -= size
        self._wasted += 1
        self._judge(False)
        return self._loader.ahead.pop(entry, None)

    def _claimed(self, held: Held, used: bool) -> None:
        """Called under the lock when somebody asked for what was loaded ahead."""
        size = self._waiting.pop(held.entry, (0, 0))[0] if held.entry is not None else 0
        self._waiting_bytes -= size
        if used:
            self._hits += 1
            self._saved_seconds += held.seconds
        else:
            self._wasted += 1
        self._judge(used)

    def expect(
        self, states: Iterable[tuple[State, float]], keys: Iterable[str] | None = None, *, limit: int = 64
    ) -> int:
        """Loads ahead for states that a search may go to next; returns how many loads were asked for.

        Args:
            states: States and how likely each is: the children of a node with the shares of their visits.
            keys: What will be read of them; None is what was asked for last.
            limit: Loads to ask for at the most.

        Raises:
            NotFoundError: There is no such state.
            InvalidInputError: A share is no number of 0 or more.
        """
        home = self._home()
        if home is None or not self._active:
            return 0
        ranked = sorted(((check_priority(share), number, state) for number, (state, share) in enumerate(states)))
        with self._loader.lock:
            wanted = list(reversed(self._recent)) if keys is None else list(keys)
        asked = 0
        for share, _, state in reversed(ranked):
            if share < self.least:
                break
            place = place_of(home, state)
            for key in wanted:
                if asked >= limit:
                    return asked
                if isinstance(place, SnapshotPlace):
                    asked += self._offer(place, key, share, self.budget_bytes) > 0
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
                active=self._active,
                waiting=len(self._waiting),
                waiting_bytes=self._waiting_bytes,
                issued=self._issued,
                hits=self._hits,
                wasted=self._wasted,
                saved_seconds=self._saved_seconds,
                hit_share=self._share,
                switches=self._switches,
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
        for job in jobs if home is not None else ():
            home._pool.give_up(job)  # type: ignore[union-attr]

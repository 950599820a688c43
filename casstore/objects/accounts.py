# SPDX-License-Identifier: MIT
"""Accounts: what loading ahead costs and saves in seconds, by the shape of the keys, so that it is done where it pays.

Thinking about a touch is booked on the shape that was touched, and so is what came of the guesses that this led to. An
account begins with a little credit; where that is used up, touches of this shape are not thought about for a while,
longer each time. Invariant: no clock here, all times are handed in, so that the same times give the same decisions.

What the pool computes holds nobody up while all others wait: for a model's answer, a compiler, a person. So it is
booked as far as others of the process compute. Where that is a share b of the time, guesses pay from b / (1 + b) hits
on: then the loads that are wasted cost what the others save.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from casstore.errors import InvalidInputError
from casstore.objects.successors import shape_of

LEAST_SECONDS: Final = 0.0003
"""Loads that take less are not loaded ahead, however little a guess costs: waking a thread takes that long."""
CREDIT_SECONDS: Final = 0.02
LEAST_CREDIT_SECONDS: Final = 0.0025
"""What thinking may cost before it has saved anything: at first, and at the least, half as much each time that it did
not pay."""
MOST_SECONDS: Final = 0.1
"""Savings that count: beyond, an account would go on for long where it does not pay any more."""
MOST_HANDOVER_SECONDS: Final = 0.0001
"""What waking a thread counts at the most: beyond, the processor was given to another process."""
REST_TOUCHES: Final = 256
MAX_REST_TOUCHES: Final = 2**16
"""Touches for which an account rests, at the least and at the most; twice as many each time that it did not pay."""
NEWEST: Final = 1 / 16
"""Weight of the newest load in the mean time of a shape's loads, and of the newest guess in what one costs."""
HALF_SECONDS: Final = 1.0
"""After so long, what was seen of how busy others are counts half."""
IDLE_SHARE: Final = 0.5
"""Others that compute less of the time than this are idle: each touch is thought about at once."""
SEEN_SECONDS: Final = 0.05
"""Before, others are taken to be busy all the time."""
OUTLIER: Final = 4.0
"""A load that took so many times the mean counts as this: a thread that had to wait for a processor says little."""


class Account:
    """What is known of the keys of one shape. Fields may be read without a lock.

    Attributes:
        seconds: Mean time of a load by who asked, decoding included, recent ones counting most; 0.0 before the first.
        credit: Seconds that were saved beyond what was spent, and what may be spent in advance.
        resting: Touches that are not thought about yet, since it did not pay.
        switches: How often it was sent to rest.
    """

    __slots__ = ("_lent", "_loads", "_rest", "credit", "resting", "seconds", "switches")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.credit = self._lent = CREDIT_SECONDS
        self.resting = self.switches = 0
        self._loads = 0
        self._rest = REST_TOUCHES

    def loaded(self, seconds: float) -> None:
        """Notes what a load took that somebody waited for."""
        self._loads = loads = self._loads + 1
        if loads == 1:
            self.seconds = seconds
        else:
            mean = self.seconds
            self.seconds = mean + (min(seconds, OUTLIER * mean) - mean) * max(1 / loads, NEWEST)

    def book(self, seconds: float) -> None:
        """Notes seconds saved, or spent where they are less than 0; the last of the credit sends it to rest."""
        self.credit += seconds
        if self.credit >= MOST_SECONDS:
            self.credit = MOST_SECONDS
            self._rest = REST_TOUCHES
            self._lent = CREDIT_SECONDS
        elif self.credit < 0 and not self.resting:
            self.resting = self._rest
            self.switches += 1
            self._rest = min(MAX_REST_TOUCHES, 2 * self._rest)
            # What it begins with when it has rested.
            self.credit = self._lent = max(LEAST_CREDIT_SECONDS, self._lent / 2)

    def rests(self) -> bool:
        """Whether this touch is to be passed over; it counts as one of the rest."""
        if self.resting:
            self.resting -= 1
            return True
        return False


class Accounts:
    """The accounts of all shapes, bounded, those made last. A new one may be made from any thread.

    Args:
        max_shapes: Bound of the shapes.
        margin: A load must take so many times what a guess costs; 0 keeps no accounts: everything is guessed.
        busy: Share of the time that others compute, 0 to 1; None finds out.

    Attributes:
        busy: That share now.
        guess_seconds: What one guess costs others, from the look-up to handing it over, by mean.
    """

    __slots__ = (
        "_computed",
        "_finds_out",
        "_known",
        "_passed",
        "_seen",
        "busy",
        "guess_seconds",
        "margin",
        "max_shapes",
    )

    def __init__(self, max_shapes: int, margin: float, busy: float | None = 1.0) -> None:
        if busy is not None and not 0 <= busy <= 1:
            raise InvalidInputError(f"busy is {busy!r}; give a share of the time, 0 to 1, or None to find out.")
        self.max_shapes = max_shapes
        self.margin = margin
        self.busy = 1.0 if busy is None else busy
        self.guess_seconds = 0.0
        self._known: OrderedDict[str, Account] = OrderedDict()
        self._finds_out = busy is None
        self._seen: tuple[float, float] | None = None
        self._passed = self._computed = 0.0

    def look(self, now: float, others: float) -> None:
        """Notes how busy others are.

        Args:
            now: Seconds of any clock.
            others: Seconds of processor time that the process took until then, but for those of the pool.
        """
        if not self._finds_out:
            return
        if self._seen is not None:
            passed, computed = now - self._seen[0], others - self._seen[1]
            kept = 0.5 ** (passed / HALF_SECONDS)
            self._passed = self._passed * kept + passed
            self._computed = self._computed * kept + computed
            if self._passed > SEEN_SECONDS:
                self.busy = min(1.0, max(0.0, self._computed / self._passed))
        self._seen = now, others

    @property
    def is_idle(self) -> bool:
        """Whether others wait most of the time, so that a thread that wakes takes the processor from nobody."""
        return self.busy < IDLE_SHARE

    @property
    def even(self) -> float:
        """Share of hits at which guesses neither cost nor save, 0 to 0.5."""
        return self.busy / (1 + self.busy)

    def of(self, key: str) -> Account:
        """The account of a key's shape."""
        shape = shape_of(key)[0]
        found = self._known.get(shape)
        if found is None:
            # One step, as the readers of several threads come here.
            found = self._known.setdefault(shape, Account())
            if len(self._known) > self.max_shapes:
                self._known.popitem(last=False)
        return found

    @property
    def least_seconds(self) -> float:
        """What a load must take to be worth a guess."""
        return max(LEAST_SECONDS, self.margin * self.guess_seconds)

    def is_worth(self, account: Account) -> bool:
        """Whether loads of this shape take long enough to be guessed."""
        return not self.margin or account.seconds >= self.least_seconds

    def thought(self, account: Account, seconds: float, handover: float) -> None:
        """Notes what one guess cost: seconds of the pool, and those of whoever woke it."""
        cost = seconds * self.busy + handover
        mean = self.guess_seconds
        self.guess_seconds = mean + (min(cost, OUTLIER * mean) - mean) * NEWEST if mean else cost
        if self.margin:
            account.book(-cost)

    def saved(self, account: Account, seconds: float) -> None:
        """Notes what somebody had not to wait."""
        if self.margin:
            account.book(seconds)

    def wasted(self, account: Account, seconds: float) -> None:
        """Notes a load of the pool that nobody wanted."""
        if self.margin:
            account.book(-seconds * self.busy)

    @property
    def resting(self) -> int:
        """Shapes that rest."""
        return sum(account.resting > 0 for account in list(self._known.values()))

    @property
    def switches(self) -> int:
        """How often one was sent to rest."""
        return sum(account.switches for account in list(self._known.values()))

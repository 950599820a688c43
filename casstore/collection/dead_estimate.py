# SPDX-License-Identifier: MIT
"""How much of a store is probably dead, without looking: from what was appended and deleted since somebody looked.

A survey says what is dead. Between two surveys three figures are known for nothing: bytes appended, refs deleted, and
what was too young to go at the last survey. How much of that turned out to be dead the last times says how much of it
to believe: a store that only appends is surveyed ever more rarely, one that throws away what it writes in time.
"""

from __future__ import annotations

from typing import Final

LEAST_TRUST: Final = 0.1
"""What is believed at the least, or a store that kept all for long would never be looked at again."""
NEWEST: Final = 0.5
"""Weight of the newest survey in what is believed."""


class DeadEstimate:
    """Bytes that a collection would probably find dead.

    Args:
        used_bytes: Bytes of all records now.
        deleted_refs: How many refs were deleted until now.

    Attributes:
        surveyed: Whether anybody has looked since the store was opened.
        trust: How much of what may be dead is believed to be, 0 to 1.

    *Thread safety*: none; its owner has a lock.
    """

    __slots__ = ("_deleted", "_live", "_ripe_at", "_used", "_young", "surveyed", "trust")

    def __init__(self, used_bytes: int, deleted_refs: int) -> None:
        self.surveyed = False
        self.trust = 1.0
        self._live = self._used = used_bytes
        self._deleted = deleted_refs
        self._young = 0
        self._ripe_at = 0.0

    def possible(self, used_bytes: int, deleted_refs: int, refs: int, now: float) -> int:
        """Bytes that may have died since the last look.

        Args:
            used_bytes: Bytes of all records now.
            deleted_refs: How many refs were deleted until now.
            refs: How many there are; each deleted one is taken to have held as much as the others.
            now: Seconds, by the clock of ``ripe_at``.
        """
        # Others collect too.
        self._used = min(self._used, used_bytes)
        deleted = deleted_refs - self._deleted
        released = self._live * deleted // (refs + deleted) if deleted > 0 else 0
        ripe = self._young if now >= self._ripe_at else 0
        return min(used_bytes, used_bytes - self._used + released + ripe)

    def expected(self, used_bytes: int, deleted_refs: int, refs: int, now: float) -> int:
        """As much of ``possible`` as is believed."""
        return int(self.possible(used_bytes, deleted_refs, refs, now) * self.trust)

    def looked(
        self,
        *,
        possible_bytes: int,
        dead_bytes: int,
        live_bytes: int,
        young_bytes: int,
        ripe_at: float,
        used_bytes: int,
        deleted_refs: int,
    ) -> None:
        """Takes over what a survey found, and begins anew.

        Args:
            possible_bytes: What ``possible`` said before.
            dead_bytes: What was dead.
            live_bytes: What roots lead to.
            young_bytes: What else was too young to go.
            ripe_at: When that is old enough, seconds.
            used_bytes: Bytes of all records, after the collection if there was one.
            deleted_refs: How many refs were deleted until the survey.
        """
        if possible_bytes > 0 and self.surveyed:
            # The first survey also finds what was dead before anybody counted.
            found = min(1.0, dead_bytes / possible_bytes)
            self.trust = max(LEAST_TRUST, self.trust + NEWEST * (found - self.trust))
        self.surveyed = True
        self._live, self._young, self._ripe_at = live_bytes, young_bytes, ripe_at
        self._used, self._deleted = used_bytes, deleted_refs

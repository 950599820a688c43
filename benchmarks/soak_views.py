# SPDX-License-Identifier: MIT
"""Readers of the soak as its parent sees them: what they must see when they open, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.soak_child import Child, Fault
from benchmarks.soak_samples import Times
from benchmarks.soak_values import expected_digest

if TYPE_CHECKING:
    from benchmarks.soak_run import Soak

CHECKED = 25
"""States that are read and compared to the last byte at a time."""


class Reader:
    """A reader beside the writer: open for a while, closed in order or killed, opened again."""

    def __init__(self, soak: Soak) -> None:
        self._soak = soak
        self.child = self._start()
        self._open = False
        self._until = 0.0

    def _start(self) -> Child:
        return Child("benchmarks.soak_reader", [str(self._soak.path)], self._soak.work / "reader.err")

    def look_in(self) -> None:
        """Opens or closes it when it is time."""
        soak = self._soak
        if soak.now < self._until:
            return
        if self._open:
            self.close()
            self._until = soak.now + soak.rng.uniform(0, 5) / soak.pace
            return
        some = soak.model.sample(CHECKED)
        digests = {name: expected_digest(state) for name, state in some.items()}
        answer = self.child.ask({"op": "open", "digests": digests})
        soak.times.setdefault("opening a reader", Times()).add(answer["opened"])
        soak.compare_refs(answer["refs"], "in a reader", set())
        self._open = True
        self._until = soak.now + soak.rng.uniform(5, 40) / soak.pace

    def close(self) -> None:
        """Has it end its look; what it saw must have stayed."""
        if not self._open:
            return
        answer = self.child.ask({"op": "close"})
        self._open = False
        self._soak.counts["reader views"] += 1
        self._soak.counts["states read by readers"] += answer["looks"]
        if answer["wrong"]:
            raise Fault(f"what a reader saw did not stay: {', '.join(answer['wrong'][:5])}")

    def kill(self) -> None:
        """Kills it; what it left is the collector's to remove."""
        self.child.kill()
        self._soak.counts["kills of readers"] += 1
        self.child = self._start()
        self._open = False
        self._until = self._soak.now

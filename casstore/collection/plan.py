# SPDX-License-Identifier: MIT
"""A collection's plan: what is kept by what, what is too young, what would go. Printable, and executed at most once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import overload

from casstore.address import Address
from casstore.collection.explain import Grounds, explain
from casstore.collection.explain_object import MAX_CHAINS, explain_object
from casstore.collection.explain_report import Explanation, Kept
from casstore.collection.roots import PINS, Roots, gather_roots
from casstore.collection.survey import DEAD, LIVE, YOUNG, Tally, Task
from casstore.collection.survey_process import make_survey
from casstore.collection.sweep import GcReport, Sweep
from casstore.errors import ConflictError, CorruptionError, InvalidInputError, ReadOnlyError
from casstore.format.index_entry import SUSPECT
from casstore.quantities import count, duration
from casstore.snapshots import Refs, Snapshots, shallow_ids
from casstore.storage import Storage
from casstore.storage.watch import Bitmap, Watch


@dataclass(slots=True, kw_only=True)
class GcPlan:
    """What a collection would do. ``execute`` it once, or ``drop`` it; until then it keeps its watch open.

    One that is forgotten is dropped too, with a ``ResourceWarning``.

    Attributes:
        grace_seconds: What was put or hit more recently is kept.
        undo_keep_seconds: How long the history of refs keeps states.
        live: What refs, history, pins and running operations lead to, by kind.
        young: What nothing leads to, but was put or hit within the grace period, by kind.
        dead: What would go, by kind.
        roots: How many roots of each sort there are.
        expired_moves: Moves of refs that leave the history.
        segments: Segments that would be compacted, and the bytes that each would give back.
        mark_bytes: Memory that the mark takes.
    """

    grace_seconds: int
    undo_keep_seconds: int
    live: dict[str, Tally] = field(default_factory=dict)
    young: dict[str, Tally] = field(default_factory=dict)
    dead: dict[str, Tally] = field(default_factory=dict)
    roots: dict[str, int] = field(default_factory=dict)
    expired_moves: int = 0
    segments: dict[int, int] = field(default_factory=dict)
    mark_bytes: int = 0
    _sweep: Sweep | None = None
    _grounds: Grounds | None = field(default=None, repr=False)

    @property
    def dead_objects(self) -> int:
        """Objects that would go."""
        return sum(tally.objects for tally in self.dead.values())

    @property
    def dead_bytes(self) -> int:
        """Bytes of their records."""
        return sum(tally.bytes for tally in self.dead.values())

    @property
    def freed_bytes(self) -> int:
        """Bytes that compaction would give back to the file system."""
        return sum(self.segments.values())

    def execute(self, progress: Callable[[str, int, int | None], None] | None = None) -> GcReport:
        """Collects as planned; what became live since the plan was made stays.

        Raises:
            ConflictError: The plan was executed or dropped before.
            CorruptionError: Something that became live since is damaged; nothing more was deleted.

        *Durability*: durable on return. A crash at any point leaves everything that is reachable.
        """
        sweep, self._sweep = self._sweep, None
        if sweep is None:
            raise ConflictError("this plan was executed or dropped already; make a new one with plan_gc().")
        # What it writes gives space back, so neither the quota nor a full disk may stop it.
        with sweep._storage.backend.freeing():
            return sweep.run(progress)

    @overload
    def explain(self) -> Explanation: ...

    @overload
    def explain(self, address: Address, *, limit: int = MAX_CHAINS) -> Kept: ...

    def explain(self, address: Address | None = None, *, limit: int = MAX_CHAINS) -> Explanation | Kept:
        """What keeps what: of the whole store, or of one object. Changes nothing.

        Args:
            address: 32 bytes of a content, chunk, node or snapshot; None explains the whole store: what each root
                keeps alone and with others, what is too young, and what comes free where.
            limit: How many chains to name for one object.

        Raises:
            ConflictError: The plan was executed or dropped.
            InvalidInputError: ``address`` is no address.
            CorruptionError: Something that must be kept is damaged.

        *Cost*: for one object, one more mark; for the store, two and four passes over the index. Memory: 17 bytes for
        each record, 32 more for each that refers to others.
        """
        if self._sweep is None or self._grounds is None:
            raise ConflictError("this plan was executed or dropped already; make a new one with plan_gc().")
        if address is None:
            return explain(self._grounds)
        return explain_object(self._grounds, address, limit=limit)

    def drop(self) -> None:
        """Gives the plan up; nothing is deleted."""
        sweep, self._sweep = self._sweep, None
        if sweep is not None:
            sweep.close()

    def __enter__(self) -> GcPlan:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def __del__(self) -> None:
        # Absent where the constructor was refused.
        if getattr(self, "_sweep", None) is not None:
            # Until now, no collection took what was put or met since it was made. Dropped first: a warning may raise.
            self.drop()
            warnings.warn("a GcPlan was neither executed nor dropped.", ResourceWarning, stacklevel=2, source=self)

    def __str__(self) -> str:
        lines = [f"grace {duration(self.grace_seconds)}, history kept {duration(self.undo_keep_seconds)}"]
        lines.append("roots: " + ", ".join(count(n, sort.removesuffix("s")) for sort, n in self.roots.items()))
        for name, part in (("live", self.live), ("too young", self.young), ("dead", self.dead)):
            for kind, tally in sorted(part.items()):
                lines.append(f"{name:>9}  {kind:<10} {tally.objects:>10} objects {tally.bytes:>14} bytes")
        lines.append(
            f"{count(len(self.segments), 'segment')} to compact for {self.freed_bytes:,} bytes, "
            f"{count(self.expired_moves, 'expired move')} of refs"
        )
        return "\n".join(lines)


def plan_gc(
    snapshots: Snapshots,
    refs: Refs,
    *,
    grace_seconds: int,
    undo_keep_seconds: int,
    accept_refs: bool = False,
    path: str | None = None,
) -> GcPlan:
    """What a collection would do now; nothing changes until the plan is executed.

    ``path`` is the store's folder, where it has one: a large store is then looked at by a process of its own.

    Raises:
        ReadOnlyError: The store is open read-only.
        InvalidInputError: A period is no whole number of seconds.
        CorruptionError: Something that must be kept is missing or damaged, or refs may have been lost in a rebuild.
        ConflictError: Another collection deleted what this one began with.
    """
    storage = snapshots.storage
    if storage.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to collect.")
    for name, value in (("grace_seconds", grace_seconds), ("undo_keep_seconds", undo_keep_seconds)):
        if type(value) is not int or value < 0:
            raise InvalidInputError(f"{name} is {value!r}; give a whole number, 0 or more.")
    if storage.backend.fact(SUSPECT) is not None and not accept_refs:
        raise CorruptionError(
            "the index was rebuilt over damage, so refs may be missing; look at `casstore refs`, then collect with "
            "accept_refs=True (`casstore gc --accept-refs`)."
        )
    stack = ExitStack()
    with ExitStack() as guard:
        guard.push(stack)
        stack.enter_context(storage.operation())
        sweeps = storage.backend.sweeps
        lengths = {info.segment: info.total_bytes for info in storage.backend.segments()}
        roots = gather_roots(storage, refs, undo_keep_seconds)
        shallow = shallow_ids(storage)
        watches = storage.backend.watches()
        # Stamps are whole seconds, rounded down, and a hit renews only those that are older than this.
        slack = storage.renew_after_seconds + 1 if grace_seconds else 0
        oldest = int(time.time()) - grace_seconds - slack
        try:
            found = make_survey(storage, _task(storage, roots, watches, shallow, oldest), path)
        except CorruptionError as error:
            if storage.backend.collecting or storage.backend.sweeps != sweeps:
                # It may have deleted what was a root a moment ago: a handle that was dropped, history that expired.
                raise ConflictError(
                    "another collection was deleting while this plan was made; make a new one when it is done."
                ) from error
            raise
        sweep = Sweep(
            snapshots, found, shallow.__contains__, watches, roots, oldest, sweeps, lengths, stack, accept_refs
        )
        plan = GcPlan(grace_seconds=grace_seconds, undo_keep_seconds=undo_keep_seconds)
        plan.live, plan.young, plan.dead = (found.tallies[part] for part in (LIVE, YOUNG, DEAD))
        plan.segments = sweep.worth_compacting()
        plan.roots = dict(roots.counts)
        plan.roots["operations"] = len(watches) - 1
        plan.expired_moves = len(roots.expired)
        plan.mark_bytes = found.memory_bytes
        plan._grounds = Grounds(
            storage=storage,
            shallow=shallow.__contains__,
            roots=roots.named,
            watches=tuple(watches),
            oldest=oldest,
            grace_seconds=grace_seconds,
            undo_keep_seconds=undo_keep_seconds,
            compacted=plan.segments,
        )
        plan._sweep = sweep
        guard.pop_all()
    return plan


def _task(storage: Storage, roots: Roots, watches: Sequence[Watch], shallow: set[Address], oldest: int) -> Task:
    chunks = Bitmap()
    met: set[Address] = set()
    for watch in watches:
        chunks.update(watch.chunks)
        met |= watch.parents
    relied_on = [(entry.kind, address) for address in met if (entry := storage.backend.find(address)) is not None]
    # A handle may be of something that is there in part only: that is no reason to collect nothing.
    relied_on += [(root.kind, root.address) for root in roots.named if root.sort == PINS]
    return Task(
        references=[(root.kind, root.address) for root in roots.named if root.sort != PINS],
        relied_on=relied_on,
        chunks=chunks,
        shallow=shallow,
        oldest=oldest,
        start=min(watch.start for watch in watches),
    )

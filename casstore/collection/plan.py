# SPDX-License-Identifier: MIT
"""A collection's plan: what is kept by what, what is too young, what would go. Printable, and executed at most once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from casstore.collection.mark import Marker
from casstore.collection.roots import gather_roots
from casstore.collection.sweep import GcReport, Sweep, Tally
from casstore.errors import ConflictError, CorruptionError, InvalidInputError, ReadOnlyError
from casstore.format.index_entry import SUSPECT
from casstore.format.kinds import KIND_NAMES
from casstore.snapshots import Refs, Snapshots, shallow_ids
from casstore.storage import Storage


@dataclass(slots=True, kw_only=True)
class GcPlan:
    """What a collection would do. ``execute`` it once, or ``drop`` it; until then it keeps its watch open.

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
        return sweep.run(progress)

    def drop(self) -> None:
        """Gives the plan up; nothing is deleted."""
        sweep, self._sweep = self._sweep, None
        if sweep is not None:
            sweep.close()

    def __enter__(self) -> GcPlan:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def __str__(self) -> str:
        lines = [f"grace {self.grace_seconds} s, history kept {self.undo_keep_seconds} s"]
        lines.append("roots: " + ", ".join(f"{count} {sort}" for sort, count in self.roots.items()))
        for name, part in (("live", self.live), ("too young", self.young), ("dead", self.dead)):
            for kind, tally in sorted(part.items()):
                lines.append(f"{name:>9}  {kind:<10} {tally.objects:>10} objects {tally.bytes:>14} bytes")
        lines.append(
            f"{len(self.segments)} segments to compact for {self.freed_bytes} bytes, "
            f"{self.expired_moves} moves of refs expired"
        )
        return "\n".join(lines)


def plan_gc(
    snapshots: Snapshots, refs: Refs, *, grace_seconds: int, undo_keep_seconds: int, accept_refs: bool = False
) -> GcPlan:
    """What a collection would do now; nothing changes until the plan is executed.

    Raises:
        ReadOnlyError: The store is open read-only.
        InvalidInputError: A period is no whole number of seconds.
        CorruptionError: Something that must be kept is missing or damaged, or refs may have been lost in a rebuild.
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
        roots = gather_roots(storage, refs, undo_keep_seconds)
        marker = Marker(storage, shallow_ids(storage).__contains__)
        marker.mark(roots.references)
        sweep = Sweep(snapshots, marker, roots, grace_seconds, stack, accept_refs)
        plan = GcPlan(grace_seconds=grace_seconds, undo_keep_seconds=undo_keep_seconds, _sweep=sweep)
        _tally(plan, storage, sweep)
        plan.roots = dict(roots.counts)
        plan.roots["operations"] = len(storage.backend.watches()) - 1
        plan.expired_moves = len(roots.expired)
        plan.mark_bytes = marker.bitmap.memory_bytes
        guard.pop_all()
    return plan


def _tally(plan: GcPlan, storage: Storage, sweep: Sweep) -> None:
    kept: Counter[int] = Counter()
    for _, entry in storage.backend.scan():
        part = plan.dead
        if sweep.is_reached(entry):
            part = plan.live
        elif sweep.is_kept(entry):
            part = plan.young
        if part is not plan.dead:
            kept[entry.segment] += entry.record_bytes
        part.setdefault(KIND_NAMES[entry.kind], Tally()).add(entry)
    plan.segments = sweep.worth_compacting(kept)

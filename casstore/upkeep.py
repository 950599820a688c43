# SPDX-License-Identifier: MIT
"""What keeps a store in order, as methods of ``Store``: figures, pins, verification, collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from casstore.address import Address
from casstore.format.settings import KeepRule, Settings
from casstore.snapshots import Refs, Snapshots
from casstore.storage import Pin, Storage
from casstore.storage.opening import MEMORY
from casstore.storage.readers import live_pins

if TYPE_CHECKING:
    # Imported on use: opening a store and reading from it needs none of it.
    from casstore.collection import GcPlan, Stats, VerifyReport
    from casstore.collection.auto_collect import AutoCollector
    from casstore.collection.retention import RetentionPlan
    from casstore.collection.short_space import GiveUp

Progress = Callable[[str, int, int | None], None]


class Upkeep:
    """The part of ``Store`` that looks after what is stored."""

    path: str
    storage: Storage
    snapshots: Snapshots
    refs: Refs
    givers: tuple[GiveUp, ...] = ()
    """Who gives states up when space is short, in the order in which they are asked."""
    _auto: AutoCollector | None = None

    @property
    def settings(self) -> Settings:
        """Quota, grace period and retention, kept in the store."""
        raise NotImplementedError

    def _check_open(self) -> None:
        raise NotImplementedError

    def stats(self) -> Stats:
        """Figures of the store. Cost: one pass over the index."""
        from casstore.collection import gather_stats

        self._check_open()
        return gather_stats(self.storage, self.snapshots, self.refs, None if self.path == MEMORY else self.path)

    def pins(self) -> list[Pin]:
        """What keeps something from the collector beside refs: live handles, and readers in other processes."""
        self._check_open()
        found = self.storage.pins.all()
        if self.path != MEMORY:
            found += [Pin("reader", None, 1, pin) for pin in sorted(live_pins(self.path))]
        return found

    def verify(self, read_data: bool = True, *, progress: Progress | None = None) -> VerifyReport:
        """A report of a sound store.

        Args:
            read_data: Read and hash every record; without it contents must merely be there.
            progress: Called with a phase and how many are done.

        Raises:
            CorruptionError: Something is damaged; ``report`` names everything that is.
        """
        from casstore.collection import verify

        self._check_open()
        return verify(self.storage, self.snapshots, self.refs, read_data=read_data, progress=progress)

    def mark_damaged(self, report: VerifyReport) -> int:
        """How many records are now marked damaged, so that putting the same content writes them again.

        Reads of a writable store mark what they meet by themselves; this is for the report of a read-only opening.

        Raises:
            ReadOnlyError: The store is open read-only.

        *Durability*: durable on return.
        """
        from casstore.collection.verify import mark_damaged

        self._check_open()
        return mark_damaged(self.storage, report)

    def plan_gc(
        self,
        *,
        grace_seconds: int | None = None,
        undo_keep_seconds: int | None = None,
        accept_refs: bool = False,
    ) -> GcPlan:
        """What a collection would do; ``execute`` the plan, or ``drop`` it.

        Args:
            grace_seconds: Keep what was put or hit this recently; None is the store's setting.
            undo_keep_seconds: Keep what refs named this recently; None is the store's setting.
            accept_refs: Collect although a rebuild over damage may have lost refs.

        Raises:
            CorruptionError: Something that must be kept is missing or damaged.
            ConflictError: Another collection was deleting meanwhile.
            ReadOnlyError: The store is open read-only.
        """
        from casstore.collection import plan_gc

        self._check_open()
        settings = self.settings
        return plan_gc(
            self.snapshots,
            self.refs,
            grace_seconds=settings.grace_seconds if grace_seconds is None else grace_seconds,
            undo_keep_seconds=settings.undo_keep_seconds if undo_keep_seconds is None else undo_keep_seconds,
            accept_refs=accept_refs,
            path=None if self.path == MEMORY else self.path,
        )

    def plan_retention(
        self, rules: Sequence[KeepRule] | None = None, *, keep: Mapping[Address, str] | None = None
    ) -> RetentionPlan:
        """What keep rules would cut from the lines of refs; ``execute`` the plan. Nothing changes before.

        Args:
            rules: What to keep; None is the store's setting ``retention``. Without rules nothing is cut.
            keep: Ids of snapshots that stay too, with the reason, for example the bases of workspaces.

        Raises:
            InvalidInputError: A rule is none, or a ref's name is too long to keep single snapshots of its line.
            CorruptionError: Something on the way is missing or damaged.
            ReadOnlyError: The store is open read-only.
        """
        from casstore.collection.retention import plan_retention

        self._check_open()
        settings = self.settings
        return plan_retention(
            self.snapshots,
            self.refs,
            settings.retention if rules is None else rules,
            undo_keep_seconds=settings.undo_keep_seconds,
            grace_seconds=settings.grace_seconds,
            keep=keep,
        )

    def auto_collect(
        self,
        *,
        dead_share: float | None = None,
        quota_share: float | None = None,
        idle_seconds: float | None = None,
        interval_seconds: float | None = None,
        time_share: float | None = None,
    ) -> AutoCollector:
        """Collects by itself from now on, in a thread of its own, until the store is closed; off by default.

        Args:
            dead_share: Collect when so much of the stored bytes is probably dead, 0 to 1; None is 0.3, and so on: see
                ``AutoCollector``.
            quota_share: Collect when so much of the quota is used.
            idle_seconds: Collect what there is when nothing was written for so long.
            interval_seconds: Time between two looks.
            time_share: The part of the time that collections may take.

        Returns:
            What does it: ``stop`` ends it, ``status`` tells what it did. Another call replaces it.

        Raises:
            InvalidInputError: An option cannot be.
            ReadOnlyError: The store is open read-only.
        """
        from casstore.collection.auto_collect import AutoCollector

        options = {
            "dead_share": dead_share,
            "quota_share": quota_share,
            "idle_seconds": idle_seconds,
            "interval_seconds": interval_seconds,
            "time_share": time_share,
        }
        given = {name: value for name, value in options.items() if value is not None}
        collector = AutoCollector(self, **given)  # type: ignore[arg-type]
        self._end_auto_collect()
        self._auto = collector
        return collector.start()

    def _end_auto_collect(self) -> None:
        collector, self._auto = self._auto, None
        if collector is not None:
            collector.stop()

    def on_short_space(self, give_up: GiveUp) -> Callable[[], None]:
        """Has ``give_up(bytes)`` called before a collection near the quota; returns a function that ends it.

        Args:
            give_up: Gives up states that hold about so many bytes, and returns about how many they held. It is called
                by the thread of ``auto_collect``.
        """
        self.givers = (*self.givers, give_up)

        def leave() -> None:
            self.givers = tuple(giver for giver in self.givers if giver is not give_up)

        return leave

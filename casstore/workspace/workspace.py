# SPDX-License-Identifier: MIT
"""Workspace: a directory that is captured, compared and switched at the cost of what changed.

What it knows lies in the store (``workspaces/ID``), nothing in the directory. What was saved from the directory is kept
under the ref ``workspace/ID``; states that it was switched to are kept by whatever names them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from casstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from casstore.format.workspace_files import OVERLAY, OVERLAY_PRIVATE, Goal
from casstore.snapshots import Snapshot, check_ref_name
from casstore.tree import diff, summary
from casstore.workspace.part import FILES
from casstore.workspace.plain import PlainDirectory
from casstore.workspace.registration import Registration
from casstore.workspace.registry import OVERLAYS
from casstore.workspace.saving import snapshot_at, snapshot_of
from casstore.workspace.scanning.scan import folder_name, is_inside, open_top
from casstore.workspace.selection import Selection
from casstore.workspace.shown import shown_changes
from casstore.workspace.status import WorkspaceStatus, has_moved, metadata_changes

if TYPE_CHECKING:
    import subprocess

    from casstore.branches import Branch
    from casstore.format.canonical import JsonValue
    from casstore.format.workspace_files import Info
    from casstore.store import State, Store
    from casstore.tree import Change
    from casstore.workspace.observed import Changes, Directory
    from casstore.workspace.report import Progress
    from casstore.workspace.switching import SwitchPlan, SwitchReport


class Workspace:
    """A directory and the store that knows it; use it as a context manager.

    Args:
        store: An open store on disk. A read-only one gives ``status`` only.
        directory: The directory, followed if it is a symlink.
        selection: What is captured; None as before, or everything.
        metadata: ``"full"`` also captures and restores POSIX metadata; None as before, or ``"basic"``.
        watch: Have the system say what changes, so that a capture need not look at everything.

    Attributes:
        directory: Its path, absolute and without symlinks.
        why: Of one that was just forked: why this method was chosen.

    Raises:
        InvalidInputError: It is no directory, or the store's own, ``/`` or the home folder; or ``watch`` cannot be had.

    *Thread safety*: one operation at a time; other threads wait. Another process gets ``LockedError``.
    """

    def __init__(
        self,
        store: Store,
        directory: str | os.PathLike[str],
        *,
        selection: Selection | None = None,
        metadata: Literal["basic", "full"] | None = None,
        watch: bool = False,
        _info: Info | None = None,
    ) -> None:
        self.store = store
        self.directory = os.path.realpath(folder_name(directory))
        if is_inside(self.directory, store.path):
            raise InvalidInputError(
                f"{self.directory!r} belongs to the store itself; choose another folder.", path=self.directory
            )
        top = open_top(self.directory)
        try:
            status = os.fstat(top)
        finally:
            os.close(top)
        self.why = ""
        self._known = Registration(store, self.directory, status, selection, metadata, _info)
        self._observations = 0
        self._watch = watch
        self._directory: Directory | None = None
        if watch and self._known.info is None:
            if store.read_only:
                raise ReadOnlyError("the store is open read-only; open it for writing to watch a new directory.")
            self._known.registered()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops watching and forgets what is cached in memory; the directory and its registration stay."""
        with self._known.lock:
            if self._directory is not None:
                self._directory.close()
                self._directory = None

    def __repr__(self) -> str:
        return f"<Workspace {self.directory!r}, {self.kind}>"

    # -- what it is

    @property
    def id(self) -> str | None:
        """8 hex digits; None until the directory is registered, by the first operation that changes or saves it."""
        return None if self._known.info is None else self._known.info.id

    @property
    def kind(self) -> str:
        """``"plain"``, or how a fork was made: ``"overlay"``, ``"overlay-private"``, ``"reflink"``, ``"copy"``."""
        return self._known.kind

    @property
    def base(self) -> Snapshot | None:
        """The snapshot that the directory was last made from or saved as; None where there is none, or it is lost."""
        return self._known.base

    @property
    def base_ref(self) -> str | None:
        """The ref that was named then."""
        return self._known.base_ref

    @property
    def selection(self) -> Selection:
        """What is captured of the directory."""
        return self._known.selection

    @property
    def metadata(self) -> Literal["basic", "full"]:
        """Whether POSIX metadata is."""
        return self._known.metadata

    @property
    def interrupted(self) -> bool:
        """Whether a switch has begun and not ended."""
        return self._known.journal() is not None

    # -- looking

    def status(self, *, paranoid: bool = False, progress: Progress | None = None) -> WorkspaceStatus:
        """What the directory changed since its base. Changes nothing, also after an interrupted switch.

        Args:
            paranoid: Read every file, whatever it looks like.
            progress: Called with ``"reading"``, the files read, and None.

        Raises:
            InvalidInputError: Something is unreadable.
            ConflictError: Something changed each time it was read.
        """
        with self._known.lock:
            self._refresh()
            base, ref, info = self.base, self.base_ref, self._known.info
            known = {} if base is None else base.roots
            source = self._source()
            observed = source.observe(keep=False, known=known, paranoid=paranoid, progress=progress)
            files = observed.roots.get(FILES)
            if base is not None and files == known.get(FILES) and not self.store.read_only:
                source.saved(base)
            return WorkspaceStatus(
                id=self.id,
                directory=self.directory,
                kind=self.kind,
                base=base,
                base_lost=base is None and info is not None and info.base is not None,
                base_ref=ref,
                ref_moved=has_moved(self.store, ref, base),
                ref_gone=ref is not None and ref not in self.store.refs,
                changes=shown_changes(diff(observed.nodes, known.get(FILES), files)),
                metadata_changes=metadata_changes(observed.nodes, known, observed.roots),
                left_out=observed.left_out,
                interrupted=self.interrupted,
                files=summary(observed.nodes, files).files,
            )

    # -- saving

    def snapshot(
        self,
        message: str = "",
        *,
        ref: str | None = None,
        meta: Mapping[str, JsonValue] | None = None,
        paranoid: bool = False,
        progress: Progress | None = None,
    ) -> Snapshot:
        """The state of the directory as a snapshot: the base itself where nothing changed, else a new one.

        Its ``objects`` are those of the base. It becomes the new base.

        Args:
            message: Text.
            ref: Move this ref to it, from the base; a new name is made. None keeps it under the workspace's own ref.
            meta: Further fields.
            paranoid: Read every file, whatever it looks like.
            progress: Called with ``"reading"``, the files read, and None.

        Raises:
            ConflictError: The ref names something else than the base, or a file changed each time it was read.
            LockedError: Another process is changing the workspace.
            InvalidInputError: Nothing can have that name, or something is unreadable.
            ReadOnlyError: The store is open read-only.

        *Durability*: durable on return.
        """
        if ref is not None:
            check_ref_name(ref)
        with self._changing():
            self._finish()
            with self.store.storage.operation():
                snapshot = self._observed_snapshot(message, meta, paranoid, progress)
                base = self.base
                if ref is not None:
                    if self.store.refs.id_of(ref) != snapshot.id:
                        expected = base if ref in self.store.refs else None
                        self.store.refs.compare_and_set(ref, expected, snapshot, reason="snapshot")
                elif not self._known.is_kept(snapshot.id):
                    self._known.keep(snapshot, "snapshot")
            info = self._known.registered()
            self._known.write(replace(info, base=snapshot.id, base_ref=ref or info.base_ref))
            self._source().saved(snapshot)
            return snapshot

    def _observed_snapshot(
        self,
        message: str,
        meta: Mapping[str, JsonValue] | None = None,
        paranoid: bool = False,
        progress: Progress | None = None,
    ) -> Snapshot:
        """The directory's state: its base where that has the same files, else a new snapshot, not yet durable."""
        observed = self._source().observe(keep=True, paranoid=paranoid, progress=progress)
        self._observations += 1
        return snapshot_of(self._known, observed, message, meta)

    # -- branches

    def branch(self) -> Branch:
        """A fresh branch of the directory's state as it is now, with the objects of its base.

        Raises: as ``snapshot``. *Durability*: that of any branch; nothing is kept by it once it goes.
        """
        with self._changing():
            self._finish()
            with self.store.storage.operation():
                return self.store.branch(self._observed_snapshot("captured"))

    def capture(self, branch: Branch) -> Branch:
        """Gives ``branch.files`` what the directory has now, and returns the branch; its objects stay.

        Raises: as ``snapshot``.

        *Cost*: the scan, and what differs between the branch and the directory.
        """
        from casstore.workspace.branching import take_files

        return take_files(branch, self)

    # -- switching

    def plan_switch(
        self, state: State | Branch, *, paranoid: bool = False, progress: Progress | None = None
    ) -> SwitchPlan:
        """What switching the directory to ``state`` would do; nothing is changed until the plan is executed.

        Args:
            state: A ref, snapshot, id or branch.
            paranoid: Read every file, whatever it looks like.
            progress: Called with ``"reading"``, the files read, and None.

        Raises:
            NotFoundError: There is no such state.
            InvalidInputError: Something is in the way, or unreadable.
            ConflictError: Something changed each time it was read.
            ReadOnlyError: The store is open read-only.

        *Cost*: the scan, and the difference.
        """
        ref = state if isinstance(state, str) and state in self.store.refs else None
        target = snapshot_at(self.store, state)
        return self._plan(target, Goal(base=target.id, ref=ref), paranoid=paranoid, progress=progress)

    def switch(
        self, state: State | Branch, *, paranoid: bool = False, progress: Progress | None = None
    ) -> SwitchReport:
        """Makes the directory hold ``state``, touching only what differs; what would be lost is saved before.

        Raises: as ``plan_switch`` and ``SwitchPlan.execute``.
        """
        with self._changing():
            plan = self.plan_switch(state, paranoid=paranoid, progress=progress)
            return plan.execute(progress=progress)

    def plan_undo(self) -> SwitchPlan:
        """The way back to what the directory held before the last switch; from an interrupted one, to before it.

        Raises:
            NotFoundError: There was no switch, or that state was collected.
        """
        with self._known.lock:
            self._refresh()
            info, journal = self._known.info, self._known.journal()
            if info is not None and journal is not None:
                if journal.undo:
                    source, goal = journal.target, Goal(base=journal.base, ref=journal.ref, undo=True)
                else:
                    source, goal = journal.source, Goal(base=info.base, ref=info.base_ref, undo=True)
            elif info is not None and info.last_switch is not None:
                last = info.last_switch
                source, goal = last.source, Goal(base=last.base, ref=last.ref, undo=True)
            else:
                raise NotFoundError(
                    f"{self.directory!r} was never switched, so there is nothing to undo.", path=self.directory
                )
            return self._plan(None if source is None else self.store.snapshots.get(source), goal)

    def undo(self) -> SwitchReport:
        """Switches back to what the directory held before the last switch; done twice, it takes back the undo.

        Raises: as ``plan_undo`` and ``SwitchPlan.execute``.
        """
        with self._changing():
            return self.plan_undo().execute()

    def _plan(
        self, target: Snapshot | None, goal: Goal, *, paranoid: bool = False, progress: Progress | None = None
    ) -> SwitchPlan:
        from casstore.workspace.switching import SwitchPlan

        with self._known.lock, self.store.storage.operation():
            self._refresh()
            journal = self._known.journal()
            source = self._source()
            if journal is not None:
                source.relist()
            looked_again = False
            while True:
                observed = source.observe(keep=not self.store.read_only, paranoid=paranoid, progress=progress)
                self._observations += 1
                try:
                    return SwitchPlan(self, observed, journal, target, goal)
                except ConflictError:
                    # What happens to one name of a file moves the times of its other names, and no watcher sees that.
                    if looked_again:
                        raise
                    looked_again = True
                    source.relist()

    def _finish(self) -> None:
        """Goes on with an interrupted switch."""
        journal = self._known.journal()
        if journal is not None:
            target = None if journal.target is None else self.store.snapshots.get(journal.target)
            self._plan(target, Goal(base=journal.base, ref=journal.ref, undo=journal.undo)).execute()

    # -- forks, programs

    def fork_to(self, directory: str | os.PathLike[str], *, method: str | None = None) -> Workspace:
        """A new directory with the state of this one; both go on by themselves.

        Args:
            directory: Must be empty, or is made.
            method: ``"overlay"``, ``"overlay-private"``, ``"reflink"`` or ``"copy"``; None takes the first that works.

        Raises:
            InvalidInputError: The directory is not empty, or the method cannot be had there.
            StorageError: The system refused.
        """
        from casstore.workspace.forking import fork_state

        with self._changing():
            self._finish()
            with self.store.storage.operation():
                snapshot = self._observed_snapshot("forked")
                info = self._known.registered()
                lower = info.lower if info.kind in OVERLAYS else None
                return fork_state(
                    self.store,
                    snapshot,
                    directory,
                    method=method,
                    ref=self.base_ref,
                    lower=lower,
                    keep=self.base is None or snapshot.id != self.base.id,
                    selection=self.selection,
                )

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Runs a program in the directory; of an ``"overlay-private"`` one, where the directory can be seen.

        Args:
            command: The program and its arguments.
            **options: As for ``subprocess.run``.
        """
        import subprocess

        if self.kind != OVERLAY_PRIVATE:
            if self.kind in OVERLAYS:
                self.mount()
            return subprocess.run(command, cwd=self.directory, **options)
        from casstore.workspace.forking import run_in_private

        with self._changing():
            return run_in_private(self._known, command, options)

    def mount(self) -> None:
        """Shows the directory of an ``"overlay"`` again where its mount is gone, as after a restart; else nothing.

        Raises:
            StorageError: The system refused.
        """
        from casstore.workspace.forking import mount_again

        with self._known.lock:
            mount_again(self._known)

    def remove(self) -> None:
        """Forgets the workspace. An overlay is unmounted, and its folder goes, after what it alone had was saved.

        What was saved from the directory stays for the undo period. Other directories stay as they are.

        Raises:
            LockedError: Another process is changing the workspace.
            StorageError: The directory is in use, so that it cannot be unmounted.
        """
        from casstore.workspace.forking import remove_workspace

        with self._changing():
            self.close()
            remove_workspace(self._known)
            self._known.info = None

    # -- what the parts share

    def _source(self) -> Directory:
        """How the directory is captured."""
        if self._directory is None:
            known = self._known
            if self.kind in OVERLAYS:
                from casstore.workspace.overlay.overlaid import OverlaidDirectory

                info = known.registered()
                self._directory = OverlaidDirectory(
                    self.store, info.id, known.folder, self.directory, info.kind, info.lower, self.selection
                )
            else:
                watcher = None
                if self._watch:
                    from casstore.workspace.scanning.watching import Watcher

                    watcher = Watcher(self.directory, known.folder)
                self._directory = PlainDirectory(
                    self.store, self.directory, self.selection, posix=self.metadata == "full", watcher=watcher
                )
        return self._directory

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The directory, open, to be changed."""
        if self.kind == OVERLAY:
            self.mount()
        top = open_top(self.directory)
        try:
            self._source().require_same(os.fstat(top))
            yield top
        finally:
            os.close(top)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Holds the workspace against other threads and processes."""
        with self._known.held() as changed:
            if changed:
                self.close()
            yield

    def _refresh(self) -> None:
        if self._known.refresh():
            self.close()

    def _after_switch(
        self, target: Snapshot | None, changes: Changes, names: Sequence[Change], spared: frozenset[bytes]
    ) -> None:
        self._observations += 1
        if target is None:
            self.close()
        else:
            self._source().switched(target, changes, names, spared)

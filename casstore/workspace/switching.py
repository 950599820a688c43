# SPDX-License-Identifier: MIT
"""From what a directory holds to another state: a plan that changes nothing, and its one execution.

Order of an execution, each step durable before the next:

1. a safety snapshot of what would be lost, under the workspace's ref;
2. the journal: from which snapshot to which;
3. the changes (``Changer``): new contents beside, renames, deletions last;
4. the workspace's new base; the journal goes.

Killed before 2, nothing was changed. Killed later, the journal says so, and the next operation on the workspace goes
on: it compares the directory as it is with the state that was wanted.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE, Entry
from casstore.format.posix import decode_posix, posix_key, posix_path
from casstore.format.workspace_files import OVERLAY_PRIVATE, Goal, Journal, LastSwitch
from casstore.tree import Nodes, Root, diff, lookup, scan
from casstore.workspace.part import FILES, POSIX
from casstore.workspace.report import LeftOut
from casstore.workspace.saving import save_lost
from casstore.workspace.scanning.scan import identity_of
from casstore.workspace.shown import change_lines, shown_changes, shown_path
from casstore.workspace.status import changed_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casstore import tree
    from casstore.address import Address
    from casstore.format.posix import PosixMetadata
    from casstore.snapshots import Change, Snapshot
    from casstore.workspace.changing.changer import Changer
    from casstore.workspace.observed import Observed
    from casstore.workspace.overlay.private import UpperChanger
    from casstore.workspace.report import Progress
    from casstore.workspace.workspace import Workspace

    _Metadata = Callable[[bytes, bool], PosixMetadata | None]

_LEAVES = (FILE, EXECUTABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchReport:
    """What a switch did.

    Attributes:
        snapshot: The state that the directory has now; None for the empty one.
        saved: Safety snapshot of what the directory alone had; None where it had nothing of its own.
        source: Id of the state that ``undo`` goes back to, in hex; None for the empty state.
        written: Files and symlinks that were written or got another mode.
        deleted: Files and symlinks that went.
        bytes: Content that was written.
        warnings: Metadata that could not be restored.
    """

    snapshot: Snapshot | None
    saved: Snapshot | None
    source: str | None
    written: int
    deleted: int
    bytes: int
    warnings: tuple[LeftOut, ...] = ()


class SwitchPlan:
    """What a switch would do; nothing is changed until it is executed. Make one with ``Workspace.plan_switch``.

    Attributes:
        directory: The workspace's path.
        source: The base of the directory; None for the empty state.
        target: The state to switch to; None for the empty one.
        target_ref: The ref that was named, if one was.
        left_out: What the rules leave out, and the switch does not touch.
    """

    __slots__ = (
        "_changes",
        "_done",
        "_goal",
        "_info",
        "_journal",
        "_lost",
        "_metadata_lost",
        "_metadata_only",
        "_number",
        "_observed",
        "_pins",
        "_spared",
        "_standing",
        "_workspace",
        "directory",
        "left_out",
        "source",
        "target",
        "target_ref",
    )

    def __init__(
        self,
        workspace: Workspace,
        observed: Observed,
        journal: Journal | None,
        target: Snapshot | None,
        goal: Goal,
    ) -> None:
        self._workspace = workspace
        self._number = workspace._observations
        self._standing = workspace._known.standing()
        self._done = False
        self._spared: frozenset[bytes] = frozenset()
        if workspace.selection.ignore == "git":
            # Imported on use: most directories are captured whole.
            from casstore.workspace.sparing import spare

            root = None if target is None else target.roots.get(FILES)
            observed, self._spared = spare(workspace.store, observed, workspace.directory, root)
        self._observed = observed
        storage = workspace.store.storage
        # What was put for the plan stays until it is executed or dropped.
        self._pins = (
            [storage.pin("plan", root) for root in observed.roots.values()] if not workspace.store.read_only else []
        )
        self._info = workspace._known.info
        self._goal = goal
        self._journal = journal
        self.directory = workspace.directory
        self.source = workspace.base
        self.target = target
        # What an undo goes back to may be a ref's state with edits, which is not what the ref names.
        self.target_ref = goal.ref if target is not None and target.id == goal.base else None
        self.left_out = observed.left_out
        nodes = observed.nodes
        wanted = {} if target is None else target.roots
        found = observed.roots
        self._changes: tuple[tree.Change, ...] = tuple(diff(nodes, found.get(FILES), wanted.get(FILES)))
        self._lost: tuple[tree.Change, ...] = tuple(self._find_lost(FILES))
        self._metadata_lost = self._is_metadata_lost()
        self._metadata_only: list[tuple[bytes, bool]] = []
        if POSIX in wanted and workspace.metadata == "full":
            changed = {change.key for change in self._changes}
            for key, old, new in diff(nodes, found.get(POSIX), wanted[POSIX]):
                path, directory = posix_path(key)
                # What is only coming gets its metadata as it comes.
                if old is not None and new is not None and path not in changed:
                    self._metadata_only.append((path, directory))
        with workspace._opened() as top:
            self._changer(top, "0" * 16, None).check()

    def _find_lost(self, part: str) -> Iterator[tree.Change]:
        """What is in the directory and in no snapshot that it came from."""
        nodes: Nodes = self._observed.nodes
        found = self._observed.roots.get(part)
        base = None if self.source is None else self.source.roots.get(part)
        # An interrupted switch leaves a mixture of two known states, which nobody needs.
        known = self._mixed(part)
        for change in diff(nodes, base, found):
            if not any(_has(nodes, root, change.key, change.new) for root in known):
                yield change

    def _mixed(self, part: str) -> list[Root]:
        """The roots between which an interrupted switch was going on."""
        found: list[Root] = []
        if self._journal is not None:
            for snapshot in (self._journal.source, self._journal.target):
                state = self._state_of(snapshot)
                if state is not None or snapshot is None:
                    found.append(None if state is None else state.roots.get(part))
        return found

    def _is_metadata_lost(self) -> bool:
        """Whether the directory has metadata that no snapshot has, though its contents may be known."""
        if POSIX not in self._observed.roots:
            return False
        if self._journal is None:
            return any(True for _ in self._find_lost(POSIX))
        # What the switch was to change may be half changed, and folders whenever something in them was.
        nodes, known = self._observed.nodes, self._mixed(POSIX)
        return any(
            not posix_path(key)[1] and len({lookup(nodes, root, key) for root in known}) == 1
            for key, _, _ in self._find_lost(POSIX)
        )

    def _state_of(self, snapshot: Address | None) -> Snapshot | None:
        return self._workspace._known.snapshot(snapshot)

    # -- what it is

    @property
    def changes(self) -> tuple[Change, ...]:
        """What leads from the directory to the target, by path, as ``store.diff`` gives it. *Cost*: O(changes)."""
        return shown_changes(self._changes)

    @property
    def lost(self) -> tuple[Change, ...]:
        """What the directory changed since its base: what the safety snapshot is for. *Cost*: as ``changes``."""
        return shown_changes(self._lost)

    @property
    def metadata_changes(self) -> tuple[str, ...]:
        """Paths of which the metadata alone will be changed; of a folder more than its time."""
        root = None if self.target is None else self.target.roots.get(POSIX)
        if not self._metadata_only:
            return ()
        changed = {change.key for change in self._changes}
        return changed_metadata(self._observed.nodes, self._observed.roots.get(POSIX), root, changed)

    @property
    def files_written(self) -> int:
        """Files and symlinks that will be written or get another mode."""
        return sum(1 for change in self._changes if change.new is not None)

    @property
    def files_deleted(self) -> int:
        """Files and symlinks that will go."""
        return sum(1 for change in self._changes if change.new is None)

    @property
    def bytes(self) -> int:
        """Content that will be written."""
        return sum(
            new.size
            for _, old, new in self._changes
            if new is not None and new.kind in _LEAVES and (old is None or old[1:] != new[1:])
        )

    def __str__(self) -> str:
        source = "the empty state" if self.source is None else self.source.id.hex()[:12]
        changes = shown_changes(self._changes)
        lines = [
            f"{shown_path(self.directory)}: {source} -> {self._target_words()}",
            f"{self.files_written:,} written ({self.bytes:,} bytes), {self.files_deleted:,} deleted, "
            f"{len(self._lost):,} saved first",
        ]
        return "\n".join([*lines, *change_lines(changes)])

    def __repr__(self) -> str:
        return f"<SwitchPlan {self.directory!r} -> {self.target_name!r}, {len(self._changes):,} changes>"

    def _target_words(self) -> str:
        if self.target is None or self.target_ref is None:
            return self.target_name
        return f"{self.target_ref} ({self.target.id.hex()[:12]})"

    # -- doing it

    def drop(self) -> None:
        """Gives the plan up."""
        self._done = True

    def execute(self, *, progress: Progress | None = None) -> SwitchReport:
        """Saves what would be lost and makes the changes; to be called once.

        Raises:
            ConflictError: The workspace or a file changed since the plan was made.
            LockedError: Another process is changing the workspace.
            InvalidInputError: Something is in the way; nothing was changed.
            StorageError: The system refused. What was done stays, and the next operation goes on from there.
            ReadOnlyError: The store is open read-only.

        *Durability*: the safety snapshot and the intent are durable before the first change; the changed files are
        not synced, and can be made again from the store.
        """
        workspace = self._workspace
        if self._done:
            raise InvalidInputError("this plan was executed or dropped; make a new one.", path=self.directory)
        with workspace._changing():
            self._done = True
            if (workspace._known.standing(), workspace._known.journal(), workspace._observations) != (
                self._standing,
                self._journal,
                self._number,
            ):
                raise ConflictError(
                    f"the workspace {self.directory!r} was changed after this plan was made; plan again.",
                    path=self.directory,
                )
            with workspace.store.storage.operation(), workspace._opened() as top:
                return self._run(workspace, top, progress)

    def _run(self, workspace: Workspace, top: int, progress: Progress | None) -> SwitchReport:
        known = workspace._known
        info = known.registered()
        token = os.urandom(8).hex()
        changer = self._changer(top, token, progress)
        changer.check()
        saved = None
        if self._lost or self._metadata_lost:
            before = None if self._journal is None else self._journal.source
            saved = save_lost(known, self._observed, self.source, self.target_name, before)
        target = None if self.target is None else self.target.id
        source: Address | None
        base, ref = info.base, info.base_ref
        if saved is not None:
            source = saved.id
        elif self._journal is None:
            source = None if self.source is None else self.source.id
        elif target == self._journal.source:
            # Back to where an interrupted switch began: to undo that is to make the switch.
            source, base, ref = self._journal.target, self._journal.base, self._journal.ref
        else:
            source = self._journal.source
        now = time.time_ns()
        goal = self._goal
        if self._changes or self._metadata_only or self._journal is not None:
            # While the old journal still says what they are.
            self._clear(top, changer)
            if self.target is not None and saved is None and not known.is_kept(self.target.id):
                # A branch's state, or one that is known by its id only.
                known.keep(self.target, "switched to")
            # Also what the target consists of must outlive a crash.
            workspace.store.sync()
            journal = Journal(
                token=token, source=source, target=target, base=goal.base, ref=goal.ref, undo=goal.undo, time_ns=now
            )
            known.begin(journal)
            changer.run()
        last = LastSwitch(source=source, target=target, base=base, ref=ref, time_ns=now)
        if source == target and info.base == goal.base and info.last_switch is not None:
            # The same command once more: what the first one did can still be undone.
            last = info.last_switch
        known.write(replace(info, base=goal.base, base_ref=goal.ref, last_switch=last))
        workspace._after_switch(self.target, changer, self._changes, self._spared)
        return SwitchReport(
            snapshot=self.target,
            saved=saved,
            source=source.hex() if source else None,
            written=self.files_written,
            deleted=self.files_deleted,
            bytes=self.bytes,
            warnings=tuple(changer.warnings),
        )

    @property
    def target_name(self) -> str:
        """The target as a person would name it."""
        if self.target is None:
            return "the empty state"
        return self.target_ref or self.target.id.hex()[:12]

    def _is_known(self) -> Callable[[Entry], bool]:
        """Whether a content is one that the interrupted switch was to write or to remove."""
        roots = self._mixed(FILES)
        known = {
            entry[1:4]
            for one, other in pairwise(roots)
            for _, old, new in diff(self._observed.nodes, one, other)
            for entry in (old, new)
            if entry is not None
        }
        return lambda entry: entry[1:4] in known

    def _clear(self, top: int, changer: Changer | UpperChanger) -> None:
        """Removes what an interrupted switch left beside."""
        if self._journal is not None and self._observed.leftovers:
            from casstore.workspace.changing.changer import Changer, clear_temporaries
            from casstore.workspace.changing.keeping import keep_unknown

            leftovers = self._observed.leftovers
            for path in keep_unknown(top, leftovers, self._observed.vanished, self._is_known()):
                changer.warnings.append(LeftOut(os.fsdecode(path), "was set aside, and somebody went on writing to it"))
            folders = {path[: path.rfind(b"/")] if b"/" in path else b"" for path in leftovers}
            if isinstance(changer, Changer):
                changer.clear(self._journal.token, sorted(folders))
            else:
                clear_temporaries(top, self._journal.token, sorted(folders))

    def _changer(self, top: int, token: str, progress: Progress | None) -> Changer | UpperChanger:
        workspace = self._workspace
        info = self._info
        if info is not None and info.kind == OVERLAY_PRIVATE:
            from casstore.workspace.overlay.private import UpperChanger

            root = None if self.target is None else self.target.roots.get(FILES)
            folder = workspace._known.folder
            return UpperChanger(workspace.store, folder, self.directory, info.lower, root)
        from casstore.workspace.changing.changer import Changer

        return Changer(
            workspace.store.storage,
            self.directory,
            top,
            self._changes,
            token=token,
            expected=workspace._source().expected,
            metadata=self._metadata(),
            metadata_only=self._metadata_only,
            left_out=_left_out_test(self.left_out),
            progress=progress,
            store=identity_of(workspace.store.path),
        )

    def _metadata(self) -> _Metadata | None:
        """What the target kept of a path, if the workspace keeps such things."""
        root = None if self.target is None else self.target.roots.get(POSIX)
        if root is None or self._workspace.metadata != "full":
            return None
        return _metadata_in(self._workspace.store.nodes, root)


def _has(nodes: Nodes, root: Root, key: bytes, entry: Entry | None) -> bool:
    """Whether the tree ``root`` has ``entry`` at ``key``; an empty folder is also one that has something there."""
    if lookup(nodes, root, key) == entry:
        return True
    return entry is not None and entry.kind == DIRECTORY and any(True for _ in scan(nodes, root, prefix=key + b"/"))


def _metadata_in(nodes: Nodes, root: Root) -> _Metadata:
    """A function from a path, and whether it is a directory, to what the tree ``root`` says of it."""

    def find(path: bytes, directory: bool) -> PosixMetadata | None:
        entry = lookup(nodes, root, posix_key(path, directory=directory))
        return None if entry is None or entry.inline is None else decode_posix(entry.inline)

    return find


def _left_out_test(left_out: Sequence[LeftOut]) -> Callable[[bytes], bool]:
    """Whether a path, or a folder above it, is among those that are left out."""
    paths = {os.fsencode(item.path) for item in left_out}
    if not paths:
        return lambda _: False

    def test(path: bytes) -> bool:
        while path:
            if path in paths:
                return True
            path = path[: max(path.rfind(b"/"), 0)]
        return False

    return test

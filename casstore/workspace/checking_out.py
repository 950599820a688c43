# SPDX-License-Identifier: MIT
"""A state, or a part of one, out into a directory.

Entries are written in the order of their keys, each folder opened once. Nothing is synced: a checkout can always be
made again.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from casstore.errors import InvalidInputError, StorageError
from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE, SYMLINK
from casstore.workspace.changing.ahead import FetchAhead, is_fetched
from casstore.workspace.changing.contents import blocks_of, no_file
from casstore.workspace.changing.target import EXECUTABLE_MODE, FILE_MODE, OnFile, Target, check_name, find_obstacles
from casstore.workspace.metadata import restore_link_metadata, restore_metadata
from casstore.workspace.part import Part
from casstore.workspace.registering import register_checkout, save_checkout
from casstore.workspace.registry import Registry
from casstore.workspace.report import CheckoutReport, LeftOut, Progress
from casstore.workspace.scanning.recording import Recorder
from casstore.workspace.scanning.scan import folder_name, identity_of, is_inside

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.snapshots import Snapshot
    from casstore.store import Store


def checkout(
    store: Store,
    state: Snapshot | Address | str,
    directory: str | os.PathLike[str],
    *,
    path: str | bytes | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> CheckoutReport:
    """Writes the files of ``state`` into ``directory``.

    The directory is made if it is missing, with its parents. Without ``force`` it must be empty. With it, files and
    symlinks of the state replace what has their name (each at once, by renaming; other hard links keep the old
    content), existing folders are used, and everything else stays as it is.

    A whole state makes the directory a workspace: the store remembers where it is and what it holds (nothing is put
    into it), so that ``Workspace`` can tell what changed.

    Files get mode 0644 or 0755, less the umask. A state imported with ``metadata="full"`` gets mode, modification
    time, extended attributes and, for root, owners back.

    Args:
        store: An open store.
        state: Ref name, snapshot id or snapshot.
        directory: Where to write, followed if it is a symlink.
        path: A part of the state: the members of a folder come into ``directory``; a file or symlink comes there under
            its own name.
        force: Write into a directory that is not empty.
        progress: Called now and then with ``"writing"``, the files written, and how many there are (None for a part).

    Returns:
        What was written.

    Raises:
        NotFoundError: There is no such state, or it has no such path.
        InvalidInputError: The directory is not empty, is no directory or lies in the store; something is in the way of
            the state (found before anything is written, unless it comes into being meanwhile); or two names of the
            state are one to this file system.
        CorruptionError: A content or node is damaged, or a key leads outside.
        ConflictError: A switch of the directory was interrupted.
        LockedError: The directory is being switched.
        StorageError: The system refused to write. What was written before stays.

    *Cost*: reads what it writes, once. Memory: some 20 MiB, whatever the size of the state.
    """
    snapshot = store.resolve(state)
    part = Part(store.nodes, snapshot.roots, os.fsencode(path or b"").strip(b"/"))
    folder = folder_name(directory)
    own = identity_of(store.path)
    if own is not None and is_inside(folder, store.path):
        raise InvalidInputError(f"{folder!r} belongs to the store itself; choose another folder.", path=folder)
    if store.path != ":memory:":
        Registry(store).require_ready(os.path.realpath(folder), then="check out")
    fd = _open_directory(folder)
    try:
        occupied = bool(os.listdir(fd))
        if occupied and not force:
            raise InvalidInputError(
                f"{folder!r} is not empty; choose an empty or new folder, or replace files in it with --force "
                "(force=True).",
                path=folder,
            )
        if occupied:
            find_obstacles(folder, fd, ((key, entry.kind == DIRECTORY) for key, entry in part.items()), own)
    except BaseException:
        os.close(fd)
        raise
    recorder = Recorder() if path is None and not occupied else None
    report = write_part(store, part, folder, fd, replace=occupied, recorder=recorder, progress=progress)
    if path is None:
        ref = state if isinstance(state, str) and state in store.refs else None
        report = replace(report, workspace=register_checkout(store, folder, snapshot, ref))
        if recorder is not None:
            recorder.settle()
            save_checkout(store, folder, snapshot, recorder.folders)
    return report


def write_part(
    store: Store,
    part: Part,
    directory: str,
    fd: int,
    *,
    replace: bool = False,
    recorder: Recorder | None = None,
    progress: Progress | None = None,
) -> CheckoutReport:
    """Writes ``part`` into the open folder ``fd``, which is closed; raises as ``checkout``.

    Args:
        store: Where it is.
        part: What to write.
        directory: The folder's path, for messages.
        fd: The folder.
        replace: Names may be taken.
        recorder: Learns what was written.
        progress: As for ``checkout``.
    """
    writer = _Writer(store, part, recorder, progress)
    target = Target(directory, fd, replace=replace, on_leave=writer.leave_folder)
    try:
        writer.run(target)
    finally:
        target.close()
    return CheckoutReport(
        files=writer.files,
        directories=target.directories,
        symlinks=writer.symlinks,
        bytes=writer.bytes,
        warnings=tuple(writer.warnings),
    )


class _Writer:
    """One run over a part, and what it counted."""

    __slots__ = ("_part", "_progress", "_recorder", "_storage", "bytes", "files", "symlinks", "warnings")

    def __init__(self, store: Store, part: Part, recorder: Recorder | None, progress: Progress | None) -> None:
        self.files = self.symlinks = self.bytes = 0
        self.warnings: list[LeftOut] = []
        self._storage = store.storage
        self._part = part
        self._progress = progress
        self._recorder = recorder

    def run(self, target: Target) -> None:
        """Writes everything below ``target``. Raises as ``checkout``."""
        enter = target.enter
        with FetchAhead(self._storage, self._part.items()) as batches:
            for items, fetched in batches:
                contents = iter(fetched)
                for path, entry in items:
                    kind, size, _, content = entry[:4]
                    if kind == DIRECTORY:
                        enter(path)
                        continue
                    cut = path.rfind(b"/")
                    name = path[cut + 1 :]
                    fd = enter(path[:cut] if cut > 0 else b"")
                    check_name(name, path)
                    if content is None and is_fetched(entry):
                        content = next(contents)
                    if kind in (FILE, EXECUTABLE):
                        blocks = blocks_of(self._storage, path, entry, content)
                        mode = FILE_MODE if kind == FILE else EXECUTABLE_MODE
                        target.write(fd, name, path, blocks, mode, self._on_file(path))
                        self.files += 1
                        self.bytes += size
                    elif kind == SYMLINK and content is not None:
                        target.link(fd, name, path, content)
                        self.symlinks += 1
                        metadata = self._part.metadata(path, directory=False)
                        if metadata is not None:
                            restore_link_metadata(path, metadata, fd, name, self.warnings)
                        if self._recorder is not None:
                            self._recorder.member(path, os.stat(name, dir_fd=fd, follow_symlinks=False))
                    else:
                        raise no_file(path, entry)
                if self._progress is not None:
                    self._progress("writing", self.files, self._part.total)
        target.finish()

    def leave_folder(self, path: bytes, fd: int) -> None:
        """Gives a folder its metadata, now that nothing more is written into it."""
        metadata = self._part.metadata(path, directory=True)
        if metadata is not None:
            restore_metadata(path, metadata, fd, self.warnings)
        if self._recorder is not None:
            self._recorder.folder(path, os.fstat(fd))

    def _on_file(self, path: bytes) -> OnFile | None:
        metadata = self._part.metadata(path, directory=False)
        recorder = self._recorder
        if metadata is None:
            return None if recorder is None else lambda file: recorder.member(path, os.fstat(file))

        def finish(file: int) -> None:
            restore_metadata(path, metadata, file, self.warnings)
            if recorder is not None:
                recorder.member(path, os.fstat(file))

        return finish


def _open_directory(folder: str) -> int:
    """``folder``, open; made where it is missing."""
    try:
        os.makedirs(folder, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInputError(f"{folder!r} is not a directory; choose a folder.", path=folder) from None
    except ValueError as error:
        raise InvalidInputError(f"{folder!r} is no path: {error}; choose a folder.", path=folder) from None
    except OSError as error:
        raise StorageError(
            f"{folder!r} cannot be written to: {error.strerror}; choose another folder, or give yourself access.",
            path=folder,
        ) from None

# SPDX-License-Identifier: MIT
"""A state, or a part of one, out into a directory.

Entries are written in the order of their keys, each folder opened once. Nothing is synced: a checkout can always be
made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from casstore.errors import CorruptionError, InvalidInputError, StorageError
from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE, SYMLINK
from casstore.workspace.ahead import FetchAhead, is_fetched, naming
from casstore.workspace.metadata import restore_link_metadata, restore_metadata
from casstore.workspace.part import Part
from casstore.workspace.report import CheckoutReport, LeftOut, Progress
from casstore.workspace.scan import folder_name, identity_of, is_inside
from casstore.workspace.target import EXECUTABLE_MODE, FILE_MODE, OnFile, Target, check_name, find_obstacles

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.snapshots import Snapshot
    from casstore.store import Store

_BLOCK_BYTES: Final = 1024 * 1024


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
        StorageError: The system refused to write. What was written before stays.

    *Cost*: reads what it writes, once. Memory: some 20 MiB, whatever the size of the state.
    """
    part = Part(store.nodes, store.resolve(state), os.fsencode(path or b"").strip(b"/"))
    folder = folder_name(directory)
    own = identity_of(store.path)
    if own is not None and is_inside(folder, store.path):
        raise InvalidInputError(f"{folder!r} belongs to the store itself; choose another folder.", path=folder)
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
    writer = _Writer(store, part, progress)
    target = Target(folder, fd, replace=occupied, on_leave=writer.leave_folder if part.has_metadata else None)
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

    __slots__ = ("_part", "_progress", "_storage", "bytes", "files", "symlinks", "warnings")

    def __init__(self, store: Store, part: Part, progress: Progress | None) -> None:
        self.files = self.symlinks = self.bytes = 0
        self.warnings: list[LeftOut] = []
        self._storage = store.storage
        self._part = part
        self._progress = progress

    def run(self, target: Target) -> None:
        """Writes everything below ``target``. Raises as ``checkout``."""
        enter = target.enter
        with FetchAhead(self._storage, self._part.items()) as batches:
            for items, fetched in batches:
                contents = iter(fetched)
                for path, entry in items:
                    kind, size, address, content = entry[:4]
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
                        blocks = self._stream(path, size, address) if content is None else _checked(path, size, content)
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
                    else:
                        raise CorruptionError(
                            f"no directory can hold the entry {os.fsdecode(path)!r} of kind {kind}; run "
                            "`casstore verify`.",
                            path=os.fsdecode(path),
                        )
                if self._progress is not None:
                    self._progress("writing", self.files, self._part.total)
        target.finish()

    def leave_folder(self, path: bytes, fd: int) -> None:
        """Gives a folder its metadata, now that nothing more is written into it."""
        metadata = self._part.metadata(path, directory=True)
        if metadata is not None:
            restore_metadata(path, metadata, fd, self.warnings)

    def _on_file(self, path: bytes) -> OnFile | None:
        metadata = self._part.metadata(path, directory=False)
        if metadata is None:
            return None
        return lambda file: restore_metadata(path, metadata, file, self.warnings)

    def _stream(self, path: bytes, size: int, address: Address | None) -> Iterator[bytes]:
        if address is None:
            raise _wrong_size(path, size, 0)
        total = 0
        with naming(path), self._storage.open_content(address) as content:
            while block := content.read(_BLOCK_BYTES):
                total += len(block)
                yield block
        if total != size:
            raise _wrong_size(path, size, total)


def _checked(path: bytes, size: int, content: bytes) -> Iterable[bytes]:
    if len(content) != size:
        raise _wrong_size(path, size, len(content))
    return (content,)


def _wrong_size(path: bytes, size: int, found: int) -> CorruptionError:
    name = os.fsdecode(path)
    return CorruptionError(
        f"the entry {name!r} says {size} bytes, its content has {found}; run `casstore verify`.", path=name
    )


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

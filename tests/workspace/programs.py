# SPDX-License-Identifier: MIT
"""Random programs that work on a directory, and what they do as edits of a branch.

A program is a list of operations, drawn from a seed, that look at the directory they change. Two equal directories are
changed equally by one program, so a mounted overlay and a plain copy of its base must stay equal.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import casstore
from casstore.address import content_address
from casstore.format.entry import EXECUTABLE, INLINE_BYTES, Entry, directory_entry, file_entry, symlink_entry

NAMES = [b"a", b"b", b"c", b"d", b"a-b", b".wh.a", b".wh..wh..opq", b"\xff\xfe", "ü".encode(), b"x y"]


class Program:
    """Random operations below a folder, as programs in a workspace do them; ``events`` are their single steps.

    Args:
        seed: What decides them, together with the directory's state.
        top: The folder; equal states of it are changed equally.
    """

    def __init__(self, seed: int, top: bytes) -> None:
        self.random = random.Random(seed)
        self.top = top
        self.log: list[str] = []
        self.events: list[tuple[str, bytes, bytes]] = []
        self.moved = 0
        self.counts: dict[str, int] = {}
        self.operations: list[Callable[[], str | None]] = [
            self.create,
            self.create,
            self.overwrite,
            self.append,
            self.chmod,
            self.unlink,
            self.rename_file,
            self.rename_folder,
            self.rename_folder,
            self.rename_folder,
            self.remove_tree,
            self.symlink,
            self.make_folder,
            self.make_folder,
            self.link,
            self.replace_by_folder,
            self.exchange_folder,
            self.special,
        ]

    def run(self, steps: int) -> None:
        """Does that many operations; one that finds nothing to work on does nothing."""
        for _ in range(steps):
            operation = self.random.choice(self.operations)
            done = operation()
            if done is not None:
                self.counts[operation.__name__] = self.counts.get(operation.__name__, 0) + 1
                self.log.append(f"{operation.__name__} {done}")

    def walk(self) -> tuple[list[bytes], list[bytes]]:
        """Folders and other names, sorted."""
        folders, files = [], []
        for folder, below, names in os.walk(self.top):
            for name in below + names:
                path = os.path.relpath(os.path.join(folder, name), self.top)
                is_folder = name in below and not os.path.islink(os.path.join(folder, name))
                (folders if is_folder else files).append(path)
        return sorted(folders), sorted(files)

    def place(self, path: bytes) -> bytes:
        return os.path.join(self.top, path)

    def some(self, paths: list[bytes], *, regular: bool = False) -> bytes | None:
        if regular:
            paths = [path for path in paths if stat.S_ISREG(os.lstat(self.place(path)).st_mode)]
        return self.random.choice(paths) if paths else None

    def new_path(self) -> bytes:
        folder = self.random.choice([b"", *self.walk()[0]])
        return os.path.join(folder, self.random.choice(NAMES))

    def content(self) -> bytes:
        return self.random.randbytes(self.random.choice([0, 1, 20, 127, 128, 300, 5000]))

    # -- single steps

    def write(self, path: bytes, content: bytes, mode: str = "wb") -> None:
        with open(self.place(path), mode) as file:
            file.write(content)
        self.events.append(("append" if mode == "ab" else "write", path, content))

    def remove(self, path: bytes) -> None:
        os.unlink(self.place(path))
        self.events.append(("unlink", path, b""))

    def remove_folder(self, path: bytes) -> None:
        shutil.rmtree(self.place(path))
        self.events.append(("remove_tree", path, b""))

    def make(self, path: bytes) -> None:
        os.mkdir(self.place(path))
        self.events.append(("mkdir", path, b""))

    def rename(self, path: bytes, new: bytes) -> None:
        try:
            os.rename(self.place(path), self.place(new))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # As mv does where the system cannot rename.
            if os.path.isdir(self.place(new)):
                os.rmdir(self.place(new))
            shutil.move(os.fsdecode(self.place(path)), os.fsdecode(self.place(new)))
            self.moved += 1
        self.events.append(("rename", path, new))

    # -- operations: each says what it did, or None

    def create(self) -> str | None:
        path = self.new_path()
        if os.path.lexists(self.place(path)):
            return None
        self.write(path, self.content())
        return repr(path)

    def overwrite(self) -> str | None:
        path = self.some(self.walk()[1], regular=True)
        if path is None:
            return None
        self.write(path, self.content())
        return repr(path)

    def append(self) -> str | None:
        path = self.some(self.walk()[1], regular=True)
        if path is None:
            return None
        self.write(path, b"+" * 9, "ab")
        return repr(path)

    def chmod(self) -> str | None:
        folders, files = self.walk()
        of_file = self.random.random() < 0.8
        path = self.some(files, regular=True) if of_file else self.some(folders)
        if path is None:
            return None
        mode = self.random.choice([0o755, 0o644, 0o700]) if of_file else self.random.choice([0o755, 0o700])
        os.chmod(self.place(path), mode)
        if of_file:
            self.events.append(("chmod", path, b"x" if mode & 0o100 else b""))
        return repr(path)

    def unlink(self) -> str | None:
        path = self.some(self.walk()[1])
        if path is None:
            return None
        self.remove(path)
        return repr(path)

    def rename_file(self) -> str | None:
        path, new = self.some(self.walk()[1]), self.new_path()
        if path is None or path == new or (os.path.isdir(self.place(new)) and not os.path.islink(self.place(new))):
            return None
        if os.path.lexists(self.place(new)):
            self.remove(new)  # Between two names of one file rename(2) does nothing.
        self.rename(path, new)
        return f"{path!r} {new!r}"

    def rename_folder(self) -> str | None:
        folders, files = self.walk()
        path, new = self.some(folders), self.new_path()
        if path is None or (new + b"/").startswith(path + b"/") or new in files:
            return None
        try:
            self.rename(path, new)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return None
        return f"{path!r} {new!r}"

    def remove_tree(self) -> str | None:
        path = self.some(self.walk()[0])
        if path is None or self.random.random() < 0.5:
            return None
        self.remove_folder(path)
        return repr(path)

    def symlink(self) -> str | None:
        path = self.new_path()
        if os.path.lexists(self.place(path)):
            return None
        target = self.random.choice([b"a", b"/nowhere", b"t" * 200])
        os.symlink(target, self.place(path))
        self.events.append(("symlink", path, target))
        return repr(path)

    def make_folder(self) -> str | None:
        path = self.new_path()
        if os.path.lexists(self.place(path)):
            return None
        self.make(path)
        return repr(path)

    def link(self) -> str | None:
        path, new = self.some(self.walk()[1], regular=True), self.new_path()
        if path is None or os.path.lexists(self.place(new)):
            return None
        os.link(self.place(path), self.place(new))
        self.events.append(("link", path, new))
        return f"{path!r} {new!r}"

    def replace_by_folder(self) -> str | None:
        path = self.some(self.walk()[1])
        if path is None:
            return None
        self.remove(path)
        self.make(path)
        if self.random.random() < 0.5:
            self.write(path + b"/in", self.content())
        return repr(path)

    def exchange_folder(self) -> str | None:
        """A folder goes, and something new takes its name at once."""
        path = self.some(self.walk()[0])
        if path is None or self.random.random() < 0.5:
            return None
        self.remove_folder(path)
        if self.random.random() < 0.5:
            self.make(path)
        else:
            self.write(path, self.content())
        return repr(path)

    def special(self) -> str | None:
        path = self.new_path()
        if os.path.lexists(self.place(path)) or self.random.random() < 0.7:
            return None
        os.mkfifo(self.place(path))
        return repr(path)


class BranchTwin:
    """Makes the steps of a program on a branch, through ``branch.files`` alone."""

    def __init__(self, branch: casstore.Branch) -> None:
        self.files = branch.files

    def play(self, events: list[tuple[str, bytes, bytes]]) -> None:
        for step, path, argument in events:
            getattr(self, step)(os.fsdecode(path), argument)

    def write(self, path: str, content: bytes) -> None:
        self.files[path] = content

    def append(self, path: str, content: bytes) -> None:
        self.files[path] += content

    def chmod(self, path: str, executable: bytes) -> None:
        content = self.files[path]
        self.put(path, file_entry, content, bool(executable))

    def symlink(self, path: str, target: bytes) -> None:
        self.put(path, symlink_entry, target)

    def put(self, path: str, make: Callable[..., Entry], content: bytes, *more: bool) -> None:
        if len(content) <= INLINE_BYTES:
            self.files.set_entry(path, make(len(content), None, content, *more))
        else:
            self.files.set_entry(path, make(len(content), content_address(content), None, *more), content)

    def mkdir(self, path: str, _: bytes) -> None:
        self.files.set_entry(path, directory_entry())

    def unlink(self, path: str, _: bytes) -> None:
        del self.files[path]
        self.leave(path)

    def remove_tree(self, path: str, _: bytes) -> None:
        self.take(path)
        self.leave(path)

    def rename(self, path: str, new_path: bytes) -> None:
        new = os.fsdecode(new_path)
        content = {}
        for key, entry in [*self.files.entries(path + "/"), *self.own(path)]:
            content[key] = entry, self.files[key] if entry.kind <= EXECUTABLE else None
        self.take(path)
        self.take(new)
        for key, (entry, data) in content.items():
            self.files.set_entry(new + key[len(path) :], entry, data if entry.address is not None else None)
        self.leave(path)

    def own(self, path: str) -> list[tuple[str, Entry]]:
        try:
            return [(path, self.files.entry(path))]
        except casstore.NotFoundError:
            return []

    def take(self, path: str) -> None:
        self.files.delete_prefix(path + "/")
        for key, _ in self.own(path):
            del self.files[key]

    def leave(self, path: str) -> None:
        """The folder of a name that went away stays, be it empty."""
        folder = path.rpartition("/")[0]
        if folder and not any(True for _ in self.files.entries(folder + "/")):
            self.files.set_entry(folder, directory_entry())


def random_base(seed: int, top: Path, steps: int = 40) -> None:
    """A directory with files, links, folders in folders and empty ones."""
    top.mkdir()
    program = Program(seed, os.fsencode(top))
    program.operations = [program.create] * 4 + [program.make_folder] * 4 + [program.symlink]
    program.run(steps)

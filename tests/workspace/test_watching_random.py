# SPDX-License-Identifier: MIT
"""Watching random changes: who looks at nothing but what is reported sees everything."""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.workspace.scanning.watching import Watcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

View = dict[bytes, object]


def is_folder(place: bytes) -> bool:
    return os.path.isdir(place) and not os.path.islink(place)


def look(directory: bytes, path: bytes, view: View) -> None:
    """Puts what is at ``path`` and below it now into ``view``, and nothing else there."""
    for known in [known for known in view if known == path or known.startswith(path + b"/")]:
        del view[known]
    parts = path.split(b"/")
    pending = [path]
    for depth in range(1, len(parts)):
        if not is_folder(os.path.join(directory, *parts[:depth])):
            pending = []  # It would lead through a symlink.
    while pending:
        path = pending.pop()
        place = os.path.join(directory, path)
        try:
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                view[path] = status.st_mode
                pending += [os.path.join(path, name) for name in os.listdir(place)]
            elif stat.S_ISLNK(status.st_mode):
                view[path] = os.readlink(place)
            else:
                with open(place, "rb") as file:
                    view[path] = (status.st_mode, file.read())
        except OSError:
            view.pop(path, None)


def everything(directory: bytes) -> View:
    view: View = {}
    for name in os.listdir(directory):
        look(directory, name, view)
    return view


class Reader:
    """Keeps a view of the directory up to date by nothing but what a watcher reports."""

    def __init__(self, directory: Path, watcher: Watcher) -> None:
        self.directory = os.fsencode(directory)
        self.watcher = watcher
        self.view: View = {}
        self.unknown = 0
        self.reported = 0

    def update(self) -> None:
        changed = self.watcher.changed()
        if changed is None:
            self.unknown += 1
            self.view = everything(self.directory)
            return
        self.reported += len(changed)
        for path in changed:
            look(self.directory, path, self.view)

    def check(self) -> None:
        self.update()
        assert self.view == everything(self.directory)


class Mischief:
    """Random changes in ``inside``, with folders going to ``outside`` and coming from there."""

    NAMES = (b"a", b"b", b"c\xff", b"d")

    def __init__(self, inside: Path, outside: Path, choose: random.Random) -> None:
        self.tops = (os.fsencode(inside), os.fsencode(outside))
        self.choose = choose

    def path(self, *, outside: bool = False) -> bytes:
        return os.path.join(self.tops[outside], *self.choose.choices(self.NAMES, k=self.choose.randint(1, 3)))

    def once(self) -> None:
        doing = self.choose.choice(
            ("write", "append", "deep", "rename", "out", "in", "delete", "again", "link", "chmod")
        )
        try:
            getattr(self, doing)()
        except OSError:
            pass  # The name is taken, or there is nothing there: another time.

    def write(self) -> None:
        with open(self.path(), "wb") as file:
            file.write(self.choose.randbytes(5))

    def append(self) -> None:
        with open(self.path(), "ab") as file:
            file.write(b"+")

    def deep(self, top: bytes | None = None) -> None:
        top = top or self.path()
        folder = os.path.join(top, *self.choose.choices(self.NAMES, k=2))
        os.makedirs(folder)
        with open(os.path.join(folder, b"new"), "wb") as file:
            file.write(self.choose.randbytes(3))

    def rename(self) -> None:
        os.rename(self.path(), self.path())

    def out(self) -> None:
        os.rename(self.path(), os.path.join(self.tops[1], b"%d" % self.choose.getrandbits(32)))

    def into(self) -> None:
        source = os.path.join(self.tops[1], b"%d" % self.choose.getrandbits(32))
        self.deep(source)
        os.rename(source, self.path())

    def delete(self) -> None:
        path = self.path()
        if is_folder(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def again(self) -> None:
        path = self.path()
        shutil.rmtree(path)
        self.deep(path)

    def link(self) -> None:
        os.symlink(self.choose.choice((*self.NAMES, b"../a", b"../..", self.tops[1])), self.path())

    def chmod(self) -> None:
        path = self.path()
        if not os.path.islink(path):
            os.chmod(path, self.choose.choice((0o700, 0o755, 0o750)))


# "in" is no name for a method.
setattr(Mischief, "in", Mischief.into)


@given(seed=st.integers(0, 2**32), rounds=st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_what_is_reported_is_all_there_is_to_look_at(seed: int, rounds: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inside, outside = Path(folder, "in"), Path(folder, "out")
        inside.mkdir()
        outside.mkdir()
        mischief = Mischief(inside, outside, random.Random(seed))
        for _ in range(30):
            mischief.once()
        watcher = Watcher(str(inside), folder)
        reader = Reader(inside, watcher)
        reader.check()
        for count in rounds:
            for _ in range(count):
                mischief.once()
            reader.check()
        assert reader.unknown == 1, "the first call only: nobody moved anything while it read"
        watcher.close()


def test_nothing_is_missed_while_others_write(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    watcher = Watcher(str(inside), str(tmp_path))
    reader = Reader(inside, watcher)

    def write(seed: int, until: float) -> None:
        mischief = Mischief(inside, outside, random.Random(seed))
        while time.monotonic() < until:
            mischief.once()

    calls = 0
    for turn in range(8):
        until = time.monotonic() + 0.15
        writers = [threading.Thread(target=write, args=(10 * turn + i, until)) for i in range(3)]
        for writer in writers:
            writer.start()
        while time.monotonic() < until:
            reader.update()
            calls += 1
        for writer in writers:
            writer.join()
        reader.check()
    watcher.close()
    assert reader.reported > 100
    assert reader.unknown < calls / 2

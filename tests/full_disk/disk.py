# SPDX-License-Identifier: MIT
"""A small file system of one's own, filled as far as a test wants it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096


def _needed(*words: str) -> None:
    """Runs what not every machine has or allows; skips the test where that fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {' '.join(words)}: {done.stderr.strip()}")


def _unmount(path: Path) -> None:
    # Lazily: what a failed test left open must not leave the mount behind.
    subprocess.run(["umount", "-l", str(path)], check=True)


class Disk:
    """A mounted file system; ``path`` is for stores, beside them lies the ballast that fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    def free(self) -> int:
        """Free bytes, as ``df`` shows them."""
        seen = os.statvfs(self.path)
        return seen.f_bavail * seen.f_frsize

    def fill(self, left: int = 0) -> None:
        """Leaves that many bytes free, or fewer where there are fewer."""
        with self.ballast.open("ab") as file:
            while (more := self.free() - left) >= PAGE:
                size = file.tell() + more - more % PAGE
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError:
                    # The file system needs some of it for itself: the rest goes a page at a time.
                    try:
                        while self.free() > left:
                            file.write(bytes(PAGE))
                            file.flush()
                            os.fsync(file.fileno())
                    except OSError:
                        pass
                    return
                file.seek(0, os.SEEK_END)

    def empty(self) -> None:
        """Gives back what ``fill`` took."""
        self.ballast.unlink(missing_ok=True)

    def read_only(self, on: bool) -> None:
        """Remounts."""
        subprocess.run(["mount", "-o", "remount,ro" if on else "remount,rw", str(self.path)], check=True)


@contextmanager
def tmpfs(path: Path, size: int) -> Iterator[Disk]:
    """A file system in memory; the test is skipped where this process may not mount."""
    path.mkdir(exist_ok=True)
    _needed("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    try:
        yield Disk(path)
    finally:
        _unmount(path)


@contextmanager
def ext4(path: Path, size: int) -> Iterator[Disk]:
    """A file system in a file: with a journal, delayed allocation, and blocks that it keeps for itself.

    The test is skipped where there are no loop devices, or they may not be used.
    """
    path.mkdir(exist_ok=True)
    image = path.parent / f"{path.name}.img"
    with image.open("wb") as file:
        file.truncate(size)
    _needed("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", str(image))
    _needed("mount", "-o", "loop", str(image), str(path))
    try:
        yield Disk(path)
    finally:
        _unmount(path)
        image.unlink()

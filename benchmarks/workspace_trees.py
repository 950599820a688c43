# SPDX-License-Identifier: MIT
"""The directories that are measured: a release of Django, and a generated tree of its shape, ten times as large."""

from __future__ import annotations

import bisect
import functools
import itertools
import os
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import Options
from benchmarks.process import run
from benchmarks.releases import releases, unpacked

VERSION = "5.2.4"
# Bytes of Django's files at these shares of them; sizes in between are drawn evenly.
SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
SIZES = (0, 49, 455, 947, 2_301, 7_137, 18_188, 25_955, 38_774, 120_000)
# Two thirds of Django's files lie in pairs, each pair in a folder that is the only thing in another one.
PAIRS, MODULES, MODULE_FILES = 98, 8, 13
PACKAGE_FILES = 2 * PAIRS + MODULES * MODULE_FILES
PACKAGES_OF_GROUP = 10
CORPUS_BYTES = 4 * 2**20
SLICE_BYTES = 400
PAST_SECONDS = 86_400
_seconds = itertools.count(int(time.time()))


@dataclass(frozen=True, slots=True)
class Tree:
    """A kind of directory; ``source`` is an unpacked release, None for a generated one."""

    name: str
    files: int
    source: Path | None

    def make(self, folder: Path) -> Path:
        """Writes it to ``folder``, which is made; every file's mtime lies in the past."""
        if self.source is None:
            generate(folder, self.files)
        else:
            copy(self.source, folder)
            set_back(folder, names(folder))
        return folder


def real(options: Options) -> Tree:
    """Django; in a quick run, a small generated tree."""
    if options.quick:
        return Tree("60 files", 60, None)
    if options.releases is None:
        source = unpacked(options.cache / "django", VERSION)
    else:
        source = releases(options.cache, options.releases)[-1]
    return Tree("3.6 k files", len(names(source)), source)


def generated(options: Options) -> Tree:
    """The large tree."""
    return Tree("200 files", 200, None) if options.quick else Tree("36 k files", 36_000, None)


def describe(options: Options) -> str:
    """Both trees, for a workload."""
    if options.quick:
        return "generated trees of 60 and 200 files"
    return f"Django {VERSION} (3.6 k files in 2.4 k folders) and {described_large(options)}"


def described_large(options: Options) -> str:
    """The large tree, for a workload."""
    if options.quick:
        return "a generated tree of 200 files"
    return (
        "a generated tree of 36,000 files in 24,600 folders (the same proportions: two thirds of the files in pairs, "
        "each pair at the end of two folders that hold nothing else, the rest 13 to a folder; sizes drawn from "
        "Django's, median 2.3 KB; text)"
    )


def generate(folder: Path, files: int) -> None:
    """``files`` files of text in packages; always the same ones."""
    text, generator = corpus(), random.Random(files)
    past = time.time_ns() - PAST_SECONDS * 10**9
    parent = folder
    for number, name in zip(range(files), generated_names()):
        path = folder / name
        if path.parent != parent:
            parent = path.parent
            parent.mkdir(parents=True, exist_ok=True)
        size = size_at(generator.random())
        starts = [generator.randrange(CORPUS_BYTES - SLICE_BYTES) for _ in range(size // SLICE_BYTES + 1)]
        data = b"# %d of %d\n" % (number, files) + b"".join(text[start : start + SLICE_BYTES] for start in starts)
        path.write_bytes(data[: max(size, 1)])
        os.utime(path, ns=(past + number, past + number))


@functools.cache
def corpus() -> bytes:
    """Lines of words that no language has; always the same ones."""
    generator = random.Random(36)
    words = [bytes(generator.choices(b"abcdefghijklmnopqrstuvwxyz_", k=generator.randint(2, 10))) for _ in range(3_000)]
    text = bytearray()
    while len(text) < CORPUS_BYTES:
        text += b"    " * generator.randint(0, 3) + b" ".join(generator.choices(words, k=7)) + b"\n"
    return bytes(text)


def generated_names() -> Iterator[str]:
    """Paths without end, package after package."""
    package = 0
    while True:
        place = f"group_{package // PACKAGES_OF_GROUP:02d}/package_{package:03d}"
        for module in range(MODULES):
            for number in range(MODULE_FILES):
                yield f"{place}/module_{module}/part_{number:02d}.py"
        for pair in range(PAIRS):
            for ending in ("mo", "po"):
                yield f"{place}/locale/lang_{pair:02d}/LC_MESSAGES/django.{ending}"
        package += 1


def size_at(share: float) -> int:
    """Bytes of the file at that share of Django's, ordered by size."""
    above = min(bisect.bisect_right(SHARES, share), len(SHARES) - 1)
    low, high = SHARES[above - 1], SHARES[above]
    part = (share - low) / (high - low)
    return int(SIZES[above - 1] + part * (SIZES[above] - SIZES[above - 1]))


def copy(source: Path, target: Path) -> None:
    """Copies a directory; ``target`` is made."""
    run(["cp", "-a", str(source), str(target)])


def names(folder: Path) -> list[str]:
    """Paths of all files below, sorted; `.git` left out."""
    found = []
    start = len(str(folder)) + 1
    for here, folders, files in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        found += [os.path.join(here, name)[start:] for name in files]
    return sorted(found)


def chosen(folder: Path, count: int) -> list[str]:
    """``count`` of the files, spread evenly over the tree."""
    every = names(folder)
    return [every[(2 * number + 1) * len(every) // (2 * count)] for number in range(count)]


def set_back(folder: Path, paths: Iterable[str]) -> None:
    """Sets the mtime of files back, each time to one a second later: most builds of git compare whole seconds alone."""
    past = (next(_seconds) - PAST_SECONDS) * 10**9 + 123_456_789
    for path in paths:
        os.utime(folder / path, ns=(past, past))


class Editor:
    """Changes some files of a directory, each time to other bytes; they do not grow."""

    def __init__(self, folder: Path, paths: Iterable[str]) -> None:
        self.folder = folder
        self._originals = {path: (folder / path).read_bytes() for path in paths}
        self.paths = sorted(self._originals)

    def data(self, path: str, number: int) -> bytes:
        """The bytes of a file in round ``number``."""
        return b"# changed %08d\n" % number + self._originals[path]

    def change(self, number: int) -> None:
        """Writes what belongs to round ``number``, in place."""
        for path in self.paths:
            (self.folder / path).write_bytes(self.data(path, number))
        set_back(self.folder, self.paths)

# SPDX-License-Identifier: MIT
"""Whatever a user may do to a directory between two imports, as steps that Hypothesis can draw and shorten."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from hypothesis import strategies as st

Step = tuple[str, bytes, bytes, int]
"""What to do, where, the other path it takes, and a number that chooses among variants."""

NAMES = [b"a", b"b", b"d", b"\xff", b"d.x"]
PATHS = [*NAMES, *[b"d/" + name for name in NAMES], b"b/a", b"d/d/a", b"d/d/d", b"d/d/b", b"d/b/a", b"\xff/\xff/\xff"]
RULE_PATHS = [b".gitignore", b"d/.gitignore", b"d/.casignore", b"d/d/.gitignore", b".git/info/exclude", b".git/a"]
RULES = [b"", b"a\n", b"d/\n", b"/b\n!a\n", b"*.x\n", b"d/d\n", b"*\n!.gitignore\n", b".gitignore\n"]
CONTENTS = [b"", b"1" * 9, b"2" * 9, b"3" * 300, b"4" * 300]
TARGETS = [b"a", b"d", b"..", b"b"]


def remove(path: bytes) -> None:
    """Takes away whatever lies at ``path``."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _without_waiting(path: str, flags: int) -> int:
    # A FIFO that nobody reads refuses this, and would hang any other opening.
    return os.open(path, flags | os.O_NONBLOCK, 0o644)


def write(path: bytes, other: bytes, number: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    mode = "r+b" if os.path.exists(path) and number % 2 else "wb"
    with open(path, mode, opener=_without_waiting) as file:
        file.write(CONTENTS[number % len(CONTENTS)])


def write_and_set_back(path: bytes, other: bytes, number: int) -> None:
    before = os.stat(path)
    with open(path, "wb", opener=_without_waiting) as file:
        file.write(bytes([65 + number]) * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: bytes, other: bytes, number: int) -> None:
    """A file, a folder, a full folder or a symlink takes the place of what was there."""
    remove(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if number % 4 == 0:
        write(path, other, number)
    elif number % 4 == 3:
        os.symlink(TARGETS[number % len(TARGETS)], path)
    else:
        os.mkdir(path)
        if number % 4 == 2:
            write(os.path.join(path, b"a"), other, number)


def swap(path: bytes, other: bytes, number: int) -> None:
    aside = path + b"~"
    os.rename(path, aside)
    try:
        os.rename(other, path)
        os.rename(aside, other)
    finally:
        if os.path.lexists(aside):
            os.rename(aside, path)


def edit_rules(path: bytes, other: bytes, number: int) -> None:
    top = path[: path.index(b"/in/") + 4]
    place = os.path.join(top, RULE_PATHS[number % len(RULE_PATHS)])
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb", opener=_without_waiting) as file:
        file.write(RULES[number // len(RULE_PATHS) % len(RULES)])


def append(path: bytes, other: bytes, number: int) -> None:
    with open(path, "ab", opener=_without_waiting) as file:
        file.write(b"more")


def make_folder(path: bytes, other: bytes, number: int) -> None:
    os.makedirs(path)


def make_fifo(path: bytes, other: bytes, number: int) -> None:
    os.mkfifo(path)


ACTIONS: dict[str, Callable[[bytes, bytes, int], object]] = {
    "write": write,
    "write and set back": write_and_set_back,
    "append": append,
    "truncate": lambda path, other, number: os.truncate(path, number % 12),
    "mode": lambda path, other, number: os.chmod(path, 0o755 if number % 2 else 0o644),
    "remove": lambda path, other, number: remove(path),
    "rename": lambda path, other, number: os.rename(path, other),
    "swap": swap,
    "replace": replace,
    "folder": make_folder,
    "link": lambda path, other, number: os.link(path, other, follow_symlinks=False),
    "touch": lambda path, other, number: os.utime(path, ns=(0, number * 10**9), follow_symlinks=False),
    "fifo": make_fifo,
    "rules": edit_rules,
}

steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(sorted(ACTIONS)), st.sampled_from(PATHS), st.sampled_from(PATHS), st.integers(0, 47)
)


def perform(top: str, step: Step) -> None:
    """Does ``step`` below ``top``, as far as it can be done."""
    what, path, other, number = step
    base = os.fsencode(top)
    try:
        ACTIONS[what](os.path.join(base, path), os.path.join(base, other), number)
    except OSError:
        # Nothing there to be changed, or something in the way: that is a step that did nothing.
        pass

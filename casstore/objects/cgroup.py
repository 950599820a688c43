# SPDX-License-Identifier: MIT
"""Limits and usage of the control groups that a process is in, version 1 and version 2.

The own group is named by ``/proc/self/cgroup``, relative to its hierarchy's root; where that hierarchy can be seen, and
from which root on, is in ``/proc/self/mountinfo``. A container often sees its own group as the top, so a path that
cannot be found below a mount stands for the mount itself.

What counts as used leaves out the page cache: the kernel takes it back before it refuses anything, and a store that is
read through it fills every group. Pages that must be written first do count. (The usual "working set" leaves out the
inactive half only, and calls a group full that merely read a lot: kubernetes#43916.)

*Source*: Linux, ``Documentation/admin-guide/cgroup-v2.rst``, ``…/cgroup-v1/memory.rst``, ``proc(5)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from casstore.objects.kernel_files import KernelFiles
from casstore.objects.reading import Bound

NO_LIMIT_BYTES: Final = 1 << 62
"""Version 1 writes "no limit" as the largest multiple of a page; nobody has so much."""
MAX_DEPTH: Final = 64
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Group:
    """A control group that can be looked into.

    Attributes:
        version: 1 or 2.
        folder: Its folder.
        own: Whether the process is in it itself, not only in one below it.
        hidden_bytes: The least limit of all its ancestors, as version 1 tells it even where they cannot be seen.
    """

    version: int
    folder: str
    own: bool
    hidden_bytes: int = NO_LIMIT_BYTES


def find_groups(files: KernelFiles) -> tuple[Group, ...]:
    """The groups whose memory limits hold for this process: its own first, then its ancestors; of both versions.

    *Cost*: two files read, and a look at each folder.
    """
    names = _own_names(files)
    if not names:
        return ()
    mounts = _mounts(files)
    groups: list[Group] = []
    for version, name in sorted(names.items()):
        if version not in mounts:
            continue
        top, below = _locate(files, mounts[version], name)
        folders = [top]
        for part in below:
            folder = f"{folders[-1].rstrip('/')}/{part}"
            if len(folders) >= MAX_DEPTH or not files.is_folder(folder):
                files.note("/proc/self/cgroup", f"names {name!r}, of which {folders[-1]} is all that can be seen")
                break
            folders.append(folder)
        own = Group(version, folders[-1], True, _hidden_bytes(files, folders[-1]) if version == 1 else NO_LIMIT_BYTES)
        groups += [own, *(Group(version, folder, False) for folder in reversed(folders[:-1]))]
    return tuple(groups)


def read_bounds(files: KernelFiles, groups: tuple[Group, ...]) -> list[Bound]:
    """Every limit of ``groups`` with what is taken of it.

    *Cost*: one or two small files per group, and two more for each that has a limit.
    """
    bounds: list[Bound] = []
    for group in groups:
        bounds += _read_v1(files, group) if group.version == 1 else _read_v2(files, group)
    return bounds


def _read_v2(files: KernelFiles, group: Group) -> list[Bound]:
    # The root group of the system has none of these files.
    names = [f"{group.folder}/memory.max", f"{group.folder}/memory.high"]
    limits = [(name, limit) for name in names if (limit := files.number(name)) is not None]
    if not limits:
        return []
    used = files.number(f"{group.folder}/memory.current")
    if used is None:
        files.note(f"{group.folder}/memory.current", "says nothing, but there is a limit")
        return []
    used -= _reclaimable(files.table(f"{group.folder}/memory.stat", required=True), "", used)
    return [Bound(name, used, max(1, limit)) for name, limit in limits if limit < NO_LIMIT_BYTES]


def _read_v1(files: KernelFiles, group: Group) -> list[Bound]:
    if not group.own and files.number(f"{group.folder}/memory.use_hierarchy") == 0:
        # Its limit does not hold for groups below it.
        return []
    name = f"{group.folder}/memory.limit_in_bytes"
    limit = files.number(name)
    if group.hidden_bytes < (NO_LIMIT_BYTES if limit is None else limit):
        name, limit = f"{group.folder}/memory.stat", group.hidden_bytes
    if limit is None or limit >= NO_LIMIT_BYTES:
        return []
    used = files.number(f"{group.folder}/memory.usage_in_bytes")
    if used is None:
        files.note(f"{group.folder}/memory.usage_in_bytes", "says nothing, but there is a limit")
        return []
    stat = files.table(f"{group.folder}/memory.stat", required=True)
    return [Bound(name, used - _reclaimable(stat, "total_", used), max(1, limit))]


def _hidden_bytes(files: KernelFiles, folder: str) -> int:
    # Looked at when groups are found, not each time: where many write, this file takes the kernel milliseconds.
    return files.table(f"{folder}/memory.stat").get("hierarchical_memory_limit", NO_LIMIT_BYTES)


def _reclaimable(stat: dict[str, int], prefix: str, used: int) -> int:
    """What the kernel takes back by itself, of ``used`` bytes."""
    if prefix:
        dirty = stat.get("total_dirty", 0) + stat.get("total_writeback", 0)
    else:
        dirty = stat.get("file_dirty", 0) + stat.get("file_writeback", 0)
    cached = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0)
    # The counters are not taken at one moment.
    return min(used, max(0, cached - dirty) + stat.get("slab_reclaimable", 0))


def _own_names(files: KernelFiles) -> dict[int, str]:
    """Version → path of the own group, relative to its hierarchy's root."""
    names: dict[int, str] = {}
    for line in (files.text("/proc/self/cgroup") or "").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[2].startswith("/"):
            files.note("/proc/self/cgroup", f"has a line that names no group: {line[:80]!r}")
        elif parts[0] == "0" and not parts[1]:
            names[2] = parts[2]
        elif "memory" in parts[1].split(","):
            names[1] = parts[2]
    return names


def _mounts(files: KernelFiles) -> dict[int, list[tuple[str, str]]]:
    """Version → (root in the hierarchy, folder) of each mount that shows memory groups."""
    found: dict[int, list[tuple[str, str]]] = {}
    for line in (files.text("/proc/self/mountinfo", required=True) or "").splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if not kind or kind[0] not in ("cgroup", "cgroup2"):
            continue
        if len(place) < 6 or len(kind) < 3 or not place[3].startswith("/") or not place[4].startswith("/"):
            files.note("/proc/self/mountinfo", f"has a line that is no mount: {line[:80]!r}")
        elif kind[0] == "cgroup2":
            found.setdefault(2, []).append((_unescape(place[3]), _unescape(place[4])))
        elif "memory" in kind[2].split(","):
            found.setdefault(1, []).append((_unescape(place[3]), _unescape(place[4])))
    return found


def _locate(files: KernelFiles, mounts: list[tuple[str, str]], name: str) -> tuple[str, list[str]]:
    """The highest folder that can be seen above the group ``name``, and the parts of the way down from it."""
    parts = [part for part in name.split("/") if part]
    if ".." not in parts:
        # The mount that begins highest shows most ancestors.
        for root, folder in sorted(mounts, key=lambda mount: len(mount[0])):
            above = [part for part in root.split("/") if part]
            if parts[: len(above)] == above and files.is_folder(folder):
                return folder, parts[len(above) :]
    folder = mounts[0][1]
    files.note("/proc/self/cgroup", f"names {name!r}, which lies below no mount; {folder} is taken for it")
    return folder, []


def _unescape(path: str) -> str:
    # Blanks are written as three octal digits of a byte; others stand for themselves.
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), path)

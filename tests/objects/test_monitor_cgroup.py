# SPDX-License-Identifier: MIT
"""Control groups and stalls, read from trees that look like the kernel's, and like nothing it would write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casstore.objects.cgroup import Group, find_groups, read_bounds
from casstore.objects.kernel_files import MAX_BYTES, KernelFiles, parse_number
from casstore.objects.psi import parse_stalls, read_stalls
from casstore.objects.reading import Bound
from tests.objects.memory_fakes import OTHER_MOUNTS, PSI, STAT_V1, STAT_V2, V1_MOUNT, V2_MOUNT, make_tree

SELF = "/proc/self/cgroup"
MOUNTS = "/proc/self/mountinfo"


def found(root: Path, files: dict[str, str | None]) -> tuple[list[Bound], KernelFiles]:
    tree = make_tree(root, files)
    return read_bounds(tree, find_groups(tree)), tree


def v2(folder: str, limit: str = "max", high: str = "max", used: str = "150") -> dict[str, str | None]:
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": STAT_V2,
    }


def v1(folder: str, limit: str, used: str = "150", stat: str = STAT_V1) -> dict[str, str | None]:
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": stat,
    }


def test_version_2_own_limit_and_those_of_all_ancestors(tmp_path: Path) -> None:
    top = "/sys/fs/cgroup"
    bounds, tree = found(
        tmp_path,
        {
            SELF: "0::/a.slice/b.scope\n",
            MOUNTS: OTHER_MOUNTS + V2_MOUNT,
            f"{top}/cgroup.procs": "",
            **v2(f"{top}/a.slice", "4000", "3000", "1000"),
            **v2(f"{top}/a.slice/b.scope", "max", "2000"),
        },
    )
    # 20 + 25 of page cache less 5 that must be written first, and 5 of the slab, come back by themselves.
    assert bounds == [
        Bound(f"{top}/a.slice/b.scope/memory.high", 105, 2000),
        Bound(f"{top}/a.slice/memory.max", 955, 4000),
        Bound(f"{top}/a.slice/memory.high", 955, 3000),
    ]
    assert tree.problems == {}


def test_version_1_with_ancestors_and_version_2_beside_it(tmp_path: Path) -> None:
    top = "/sys/fs/cgroup/memory"
    unified = "40 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    files = {
        SELF: "12:cpu,cpuacct:/x\n9:name=systemd:/\n4:memory:/jobs/one\n0::/\n",
        MOUNTS: OTHER_MOUNTS + V1_MOUNT + unified,
        "/sys/fs/cgroup/unified/memory.pressure": PSI,
        **v1(top, "9223372036854771712"),
        **v1(f"{top}/jobs", "5000", "600"),
        f"{top}/jobs/memory.use_hierarchy": "1\n",
        **v1(f"{top}/jobs/one", "900"),
    }
    bounds, tree = found(tmp_path, files)
    assert bounds == [
        Bound(f"{top}/jobs/one/memory.limit_in_bytes", 110, 900),
        Bound(f"{top}/jobs/memory.limit_in_bytes", 560, 5000),
    ]
    assert tree.problems == {}
    stalls = read_stalls(tree, find_groups(tree))
    assert stalls is not None
    assert stalls.path == "/sys/fs/cgroup/unified/memory.pressure"
    # A limit above that does not hold for those below.
    (tmp_path / f"{top}/jobs/memory.use_hierarchy".lstrip("/")).write_text("0\n")
    assert [bound.limit_bytes for bound in read_bounds(tree, find_groups(tree))] == [900]


def test_version_1_an_ancestor_that_cannot_be_seen(tmp_path: Path) -> None:
    top = "/sys/fs/cgroup/memory"
    stat = STAT_V1.replace("9223372036854771712", "700")
    mount = V1_MOUNT.replace(" / /sys", " /docker/c0ffee /sys")
    bounds, tree = found(
        tmp_path, {SELF: "4:memory:/docker/c0ffee\n", MOUNTS: mount, **v1(top, "9223372036854771712", stat=stat)}
    )
    assert bounds == [Bound(f"{top}/memory.stat", 110, 700)]
    assert tree.problems == {}


def test_the_mount_that_shows_most_and_names_with_blanks(tmp_path: Path) -> None:
    narrow = "50 23 0:27 /a /mnt/narrow rw - cgroup2 cgroup2 rw\n"
    wide = "51 23 0:27 / /mnt/the\\040wide rw - cgroup2 cgroup2 rw\n"
    sibling = "52 23 0:27 /a\\040b /mnt/other rw - cgroup2 cgroup2 rw\n"
    tree = make_tree(
        tmp_path,
        {
            SELF: "0::/a/b c\n",
            MOUNTS: sibling + narrow + wide,
            "/mnt/narrow/b c/x": "",
            "/mnt/other/x": "",
            "/mnt/the wide/a/b c/x": "",
        },
    )
    assert find_groups(tree) == (
        Group(2, "/mnt/the wide/a/b c", True),
        Group(2, "/mnt/the wide/a", False),
        Group(2, "/mnt/the wide", False),
    )
    assert tree.problems == {}
    # The wide one cannot be looked into: the next best.
    os.rename(tmp_path / "mnt/the wide", tmp_path / "mnt/gone")
    assert find_groups(tree) == (Group(2, "/mnt/narrow/b c", True), Group(2, "/mnt/narrow", False))


@pytest.mark.parametrize(
    ("own", "folder", "word"),
    [
        ("0::/../sibling\n", "/sys/fs/cgroup", "lies below no mount"),
        ("0::/a/gone (deleted)\n", "/sys/fs/cgroup/a", "all that can be seen"),
        ("0::/host/only\n", "/sys/fs/cgroup", "all that can be seen"),
    ],
)
def test_a_group_that_cannot_be_found_is_the_nearest_that_can(tmp_path: Path, own: str, folder: str, word: str) -> None:
    tree = make_tree(tmp_path, {SELF: own, MOUNTS: V2_MOUNT, "/sys/fs/cgroup/a/x": ""})
    groups = find_groups(tree)
    assert groups[0] == Group(2, folder, True)
    assert word in tree.problems[SELF]


def test_no_groups_at_all(tmp_path: Path) -> None:
    for i, (files, problems) in enumerate(
        [
            ({}, 0),
            ({SELF: ""}, 0),
            ({SELF: "0::/\n"}, 1),  # groups, but no table of mounts
            ({SELF: "0::/\n", MOUNTS: OTHER_MOUNTS}, 0),
            ({SELF: "4:cpuset:/x\n", MOUNTS: V1_MOUNT}, 0),
            ({SELF: "what is this\n0::relative\n\n", MOUNTS: V2_MOUNT}, 1),
            ({SELF: None}, 1),
            ({SELF: "0::/\n", MOUNTS: "30 23 - cgroup2\n1 2 3 4 5 6 - cgroup2 a b\n"}, 1),
        ]
    ):
        bounds, tree = found(tmp_path / str(i), dict(files))
        assert bounds == []
        assert len(tree.problems) == problems, (i, tree.problems)


def test_odd_files_are_named_and_the_others_count(tmp_path: Path) -> None:
    top = "/sys/fs/cgroup"
    bounds, tree = found(
        tmp_path,
        {
            SELF: "0::/a/b/c/d\n",
            MOUNTS: V2_MOUNT,
            **v2(f"{top}/a", "5000"),
            **v2(f"{top}/a/b", "-7", "many"),
            f"{top}/a/b/c/memory.max": "700\n",
            f"{top}/a/b/c/memory.high": None,
            **v2(f"{top}/a/b/c/d", "600", used="200"),
            f"{top}/a/b/c/d/memory.stat": "\x00\x01 what\n",
        },
    )
    assert bounds == [Bound(f"{top}/a/b/c/d/memory.max", 200, 600), Bound(f"{top}/a/memory.max", 105, 5000)]
    assert set(tree.problems) == {
        f"{top}/a/b/memory.max",
        f"{top}/a/b/memory.high",
        f"{top}/a/b/c/memory.high",
        f"{top}/a/b/c/memory.current",
        f"{top}/a/b/c/d/memory.stat",
    }
    assert tree.problems[f"{top}/a/b/memory.max"] == f"{top}/a/b/memory.max holds no number of bytes but '-7'"
    assert "Is a directory" in tree.problems[f"{top}/a/b/c/memory.high"]


def test_version_1_odd_files(tmp_path: Path) -> None:
    top = "/sys/fs/cgroup/memory"
    for i, (limit, used) in enumerate([("-1", "5"), ("", "5"), ("100", "")]):
        bounds, tree = found(
            tmp_path / str(i), {SELF: "4:memory:/\n", MOUNTS: V1_MOUNT, **v1(top, limit, used), f"{top}/x": ""}
        )
        assert bounds == []
        assert tree.problems


def test_a_limit_of_nothing_is_full_and_cache_never_makes_use_negative(tmp_path: Path) -> None:
    bounds, _ = found(tmp_path, {SELF: "0::/\n", MOUNTS: V2_MOUNT, **v2("/sys/fs/cgroup", "0", used="10")})
    assert bounds == [Bound("/sys/fs/cgroup/memory.max", 0, 1)]


def test_stalls_of_the_own_group_first_then_of_the_system(tmp_path: Path) -> None:
    own = "/sys/fs/cgroup/memory.pressure"
    above = "/above/memory.pressure"
    tree = make_tree(tmp_path, {own: PSI, above: PSI, "/proc/pressure/memory": PSI.replace("12.50", "99.00")})
    groups = (Group(1, "/v1", True), Group(2, "/sys/fs/cgroup", True), Group(2, "/above", False))
    first = read_stalls(tree, groups)
    assert first is not None
    assert (first.path, first.average, first.total_us) == (own, 0.125, 4500000)
    system = read_stalls(tree, ())
    assert system is not None
    assert system.average == 0.99
    (tmp_path / own.lstrip("/")).write_text("nothing of use\n")
    second = read_stalls(tree, groups)
    assert second is not None
    assert second.path == "/proc/pressure/memory"
    assert own in tree.problems
    assert read_stalls(make_tree(tmp_path / "none", {}), groups) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("some avg10=0.00 total=1\n", (0.0, 1)),
        ("full avg10=1.00 total=1\n", None),
        ("some\n", None),
        ("some avg10=nan total=-3\n", None),
        ("some avg10=-1 total=7\n", (None, 7)),
        ("some avg10=250.00\n", (1.0, None)),
        ("some avg10=x=y total=8 rubbish\n", (None, 8)),
        ("\n\n", None),
    ],
)
def test_lines_of_stalls(text: str, expected: tuple[float | None, int | None] | None) -> None:
    stalls = parse_stalls("p", text)
    assert (None if stalls is None else (stalls.average, stalls.total_us)) == expected


def test_numbers() -> None:
    assert parse_number("0") == 0
    assert parse_number("18446744073709551615") == 2**64 - 1
    for text in ("", "-1", "+1", "1.0", "0x1", "1_0", "٣", "²", " 1", "9" * 21):
        assert parse_number(text) is None, text


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, {"/a/file": "1"})
    assert tree.text("/a/file/below") is None
    assert tree.text("/a/none") is None
    assert tree.problems == {}
    assert tree.text("/a/none", required=True) is None
    assert tree.text("/a/with\0null") is None
    assert set(tree.problems) == {"/a/none", "/a/with\0null"}
    os.mkfifo(tmp_path / "pipe")
    assert tree.text("/pipe") == ""  # and does not hang
    (tmp_path / "bytes").write_bytes(b"\xff\xfe 12\n")
    assert tree.number("/bytes") is None
    assert "/bytes" in tree.problems
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 40)
    assert len(tree.text("/huge") or "") == MAX_BYTES

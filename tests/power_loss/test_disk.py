# SPDX-License-Identifier: MIT
"""The model of a disk: what must be left after a power loss, what may be, and what may not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from random import Random

import pytest

from tests.power_loss.disk import EXPIRED, Disk
from tests.power_loss.loss import Choice, Rule, choose
from tests.power_loss.trace import Kind, Line

CREATE = os.O_CREAT | os.O_WRONLY


def line(
    kind: Kind, path: str = "", second: str = "", *, fd: int = -1, a: int = 0, b: int = 0, data: bytes = b""
) -> Line:
    return Line(kind, 1, fd, a, b, path, second, data)


def made(path: str, data: bytes, *, sync: bool, fd: int = 3) -> list[Line]:
    lines = [line(Kind.OPEN, path, fd=fd, a=CREATE), line(Kind.WRITE, fd=fd, data=data)]
    return [*lines, *([line(Kind.FSYNC, fd=fd)] if sync else []), line(Kind.CLOSE, fd=fd)]


def folder_synced(path: str) -> list[Line]:
    return [line(Kind.OPEN, path, fd=9, b=1), line(Kind.FSYNC, fd=9), line(Kind.CLOSE, fd=9)]


def disk_of(*parts: Iterable[Line]) -> Disk:
    disk = Disk()
    for part in parts:
        for one in part:
            disk.apply(one)
    return disk


def left(disk: Disk, rule: Rule, times: int = 300) -> list[dict[str, bytes | None]]:
    """All the different things that may be left, as far as chance finds them."""
    found: list[dict[str, bytes | None]] = []
    for seed in range(times):
        random = Random(seed)
        one = disk.lost(choose(random, (rule,)), random)
        if one not in found:
            found.append(one)
    return found


@pytest.mark.parametrize("rule", Rule)
def test_what_was_synced_with_its_folder_is_there(rule: Rule) -> None:
    disk = disk_of(made("a", b"data", sync=True), folder_synced(""))
    assert left(disk, rule) == [{"a": b"data"}]


def test_a_sync_of_a_file_keeps_its_name_but_under_posix() -> None:
    disk = disk_of([line(Kind.MKDIR, "dir")], made("dir/a", b"data", sync=True))
    assert left(disk, Rule.JOURNAL) == [{"dir": None, "dir/a": b"data"}]
    assert left(disk, Rule.LOOSE) == [{"dir": None, "dir/a": b"data"}]
    assert {frozenset(one) for one in left(disk, Rule.POSIX)} == {
        frozenset(),
        frozenset({"dir"}),
        frozenset({"dir", "dir/a"}),
    }


def test_a_journal_keeps_the_order_of_names() -> None:
    disk = disk_of(*(made(name, b"", sync=False) for name in "abc"))
    assert {"".join(sorted(one)) for one in left(disk, Rule.JOURNAL)} == {"", "a", "ab", "abc"}
    assert len(left(disk, Rule.LOOSE)) == 8
    disk.apply(line(Kind.OPEN, "b", fd=4, a=os.O_WRONLY))
    disk.apply(line(Kind.FSYNC, fd=4))
    assert {"".join(sorted(one)) for one in left(disk, Rule.JOURNAL)} == {"ab", "abc"}
    assert {"".join(sorted(one)) for one in left(disk, Rule.LOOSE)} == {"b", "ab", "bc", "abc"}


@pytest.mark.parametrize("rule", Rule)
def test_a_rename_is_whole_or_not_there(rule: Rule) -> None:
    disk = disk_of(made("a", b"old", sync=True), folder_synced(""), made("t", b"new", sync=True))
    disk.apply(line(Kind.RENAME, "t", "a"))
    states = {tuple(sorted(one.items())) for one in left(disk, rule)}
    assert states <= {(("a", b"old"),), (("a", b"old"), ("t", b"new")), (("a", b"new"),)}
    assert (("a", b"new"),) in states
    assert (("a", b"old"), ("t", b"new")) in states
    for one in folder_synced(""):
        disk.apply(one)
    assert left(disk, rule) == [{"a": b"new"}]


@pytest.mark.parametrize("rule", Rule)
def test_changes_of_one_name_keep_their_order(rule: Rule) -> None:
    disk = disk_of(made("a", b"1", sync=True), folder_synced(""))
    disk.apply(line(Kind.UNLINK, "a"))
    for one in made("a", b"2", sync=True):
        disk.apply(one)
    assert {one.get("a") for one in left(disk, rule)} <= {b"1", b"2", None}
    if rule is not Rule.POSIX:
        assert left(disk, rule) == [{"a": b"2"}]


@pytest.mark.parametrize("rule", Rule)
def test_blocks_that_were_not_synced(rule: Rule) -> None:
    """What was synced is there; behind it blocks are new, zeros, or missing, and never anything else."""
    old, new = b"o" * 700, b"n" * 9000
    disk = disk_of(made("a", old, sync=True), folder_synced(""))
    disk.apply(line(Kind.OPEN, "a", fd=5, a=os.O_WRONLY | os.O_APPEND))
    disk.apply(line(Kind.WRITE, fd=5, a=700, data=new))
    found = {one["a"] for one in left(disk, rule)}
    assert all(data is not None and data.startswith(old) and len(data) <= 9700 for data in found)
    assert {old, old + new, old + bytes(9000)} <= found
    assert any(data and b"\0n" in data for data in found)
    for data in found:
        assert data is not None
        for start in range(1024, len(data), 512):
            assert data[start : start + 512].strip(b"n") == b"" or data[start : start + 512].strip(b"\0") == b""


@pytest.mark.parametrize("rule", Rule)
def test_writes_over_what_was_synced(rule: Rule) -> None:
    disk = disk_of(made("a", b"o" * 2048, sync=True), folder_synced(""))
    disk.apply(line(Kind.OPEN, "a", fd=5, a=os.O_WRONLY))
    disk.apply(line(Kind.WRITE, fd=5, a=500, data=b"n" * 600))
    found = {one["a"] for one in left(disk, rule)}
    assert all(data is not None and set(data) <= set(b"on") and len(data) == 2048 for data in found)
    assert b"o" * 500 + b"n" * 12 + b"o" * 1536 in found


def test_nothing_is_written_behind_a_cut_that_did_not_happen() -> None:
    disk = disk_of(made("a", b"o" * 2000, sync=True), folder_synced(""))
    disk.apply(line(Kind.TRUNCATE, "a", a=0))
    disk.apply(line(Kind.OPEN, "a", fd=5, a=os.O_WRONLY))
    disk.apply(line(Kind.WRITE, fd=5, data=b"n" * 600))
    for one in left(disk, Rule.LOOSE):
        data = one["a"]
        assert data is not None
        assert data == b"o" * 2000 or set(data) <= set(b"n\0")


def test_old_changes_of_names_have_reached_the_disk() -> None:
    disk = disk_of(made("a", b"", sync=False))
    for number in range(EXPIRED + 60):
        disk.apply(line(Kind.OPEN, f"b{number}", fd=4, a=CREATE))
    assert all("a" in one for one in left(disk, Rule.POSIX, 50))


def test_everything_or_nothing_can_be_asked_for() -> None:
    disk = disk_of(made("a", b"new", sync=False))
    assert disk.lost(Choice(Rule.POSIX, 1.0, "all", 512), Random(0)) == disk.now() == {"a": b"new"}
    assert disk.lost(Choice(Rule.POSIX, 0.0, "none", 512), Random(0)) == {}
    assert disk.lost(Choice(Rule.POSIX, 1.0, "none", 512), Random(0)) == {"a": b""}

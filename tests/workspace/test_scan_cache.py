# SPDX-License-Identifier: MIT
"""Whatever happened to a directory since, an import through the stat cache gives what a first import would.

The reference is the same import into a store that has never seen the directory, so that it reads everything.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import casstore
from casstore.tree.diff import diff
from casstore.workspace import ImportReport, import_directory
from casstore.workspace.plain import _add_names
from casstore.workspace.scanning.capture import Capture
from casstore.workspace.scanning.fingerprint import SLACK_NS, is_settled
from casstore.workspace.scanning.scan import Scan
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import Selection
from tests.workspace.meddling import Step, perform, remove, steps
from tests.workspace.trees import Tree, trees, with_folders, write_tree

SETTLE_SECONDS = SLACK_NS / 1e9 + 0.01
SELECTIONS = [
    Selection(),
    Selection(ignore="git"),
    Selection(keep_git=False),
    Selection(ignore="git", keep_git=False),
]


def seen_by(report: ImportReport) -> object:
    """All that must not depend on what was known before."""
    return (
        dict(report.snapshot.roots),
        report.left_out,
        report.files,
        report.directories,
        report.symlinks,
        report.bytes,
    )


def afresh(
    top: str | os.PathLike[str], metadata: Literal["basic", "full"] = "basic", selection: Selection | None = None
) -> object:
    with casstore.open(":memory:") as store:
        return seen_by(import_directory(store, top, ref="main", metadata=metadata, selection=selection))


# -- anything at all

rounds = st.lists(
    st.tuples(st.lists(steps, max_size=6), st.booleans(), st.sampled_from(["", "", "", "paranoid", "reopen"])),
    min_size=2,
    max_size=6,
)
Rounds = list[tuple[list[Step], bool, str]]


@given(rounds, st.sampled_from(["basic", "full"]), st.sampled_from(SELECTIONS))
@example(
    # A folder that was empty, one that becomes so, and a file that takes the place of one.
    [
        ([("folder", b"d/d", b"a", 0), ("write", b"b/a", b"a", 1)], True, ""),
        ([("write", b"d/d/a", b"a", 1), ("remove", b"b/a", b"a", 0)], True, ""),
        ([("replace", b"d/d", b"a", 0), ("replace", b"b", b"a", 3)], True, "reopen"),
    ],
    "full",
    Selection(),
)
@example(
    [
        ([("write", b"d/a", b"a", 1), ("write", b"d/b", b"a", 2)], True, ""),
        ([("swap", b"d/a", b"d/b", 0)], True, ""),
        ([("write and set back", b"d/a", b"a", 0)], True, ""),
    ],
    "basic",
    Selection(),
)
def test_what_was_known_before_makes_no_difference(
    drawn: Rounds, metadata: Literal["basic", "full"], selection: Selection
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = os.path.join(folder, "in")
        os.mkdir(top)
        store = casstore.open(os.path.join(folder, "store"))
        try:
            for actions, settle, how in drawn:
                for step in actions:
                    perform(top, step)
                if settle:
                    time.sleep(SETTLE_SECONDS)
                if how == "reopen":
                    store.close()
                    store = casstore.open(os.path.join(folder, "store"))
                report = import_directory(
                    store, top, ref="main", metadata=metadata, selection=selection, paranoid=how == "paranoid"
                )
                assert seen_by(report) == afresh(top, metadata, selection)
            store.verify()
        finally:
            store.close()


def test_the_steps_do_something(tmp_path: Path) -> None:
    # A property over steps that all fail would hold too.
    top = tmp_path / "in"
    top.mkdir()
    done = {
        "write": (b"a", b"b", 1),
        "append": (b"a", b"b", 0),
        "truncate": (b"a", b"b", 3),
        "write and set back": (b"a", b"b", 1),
        "mode": (b"a", b"b", 1),
        "link": (b"a", b"b", 0),
        "rename": (b"b", b"d.x", 0),
        "swap": (b"a", b"d.x", 0),
        "replace": (b"d", b"b", 2),
        "folder": (b"b", b"b", 0),
        "touch": (b"a", b"b", 7),
        "fifo": (b"\xff", b"b", 0),
        "rules": (b"a", b"b", 6),
        "remove": (b"d", b"b", 0),
    }
    before = afresh(top, "full")
    for what, rest in done.items():
        perform(str(top), (what, *rest))
        now = afresh(top, "full")
        assert now != before, what
        before = now


@given(trees, trees, trees)
@example({b"k": b"1"}, {b"d/n": b"2", b"e": None, b"k": b"1"}, {b"k": b"1"})
@example({b"d/f": b"1"}, {b"d": None}, {b"d/g": b"2"})
@example({b"d": b"1"}, {b"d/f/g": b"1"}, {b"d/f": b"1"})
@example({b"d/f": b"1"}, {b"d": b"1"}, {b"d": None})
def test_records_may_be_made_to_be_about_another_tree(first: Tree, second: Tree, last: Tree) -> None:
    """As a switch does: records of the first tree, the second one's root, and then the user goes on to the last."""
    with tempfile.TemporaryDirectory() as folder, casstore.open(":memory:") as store:
        top = Path(folder, "in")
        write_tree(top, first)
        before = import_directory(store, top, ref="main").snapshot.roots.get("files")
        write_tree(Path(folder, "other"), second)
        after = import_directory(store, Path(folder, "other")).snapshot.roots.get("files")
        cache = StatCache(store, str(top), top.stat())
        cache.load()
        _add_names(cache.records, list(diff(store.nodes, before, after)))
        for path in top.iterdir():
            remove(os.fsencode(path))
        write_tree(top, last)
        scan = Scan(str(top), exclude=None, records=cache.records)
        try:
            with store.storage.ingest() as ingest:
                capture = Capture(scan, ingest, cache.records)
                capture.run()
        finally:
            scan.close()
        roots = capture.roots(store.nodes, {} if after is None else {"files": after})
        with casstore.open(":memory:") as other:
            assert roots["files"] == import_directory(other, top).snapshot.roots.get("files")
        assert capture.directories == sum(node is None for node in with_folders(last).values())
        for record in cache.records.values():
            assert record.members == sorted(record.members)
            assert record.folders == sorted(record.folders)


# -- what changed shortly before


def test_a_file_written_again_at_once_is_seen(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path, {b"d/a": b"1" * 500})
    for number in range(50):
        (tmp_path / "d" / "a").write_bytes(b"%03d" % number * 100)
        files = import_directory(store, tmp_path, ref="main").snapshot.files
        assert files["d/a"] == b"%03d" % number * 100


def test_a_name_made_again_at_once_is_seen(store: casstore.Store, tmp_path: Path) -> None:
    for number in range(50):
        write_tree(tmp_path, {b"d/%d" % number: b"x"})
        assert len(import_directory(store, tmp_path, ref="main").snapshot.files) == number + 1


@pytest.mark.parametrize("tick_ns", [10_000_000, 2_000_000_000], ids=["coarse clock", "even seconds"])
def test_a_write_in_the_same_tick_is_seen(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tick_ns: int
) -> None:
    """As on file systems that keep time only so finely: the times of both writes are equal."""
    write_tree(tmp_path, {b"a": b"1" * 500, b"d/a": b"1" * 500})
    with monkeypatch.context() as patch:
        coarse_times(patch, tick_ns)
        import_directory(store, tmp_path, ref="main")
        for path in ("a", "d/a"):
            (tmp_path / path).write_bytes(b"2" * 500)
        (tmp_path / "d" / "b").write_bytes(b"new")
        files = import_directory(store, tmp_path, ref="main").snapshot.files
    assert {path: files[path][:1] for path in files} == {"a": b"2", "d/a": b"2", "d/b": b"n"}


def coarse_times(monkeypatch: pytest.MonkeyPatch, tick_ns: int) -> None:
    """Times from ``stat`` as if the file system had rounded them down; all fall into the same tick."""
    now = time.time_ns()
    look, look_open = os.stat, os.fstat
    shown = {"st_mtime_ns": now // tick_ns * tick_ns, "st_ctime_ns": now // tick_ns * tick_ns}
    names = ("st_mode", "st_ino", "st_dev", "st_size", "st_uid", "st_gid", "st_nlink")

    def coarse(status: os.stat_result) -> object:
        return SimpleNamespace(**{name: getattr(status, name) for name in names}, **shown)

    monkeypatch.setattr(os, "stat", lambda *a, **o: coarse(look(*a, **o)))
    monkeypatch.setattr(os, "fstat", lambda fd: coarse(look_open(fd)))


def test_when_times_may_be_trusted() -> None:
    second = 10**9
    now = 1_700_000_000 * second + 5
    assert is_settled(now - SLACK_NS - 1, now - SLACK_NS - 1, now)
    assert not is_settled(now - SLACK_NS, 0, now)
    assert not is_settled(1, now - SLACK_NS, now)
    # Whole seconds in both times: the file system may keep no more, and even only every other one (FAT).
    assert not is_settled(now // second * second - second, now // second * second - 2 * second, now)
    assert is_settled(now // second * second - 3 * second, 0, now)
    # A time in the future says nothing.
    assert not is_settled(now + second, 5, now)


def test_a_time_that_was_set_back_is_seen(store: casstore.Store, tmp_path: Path) -> None:
    file = tmp_path / "in" / "a"
    write_tree(tmp_path / "in", {b"a": b"1" * 500})
    os.utime(file, (5, 5))
    time.sleep(SETTLE_SECONDS)
    import_directory(store, tmp_path / "in", ref="main")
    before = file.stat()
    time.sleep(SETTLE_SECONDS)
    with file.open("r+b") as stream:
        stream.write(b"2" * 500)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert import_directory(store, tmp_path / "in", ref="main").snapshot.files["a"] == b"2" * 500


def test_the_time_of_a_folder_that_was_set_back_is_seen(store: casstore.Store, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "d"
    write_tree(tmp_path / "in", {b"d/a": b"1"})
    time.sleep(SETTLE_SECONDS)
    import_directory(store, tmp_path / "in", ref="main")
    before = folder.stat()
    (folder / "b").write_bytes(b"2")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert folder.stat().st_mtime_ns == before.st_mtime_ns
    assert sorted(import_directory(store, tmp_path / "in", ref="main").snapshot.files) == ["d/a", "d/b"]


def test_what_nothing_shows_is_seen_by_paranoid_imports_only(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that leaves no trace in ``stat`` (to a block device below, through a page mapped dirty) is not seen."""
    file = tmp_path / "in" / "a"
    write_tree(tmp_path / "in", {b"a": b"1" * 500, b"b": b"1" * 500})
    time.sleep(SETTLE_SECONDS)
    import_directory(store, tmp_path / "in", ref="main")
    status = file.stat()
    look, look_open = os.stat, os.fstat
    file.write_bytes(b"2" * 500)
    assert file.stat().st_ino == status.st_ino

    def as_before(found: os.stat_result) -> os.stat_result:
        return status if found.st_ino == status.st_ino else found

    monkeypatch.setattr(os, "stat", lambda *a, **o: as_before(look(*a, **o)))
    monkeypatch.setattr(os, "fstat", lambda fd: as_before(look_open(fd)))
    assert import_directory(store, tmp_path / "in", ref="main").snapshot.files["a"] == b"1" * 500
    assert import_directory(store, tmp_path / "in", ref="main", paranoid=True).snapshot.files["a"] == b"2" * 500
    assert import_directory(store, tmp_path / "in", ref="main").snapshot.files["a"] == b"2" * 500


# -- how much is done


def count_work(monkeypatch: pytest.MonkeyPatch, top: Path) -> SimpleNamespace:
    """Counts what is opened and listed below ``top`` from now on."""
    work = SimpleNamespace(opened=[], listed=0)
    open_file, scandir = os.open, os.scandir

    def opening(path: object, flags: int, *arguments: int, **options: int) -> int:
        if options.get("dir_fd") is not None or str(path) == str(top):
            work.opened.append(path)
        return open_file(path, flags, *arguments, **options)  # type: ignore[arg-type]

    def listing(folder: object = ".") -> object:
        work.listed += isinstance(folder, int)
        return scandir(folder)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "scandir", listing)
    return work


def test_where_nothing_changed_nothing_is_opened_or_listed(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "in"
    write_tree(top, {b"a": b"1" * 500, b"d/e/f": b"2", b"d/g": ("->", b"f"), b"h/i/j": None})
    time.sleep(SETTLE_SECONDS)
    first = import_directory(store, top, ref="main")
    with monkeypatch.context() as patch:
        work = count_work(patch, top)
        again = import_directory(store, top, ref="main")
        assert (work.opened, work.listed) == ([str(top)], 0)
    assert not again.moved
    assert seen_by(again) == seen_by(first)
    # What changed is opened, on its way from the top, and nothing beside it.
    (top / "d" / "e" / "f").write_bytes(b"3")
    with monkeypatch.context() as patch:
        work = count_work(patch, top)
        assert import_directory(store, top, ref="main").snapshot.files["d/e/f"] == b"3"
        assert (work.opened, work.listed) == ([str(top), b"d", b"e", b"f"], 0)
    (top / "h" / "new").write_bytes(b"4")
    with monkeypatch.context() as patch:
        work = count_work(patch, top)
        assert import_directory(store, top, ref="main").snapshot.files["h/new"] == b"4"
        # What was written only just now is read once more.
        assert work.opened == [str(top), b"d", b"e", b"f", b"h", b"new"]
        assert work.listed == 1
    time.sleep(SETTLE_SECONDS)
    import_directory(store, top, ref="main")
    with monkeypatch.context() as patch:
        work = count_work(patch, top)
        import_directory(store, top, ref="main")
        assert (work.opened, work.listed) == ([str(top)], 0)
        import_directory(store, top, ref="main", paranoid=True)
        assert work.listed == 6
        assert sorted(map(os.fsencode, work.opened[2:])) == [b"a", b"d", b"e", b"f", b"h", b"i", b"j", b"new"]


def test_rules_that_stay_cost_nothing_and_new_ones_are_seen(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "in"
    write_tree(top, {b".gitignore": b"*.o\n", b"a.o": b"", b"d/b.o": b"", b"d/c": b"", b"out/x": b"", b"d/s/t.o": b""})
    chosen = Selection(ignore="git")
    time.sleep(SETTLE_SECONDS)
    assert list(import_directory(store, top, ref="main", selection=chosen).snapshot.files) == [
        ".gitignore",
        "d/c",
        "out/x",
    ]
    with monkeypatch.context() as patch:
        work = count_work(patch, top)
        report = import_directory(store, top, ref="main", selection=chosen)
        assert (work.opened, work.listed) == ([str(top)], 0)
    assert [(item.path, item.why) for item in report.left_out] == [
        (path, "ignored") for path in ("a.o", "d/b.o", "d/s/t.o")
    ]
    # Edited in place: the times of no folder change.
    (top / ".gitignore").write_bytes(b"out/\n")
    report = import_directory(store, top, ref="main", selection=chosen)
    assert list(report.snapshot.files) == [".gitignore", "a.o", "d/b.o", "d/c", "d/s/t.o"]
    assert [item.path for item in report.left_out] == ["out"]
    (top / "d" / ".casignore").write_bytes(b"c\n!b.o\n")
    report = import_directory(store, top, ref="main", selection=chosen)
    assert list(report.snapshot.files) == [".gitignore", "a.o", "d/.casignore", "d/b.o", "d/s/t.o"]


@pytest.mark.parametrize("ignore", ["nothing", "git"])
def test_git_folders_are_ordinary_or_left_out_at_all_levels(
    store: casstore.Store, tmp_path: Path, ignore: Literal["nothing", "git"]
) -> None:
    top = tmp_path / "in"
    write_tree(
        top,
        {
            b".gitignore": b"*.log\nHEAD\n",
            b".git/HEAD": b"",
            b".git/logs/x.log": b"",
            b".git/.gitignore": b"HEAD\n",
            b"sub/.git/HEAD": b"",
            b"tree/.git": b"gitdir: elsewhere\n",
            b"tree/x": b"",
        },
    )
    for _ in range(2):
        kept = import_directory(store, top, ref="kept", selection=Selection(ignore=ignore))
        assert len(kept.snapshot.files) == 7
        assert kept.left_out == ()
        report = import_directory(store, top, ref="out", selection=Selection(ignore=ignore, keep_git=False))
        assert list(report.snapshot.files) == [".gitignore", "tree/x"]
        assert [(item.path, item.why) for item in report.left_out] == [
            (path, ".git") for path in (".git", "sub/.git", "tree/.git")
        ]
        time.sleep(SETTLE_SECONDS)

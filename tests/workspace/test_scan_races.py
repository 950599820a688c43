# SPDX-License-Identifier: MIT
"""Walks that meet what they should not: deep ways, folders that turn into symlinks, refusals, and failures anywhere."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import casstore
from casstore.address import content_address
from casstore.errors import CasstoreError, ConflictError, InvalidInputError
from casstore.workspace import import_directory
from casstore.workspace.scanning.capture import Capture, all_left_out
from casstore.workspace.scanning.scan import Scan
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import Selection
from tests.workspace.test_scan_cache import SETTLE_SECONDS, afresh, seen_by
from tests.workspace.trees import write_tree

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"secret" * 100


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder for trees so deep that nothing of Python's removes them."""
    (tmp_path / "deep" / "in").mkdir(parents=True)
    yield tmp_path / "deep" / "in"
    subprocess.run(["rm", "-rf", str(tmp_path / "deep")], check=True)


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def deepen(top: Path, names: list[str], files: dict[int, str]) -> None:
    """Makes a folder in a folder in …, and in the folder of a level the file that ``files`` names for it."""
    fd = os.open(top, os.O_RDONLY)
    for level, name in enumerate([*names, ""]):
        if level in files:
            file = os.open(files[level], os.O_CREAT | os.O_WRONLY | os.O_TRUNC, dir_fd=fd)
            os.write(file, os.urandom(200))
            os.close(file)
        if not name:
            break
        try:
            os.mkdir(name, dir_fd=fd)
        except FileExistsError:
            pass
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


# -- deep and long


@pytest.mark.parametrize("max_open", [128, 3])
def test_a_tree_deeper_than_files_can_be_open(
    store: casstore.Store, deep: Path, monkeypatch: pytest.MonkeyPatch, max_open: int
) -> None:
    monkeypatch.setattr("casstore.workspace.scanning.way.MAX_OPEN", max_open)
    top = deep
    deepen(top, ["d"] * 1200, {0: "a", 600: "z", 1200: "z"})
    before = open_files()
    time.sleep(SETTLE_SECONDS)
    report = import_directory(store, top, ref="main")
    assert (report.files, report.directories) == (3, 1200)
    assert seen_by(import_directory(store, top, ref="main")) == seen_by(report)
    deepen(top, ["d"] * 1200, {600: "z", 1200: "new"})
    assert import_directory(store, top, ref="main").files == 4
    assert seen_by(import_directory(store, top, ref="main")) == afresh(top)
    (top / Path(*["d"] * 700)).rename(top.with_name("rest"))
    assert import_directory(store, top, ref="main").files == 2
    assert open_files() == before


def test_metadata_that_has_too_many_levels_to_be_kept_goes_without_a_word(store: casstore.Store, deep: Path) -> None:
    """A key of metadata is longer than its path, so some paths have a place among the files alone."""
    top = deep
    deepen(top, ["d"] * 1500, {0: "a", 1500: "z"})
    report = import_directory(store, top, ref="main", metadata="full")
    assert "too many levels" in report.warnings[0].why
    (top / Path(*["d"] * 1490)).rename(top.with_name("rest"))
    assert seen_by(import_directory(store, top, ref="main", metadata="full")) == afresh(top, "full")


def test_paths_near_and_beyond_what_the_system_takes(store: casstore.Store, deep: Path) -> None:
    top = deep
    names = ["n" * 250] * 16
    chosen = Selection(ignore="git")
    deepen(top, names[:15], {13: "a", 14: "b", 15: "c" * 250})
    (top / ".gitignore").write_bytes(b"*.o\n")
    time.sleep(SETTLE_SECONDS)
    assert import_directory(store, top, ref="main", selection=chosen).files == 4
    deepen(top, names[:15], {13: "a", 14: "a", 15: "c" * 250})
    deepen(top, names[:15], {15: "x.o"})
    report = import_directory(store, top, ref="main", selection=chosen)
    assert seen_by(report) == afresh(top, selection=chosen)
    assert (report.files, len(report.left_out)) == (5, 1)
    deepen(top, names, {16: "d"})
    assert import_directory(store, top, ref="main", selection=chosen).files == 6
    deepen(top, names, {16: "d" * 200})
    before = open_files()
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="longer than 4096 bytes"):
            import_directory(store, top, ref="main", selection=chosen)
    assert open_files() == before


def test_more_folders_than_may_be_open(store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casstore.workspace.scanning.way.MAX_OPEN", 4)
    tree = {b"/".join([b"%d" % place] * depth) + b"/f": b"x" for place in range(9) for depth in range(1, 9)}
    write_tree(tmp_path, tree)  # type: ignore[arg-type]
    assert import_directory(store, tmp_path, ref="main").files == 72
    for path in list(tree)[::5]:
        (tmp_path / os.fsdecode(path)).write_bytes(b"y")
    assert seen_by(import_directory(store, tmp_path, ref="main")) == afresh(tmp_path)


def test_names_are_bytes(store: casstore.Store, tmp_path: Path) -> None:
    top = tmp_path / "in"
    write_tree(top, {b"\xff\xfe/\xfd": b"1", b"\xff\xfe/e\xcc\x81": b"2", b"\n/\t": b"3", b"\xc3\xa9": ("->", b"\xff")})
    time.sleep(SETTLE_SECONDS)
    for content in (b"4", b"5"):
        import_directory(store, top, ref="main")
        Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe/\xfd")).write_bytes(content)
        assert seen_by(import_directory(store, top, ref="main")) == afresh(top)


# -- folders that turn into something else


@pytest.mark.parametrize("swapped", ["d", "d/e", "x/y"])
def test_nothing_is_read_through_a_symlink_that_appears_at_any_moment(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    outside = tmp_path / "outside"
    write_tree(outside, {b"f": SECRET, b"e/f": SECRET, b"secret": SECRET, b"y/f": SECRET})
    ended: dict[str, int] = {}
    named: list[bool] = []
    for moment in range(60):
        top = tmp_path / f"in{moment}"
        write_tree(top, {b"a": b"1", b"d/e/f": b"2" * 200, b"d/f": b"3" * 200, b"x/y/f": b"4" * 200, b"x/y/g": b"5"})
        time.sleep(0.021)
        import_directory(store, top, ref=f"main{moment}")
        (top / "d" / "e" / "f").write_bytes(b"6" * 200)
        (top / "x" / "y" / "f").write_bytes(b"6" * 200)
        calls = iter(range(10**6))
        place = top / swapped

        def at(action: Callable[..., object], moment: int = moment, place: Path = place) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                if next(calls) == moment:  # noqa: B023
                    place.rename(place.with_name("aside"))
                    place.symlink_to(outside)
                return action(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("stat", "open", "scandir", "fstat"):
                patch.setattr(os, name, at(getattr(os, name)))
            try:
                import_directory(store, top, ref=f"main{moment}")
                ended["whole"] = ended.get("whole", 0) + 1
            except ConflictError as error:
                ended["named"] = ended.get("named", 0) + 1
                named.append(str(error.path).startswith(str(top)))
        assert not store.storage.contains(content_address(SECRET))
        if not place.is_symlink():
            break
        # Afterwards, it is what it is.
        assert seen_by(import_directory(store, top, ref=f"main{moment}")) == afresh(top)
        assert not store.storage.contains(content_address(SECRET))
    assert not place.is_symlink(), "there were more moments than were tried"
    assert ended["named"] > 3
    assert ended["whole"] > 3
    assert all(named)


def test_a_folder_that_vanishes_is_named(store: casstore.Store, tmp_path: Path) -> None:
    top = tmp_path / "in"
    write_tree(top, {b"a": b"1", b"d/b": b"2", b"e/f/c": b"3", b"g/h": b"4"})
    time.sleep(SETTLE_SECONDS)
    import_directory(store, top, ref="main")

    def vanish(*_: object) -> None:
        shutil.rmtree(top / "e", ignore_errors=True)

    with pytest.raises(ConflictError, match="changed while it was read") as raised:
        import_directory(store, top, ref="main", progress=vanish)
    assert raised.value.path == str(top / "e")
    assert list(import_directory(store, top, ref="main").snapshot.files) == ["a", "d/b", "g/h"]


# -- failures anywhere


@pytest.mark.parametrize("call", ["open", "stat", "fstat", "scandir", "read", "readlink"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENOENT])
def test_a_call_that_fails_at_any_moment(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """It ends in an error of ours or a state without what was refused; nothing leaks, and the next import is right."""
    top = tmp_path / "in"
    write_tree(top, {b"a": b"1", b"d/e/f": b"2" * 200, b"d/l": ("->", b"a"), b"x/y": b"3", b"z": None})
    original = getattr(os, call)
    before = open_files()
    for moment in range(100):
        time.sleep(0.021)
        import_directory(store, top, ref="main")
        (top / "d" / "e" / "f").write_bytes(b"%03d" % moment * 70)
        (top / "d" / "l").unlink()
        (top / "d" / "l").symlink_to(str(moment))
        calls = 0

        def failing(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls - 1 == moment:  # noqa: B023
                raise OSError(code, os.strerror(code))
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try:
                import_directory(store, top, ref="main", skip_unreadable=moment % 2 == 0)
            except CasstoreError:
                pass
            except OSError:
                # The identity of the directory itself is asked for in more than one place.
                assert call in ("stat", "fstat")
                assert calls <= 8
        assert open_files() == before
        assert seen_by(import_directory(store, top, ref="main")) == afresh(top)
        if calls <= moment:
            break
    assert calls <= moment


# -- what may not be read

CHILD = """
import os, sys, casstore
from casstore.workspace import import_directory

def show(ref="main", **options):
    try:
        report = import_directory(store, top, ref=ref, **options)
        print([f"{item.path}: {item.why}" for item in report.left_out], list(report.snapshot.files))
    except casstore.InvalidInputError as error:
        print("refused", os.path.relpath(error.path, top))

path, top = sys.argv[1:3]
with casstore.open(path) as store:
    exec(sys.argv[3])
"""


def as_somebody(path: str, top: Path, script: str) -> list[str]:
    """What a script prints that runs without root's right to read everything."""
    command = [sys.executable, "-c", CHILD, path, str(top), script]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv to give that up")
        drop = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_was_unreadable_is_tried_again(tmp_path: Path) -> None:
    top = tmp_path / "in"
    write_tree(top, {b"a": b"1", b"d/b": b"2", b"d/c": b"3", b"e/f/g": b"4"})
    time.sleep(SETTLE_SECONDS)
    script = """
os.chmod(top + "/d/b", 0)
os.chmod(top + "/e", 0)
for _ in range(2):
    show(skip_unreadable=True)
show()
os.chmod(top + "/d/b", 0o644)
os.chmod(top + "/e", 0o755)
show(skip_unreadable=True)
os.chmod(top + "/e/f", 0)
show(skip_unreadable=True)
os.chmod(top + "/e/f", 0o755)
show()
"""
    left_out = "['d/b: unreadable: Permission denied', 'e: unreadable: Permission denied'] ['a', 'd/c']"
    everything = "[] ['a', 'd/b', 'd/c', 'e/f/g']"
    try:
        assert as_somebody(str(tmp_path / "store"), top, script) == [
            left_out,
            left_out,
            "refused d/b",
            everything,
            "['e/f: unreadable: Permission denied'] ['a', 'd/b', 'd/c']",
            everything,
        ]
    finally:
        (top / "e").chmod(0o755)
        (top / "e" / "f").chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make somebody else's files")
@pytest.mark.parametrize("mode", [0o711, 0o744], ids=["no list", "no look"])
def test_somebody_with_fewer_rights_imports_what_somebody_with_more_did(tmp_path: Path, mode: int) -> None:
    """All looks as it did, and what changed cannot be read; also not in the folders below."""
    top = tmp_path / "in"
    write_tree(top, {b"a": b"1", b"d/b": b"2", b"d/e/c": b"3", b"d/e/s/c": b"3", b"f": b"4"})
    os.chown(top / "d", 1000, 1000)
    (top / "d").chmod(mode)
    time.sleep(SETTLE_SECONDS)
    with casstore.open(str(tmp_path / "store")) as store:
        import_directory(store, top, ref="main")
    for path in ("d/b", "d/e/c", "d/e/s/c"):
        (top / path).write_bytes(b"new")
    assert as_somebody(str(tmp_path / "store"), top, "show(); show(skip_unreadable=True); show(skip_unreadable=True)")[
        1:
    ] in (
        ["['d: unreadable: Permission denied'] ['a', 'f']"] * 2,
        [
            "['d/b: unreadable: Permission denied', 'd/e: unreadable: Permission denied'] ['a', 'f']",
            "['d/b: unreadable: Permission denied', 'd/e: unreadable: Permission denied'] ['a', 'f']",
        ],
    )
    with casstore.open(str(tmp_path / "store")) as store:
        assert seen_by(import_directory(store, top, ref="main")) == afresh(top)


def test_rules_that_cannot_be_read_are_not_taken_for_none(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, {b"d/.gitignore": b"key\n", b"d/key": SECRET})
    original = os.open

    def opening(path: object, *arguments: int, **options: int) -> int:
        if path == b".gitignore":
            raise OSError(errno.EMFILE, "Too many open files")
        return original(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(InvalidInputError, match="Too many open files") as raised:
        import_directory(store, tmp_path, selection=Selection(ignore="git"), skip_unreadable=True)
    assert raised.value.path == "d/.gitignore"
    assert not store.storage.contains(content_address(SECRET))


def test_special_files_and_the_store_stay_left_out(disk_store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path, {b"a": b"1", b"d/b": b"2"})
    os.mkfifo(tmp_path / "d" / "fifo")
    time.sleep(SETTLE_SECONDS)
    for _ in range(3):
        report = import_directory(disk_store, tmp_path, ref="main")
        assert [(item.path, item.why.split(";")[0]) for item in report.left_out] == [
            ("d/fifo", "a FIFO"),
            ("store", "the store itself"),
        ]
        assert list(report.snapshot.files) == ["a", "d/b"]
        time.sleep(SETTLE_SECONDS)


# -- where only some folders are looked at


def test_rules_above_hold_for_the_folders_that_were_reported(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path, {b".gitignore": b"*.o\n", b"d/.gitignore": b"*.a\n", b"d/e/f": b"1", b"g/h": b"2"})
    chosen = Selection(ignore="git")
    time.sleep(SETTLE_SECONDS)
    import_directory(store, tmp_path, ref="main", selection=chosen)
    write_tree(tmp_path, {b"d/e/x.o": b"", b"d/e/x.a": b"", b"d/e/new": b"3"})
    cache = StatCache(store, str(tmp_path), tmp_path.stat())
    cache.load()
    scan = Scan(str(tmp_path), exclude=None, selection=chosen, records=cache.records)
    try:
        with store.storage.ingest() as ingest:
            capture = Capture(scan, ingest, cache.records)
            capture.run(only={b"d/e/": False})
    finally:
        scan.close()
    assert cache.snapshot is not None
    roots = {name: root for name, root in capture.roots(store.nodes, cache.snapshot.roots).items() if root}
    with casstore.open(":memory:") as other:
        fresh = import_directory(other, tmp_path, selection=chosen)
    assert roots == dict(fresh.snapshot.roots)
    assert tuple(all_left_out(cache.records)) == fresh.left_out


def test_a_way_that_ends_halfway_leaves_nothing_open(tmp_path: Path) -> None:
    """Of folders that were reported, several components are opened at once."""
    write_tree(tmp_path, {b"a/b/c/d": b"1"})
    before = open_files()
    for gone in ("a/b/c", "a/b", "a"):
        scan = Scan(str(tmp_path), exclude=None)
        try:
            shutil.rmtree(tmp_path / gone)
            with pytest.raises(ConflictError):
                scan.visit(b"a/b/c/", listing=True)
            scan.way.go(b"a/b/c/")
            with pytest.raises(FileNotFoundError):
                scan.way.fd()
        finally:
            scan.close()
        assert open_files() == before


def test_folders_below_one_that_cannot_be_read_are_passed_over(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path, {b"a": b"1", b"d/e/f": b"1", b"d/g": b"2"})
    time.sleep(SETTLE_SECONDS)
    import_directory(store, tmp_path, ref="main")
    (tmp_path / "d" / "e" / "f").write_bytes(b"new")
    cache = StatCache(store, str(tmp_path), tmp_path.stat())
    cache.load()
    scan = Scan(str(tmp_path), exclude=None, records=cache.records, skip_unreadable=True)
    visit = scan.visit

    def refused(prefix: bytes, *, listing: bool = False) -> object:
        if prefix == b"d/":
            scan.lost.append((prefix, "unreadable: Permission denied"))
            return None
        return visit(prefix, listing=listing)

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return refused if name == "visit" else getattr(scan, name)

    try:
        with store.storage.ingest() as ingest:
            capture = Capture(Refusing(), ingest, cache.records)  # type: ignore[arg-type]
            capture.run(only={b"d/": False, b"d/e/": False})
    finally:
        scan.close()
    assert [item.path for item in all_left_out(cache.records)] == ["d"]
    assert [(key, entry) for key, entry in capture.edits if entry is not None] == []
    assert sorted(cache.records) == [b""]

# SPDX-License-Identifier: MIT
"""Importing: refs, parents, what is refused, what is left out, and files that do not keep still."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import casstore
from casstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from casstore.workspace import checkout, import_directory
from tests.workspace.trees import read_tree, write_tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tree(tmp_path / "in", {b"a": b"1" * 500, b"d/b": b"2" * 600, b"d/c": b"tiny"})
    return tmp_path / "in"


# -- refs and parents


def test_a_ref_is_created_moved_and_left_alone(store: casstore.Store, source: Path) -> None:
    first = import_directory(store, source, ref="main", message="one", meta={"score": 1})
    assert first.moved
    assert first.snapshot.parents == ()
    assert (first.snapshot.message, dict(first.snapshot.meta)) == ("one", {"score": 1})
    assert store.refs["main"].id == first.snapshot.id
    assert (first.bytes, first.new_bytes) == (1104, 1100)
    again = import_directory(store, source, ref="main", message="two")
    assert not again.moved
    assert again.snapshot.id == first.snapshot.id
    assert again.new_bytes == 0
    assert len(store.refs.history("main")) == 1
    (source / "a").write_bytes(b"3" * 400)
    second = import_directory(store, source, ref="main")
    assert second.moved
    assert second.snapshot.parents == (first.snapshot.id,)
    assert (second.bytes, second.new_bytes) == (1004, 400)
    assert [move.reason for move in store.refs.history("main")] == ["import", "import"]


def test_without_a_ref_nothing_moves(store: casstore.Store, source: Path) -> None:
    report = import_directory(store, source)
    assert not report.moved
    assert list(store.refs) == []
    assert store.resolve(report.snapshot.id).state_id == report.snapshot.state_id


def test_parents_can_be_given(store: casstore.Store, source: Path) -> None:
    one = import_directory(store, source, ref="one").snapshot
    (source / "a").unlink()
    two = import_directory(store, source, ref="two", parents=["one"]).snapshot
    assert two.parents == (one.id,)
    (source / "d" / "b").unlink()
    three = import_directory(store, source, ref="one", parents=[two, one.id]).snapshot
    assert three.parents == (two.id, one.id)
    with pytest.raises(NotFoundError):
        import_directory(store, source, parents=["nobody"])


def test_objects_of_the_parent_stay(store: casstore.Store, source: Path) -> None:
    tree = import_directory(store, source).snapshot.roots["files"]
    store.refs["main"] = store.add_snapshot(roots={"objects": tree})
    report = import_directory(store, source, ref="main")
    assert report.moved
    assert dict(report.snapshot.roots) == {"files": tree, "objects": tree}
    assert not import_directory(store, source, ref="main").moved


def test_an_empty_directory_is_the_empty_state(store: casstore.Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    report = import_directory(store, tmp_path / "in", ref="main")
    assert report.moved
    assert dict(report.snapshot.roots) == {}
    assert not import_directory(store, tmp_path / "in", ref="main").moved
    checkout(store, "main", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_ref_that_moves_meanwhile_is_a_conflict(store: casstore.Store, source: Path) -> None:
    other = import_directory(store, source / "d").snapshot

    def move(*_: object) -> None:
        store.refs["main"] = other

    with pytest.raises(ConflictError):
        import_directory(store, source, ref="main", progress=move)
    assert store.refs["main"].id == other.id


def test_a_read_only_store_takes_none(disk_store: casstore.Store, source: Path) -> None:
    path = disk_store.path
    disk_store.close()
    with casstore.open(path, read_only=True) as store, pytest.raises(ReadOnlyError):
        import_directory(store, source)


def test_metadata_has_two_values(store: casstore.Store, source: Path) -> None:
    with pytest.raises(InvalidInputError, match="'basic' or 'full'"):
        import_directory(store, source, metadata="all")  # type: ignore[arg-type]


# -- what is refused


def test_what_is_no_directory_is_refused(store: casstore.Store, source: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        import_directory(store, tmp_path / "nowhere", ref="main")
    with pytest.raises(InvalidInputError, match="is not a directory"):
        import_directory(store, source / "a", ref="main")
    assert list(store.refs) == []


def test_the_whole_file_system_and_the_home_folder_are_refused(
    store: casstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("/")
    for directory, what in (("/", "root"), (tmp_path / "link", "root"), (tmp_path, "home")):
        with pytest.raises(InvalidInputError, match=what):
            import_directory(store, directory)


def test_the_store_is_never_captured(disk_store: casstore.Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "mine").mkdir()
    for directory in (tmp_path / "store", tmp_path / "store" / "mine"):
        with pytest.raises(InvalidInputError, match="store itself"):
            import_directory(disk_store, directory)
    write_tree(tmp_path, {b"other/superblock": b"", b"a": b""})
    import_directory(disk_store, tmp_path, ref="main")
    assert list(disk_store.refs["main"].files) == ["a", "other/superblock"]


def test_a_folder_with_nothing_but_the_store_is_empty(tmp_path: Path) -> None:
    (tmp_path / "in" / "only").mkdir(parents=True)
    with casstore.open(str(tmp_path / "in" / "only" / "store")) as store:
        import_directory(store, tmp_path / "in", ref="main")
        checkout(store, "main", tmp_path / "out")
    assert read_tree(tmp_path / "out") == {b"only": None}


# -- what is left out


def test_special_files_are_named_and_left_out(store: casstore.Store, source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "fifo")
    os.mkdir(source / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "s" / "socket"))
    report = import_directory(store, source, ref="main")
    assert {item.path: item.why.split(";")[0] for item in report.left_out} == {
        "fifo": "a FIFO",
        "s/socket": "a socket",
    }
    checkout(store, "main", tmp_path / "out")
    assert sorted(read_tree(tmp_path / "out")) == [b"a", b"d", b"d/b", b"d/c", b"s"]


def test_a_device_is_named_and_left_out(store: casstore.Store, source: Path) -> None:
    try:
        os.mknod(source / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except (PermissionError, AttributeError) as error:
        pytest.skip(f"devices cannot be made here: {error}")
    assert [item.why.split(";")[0] for item in import_directory(store, source).left_out] == ["a device"]


UNREADABLE = """
import os, sys, casstore
from casstore.tree import scan
from casstore.workspace import import_directory

def keys(store, snapshot):
    return [os.fsdecode(key) for key, _ in scan(store.nodes, snapshot.roots.get("files"))]

top, mode = sys.argv[1:]
with casstore.open(":memory:") as store:
    try:
        report = import_directory(store, top, ref="main", skip_unreadable=mode == "skip")
        print(sorted(f"{item.path}: {item.why}" for item in report.left_out), keys(store, report.snapshot))
    except casstore.InvalidInputError as error:
        print("refused", os.path.relpath(error.path, top), list(store.refs))
"""


def as_somebody(*arguments: str) -> str:
    """Output of a script that runs without root's right to read everything."""
    command = [sys.executable, "-c", UNREADABLE, *arguments]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv to give that up")
        drop = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_unreadable_file_is_named(source: Path) -> None:
    (source / "d" / "b").chmod(0)
    assert as_somebody(str(source), "fail") == "refused d/b []"
    assert as_somebody(str(source), "skip") == "['d/b: unreadable: Permission denied'] ['a', 'd/c']"


def test_an_unreadable_folder_is_named(source: Path) -> None:
    (source / "d").chmod(0)
    try:
        assert as_somebody(str(source), "fail") == "refused d []"
        assert as_somebody(str(source), "skip") == "['d: unreadable: Permission denied'] ['a']"
        source.chmod(0)
        assert as_somebody(str(source), "skip") == "refused . []"
    finally:
        source.chmod(0o755)
        (source / "d").chmod(0o755)


def test_a_folder_that_loses_all_members_is_kept_as_empty(source: Path) -> None:
    (source / "d" / "b").chmod(0)
    (source / "d" / "c").unlink()
    assert as_somebody(str(source), "skip") == "['d/b: unreadable: Permission denied'] ['a', 'd']"


def test_a_folder_that_cannot_be_listed_is_named(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir
    failing = source / "d"

    def listing(fd: int) -> object:
        if os.path.samestat(os.fstat(fd), failing.stat()):
            raise OSError(errno.EIO, "Input/output error")
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", listing)
    with pytest.raises(InvalidInputError, match="Input/output error") as raised:
        import_directory(store, source, ref="main")
    assert raised.value.path == str(source / "d")
    report = import_directory(store, source, skip_unreadable=True)
    assert [item.path for item in report.left_out] == ["d"]
    failing = source
    with pytest.raises(InvalidInputError, match="Input/output error") as raised:
        import_directory(store, source, ref="main", skip_unreadable=True)
    assert raised.value.path == str(source)
    assert list(store.refs) == []


def test_running_out_of_descriptors_is_no_reason_to_skip(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def opening(path: object, *arguments: int, **options: int) -> int:
        if path == b"b":
            raise OSError(errno.EMFILE, "Too many open files")
        return open_file(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(InvalidInputError, match="Too many open files"):
        import_directory(store, source, ref="main", skip_unreadable=True)


# -- files that do not keep still


def meddle(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], times: int) -> SimpleNamespace:
    """Runs ``action`` after each of the first ``times`` reads of a file of 500 bytes."""
    seen = SimpleNamespace(reads=0)
    read = os.read

    def reading(fd: int, length: int) -> bytes:
        data = read(fd, length)
        if length == 501:
            seen.reads += 1
            if seen.reads <= times:
                action()
        return data

    monkeypatch.setattr(os, "read", reading)
    return seen


def test_a_file_that_changes_once_is_read_again(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        (source / "a").write_bytes(b"2" * 500)
        os.utime(source / "a", (5, 5))

    os.utime(source / "a", (5, 5))
    seen = meddle(monkeypatch, change, 1)
    snapshot = import_directory(store, source).snapshot
    assert seen.reads == 2
    assert snapshot.files["a"] == b"2" * 500


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"2" * 500),
        lambda file: os.utime(file, (7, 7)),
        lambda file: os.replace(shutil.copy(file, file.with_name("other")), file),
    ],
    ids=["content", "time", "replaced"],
)
def test_a_file_that_keeps_changing_ends_the_import(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    seen = meddle(monkeypatch, lambda: change(source / "a"), 9)
    with pytest.raises(ConflictError, match="changed while it was read") as raised:
        import_directory(store, source, ref="main", skip_unreadable=True)
    assert seen.reads == 3
    assert raised.value.path == str(source / "a")
    assert list(store.refs) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.truncate(file, 100),
        lambda file: file.unlink(),
        lambda file: (file.unlink(), file.symlink_to("d/b")),
        lambda file: [file.unlink(), os.mkfifo(file)],  # type: ignore[func-returns-value]
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["shrinks", "vanishes", "symlink", "fifo", "folder"],
)
@pytest.mark.parametrize("moment", ["listed", "opened"])
def test_a_file_that_turns_into_something_else_is_named(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], moment: str
) -> None:
    victim = source / "a"
    open_file, fstat = os.open, os.fstat
    state = SimpleNamespace(fd=-1, size=500)

    def opening(path: object, *arguments: int, **options: int) -> int:
        if path == b"a" and moment == "listed" and state.size:
            state.size = 0
            change(victim)
        fd = open_file(path, *arguments, **options)  # type: ignore[arg-type]
        if path == b"a":
            state.fd = fd
        return fd

    def statting(fd: int) -> os.stat_result:
        status = fstat(fd)
        if fd == state.fd and moment == "opened":
            state.fd = -1
            if victim.is_file() and victim.stat().st_size == 500:
                change(victim)
        return status

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fstat", statting)
    if change.__code__.co_names == ("os", "truncate"):
        # Once shrunk it keeps still: the second reading, or the first after the listing, gets it.
        assert import_directory(store, source).snapshot.files["a"] == b"1" * 100
        return
    with pytest.raises(ConflictError, match="changed while it was read") as raised:
        import_directory(store, source, ref="main")
    assert raised.value.path == str(victim)
    assert list(store.refs) == []


def test_a_file_that_gives_less_than_it_says_is_named(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, length: read(fd, length)[: 499 if length == 501 else length])
    with pytest.raises(ConflictError) as raised:
        import_directory(store, source, ref="main")
    assert raised.value.path == str(source / "a")


def test_a_time_that_changes_is_enough(store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # File systems without a change time of their own (FAT, some network ones) show a write by this alone.
    fstat = os.fstat
    times = iter(range(1, 10**6))

    def statting(fd: int) -> object:
        status = fstat(fd)
        if status.st_size != 500:
            return status
        names = ("st_mode", "st_size", "st_ctime_ns")
        return SimpleNamespace(st_mtime_ns=next(times), **{name: getattr(status, name) for name in names})

    monkeypatch.setattr(os, "fstat", statting)
    with pytest.raises(ConflictError):
        import_directory(store, source, ref="main")


def test_a_large_file_that_grows_is_read_again(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = source / "large"
    large.write_bytes(bytes(9 << 20))
    state = SimpleNamespace(done=False)
    fstat = os.fstat

    def statting(fd: int) -> os.stat_result:
        status = fstat(fd)
        if status.st_size == 9 << 20 and not state.done:
            state.done = True
            with large.open("ab") as file:
                file.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", statting)
    import_directory(store, source, ref="main")
    assert store.refs["main"].files["large"] == bytes(9 << 20) + b"more"


@pytest.mark.parametrize("change", ["file", "gone", "unreadable"])
def test_a_symlink_that_turns_into_something_else_is_named(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    (source / "link").symlink_to("a")
    readlink = os.readlink

    def reading(path: bytes, *, dir_fd: int | None = None) -> bytes:
        if change == "unreadable":
            raise OSError(errno.EIO, "Input/output error")
        (source / "link").unlink(missing_ok=True)
        if change == "file":
            (source / "link").write_bytes(b"")
        return readlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", reading)
    if change == "unreadable":
        assert [item.path for item in import_directory(store, source, skip_unreadable=True).left_out] == ["link"]
        with pytest.raises(InvalidInputError, match="Input/output error"):
            import_directory(store, source)
        return
    with pytest.raises(ConflictError) as raised:
        import_directory(store, source, ref="main")
    assert raised.value.path == str(source / "link")


def test_a_folder_swapped_for_a_symlink_is_not_followed(
    store: casstore.Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "secret", {b"b": b"secret"})

    def swap(*_: object) -> None:
        if not (source / "d").is_symlink():
            (source / "d").rename(source / "moved")
            (source / "d").symlink_to(tmp_path / "secret")

    with pytest.raises(ConflictError) as raised:
        import_directory(store, source, ref="main", progress=swap)
    assert raised.value.path == str(source / "d")


@pytest.mark.parametrize("instead", ["nothing", "symlink", "folder"])
def test_a_folder_that_moves_during_the_walk_leads_nowhere_else(
    store: casstore.Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: str
) -> None:
    """Folders above the walk are closed meanwhile, and found again by their path from the top, or named."""
    monkeypatch.setattr("casstore.workspace.scanning.way.MAX_OPEN", 2)
    write_tree(source, {b"m/n/o/q/p": b"", b"m/n/z/y": b"1"})
    write_tree(tmp_path / "outside", {b"z/y": b"2", b"z/secret": b"3"})

    def move(phase: str, done: int, total: int | None) -> None:
        # "a", "d/b" and "d/c" come first, so this is when the walk has read the deepest folder.
        if done == 4 and not (source / "m" / "moved").exists():
            (source / "m" / "n").rename(source / "m" / "moved")
            if instead == "symlink":
                (source / "m" / "n").symlink_to(tmp_path / "outside")
            elif instead == "folder":
                shutil.copytree(tmp_path / "outside", source / "m" / "n")

    if instead == "folder":
        # Whatever has the path by then is what lies there.
        snapshot = import_directory(store, source, progress=move).snapshot
        assert sorted(snapshot.files) == ["a", "d/b", "d/c", "m/n/o/q/p", "m/n/z/secret", "m/n/z/y"]
        return
    with pytest.raises(ConflictError, match="changed while it was read") as raised:
        import_directory(store, source, progress=move)
    assert raised.value.path == str(source / "m" / "n" / "z")
    # Once it keeps still, everything is there; a symlink is not among the files.
    kept = ["a", "d/b", "d/c", "m/moved/o/q/p", "m/moved/z/y"]
    assert sorted(import_directory(store, source).snapshot.files) == kept

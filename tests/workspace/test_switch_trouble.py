# SPDX-License-Identifier: MIT
"""A switch that something or somebody gets in the way of: nothing is lost, and it goes on afterwards."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

import casstore
from casstore.osfile import OsFiles
from casstore.workspace import Selection, Workspace, checkout, list_workspaces
from tests.full_disk.disk import tmpfs
from tests.workspace.switching import (
    LOCAL,
    OTHER,
    START,
    Made,
    assert_holds,
    child,
    collect,
    edit,
    interrupt,
    looks,
    registry_of,
    state_of,
    temporary_names,
    with_other,
)
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree


@pytest.fixture
def made(made: Made, tmp_path: Path) -> Made:
    return with_other(made, tmp_path)


# -- in the way


def test_what_is_in_the_way_is_found_before_anything_is_touched(made: Made, tmp_path: Path) -> None:
    store, _, _ = made
    rules: Tree = {b".gitignore": b"*.o\n", b"a": b"1"}
    write_tree(tmp_path / "ruled", {**rules, b"x.o": b"precious", b"f/y.o": b"precious"})
    with Workspace(store, tmp_path / "ruled", selection=Selection(ignore="git")) as workspace:
        workspace.snapshot()
        for number, target in enumerate(({**rules, b"x.o": b"other"}, {**rules, b"a": b"2", b"f": b"file"})):
            before, refs, kept = looks(tmp_path / "ruled"), dict(store.refs.ids()), registry_of(store)
            with pytest.raises(casstore.InvalidInputError, match=r"in the way|left out"):
                workspace.switch(state_of(store, target, tmp_path / f"target{number}"))
            assert (looks(tmp_path / "ruled"), dict(store.refs.ids()), registry_of(store)) == (before, refs, kept)


def test_a_name_that_is_too_long_for_the_file_system(made: Made) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    branch.files["n" * 256] = b"x"
    before = looks(directory)
    with pytest.raises(casstore.InvalidInputError, match="256 bytes"):
        workspace.switch(branch)
    assert looks(directory) == before
    assert not workspace.interrupted


@pytest.mark.parametrize("name", ["..", "d/../../outside", ".", "/absolute"])
def test_names_that_lead_outside(made: Made, name: str) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    try:
        branch.files[name] = b"x"
        state = branch.commit()
    except casstore.InvalidInputError:
        return  # The library does not make such a state; hostile ones made by hand are in test_hostile.py.
    before = looks(directory)
    with pytest.raises(casstore.CorruptionError):
        workspace.switch(state)
    assert looks(directory) == before


def test_names_in_nfc_and_nfd_side_by_side(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    pair: Tree = {"caf\u00e9".encode(): b"nfc", "cafe\u0301".encode(): b"nfd", b"\xff\xfe/\x80": b"no text"}
    state = state_of(store, pair, tmp_path / "pair")
    workspace.switch(state)
    assert read_tree(directory) == with_folders(pair)
    (directory / "caf\u00e9").write_bytes(b"edited")
    assert [change.key for change in workspace.status().changes] == ["files/caf\u00e9"]
    workspace.switch("main")
    workspace.undo()
    assert read_tree(directory) == with_folders({**pair, "caf\u00e9".encode(): b"edited"})


def test_a_directory_whose_path_is_no_text(made: Made) -> None:
    store, directory, _ = made
    place = os.fsencode(directory.parent) + b"/\xff-\xc3"
    write_tree(place, START)  # type: ignore[arg-type]
    with Workspace(store, os.fsdecode(place)) as workspace:
        workspace.switch("other")
        workspace.undo()
    with Workspace(store, os.fsdecode(place)) as again:
        assert again.id == workspace.id
        assert again.status().files == 6
        assert os.fsdecode(place) in [one.path for one in list_workspaces(store)]


# -- what the system does


def test_a_full_disk_loses_nothing_and_the_switch_goes_on(tmp_path: Path) -> None:
    with casstore.open(str(tmp_path / "store")) as store, tmpfs(tmp_path / "disk", 512 << 10):
        big: Tree = {b"a/%d" % number: b"%d" % number * 30_000 for number in range(20)}
        state = state_of(store, big, tmp_path / "big")
        directory = tmp_path / "disk/work"
        write_tree(directory, LOCAL)
        with Workspace(store, directory) as workspace:
            with pytest.raises(casstore.StorageError, match="free some space"):
                workspace.switch(state)
            assert read_tree(directory) == with_folders(LOCAL)
            assert workspace.interrupted
            assert list_workspaces(store)[0].state == "interrupted"
            subprocess.run(["mount", "-o", "remount,size=8m", str(tmp_path / "disk")], check=True)
            workspace.close()
            with Workspace(store, directory) as again:
                assert_holds(store, directory, again.snapshot(), tmp_path)
                assert again.base == state
                assert_holds(store, directory, state, tmp_path)
                again.undo()
                assert read_tree(directory) == with_folders(LOCAL)


def test_a_full_store_loses_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path / "work", {**LOCAL, b"filler": os.urandom(3_000_000)})
    before = looks(tmp_path / "work")
    with tmpfs(tmp_path / "disk", 2048 << 10):
        store = casstore.open(str(tmp_path / "disk/store"))
        try:
            state = state_of(store, OTHER, tmp_path / "other")
            with Workspace(store, tmp_path / "work") as workspace:
                with pytest.raises(casstore.CasstoreError):
                    workspace.switch(state)
                assert looks(tmp_path / "work") == before
                with pytest.raises(casstore.CasstoreError):
                    workspace.snapshot()
        finally:
            subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "disk")], check=True)
            store.close()
        with (
            casstore.open(str(tmp_path / "disk/store")) as store,
            Workspace(store, tmp_path / "work") as workspace,
        ):
            assert not workspace.interrupted
            workspace.switch(state_of(store, OTHER, tmp_path / "other2"))
            workspace.undo()
            assert read_tree(tmp_path / "work") == read_tree(tmp_path / "work")
            assert {path: seen[0] for path, seen in looks(tmp_path / "work").items() if path == "same"} == {
                "same": before["same"][0]
            }
            store.verify()


def test_a_file_system_that_turns_read_only_midway(tmp_path: Path) -> None:
    with casstore.open(str(tmp_path / "store")) as store, tmpfs(tmp_path / "disk", 4096 << 10):
        directory = tmp_path / "disk/work"
        write_tree(directory, LOCAL)
        state = state_of(store, OTHER, tmp_path / "other")

        def progress(phase: str, done: int, total: int | None) -> None:
            if phase == "writing":
                subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)

        with Workspace(store, directory) as workspace:
            with pytest.raises(casstore.StorageError, match=r"[Rr]ead-only"):
                workspace.switch(state, progress=progress)
            known = {path: node for path, node in read_tree(directory).items() if b".casstore-" not in path}
            assert known == with_folders(LOCAL)
            with pytest.raises(casstore.StorageError, match=r"[Rr]ead-only"):
                workspace.switch(state)
            subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "disk")], check=True)
            workspace.switch(state)
            assert temporary_names(directory) == []
            assert_holds(store, directory, state, tmp_path)
            workspace.undo()
            assert read_tree(directory) == with_folders(LOCAL)


@pytest.mark.parametrize("path", [b"d", b"d/one", b"d/e/one"])
def test_a_file_system_that_is_read_only_is_said_to_be(tmp_path: Path, path: bytes) -> None:
    with casstore.open(str(tmp_path / "store")) as store, tmpfs(tmp_path / "disk", 4096 << 10):
        write_tree(tmp_path / "disk/work", {path: b"1"})
        state = state_of(store, {b"d": b"2"}, tmp_path / "new")
        with Workspace(store, tmp_path / "disk/work") as workspace:
            subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
            with pytest.raises(casstore.StorageError, match=r"Read-only file system.*Nothing was changed"):
                workspace.switch(state)
            assert not workspace.interrupted


@pytest.mark.parametrize("phase", ["reading", "writing"])
def test_a_directory_that_vanishes_midway(made: Made, tmp_path: Path, phase: str) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)

    def progress(found: str, done: int, total: int | None) -> None:
        if found == phase and directory.exists():
            directory.rename(tmp_path / "away")
            if phase == "writing":
                shutil.rmtree(tmp_path / "away")

    with pytest.raises(casstore.CasstoreError):
        workspace.switch("other", progress=progress)
    with pytest.raises(casstore.InvalidInputError):
        workspace.status()
    # Nobody else is troubled.
    with Workspace(store, tmp_path / "other") as neighbour:
        assert neighbour.status().files == 6
    store.verify()
    if phase == "writing":
        saved = store.refs[f"workspace/{workspace.id}"]
        checkout(store, saved, tmp_path / "saved")
        assert read_tree(tmp_path / "saved") == with_folders(LOCAL)
    assert [one.state for one in list_workspaces(store) if one.id == workspace.id] == ["missing"]


def unprivileged() -> tuple[str, ...]:
    """What makes a program run without the right to pass over file modes."""
    if os.geteuid() != 0:
        return ()
    rights = "-dac_override,-dac_read_search"
    prefix = ("setpriv", "--bounding-set", rights, "--inh-caps", rights)
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("root ignores file modes, and there is no setpriv to run a program without that")
    return prefix


def test_a_file_that_its_owner_may_not_read(tmp_path: Path) -> None:
    top = tmp_path / "theirs"
    write_tree(top / "work", {b"open": b"1", b"closed": b"2", b"gone": b"3"})
    write_tree(top / "other", {b"open": b"2"})
    code = """
import os, casstore
from casstore.workspace import Workspace, import_directory
os.chdir(sys.argv[1])
with casstore.open("store") as store, Workspace(store, "work") as workspace:
    main = workspace.snapshot(ref="main")
    other = import_directory(store, "other").snapshot
    os.chmod("work/closed", 0)
    workspace.close()
    # Known from before, so it need not be read: only the mode changed, and that bit is not kept.
    for look in (lambda: workspace.status(paranoid=True), lambda: workspace.switch(other)):
        try:
            look()
        except casstore.InvalidInputError as error:
            assert "closed" in str(error) and "cannot be read" in str(error), error
            print("named")
    assert sorted(os.listdir("work")) == ["closed", "gone", "open"]
    assert open("work/open").read() == "1"
    assert not workspace.interrupted
    os.chmod("work/closed", 0o600)
    workspace.switch(other)
    assert os.listdir("work") == ["open"]
    workspace.undo()
    assert open("work/closed").read() == "2"
    os.chmod("work", 0o500)
    workspace.close()
    try:
        workspace.switch(other)
    except casstore.InvalidInputError as error:
        print("denied")
    assert sorted(os.listdir("work")) == ["closed", "gone", "open"]
    os.chmod("work", 0o700)
"""
    prefix = unprivileged()
    done = child(code, str(top), prefix=prefix)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err.decode()
    assert out.split() == [b"named", b"named", b"denied"]


# -- two at once


def test_two_processes_cannot_switch_at_once(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.close()
    store.close()
    code = """
import casstore
from casstore.workspace import Workspace

store = casstore.open(sys.argv[1])
workspace = Workspace(store, sys.argv[2])
def progress(phase, done, total):
    if phase == "writing":
        print("begun", flush=True)
        sys.stdin.readline()
workspace.switch("other", progress=progress)
print("done")
"""
    first = child(code, str(tmp_path / "store"), str(directory))
    assert first.stdout is not None
    assert first.stdout.readline() == b"begun\n"
    with pytest.raises(casstore.LockedError) as caught:
        casstore.open(str(tmp_path / "store"))
    assert caught.value.pid == first.pid
    # Whoever only reads sees that it goes on, and can look.
    with casstore.open(str(tmp_path / "store"), read_only=True) as reader:
        assert [one.state for one in list_workspaces(reader)] == ["ok"]
    out, err = first.communicate(b"\n", timeout=60)
    assert out == b"done\n", err.decode()
    with casstore.open(str(tmp_path / "store")) as store:
        assert_holds(store, directory, store.refs["other"], tmp_path)


def test_a_folder_known_to_two_stores(made: Made, tmp_path: Path) -> None:
    """Each store has its own view; neither loses what it did not put there."""
    _store, directory, workspace = made
    with casstore.open(str(tmp_path / "second store")) as second, Workspace(second, directory) as other:
        other.snapshot(ref="mine")
        workspace.switch("other")
        report = other.switch("mine")
        assert report.saved is not None
        assert read_tree(directory) == with_folders(START)
        assert not workspace.status().clean


def test_a_writer_beside_the_switch_loses_nothing(made: Made, tmp_path: Path) -> None:
    """Somebody saves a file all the time, as editors do: no switch fails but by naming it, and none goes wrong."""
    _store, directory, workspace = made
    ended = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not ended.is_set():
            written += 1
            temporary = directory.parent / "draft"
            temporary.write_bytes(b"version %d" % written)
            temporary.rename(directory / "small")
            time.sleep(0.0005)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    try:
        for turn in range(30):
            try:
                report = workspace.switch(("other", "main")[turn % 2])
            except casstore.ConflictError:
                continue
            if report.saved is not None:
                seen.append(report.saved.files["small"])
    finally:
        ended.set()
        writer.join()
    assert seen == sorted(seen, key=lambda text: int(text.split()[-1]) if b" " in text else 0)
    workspace.switch("main")
    assert read_tree(directory) == with_folders(START)
    assert temporary_names(directory) == []


# -- after a failure


class Failing(OsFiles):
    """Refuses the n-th write into a workspace's file."""

    def __init__(self, number: int) -> None:
        self.left = number

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        self.left -= 1
        if not self.left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().write_at(fd, data, offset)


@pytest.mark.parametrize("number", [1, 2])
def test_a_store_that_cannot_note_the_switch(made: Made, tmp_path: Path, number: int) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    workspace._known.registry._files = Failing(number)
    with pytest.raises(casstore.StorageError, match="repeat"):
        workspace.switch("other")
    if number == 1:
        assert read_tree(directory) == with_folders(LOCAL)
        assert not workspace.interrupted
    else:
        assert workspace.interrupted
    workspace.switch("other")
    assert not workspace.interrupted
    assert_holds(store, directory, store.refs["other"], tmp_path)
    workspace.undo()
    assert read_tree(directory) == with_folders(LOCAL)


def test_an_interrupted_switch_whose_goal_was_collected(made: Made) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    interrupt(workspace, "staging.write_file")
    workspace.close()
    store.refs.delete("other")
    collect(store)
    with pytest.raises(casstore.NotFoundError):
        workspace.snapshot()
    assert workspace.status().interrupted
    workspace.undo()
    assert read_tree(directory) == with_folders(LOCAL)
    assert not workspace.interrupted


def test_an_interrupted_directory_that_is_moved(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    interrupt(workspace, "placing.os.rmdir")
    workspace.close()
    directory.rename(tmp_path / "moved")
    with Workspace(store, tmp_path / "moved") as moved:
        assert moved.interrupted
        # Whoever holds it without going on, as a failed command does, leaves it interrupted.
        with pytest.raises(casstore.CasstoreError):
            moved.switch("no such state")
        assert [one.state for one in list_workspaces(store) if one.id == moved.id] == ["interrupted"]
        moved.undo()
        assert read_tree(tmp_path / "moved") == with_folders(LOCAL)
        assert not moved.interrupted


def test_edits_after_an_interruption_are_saved(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    real = os.unlink
    count = 0

    def fail(*arguments: object, **options: object) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("casstore.workspace.changing.placing.os.unlink", fail)
        with pytest.raises(casstore.StorageError):
            workspace.switch("other")
    assert workspace.interrupted
    (directory / "after").write_bytes(b"the interruption")
    report = workspace.switch("other")
    assert report.saved is not None
    assert report.saved.files["after"] == b"the interruption"
    assert_holds(store, directory, store.refs["other"], tmp_path)

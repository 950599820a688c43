# SPDX-License-Identifier: MIT
"""What file systems and permissions do to changes: named before anything is touched, or survived."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.errors import ConflictError, InvalidInputError, StorageError
from casstore.workspace.changing import renaming
from casstore.workspace.changing.placing import Placing
from casstore.workspace.scanning.fingerprint import fingerprint_of
from tests.full_disk.disk import tmpfs
from tests.workspace.plain_diff import (
    LONG,
    SWEPT,
    changer,
    changes_between,
    fingerprints_of,
    finish,
    names_left,
    snapshot_of,
    switch,
)
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree

# -- what a file system may do


def test_names_of_255_bytes_and_paths_beyond_the_limit_work(store: casstore.Store, top: Path) -> None:
    top.mkdir()
    deep = b"/".join([b"n" * 255] * 15) + b"/" + b"m" * 255
    assert len(deep) == 4095
    many = b"d/" * 600 + b"f"
    old: Tree = {deep: b"one", many: b"one", b"x": b""}
    new: Tree = {deep: b"two", many: b"two", b"x": b""}
    changes = changes_between(store, {b"x": b""}, old)
    with changer(store, top, changes=changes) as made:
        made.run()
        status = {path: fingerprint_of(found) for path, found in made.written}
    assert status.keys() == {deep, many}
    with changer(store, top, changes=changes_between(store, old, new), expected=status.get) as made:
        made.run()
        status = {path: fingerprint_of(found) for path, found in made.written}
    with changer(store, top, changes=changes_between(store, new, {deep: b"3"}), expected=status.get) as made:
        made.run()
        status = {path: fingerprint_of(found) for path, found in made.written}
    with changer(store, top, changes=changes_between(store, {deep: b"3"}, {}), expected=status.get) as made:
        made.run()
    assert os.listdir(top) == []


@pytest.mark.parametrize("where", [b"", b"there/", b"not/there/"])
@pytest.mark.parametrize("new", [b"1", ("->", b"x"), None])
def test_a_name_that_is_too_long_is_named_first(store: casstore.Store, top: Path, where: bytes, new: Any) -> None:
    old: Tree = {b"there/f": b"1"}
    write_tree(top, old)
    for name in (b"n" * 256, b"n" * 256 + b"/f"):
        with (
            changer(store, top, {b"there/f": b"2", where + name: new}) as made,
            pytest.raises(InvalidInputError, match="the name has 256 bytes") as raised,
        ):
            made.check()
        assert raised.value.path == os.path.join(str(top), os.fsdecode(where)) + "n" * 256
    assert read_tree(top) == with_folders(old)


def test_a_symlink_that_is_too_long_is_named_first(store: casstore.Store, top: Path) -> None:
    top.mkdir()
    switch(store, top, {b"l": ("->", b"x" * 4095)})
    with (
        changer(store, top, {b"l": ("->", b"x" * 4096), b"f": b""}) as made,
        pytest.raises(InvalidInputError, match="its target has 4096 bytes"),
    ):
        made.check()
    assert read_tree(top) == {b"l": ("->", b"x" * 4095)}


def test_names_are_bytes(store: casstore.Store, top: Path) -> None:
    composed, decomposed = "\u00fc".encode(), "u\u0308".encode()
    old: Tree = {composed: b"1", b"\xff\xfe/\x80": b"2", b"\n": b"3"}
    new: Tree = {decomposed: b"1", b"\xff\xfe": b"2", b"\n/ ": b"3", b"N": b"4", b"n": b"5"}
    write_tree(top, old)
    switch(store, top, {**old, decomposed: b"4"})
    assert read_tree(top) == with_folders({**old, decomposed: b"4"})
    switch(store, top, new)
    assert read_tree(top) == with_folders(new)


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not tell upper and lower case apart, played by the calls that look at names."""
    patched = {name: getattr(os, name) for name in ("stat", "open", "mkdir")}

    def real(name: Any, fd: int | None) -> Any:
        if fd is None or not isinstance(name, bytes):
            return name
        names = [os.fsencode(member) for member in os.listdir(fd)]
        return name if name in names else next((other for other in names if other.lower() == name.lower()), name)

    for call, function in patched.items():

        def folded(name: Any, *arguments: Any, function: Any = function, **options: Any) -> Any:
            return function(real(name, options.get("dir_fd")), *arguments, **options)

        monkeypatch.setattr(os, call, folded)


@pytest.mark.usefixtures("folding")
@pytest.mark.parametrize(
    ("old", "new", "clash"),
    [
        ({b"a": b""}, {b"a": b"", b"README": b"1", b"Readme": b"2"}, ("README", "Readme")),
        ({b"README": b"1"}, {b"README": b"1", b"Readme": b"2"}, ("README", "Readme")),
        ({b"D/x": b"1"}, {b"D/x": b"1", b"d/y": b"2"}, ("D", "d")),
        ({b"D/x": b"1"}, {b"D/x": b"1", b"d": b"2"}, ("D", "d")),
        ({b"a": b""}, {b"a": b"", b"D/x": b"1", b"d/y": b"2"}, ("D", "d")),
        ({b"d/A": b"1"}, {b"d/A": b"1", b"d/a/b": b"2"}, ("A", "a")),
        ({b"A": b"1"}, {b"A": b"1", b"a": None}, ("A", "a")),
    ],
)
def test_names_that_are_one_to_the_file_system_are_named_first(
    store: casstore.Store, top: Path, old: Tree, new: Tree, clash: tuple[str, str]
) -> None:
    write_tree(top, old)
    with changer(store, top, new) as made:
        with pytest.raises(InvalidInputError, match=r"in the way|one name to this file system") as raised:
            made.check()
        if "in the way" not in str(raised.value):
            assert all(f"/{name}'" in str(raised.value) for name in clash)
    assert read_tree(top) == with_folders(old)


@pytest.mark.usefixtures("folding")
def test_a_file_may_change_the_case_of_its_name(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"d/README": LONG, b"d/k": b""})
    done = switch(store, top, {b"d/Readme": LONG, b"d/k": b""})
    assert done.deleted == [b"d/README"]
    assert read_tree(top) == with_folders({b"d/Readme": LONG, b"d/k": b""})


def test_hard_links_that_differ_in_case_are_no_clash(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"1"})
    os.link(top / "a", top / "A")
    switch(store, top, {b"a": b"1", b"A": b"1", b"D/x": b"1", b"d/x": b"2"})
    assert read_tree(top) == with_folders({b"a": b"1", b"A": b"1", b"D/x": b"1", b"d/x": b"2"})


def test_an_overlay_that_cannot_rename_a_folder_is_changed_too(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(top, {b"d/f": b"1", b"d/s/g": b"2"})
    monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    rename = os.rename

    def crossing(name: bytes, *arguments: Any, **options: Any) -> None:
        if name == b"d":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(name, *arguments, **options)

    monkeypatch.setattr(os, "rename", crossing)
    done = switch(store, top, {b"d": b"file"})
    assert read_tree(top) == {b"d": b"file"}
    assert sorted(done.deleted) == [b"d/f", b"d/s/g"]


def test_a_real_overlay_is_changed_without_redirects(store: casstore.Store, tmp_path: Path) -> None:
    old: Tree = {b"d/f": b"1", b"d/s/g": b"2", b"e/f": LONG, b"k": b"k", b"n": b"file", b"x": ("->", b"k"), b"m": None}
    new: Tree = {b"d": b"file", b"e/f": ("x", LONG), b"k": b"k", b"n/f": LONG, b"x/y/z": b"3", b"m": ("->", b"k")}
    write_tree(tmp_path / "lower", old)
    before = snapshot_of(tmp_path / "lower")
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    layers = ",".join(f"{name}dir={tmp_path / name}" for name in ("lower", "upper", "work"))
    merged = tmp_path / "merged"
    command = ["mount", "-t", "overlay", "-o", f"{layers},redirect_dir=off", "overlay", str(merged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"an overlay cannot be mounted here: {done.stderr.strip()}")
    try:
        kept = (merged / "k").stat().st_mtime_ns
        for goal in (new, old, {}, new):
            switch(store, merged, goal)
            assert read_tree(merged) == with_folders(goal)
            assert goal is not old or (merged / "k").stat().st_mtime_ns == kept
    finally:
        subprocess.run(["umount", str(merged)], check=True)
    assert snapshot_of(tmp_path / "lower") == before


def test_without_hard_links_new_names_are_taken_by_a_rename(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    monkeypatch.setattr(os, "link", refused)
    top.mkdir()
    switch(store, top, {b"f": b"1", b"l": ("->", b"f")})
    assert read_tree(top) == {b"f": b"1", b"l": ("->", b"f")}


# -- whom the system lets do what (root ignores modes, so a child gives up its power)

_UNPRIVILEGED = """
import sys
sys.path[:0] = {path!r}
import casstore
from tests.workspace.plain_diff import switch
with casstore.open(":memory:") as store:
    try:
        switch(store, {top!r}, {tree!r})
    except casstore.CasstoreError as error:
        print(type(error).__name__, error)
"""


def untraced() -> dict[str, str]:
    """The environment for nobody, who cannot write where those who measure coverage would have him write."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def unprivileged(top: Path, tree: Tree) -> str:
    """Runs a switch as nobody; what it says."""
    script = _UNPRIVILEGED.format(path=sys.path, top=str(top), tree=tree)
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", script]
    if os.geteuid():
        command = command[5:]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=untraced())
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def why_not_nobody() -> str:
    """Why nobody cannot run this interpreter, as in an environment in somebody's private folder; nothing if he can."""
    if os.geteuid():
        return ""
    code = f"import sys; sys.path[:0] = {sys.path!r}; import casstore"
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=untraced())
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


@pytest.fixture
def nobodys(tmp_path: Path) -> Iterator[Path]:
    """A folder that belongs to nobody."""
    if why_not_nobody():
        pytest.skip(f"nobody cannot run this interpreter: {why_not_nobody()}")
    place = Path(tempfile.mkdtemp())
    os.chmod(place, 0o755)
    yield place / "top"
    for folder, _, _ in os.walk(place):
        os.chmod(folder, 0o700)
    shutil.rmtree(place)


def give_away(top: Path) -> None:
    for place in [top, *top.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(place, 65534, 65534, follow_symlinks=False)


@pytest.mark.parametrize(
    "new",
    [
        {b"ro/f": b"2", b"ro/s/g": b"1"},
        {b"ro/f": b"1", b"ro/s/g": b"1", b"ro/new": b""},
        {b"ro/f": b"1", b"ro/s/g": b"1", b"ro/new/x": b""},
        {b"ro/s/g": b"1"},
        {b"ro/f": b"1"},
        {b"ro/f/x": b"1", b"ro/s/g": b"1"},
        {b"ro": b"file"},
        {b"ro/f": b"1", b"ro/s": b"file"},
        {},
    ],
)
def test_a_read_only_folder_is_named_first(nobodys: Path, new: Tree) -> None:
    old: Tree = {b"k": b"1", b"ro/f": b"1", b"ro/s/g": b"1"}
    write_tree(nobodys, old)
    give_away(nobodys)
    os.chmod(nobodys / "ro", 0o555)
    said = unprivileged(nobodys, {b"k": b"2", **new})
    assert said.startswith("InvalidInputError")
    assert f"'{nobodys}/ro" in said
    assert "Give yourself access" in said
    assert read_tree(nobodys) == with_folders(old)
    os.chmod(nobodys / "ro", 0o755)
    assert unprivileged(nobodys, {b"k": b"2", **new}) == ""
    assert read_tree(nobodys) == with_folders({b"k": b"2", **new})


def test_files_without_any_permission_are_replaced_and_deleted(nobodys: Path) -> None:
    old: Tree = {b"a": b"1", b"b": b"", b"c/d": b"2"}
    write_tree(nobodys, old)
    give_away(nobodys)
    for name in ("a", "b", "c/d"):
        os.chmod(nobodys / name, 0)
    (nobodys / "a").chmod(0o400)
    script = _UNPRIVILEGED.replace("from tests.workspace.plain_diff import switch", _BLIND)
    script = script.format(path=sys.path, top=str(nobodys), tree={b"a": b"new", b"b": ("x", b""), b"c": b"3"})
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", script]
    done = subprocess.run(command[5:] if os.geteuid() else command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_tree(nobodys) == {b"a": b"new", b"b": ("x", b""), b"c": b"3"}
    assert stat.S_IMODE((nobodys / "b").stat().st_mode) == 0o100


_BLIND = """
from tests.workspace import plain_diff
from tests.workspace.plain_diff import switch
plain_diff.read_tree = lambda _: {{b"a": b"1", b"b": b"", b"c/d": b"2"}}
"""


def test_an_immutable_file_stops_the_run_and_nothing_is_lost(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"1", b"b": b"1", b"c": b"1"})
    done = subprocess.run(["chattr", "+i", str(top / "b")], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"chattr +i does not work here: {done.stderr.strip()}")
    new: Tree = {b"a": b"2", b"b": b"2", b"d": b"2"}
    try:
        with changer(store, top, new) as made, pytest.raises(StorageError, match=r"'.*/b' cannot be changed"):
            made.run()
        assert not names_left(top)
        assert read_tree(top) == {b"a": b"2", b"b": b"1", b"c": b"1"}
    finally:
        subprocess.run(["chattr", "-i", str(top / "b")], check=True)
    switch(store, top, new)
    assert read_tree(top) == new


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with tmpfs(tmp_path / "disk", 1 << 20) as disk:
        yield disk.path


def test_a_full_disk_changes_nothing_and_the_run_completes_later(store: casstore.Store, small_disk: Path) -> None:
    old: Tree = {b"a": b"1" * 100_000, b"d/b": b"2" * 100_000, b"e/f": b"3", b"x": b"gone"}
    new: Tree = {b"a": b"4" * 200_000, b"d": b"5" * 200_000, b"e/f/g": b"6" * 200_000, b"l": ("->", b"y" * 300)}
    write_tree(small_disk / "top", old)
    seen = fingerprints_of(small_disk / "top")
    (small_disk / "ballast").write_bytes(bytes(500_000))
    with (
        changer(store, small_disk / "top", new) as made,
        pytest.raises(StorageError, match=r"No space left on device.*free some space.*Nothing was changed"),
    ):
        made.run()
    assert fingerprints_of(small_disk / "top") == seen
    assert read_tree(small_disk / "top") == with_folders(old)
    (small_disk / "ballast").unlink()
    switch(store, small_disk / "top", new)
    assert read_tree(small_disk / "top") == with_folders(new)


@pytest.mark.parametrize("when", ["check", "run", "place", "delete"])
def test_a_file_system_that_turns_read_only_is_an_error(
    store: casstore.Store, small_disk: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = small_disk / "top"
    old, new = SWEPT
    write_tree(top, old)

    def turn(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    with changer(store, top, new) as made:
        if when == "check":
            turn("ro")
            with pytest.raises(StorageError, match="Read-only file system"):
                made.check()
        else:
            made.check()
            with monkeypatch.context() as patch:
                if when == "run":
                    turn("ro")
                else:
                    method = getattr(Placing, when)

                    def turning(self: Placing, *arguments: Any) -> None:
                        turn("ro")
                        method(self, *arguments)

                    patch.setattr(Placing, when, turning)
                with pytest.raises(StorageError, match=r"Read-only file system.*epeat the command"):
                    made.run()
    turn("rw")
    finish(store, top, new)


def test_a_directory_removed_during_the_run_is_an_error(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for when in ("run", "place", "delete"):
        write_tree(top, SWEPT[0])
        with changer(store, top, SWEPT[1]) as made, monkeypatch.context() as patch:
            made.check()
            if when == "run":
                shutil.rmtree(top)
            else:
                method = getattr(Placing, when)

                def removing(self: Placing, *arguments: Any, method: Any = method) -> None:
                    shutil.rmtree(top)
                    method(self, *arguments)

                patch.setattr(Placing, when, removing)
            with pytest.raises((ConflictError, StorageError)):
                made.run()
        assert not top.exists()

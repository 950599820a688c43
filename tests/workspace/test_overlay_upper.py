# SPDX-License-Identifier: MIT
"""How an upper folder is read: its marks, what is read again, what is left out and what cannot be read."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import DIRECTORY
from casstore.tree import diff
from casstore.workspace.overlay import Upper
from casstore.workspace.overlay import capturing as capturing_module
from casstore.workspace.scanning.scan import TEMPORARY, is_temporary
from tests.workspace.overlays import (
    DEEP,
    MakeOverlay,
    Overlay,
    mounted,
    run_python,
)

# -- marks that kernels make elsewhere, or later


def put_marks(overlay: Overlay, folder: str, **marks: bytes) -> None:
    place = os.path.join(overlay.upper.path, folder)
    os.makedirs(place, exist_ok=True)
    for name, value in marks.items():
        os.setxattr(place, f"user.overlay.{name}", value)


def test_an_opaque_folder_hides_the_base_even_with_a_redirect(bare: Overlay) -> None:
    put_marks(bare, "a", opaque=b"y", redirect=b"/b")
    assert bare.changed() == {b"a": DIRECTORY, b"a/x": None, b"a/y": None}


@pytest.mark.parametrize("redirect", [b"", b"/", b"//b", b"/b/", b"b/c"])
def test_a_redirect_that_the_kernel_passes_over_says_nothing(bare: Overlay, redirect: bytes) -> None:
    put_marks(bare, "a", redirect=redirect)
    assert bare.changed() == {}


def test_redirects_lead_from_the_top_or_from_where_the_folder_above_leads(bare: Overlay) -> None:
    put_marks(bare, "new", redirect=b"/b")
    put_marks(bare, "new/sub", redirect=b"c")
    put_marks(bare, "a", redirect=b"/gone")
    assert bare.changed() == {
        b"a": DIRECTORY,
        b"a/x": None,
        b"a/y": None,
        b"new/c/z": 1,
        b"new/sub/z": 1,
        b"new/w": 1,
    }


def test_empty_files_are_whiteouts_only_in_folders_that_say_so(bare: Overlay) -> None:
    for folder in ("a", "b"):
        put_marks(bare, folder)
        for name in ("x", "w", "plain"):
            path = f"{bare.upper.path}/{folder}/{name}"
            Path(path).touch()
            if name != "plain":
                os.setxattr(path, "user.overlay.whiteout", b"y")
    put_marks(bare, "a", opaque=b"x")
    assert bare.changed() == {b"a/plain": 1, b"a/x": None, b"b/plain": 1, b"b/w": 1, b"b/x": 1}


def test_who_cannot_see_the_marks_is_refused(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(lambda top: os.rename(top / "a", top / "z"))
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing, which takes rights away")
    code = """
import casstore
from casstore.workspace.scanning.fingerprint import fingerprint_of
from casstore.workspace.overlay import Upper
with casstore.open(":memory:") as store:
    try:
        Upper(sys.argv[1]).edits(store.storage, store.nodes, None)
    except casstore.InvalidInputError as error:
        print(error)
"""
    drop = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    assert "cannot see the marks" in run_python(code, overlay.upper.folder, prefix=drop).stdout
    assert run_python(code, overlay.upper.folder).stdout == ""


# -- what is read again, and what is not


def settle() -> None:
    """Waits until a file changed before is old enough to be trusted."""
    time.sleep(0.05)


def test_a_file_is_read_once_while_it_stays_as_it_is(bare: Overlay) -> None:
    for number in range(5):
        Path(bare.upper.path, f"n{number}").write_bytes(bytes(500 + number))
    settle()
    first = bare.captured()
    assert bare.upper.files_read == 5
    assert bare.captured() == first
    assert bare.upper.files_read == 0
    assert bare.captured(paranoid=True) == first
    assert bare.upper.files_read == 5
    # Another process finds what was known in the store's cache.
    bare.upper = Upper(bare.upper.folder, private=True, cache_key=bare.upper._cache_key)
    assert bare.captured() == first
    assert bare.upper.files_read == 0
    Path(bare.upper.path, "n3").write_bytes(bytes(503))
    os.unlink(Path(bare.upper.path, "n4"))
    assert bare.captured() != first
    assert bare.upper.files_read == 1
    key = bare.upper._cache_key or b""
    assert {name[len(key) :] for name, _ in bare.store.storage.backend.cache(key)} == {b"n0", b"n1", b"n2"}
    bare.upper.forget(bare.store.storage)
    assert list(bare.store.storage.backend.cache(key)) == []


def test_a_file_that_was_just_written_is_read_again(bare: Overlay) -> None:
    place = Path(bare.upper.path, "n")
    for byte in b"abcdefgh":
        # Same size, and mostly the same times: only reading tells.
        place.write_bytes(bytes([byte]) * 300)
        edits = bare.upper.edits(bare.store.storage, bare.store.nodes, bare.root)
        entry = dict(edits)[b"n"]
        assert entry is not None
        assert entry.address is not None
        assert bare.store.get(entry.address) == bytes([byte]) * 300


def test_a_file_younger_than_its_reading_is_not_trusted(bare: Overlay) -> None:
    place = Path(bare.upper.path, "n")
    place.write_bytes(bytes(300))
    os.utime(place, ns=(time.time_ns() + 3600 * 10**9,) * 2)
    settle()
    for _ in range(3):
        bare.captured()
        assert bare.upper.files_read == 1


def test_what_the_store_lost_is_read_again(bare: Overlay) -> None:
    content = os.urandom(400)
    Path(bare.upper.path, "n").write_bytes(content)
    settle()
    bare.captured()
    entry = dict(bare.upper.edits(bare.store.storage, bare.store.nodes, bare.root))[b"n"]
    assert entry is not None
    assert entry.address is not None
    bare.store.storage.backend.delete([entry.address])
    bare.captured()
    assert bare.store.storage.contains(entry.address)


def test_a_file_that_does_not_keep_still_is_named(bare: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(bare.upper.path, "busy").write_bytes(b"1")
    monkeypatch.setattr(capturing_module, "read_file", lambda *arguments, **named: None)
    with pytest.raises(ConflictError, match="'busy' changed while it was read"):
        bare.captured()


def test_what_vanishes_meanwhile_is_a_conflict(bare: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(Path(bare.upper.path, "d"))
    visit = capturing_module.UpperWalk._visit

    def first_remove(walk: capturing_module.UpperWalk, folder: capturing_module.UpperFolder) -> list[object]:
        if folder.prefix:
            os.rmdir(Path(bare.upper.path, "d"))
        return visit(walk, folder)  # type: ignore[return-value]

    monkeypatch.setattr(capturing_module.UpperWalk, "_visit", first_remove)
    with pytest.raises(ConflictError, match="'d' changed"):
        bare.captured()


def test_an_upper_folder_that_is_gone_is_an_error_with_a_next_step(bare: Overlay) -> None:
    shutil.rmtree(bare.upper.path)
    with pytest.raises(InvalidInputError, match="casstore workspace prune"):
        bare.captured()


def test_what_cannot_be_read_is_an_error_or_named(bare: Overlay) -> None:
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv, to take away the right to read everything")
    upper = Path(bare.upper.path)
    for folder in ("a", "locked"):
        (upper / folder).mkdir()
    (upper / "a/x").write_bytes(b"secret")
    (upper / "a/x").chmod(0)
    (upper / "locked").chmod(0)
    (upper / "p/locked").mkdir(parents=True)
    (upper / "p/locked").chmod(0)
    (upper / "b").mkdir()
    (upper / "b").chmod(0)
    code = """
import casstore
from casstore.workspace import import_directory
from casstore.workspace.scanning.fingerprint import fingerprint_of
from casstore.workspace.overlay import Upper
with casstore.open(":memory:") as store:
    root = import_directory(store, sys.argv[2]).snapshot.roots["files"]
    upper = Upper(sys.argv[1], private=True)
    try:
        upper.edits(store.storage, store.nodes, root)
    except casstore.InvalidInputError as error:
        print("--skip-unreadable" in str(error))
    edits = upper.edits(store.storage, store.nodes, root, skip_unreadable=True)
    print(sorted((item.path, item.why) for item in upper.left_out))
    print([(path, entry and entry.kind) for path, entry in edits])
"""
    rights = "-dac_override,-dac_read_search"
    prefix = ("setpriv", "--bounding-set", rights, "--inh-caps", rights)
    done = run_python(code, bare.upper.folder, str(bare.base), prefix=prefix)
    why = "unreadable: Permission denied"
    assert done.stdout.splitlines() == [
        "True",
        str([("a/x", why), ("b", why), ("locked", why), ("p/locked", why)]),
        str([(b"a/x", None), (b"b/c/z", None), (b"b/w", None), (b"p", DIRECTORY)]),
    ], done.stderr


def make_deep(top: str, levels: int) -> None:
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)


def test_folders_deeper_than_descriptors_are_read_and_deleted(bare: Overlay) -> None:
    make_deep(bare.upper.path, 1400)
    try:
        changed = bare.changed()
    finally:
        bare.upper.remove()
    assert changed == {b"d/" * 1400 + b"leaf": 1}
    assert os.listdir(bare.upper.folder) == []
    assert len(os.listdir("/dev/fd")) < 60


def test_a_delta_is_deleted_whatever_its_permissions(bare: Overlay, tmp_path: Path) -> None:
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv, to take away the right to write everywhere")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").touch()
    (tmp_path / "outside").chmod(0o500)
    upper = Path(bare.upper.path)
    (upper / "link").symlink_to(tmp_path / "outside")
    (upper / "a/b").mkdir(parents=True)
    (upper / "a/b/f").touch()
    for name, mode in (("a/b/f", 0), ("a/b", 0), ("a", 0o555), ("", 0o500)):
        (upper / name).chmod(mode)
    rights = "-dac_override,-dac_read_search"
    code = "from casstore.workspace.overlay import Upper; Upper(sys.argv[1], private=True).remove()"
    done = run_python(code, bare.upper.folder, prefix=("setpriv", "--bounding-set", rights, "--inh-caps", rights))
    assert done.returncode == 0, done.stderr
    assert os.listdir(bare.upper.folder) == []
    assert os.listdir(tmp_path / "outside") == ["f"]
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o500


# -- rules


def test_rules_leave_out_what_the_upper_folder_has_and_what_it_brings_along(
    make_overlay: MakeOverlay, tmp_path: Path
) -> None:
    overlay = make_overlay({b"src/a.o": b"1", b"src/a.c": b"2", b"src/t/b.o": b"3", b"src/out/x": b"4", b"k.o": b"5"})
    asked: list[bytes] = []

    def leaves_out(path: bytes, folder: bool) -> bool:
        asked.append(path)
        return path.endswith(b"/out") if folder else path.endswith(b".o")

    with mounted(overlay.upper.overlay(str(overlay.base), str(overlay.target))) as top:
        os.rename(top / "src", top / "new")
        (top / "n.o").write_bytes(b"6")
        (top / "d/out").mkdir(parents=True)
        (top / "d/out/y").write_bytes(b"7")
        changed = {
            change.key: change.new and change.new.kind
            for change in diff(overlay.store.nodes, overlay.root, overlay.captured(leaves_out=leaves_out))
        }
    gone = dict.fromkeys([b"src/a.o", b"src/a.c", b"src/t/b.o", b"src/out/x"])
    assert changed == {**gone, b"new/a.c": 1, b"new/t": DIRECTORY, b"d": DIRECTORY}
    assert {item.path for item in overlay.upper.left_out} == {"n.o", "d/out/", "new/a.o", "new/t/b.o", "new/out/"}
    assert asked.index(b"new") < asked.index(b"new/t") < asked.index(b"new/t/b.o")
    assert b"new/out/x" not in asked


def test_files_that_a_switch_has_not_put_in_place_are_not_captured(bare: Overlay) -> None:
    name = os.fsdecode(TEMPORARY) + "0123456789abcdef"
    assert is_temporary(os.fsencode(name))
    Path(bare.upper.path, name).write_bytes(b"half")
    Path(bare.upper.path, ".casstore-notes").write_bytes(b"a name like others")
    asked: list[tuple[bytes, bool]] = []
    assert bare.changed() == {b".casstore-notes": 1}
    bare.captured(leaves_out=lambda path, folder: bool(asked.append((path, folder))))
    assert (os.fsencode(name), False) in asked

# SPDX-License-Identifier: MIT
"""Overlays in user namespaces: what commands see there, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.errors import InvalidInputError, LockedError
from casstore.workspace.overlay import (
    Upper,
    ensure_base,
    list_mounts,
    probing,
    run_private,
)
from tests.workspace.overlays import (
    captured,
    overlay_in,
    root_of,
    run_python,
    workspace,
)
from tests.workspace.programs import random_base
from tests.workspace.trees import write_tree

Stores = casstore.Store


def need_namespaces(store: Stores) -> None:
    reason = probing.why_no_private_overlay(store.path)
    if reason:
        pytest.skip(reason)


def test_a_command_sees_the_overlay_and_nobody_else_does(disk_store: Stores, tmp_path: Path) -> None:
    need_namespaces(disk_store)
    overlay, upper = overlay_in(disk_store, tmp_path / "shown", private=True)
    root = root_of(disk_store, tmp_path / "in1")
    done = run_private(overlay, ["sh", "-c", "pwd; cat a/f; echo 2 > new; rm l; rm -r a; mkdir a"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == os.fsencode(overlay.target) + b"\n" + b"1" * 200
    assert done.args[0] == "sh"
    assert os.listdir(tmp_path / "shown") == []
    assert list_mounts(disk_store.path) == []
    # The next command goes on where this one ended; options are those of subprocess.run.
    done = run_private(overlay, ["cat"], cwd="a", input="in", text=True, capture_output=True)
    assert done.stdout == "in"
    script = "mv e moved && cat new"
    assert run_private(overlay, ["sh", "-c", script], capture_output=True, text=True).stdout == "2\n"
    write_tree(tmp_path / "expected", {b"a": None, b"new": b"2\n", b"moved": None})
    assert captured(disk_store, upper, root) == root_of(disk_store, tmp_path / "expected")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user reaches; those of pytest are root's alone."""
    with tempfile.TemporaryDirectory(prefix="casstore-") as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_it_works_without_the_rights_of_root(store: Stores, open_place: Path, user: str) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to take rights away")
    place = open_place
    with casstore.open(str(place / "store")) as disk_store:
        need_namespaces(disk_store)
        overlay, upper = overlay_in(disk_store, place / "shown", private=True)
    code = """
import casstore
from casstore.workspace.overlay import Upper, choose, run_private
print(choose(sys.argv[4], sys.argv[3], "overlay-private").method)
upper = Upper(sys.argv[1], private=True)
script = "rm l; mv a z; rm z/f; echo 3 > a"
print(run_private(upper.overlay(sys.argv[2], sys.argv[3]), ["sh", "-c", script]).returncode)
"""
    if user == "root":
        # Only to map user 0 into the namespace takes a right; other users need none.
        drop = ["--bounding-set", "-all,+setfcap", "--inh-caps", "-all,+setfcap"]
    else:
        # What is left is to read this interpreter, wherever it lies.
        drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
        drop += [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
        subprocess.run(["chown", "-R", "65534:65534", str(place)], check=True)
    arguments = (upper.folder, overlay.lower, overlay.target, str(place / "store"))
    done = run_python(code, *arguments, prefix=("setpriv", *drop))
    assert done.stdout == "overlay-private\n0\n", done.stderr
    write_tree(place / "expected", {b"z/run": ("x", b"#!"), b"a": b"3\n", b"e": None})
    assert captured(store, upper, root_of(store, place / "in1")) == root_of(store, place / "expected")


def test_renaming_a_folder_of_the_base_is_refused_there(disk_store: Stores, tmp_path: Path) -> None:
    need_namespaces(disk_store)
    overlay, _ = overlay_in(disk_store, tmp_path / "shown", private=True)
    code = "import os\ntry: os.rename('a', 'z')\nexcept OSError as error: print(error.errno)"
    done = run_private(overlay, [sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "18\n", done.stderr


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_in_a_namespace(disk_store: Stores, tmp_path: Path, seed: int) -> None:
    need_namespaces(disk_store)
    random_base(seed, tmp_path / "plain")
    root = root_of(disk_store, tmp_path / "plain")
    upper = Upper(workspace(disk_store), private=True)
    upper.create()
    (tmp_path / "shown").mkdir()
    overlay = upper.overlay(ensure_base(disk_store, root), str(tmp_path / "shown"))
    code = """
from tests.workspace.programs import Program
program = Program(int(sys.argv[1]), b".")
# What is moved by copying loses its other names, and pipes cannot be copied.
program.operations = [one for one in program.operations if one not in (program.link, program.special)]
program.run(40)
print(program.moved)
"""
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}", str(seed)]
    done = run_private(overlay, command, capture_output=True, text=True)
    assert int(done.stdout) > 0, done.stderr
    assert subprocess.run(command, cwd=tmp_path / "plain", stdout=subprocess.DEVNULL).returncode == 0
    assert captured(disk_store, upper, root) == root_of(disk_store, tmp_path / "plain") != root


def test_a_command_ends_with_its_code_and_its_leftovers_end_with_it(disk_store: Stores, tmp_path: Path) -> None:
    need_namespaces(disk_store)
    overlay, _ = overlay_in(disk_store, tmp_path / "shown", private=True)
    assert run_private(overlay, ["sh", "-c", "exit 7"]).returncode == 7
    assert run_private(overlay, ["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM
    assert run_private(overlay, ["sh", "-c", "kill -KILL $$"]).returncode == -signal.SIGKILL
    with pytest.raises(subprocess.CalledProcessError, match="'sh'"):
        run_private(overlay, ["sh", "-c", "exit 7"], check=True)
    begun = time.monotonic()
    daemon = "setsid sh -c 'sleep 0.3; echo late > late' > /dev/null 2>&1 &"
    assert run_private(overlay, ["sh", "-c", daemon]).returncode == 0
    time.sleep(0.6)
    assert "late" not in run_private(overlay, ["ls"], capture_output=True, text=True).stdout.split()
    with pytest.raises(subprocess.TimeoutExpired, match="'sleep', '30'"):
        run_private(overlay, ["sleep", "30"], timeout=1)
    # It is over: the overlay is free for the next command at once.
    assert run_private(overlay, ["true"]).returncode == 0
    assert time.monotonic() - begun < 20


def test_one_command_at_a_time(disk_store: Stores, tmp_path: Path) -> None:
    need_namespaces(disk_store)
    overlay, _ = overlay_in(disk_store, tmp_path / "shown", private=True)
    (tmp_path / "seen").mkdir()
    waiting = f"touch {tmp_path}/seen/begun; while [ ! -e {tmp_path}/seen/go ]; do sleep 0.01; done"
    thread = threading.Thread(target=run_private, args=(overlay, ["sh", "-c", waiting]))
    thread.start()
    try:
        while not (tmp_path / "seen/begun").exists():
            time.sleep(0.01)
        with pytest.raises(LockedError, match="one at a time"):
            run_private(overlay, ["true"])
    finally:
        (tmp_path / "seen/go").touch()
        thread.join()
    assert run_private(overlay, ["true"]).returncode == 0


def test_a_command_that_cannot_be_run_is_an_error(disk_store: Stores, tmp_path: Path) -> None:
    need_namespaces(disk_store)
    overlay, upper = overlay_in(disk_store, tmp_path / "shown", private=True)
    with pytest.raises(InvalidInputError, match="cannot be run"):
        run_private(overlay, ["no-such-program"])
    with pytest.raises(InvalidInputError, match="cannot be run"):
        run_private(overlay, ["true"], cwd="nowhere")
    for command, options in (("ls", {}), ([], {}), (["ls"], {"shell": True})):
        with pytest.raises(InvalidInputError):
            run_private(overlay, command, **options)  # type: ignore[arg-type]
    upper.remove()
    with pytest.raises(InvalidInputError, match="is gone"):
        run_private(overlay, ["true"])


def test_without_user_namespaces_the_reason_is_told(disk_store: Stores, tmp_path: Path) -> None:
    need_namespaces(disk_store)
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to take away the right to map user 0")
    code = """
import casstore
from casstore.workspace.overlay import choose
try:
    choose(sys.argv[1], sys.argv[2], "overlay-private")
except casstore.InvalidInputError as error:
    print(error)
"""
    drop = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    done = run_python(code, disk_store.path, str(tmp_path / "out"), prefix=drop)
    assert "no private overlayfs: this process may not" in done.stdout, done.stderr

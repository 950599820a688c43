# SPDX-License-Identifier: MIT
"""Watching: every change is reported, once, or it is said that it is not known what changed."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore.errors import ClosedError, InvalidInputError
from casstore.workspace.scanning import inotify, watching
from casstore.workspace.scanning.watching import Watcher

ROOT = Path(__file__).resolve().parent.parent.parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "work/a/b").mkdir(parents=True)
    (tmp_path / "work/a/b/f").write_bytes(b"1")
    (tmp_path / "work/lib").mkdir()
    return tmp_path / "work"


@pytest.fixture
def watcher(directory: Path, tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher(str(directory), str(tmp_path))
    assert watcher.changed() is None, "nothing is known at first"
    yield watcher
    watcher.close()


def watches() -> int:
    """How many folders this process watches."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += Path(f"/proc/self/fdinfo/{fd}").read_text().count("inotify wd:")
        except FileNotFoundError:
            pass  # It was open for listing them.
    return found


# -- every change


@linux
def test_each_change_is_reported_once(directory: Path, watcher: Watcher) -> None:
    assert watcher.changed() == frozenset()
    (directory / "a/b/f").write_bytes(b"2")
    (directory / "new").write_bytes(b"")
    assert watcher.changed() == {b"a/b/f", b"new"}
    assert watcher.changed() == frozenset()
    (directory / "a/b/f").rename(directory / "lib/g")
    assert watcher.changed() == {b"a/b/f", b"lib/g"}


@linux
def test_metadata_counts(directory: Path, watcher: Watcher) -> None:
    file = directory / "a/b/f"
    file.chmod(0o600)
    assert watcher.changed() == {b"a/b/f"}
    os.utime(file, (1, 1))
    assert watcher.changed() == {b"a/b/f"}
    os.truncate(file, 0)
    assert watcher.changed() == {b"a/b/f"}
    os.link(file, directory / "lib/hard")
    assert watcher.changed() == {b"lib/hard"}
    try:
        os.setxattr(file, "user.x", b"1")
    except OSError:
        return  # This file system has none.
    assert watcher.changed() == {b"a/b/f"}


@linux
def test_of_the_top_itself_everything_is_looked_at(directory: Path, watcher: Watcher) -> None:
    directory.chmod(0o700)
    assert watcher.changed() is None
    assert watcher.changed() == frozenset()


@linux
def test_a_memory_map_shows_when_it_is_unmapped(directory: Path, watcher: Watcher) -> None:
    with open(directory / "a/b/f", "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 1)
    mapped[0] = 57
    watcher.changed()
    mapped.close()
    assert watcher.changed() == {b"a/b/f"}


@linux
def test_a_symlink_does_not_take_over_the_watch_of_its_target(directory: Path, tmp_path: Path) -> None:
    (directory / "lib64").symlink_to("lib")
    (tmp_path / "elsewhere").mkdir()
    (directory / "far").symlink_to(tmp_path / "elsewhere")
    watcher = Watcher(str(directory), str(tmp_path))
    watcher.changed()
    (directory / "lib64/x").write_bytes(b"")
    (tmp_path / "elsewhere/y").write_bytes(b"")
    assert watcher.changed() == {b"lib/x"}
    (directory / "lib64").unlink()
    assert watcher.changed() == {b"lib64"}
    (directory / "lib/x").write_bytes(b"2")
    assert watcher.changed() == {b"lib/x"}
    watcher.close()


@linux
def test_a_folder_that_left_is_not_watched(directory: Path, tmp_path: Path, watcher: Watcher) -> None:
    assert watches() == 4
    (directory / "a").rename(tmp_path / "gone")
    assert watcher.changed() == {b"a"}
    assert watches() == 2
    (tmp_path / "gone/b/f").write_bytes(b"3")
    assert watcher.changed() == frozenset()
    (tmp_path / "gone").rename(directory / "back")
    assert watcher.changed() == {b"back"}
    (directory / "back/b/f").write_bytes(b"4")
    assert watcher.changed() == {b"back/b/f"}


@linux
def test_a_folder_made_in_one_that_was_replaced(directory: Path, tmp_path: Path, watcher: Watcher) -> None:
    (directory / "a/x").mkdir()
    (directory / "a").rename(tmp_path / "gone")
    (directory / "a/x").mkdir(parents=True)
    assert watcher.changed() == {b"a/x", b"a"}
    (directory / "a/x/f").write_bytes(b"")
    assert watcher.changed() == {b"a/x/f"}


@linux
def test_a_new_folder_is_a_symlink_by_now(directory: Path, watcher: Watcher) -> None:
    (directory / "n").mkdir()
    (directory / "n").rmdir()
    (directory / "n").symlink_to("lib")
    assert watcher.changed() == {b"n"}


@linux
def test_a_watched_folder_moved_into_a_new_one(directory: Path, watcher: Watcher) -> None:
    (directory / "n").mkdir()
    (directory / "a").rename(directory / "n/a")
    assert watcher.changed() == {b"n", b"a"}
    (directory / "n/a/b/f").write_bytes(b"2")
    assert watcher.changed() == {b"n/a/b/f"}


# -- where it is not known


@linux
def test_a_full_queue_is_not_kept_quiet(directory: Path, watcher: Watcher) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 200_000:
        pytest.skip(f"the queue takes {limit} events here: too many to fill it")
    files = [directory / "a/b/f", directory / "lib/g"]
    files[1].write_bytes(b"")
    for number in range(limit + 10):
        files[number & 1].chmod(0o600)
    (directory / "unseen").write_bytes(b"")
    assert watcher.changed() is None
    assert watcher.changed() == frozenset(), "it began anew"
    (directory / "seen").write_bytes(b"")
    assert watcher.changed() == {b"seen"}


@linux
def test_too_many_paths(directory: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_PATHS", 2)
    for name in "xyz":
        (directory / name).mkdir()
    assert watcher.changed() is None
    (directory / "x/f").write_bytes(b"")
    assert watcher.changed() == {b"x/f"}


@linux
@pytest.mark.parametrize("how", ["renamed", "deleted", "above"])
def test_the_directory_is_replaced(directory: Path, tmp_path: Path, how: str) -> None:
    top = tmp_path / "p"
    top.mkdir()
    directory = directory.rename(top / "work")
    watcher = Watcher(str(directory), str(tmp_path))
    watcher.changed()
    if how == "above":
        top.rename(tmp_path / "q")
    elif how == "renamed":
        directory.rename(tmp_path / "q")
    else:
        shutil.rmtree(directory)
    assert watcher.changed() is None
    assert watcher.changed() is None, "it is not there"
    directory.mkdir(parents=True)
    assert watcher.changed() is None
    (directory / "f").write_bytes(b"")
    assert watcher.changed() == {b"f"}
    watcher.close()


@linux
def test_the_directory_is_made_again_at_once(directory: Path, watcher: Watcher) -> None:
    # Several times: where the file system uses numbers again, it may well have the one it had.
    for _ in range(3):
        shutil.rmtree(directory)
        directory.mkdir()
        assert watcher.changed() is None
        (directory / "f").write_bytes(b"")
        assert watcher.changed() == {b"f"}


@linux
def test_an_interrupted_call_forgets_nothing(
    directory: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    (directory / "new").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(inotify.Inotify, "_watch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            watcher.changed()
    assert watcher.changed() is None
    (directory / "new/f").write_bytes(b"")
    assert watcher.changed() == {b"new/f"}


@linux
def test_a_remote_file_system_is_refused(
    directory: Path, tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(directory / "a").replace(" ", "\\040")
    line = f"1 0 0:1 / {place} rw - nfs4 host:/ rw\n".encode()
    read = inotify._read
    monkeypatch.setattr(inotify, "_read", lambda fd: read(fd) + line)
    with pytest.raises(InvalidInputError, match=r"nfs4 .* leave watching off"):
        Watcher(str(directory), str(tmp_path))


CHILD = """
import os, sys, subprocess
from casstore.errors import CasstoreError
from casstore.workspace.scanning.watching import Watcher
top = sys.argv[1]
"""


def run_child(tmp_path: Path, prefix: list[str], script: str, probe: list[str]) -> None:
    """Runs ``script`` under ``prefix``, in a folder ``top`` that it may change; skips where ``probe`` does not run."""
    if shutil.which(prefix[0]) is None or subprocess.run([*prefix, *probe], capture_output=True).returncode:
        pytest.skip(f"`{' '.join([*prefix, *probe])}` does not work here")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [*prefix, sys.executable, "-c", CHILD + script, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr


@linux
def test_a_folder_that_cannot_be_read_is_reported_until_it_can(tmp_path: Path) -> None:
    drop = "-dac_override,-dac_read_search"
    prefix = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"] if os.geteuid() == 0 else ["env"]
    script = """
os.makedirs(top + "/closed/d")
os.chmod(top + "/closed", 0)
w = Watcher(top, top)
assert w.changed() is None
assert w.changed() == {b"closed"}
assert w.changed() == {b"closed"}
os.chmod(top + "/closed", 0o700)
assert w.changed() == {b"closed"}
assert w.changed() == set()
open(top + "/closed/d/f", "w").close()
assert w.changed() == {b"closed/d/f"}
"""
    run_child(tmp_path, prefix, script, ["true"])


@linux
def test_the_limit_of_watches(tmp_path: Path) -> None:
    script = """
open("/proc/sys/user/max_inotify_watches", "w").write("2")
os.makedirs(top + "/a/b")
try:
    Watcher(top, top)
except CasstoreError as error:
    assert error.kind == "storage" and "max_user_watches" in str(error), error
else:
    raise SystemExit("it began without watches")
os.rmdir(top + "/a/b")
w = Watcher(top, top)
w.changed()
os.mkdir(top + "/b")
for _ in range(2):
    assert w.changed() == {b"b"}
os.rmdir(top + "/a")
assert w.changed() == {b"a", b"b"}
assert w.changed() == set()
open(top + "/b/f", "w").close()
assert w.changed() == {b"b/f"}
"""
    prefix = ["unshare", "--user", "--map-root-user"]
    run_child(tmp_path, prefix, script, ["test", "-w", "/proc/sys/user/max_inotify_watches"])


@linux
def test_a_mount_over_a_folder(tmp_path: Path) -> None:
    script = """
os.makedirs(top + "/a b/c")
os.mkdir(top + "/d")
w = Watcher(top, top)
w.changed()
assert w.changed() == set()
subprocess.run(["mount", "-t", "tmpfs", "x", top + "/a b"], check=True)
assert w.changed() is None
open(top + "/a b/f", "w").close()
assert w.changed() == {b"a b/f"}
subprocess.run(["umount", top + "/a b"], check=True)
assert w.changed() is None
assert w.changed() == set()
subprocess.run(["mount", "--bind", top + "/a b", top + "/d"], check=True)
for _ in range(3):
    assert w.changed() is None, "one folder at two places"
w.close()
w = Watcher(top, top)
assert w.changed() is None
assert w.changed() is None
"""
    run_child(
        tmp_path, ["unshare", "--user", "--map-root-user", "--mount"], script, ["mount", "-t", "tmpfs", "x", "/mnt"]
    )


# -- what it costs


@linux
def test_it_answers_at_once_and_does_nothing_meanwhile(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"d/{number % 20}/{number}").mkdir(parents=True)
    threads = len(os.listdir("/proc/self/task"))
    watcher = Watcher(str(tmp_path / "d"), str(tmp_path))
    watcher.changed()
    took = []
    for number in range(200):
        (tmp_path / "d/3/f").write_bytes(b"%d" % number)
        before = time.perf_counter()
        assert watcher.changed() == {b"3/f"}
        took.append(time.perf_counter() - before)
    assert sorted(took)[190] < 0.005
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.005
    assert len(os.listdir("/proc/self/task")) == threads
    watcher.close()


@linux
def test_closing_gives_everything_back(directory: Path, tmp_path: Path) -> None:
    files = len(os.listdir("/proc/self/fd"))
    watcher = Watcher(str(directory), str(tmp_path))
    watcher.changed()
    watcher.close()
    watcher.close()
    assert len(os.listdir("/proc/self/fd")) == files
    with pytest.raises(ClosedError):
        watcher.changed()
    for wrong in (directory / "missing", directory / "a/b/f"):
        with pytest.raises(InvalidInputError, match="name one"):
            Watcher(str(wrong), str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == files


# -- by watchfiles


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching.sys, "platform", "darwin")


@pytest.mark.usefixtures("elsewhere")
def test_watchfiles_is_missing(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("watchfiles", "watchfiles._rust_notify"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInputError, match=r"pip install casstore\[watch\]"):
        Watcher(str(directory), str(tmp_path))


@pytest.mark.usefixtures("elsewhere")
class TestWatchfiles:
    @pytest.fixture
    def sentinels(self, tmp_path: Path) -> Path:
        pytest.importorskip("watchfiles", reason="watchfiles is not installed: `pip install casstore[watch]`")
        (tmp_path / "tmp").mkdir()
        return tmp_path / "tmp"

    def test_what_happened_before_is_reported(self, directory: Path, sentinels: Path) -> None:
        watcher = Watcher(str(directory), str(sentinels))
        assert watcher.changed() is None
        for number in range(20):
            for name in (b"a/b/f", b"lib/%d" % number):
                with open(os.path.join(os.fsencode(directory), name), "wb") as file:
                    file.write(b"%d" % number)
            assert watcher.changed() == {b"a/b/f", b"lib/%d" % number}
        assert watcher.changed() == frozenset()
        assert list(sentinels.iterdir()) == []
        watcher.close()

    def test_what_it_cannot_say_is_not_known(self, directory: Path, sentinels: Path) -> None:
        watcher = Watcher(str(directory), str(sentinels))
        watcher.changed()
        with open(os.path.join(os.fsencode(directory), b"\xff"), "wb"):
            pass
        assert watcher.changed() is None
        (directory / "f").write_bytes(b"")
        assert watcher.changed() == {b"f"}
        directory.chmod(0o700)
        assert watcher.changed() is None
        watcher.close()

    def test_a_sentinel_that_does_not_come(
        self, directory: Path, sentinels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watcher = Watcher(str(directory), str(sentinels))
        watcher.changed()
        monkeypatch.setattr(watching, "SENTINEL_SECONDS", -1.0)
        assert watcher.changed() is None
        watcher.close()

    def test_it_cannot_begin(self, directory: Path, sentinels: Path) -> None:
        with pytest.raises(watching.StorageError, match="leave watching off"):
            Watcher(str(directory), str(sentinels / "missing"))

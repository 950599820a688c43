# SPDX-License-Identifier: MIT
"""Migration: what it does, what it leaves, who may be there, and a crash at each of its calls."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.errors import FormatVersionError, InvalidInputError, LockedError, NotFoundError, StorageError
from casstore.format.superblock import DELTAS, decode_superblock
from casstore.osfile import OsFiles
from casstore.storage import migrating
from casstore.storage.lock import FileLock
from casstore.storage.migrating import STEPS, Step, run_steps
from casstore.testing.faults import Call, FaultyFiles
from tests.compat.stores import check, copy_of, on_disk, write_superblock


@pytest.fixture(params=["segments", "files"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """A store from before deltas, and what is in it."""
    return copy_of(f"format-1/{request.param}", tmp_path)


def features(path: Path) -> int:
    return decode_superblock((path / "superblock").read_bytes()).features


def test_it_says_what_is_there_and_what_is_not(old: tuple[Path, Any]) -> None:
    path, expected = old
    before = on_disk(path)
    report = casstore.migrate(path, dry_run=True)
    assert on_disk(path) == before
    assert (report.dry_run, report.changed, report.missing) == (True, False, ("deltas",))
    assert (report.store_id, report.format_version, report.features) == (expected["store_id"], 1, 0)
    assert report.backend == path_backend(path)
    done = casstore.migrate(str(path))
    assert (done.dry_run, done.changed, done.missing, done.features) == (False, True, (), DELTAS)
    assert [(step.name, step.state) for step in done.steps] == [("deltas", "made")]
    assert features(path) == DELTAS
    with casstore.open(path) as store:
        check(store, expected)


def path_backend(path: Path) -> str:
    return "segments" if (path / "segments").exists() else "files"


def test_where_there_is_nothing_to_do_nothing_is_touched(old: tuple[Path, Any]) -> None:
    path, _ = old
    casstore.migrate(path)
    before = on_disk(path)
    report = casstore.migrate(path)
    assert not report.changed
    assert [step.state for step in report.steps] == ["there"]
    # Not even the lock of a store that somebody writes.
    with casstore.open(path):
        assert not casstore.migrate(path).changed
    (path / "lock").unlink()
    assert not casstore.migrate(path).changed
    assert not (path / "lock").exists()
    assert on_disk(path)["superblock"] == before["superblock"]


def test_only_the_superblock_changes_and_only_its_features(old: tuple[Path, Any]) -> None:
    path, _ = old
    before, block = on_disk(path), decode_superblock((path / "superblock").read_bytes())
    casstore.migrate(path)
    after = on_disk(path)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {".", "lock", "superblock"}
    assert decode_superblock((path / "superblock").read_bytes()) == replace(block, features=DELTAS)
    assert (path / "superblock").stat().st_mode & 0o777 == 0o600


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(NotFoundError):
            casstore.migrate(path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInputError):
        casstore.migrate(":memory:")


def test_a_damaged_superblock_is_for_repair(old: tuple[Path, Any]) -> None:
    path, _ = old
    data = bytearray((path / "superblock").read_bytes())
    data[30] ^= 1
    (path / "superblock").write_bytes(data)
    before = on_disk(path)
    with pytest.raises(casstore.CorruptionError, match="casstore repair"):
        casstore.migrate(path)
    assert on_disk(path) == before


# -- others


def test_a_writer_is_waited_for(old: tuple[Path, Any]) -> None:
    path, _ = old
    store = casstore.open(path)
    with pytest.raises(LockedError) as caught:
        casstore.migrate(path)
    assert caught.value.pid is not None
    assert features(path) == 0
    assert casstore.migrate(path, dry_run=True).missing == ("deltas",)
    timer = threading.Timer(0.1, store.close)
    timer.start()
    assert casstore.migrate(path, timeout=30).changed
    timer.join()


def test_a_reader_goes_on_and_shows_the_same(old: tuple[Path, Any]) -> None:
    path, expected = old
    with casstore.open(path, read_only=True) as reader:
        casstore.migrate(path)
        with casstore.open(path) as writer:
            branch = writer.branch("main")
            branch.files["text.txt"] = branch.files["text.txt"].replace(b"Jack", b"John", 1)
            branch.commit("as a delta", ref="later")
        check(reader, expected)
        assert "later" not in reader.refs
        reader.refresh()
        assert "later" in reader.refs
        assert reader.format_fields["deltas"] is True


def test_who_waits_for_the_lock_meanwhile_opens_what_the_migration_left(
    old: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An opening that goes by the superblock from before may write what the store is not any more."""
    path, _ = old
    first = casstore.open(path)
    opened: list[object] = []

    def wait() -> None:
        try:
            with casstore.open(path, timeout=30) as store:
                opened.append(store.format_fields["deltas"])
        except casstore.CasstoreError as error:
            opened.append(error)

    def race(change: Any) -> object:
        nonlocal first
        thread = threading.Thread(target=wait)
        waiting = threading.Event()
        real = FileLock.__init__

        def noticed(lock: FileLock, *args: Any, **options: Any) -> None:
            if threading.current_thread() is thread:
                waiting.set()
            real(lock, *args, **options)

        monkeypatch.setattr(FileLock, "__init__", noticed)
        thread.start()
        assert waiting.wait(20)
        change()
        first.close()
        thread.join(20)
        monkeypatch.undo()
        return opened.pop()

    # As ``migrate`` does it under the lock, which the writer here has.
    made = race(lambda: migrating._make(str(path), STEPS[0], migrating._read(str(path)), OsFiles()))
    assert made is True
    first = casstore.open(path)
    assert isinstance(race(lambda: write_superblock(path, 16, 8)), FormatVersionError)


def test_two_migrations_at_once_make_it_once(old: tuple[Path, Any]) -> None:
    path, _ = old
    reports: list[casstore.MigrationReport] = []
    threads = [threading.Thread(target=lambda: reports.append(casstore.migrate(path, timeout=30))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.changed for report in reports) == 1
    assert all(report.features == DELTAS for report in reports)


# -- steps to come


def test_steps_are_made_in_order_and_only_those_that_lack(old: tuple[Path, Any]) -> None:
    path, expected = old
    prepared: list[tuple[str, int]] = []

    def later(name: str, bit: int, fails: bool = False) -> Step:
        def prepare(folder: str, files: OsFiles) -> None:
            prepared.append((name, features(Path(folder))))
            if fails:
                raise OSError(errno.ENOSPC, "No space left on device")
            (Path(folder) / f"{name}.made").touch()

        return Step(
            name=name,
            brings="something",
            # Bits that this version does not know would be refused by it; so these are only played.
            is_done=lambda _: (path / f"{name}.done").exists(),
            mark=lambda block: (path / f"{name}.done").touch() or block,  # type: ignore[func-returns-value]
            prepare=prepare,
        )

    steps = [later("first", 2), *STEPS, later("second", 4, fails=True)]
    with pytest.raises(StorageError, match="'second' was not finished"):
        run_steps(str(path), steps, OsFiles())
    # ``mark`` is asked before ``prepare``, but what it says is written after it.
    assert prepared == [("first", 0), ("second", DELTAS)]
    assert features(path) == DELTAS
    (path / "second.done").unlink()
    steps[2] = later("second", 4)
    report = run_steps(str(path), steps, OsFiles())
    assert [(step.name, step.state) for step in report.steps] == [
        ("first", "there"), ("deltas", "there"), ("second", "made"),
    ]  # fmt: skip
    with casstore.open(path) as store:
        check(store, expected)


# -- crashes


class Crash(BaseException):
    """The machine stops before a call."""


@pytest.mark.parametrize("keep_names", [False, True])
@pytest.mark.parametrize("keep_bytes", [0, 40, 96])
def test_a_power_loss_at_any_call_leaves_the_old_or_the_new_one(
    old: tuple[Path, Any], tmp_path: Path, keep_bytes: int, keep_names: bool
) -> None:
    path, expected = old
    seen = set()
    for number in range(1, 100):
        root, lost = tmp_path / f"{number}", tmp_path / f"{number} after"
        shutil.copytree(path, root)
        files = FaultyFiles(str(root))

        def stop(call: Call, limit: int = number, files: FaultyFiles = files) -> None:
            if len(files.calls) == limit:
                raise Crash

        files.before = stop
        try:
            done = run_steps(str(root), STEPS, files).changed
        except Crash:
            done = False
        files.crash_copy(str(lost), keep_bytes=keep_bytes, keep_names=keep_names)
        found = features(lost)
        assert found in (0, DELTAS)
        assert found == DELTAS or not done, "it said that it was made"
        seen.add(found)
        if number == 4:
            with casstore.open(lost) as store:
                check(store, expected)
        assert casstore.migrate(lost).features == DELTAS
        assert not [place for place in lost.iterdir() if place.name.endswith(".tmp")]
        if done:
            break
        if keep_names or keep_bytes:
            continue
    assert done
    assert number > 4
    assert seen == {0, DELTAS}


@pytest.mark.parametrize("name", ["create", "append", "sync", "rename", "sync_folder"])
def test_a_refusal_of_the_system_leaves_a_whole_store(old: tuple[Path, Any], name: str) -> None:
    path, expected = old
    files = FaultyFiles(str(path))
    files.fail(name, error=errno.ENOSPC, partial_bytes=17)
    with pytest.raises(StorageError, match="casstore migrate"):
        run_steps(str(path), STEPS, files)
    assert features(path) in (0, DELTAS)
    assert not (path / "superblock.tmp").exists()
    with casstore.open(path) as store:
        check(store, expected)
    assert casstore.migrate(path).features == DELTAS


def test_it_loads_little() -> None:
    code = (
        "import sys, casstore; casstore.migrate; "
        "print([m for m in ('numpy', 'msgspec', 'logging', 'casstore.branches') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

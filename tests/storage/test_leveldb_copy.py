# SPDX-License-Identifier: MIT
"""Copies of a LevelDB folder: while it changes at any step, across devices, and from damaged folders."""

from __future__ import annotations

import errno
import os
import pathlib
import re
from collections.abc import Callable, Iterator

import plyvel
import pytest

from casstore.errors import CorruptionError, InvalidInputError, LockedError, StorageError
from casstore.storage import leveldb_copy
from casstore.storage.leveldb_copy import copy_index, live_files
from casstore.storage.leveldb_log import BLOCK_BYTES, HEADER_BYTES, records
from casstore.storage.leveldb_manifest import LiveFiles, parse_manifest

OPTIONS = {"write_buffer_size": 1 << 20, "compression": None, "paranoid_checks": True}


class Numbered:
    """A database in this process whose puts are numbered; every one of its states is a prefix of the numbers."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = str(folder)
        self.db = plyvel.DB(self.folder, create_if_missing=True, **OPTIONS)
        self.end = 0

    def put(self, count: int, size: int = 1_000) -> None:
        for _ in range(count):
            self.db.put(b"%08d" % (self.end * 7_919 % 100_003), b"%08d" % self.end + bytes(size))
            self.end += 1

    def flush(self) -> None:
        self.db.compact_range(start=b"a", stop=b"a")

    def tables(self) -> set[int]:
        """The live tables, as LevelDB tells them."""
        text = self.db.get_property(b"leveldb.sstables").decode("latin-1")
        return {int(number) for number in re.findall(r"^ (\d+):", text, re.MULTILINE)}


def _read_numbers(folder: str) -> int:
    db = plyvel.DB(folder, **OPTIONS)
    try:
        numbers = sorted(int(value[:8]) for value in db.iterator(include_key=False, verify_checksums=True))
    finally:
        db.close()
    assert numbers == list(range(len(numbers)))
    return len(numbers)


@pytest.fixture
def numbered(tmp_path: pathlib.Path) -> Iterator[Numbered]:
    database = Numbered(tmp_path / "source")
    yield database
    database.db.close()


@pytest.mark.parametrize("flush", [False, True])
def test_live_tables_are_those_leveldb_names(numbered: Numbered, flush: bool) -> None:
    for _ in range(12):
        numbered.put(500)
        if flush:
            numbered.flush()
    numbered.db.compact_range()
    live = live_files(numbered.folder)
    assert live.tables == numbered.tables()
    assert len(live.tables) > 1
    assert max(live.tables) < live.next_file_number
    assert f"{live.log_number:06d}.log" in os.listdir(numbered.folder)
    assert live.last_sequence == numbered.end


def test_a_manifest_of_many_blocks(numbered: Numbered) -> None:
    for number in range(12):
        numbered.db.put(b"%02d" % number + bytes(5_000), b"")
        numbered.flush()
    numbered.db.compact_range()
    numbered.db.put(b"z" * 40_000, b"")
    numbered.flush()
    manifest = pathlib.Path(numbered.folder, pathlib.Path(numbered.folder, "CURRENT").read_text().strip()).read_bytes()
    assert len(manifest) > 3 * BLOCK_BYTES
    assert parse_manifest(manifest).tables == numbered.tables()


def test_the_copy_is_a_database_of_its_own(numbered: Numbered, tmp_path: pathlib.Path) -> None:
    numbered.put(5_000)
    target = str(tmp_path / "copy")
    copy_index(numbered.folder, target)
    table = f"{min(live_files(target).tables):06d}.ldb"
    assert os.path.samefile(os.path.join(numbered.folder, table), os.path.join(target, table))
    copy = plyvel.DB(target, **OPTIONS)
    for number in range(20_000):
        copy.put(b"%08d" % number, b"x" * 200)
    copy.compact_range()
    copy.close()
    numbered.put(5_000)
    numbered.db.close()
    assert _read_numbers(numbered.folder) == numbered.end


def test_only_live_tables_are_linked(numbered: Numbered, tmp_path: pathlib.Path) -> None:
    """A table that the writer is writing, and one that is no longer needed, have no place in a copy."""
    numbered.put(3_000)
    numbered.db.close()
    live = live_files(numbered.folder)
    others = [1, *range(live.next_file_number, live.next_file_number + 20)]
    for number in others:
        pathlib.Path(numbered.folder, f"{number:06d}.ldb").write_bytes(b"half a table")
    target = str(tmp_path / "copy")
    copy_index(numbered.folder, target)
    assert {int(name[:6]) for name in os.listdir(target) if name.endswith(".ldb")} == live.tables
    assert _read_numbers(target) == numbered.end
    for number in others:
        assert pathlib.Path(numbered.folder, f"{number:06d}.ldb").read_bytes() == b"half a table"


def test_tables_with_the_old_ending(numbered: Numbered, tmp_path: pathlib.Path) -> None:
    numbered.put(3_000)
    numbered.db.close()
    for name in os.listdir(numbered.folder):
        if name.endswith(".ldb"):
            os.rename(os.path.join(numbered.folder, name), os.path.join(numbered.folder, name[:-3] + "sst"))
    copy_index(numbered.folder, str(tmp_path / "copy"))
    assert any(name.endswith(".sst") for name in os.listdir(tmp_path / "copy"))
    assert _read_numbers(str(tmp_path / "copy")) == numbered.end


STEPS = {"list": (os, "listdir"), "link": (os, "link"), "copy": (leveldb_copy, "_copy_file")}


@pytest.mark.parametrize("puts", [1, 900, 1_500, 4_000])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", list(STEPS))
def test_writes_at_any_step(
    numbered: Numbered, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str, puts: int
) -> None:
    """In the first three tries the writer moves on at one step: by one put, to a new log, to new tables."""
    numbered.put(3_500)
    before = numbered.end
    module, name = STEPS[step]
    real = getattr(module, name)
    calls = 0

    def hooked(*arguments: str) -> object:
        nonlocal calls
        calls += 1
        if when == "before" and calls <= 3:
            numbered.put(puts)
        result = real(*arguments)
        if when == "after" and calls <= 3:
            numbered.put(puts)
        return result

    monkeypatch.setattr(module, name, hooked)
    target = str(tmp_path / "copy")
    copy_index(numbered.folder, target)
    monkeypatch.undo()
    assert calls > 0
    assert before <= _read_numbers(target) <= numbered.end


def test_a_log_that_follows_a_cut_one_is_left_out(
    numbered: Numbered, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two logs with a cut in the first would be a gap: LevelDB goes on to the next log and says nothing."""
    numbered.put(1)
    real = leveldb_copy._copy_file
    cut: list[str] = []

    def hooked(source: str, target: str) -> None:
        real(source, target)
        if source.endswith(".log"):
            cut.append(source)
            if len(cut) == 1:
                successor = os.path.join(os.path.dirname(source), "000999.log")
                pathlib.Path(successor).write_bytes(pathlib.Path(source).read_bytes())

    monkeypatch.setattr(leveldb_copy, "_copy_file", hooked)
    copy_index(numbered.folder, str(tmp_path / "copy"))
    assert len(cut) == 1
    assert "000999.log" not in os.listdir(tmp_path / "copy")


def test_two_logs_are_copied_whole_and_in_order(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while LevelDB writes the first one's records to a table, and the second takes new ones."""
    source = Numbered(tmp_path / "source")
    source.put(300)
    copy_index(source.folder, str(tmp_path / "later"))
    source.db.close()
    later = Numbered(tmp_path / "later")
    later.end = 300
    later.put(300)
    later.db.close()
    first, second = (live_files(database.folder).log_number for database in (source, later))
    (tmp_path / "later" / f"{second:06d}.log").rename(tmp_path / "source" / "000090.log")
    order: list[str] = []
    real = leveldb_copy._copy_file

    def hooked(path: str, target: str) -> None:
        order.append(os.path.basename(path))
        real(path, target)

    monkeypatch.setattr(leveldb_copy, "_copy_file", hooked)
    copy_index(source.folder, str(tmp_path / "copy"))
    assert order == [f"{first:06d}.log", "000090.log"]
    assert _read_numbers(str(tmp_path / "copy")) == 600


def test_a_log_cut_at_any_length_gives_a_prefix(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"
    database = Numbered(source)
    database.put(60, size=1_500)
    copy_index(str(source), str(tmp_path / "whole"))
    database.db.close()
    folder = tmp_path / "whole"
    log = folder / f"{live_files(str(folder)).log_number:06d}.log"
    whole = log.read_bytes()
    assert len(whole) > 2 * BLOCK_BYTES
    seen = set()
    for number, length in enumerate([*range(0, len(whole), 1_777), BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 3]):
        log.write_bytes(whole[:length])
        target = str(tmp_path / f"copy{number}")
        copy_index(str(folder), target)
        seen.add(_read_numbers(target))
    assert len(seen) > 40


def test_a_writer_that_is_always_faster(
    numbered: Numbered, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir

    def hooked(folder: str) -> list[str]:
        if folder == numbered.folder:
            numbered.put(1)
            numbered.flush()
        return real(folder)

    monkeypatch.setattr(os, "listdir", hooked)
    monkeypatch.setattr(leveldb_copy, "_LONGEST_PAUSE_SECONDS", 0)
    monkeypatch.setattr(leveldb_copy, "_TRIES", 5)
    with pytest.raises(LockedError, match="try again"):
        copy_index(numbered.folder, str(tmp_path / "copy"))
    assert not os.path.exists(tmp_path / "copy")


def _at_first_log(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[str]:
    """Runs ``action`` before the first file is copied; what is returned will tell the files copied."""
    real = leveldb_copy._copy_file
    copied: list[str] = []

    def hooked(source: str, target: str) -> None:
        if not copied:
            action()
        copied.append(os.path.basename(source))
        real(source, target)

    monkeypatch.setattr(leveldb_copy, "_copy_file", hooked)
    return copied


def test_a_rebuilt_index_starts_over(
    numbered: Numbered, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file numbers, other tables: nothing of the first try may stay."""
    numbered.put(3_500)
    numbered.db.close()
    other = Numbered(tmp_path / "other")
    other.put(5_000, size=900)
    other.db.close()

    def swap() -> None:
        os.rename(numbered.folder, tmp_path / "old")
        os.rename(other.folder, numbered.folder)

    _at_first_log(monkeypatch, swap)
    copy_index(numbered.folder, str(tmp_path / "copy"))
    assert _read_numbers(str(tmp_path / "copy")) == other.end


def test_current_moves_on_while_the_old_manifest_stays(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    path, manifest = _small_manifest(source)

    def move() -> None:
        (source / "MANIFEST-000900").write_bytes(manifest)
        (source / "CURRENT").write_bytes(b"MANIFEST-000900\n")

    _at_first_log(monkeypatch, move)
    copy_index(str(source), str(tmp_path / "copy"))
    assert path.exists()
    assert (tmp_path / "copy" / "CURRENT").read_bytes() == b"MANIFEST-000900\n"
    assert _read_numbers(str(tmp_path / "copy")) == 20


def test_another_manifest_of_the_same_length(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    path, manifest = _small_manifest(source)

    def replace() -> None:
        (source / "new").write_bytes(manifest)
        os.replace(source / "new", path)

    copied = _at_first_log(monkeypatch, replace)
    copy_index(str(source), str(tmp_path / "copy"))
    assert len(copied) == 2
    assert len(set(copied)) == 1


def test_current_moves_on_before_its_manifest_is_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    _small_manifest(source)
    real = leveldb_copy._read_current
    stale = [b"MANIFEST-000001\n", b"MANIFEST-000003\n"]
    monkeypatch.setattr(leveldb_copy, "_read_current", lambda folder: stale.pop() if stale else real(folder))
    copy_index(str(source), str(tmp_path / "copy"))
    assert stale == []
    assert _read_numbers(str(tmp_path / "copy")) == 20


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_tables_are_copied_where_they_cannot_be_linked(
    numbered: Numbered, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    numbered.put(5_000)

    def refuse(source: str, target: str) -> None:
        raise OSError(code, os.strerror(code), source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    target = str(tmp_path / "copy")
    copy_index(numbered.folder, target)
    table = f"{min(live_files(target).tables):06d}.ldb"
    assert os.stat(os.path.join(target, table)).st_nlink == 1
    assert _read_numbers(target) == numbered.end


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_across_devices(numbered: Numbered, tmp_path: pathlib.Path) -> None:
    import tempfile

    numbered.put(3_000)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if os.stat(folder).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("/dev/shm is the file system of the temporary folder")
        copy_index(numbered.folder, os.path.join(folder, "copy"))
        assert _read_numbers(os.path.join(folder, "copy")) == numbered.end


def test_a_full_disk(numbered: Numbered, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered.put(3_000)

    def refuse(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr(leveldb_copy, "_copy_file", refuse)
    with pytest.raises(StorageError, match="free space"):
        copy_index(numbered.folder, str(tmp_path / "copy"))
    assert not os.path.exists(tmp_path / "copy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError):
        copy_index(numbered.folder, str(tmp_path / "empty"))
    assert os.listdir(tmp_path / "empty") == []


def test_targets(numbered: Numbered, tmp_path: pathlib.Path) -> None:
    numbered.put(1)
    (tmp_path / "empty").mkdir()
    copy_index(numbered.folder, str(tmp_path / "empty"))
    assert _read_numbers(str(tmp_path / "empty")) == 1
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InvalidInputError):
        copy_index(numbered.folder, str(tmp_path / "full"))
    with pytest.raises(InvalidInputError):
        copy_index(numbered.folder, str(tmp_path / "full" / "file"))
    assert os.listdir(tmp_path / "full") == ["file"]
    with pytest.raises(StorageError):
        copy_index(numbered.folder, str(tmp_path / "none" / "copy"))


def _break_table(folder: pathlib.Path) -> None:
    min(folder.glob("*.ldb")).unlink()


def _break_log(folder: pathlib.Path) -> None:
    min(folder.glob("*.log")).unlink()


def _break_manifest(folder: pathlib.Path) -> None:
    min(folder.glob("MANIFEST-*")).unlink()


def _empty(folder: pathlib.Path) -> None:
    for path in folder.iterdir():
        path.unlink()


BREAKS: dict[str, tuple[Callable[[pathlib.Path], object], str]] = {
    "no CURRENT": (lambda folder: (folder / "CURRENT").unlink(), "no CURRENT"),
    "empty CURRENT": (lambda folder: (folder / "CURRENT").write_bytes(b""), "names no MANIFEST"),
    "CURRENT without its newline": (lambda folder: (folder / "CURRENT").write_bytes(b"MANIFEST-000002"), "names no"),
    "CURRENT that leaves": (lambda folder: (folder / "CURRENT").write_bytes(b"../MANIFEST-000002\n"), "names no"),
    "CURRENT to nothing": (lambda folder: (folder / "CURRENT").write_bytes(b"MANIFEST-009999\n"), "9999 is missing"),
    "no MANIFEST": (_break_manifest, "is missing"),
    "empty MANIFEST": (lambda folder: min(folder.glob("MANIFEST-*")).write_bytes(b""), "states no log number"),
    "huge MANIFEST": (lambda folder: os.truncate(min(folder.glob("MANIFEST-*")), 1 << 40), "is longer than"),
    "no table": (_break_table, "table .* is missing"),
    "no log": (_break_log, "log .* is missing"),
    "nothing": (_empty, "no CURRENT"),
}


@pytest.mark.parametrize("name", list(BREAKS))
def test_damaged_folders(numbered: Numbered, tmp_path: pathlib.Path, name: str) -> None:
    numbered.put(3_000)
    numbered.db.close()
    damage, message = BREAKS[name]
    damage(pathlib.Path(numbered.folder))
    with pytest.raises(CorruptionError, match=message) as caught:
        copy_index(numbered.folder, str(tmp_path / "copy"))
    assert "open the store for writing" in str(caught.value)
    assert not os.path.exists(tmp_path / "copy")


def test_no_source(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CorruptionError, match="no CURRENT"):
        copy_index(str(tmp_path / "none"), str(tmp_path / "copy"))
    assert os.listdir(tmp_path) == []


def _small_manifest(folder: pathlib.Path) -> tuple[pathlib.Path, bytes]:
    """A closed database whose MANIFEST has several edits, and that MANIFEST."""
    database = Numbered(folder)
    for _ in range(3):
        database.put(5, size=10)
        database.flush()
    database.put(5, size=10)
    database.db.close()
    path = folder / (folder / "CURRENT").read_text().strip()
    return path, path.read_bytes()


def test_a_flipped_byte_of_the_manifest_never_gives_other_data(tmp_path: pathlib.Path) -> None:
    """Why no checksum is computed here: a copy that LevelDB opens is the right one."""
    source = tmp_path / "source"
    path, manifest = _small_manifest(source)
    tables = {table: table.read_bytes() for table in source.glob("*.ldb")}
    refused = 0
    for position in range(len(manifest)):
        damaged = bytearray(manifest)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        target = str(tmp_path / f"copy{position}")
        try:
            copy_index(str(source), target)
            assert _read_numbers(target) == 20
        except (CorruptionError, plyvel.Error):
            refused += 1
    assert refused > 0.95 * len(manifest)
    assert {table: table.read_bytes() for table in source.glob("*.ldb")} == tables


def test_a_manifest_cut_at_every_length(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"
    path, manifest = _small_manifest(source)
    edits = list(records(manifest))
    assert len(edits) >= 5
    ends = [0]
    for edit in edits:
        ends.append(ends[-1] + HEADER_BYTES + len(edit))
    assert ends[-1] == len(manifest)
    seen: set[LiveFiles] = set()
    refusals: set[str] = set()
    for length in range(len(manifest)):
        whole = max(end for end in ends if end <= length)
        try:
            live = parse_manifest(manifest[:length])
        except CorruptionError:
            assert whole <= ends[1]
            with pytest.raises(CorruptionError):
                parse_manifest(manifest[:whole])
            continue
        assert live == parse_manifest(manifest[:whole])
        seen.add(live)
        path.write_bytes(manifest[:length])
        target = str(tmp_path / f"copy{length}")
        try:
            copy_index(str(source), target)
        except CorruptionError as error:
            refusals.add(re.sub(r"[0-9]+", "N", str(error).split(": ")[1].split(";")[0]))
            continue
        assert _read_numbers(target) == 20
    assert len(seen) >= len(edits) - 2
    assert refusals <= {"log N is missing", "table N is missing, and N more"}

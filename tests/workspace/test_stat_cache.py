# SPDX-License-Identifier: MIT
"""When the stat cache of a directory holds, when it is void, and that it never costs more than time."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

import casstore
from casstore import layout
from casstore.address import content_address
from casstore.errors import CorruptionError, ReadOnlyError, StorageError
from casstore.format.stat_cache import cache_key, decode_head, encode_folder, folder_key, head_key
from casstore.workspace import import_directory
from casstore.workspace.scanning.scan import Scan
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import Selection
from tests.workspace.trees import write_tree

SETTLE_SECONDS = 0.03


@pytest.fixture
def top(tmp_path: Path) -> Path:
    write_tree(tmp_path / "in", {b"a": b"1" * 500, b"d/b": b"2" * 600, b"d/e/c": b"tiny", b"f": None})
    time.sleep(SETTLE_SECONDS)
    return tmp_path / "in"


def identity(top: Path) -> bytes:
    status = top.stat()
    return cache_key(status.st_dev, status.st_ino)


def saved(store: casstore.Store, top: Path) -> dict[bytes, bytes]:
    return dict(store.storage.backend.cache(identity(top)))


def cache_of(store: casstore.Store, top: Path) -> StatCache:
    cache = StatCache(store, str(top), top.stat())
    cache.load()
    return cache


def files_read(store: casstore.Store, top: Path, **options: object) -> int:
    """How many files an import reads; its result must be that of one that knows nothing."""
    done: list[int] = []
    report = import_directory(
        store,
        top,
        ref="main",
        progress=lambda phase, read, total: done.append(read),
        **options,  # type: ignore[arg-type]
    )
    options.pop("paranoid", None)
    with casstore.open(":memory:") as other:
        fresh = import_directory(other, top, ref="main", **options)  # type: ignore[arg-type]
    assert dict(report.snapshot.roots) == dict(fresh.snapshot.roots)
    assert report.left_out == fresh.left_out
    return done[-1]


# -- when it holds


def test_it_holds_for_the_next_import_and_over_a_reopening(disk_store: casstore.Store, top: Path) -> None:
    assert files_read(disk_store, top) == 3
    assert files_read(disk_store, top) == 0
    path = disk_store.path
    disk_store.close()
    with casstore.open(path) as store:
        assert files_read(store, top) == 0
        (top / "d" / "b").write_bytes(b"3")
        assert files_read(store, top) == 1
        assert files_read(store, top, paranoid=True) == 3


def test_it_moves_with_its_directory(store: casstore.Store, top: Path) -> None:
    files_read(store, top)
    moved = top.with_name("moved")
    top.rename(moved)
    assert files_read(store, moved) == 0
    link = top.with_name("link")
    link.symlink_to(moved)
    assert files_read(store, link) == 0
    # A symlink to it is no other place.
    assert cache_of(store, link).in_place


def test_place_tells_where_the_directory_lay(store: casstore.Store, top: Path) -> None:
    files_read(store, top)
    assert cache_of(store, top).in_place
    moved = top.with_name("moved")
    top.rename(moved)
    assert not cache_of(store, moved).in_place


def test_an_import_without_a_ref_uses_it_and_leaves_it(store: casstore.Store, top: Path) -> None:
    import_directory(store, top)
    assert saved(store, top) == {}
    files_read(store, top)
    before = saved(store, top)
    (top / "a").write_bytes(b"4")
    import_directory(store, top)
    assert saved(store, top) == before


def test_two_directories_do_not_meet(store: casstore.Store, top: Path, tmp_path: Path) -> None:
    shutil.copytree(top, tmp_path / "other")
    files_read(store, top)
    assert files_read(store, tmp_path / "other") == 3
    assert files_read(store, top) == 0
    # A folder of a directory is a directory of its own.
    assert files_read(store, top / "d") == 2
    assert files_read(store, top) == 0


def test_only_what_changed_is_written(store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files_read(store, top)
    written: list[dict[bytes, bytes | None]] = []
    put_cache = store.storage.backend.put_cache

    def put(changes: dict[bytes, bytes | None]) -> None:
        written.append(dict(changes))
        put_cache(changes)

    monkeypatch.setattr(store.storage.backend, "put_cache", put)
    files_read(store, top)
    assert written == []
    (top / "d" / "e" / "c").unlink()
    files_read(store, top)
    assert [sorted(changes) for changes in written] == [[head_key(identity(top)), folder_key(identity(top), b"d/e/")]]
    shutil.rmtree(top / "d")
    files_read(store, top)
    assert {key for key, value in written[1].items() if value is None} == {
        folder_key(identity(top), prefix) for prefix in (b"d/", b"d/e/")
    }
    assert sorted(saved(store, top)) == [
        head_key(identity(top)),
        folder_key(identity(top), b""),
        folder_key(identity(top), b"f/"),
    ]


# -- when it is void


def test_another_selection_or_metadata_makes_it_void(store: casstore.Store, top: Path) -> None:
    chosen = Selection(ignore="git")
    assert files_read(store, top) == 3
    assert files_read(store, top, selection=chosen) == 3
    assert files_read(store, top, selection=chosen) == 0
    assert files_read(store, top, selection=chosen, metadata="full") == 3
    assert files_read(store, top, selection=chosen, metadata="full") == 0
    # Who knows all metadata knows enough for an import without.
    assert files_read(store, top, selection=chosen) == 0
    assert files_read(store, top, selection=chosen, metadata="full") == 3


def test_it_is_void_once_its_snapshot_was_collected(disk_store: casstore.Store, top: Path) -> None:
    assert files_read(disk_store, top) == 3
    del disk_store.refs["main"]
    disk_store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    assert cache_of(disk_store, top).snapshot is None
    assert files_read(disk_store, top) == 3
    disk_store.verify()


def test_its_snapshot_stays_while_an_import_relies_on_it(disk_store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"many/%d" % number: b"%d" % number * 100 for number in range(300)})
    files_read(disk_store, top)
    del disk_store.refs["main"]
    (top / "a").write_bytes(b"new")
    done: list[int] = []

    def collect(*_: object) -> None:
        if not done:
            disk_store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
            done.append(1)

    import_directory(disk_store, top, ref="other", progress=collect)
    assert done == [1]
    disk_store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    disk_store.verify()
    assert disk_store.refs["other"].files["many/7"] == b"7" * 100


def test_it_is_gone_with_the_index(disk_store: casstore.Store, top: Path) -> None:
    files_read(disk_store, top)
    path = disk_store.path
    disk_store.close()
    shutil.rmtree(os.path.join(path, "index"))
    with casstore.open(path) as store:
        assert saved(store, top) == {}
        assert files_read(store, top) == 3
        assert files_read(store, top) == 0


def test_a_read_only_store_reads_it_and_writes_nothing(disk_store: casstore.Store, top: Path) -> None:
    files_read(disk_store, top)
    before = saved(disk_store, top)
    snapshot = disk_store.refs["main"]
    path = disk_store.path
    disk_store.close()
    with casstore.open(path, read_only=True) as store:
        cache = cache_of(store, top)
        assert cache.snapshot is not None
        assert cache.snapshot.id == snapshot.id
        assert sorted(cache.records) == [b"", b"d/", b"d/e/", b"f/"]
        with pytest.raises(ReadOnlyError):
            store.storage.backend.put_cache({b"key": b"value"})
        assert saved(store, top) == before


def test_a_malformed_record_makes_it_void(store: casstore.Store, top: Path) -> None:
    files_read(store, top)
    for key, value in saved(store, top).items():
        for wrong in (b"", value[:-1], value + b"\0x", b"\xff" + value[1:], value[: len(value) // 2]):
            store.storage.backend.put_cache({key: wrong})
            assert cache_of(store, top).records == {}, (key, wrong)
            assert files_read(store, top) == 3
            assert saved(store, top).keys() == {head_key(identity(top)), *keys_of(top)}
            assert files_read(store, top) == 0


def keys_of(top: Path) -> set[bytes]:
    return {folder_key(identity(top), prefix) for prefix in (b"", b"d/", b"d/e/", b"f/")}


def test_a_record_with_a_changed_byte_never_costs_a_file(store: casstore.Store, top: Path) -> None:
    """Such bytes come from no disk: LevelDB compares its checksums. What is asked of them is a way out."""
    files_read(store, top)
    sound = saved(store, top)
    keys = sorted(set(sound) - {head_key(identity(top))})
    for key in keys:
        for place in range(0, len(sound[key]), 3):
            changed = bytearray(sound[key])
            changed[place] ^= 1 << (place % 8)
            store.storage.backend.put_cache({**sound, key: bytes(changed)})
            try:
                import_directory(store, top)
            except casstore.CasstoreError:
                pass
            assert import_directory(store, top, paranoid=True).snapshot.state_id == store.refs["main"].state_id
    store.storage.backend.put_cache(dict(sound))
    assert files_read(store, top) == 0


def test_a_name_in_a_record_leads_nowhere_else(store: casstore.Store, top: Path) -> None:
    (top.parent / "secret").write_bytes(b"secret")
    files_read(store, top)
    cache = cache_of(store, top)
    cache.records[b"d/"].members[0] = b"../../secret"
    store.storage.backend.put_cache({folder_key(identity(top), b"d/"): encode_folder(cache.records[b"d/"])})
    assert files_read(store, top) == 3
    assert list(store.refs["main"].files) == ["a", "d/b", "d/e/c"]


def test_a_paranoid_import_believes_nothing(store: casstore.Store, top: Path) -> None:
    files_read(store, top)
    record = cache_of(store, top).records[b"d/"]
    del record.members[0], record.stats[0]
    store.storage.backend.put_cache({folder_key(identity(top), b"d/"): encode_folder(record)})
    (top / "d" / "b").unlink()
    assert files_read(store, top, paranoid=True) == 2
    assert files_read(store, top) == 0


def test_another_directory_with_the_same_inode_is_read(store: casstore.Store, top: Path) -> None:
    files_read(store, top)
    records = saved(store, top)
    cut = len(identity(top))
    other = top.with_name("other")
    write_tree(other, {b"a": b"9" * 500, b"d/b": b"8" * 600, b"d/z": b"7", b"f/g": b"6"})
    # As if the file system had given it the inode that the first one had.
    store.storage.backend.put_cache({identity(other) + key[cut:]: value for key, value in records.items()})
    assert files_read(store, other) == 4
    assert not cache_of(store, top).records.keys() - {b"", b"d/", b"d/e/", b"f/"}


def test_a_freed_inode_is_met_again(store: casstore.Store, tmp_path: Path) -> None:
    seen = set()
    for number in range(20):
        write_tree(tmp_path / "in", {b"a": b"%d" % number, b"d/%d" % (number % 3): b"x"})
        seen.add((tmp_path / "in").stat().st_ino)
        files_read(store, tmp_path / "in")
        shutil.rmtree(tmp_path / "in")
    if len(seen) == 20:
        pytest.skip("this file system gave no inode twice")


def test_damage_makes_it_void_so_that_an_import_heals(disk_store: casstore.Store, top: Path) -> None:
    content = os.urandom(3000)
    (top / "a").write_bytes(content)
    time.sleep(SETTLE_SECONDS)
    files_read(disk_store, top)
    place = disk_store.storage.locate(content_address(content))
    path = disk_store.path
    disk_store.close()
    with (Path(path) / layout.SEGMENTS / layout.segment_name(place.segment)).open("r+b") as segment:
        segment.seek(place.offset + 100)
        segment.write(b"damage")
    with casstore.open(path) as store:
        with pytest.raises(CorruptionError):
            store.verify()
        assert files_read(store, top) == 3
        store.verify()
        assert store.refs["main"].files["a"] == content
        assert files_read(store, top) == 0


# -- several at once, and failures


def test_records_of_two_snapshots_are_never_mixed(store: casstore.Store, top: Path) -> None:
    """One import ends while another is under way; what only the first one saw must not count as seen."""
    files_read(store, top)
    both = threading.Barrier(2, timeout=20)
    late: list[BaseException] = []

    def first() -> None:
        passed: list[int] = []

        def wait(*_: object) -> None:
            # After the last folder: "d/b" was looked at and is as it was.
            passed.append(1)
            if len(passed) == 4:
                both.wait()
                both.wait()

        try:
            import_directory(store, top, ref="slow", progress=wait)
        except BaseException as error:
            late.append(error)
            raise

    thread = threading.Thread(target=first)
    thread.start()
    both.wait()
    (top / "d" / "b").write_bytes(b"9" * 600)
    write_tree(top, {b"g/h": b"1"})
    time.sleep(SETTLE_SECONDS)
    import_directory(store, top, ref="quick")
    time.sleep(SETTLE_SECONDS)
    import_directory(store, top, ref="quick")
    both.wait()
    thread.join()
    assert not late
    assert store.refs["slow"].files["d/b"] == b"2" * 600
    assert sorted(saved(store, top)) == sorted([head_key(identity(top)), *keys_of(top)])
    assert files_read(store, top) >= 2


def test_a_folder_moved_out_and_in_again_is_there(store: casstore.Store, top: Path) -> None:
    """Its files keep all their times: only the records say whether the snapshot has them."""
    files_read(store, top)
    (top / "d").rename(top.with_name("aside"))
    files_read(store, top)
    top.with_name("aside").rename(top / "d")
    assert files_read(store, top) == 2


def test_a_cache_that_cannot_be_written_is_no_failure(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_read(store, top)

    def full(changes: object) -> None:
        raise StorageError("the index cannot be written.")

    (top / "a").write_bytes(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(store.storage.backend, "put_cache", full)
        report = import_directory(store, top, ref="main")
    assert report.moved
    assert store.refs["main"].files["a"] == b"new"
    assert files_read(store, top) == 1


def test_after_a_failed_write_everything_is_written(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_read(store, top)
    cache = cache_of(store, top)
    snapshot = store.refs["main"]

    def full(changes: object) -> None:
        raise StorageError("the index cannot be written.")

    cache.records[b"d/"].listed = False
    with monkeypatch.context() as patch:
        patch.setattr(store.storage.backend, "put_cache", full)
        cache.save(snapshot, Selection(), {b"d/"})
    cache.save(snapshot, Selection(), set())
    assert not cache_of(store, top).records[b"d/"].listed


@pytest.mark.parametrize("nanoseconds", [2**63 + 10**9, -(2**63) - 10**9], ids=["2262", "1677"])
def test_a_time_that_no_record_can_hold_is_no_failure(store: casstore.Store, top: Path, nanoseconds: int) -> None:
    for path in (top / "a", top / "d"):
        os.utime(path, ns=(0, nanoseconds))
        if path.stat().st_mtime_ns != nanoseconds:
            pytest.skip("this file system keeps no such time")
    files_read(store, top)
    assert files_read(store, top) >= 1


def test_a_failed_import_leaves_the_cache_as_it_was(store: casstore.Store, top: Path) -> None:
    files_read(store, top)
    before = saved(store, top)
    (top / "a").write_bytes(b"new")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_directory(store, top, ref="main", progress=fail)
    assert saved(store, top) == before
    assert files_read(store, top) == 1


def test_the_head_says_what_it_is_about(store: casstore.Store, top: Path) -> None:
    chosen = Selection(ignore="git", keep_git=False)
    snapshot = import_directory(store, top, ref="main", metadata="full", selection=chosen).snapshot
    head = decode_head(saved(store, top)[head_key(identity(top))])
    assert (head.snapshot, head.selection, head.posix) == (snapshot.id, chosen.digest(), True)
    assert len({Selection(ignore=i, keep_git=g).digest() for i in ("nothing", "git") for g in (True, False)}) == 4


def test_records_are_of_the_directory(store: casstore.Store, top: Path) -> None:
    os.mkfifo(top / "fifo")
    time.sleep(SETTLE_SECONDS)
    import_directory(store, top, ref="main")
    records = cache_of(store, top).records
    assert {prefix: (record.members, record.folders) for prefix, record in records.items()} == {
        b"": ([b"a"], [b"d", b"f"]),
        b"d/": ([b"b"], [b"e"]),
        b"d/e/": ([b"c"], []),
        b"f/": ([], []),
    }
    assert [name for name, _ in records[b""].left_out] == [b"fifo"]
    scan = Scan(str(top), exclude=None)
    try:
        assert records[b""].inode == scan.status.st_ino
    finally:
        scan.close()

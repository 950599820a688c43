# SPDX-License-Identifier: MIT
"""What losing power at many points has found, each as small as it can be made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import casstore
from casstore.format.index_entry import SUSPECT
from casstore.testing.faults import Call, FaultyFiles
from casstore.testing.model import noise
from tests.power_loss.check import config_of
from tests.power_loss.unfinished import BLOCK, lose, newest, open_with, unfinished_commit


@pytest.mark.parametrize(
    "backend",
    [
        "segments",
        "files",
    ],
)
def test_a_collection_cut_short_leaves_no_content_in_parts(backend: str, tmp_path: Path) -> None:
    """A content is there or not; never there by its address and gone when it is read."""
    contents = [noise(5000 + number, number) for number in range(6)]
    with casstore.open(tmp_path / "store", config=config_of(backend)) as store:
        addresses = [store.put(data) for data in contents]
    left: list[Path] = []

    def copy(call: Call) -> None:
        if call.name == "unlink" and call.path.startswith(str(tmp_path / "store")):
            left.append(tmp_path / f"left{len(left)}")
            shutil.copytree(tmp_path / "store", left[-1])

    files = FaultyFiles(str(tmp_path / "store"))
    with open_with(tmp_path / "store", backend, files) as store:
        files.before = copy
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        files.before = None
    assert len(left) >= 3
    for path in left:
        with casstore.open(path, config=config_of(backend)) as store:
            for address, data in zip(addresses, contents, strict=True):
                assert address not in store or store.get(address) == data


@pytest.mark.parametrize(
    "backend",
    [
        "segments",
        "files",
    ],
)
def test_an_index_that_was_removed_stays_away(backend: str, tmp_path: Path) -> None:
    """A file system may forget that a folder was removed and made anew, unless the folder above is synced.

    The old index was closed in order, and a store with a file per object believes it: moves since then would be gone.
    """
    path = tmp_path / "store"
    with casstore.open(path, config=config_of(backend)) as store:
        store.put(noise(700, 1))
    shutil.rmtree(path / "index")
    files = FaultyFiles(str(path))
    with open_with(path, backend, files) as store:
        assert any(call.name == "sync_folder" and call.path == str(path) for call in files.calls)
        assert store.get(store.put(noise(700, 1))) == noise(700, 1)


def test_no_ref_moves_to_a_state_of_which_a_block_was_lost(tmp_path: Path) -> None:
    """The index has to be made anew after a power loss that left a hole in what was appended last."""
    path = unfinished_commit(tmp_path)
    segment = newest(path)
    whole = segment.read_bytes()
    assert len(whole) > 6 * BLOCK
    seen = set()
    for start in range(0, len(whole), BLOCK):
        shutil.rmtree(path / "index", ignore_errors=True)
        segment.write_bytes(whole)
        lose(segment, start)
        with casstore.open(path, config=config_of("segments")) as store:
            snapshot = store.refs["main"]
            seen.add((snapshot.message, len(dict(snapshot.files))))
            store.verify()
    assert seen == {("one", 1)}


def test_an_opening_makes_the_name_of_the_index_durable(tmp_path: Path) -> None:
    """Else CURRENT may name a MANIFEST that is gone, and the index has to be made anew over a torn end."""
    path = tmp_path / "store"
    with casstore.open(path, config=config_of("segments")) as store:
        store.put(noise(700, 1))
    files = FaultyFiles(str(path))
    with open_with(path, "segments", files) as store:
        assert any(call.name == "sync_folder" and call.path == str(path / "index") for call in files.calls)
        assert store.storage.backend.fact(SUSPECT) is None


def test_what_a_collection_removed_does_not_come_back_with_an_older_index(tmp_path: Path) -> None:
    """LevelDB may lose its latest batches, those of a collection among them; the moves that it removed stay away."""
    path, config = tmp_path / "store", config_of("segments")
    with casstore.open(path, config=config) as store:
        for seed, name in enumerate(("main", "gone")):
            branch = store.branch()
            branch.files["a"] = noise(3000, seed)
            store.refs[name] = branch.commit(name)
        del store.refs["gone"], branch
    shutil.copytree(path / "index", tmp_path / "older")
    with casstore.open(path, config=config) as store:
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    shutil.rmtree(path / "index")
    (tmp_path / "older").rename(path / "index")
    with casstore.open(path, config=config) as store:
        assert [*store.refs] == ["main"]
        store.verify()


def test_a_segment_that_a_killed_collection_removed_stays_away(tmp_path: Path) -> None:
    """The next opening forgets it; so its removal must be durable by then, or a power loss brings dead lists back."""
    path, left = tmp_path / "store", tmp_path / "left"
    with casstore.open(path, config=config_of("segments")) as store:
        for number in range(6):
            store.put(noise(5000 + number, number))
    removed: dict[Path, bytes] = {}

    def kill(call: Call) -> None:
        if call.name == "unlink" and call.path.endswith(".seg") and not removed:
            name = Path(call.path).relative_to(path)
            removed[name] = (path / name).read_bytes()
            shutil.copytree(path, left)
            (left / name).unlink()

    files = FaultyFiles(str(path))
    with open_with(path, "segments", files) as store:
        files.before = kill
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        files.before = None
    assert len(removed) == 1
    synced: list[str] = []

    def watch(call: Call) -> None:
        if call.name == "sync_folder":
            synced.append(call.path)

    files = FaultyFiles(str(left), watch)
    with open_with(left, "segments", files) as store:
        store.verify()
    assert str(left / "segments") in synced

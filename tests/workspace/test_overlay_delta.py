# SPDX-License-Identifier: MIT
"""Deltas that are written into an upper folder before it is mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import casstore
from casstore.errors import CorruptionError
from casstore.format.entry import file_entry
from casstore.tree import Change, apply, build
from casstore.workspace.overlay import small_delta
from casstore.workspace.scanning.fingerprint import fingerprint_of
from tests.workspace.overlays import (
    DEEP,
    MakeOverlay,
    Overlay,
    mounted,
    overlay_of,
    root_of,
)
from tests.workspace.trees import write_tree


def test_a_removed_folder_is_one_whiteout(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    wanted = apply(overlay.store.nodes, overlay.root, [(b"a/b/c/f", None), (b"a/b/g", None)], tree=True)
    changes = small_delta(overlay.store.nodes, overlay.root, wanted)
    assert changes is not None
    overlay.upper.write(overlay.store, changes, base=str(overlay.base), root=wanted)
    assert os.listdir(overlay.upper.path + "/a") == ["b"]
    assert overlay.work() == wanted


def test_folders_that_are_made_have_the_modes_of_the_base(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    os.chmod(overlay.base / "a/b", 0o750)
    os.chmod(overlay.base / "a", 0o500)
    wanted = apply(overlay.store.nodes, overlay.root, [(b"a/b/g", None)], tree=True)
    changes = small_delta(overlay.store.nodes, overlay.root, wanted)
    assert changes is not None
    overlay.upper.write(overlay.store, changes, base=str(overlay.base), root=wanted)
    overlay.work(
        lambda top: pytest.fail("mode of a/b") if (top / "a/b").stat().st_mode & 0o777 != 0o750 else None,
        lambda top: pytest.fail("mode of a") if (top / "a").stat().st_mode & 0o777 != 0o500 else None,
    )


def test_a_large_file_of_a_delta_is_streamed(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay({b"f": b"1"})
    content = os.urandom(5 << 20)
    (overlay.base.parent / "other").mkdir()
    (overlay.base.parent / "other/f").write_bytes(content)
    wanted = root_of(overlay.store, overlay.base.parent / "other")
    changes = small_delta(overlay.store.nodes, overlay.root, wanted)
    assert changes is not None
    overlay.upper.write(overlay.store, changes, base=str(overlay.base), root=wanted)
    assert Path(overlay.upper.path, "f").read_bytes() == content


def test_a_delta_is_small_up_to_a_number_of_paths_and_of_bytes(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"n%d" % number: bytes(10) for number in range(30)})
    root = root_of(store, tmp_path / "in")
    assert len(small_delta(store.nodes, None, root, max_changes=30, max_bytes=300) or ()) == 30
    assert small_delta(store.nodes, None, root, max_changes=29) is None
    assert small_delta(store.nodes, None, root, max_bytes=299) is None
    assert small_delta(store.nodes, root, root, max_changes=0) == []


@pytest.mark.parametrize("key", [b"../out", b"a/../../out", b".", b"a/.."])
def test_a_hostile_key_writes_nothing_outside(bare: Overlay, key: bytes) -> None:
    before = {place: os.listdir(place) for place in (bare.upper.folder, os.path.dirname(bare.upper.folder))}
    entry = file_entry(1, None, b"x")
    with pytest.raises(CorruptionError, match="leads outside"):
        bare.upper.write(bare.store, [Change(key, None, entry)], base=str(bare.base), root=None)
    # Of a tree that has a folder where the key goes on, so that it is followed down.
    with pytest.raises(CorruptionError, match="leads outside"):
        bare.upper.write(bare.store, [Change(b"b/../x", entry, None)], base=str(bare.base), root=bare.root)
    assert {place: os.listdir(place) for place in before} == before


def test_a_fingerprint_is_of_the_last_look(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    base = str(overlay.base)
    assert overlay.upper.fingerprint(b"a/h", base) is None
    with mounted(overlay.upper.overlay(base, str(overlay.target))) as top:
        (top / "a/new").write_bytes(b"1")
        (top / "k/l").write_bytes(b"longer than before")
        overlay.captured()
        before = {name: fingerprint_of((top / name).stat()) for name in ("a/new", "k/l", "a/h")}
        for name, seen in before.items():
            assert overlay.upper.fingerprint(name.encode(), base, str(top)) == seen
        for name, seen in before.items():
            (top / name).write_bytes(b"changed since")
            # So whoever compares it with what is there now sees that somebody was faster.
            found = overlay.upper.fingerprint(name.encode(), base, str(top))
            assert found == seen != fingerprint_of((top / name).stat())
    assert overlay.upper.fingerprint(b"a/h") is None
    assert overlay.upper.fingerprint(b"a", base) is None


def test_an_empty_base_takes_everything(store: casstore.Store, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    overlay = overlay_of(store, tmp_path, None, private=True)
    write_tree(overlay.upper.path, {b"a/b": b"1", b"e": None})
    expected = build(store.nodes, overlay.upper.edits(store.storage, store.nodes, None), tree=True)  # type: ignore[arg-type]
    assert overlay.captured() == expected == root_of(store, overlay.upper.path)

# SPDX-License-Identifier: MIT
"""The files of a state as a read-only mapping, and what differs between two states."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given

import casstore
from casstore.format.entry import directory_entry, file_entry, object_entry, snapshot_entry, symlink_entry
from casstore.format.kinds import NODE
from casstore.snapshots import FilesView, decode_key, encode_key
from casstore.testing.model import Files, noise, states
from casstore.tree import build
from tests.snapshots.driving import SMALL, commit


@given(states())
def test_files_are_those_that_were_put(files: Files) -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        view = commit(store, files).files
        assert isinstance(view, Mapping)
        assert dict(view) == files
        assert view == files
        assert len(view) == len(files)
        # In the order of their bytes, which is not that of their letters.
        assert list(view) == sorted(files, key=lambda path: path.encode("utf-8", "surrogateescape"))
        for path, data in files.items():
            assert path in view
            assert view[path] == data
            assert view.open(path).read() == data
            assert view.entry(path).size == len(data)
        assert "nowhere" not in view
        assert view.get("nowhere") is None


def test_links_and_empty_folders_are_entries_but_no_files(store: casstore.Store) -> None:
    mixed = {
        "bin/run": file_entry(2, inline=b"#!", executable=True),
        "bin/link": symlink_entry(3, inline=b"run"),
        "empty": directory_entry(),
        "plain": b"text",
        "big": noise(9000, 3),
    }
    view = commit(store, mixed).files
    assert list(view) == ["big", "bin/run", "plain"]
    assert len(view) == 3
    assert "3 files" in repr(view)
    assert [key for key, _ in view.entries()] == ["big", "bin/link", "bin/run", "empty", "plain"]
    assert [key for key, _ in view.entries("bin/")] == ["bin/link", "bin/run"]
    assert list(view.entries("nothing/")) == []
    assert view.entry("bin/link").inline == b"run"
    assert view.read(view.entry("empty")) == b""
    for key in ("bin/link", "empty"):
        assert key not in view
        with pytest.raises(casstore.NotFoundError, match="regular"):
            view[key]
        with pytest.raises(casstore.NotFoundError):
            view.open(key)
    for key in ("bin", "bin/", "nowhere", "", "plain\0"):
        with pytest.raises(KeyError):
            view[key]
        with pytest.raises(casstore.NotFoundError):
            view.entry(key)
    with view.open("big") as file:
        file.seek(8000)
        assert file.read() == noise(9000, 3)[8000:]
    with pytest.raises(TypeError):
        view["new"] = b""  # type: ignore[index]


def test_names_are_bytes() -> None:
    raw = b"\xff\xfe/caf\xe9"
    key = decode_key(raw)
    assert encode_key(key) == raw
    with casstore.open(":memory:") as store:
        view = commit(store, {key: b"1", "ok": b"2"}).files
        assert dict(view) == {key: b"1", "ok": b"2"}
        for odd in (5, None, b"ok", "\ud800"):
            assert odd not in view
            with pytest.raises(casstore.InvalidInputError):
                view[odd]  # type: ignore[index]


def test_len_reads_one_node(store: casstore.Store) -> None:
    snapshot = commit(store, {f"{number:05}": b"%d" % number for number in range(3000)})
    reads: list[int] = []

    class Counting:
        def get_record(self, kind: int, address: casstore.Address) -> bytes:
            reads.append(kind)
            return store.storage.get_record(kind, address)

        def put_record(self, kind: int, address: casstore.Address, raw: bytes) -> bool:
            raise AssertionError("nothing is to be written")

        def known(self, address: casstore.Address) -> bool:
            raise AssertionError("nothing is to be relied on")

    from casstore.tree import Nodes

    view = FilesView(store.storage, Nodes(Counting(), 0), snapshot.roots["files"])
    assert len(view) == 3000
    assert reads == [NODE]
    reads.clear()
    assert view["01234"] == b"1234"
    assert len(reads) <= 4


def test_an_empty_state_has_no_files(store: casstore.Store) -> None:
    view = store.add_snapshot(roots={}).files
    assert len(view) == 0
    assert list(view) == []
    assert "x" not in view
    assert view.root is None


def test_diff_names_what_differs_in_key_order(store: casstore.Store) -> None:
    objects = build(store.nodes, [(b"memory", object_entry("json", 1, 1, inline=b"1"))])
    old = commit(store, {"a": b"1", "b": b"2", "c/d": b"3"}, ref="old")
    new = commit(store, {"a": b"1", "b": b"changed", "c/e": b"3"}, objects=objects, ref="new")
    changes = list(store.diff("old", new.id))
    assert [(change.letter, change.key) for change in changes] == [
        ("M", "files/b"),
        ("D", "files/c/d"),
        ("A", "files/c/e"),
        ("A", "objects/memory"),
    ]
    assert changes[0].old is not None
    assert changes[0].new is not None
    assert (changes[0].old.inline, changes[0].new.inline) == (b"2", b"changed")
    assert [(change.letter, change.key) for change in store.diff(new, old)] == [
        ("M", "files/b"),
        ("A", "files/c/d"),
        ("D", "files/c/e"),
        ("D", "objects/memory"),
    ]
    assert list(store.diff(old, old)) == []


@given(states(max_bytes=4096), states(max_bytes=4096))
def test_diff_is_what_two_dicts_say(old: Files, new: Files) -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        changes = {change.key: change.letter for change in store.diff(commit(store, old), commit(store, new))}
    expected = {}
    for path in old.keys() | new.keys():
        if old.get(path) != new.get(path):
            expected[f"files/{path}"] = "A" if path not in old else "D" if path not in new else "M"
    assert changes == expected


def test_a_linked_snapshot_is_an_entry(store: casstore.Store) -> None:
    linked = commit(store, {"a": b"1"})
    holder = commit(store, {"states/1": snapshot_entry(linked.id)})
    assert holder.files.entry("states/1").address == linked.id
    assert len(holder.files) == 0

# SPDX-License-Identifier: MIT
"""Branches: what one sees is its own, and equal states are equal whatever led to them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import casstore
from casstore.branches import Branch
from casstore.errors import (
    ClosedError,
    ConflictError,
    FactoryError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    ReadOnlyError,
)
from casstore.format.entry import directory_entry, file_entry, snapshot_entry, symlink_entry, value_entry


@pytest.fixture
def branch(store: casstore.Store) -> Branch:
    branch = store.branch()
    branch.files.update({"a.txt": b"a", "src/b.py": b"b" * 500, "src/deep/c.py": b"c"})
    branch.objects["memory"] = {"step": 1}
    branch.commit("start", ref="main")
    return branch


def letters(changes: Iterator[casstore.Change]) -> list[tuple[str, str]]:
    return [(change.letter, change.key) for change in changes]


def test_files_are_a_mapping(branch: Branch) -> None:
    files = branch.files
    assert list(files) == ["a.txt", "src/b.py", "src/deep/c.py"]
    assert len(files) == 3
    assert files["src/b.py"] == b"b" * 500
    assert "a.txt" in files
    assert "src" not in files
    assert 3 not in files
    assert files.get("nothing") is None
    assert files == {"a.txt": b"a", "src/b.py": b"b" * 500, "src/deep/c.py": b"c"}
    assert files.pop("a.txt") == b"a"
    assert files.pop("a.txt", b"gone") == b"gone"
    assert files.setdefault("a.txt", b"new") == b"new"
    assert files.setdefault("a.txt", b"other") == b"new"
    assert next(iter(files.items())) == ("a.txt", b"new")
    assert next(iter(files.values())) == b"new"
    assert list(files.list("src/")) == ["src/b.py", "src/deep/c.py"]
    with pytest.raises(NotFoundError):
        files["nothing"]
    with pytest.raises(KeyError):
        del files["nothing"]
    files.clear()
    assert len(files) == 0
    assert not files


def test_objects_are_a_mapping(branch: Branch) -> None:
    objects = branch.objects
    objects["text"] = "words"
    objects["raw"] = b"\0" * 300
    assert list(objects) == ["memory", "raw", "text"]
    assert len(objects) == 3
    assert objects["text"] == "words"
    assert objects["raw"] == b"\0" * 300
    assert "text" in objects
    assert 3 not in objects
    del objects["raw"]
    assert dict(objects) == {"memory": {"step": 1}, "text": "words"}
    branch.commit()
    assert len(objects) == 2
    assert dict(objects) == {"memory": {"step": 1}, "text": "words"}
    objects.clear()
    assert dict(objects) == {}


def test_a_fork_and_its_origin_do_not_see_each_other(branch: Branch) -> None:
    fork = branch.fork()
    fork.files["a.txt"] = b"changed in the fork"
    branch.files["new"] = b"only here"
    del fork.files["src/b.py"]
    assert branch.files["a.txt"] == b"a"
    assert "new" not in fork.files
    assert "src/b.py" in branch.files
    deeper = fork.fork()
    deeper.objects["memory"] = {"step": 2}
    assert fork.objects["memory"] == {"step": 1}


def test_a_value_that_is_changed_after_it_was_set_does_not_leak(branch: Branch) -> None:
    value = {"list": [1, 2]}
    branch.objects["value"] = value
    value["list"].append(3)
    assert branch.objects["value"] == {"list": [1, 2]}
    read = branch.objects["value"]
    read["list"].append(4)
    assert branch.objects["value"] == {"list": [1, 2]}
    content = bytearray(b"x" * 200)
    branch.files["content"] = content
    content[0] = 0
    assert branch.files["content"] == b"x" * 200


def test_changes_are_the_whiteout_delta_in_key_order(branch: Branch) -> None:
    fork = branch.fork()
    assert list(fork.changes()) == []
    fork.files["z"] = b"1"
    fork.files["src/b.py"] = b"2"
    del fork.files["a.txt"]
    fork.objects["memory"] = {"step": 2}
    wanted = [("D", "files/a.txt"), ("M", "files/src/b.py"), ("A", "files/z"), ("M", "objects/memory")]
    assert letters(fork.changes()) == wanted
    fork.fold()
    assert letters(fork.changes()) == wanted
    assert letters(branch.diff(fork)) == wanted
    fork.files["z"] = b"1"
    fork.files["src/b.py"] = b"b" * 500
    fork.files["a.txt"] = b"a"
    del fork.files["z"]
    assert letters(fork.changes()) == [("M", "objects/memory")]


def test_state_id_knows_no_history(store: casstore.Store, branch: Branch) -> None:
    other = store.branch()
    other.objects["memory"] = {"step": 1}
    other.files["x/y"] = b"on the way"
    other.commit("a detour")
    other.files.delete_prefix("x/")
    for key in reversed(list(branch.files)):
        other.files[key] = branch.files[key]
    assert other.state_id() == branch.state_id() == store.refs["main"].state_id
    other.fold()
    assert other.state_id() == branch.state_id()
    assert other.commit().state_id == branch.state_id()
    empty = store.branch()
    empty.files["a"] = b""
    del empty.files["a"]
    assert empty.state_id() == store.branch().state_id()


def test_state_id_writes_nothing(store: casstore.Store, branch: Branch) -> None:
    before = store.storage.backend.used_bytes()
    fork = branch.fork()
    fork.files["large"] = b"l" * 5000
    fork.state_id()
    list(fork.changes())
    assert store.storage.backend.used_bytes() == before


def test_commit_gives_a_snapshot_and_goes_on_from_it(store: casstore.Store, branch: Branch) -> None:
    first = store.refs["main"]
    fork = branch.fork()
    fork.files["a.txt"] = b"2"
    second = fork.commit("tried", score=0.7)
    assert second.parents == (first.id,)
    assert second.message == "tried"
    assert second.meta == {"score": 0.7}
    assert fork.start == second
    assert list(fork.changes()) == []
    assert branch.start == first
    assert store.refs["main"] == first
    assert store.snapshot(second.id).files["a.txt"] == b"2"
    third = fork.commit("again")
    assert third.parents == (second.id,)
    assert third.state_id == second.state_id


def test_commit_moves_a_ref_only_from_where_the_branch_started(store: casstore.Store, branch: Branch) -> None:
    fork = branch.fork()
    branch.files["a.txt"] = b"2"
    moved = branch.commit(ref="main")
    fork.files["a.txt"] = b"3"
    start = fork.start
    with pytest.raises(ConflictError) as caught:
        fork.commit(ref="main")
    assert moved.id.hex()[:12] in str(caught.value)
    assert start is not None
    assert start.id.hex()[:12] in str(caught.value)
    assert store.refs["main"] == moved
    assert fork.files["a.txt"] == b"3"
    assert fork.start == start
    assert letters(fork.changes()) == [("M", "files/a.txt")]


def test_commit_makes_a_new_ref_and_brings_no_deleted_one_back(store: casstore.Store, branch: Branch) -> None:
    fork = branch.fork()
    fork.files["a.txt"] = b"2"
    snapshot = fork.commit(ref="new")
    assert store.refs["new"] == snapshot
    del store.refs["new"]
    with pytest.raises(ConflictError, match="names nothing"):
        fork.commit(ref="new")


def test_a_prefix_goes_by_one_mark(branch: Branch) -> None:
    fork = branch.fork()
    fork.files["src/new"] = b"n"
    fork.files.delete_prefix("src/")
    state = fork._state
    assert state is not None
    assert len(state[2].marks) == 1
    assert len(state[2].keys) == 0
    assert list(fork.files) == ["a.txt"]
    fork.files["src/b.py"] = b"again"
    assert list(fork.files) == ["a.txt", "src/b.py"]
    assert fork.files["src/b.py"] == b"again"
    assert "src/deep/c.py" not in fork.files
    assert letters(fork.changes()) == [("M", "files/src/b.py"), ("D", "files/src/deep/c.py")]
    del fork.files["src/b.py"]
    assert list(fork.files) == ["a.txt"]
    fork.files["src"] = b"a file now"
    assert fork.commit().files["src"] == b"a file now"
    fork.files.delete_prefix("nothing/")
    state = fork._state
    assert state is not None
    assert not state[2]
    with pytest.raises(InvalidInputError, match="end with"):
        fork.files.delete_prefix("sr")


def test_no_key_is_a_path_prefix_of_another(branch: Branch) -> None:
    files = branch.files
    for key in ("src", "src/deep"):
        with pytest.raises(InvalidInputError, match="is a directory"):
            files[key] = b""
    for key in ("a.txt/x", "a.txt/x/y"):
        with pytest.raises(InvalidInputError, match="is a file"):
            files[key] = b""
    files["n/m/o"] = b""
    with pytest.raises(InvalidInputError, match="is a directory"):
        files["n/m"] = b""
    with pytest.raises(InvalidInputError, match="is a file"):
        files["n/m/o/p"] = b""
    files["n/m-o"] = b"sorts between"
    del files["n/m/o"]
    files["n/m"] = b"free again"
    del files["src/b.py"]
    del files["src/deep/c.py"]
    files["src"] = b"free too"
    branch.commit()
    branch.objects["memory/more"] = 1
    branch.commit()
    assert dict(branch.objects) == {"memory": {"step": 1}, "memory/more": 1}


def test_an_empty_directory_loses_its_entry_when_it_is_filled(branch: Branch) -> None:
    files = branch.files
    files.set_entry("empty", directory_entry())
    branch.commit()
    assert [key for key, _ in files.entries("empty")] == ["empty"]
    files["empty/not/any more"] = b"1"
    assert [key for key, _ in files.entries("empty")] == ["empty/not/any more"]
    branch.commit()
    assert [key for key, _ in files.entries("empty")] == ["empty/not/any more"]


def test_entries_of_all_kinds(store: casstore.Store, branch: Branch) -> None:
    files = branch.files
    files.set_entry("run", file_entry(2, None, b"#!", executable=True))
    files["run"] = b"#!/bin/sh"
    assert files.entry("run").kind == 2
    files.set_entry("link", symlink_entry(1, None, b"x"))
    assert "link" not in files
    with pytest.raises(NotFoundError, match="no regular file"):
        files["link"]
    assert len(files) == 4
    content = b"large" * 100
    address = store.put(content)
    files.set_entry("stored", file_entry(500, address))
    files.set_entry("brought", file_entry(500, address), content)
    assert files["stored"] == files["brought"] == content
    with pytest.raises(NotFoundError, match="put the content first"):
        files.set_entry("missing", file_entry(500, casstore.Address(bytes(32))))
    with pytest.raises(InvalidInputError, match="address is not"):
        files.set_entry("wrong", file_entry(500, address), b"other" * 100)
    with pytest.raises(InvalidInputError, match="500 bytes"):
        files.set_entry("wrong", file_entry(500, address), b"short")
    with pytest.raises(InvalidInputError, match="objects"):
        files.set_entry("wrong", value_entry(b""))
    with pytest.raises(InvalidInputError, match="files"):
        branch.objects.set_entry("wrong", file_entry(0, None, b""))
    snapshot = store.refs["main"]
    branch.objects.set_entry("link", snapshot_entry(snapshot.id))
    assert branch.objects["link"] == snapshot.id


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "a/..", "../a", "a\0b", "x" * 4097, 7, "\ud800"])
def test_bad_keys_are_refused(branch: Branch, key: str) -> None:
    before = branch.state_id()
    with pytest.raises(InvalidInputError):
        branch.files[key] = b""
    with pytest.raises(InvalidInputError):
        branch.objects[key] = 1
    assert branch.state_id() == before


def test_names_that_are_not_utf8_sort_by_their_bytes(branch: Branch) -> None:
    names = ["\udcff", "\u0800", "\U00010000", "z", "\udc80"]
    for name in names:
        branch.files[name] = b""
    wanted = sorted(
        [*names, "a.txt", "src/b.py", "src/deep/c.py"], key=lambda name: name.encode("utf-8", "surrogateescape")
    )
    assert list(branch.files) == wanted
    branch.commit()
    assert list(branch.files) == wanted


def test_bad_values_are_refused(branch: Branch) -> None:
    with pytest.raises(InvalidInputError, match="bytes"):
        branch.files["a"] = "text"  # type: ignore[assignment]
    with pytest.raises(FactoryError, match="register"):
        branch.objects["a"] = object()


def test_a_discarded_branch_is_closed(branch: Branch) -> None:
    fork = branch.fork()
    branch.discard()
    for use in (
        branch.fork,
        branch.state_id,
        branch.fold,
        branch.commit,
        lambda: branch.files["a.txt"],
        lambda: branch.start,
    ):
        with pytest.raises(ClosedError, match="discarded"):
            use()
    assert "discarded" in repr(branch)
    assert fork.files["a.txt"] == b"a"
    assert "0 files" in repr(fork)


def test_a_large_delta_folds_by_itself(store: casstore.Store) -> None:
    store.branches.fold_keys = 10
    branch = store.branch()
    for number in range(25):
        branch.files[f"f{number}"] = b"%d" % number * 100
    state = branch._state
    assert state is not None
    assert len(state[2].keys) <= 10
    assert len(branch.files) == 25
    assert len(list(branch.changes())) == 25


def test_pending_bytes_are_bounded_and_shared() -> None:
    with casstore.open(":memory:", config=casstore.Config(pending_bytes=100_000)) as store:
        branch = store.branch()
        contents = {f"f{number}": bytes([number]) * 10_000 for number in range(30)}
        for key, content in contents.items():
            branch.files[key] = content
            assert store.branches.budget.used_bytes <= 100_000
        forks = [branch.fork() for _ in range(1000)]
        assert store.branches.budget.used_bytes <= 100_000
        plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
        assert plan.roots["pins"] > 0
        plan.execute()
        assert dict(forks[0].files) == contents
        del forks, branch
        assert store.branches.budget.used_bytes == 0
        assert store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute().deleted_objects > 0


def test_a_folded_base_is_kept_for_as_long_as_a_branch_refers_to_it(store: casstore.Store) -> None:
    branch = store.branch()
    branch.files["large"] = b"l" * 20_000
    branch.fold()
    fork = branch.fork()
    branch.discard()
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    assert fork.files["large"] == b"l" * 20_000
    fork.discard()
    report = store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    assert report.deleted_objects >= 2


def test_a_branch_of_a_read_only_store(tmp_path: object) -> None:
    path = f"{tmp_path}/store"
    with casstore.open(path) as store:
        branch = store.branch()
        branch.files["a"] = b"a" * 300
        branch.commit(ref="main")
    config = casstore.Config(pending_bytes=1000)
    with casstore.open(path, read_only=True, config=config) as store:
        branch = store.branch("main")
        branch.files["b"] = b"b" * 600
        assert letters(branch.changes()) == [("A", "files/b")]
        branch.state_id()
        for change in (branch.commit, branch.fold):
            with pytest.raises(ReadOnlyError):
                change()
        fields, scratch, contents = branch.snapshot_fields("from a worker", score=1)
        assert fields.roots["files"] in scratch.fresh
        assert list(contents.values()) == [b"b" * 600]
        with pytest.raises(QuotaExceededError, match="pending_bytes"):
            branch.files["c"] = b"c" * 600


def test_many_threads_write_one_branch_and_nothing_is_lost(store: casstore.Store) -> None:
    branch = store.branch()
    store.branches.fold_keys = 100
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(20):
                branch.files[f"t{number}/{step}"] = b"%d" % step * 50
                fork = branch.fork()
                assert fork.files[f"t{number}/{step}"] == b"%d" % step * 50
                if step % 7 == 0:
                    branch.commit()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(branch.files) == 2000
    assert store.branch(branch.commit()).files == branch.files

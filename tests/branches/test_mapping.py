# SPDX-License-Identifier: MIT
"""Files and objects are mappings as Python users expect them, whatever keys and threads do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import casstore
from casstore.branches import Branch
from casstore.errors import ClosedError, ConflictError, FactoryError, InvalidInputError
from casstore.format.entry import directory_entry, file_entry, symlink_entry, value_entry
from casstore.format.posix import posix_key
from casstore.tree import build


@pytest.fixture
def branch(store: casstore.Store) -> Branch:
    branch = store.branch()
    branch.files.update({"a": b"a", "d/e": b"e", "d/f/g": b"g" * 300})
    branch.commit(ref="main")
    return branch


def test_views_show_one_state(branch: Branch) -> None:
    files = branch.files
    items, values = iter(files.items()), iter(files.values())
    assert (next(items), next(values)) == (("a", b"a"), b"a")
    files["d/e"] = b"changed"
    del files["d/f/g"]
    assert list(items) == [("d/e", b"e"), ("d/f/g", b"g" * 300)]
    assert list(values) == [b"e", b"g" * 300]
    assert ("d/e", b"changed") in files.items()
    assert b"changed" in files.values()
    assert files.keys() == {"a", "d/e"}
    assert files.keys() & {"a", "x"} == {"a"}
    assert len(files.items()) == len(files.values()) == len(files.keys()) == 2


def test_equality_goes_both_ways(branch: Branch) -> None:
    wanted = {"a": b"a", "d/e": b"e", "d/f/g": b"g" * 300}
    assert branch.files == wanted
    assert wanted == branch.files
    assert branch.files == branch.fork().files
    assert branch.files != {**wanted, "a": b"b"}
    assert branch.files != {"a": b"a"}
    assert branch.files != list(wanted)  # type: ignore[comparison-overlap]
    branch.objects.update({"k": [1]}, more=True)
    assert branch.objects == {"k": [1], "more": True}
    assert branch.objects != {"k": [1], "more": False}


def test_popping_and_defaults(branch: Branch) -> None:
    files = branch.files
    assert files.popitem() == ("a", b"a")
    assert files.pop("a", default=b"none") == b"none"
    with pytest.raises(KeyError):
        files.pop("a")
    files.update([("x", b"1")], y=b"2")
    assert files.setdefault("x", b"3") == b"1"
    files.clear()
    with pytest.raises(KeyError):
        files.popitem()
    assert not files


def test_popping_in_threads_gives_each_value_once(store: casstore.Store, hurry: Callable[[], None]) -> None:
    branch = store.branch()
    branch.objects.update({f"{number}": number for number in range(1000)})
    missing = object()
    barrier = threading.Barrier(8, action=hurry)

    def take(_: str) -> list[object]:
        barrier.wait()
        found: list[object] = []
        for number in range(900):
            found.append(branch.objects.pop(str(number), missing))
            if not number % 100:
                found.append(branch.objects.popitem()[1])
        return [value for value in found if value is not missing]

    with ThreadPoolExecutor(8) as pool:
        taken = [value for found in pool.map(take, "abcdefgh") for value in found]
    left = list(branch.objects.values())
    assert sorted(taken + left) == list(range(1000))  # type: ignore[type-var]


def test_defaults_in_threads_agree(store: casstore.Store, hurry: Callable[[], None]) -> None:
    branch = store.branch()
    barrier = threading.Barrier(8, action=hurry)

    def default(number: int) -> list[object]:
        barrier.wait()
        return [branch.objects.setdefault(f"k{step}", number) for step in range(50)]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(default, range(8))
    assert all(other == first for other in others)


def test_one_name_has_one_spelling(branch: Branch) -> None:
    files = branch.files
    files["Ä"] = b"1"
    for key in ("\udcc3\udc84", "x/\udcc3\udc84"):
        with pytest.raises(InvalidInputError, match="surrogate"):
            files[key] = b"2"
        assert key not in files
    with pytest.raises(KeyError):
        del files["\udcc3\udc84"]
    assert list(files.list("\udcc3")) == ["Ä"]
    branch.fold()
    assert "\udcc3\udc84" not in files
    assert list(files.list("\udcc3")) == ["Ä"]
    assert "\ud800" not in files
    assert "\ud800" not in branch.objects


def test_bad_prefixes_are_refused(branch: Branch) -> None:
    branch.files.delete_prefix("d/")
    for prefix in (b"d/", 7, None, "/", "a//", "../", "\ud800/"):
        with pytest.raises(InvalidInputError):
            branch.files.delete_prefix(prefix)  # type: ignore[arg-type]
    for prefix in (b"d/", 7, "\ud800"):
        with pytest.raises(InvalidInputError):
            branch.files.list(prefix)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        branch.files[7]  # type: ignore[index]


def test_lengths_count_without_listing(store: casstore.Store) -> None:
    branch = store.branch()
    branch.files.update({f"d{number % 7}/{number}": b"" for number in range(500)})
    branch.files.set_entry("d0/link", symlink_entry(1, None, b"x"))
    branch.fold()
    files = branch.files
    files.delete_prefix("d1/")
    files.delete_prefix("d2/")
    files["d1/new/x"] = files["d1/1"] = b"again"
    files.delete_prefix("d1/new/")
    del files["d3/3"], files["d0/link"]
    files["d3/new"] = b""
    files.set_entry("d4/4", symlink_entry(1, None, b"x"))
    assert len(files) == len(list(files)) == 500 - 72 - 72 + 1 - 1 + 1 - 1
    branch.objects.update({f"k/{number}": number for number in range(50)})
    branch.fold()
    branch.objects.delete_prefix("k/")
    branch.objects["k/3"] = 3
    assert len(branch.objects) == len(list(branch.objects)) == 1


def test_many_marks_fold_too(store: casstore.Store) -> None:
    store.branches.fold_keys = 8
    branch = store.branch()
    branch.files.update({f"d{number}/x": b"" for number in range(50)})
    for number in range(40):
        branch.files.delete_prefix(f"d{number}/")
        assert len(branch._current()[2].marks) <= 8
    assert len(branch.files) == 10


def test_a_directory_and_its_marks(branch: Branch) -> None:
    files = branch.files
    files.set_entry("empty", directory_entry())
    files.delete_prefix("d/")
    files["d"] = b"file"
    del files["d"]
    files["d/f"] = b"file where a directory was"
    for key in ("d", "d/f/g"):
        with pytest.raises(InvalidInputError):
            files[key] = b""
    fork = branch.fork()
    fork.fold()
    del files["d/f"]
    files["d/f/g/h"] = b""
    assert list(files) == ["a", "d/f/g/h"]
    assert list(fork.files) == ["a", "d/f"]
    del files["d/f/g/h"]
    files["d"] = b""
    assert list(branch.commit().files) == ["a", "d"]


def test_metadata_of_changed_paths_goes_and_that_of_others_stays(store: casstore.Store) -> None:
    names = ["a", "b", "d/x"]
    files = build(store.nodes, [(name.encode(), file_entry(1, None, b"1")) for name in names], tree=True)
    keys = sorted(posix_key(name.encode(), directory=False) for name in names)
    posix = build(store.nodes, [(key, value_entry(b"m")) for key in keys])
    assert files is not None
    assert posix is not None
    branch = store.branch(store.add_snapshot(roots={"files": files, "posix": posix}))
    branch.files["a"] = b"1"
    assert branch.commit().roots["posix"] == posix
    branch.files["b"] = b"2"
    branch.files.delete_prefix("d/")
    assert branch.commit().roots["posix"] == build(store.nodes, [(b"=a", value_entry(b"m"))])


def test_using_a_closed_store() -> None:
    store = casstore.open(":memory:")
    branch = store.branch()
    branch.files["folded"] = b"f"
    branch.fold()
    branch.files["pending"] = b"p"
    assert dict(branch.files) == {"folded": b"f", "pending": b"p"}
    store.close()
    for use in (
        lambda: branch.files["folded"],
        lambda: list(branch.files),
        lambda: len(branch.files),
        lambda: branch.files.update(x=b""),
        lambda: branch.objects.update(x=1),
        lambda: branch.files.delete_prefix(""),
        branch.state_id,
        branch.changes,
        branch.fold,
        branch.commit,
        lambda: branch.merge(branch.fork()),
    ):
        with pytest.raises(ClosedError):
            use()


def test_branches_of_two_stores_do_not_mix(branch: Branch) -> None:
    with casstore.open(":memory:") as other:
        stranger = other.branch()
        stranger.files["x"] = b"x" * 300
        for use in (
            lambda: branch.merge(stranger, base=branch),
            lambda: branch.merge(branch, base=stranger),
            lambda: branch.diff(stranger),
        ):
            with pytest.raises(InvalidInputError, match="another store"):
                use()
    assert "x" not in branch.files


def test_a_resolver_that_writes_the_branch_loses_nothing(branch: Branch) -> None:
    theirs = branch.fork()
    branch.files["a"], theirs.files["a"] = b"ours", b"theirs"

    def resolve(conflict: casstore.branches.Conflict) -> None:
        branch.files["notes"] = b"seen"

    with pytest.raises(ConflictError, match="merge again"):
        branch.merge(theirs, resolve=resolve)
    assert branch.files["notes"] == b"seen"
    assert branch.files["a"] == b"ours"


def test_a_value_that_cannot_be_stored_changes_nothing(branch: Branch) -> None:
    before = branch.state_id()
    for value in (object(), {1: 2}, float("nan"), {"a": {1, 2}}, (1, 2), bytearray(b"x"), "\ud800", 1 + 2j):
        with pytest.raises((FactoryError, InvalidInputError)):
            branch.objects["k"] = value
    for content in (None, "text", 7, [1], {"a": 1}):
        with pytest.raises(InvalidInputError, match="bytes"):
            branch.files["k"] = content  # type: ignore[assignment]
    assert branch.state_id() == before


def test_many_branches_at_work(store: casstore.Store) -> None:
    """850 branches in 17 threads, some folding, all different: what each sees is its own."""
    start = store.branch()
    start.files.update({f"shared/{number}": b"%d" % number * 40 for number in range(100)})
    start.commit(ref="main")
    store.branches.fold_keys = 12

    def work(first: int) -> int:
        branches = [start.fork() for _ in range(50)]
        for step in range(10):
            for number, branch in enumerate(branches, first):
                branch.files[f"own/{step}"] = b"%d-%d" % (number, step)
                branch.files[f"shared/{number % 100}"] = b"%d" % number
                branch.objects["step"] = [number, step]
        for number, branch in enumerate(branches, first):
            assert branch.commit().meta == {}
            assert branch.objects["step"] == [number, 9]
            assert branch.files[f"shared/{number % 100}"] == b"%d" % number
            assert list(branch.files.values())[:10] == [b"%d-%d" % (number, step) for step in range(10)]
            assert len(branch.files) == 110
        return len(branches)

    with ThreadPoolExecutor(17) as pool:
        assert sum(pool.map(work, range(0, 850, 50))) == 850
    assert len(start.files) == 100

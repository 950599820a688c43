# SPDX-License-Identifier: MIT
"""Names of refs: git's rules, and two of our own."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.snapshots import check_ref_name, is_ref_name
from casstore.snapshots.refs import MAX_NAME_BYTES

PIECES = ["a", "B7", ".", "..", "/", "//", "@", "{", "@{", ".lock", "-", "~", "^", ":", "?", "*", "[", "]", "\\", " "]
PIECES += ["\t", "\n", "\x01", "\x7f", "é", "main", "lock", "x.lock", "refs", "%", "'", '"', "!"]


def git_allows(name: str) -> bool:
    return subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False).returncode == 0


def all_hex(name: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in name)


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@needs_git
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join))
def test_names_are_those_that_git_allows(name: str) -> None:
    # `-x` and `@` are refused by `git branch`, though not by `check-ref-format refs/heads/…`.
    ours = all_hex(name) or name.startswith("-") or name == "@"
    assert is_ref_name(name) == (git_allows(name) and not ours)


@needs_git
def test_both_sides_of_the_comparison_occur() -> None:
    assert git_allows("try/1")
    assert not git_allows("try//1")


@pytest.mark.parametrize(
    "name", ["main", "try/3", "a.b", "ä", "x" * MAX_NAME_BYTES, "feature-1", "g0", "a@b", "beef/cafe"]
)
def test_good_names(name: str) -> None:
    assert check_ref_name(name) == name


BAD: list[object] = ["", "a:b", "beef", "BEEF", "0", "/a", "a/", "a//b", "a..b", ".a", "a/.b", "a.", "a.lock", "@"]
BAD += ["a.lock/b", "a@{b", "a b", "a~", "a^", "a?", "a*", "a[", "a\\", "a\0", "-a", "x" * (MAX_NAME_BYTES + 1)]
BAD += ["ü" * 128, "\udc80", None, 5, b"main"]


@pytest.mark.parametrize("name", BAD)
def test_bad_names_say_what_is_wrong(name: object) -> None:
    with pytest.raises(casstore.InvalidInputError) as caught:
        check_ref_name(name)
    assert repr(name) in str(caught.value)
    assert not is_ref_name(name)


@pytest.mark.parametrize("name", ["a b", "a:b", "beef", "", "a\0b"])
def test_every_way_to_name_a_ref_checks_the_name(name: str) -> None:
    with casstore.open(":memory:") as store:
        snapshot = store.add_snapshot(roots={})
        for action in (
            lambda: store.refs[name],
            lambda: store.refs.__setitem__(name, snapshot),
            lambda: store.refs.delete(name),
            lambda: store.refs.compare_and_set(name, None, snapshot),
            lambda: store.refs.history(name),
            lambda: store.refs.undo(name),
            lambda: store.refs.rename(name, "good"),
        ):
            with pytest.raises(casstore.InvalidInputError):
                action()
        store.refs["good"] = snapshot
        with pytest.raises(casstore.InvalidInputError):
            store.refs.rename("good", name)
        assert name not in store.refs
        assert list(store.refs) == ["good"]


@pytest.mark.parametrize("name", ["a\u00a0b", "zero\u200bwidth", "\U0001f600"])
def test_a_name_that_can_be_set_can_be_resolved(name: str) -> None:
    with casstore.open(":memory:") as store:
        store.refs[name] = store.add_snapshot(roots={})
        assert store.resolve(name) == store.refs[name]
